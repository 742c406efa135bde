# SPDX-License-Identifier: Apache-2.0
"""Retention: of the users who began in one period, how many are active in each later one.

Cells whose period is not over yet are null, never a low number. It knows days, ISO weeks and months of a
clock at a fixed distance from UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import kernel
from desirepath.patterns.paths.selection import check_ordered, symbol_mask
from desirepath.patterns.paths.shares import wilson

DAY_S = 86_400.0
UNITS = {"day": "D", "week": "W", "month": "M"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionConfig:
    """What a period is, what begins a user's time, and what counts as coming back."""

    period: Literal["day", "week", "month"] = "week"
    """Calendar periods; a week begins on Monday."""
    kind: Literal["exact", "rolling"] = "exact"
    """"exact" counts users active in that very period, "rolling" those active in it or in a later one."""
    birth: tuple[str, ...] = ()
    """Events of which the first begins a user's time; empty for any event. Users without one are left out."""
    back: tuple[str, ...] = ()
    """Events that count as being active; empty for any."""
    n_periods: int | None = None
    """Later periods shown; None for all that the log holds."""
    as_of_s: float | None = None
    """Moment (seconds since 1970 UTC) up to which the log is whole: later events are left out, and periods
    that end after it are not over. None for the last event."""
    utc_offset_s: float = 0.0
    """Seconds by which the clock that cuts days is ahead of UTC, -86400 to 86400."""

    def __post_init__(self) -> None:
        if self.period not in UNITS:
            raise ConfigError(f"period must be day, week or month; got '{self.period}'.")
        if self.kind not in ("exact", "rolling"):
            raise ConfigError(f"kind must be 'exact' or 'rolling'; got '{self.kind}'.")
        if self.n_periods is not None and self.n_periods < 1:
            raise ConfigError(f"n_periods must be 1 or more; got {self.n_periods}.")
        if not abs(self.utc_offset_s) <= DAY_S:
            raise ConfigError(f"utc_offset_s must lie within a day; got {self.utc_offset_s}.")


def retention(database: SequenceDatabase, config: RetentionConfig | None = None) -> pl.DataFrame:
    """One row a cohort and period after it: `cohort` (first day), `period`, `users`, `active`, `share`.

    Period 0 is the cohort's own. Users belong to the cohort of their first event in the database (of
    `birth`), once, however many sequences they have. `active` counts those with an event of `back` at or
    after it in that period; it and `share` (of `users`) are null where the period is not over at `as_of_s`.
    Users whose first event lies before the log began count as if they had come at its beginning, so read
    the first cohort with care.

    Raises:
        ConfigError: an event that never occurs, or `as_of_s` before every birth.
        DataError: the database holds no event.

    Cost: two passes over the events.
    """
    config = config or RetentionConfig()
    check_ordered(database)
    # Which symbols begin a user's time, and which count as being active.
    marks = np.ones((2, database.n_symbols), bool)
    for row, (names, role) in enumerate(((config.birth, "birth"), (config.back, "back"))):
        if names:
            marks[row] = symbol_mask(database, names, role)
    as_of_s = float(database.time_s.max()) if config.as_of_s is None else float(config.as_of_s)
    first_day, of_day, edges = _calendar(float(database.time_s.min()), as_of_s, config)
    # Sequences of one user are brought side by side, in whatever order the database has them.
    order = np.argsort(database.user_ix, kind="stable")
    size, active = _cohorts(
        database.offsets,
        database.symbol_ix,
        database.time_s,
        order,
        np.ascontiguousarray(database.user_ix[order]),
        marks,
        of_day,
        np.array([first_day, config.utc_offset_s, as_of_s, config.kind == "rolling"], np.float64),
        len(edges) - 1,
    )
    if not size.any():
        raise ConfigError(
            "as_of_s must lie after a user's first event; none has begun by then. Choose later."
        )
    cohort, period = np.nonzero(np.tri(len(size), dtype=bool)[::-1] & (size > 0)[:, None])
    if config.n_periods is not None:
        shown = period <= config.n_periods
        cohort, period = cohort[shown], period[shown]
    # The edges are days by the clock that cuts them.
    over = (edges[cohort + period + 1] * DAY_S - config.utc_offset_s) <= as_of_s
    days = edges[cohort].astype("datetime64[D]")
    return pl.DataFrame(
        {
            "cohort": pl.Series(days),
            "period": period.astype(np.int32),
            "users": size[cohort],
            "active": pl.Series(active[cohort, period]).set(pl.Series(~over), None),
        }
    ).with_columns(share=pl.col("active") / pl.col("users"))


