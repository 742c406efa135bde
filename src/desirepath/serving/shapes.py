# SPDX-License-Identifier: Apache-2.0
"""What requests and replies look like; the only place where bodies are validated.

Limits are part of the shapes, so that the schema at /openapi.json tells them.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

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


Name = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f.]+$", examples=["price"])
]
"""Of an attribute; a point in it would look like a nested one."""
Attributes = Annotated[dict[Name, JsonValue], AfterValidator(_small), Field(max_length=100)]


class Shape(BaseModel):
    """The parent of all shapes: unknown fields are errors, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class Sent(Shape):
    """The parent of what is sent: a number must be one, not a text or truth value that could stand for it."""

    model_config = ConfigDict(strict=True)


class EventIn(Sent):
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


class RecommendIn(Sent):
    """Whom a list is for, and what it must be like."""

    user_id: Id | None = None
    session_id: Id | None = Field(None, description="An anonymous session, when there is no user.")
    history: list[Id] = Field([], max_length=MOST_LIST, description="Items of anyone, oldest first.")
    item_id: Id | None = Field(None, description="The item being looked at: its page, as context.")
    k: int | None = Field(None, ge=1, le=MOST_LIST, description="As the scenario says when left out.")
    scenario: Word = "default"
    filter: str = Field(
        "", max_length=4000, description="A condition on items: `price < 20 and 'drama' in genres`."
    )
    categories: list[Id] = Field([], max_length=50, description="Items must bear all of these.")
    query: str = Field("", max_length=200, description="Only items whose id or title has this in it.")
    diversity: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        None, description="Of everything drawn by chance; drawn anew for each list when left out."
    )
    context: Attributes = Field(
        {},
        description="device, country, region, source, hour (0 to 23 UTC): they change the order. Else kept.",
    )
    explain: bool = Field(False, description="Say which events of the history brought each item here.")
    exclude_seen: bool | None = None
    exclude: list[Id] = Field([], max_length=MOST_LIST, description="Items that must not be shown.")


class ShownOut(Shape):
    """One item of a list."""

    item_id: str
    title: str | None
    score: float | None
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
    scenario: str
    variant: str | None = Field(description="Of the experiment that this user takes part in.")
    n_filtered: dict[str, int] = Field(description="Candidates left out, by the rule that did so.")
    notes: list[str] = Field(description="What could not be done, such as a pin of an unknown item.")
    latency_ms: float


class ItemIn(Sent):
    """What an item is; replaces all that was said of it."""

    item_id: Id
    attributes: Attributes = Field({}, description="title, categories, price, created_at, ...")
    is_hidden: bool = Field(False, description="Never shown while this is true.")


class ItemPatch(Sent):
    """Attributes to change; null takes one away."""

    attributes: Attributes = {}
    is_hidden: bool | None = None


class ItemOut(Shape):
    """An item."""

    item_id: str
    attributes: dict[str, JsonValue]
    is_hidden: bool


class UserIn(Sent):
    """What a user is; replaces all that was said of him."""

    user_id: Id
    attributes: Attributes = {}


class UserPatch(Sent):
    """Attributes to change; null takes one away."""

    attributes: Attributes


class UserOut(Shape):
    """A user."""

    user_id: str
    attributes: dict[str, JsonValue]
    n_events: int = Field(description="Events that answers know of.")


class ChangesOut(Shape):
    """What became of a list of changes, all of which are on disk."""

    created: int
    replaced: int


class ItemsPage(Shape):
    """Some items, and where the next ones begin."""

    items: list[ItemOut]
    cursor: str | None = Field(description="Give it back for the next page; null at the end.")


class UsersPage(Shape):
    """Some users, and where the next ones begin."""

    users: list[UserOut]
    cursor: str | None = Field(description="Give it back for the next page; null at the end.")


class ErasedOut(Shape):
    """What was erased with a user."""

    events: int
    lists: int


class TieIn(Sent):
    """`source` follows `target`."""

    source: Id
    target: Id
    weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0


class TieKey(Sent):
    """A tie to be cut."""

    source: Id
    target: Id


class CutOut(Shape):
    """Whether there was such a tie."""

    was_there: bool


