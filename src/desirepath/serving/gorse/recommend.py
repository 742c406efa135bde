# SPDX-License-Identifier: Apache-2.0
"""Gorse's routes of lists: for a user, for a session, and those that do not depend on anybody.

All personal lists come from the same engine as /v1's, from everything that is known until this moment.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from desirepath.errors import DataError
from desirepath.live.actions import IMPRESSION
from desirepath.live.answer import Ask, Reply, Shown
from desirepath.live.folding import KIND
from desirepath.live.store import now_us
from desirepath.recommend.attributes import CATEGORIES
from desirepath.recommend.scenario import MAX_K
from desirepath.schema import FIRST
from desirepath.serving.gorse.feedback import Given, event, read
from desirepath.serving.gorse.project import Asked, Counted, GorseProject
from desirepath.serving.gorse.wire import (
    ID_LENGTH,
    KIND_LENGTH,
    answer,
    bad,
    duration_us,
    integer,
    named,
    read_objects,
    scores,
)

router = APIRouter()
_UNNAMED = {"userid": "session", "feedbacktype": "event"}
YEAR_1_S = -62_135_596_800.0
"""Go's time that was never set, seconds since 1970."""


def span(request: Request, view: GorseProject) -> tuple[int, int]:
    """How many are wanted, and how many to pass over."""
    n = integer(request, "n", view.config.default_n, MAX_K)
    return n, integer(request, "offset", 0, MAX_K)


def wanted(request: Request) -> tuple[str, ...]:
    """Categories that items must all bear, of the path and of the query."""
    asked = [request.path_params.get("category", ""), *request.query_params.getlist("category")]
    found = tuple(dict.fromkeys(name for name in asked if name))
    if len(found) > 50 or any(len(name) > ID_LENGTH for name in found):
        raise bad("invalid category: at most 50, of at most 512 characters each")
    return found


@router.get("/recommend/{user_id}")
@router.get("/recommend/{user_id}/{category}")
async def recommend(user_id: str, request: Request, view: Asked) -> Response:
    """A list for a user; ids, or ids with scores where the client asks for version 2."""
    kind = request.query_params.get("write-back-type", "")
    delay_us = duration_us(request.query_params.get("write-back-delay", ""))
    if kind:
        named(kind, "write-back-type", KIND_LENGTH)
    (n, offset), categories = span(request, view), wanted(request)
    reply = await _asked(view, named(user_id, "user-id"), n, offset, categories)
    shown = list(reply.items[offset : offset + n]) if reply is not None else []
    if kind and shown and reply is not None:
        await _write_back(view, user_id, (kind, now_us() + delay_us), (reply, offset))
    if request.headers.get("x-api-version") == "2":
        return answer(scores(_pairs(shown)))
    return answer([one.item_id for one in shown])


async def _asked(
    view: GorseProject, user_id: str, n: int, offset: int, categories: tuple[str, ...]
) -> Reply | None:
    """The engine's answer, remembered as any other; None where no item could be shown."""
    if not n or not _has(view, categories):
        return None
    is_marked = view.feedback.may_have_marks()
    marked = await asyncio.to_thread(view.feedback.marked, user_id, now_us()) if is_marked else []
    ask = Ask(
        user_id=user_id,
        k=min(offset + n, MAX_K),
        categories=categories,
        exclude_seen=True,
        exclude=tuple(marked),
    )
    reply = await asyncio.wrap_future(view.project.recommend(ask))
    view.project.remember(reply, ask)
    return reply


def _has(view: GorseProject, categories: tuple[str, ...]) -> bool:
    """Whether categories can be asked for: without the column no item bears one."""
    return not categories or CATEGORIES in view.project.catalogue.policy_view().table.columns


async def _write_back(
    view: GorseProject, user_id: str, what: tuple[str, int], served: tuple[Reply, int]
) -> None:
    """Mark what was listed as shown, from a moment on."""
    (kind, moment), (reply, offset) = what, served
    rows = []
    for place, one in enumerate(reply.items[offset:], start=offset + 1):
        given = Given(
            kind=kind,
            user_id=user_id,
            item_id=one.item_id,
            value=0.0,
            time_us=moment,
            comment=None,
            labels=None,
        )
        row = event(uuid.uuid4().hex, given, (IMPRESSION, moment, now_us()), {KIND: kind})
        rows.append(row | {"recommendation_id": reply.recommendation_id, "position": place})
    view.feedback.expect_marks()
    await asyncio.wrap_future(view.project.keep(rows))
    await asyncio.to_thread(view.feedback.catch_up)


def _pairs(shown: Sequence[Shown]) -> list[tuple[str, float | None]]:
    return [(one.item_id, one.score if one.probability is None else one.probability) for one in shown]


@router.get("/collaborative-filtering/{user_id}")
@router.get("/intermediate/recommend/{user_id}")
@router.get("/intermediate/recommend/{user_id}/{category}")
async def candidates(user_id: str, request: Request, view: Asked) -> Response:
    """The model's list for a user, with scores; under its old names too."""
    (n, offset), categories = span(request, view), wanted(request)
    reply = await _asked(view, named(user_id, "user-id"), n, offset, categories)
    return answer(scores(_pairs(reply.items[offset : offset + n] if reply else ())))


