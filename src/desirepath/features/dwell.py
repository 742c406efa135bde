# SPDX-License-Identifier: Apache-2.0
"""How long attention lasted: from a column of durations, else from the pause to the next event.

It knows canonical events and sessions. A user's and an item's features are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from desirepath.errors import ConfigError
from desirepath.features.moment import before, require
from desirepath.features.sessions import GAP_S, STARTS, SessionConfig, marked
from desirepath.schema import USER

DWELL = "dwell_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class DwellConfig:
    """Where durations come from."""

    column: str | None = None
    """Column of seconds spent on the event's item; None: the pause to the next event of the session."""
    cap_s: float = 1800.0
    """A longer dwell is cut to this many seconds: the user had left; above 0."""

    def __post_init__(self) -> None:
        if not self.cap_s > 0:
            raise ConfigError(f"cap_s must be above 0 seconds; got {self.cap_s}.")


def dwell(
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    config: DwellConfig | None = None,
    sessions: SessionConfig | None = None,
) -> pl.LazyFrame:
    """The events before `as_of` with `dwell_s`: seconds, 0 to `cap_s`, or null where unknown.

    Without a column of durations an event's dwell is the pause to the user's next event of the same
    session; the last event of a session has none, rather than a guess, and an event whose successor
    lies at or after `as_of` has none either. A negative duration is unknown.

    Raises:
        DataError: the named column is absent.
    """
    config = config or DwellConfig()
    if config.column:
        return timed(before(events, as_of), config)
    return timed(marked(events, as_of, sessions or SessionConfig()), config).drop(STARTS, GAP_S)


def timed(log: pl.LazyFrame, config: DwellConfig) -> pl.LazyFrame:
    """`dwell_s` beside events that `sessions.marked` gave, or that have the column of durations."""
    if config.column:
        require(log, config.column)
        seconds = pl.col(config.column).cast(pl.Float64)
    else:
        # The next row's gap is null where it opens a session or belongs to another user.
        seconds = pl.col(GAP_S).shift(-1)
    known = pl.when(seconds >= 0).then(seconds.clip(upper_bound=config.cap_s)).otherwise(None)
    return log.with_columns(known.alias(DWELL))


def dwell_columns() -> list[pl.Expr]:
    """Aggregations over `dwell`: dwell_s_total, dwell_s_mean, dwell_s_median, n_dwells (known ones)."""
    seconds = pl.col(DWELL)
    return [
        seconds.sum().alias("dwell_s_total"),
        seconds.mean().alias("dwell_s_mean"),
        seconds.median().alias("dwell_s_median"),
        seconds.count().cast(pl.Int64).alias("n_dwells"),
    ]


def dwell_by(
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    config: DwellConfig | None = None,
    sessions: SessionConfig | None = None,
    by: str = USER,
) -> pl.LazyFrame:
    """One row a `by` (user_id, item_id or another column) with the columns of `dwell_columns`."""
    spent = dwell(events, as_of, config, sessions)
    require(spent, by)
    return spent.select(by, DWELL).group_by(by).agg(dwell_columns())