class LikeItem(Shape):
    """An item like another."""

    item_id: str
    title: str | None
    similarity: float


class LikeItems(Shape):
    """Items like one, best first; empty for an item that the model never met."""

    items: list[LikeItem]
    model_version: str


class LikeUser(Shape):
    """A user like another."""

    user_id: str
    similarity: float


class LikeUsers(Shape):
    """Users like one, best first."""

    users: list[LikeUser]
    model_version: str


class PersonOut(Shape):
    """Someone to follow."""

    user_id: str
    score: float
    followed_by: int = Field(description="Of those whom the user follows, how many follow this one.")
    similarity: float = Field(description="Cosine of what both do; 0 where it is unknown.")


class PeopleOut(Shape):
    """People to follow, best first."""

    users: list[PersonOut]


class TrendingItem(Shape):
    """An item and how popular it has been of late."""

    item_id: str
    title: str | None
    share: float = Field(description="Of all events, each counting half after the half-life.")


class TrendingOut(Shape):
    """What has been popular of late, best first."""

    items: list[TrendingItem]
    half_life_days: float


class FeedbackIn(Sent):
    """What became of a served list: what was seen, what was done, how much it pleased."""

    recommendation_id: Annotated[str, Field(min_length=1, max_length=64, pattern=PLAIN)]
    user_id: Id | None = None
    session_id: Id | None = None
    impressions: list[Id] = Field([], max_length=MOST_LIST, description="Items that were seen, in order.")
    item_id: Id | None = Field(None, description="The item that was acted on.")
    action: Word | None = Field(None, description="What was done to it, such as click.")
    position: Annotated[int, Field(ge=1, le=100_000)] | None = None
    satisfaction: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="0 not at all, 1 fully."
    )
    time: Moment | None = None


class ExplainIn(Sent):
    """For whom, and which items."""

    user_id: Id | None = None
    session_id: Id | None = None
    history: list[Id] = Field([], max_length=MOST_LIST, description="Items of anyone, oldest first.")
    items: list[Id] = Field([], max_length=100, description="Those of the present list when left out.")
    scenario: Word = "default"
    k: int | None = Field(None, ge=1, le=100)
    language: Literal["en", "zh"] = "en"


class EventEffect(Shape):
    """What leaving out one event of the history would change."""

    item_id: str
    title: str | None
    action: str
    time_s: float
    probability_without: float | None
    change: float | None = Field(description="Above 0: the event speaks for the item.")
    log_odds_change: float


class WhyOut(Shape):
    """One item explained."""

    item_id: str
    title: str | None
    probability: float | None
    probability_without_history: float | None
    sentence: str
    events: list[EventEffect] = Field(description="The strongest first; effects do not add up.")


class ExplainOut(Shape):
    """Items explained."""

    items: list[WhyOut]
    model_version: str


class ActionChance(Shape):
    """A next action and its probability."""

    action: str
    probability: float


class PredictOut(Shape):
    """What comes next, and when."""

    actions: list[ActionChance]
    expected_s: dict[str, float | None] = Field(
        description="Seconds until the next event: median, and an interval that holds it in 80 of 100 cases."
    )
    within: dict[str, float | None] = Field(description="P(an event within 1h, 1d, 7d).")
    n_events: int
    model_version: str


class ProfileOut(BaseModel):
    """A portrait; see docs/profiles.md."""

    model_config = ConfigDict(extra="allow")
    user_id: str
    as_of: str
    facts: dict[str, Any]


class ModelsOut(Shape):
    """Trained versions, and what the upkeep is at."""

    versions: list[dict[str, Any]]
    state: dict[str, Any]


class SwappedOut(Shape):
    """Which version answers now."""

    current: str


class StartedOut(Shape):
    """Something was begun."""

    started: bool


class OutcomesOut(Shape):
    """Online metrics by scenario and variant."""

    metrics: list[dict[str, Any]]
    series: list[dict[str, Any]]


class ScenariosOut(Shape):
    """The scenarios in force."""

    scenarios: dict[str, dict[str, Any]]
    problem: str | None = Field(description="What is wrong with the file as it is now.")