@router.post("/session/recommend")
@router.post("/session/recommend/{category}")
async def session(request: Request, view: Asked) -> Response:
    """A list for who did what the body says, with scores."""
    given = [read(_UNNAMED | {k: v for k, v in one.items() if v}) for one in await read_objects(request)]
    (n, offset), categories = span(request, view), wanted(request)
    if not n or not _has(view, categories):
        return answer([])
    moments = [one.time_us for one in given if one.time_us is not None]
    if len(moments) == len(given):  # else the order in which they came is all that is known
        given = [given[at] for at in np.argsort(moments, kind="stable").tolist()]
    ask = Ask(
        history=tuple(one.item_id for one in given[-MAX_K:]),
        k=min(offset + n, MAX_K),
        categories=categories,
        exclude_seen=True,
    )
    reply = await asyncio.wrap_future(view.project.recommend(ask))
    view.project.remember(reply, ask)
    return answer(scores(_pairs(reply.items[offset : offset + n])))


@router.get("/latest")
@router.get("/latest/{category}")
async def latest(request: Request, view: Asked) -> Response:
    """The newest items; the score is the moment, seconds since 1970."""
    return await _counted("latest", request, view)


@router.get("/popular")
@router.get("/popular/{category}")
async def popular(request: Request, view: Asked) -> Response:
    """The items that most was done to; the score is their share."""
    return await _counted("popular", request, view)


@router.get("/non-personalized/{name}")
async def non_personalized(name: str, request: Request, view: Asked) -> Response:
    """The list of a recommender that depends on nobody."""
    return await _counted(view.counted(name), request, view)


async def _counted(kind: Counted, request: Request, view: GorseProject) -> Response:
    (n, offset), categories = span(request, view), wanted(request)
    without = request.query_params.get("user-id", "")

    def work() -> list[tuple[str, float | None]]:
        hidden = hidden_from(view, categories, without)
        memory = view.project.memory
        if kind == "latest":
            best, score = _newest(view, hidden, offset + n)
        else:
            counts = memory.popular if kind == "popular" else memory.trending
            best, score = counts.best(hidden, offset + n)
        names = [memory.catalogue.ids[ix] for ix in best.tolist()]
        return list(zip(names, score.tolist(), strict=True))[offset : offset + n]

    return answer(scores(await asyncio.to_thread(work) if n else []))


def hidden_from(view: GorseProject, categories: tuple[str, ...], user_id: str) -> NDArray[np.bool_]:
    """(V,) what must not be listed: hidden, of other categories, or met already by a user."""
    catalogue = view.project.catalogue
    attributes = catalogue.policy_view()
    hidden = catalogue.hidden.copy()
    within = min(len(hidden), len(attributes))
    if categories:
        bears = np.zeros(len(hidden), dtype=np.bool_)
        if CATEGORIES in attributes.table.columns:
            bears[:within] = True
            for name in categories:
                bears[:within] &= attributes.with_any(CATEGORIES, (name,))[:within]
        hidden |= ~bears
    if user_id:
        met = view.project.states.histories([user_id]).item_ix
        marked = catalogue.indexes(view.feedback.marked(user_id, now_us()))
        both = np.concatenate([met, marked])
        hidden[both[both < len(hidden)]] = True
    hidden[:FIRST] = True
    return hidden


def _newest(
    view: GorseProject, hidden: NDArray[np.bool_], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    attributes = view.project.catalogue.policy_view()
    moment = np.full(len(hidden), YEAR_1_S)
    within = min(len(hidden), len(attributes))
    moment[:within] = np.nan_to_num(attributes.created_s()[:within], nan=YEAR_1_S)
    found = np.flatnonzero(~hidden)
    if len(found) > k:
        least = np.partition(moment[found], len(found) - k)[len(found) - k]
        found = found[moment[found] >= least]
    found = found[np.argsort(-moment[found], kind="stable")][:k]
    return found, moment[found]


@router.get("/item-to-item/{name}/{item_id}")
async def item_to_item(name: str, item_id: str, request: Request, view: Asked) -> Response:
    """Items like one, of a recommender by name."""
    view.check_like(name, "item_to_item")
    return await like_item(item_id, request, view)


@router.get("/item/{item_id}/neighbors")
@router.get("/item/{item_id}/neighbors/{category}")
async def like_item(item_id: str, request: Request, view: Asked) -> Response:
    """Items like one, with their likeness."""
    (n, offset), categories = span(request, view), wanted(request)
    without = request.query_params.get("user-id", "")

    def work() -> list[tuple[str, float | None]]:
        catalogue = view.project.catalogue
        hidden = hidden_from(view, categories, without)
        k = len(catalogue) if categories or without else offset + n
        try:
            found = view.project.neighbours.items(item_id, k)
        except DataError:  # Gorse knows no neighbours of an unknown item, and says so
            return []
        names = [one["item_id"] for one in found]
        ix = catalogue.indexes(names)
        pairs = [
            (one["item_id"], one["similarity"])
            for one, at in zip(found, ix.tolist(), strict=True)
            if at < len(hidden) and not hidden[at]
        ]
        return pairs[offset : offset + n]

    return answer(scores(await asyncio.to_thread(work) if n else []))


@router.get("/user-to-user/{name}/{user_id}")
async def user_to_user(name: str, user_id: str, request: Request, view: Asked) -> Response:
    """Users like one, of a recommender by name."""
    view.check_like(name, "user_to_user")
    return await like_user(user_id, request, view)


@router.get("/user/{user_id}/neighbors")
async def like_user(user_id: str, request: Request, view: Asked) -> Response:
    """Users like one, with their likeness."""
    n, offset = span(request, view)

    def work() -> list[tuple[str, float | None]]:
        project = view.project
        try:
            found = project.neighbours.users(user_id, offset + n, project.actions.vocabulary)
        except DataError:
            return []
        return [(one["user_id"], one["similarity"]) for one in found][offset : offset + n]

    return answer(scores(await asyncio.to_thread(work) if n else []))
