# SPDX-License-Identifier: Apache-2.0
"""The portrait of one item as of a moment: who meets it, when, around what, and how it lives.

It reads the item's own events and the tables that the portrait of a user reads. People see it
through `render`, programs through `to_dict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from rich.console import Console

from desirepath.errors import LeakError
from desirepath.features import before, hour_weekday_counts
from desirepath.profiles.around import SCHEMA, around
from desirepath.profiles.course import counts, elapsed_days, half_life_days, trend
from desirepath.profiles.drawing import draw_item
from desirepath.profiles.plain import close_id, missing, plain
from desirepath.profiles.portrait import PortraitConfig, Sources, contexts, titled
from desirepath.profiles.segments import Segments
from desirepath.schema import ACTION, ITEM, TIME, USER

YOUNG_DAYS = 7.0
"""An item whose first event is younger than this is called new."""
SILENT_DAYS = 30.0
"""An item without an event for this long is called silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPortrait:
    """One item as of one moment. Tables are empty where nothing was there to tell."""

    item_id: str
    as_of: datetime
    facts: Mapping[str, Any]
    """n_events, n_users, events_per_user, actions (count by action), and the items' table's row."""
    step: str
    """"day" or "week": what a row of the timeline is."""
    timeline: pl.DataFrame
    """start, n_events; empty ones included."""
    rhythm: pl.DataFrame
    """weekday (Monday 1), hour, n_events: 168 rows, on the configured clock."""
    segments: pl.DataFrame
    """segment, name, n_users, share (of this item's users), overall (of all users), lift."""
    contexts: pl.DataFrame
    """kind ("device", "country", "region"), value, n_events, share."""
    around: pl.DataFrame
    """direction, item_id, n, share, lift, and title where known; see `around.around`."""
    life: Mapping[str, Any]
    """first, last, age_days, silent_days, phase (new, rising, steady, fading, silent), trend_z, growth
    (events of the last 7 days over the 7 before; null without any), peak (start of the greatest day or
    week), peak_events, half_life_days (of the fall since the peak; null when it does not fall)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: tables as lists of rows, times as ISO text."""
        return {name: plain(getattr(self, name)) for name in self.__slots__}

    def render(self, console: Console) -> None:
        """Print the portrait for people: about forty lines."""
        draw_item(self, console)


def item_portrait(
    item_id: str,
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    sources: Sources | None = None,
    config: PortraitConfig | None = None,
) -> ItemPortrait:
    """The portrait of an item; nothing at or after `as_of` is used.

    Raises:
        DataError: the item has no event before the moment; the message names the nearest known id.
        LeakError: the segments were found later than `as_of`.

    Cost: one pass over the log that keeps the item's events, and a few over the sequences' item column.
    """
    sources, config = sources or Sources(), config or PortraitConfig()
    if sources.segments is not None and sources.segments.as_of > as_of:
        raise LeakError(
            f"Segments must be as of {as_of.isoformat()} or earlier; these are as of "
            f"{sources.segments.as_of.isoformat()} and know what came after."
        )
    log = before(events, as_of)
    own = log.filter(pl.col(ITEM) == item_id).collect()
    if own.is_empty():
        known = log.select(pl.col(ITEM).drop_nulls().unique()).collect().get_column(ITEM).sort()
        raise missing("item", item_id, close_id(item_id, known), as_of)
    step, timeline = counts(own, as_of)
    beside = pl.DataFrame(schema=SCHEMA)
    if sources.sequences is not None and sources.sequences.items.index(item_id) is not None:
        beside = around(sources.sequences, item_id, as_of, config.k)
    return ItemPortrait(
        item_id=item_id,
        as_of=as_of,
        facts=_facts(own, item_id, sources),
        step=step,
        timeline=timeline,
        rhythm=hour_weekday_counts(own, config.vectors.tz),
        segments=_segments(own, sources.segments),
        contexts=contexts(own, config.k),
        around=titled(beside, sources.items),
        life=_life(own, as_of, timeline),
    )


def _facts(own: pl.DataFrame, item_id: str, sources: Sources) -> dict[str, Any]:
    n_users = own.get_column(USER).n_unique()
    facts: dict[str, Any] = {
        "n_events": own.height,
        "n_users": n_users,
        "events_per_user": own.height / n_users,
        "actions": dict(own.group_by(ACTION).len().sort("len", ACTION, descending=[True, False]).iter_rows()),
    }
    if sources.items is not None:
        known = sources.items.lazy().filter(pl.col(ITEM) == item_id).collect()
        if known.height:
            facts["attributes"] = {n: v for n, v in known.row(0, named=True).items() if n != ITEM}
    return facts


def _segments(own: pl.DataFrame, segments: Segments | None) -> pl.DataFrame:
    schema = {
        "segment": pl.Int32,
        "name": pl.String,
        "n_users": pl.Int64,
        "share": pl.Float64,
        "overall": pl.Float64,
        "lift": pl.Float64,
    }
    if segments is None:
        return pl.DataFrame(schema=schema)
    met = own.select(USER).unique().join(segments.members.select(USER, "segment"), on=USER)
    return (
        segments.table.select("segment", "name", pl.col("share").alias("overall"))
        .join(met.group_by("segment").agg(pl.len().cast(pl.Int64).alias("n_users")), on="segment", how="left")
        .with_columns(pl.col("n_users").fill_null(0))
        .with_columns((pl.col("n_users") / max(met.height, 1)).alias("share"))
        .with_columns((pl.col("share") / pl.col("overall")).alias("lift"))
        .sort("lift", "segment", descending=[True, False])
        .select(*schema)
        .cast(schema)  # type: ignore[arg-type]
    )


def _life(own: pl.DataFrame, as_of: datetime, timeline: pl.DataFrame) -> dict[str, Any]:
    times = own.get_column(TIME)
    first, last = times.min(), times.max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    age, silent = ((as_of - moment).total_seconds() / 86_400 for moment in (first, last))
    way, z = trend(elapsed_days(times, first), age)
    days = elapsed_days(times, as_of)
    recent, earlier = int((days >= -7).sum()), int(((days < -7) & (days >= -14)).sum())
    top = timeline.sort("n_events", "start", descending=[True, False]).row(0, named=True)
    peak = datetime.combine(top["start"], datetime.min.time(), as_of.tzinfo)
    since = times.filter(times >= max(peak, first))
    span = (as_of - max(peak, first)).total_seconds() / 86_400
    phase = "silent" if silent >= SILENT_DAYS else "new" if age < YOUNG_DAYS else way
    return {
        "first": first,
        "last": last,
        "age_days": age,
        "silent_days": silent,
        "phase": "steady" if phase == "too few" else phase,
        "trend_z": z,
        "growth": recent / earlier if earlier else None,
        "peak": top["start"],
        "peak_events": top["n_events"],
        "half_life_days": half_life_days(elapsed_days(since, max(peak, first)), span),
    }
