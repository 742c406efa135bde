# SPDX-License-Identifier: Apache-2.0
"""The portrait of one user as of a moment: who this is, what is liked, when, and what comes next.

It reads the user's own events, and tables that others made (segments, classes, patterns, similar
users, next actions). People see it through `render`, programs through `to_dict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import polars as pl
from rich.console import Console

from desirepath.errors import ConfigError, LeakError
from desirepath.features import (
    InterestConfig,
    SessionConfig,
    before,
    hour_weekday_counts,
    interests,
    sessions,
)
from desirepath.features.interests import item_labels
from desirepath.profiles.attributes import CONTEXTS, label_attributes
from desirepath.profiles.classes import ClassConfig, user_classes
from desirepath.profiles.course import counts, elapsed_days, half_life_days, trend
from desirepath.profiles.drawing import draw_user
from desirepath.profiles.membership import membership
from desirepath.profiles.plain import close_id, missing, plain
from desirepath.profiles.segments import Segments
from desirepath.profiles.vectors import VectorConfig
from desirepath.schema import ACTION, ITEM, TIME, USER
from desirepath.sequences import Sequences

Frame = pl.LazyFrame | pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class PortraitConfig:
    """What a portrait tells."""

    k: int = 5
    """Rows of each list; at least 1."""
    n_latest: int = 10
    """Latest events shown; at least 1."""
    vectors: VectorConfig = field(default_factory=VectorConfig)
    """Attributes, clock and sessions; the same as the segments' vectors were made with."""
    classes: ClassConfig = field(default_factory=ClassConfig)
    """Where activity classes end; read where no table of classes is handed in."""
    short_half_life_days: float = 7.0
    """Half-life of short-term interests; above 0. The long-term one is that of `vectors`."""
    price: str = "price"
    """Column of the items' table with prices; passed over where the table has none."""

    def __post_init__(self) -> None:
        for name in ("k", "n_latest"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What portraits read besides the events; whatever is None is left out of them."""

    items: Frame | None = None
    """The items' table: item_id, attributes, perhaps title and price."""
    users: Frame | None = None
    """The users' table: user_id and traits."""
    segments: Segments | None = None
    """Segments as of the same moment or an earlier one."""
    classes: pl.DataFrame | None = None
    """`user_classes` as of the same moment; None: made here, which reads three columns of the whole log."""
    sequences: Sequences | None = None
    """For items: what comes before and after."""
    patterns: pl.DataFrame | None = None
    """Patterns that users hold: user_id (if it is of several), pattern and whatever tells of it."""
    similar: pl.DataFrame | None = None
    """user_id and similarity, best first; None: cosine in the space of the segments."""
    next_actions: pl.DataFrame | None = None
    """Predictions for this user, best first: item_id or action, and probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPortrait:
    """One user as of one moment. Tables are None or empty where nothing was there to tell."""

    user_id: str
    as_of: datetime
    facts: Mapping[str, Any]
    """n_events, n_items, active_days, first, last, recency_days, tenure_days, actions (count by action),
    rfm scores and class, activity_class, value_sum where value is told, and traits of the users' table."""
    step: str
    """"day" or "week": what a row of the timeline is."""
    timeline: pl.DataFrame
    """start, n_events; empty ones included."""
    latest: pl.DataFrame
    """time, action, item_id, and title where known; newest first."""
    rhythm: pl.DataFrame
    """weekday (Monday 1), hour, n_events: 168 rows, on the configured clock."""
    interests: pl.DataFrame
    """attribute, label, n_events, share_long, share_short, trend, half_life_days; strongest first."""
    prices: Mapping[str, Any] | None
    """median, low and high quartile of the prices met, and the band among all items: low, middle, high."""
    contexts: pl.DataFrame
    """kind ("device", "country", "region"), value, n_events, share."""
    sessions: Mapping[str, Any]
    """n_sessions, events_per_session, length_s_median, days_between_median (null for one session)."""
    segment: Mapping[str, Any] | None
    """segment, name, confidence, and why: marks of the segment that this user shares."""
    patterns: pl.DataFrame | None
    similar: pl.DataFrame | None
    next_actions: pl.DataFrame | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: tables as lists of rows, times as ISO text."""
        return {name: plain(getattr(self, name)) for name in self.__slots__}

    def render(self, console: Console) -> None:
        """Print the portrait for people: about fifty lines."""
        draw_user(self, console)


def user_portrait(
    user_id: str,
    events: Frame,
    as_of: datetime,
    sources: Sources | None = None,
    config: PortraitConfig | None = None,
) -> UserPortrait:
    """The portrait of a user; nothing at or after `as_of` is used.

    Args:
        user_id: whom.
        events: canonical events; a lazy table is filtered where it lies.
        as_of: the moment; must bear a time zone.
        sources: tables of items, users and segments, and what other rooms found.
        config: lengths of lists, attributes, clock, classes.

    Raises:
        DataError: the user has no event before the moment; the message names the nearest known id.
        LeakError: the segments were found later than `as_of`.

    Cost: one pass over the log, which keeps the user's events and, where no classes are handed in,
    first and last moments of all users.
    """
    sources, config = sources or Sources(), config or PortraitConfig()
    if sources.segments is not None and sources.segments.as_of > as_of:
        raise LeakError(
            f"Segments must be as of {as_of.isoformat()} or earlier; these are as of "
            f"{sources.segments.as_of.isoformat()} and know what came after."
        )
    own, classes = _own(user_id, events, as_of, sources, config)
    shown = own.sort(TIME, descending=True, maintain_order=True)
    met = _met(sources.items, own)
    step, timeline = counts(own, as_of)
    return UserPortrait(
        user_id=user_id,
        as_of=as_of,
        facts=_facts(own, classes, user_id, sources),
        step=step,
        timeline=timeline,
        latest=titled(shown.head(config.n_latest).select(TIME, ACTION, ITEM), met),
        rhythm=hour_weekday_counts(own, config.vectors.tz),
        interests=_interests(own, met, sources, as_of, config),
        prices=_prices(own, met, sources.items, config.price),
        contexts=contexts(own, config.k),
        sessions=_sessions(own, as_of, config.vectors.sessions),
        segment=membership(user_id, own, as_of, replace(sources, items=met), config),
        patterns=_of(sources.patterns, user_id, config.k),
        similar=_similar(user_id, sources, config.k),
        next_actions=titled(_first(sources.next_actions, config.k), sources.items),
    )


def _own(
    user_id: str, events: Frame, as_of: datetime, sources: Sources, config: PortraitConfig
) -> tuple[pl.DataFrame, pl.DataFrame]:
    log = before(events, as_of)
    mine = log.filter(pl.col(USER) == user_id)
    if sources.classes is not None:
        own, classes = mine.collect(), sources.classes
    else:
        # Collected together, the scan of the log is shared.
        own, classes = pl.collect_all([mine, user_classes(events, as_of, config.classes)])
    if own.is_empty():
        raise missing("user", user_id, close_id(user_id, classes.get_column(USER)), as_of)
    return own, classes


def _facts(own: pl.DataFrame, classes: pl.DataFrame, user_id: str, sources: Sources) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "n_events": own.height,
        "n_items": own.get_column(ITEM).n_unique(),
        "active_days": own.get_column(TIME).dt.date().n_unique(),
        "first": own.get_column(TIME).min(),
        "last": own.get_column(TIME).max(),
        "actions": dict(own.group_by(ACTION).len().sort("len", ACTION, descending=[True, False]).iter_rows()),
    }
    row = classes.filter(pl.col(USER) == user_id)
    facts |= {name: v for name, v in row.row(0, named=True).items() if name != USER} if row.height else {}
    if sources.users is not None:
        known = sources.users.lazy().filter(pl.col(USER) == user_id).collect()
        if known.height:
            facts["traits"] = {n: v for n, v in known.row(0, named=True).items() if n != USER}
    return facts


def _met(items: Frame | None, own: pl.DataFrame) -> pl.DataFrame | None:
    if items is None:
        return None
    return items.lazy().join(own.lazy().select(ITEM).unique(), on=ITEM, how="semi").collect()


def titled(table: pl.DataFrame | None, items: Frame | None) -> Any:
    """The table with the items' titles, where there are any."""
    if table is None or items is None or ITEM not in table.columns:
        return table
    known = items.lazy()
    if "title" not in known.collect_schema() or "title" in table.columns:
        return table
    titles = known.select(ITEM, "title").join(table.lazy().select(ITEM), on=ITEM, how="semi").collect()
    return table.join(titles.unique(ITEM, keep="first"), on=ITEM, how="left", maintain_order="left")


INTERESTS = {
    "attribute": pl.String,
    "label": pl.String,
    "n_events": pl.Int64,
    "share_long": pl.Float64,
    "share_short": pl.Float64,
    "trend": pl.String,
    "half_life_days": pl.Float64,
}


def _interests(
    own: pl.DataFrame, met: pl.DataFrame | None, sources: Sources, as_of: datetime, config: PortraitConfig
) -> pl.DataFrame:
    attributes = config.vectors.attributes
    if met is None or sources.items is None:
        return pl.DataFrame(schema=INTERESTS)
    if attributes is None and sources.segments is not None:
        kinds = [name.split(":", 1) for name in sources.segments.columns]
        attributes = tuple(kind[1] for kind in kinds if kind[0] == "interest") or None
    if attributes is None:
        attributes = label_attributes(sources.items, config.vectors.separator)
    tables = []
    for attribute in attributes:
        asked = InterestConfig(
            attribute=attribute,
            separator=config.vectors.separator,
            half_life_days=config.vectors.half_life_days,
            short_half_life_days=config.short_half_life_days,
        )
        told = interests(own, met, as_of, asked).sort("share_long", "label", descending=[True, False])
        best = told.head(config.k).collect()
        labels = item_labels(met, asked).collect()
        first = own.get_column(TIME).min()
        assert isinstance(first, datetime)
        span = (as_of - first).total_seconds() / 86_400
        courses = []
        times = own.select(ITEM, TIME).join(labels, on=ITEM).partition_by("label", as_dict=True)
        for label in best.get_column("label"):
            elapsed = elapsed_days(times[(label,)].get_column(TIME), first)
            courses.append((trend(elapsed, span)[0], half_life_days(elapsed, span)))
        tables.append(
            best.with_columns(
                pl.lit(attribute).alias("attribute"),
                pl.Series("trend", [course[0] for course in courses], dtype=pl.String),
                pl.Series("half_life_days", [course[1] for course in courses], dtype=pl.Float64),
            ).select(*INTERESTS)
        )
    return pl.concat(tables) if tables else pl.DataFrame(schema=INTERESTS)


def _prices(
    own: pl.DataFrame, met: pl.DataFrame | None, items: Frame | None, price: str
) -> dict[str, Any] | None:
    if met is None or items is None or price not in met.columns or not met.schema[price].is_numeric():
        return None
    paid = own.join(met.select(ITEM, price), on=ITEM).get_column(price).drop_nulls()
    if paid.is_empty():
        return None
    bounds = items.lazy().select(
        pl.col(price).quantile(1 / 3).alias("low"), pl.col(price).quantile(2 / 3).alias("high")
    )
    low, high = bounds.collect().row(0)
    median = float(paid.median())  # type: ignore[arg-type]
    band = "low" if median < low else "high" if median > high else "middle"
    return {
        "median": median,
        "quartile_low": paid.quantile(0.25),
        "quartile_high": paid.quantile(0.75),
        "band": band,
    }


def contexts(own: pl.DataFrame, k: int) -> pl.DataFrame:
    """kind, value, n_events, share (of events that bear one): devices and places of these events."""
    tables = []
    for name in (*CONTEXTS, "region"):
        if name in own.columns:
            found = own.get_column(name).drop_nulls().value_counts(sort=True, name="n_events")
            tables.append(
                found.rename({name: "value"})
                .with_columns(
                    pl.lit(name).alias("kind"),
                    pl.col("n_events").cast(pl.Int64),
                    (pl.col("n_events") / pl.col("n_events").sum()).alias("share"),
                )
                .sort("n_events", "value", descending=[True, False])
                .head(k)
                .select("kind", "value", "n_events", "share")
            )
    empty = {"kind": pl.String, "value": pl.String, "n_events": pl.Int64, "share": pl.Float64}
    return pl.concat(tables) if tables else pl.DataFrame(schema=empty)


def _sessions(own: pl.DataFrame, as_of: datetime, config: SessionConfig) -> dict[str, Any]:
    told = sessions(own, as_of, config).collect().sort("start")
    between = told.get_column("start").diff().dt.total_seconds() / 86_400
    return {
        "n_sessions": told.height,
        "events_per_session": told.get_column("n_events").mean(),
        "length_s_median": told.get_column("length_s").median(),
        "days_between_median": between.median(),
    }


def _of(table: pl.DataFrame | None, user_id: str, k: int) -> pl.DataFrame | None:
    if table is not None and USER in table.columns:
        table = table.filter(pl.col(USER) == user_id).drop(USER)
    return _first(table, k)


def _first(table: pl.DataFrame | None, k: int) -> pl.DataFrame | None:
    return None if table is None else table.head(k)


def _similar(user_id: str, sources: Sources, k: int) -> pl.DataFrame | None:
    if sources.similar is not None:
        return sources.similar.head(k)
    segments = sources.segments
    if segments is None or user_id not in segments.members.get_column(USER):
        return None
    names = segments.members.select(
        USER, pl.col("segment").replace_strict(segments.names, return_dtype=pl.String)
    )
    return segments.similar_users(user_id, k).join(names, on=USER, how="left", maintain_order="left")
