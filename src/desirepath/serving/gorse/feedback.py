# SPDX-License-Identifier: Apache-2.0
"""Gorse's routes of feedback: events go into the log as they come, and are read as one row a key.

What lies in the future is a mark that something will have been shown, not yet a deed: it is kept as an
impression, which keeps the item out of lists from its moment on and is never part of a history.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import uuid
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from desirepath.errors import DataError
from desirepath.live.actions import IMPRESSION, NOT_BEHAVIOUR
from desirepath.live.folding import CONTEXT, KIND, REPEAT
from desirepath.live.ledger import FeedbackRow
from desirepath.live.store import Row, now_us
from desirepath.serving.gorse.project import Asked, GorseProject, Sent
from desirepath.serving.gorse.wire import (
    KIND_LENGTH,
    affected,
    answer,
    bad,
    integer,
    moment_us,
    named,
    number,
    read_objects,
    text,
    told,
)

router = APIRouter()
CLOCK_ERROR_US = 60_000_000
"""A clock may be ahead by a minute; what is later is meant for later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One feedback as a client sent it."""

    kind: str
    user_id: str
    item_id: str
    value: float
    time_us: int | None
    comment: str | None
    labels: Any

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies it for Gorse."""
        return self.user_id, self.item_id, self.kind


def read(one: dict[str, Any]) -> Given:
    """A feedback from an object of a body."""
    return Given(
        kind=named(one.get("feedbacktype"), "FeedbackType", KIND_LENGTH),
        user_id=named(one.get("userid"), "UserId"),
        item_id=named(one.get("itemid"), "ItemId"),
        value=number(one.get("value"), "Value"),
        time_us=moment_us(one.get("timestamp")),
        comment=text(one.get("comment"), "Comment"),
        labels=one.get("labels"),
    )


@router.post("/feedback")
async def add_feedback(request: Request, view: Sent) -> Response:
    """Keep feedback; the value of a key that is known already is added to."""
    given = [read(one) for one in await read_objects(request)]
    key = request.headers.get("idempotency-key")
    ids = [
        uuid.uuid4().hex if key is None else uuid.uuid5(uuid.NAMESPACE_OID, f"gorse\n{key}\n{n}").hex
        for n in range(len(given))
    ]
    await keep(view, given, ids)
    return affected(len(given))


@router.put("/feedback")
async def put_feedback(request: Request, view: Sent) -> Response:
    """Keep feedback; it takes the place of what is known of its key. The same again changes nothing."""
    given = [read(one) for one in await read_objects(request)]
    ids = [
        uuid.uuid5(uuid.NAMESPACE_OID, f"gorse put\n{one.key}\n{one.time_us}\n{one.value}").hex
        for one in given
    ]
    moments = await keep(view, given, ids)
    rows = [
        FeedbackRow(
            user_id=one.user_id,
            item_id=one.item_id,
            kind=one.kind,
            value=one.value,
            time_us=moment,
            updated_us=moment,
            comment=one.comment,
            labels=one.labels,
            is_mark=moment > now_us() + CLOCK_ERROR_US or one.kind in NOT_BEHAVIOUR,
        )
        for one, moment in zip(given, moments, strict=True)
    ]
    if rows:
        await asyncio.wrap_future(view.feedback.put(rows))
    return affected(len(given))


async def keep(view: GorseProject, given: list[Given], event_ids: list[str]) -> list[int]:
    """Keep feedback as events; the moment of each. Of one key in one request, views count the first only."""
    if not given:
        return []
    received, met = now_us(), set()
    rows: list[Row] = []
    for one, event_id in zip(given, event_ids, strict=True):
        moment = received if one.time_us is None else one.time_us
        is_mark = moment > received + CLOCK_ERROR_US or one.kind in NOT_BEHAVIOUR
        context: dict[str, Any] = {KIND: one.kind} if is_mark else {}
        context |= {} if one.comment is None else {"comment": one.comment}
        context |= {} if one.labels is None else {"labels": one.labels}
        context |= {REPEAT: "yes"} if one.key in met else {}
        met.add(one.key)
        action = IMPRESSION if is_mark else one.kind
        rows.append(event(event_id, one, (action, moment, received), context))
    try:
        view.project.actions_room(row["action"] for row in rows)
    except DataError as error:
        raise bad(str(error)) from None
    names = [one.user_id for one in given]
    if not view.users.knows(names):
        new = await asyncio.to_thread(view.users.unknown, names)
        if new:
            await asyncio.wrap_future(view.project.records.put_users([(name, {}) for name in new]))
    await asyncio.wrap_future(view.project.keep(rows))
    if any(row["action"] == IMPRESSION for row in rows):  # lists leave out what was marked, at once
        view.feedback.expect_marks()
        await asyncio.to_thread(view.feedback.catch_up)
    return [row["time_us"] for row in rows]


