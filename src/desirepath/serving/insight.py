# SPDX-License-Identifier: Apache-2.0
"""Understanding out: why an item is recommended, what someone does next, and who he is."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from desirepath.live.answer import Ask
from desirepath.serving.access import Reader
from desirepath.serving.events import subject
from desirepath.serving.items import plain
from desirepath.serving.paths import IdRoute
from desirepath.serving.problems import FieldError, ProblemError
from desirepath.serving.shapes import ExplainIn, ExplainOut, PredictOut, ProfileOut
from desirepath.serving.users import UserId

router = APIRouter(tags=["insight"], route_class=IdRoute)


@router.post("/explain", response_model=ExplainOut)
async def explain(body: ExplainIn, project: Reader) -> Response:
    """Why items suit someone: what leaving out each event of the history would change, and in words.

    Without `items`, the list is made that the user would get now, and each of its items is explained.
    """
    user_id = subject(body.user_id, body.session_id)
    if user_id is None and not body.history:
        reason = "must be given, or session_id or history in its place"
        raise ProblemError(422, f"'user_id' {reason}.", [FieldError(field="user_id", reason=reason)])
    ask = Ask(user_id=user_id, history=tuple(body.history), scenario=body.scenario, k=body.k)
    if body.items:
        shown = project.insight.shown(body.items)
    else:
        shown = list((await asyncio.wrap_future(project.recommend(ask))).items)
    found = await asyncio.to_thread(project.insight.explain, ask, shown, body.language)
    return plain({"items": [asdict(one) for one in found], "model_version": project.engine.version.name})


@router.get("/users/{user_id}/predict", response_model=PredictOut)
async def predict(user_id: UserId, project: Reader, k: Annotated[int, Query(ge=1, le=100)] = 10) -> Response:
    """What the user does next and when, with calibrated probabilities; his last event counts."""
    found = await asyncio.to_thread(project.insight.predict, Ask(user_id=user_id), k)
    return plain(found | {"model_version": project.engine.version.name})


@router.get("/users/{user_id}/profile", response_model=ProfileOut)
async def profile(user_id: UserId, project: Reader, language: Literal["en", "zh"] = "en") -> Response:
    """The portrait of a user until this moment: rhythm, interests with trend, sessions, segment."""
    found: dict[str, Any] = await asyncio.to_thread(lambda: project.portraits.of(user_id).to_dict())
    return plain(found)
