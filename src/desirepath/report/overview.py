# SPDX-License-Identifier: Apache-2.0
"""The size of a log in one pass: events, users, items, actions, period.

It knows canonical events only; all sections of the report read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from desirepath.errors import TooLittleData
from desirepath.schema import ACTION, ITEM, SESSION, TIME, USER

EXACT_PAIRS = 20_000_000
"""Events up to which different pairs are counted one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What one pass over the log counts."""

    n_events: int
    """Rows."""
    n_users: int
    """Different users."""
    n_items: int
    """Different items."""
    n_actions: int
    """Different actions."""
    has_session_ids: bool
    """Whether any event bears a session id."""
    first: datetime | None
    """Earliest moment, UTC; None where no event has one."""
    last: datetime | None
    """Latest moment, UTC."""
    is_day_grained: bool
    """Whether every moment is midnight UTC."""
    n_pairs: int
    """Different (user, item) pairs; estimated from a sample of users beyond `EXACT_PAIRS` events."""

    @property
    def end(self) -> datetime:
        """The moment just after the last event: all of the log lies before it."""
        if self.last is None:
            raise TooLittleData("A log without a single moment has no end. Give it times first.")
        return self.last + timedelta(microseconds=1)

    @property
    def span_days(self) -> float:
        """Days from the first event to the last; 0 where there are no moments."""
        if self.first is None or self.last is None:
            return 0.0
        return (self.last - self.first).total_seconds() / 86_400


def overview(events: pl.LazyFrame) -> Overview:
    """The size of the log, by one streaming pass (and one for pairs).

    Raises:
        TooLittleData: the log has no event.
    """
    named = SESSION in events.collect_schema().names()
    row = events.select(
        pl.len().alias("n_events"),
        pl.col(USER).n_unique().alias("n_users"),
        pl.col(ITEM).n_unique().alias("n_items"),
        pl.col(ACTION).n_unique().alias("n_actions"),
        (pl.col(SESSION).is_not_null().any() if named else pl.lit(False)).alias("has_session_ids"),
        pl.col(TIME).min().alias("first"),
        pl.col(TIME).max().alias("last"),
        (pl.col(TIME).dt.time() == pl.time(0)).all().alias("is_day_grained"),
    ).collect(engine="streaming")
    found = row.row(0, named=True)
    if not found["n_events"]:
        raise TooLittleData("A report needs at least one event; the log has none.")
    return Overview(**found, n_pairs=_pairs(events, found["n_events"]))


def _pairs(events: pl.LazyFrame, n_events: int) -> int:
    # All events of one user in k, so that pairs stay whole; then in proportion to events.
    k = -(-n_events // EXACT_PAIRS)
    kept = events if k == 1 else sample_users(events, k)
    counts = kept.group_by(USER, ITEM).len().select(pl.len(), pl.col("len").sum().alias("n_events"))
    pairs, seen = counts.collect(engine="streaming").row(0)
    return round(pairs * n_events / seen) if seen else 0


def sample_users(events: pl.LazyFrame, k: int) -> pl.LazyFrame:
    """All events of about one user in `k`, drawn by the hash of the id."""
    return events.filter(pl.col(USER).hash(seed=0) % k == 0)