def event(event_id: str, one: Given, when: tuple[str, int, int], context: dict[str, Any]) -> Row:
    """A feedback as the store keeps it; `when` is its action, its moment and when it was received."""
    action, time_us, received_us = when
    return {
        "event_id": event_id,
        "user_id": one.user_id,
        "item_id": one.item_id,
        "action": action,
        "time_us": time_us,
        "received_us": received_us,
        "session_id": None,
        "value": one.value or None,
        "recommendation_id": None,
        "position": None,
        "more": {CONTEXT: context} if context else None,
    }


def _shown(row: FeedbackRow) -> dict[str, Any]:
    return {
        "FeedbackType": row.kind,
        "UserId": row.user_id,
        "ItemId": row.item_id,
        "Value": row.value,
        "Timestamp": told(row.time_us),
        "Updated": told(row.updated_us),
        "Labels": row.labels,
        "Comment": row.comment or "",
    }


async def _page(request: Request, view: GorseProject, kind: str | None) -> Response:
    n = integer(request, "n", view.config.default_n)
    after = _cursor(request.query_params.get("cursor", ""))
    feedback = await view.seen_feedback()
    rows = await asyncio.to_thread(feedback.page, after, n + 1, kind) if n else []
    following = ""
    if len(rows) > n:
        rows = rows[:n]
        following = base64.urlsafe_b64encode(orjson.dumps(rows[-1].key)).decode()
    return answer({"Cursor": following, "Feedback": [_shown(row) for row in rows]})


def _cursor(cursor: str) -> tuple[str, str, str] | None:
    if not cursor:
        return None
    try:
        user_id, item_id, kind = orjson.loads(base64.urlsafe_b64decode(cursor))
        return str(user_id), str(item_id), str(kind)
    except (binascii.Error, ValueError, TypeError):
        raise bad("invalid cursor") from None


async def _of(
    view: GorseProject, user_id: str | None, item_id: str | None, kind: str | None = None
) -> Response:
    feedback = await view.seen_feedback()
    rows = await asyncio.to_thread(feedback.of, user_id, item_id, kind)
    return answer([_shown(row) for row in rows])


@router.get("/feedback")
async def list_feedback(request: Request, view: Asked) -> Response:
    """All feedback, page by page."""
    return await _page(request, view, None)


@router.get("/feedback/{kind}")
async def list_feedback_of_kind(kind: str, request: Request, view: Asked) -> Response:
    """All feedback of one type, page by page."""
    return await _page(request, view, kind)


@router.get("/feedback/{user_id}/{item_id}")
async def get_feedback(user_id: str, item_id: str, view: Asked) -> Response:
    """All that a user did to an item."""
    return await _of(view, user_id, item_id)


@router.delete("/feedback/{user_id}/{item_id}")
async def delete_feedback(user_id: str, item_id: str, view: Sent) -> Response:
    """Take away all that a user did to an item; the log of events stays."""
    return await _remove(view, user_id, item_id, None)


@router.get("/feedback/{kind}/{user_id}/{item_id}")
async def get_feedback_of_kind(kind: str, user_id: str, item_id: str, view: Asked) -> Response:
    """What a user did to an item in one way; an empty object where there is nothing."""
    feedback = await view.seen_feedback()
    rows = await asyncio.to_thread(feedback.of, user_id, item_id, kind)
    return answer(_shown(rows[0]) if rows else {})


@router.delete("/feedback/{kind}/{user_id}/{item_id}")
async def delete_feedback_of_kind(kind: str, user_id: str, item_id: str, view: Sent) -> Response:
    """Take away what a user did to an item in one way; the log of events stays."""
    return await _remove(view, user_id, item_id, kind)


async def _remove(view: GorseProject, user_id: str, item_id: str, kind: str | None) -> Response:
    feedback = await view.seen_feedback()
    return affected(await asyncio.wrap_future(feedback.remove(user_id, item_id, kind)))


@router.get("/user/{user_id}/feedback")
async def user_feedback(user_id: str, view: Asked) -> Response:
    """All that a user did."""
    return await _of(view, user_id, None)


@router.get("/user/{user_id}/feedback/{kind}")
async def user_feedback_of_kind(user_id: str, kind: str, view: Asked) -> Response:
    """All that a user did in one way."""
    return await _of(view, user_id, None, kind)


@router.get("/item/{item_id}/feedback")
async def item_feedback(item_id: str, view: Asked) -> Response:
    """All that was done to an item."""
    return await _of(view, None, item_id)


@router.get("/item/{item_id}/feedback/{kind}")
async def item_feedback_of_kind(item_id: str, kind: str, view: Asked) -> Response:
    """All that was done to an item in one way."""
    return await _of(view, None, item_id, kind)
