# SPDX-License-Identifier: Apache-2.0
"""Events in: one, many, or a stream of lines; each is kept once, and what cannot be kept is told why."""

from __future__ import annotations

import asyncio
import hashlib
import re
import uuid
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Header, Request, Response
from pydantic import TypeAdapter, ValidationError

from desirepath.live.project import Project
from desirepath.live.store import Row, now_us
from desirepath.serving.access import Writer, project_for
from desirepath.serving.body import StrictRoute, answered_by, loads, read_body
from desirepath.serving.measures import measures_of
from desirepath.serving.problems import FieldError, ProblemError, field_errors
from desirepath.serving.shapes import EventIn, EventsOut

router = APIRouter(tags=["events"], route_class=StrictRoute)
KEY = "idempotency-key"
KEY_FORM = re.compile(r"[\x21-\x7e]{1,255}")
MOST_EVENTS = 10_000
"""Events in one request."""
ANONYMOUS = "session:"
"""Before the id of a session that stands for a user."""
MORE = ("query", "device", "country", "region", "lat", "lon", "source", "context")

_event = TypeAdapter(EventIn)
_ONE = {"$ref": "#/components/schemas/EventIn"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1, "maxItems": MOST_EVENTS}]
                }
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


def subject(user_id: str | None, session_id: str | None) -> str | None:
    """Whose history an event or a question belongs to: the user's, or that of an anonymous session."""
    return user_id if user_id is not None else f"{ANONYMOUS}{session_id}" if session_id is not None else None


async def _add_events(request: Request) -> Response:
    project = project_for(request, "events")
    key = request.headers.get(KEY)
    if key is not None and not KEY_FORM.fullmatch(key):
        reason = "must be 1 to 255 printable ASCII characters without blanks"
        raise ProblemError(422, f"{KEY} {reason}.", [FieldError(field=f"header.{KEY}", reason=reason)])
    return await add_events(request, project, key)


@router.post("/events", response_model=EventsOut, status_code=200, openapi_extra=_BODY)
@answered_by(_add_events)
async def add_events(
    request: Request,
    project: Writer,
    idempotency_key: str | None = Header(None, max_length=255, pattern=r"^[\x21-\x7e]+$"),
) -> Response:
    """Keep one event, an array of them, or lines of them (application/x-ndjson).

    Rows that are not valid are returned with reasons while the others are kept. With `Idempotency-Key`, a
    request sent again gives the same events the same ids, so that they count once.
    """
    body = await read_body(request)
    given = _rows_of(body, request.headers.get("content-type", ""))
    rows, rejected = [], []
    for index, value in enumerate(given):
        try:
            event = _event.validate_python(value) if isinstance(value, dict) else _refuse(value)
            rows.append((index, _row(event, idempotency_key, index)))
        except ValidationError as error:
            rejected.append((index, field_errors(error.errors(include_url=False, include_input=False))))
        except ProblemError as error:
            rejected.append((index, error.errors))
    if not rows:
        measures_of(request).not_kept(project.name, (), len(rejected))
        index, errors = rejected[0]
        told = [
            FieldError(field=f"{i}.{e.field}".rstrip("."), reason=e.reason) for i, es in rejected for e in es
        ]
        detail = f"No event was kept. Event {index}: '{errors[0].field}' {errors[0].reason}."
        raise ProblemError(422, detail, told[:100])
    project.actions_room(row["action"] for _, row in rows)
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    if idempotency_key is not None:
        await _same_request(project, idempotency_key, digest)
    kept = await asyncio.wrap_future(project.keep([row for _, row in rows]))
    if kept.known or rejected:
        known = set(kept.known)
        actions = (row["action"] for _, row in rows if row["event_id"] in known)
        measures_of(request).not_kept(project.name, actions, len(rejected))
    reply = {
        "accepted": len(kept.fresh),
        "known": len(kept.known),
        "rejected": [{"index": i, "errors": [e.model_dump() for e in errors]} for i, errors in rejected],
        "event_ids": [row["event_id"] for _, row in rows],
    }
    return Response(orjson.dumps(reply), media_type="application/json")


async def _same_request(project: Project, key: str, digest: str) -> None:
    """Refuse a key that came with another body before."""
    known = await asyncio.wrap_future(project.claim_request(key, digest))
    if known != digest:
        raise ProblemError(
            422,
            "An Idempotency-Key must come with the same body each time; this one came with another. "
            "Use a fresh key for a new request.",
            [FieldError(field="Idempotency-Key", reason="was used for another body")],
        )


def _refuse(value: Any) -> EventIn:
    raise ProblemError(
        422, "", [FieldError(field="", reason=f"must be an object; got {type(value).__name__}")]
    )


def _rows_of(body: bytes, content_type: str) -> Sequence[Any]:
    """The events of a body, not yet validated."""
    if content_type.partition(";")[0].strip().lower() == "application/x-ndjson":
        lines = [line for line in body.splitlines() if line.strip()]
        given: Any = [loads(line, f"line {n}") for n, line in enumerate(lines, start=1)]
    else:
        given = loads(body)
    given = given if isinstance(given, list) else [given]
    if not 1 <= len(given) <= MOST_EVENTS:
        raise ProblemError(
            422, f"A request must hold 1 to {MOST_EVENTS} events; got {len(given)}. Send parts."
        )
    return list(given)


def _row(event: EventIn, key: str | None, index: int) -> Row:
    """An event as the store keeps it."""
    user_id = subject(event.user_id, event.session_id)
    if user_id is None:
        raise ProblemError(
            422, "", [FieldError(field="user_id", reason="user_id or session_id must be given")]
        )
    received = now_us()
    event_id = event.event_id
    if event_id is None:
        event_id = uuid.uuid4().hex if key is None else uuid.uuid5(uuid.NAMESPACE_OID, f"{key}\n{index}").hex
    more = {name: value for name in MORE if (value := getattr(event, name)) is not None}
    return {
        "event_id": event_id,
        "user_id": user_id,
        "item_id": event.item_id,
        "action": event.action,
        "time_us": received if event.time is None else round(event.time * 1e6),
        "received_us": received,
        "session_id": event.session_id,
        "value": event.value,
        "recommendation_id": event.recommendation_id,
        "position": event.position,
        "more": more or None,
    }
