# SPDX-License-Identifier: Apache-2.0
"""Feedback: what was seen of a served list, what was done, how much it pleased; all of it becomes events."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from fastapi import APIRouter, Header

from desirepath.live.actions import IMPRESSION, SATISFACTION
from desirepath.live.store import Row, now_us
from desirepath.serving.access import Writer
from desirepath.serving.body import StrictRoute
from desirepath.serving.events import subject
from desirepath.serving.problems import FieldError, ProblemError
from desirepath.serving.shapes import EventsOut, FeedbackIn

router = APIRouter(tags=["events"], route_class=StrictRoute)
WHOLE_LIST = "(list)"
"""Stands for the item in a rating of a whole list."""


@router.post("/feedback", response_model=EventsOut)
async def add_feedback(
    body: FeedbackIn,
    project: Writer,
    idempotency_key: str | None = Header(None, max_length=255, pattern=r"^[\x21-\x7e]+$"),
) -> dict[str, Any]:
    """Keep what became of a list under its recommendation_id.

    Impressions and ratings are kept for measuring; the action on an item is an event of the user like any
    other, and the next answer knows it.
    """
    user_id = subject(body.user_id, body.session_id)
    if user_id is None:
        raise _wrong("user_id", "must be given, or session_id in its place")
    if (body.action is None) != (body.item_id is None):
        raise _wrong("action", "must come with item_id, and item_id with action")
    received = now_us()
    at = received if body.time is None else round(body.time * 1e6)
    told: list[tuple[str, str, float | None, int | None]] = [
        (item_id, IMPRESSION, None, place) for place, item_id in enumerate(body.impressions, start=1)
    ]
    if body.item_id is not None and body.action is not None:
        told.append((body.item_id, body.action, None, body.position))
    if body.satisfaction is not None:
        told.append((body.item_id or WHOLE_LIST, SATISFACTION, body.satisfaction, body.position))
    if not told:
        raise _wrong("", "must tell impressions, an action on an item, or satisfaction")
    project.actions_room([body.action] if body.action is not None else [])
    rows: list[Row] = [
        {
            "event_id": _event_id(idempotency_key, place),
            "user_id": user_id,
            "item_id": item_id,
            "action": action,
            "time_us": at,
            "received_us": received,
            "session_id": body.session_id,
            "value": value,
            "recommendation_id": body.recommendation_id,
            "position": position,
            "more": None,
        }
        for place, (item_id, action, value, position) in enumerate(told)
    ]
    kept = await asyncio.wrap_future(project.keep(rows))
    return {
        "accepted": len(kept.fresh),
        "known": len(kept.known),
        "rejected": [],
        "event_ids": [row["event_id"] for row in rows],
    }


def _event_id(key: str | None, place: int) -> str:
    if key is None:
        return uuid.uuid4().hex
    return uuid.uuid5(uuid.NAMESPACE_OID, f"feedback\n{key}\n{place}").hex


def _wrong(field: str, reason: str) -> ProblemError:
    return ProblemError(
        422,
        f"'{field}' {reason}." if field else f"Feedback {reason}.",
        [FieldError(field=field, reason=reason)],
    )