def retention_curve(table: pl.DataFrame, *, confidence: float = 0.95) -> pl.DataFrame:
    """All cohorts together, one row a period: `period`, `cohorts`, `users`, `active`, `share`, `low`, `high`.

    Each period counts only the cohorts for which it is over, so later rows rest on older cohorts alone. The
    interval is Wilson's, users taken as independent.
    """
    known = table.drop_nulls("active").group_by("period").agg(
        pl.len().cast(pl.Int64).alias("cohorts"), pl.col("users").sum(), pl.col("active").sum()
    )  # fmt: skip
    known = known.sort("period").with_columns(share=pl.col("active") / pl.col("users"))
    low, high = wilson(known["active"], known["users"], confidence)
    return known.with_columns(low=pl.Series(low), high=pl.Series(high))


def _calendar(
    first_s: float, last_s: float, config: RetentionConfig
) -> tuple[int, NDArray[np.int32], NDArray[np.int64]]:
    """The first day, the period of each day from it, and the days (since 1970) at which periods begin."""
    first = int((first_s + config.utc_offset_s) // DAY_S)
    last = max(first, int((last_s + config.utc_offset_s) // DAY_S))
    days = np.arange(first, last + 1)
    if config.period == "month":
        number = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        all_of_them = np.arange(number[0], number[-1] + 2).astype("datetime64[M]")
        edges = all_of_them.astype("datetime64[D]").astype(np.int64)
    else:
        # 1 January 1970 was a Thursday.
        number = days if config.period == "day" else (days + 3) // 7
        steps = np.arange(number[0], number[-1] + 2)
        edges = steps if config.period == "day" else steps * 7 - 3
    return first, (number - number[0]).astype(np.int32), edges


@kernel
def _cohorts(
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int32],
    time_s: NDArray[np.float64],
    order: NDArray[np.int64],
    owner: NDArray[np.int32],
    marks: NDArray[np.bool_],
    of_day: NDArray[np.int32],
    clock: NDArray[np.float64],
    n_periods: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users of each cohort, and of them those active so many periods later."""
    first_day, offset_s, as_of_s, rolling = clock[0], clock[1], clock[2], clock[3] > 0
    birth, back = marks[0], marks[1]
    size, active = np.zeros(n_periods, np.int64), np.zeros((n_periods, n_periods), np.int64)
    seen = np.full(n_periods, -1, np.int64)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and owner[stop] == owner[start]:
            stop += 1
        born_s = np.inf
        for at in range(start, stop):
            for i in range(offsets[order[at]], offsets[order[at] + 1]):
                if birth[symbol[i]]:
                    born_s = min(born_s, time_s[i])
                    break
        if born_s <= as_of_s:
            cohort = of_day[np.int64(np.floor((born_s + offset_s) / DAY_S) - first_day)]
            size[cohort] += 1
            latest = -1
            for at in range(start, stop):
                for i in range(offsets[order[at]], offsets[order[at] + 1]):
                    if born_s <= time_s[i] <= as_of_s and back[symbol[i]]:
                        period = of_day[np.int64(np.floor((time_s[i] + offset_s) / DAY_S) - first_day)]
                        latest = max(latest, period)
                        if seen[period] != start:
                            seen[period] = start
                            active[cohort, period - cohort] += not rolling
            if rolling and latest >= 0:
                active[cohort, : latest - cohort + 1] += 1
        start = stop
    return size, active
