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
    n_sessions_named: int
    """Different session ids; 0 where the log has none."""
    first: datetime | None
    """Earliest moment, UTC; None where no event has one."""
    last: datetime | None
    """Latest moment, UTC."""
    is_day_grained: bool
    """Whether every moment is midnight UTC."""
    n_pairs: int
    """Different (user, item) pairs."""

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
        (pl.col(SESSION).drop_nulls().n_unique() if named else pl.lit(0)).alias("n_sessions_named"),
        pl.col(TIME).min().alias("first"),
        pl.col(TIME).max().alias("last"),
        (pl.col(TIME).dt.time() == pl.time(0)).all().alias("is_day_grained"),
    ).collect(engine="streaming")
    found = row.row(0, named=True)
    if not found["n_events"]:
        raise TooLittleData("A report needs at least one event; the log has none.")
    pairs = events.group_by(USER, ITEM).len().select(pl.len()).collect(engine="streaming").item()
    return Overview(**found, n_pairs=pairs)
