# SPDX-License-Identifier: Apache-2.0
"""What requests and replies look like; the only place where bodies are validated.

Limits are part of the shapes, so that the schema at /openapi.json tells them.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

PLAIN = r"^[^\x00-\x1f\x7f]+$"
"""No control characters, which databases and logs refuse or mangle."""

Id = Annotated[str, Field(min_length=1, max_length=512, pattern=PLAIN, examples=["42"])]
Word = Annotated[str, Field(min_length=1, max_length=128, pattern=PLAIN, examples=["view"])]
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
MOST_LIST = 1000
LATEST_AHEAD_S = 86_400.0
"""A clock may be ahead by a day; what is later is a mistake."""


def _moment(value: Any) -> float:
    """Seconds since 1970 UTC of an RFC 3339 text or a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be an RFC 3339 text such as 2026-05-01T12:00:00Z, or seconds since 1970")
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise ValueError("must be an RFC 3339 text such as 2026-05-01T12:00:00Z") from None
    else:
        seconds = float(value)
    if not 0 <= seconds <= time.time() + LATEST_AHEAD_S:
        raise ValueError("must lie between 1970 and a day from now; numbers are seconds, not milliseconds")
    return seconds


Moment = Annotated[
    float,
    BeforeValidator(_moment),
    Field(
        description="RFC 3339 text, or seconds since 1970 UTC; from 1970 to a day from now.",
        json_schema_extra={
            "type": ["number", "string"],
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1.7e9},
                {"type": "string", "format": "date-time"},
            ],
        },
    ),
]


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(value) > 100:
        raise ValueError(f"at most 100 entries; got {len(value)}")
    return value


Attributes = Annotated[dict[Word, JsonValue], AfterValidator(_small), Field(max_length=100)]


class Shape(BaseModel):
    """The parent of all shapes: unknown fields are errors, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class EventIn(Shape):
    """Something that someone did to an item."""

    event_id: Id | None = Field(None, description="The caller's own id; sent again, it counts once.")
    user_id: Id | None = Field(None, description="Who; without it, `session_id` stands for an anonymous one.")
    session_id: Id | None = None
    item_id: Id
    action: Word = "event"
    time: Moment | None = Field(None, description="When; now if left out.")
    value: Finite | None = Field(
        None, description="A rating, an amount, seconds of dwell: as the log means it."
    )
    recommendation_id: Annotated[str, Field(max_length=64, pattern=PLAIN)] | None = None
    position: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Place in the list, from 1."
    )
    query: Annotated[str, Field(max_length=2000)] | None = None
    device: Word | None = None
    country: Word | None = None
    region: Word | None = None
    lat: Annotated[float, Field(ge=-90, le=90)] | None = None
    lon: Annotated[float, Field(ge=-180, le=180)] | None = None
    source: Word | None = None
    context: Attributes | None = Field(None, description="Whatever else is worth keeping.")


class Rejected(Shape):
    """A row that was not kept, and why."""

    index: int = Field(description="Its place in what was sent, from 0.")
    errors: list[dict[str, str]]


class EventsOut(Shape):
    """What became of events; everything accepted is on disk."""

    accepted: int = Field(description="Kept now.")
    known: int = Field(description="Kept before, by their event_id; they count once.")
    rejected: list[Rejected]
    event_ids: list[str] = Field(description="Of the accepted and known rows, in their order.")


class RecommendIn(Shape):
    """Whom a list is for, and what it must be like."""

    user_id: Id | None = None
    session_id: Id | None = Field(None, description="An anonymous session, when there is no user.")
    history: list[Id] = Field([], max_length=MOST_LIST, description="Items of anyone, oldest first.")
    k: int = Field(10, ge=1, le=MOST_LIST)
    scenario: Word = "default"
    exclude_seen: bool | None = None
    exclude: list[Id] = Field([], max_length=MOST_LIST, description="Items that must not be shown.")


class ShownOut(Shape):
    """One item of a list."""

    item_id: str
    title: str | None
    score: float
    probability: float | None = Field(
        description="That it is the next item; null where it is not calibrated."
    )
    propensity: float = Field(description="Probability with which it came to stand here.")
    reasons: list[dict[str, Any]]


class ListOut(Shape):
    """A list, and where it comes from."""

    recommendation_id: str
    model_version: str
    fallback: str | None = Field(description="Why the list is not the model's; null when it is.")
    items: list[ShownOut]
    n_events: int = Field(description="Events that this answer knew of.")
    latency_ms: float
