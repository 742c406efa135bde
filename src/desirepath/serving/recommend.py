# SPDX-License-Identifier: Apache-2.0
"""Answers out: lists for users, sessions and histories."""

from __future__ import annotations

import asyncio
import time

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath

from desirepath.live.answer import Ask, Reply
from desirepath.live.project import Project
from desirepath.serving.access import Reader, project_for
from desirepath.serving.body import answered_by, read_shape
from desirepath.serving.events import subject
from desirepath.serving.paths import IdRoute
from desirepath.serving.shapes import PLAIN, ListOut, RecommendIn

router = APIRouter(tags=["recommendations"], route_class=IdRoute)
MOST_NAMED = 10_000
"""Items that a text search hands to a request."""


async def _recommend(request: Request) -> Response:
    project = project_for(request, "read")
    return await recommend(await read_shape(request, RecommendIn), project)


@router.post("/recommend", response_model=ListOut)
@answered_by(_recommend)
async def recommend(body: RecommendIn, project: Reader) -> Response:
    """A list for a user, an anonymous session, or a history, from everything known until now."""
    ask = Ask(
        user_id=subject(body.user_id, body.session_id),
        history=tuple(body.history),
        item_id=body.item_id,
        k=body.k,
        scenario=body.scenario,
        filter=body.filter,
        categories=tuple(body.categories),
        exclude_seen=body.exclude_seen,
        exclude=tuple(body.exclude),
        only=await _named(project, body.query) if body.query else None,
        diversity=body.diversity,
        seed=body.seed,
        context=body.context | ({"query": body.query} if body.query else {}),
    )
    return await answered(project, ask)


@router.get("/users/{user_id}/recommendations", response_model=ListOut)
async def recommend_to_user(
    project: Reader,
    user_id: str = InPath(min_length=1, max_length=512, pattern=PLAIN),
    k: int | None = Query(None, ge=1, le=1000),
    scenario: str = Query("default", max_length=128),
) -> Response:
    """As POST /v1/recommend, for one user."""
    return await answered(project, Ask(user_id=user_id, k=k, scenario=scenario))


async def _named(project: Project, text: str) -> tuple[str, ...]:
    """Items whose id or title has the text in it."""
    found, _ = await asyncio.to_thread(project.catalogue.search, text, MOST_NAMED)
    return tuple(found)


async def answered(project: Project, ask: Ask) -> Response:
    """The list that someone gets, remembered under its recommendation_id."""
    began = time.perf_counter()
    reply = await asyncio.wrap_future(project.recommend(ask))
    project.remember(reply, ask)
    return Response(
        orjson.dumps(listed(reply, 1e3 * (time.perf_counter() - began))), media_type="application/json"
    )


def listed(reply: Reply, latency_ms: float) -> dict[str, object]:
    """A reply as it is sent."""
    return {
        "recommendation_id": reply.recommendation_id,
        "model_version": reply.model_version,
        "fallback": reply.fallback,
        "items": [
            {
                "item_id": shown.item_id,
                "title": shown.title,
                "score": shown.score,
                "probability": shown.probability,
                "propensity": shown.propensity,
                "reasons": shown.reasons,
            }
            for shown in reply.items
        ],
        "n_events": reply.n_events,
        "scenario": reply.scenario,
        "variant": reply.variant,
        "n_filtered": reply.n_filtered,
        "notes": reply.notes,
        "latency_ms": round(latency_ms, 3),
    }
