# SPDX-License-Identifier: Apache-2.0
"""The moment a feature is told as of, and what of a log may be seen at that moment.

Every feature in this room passes its events through `before`, so that nothing at or after the
moment is used. It knows the canonical columns of an event and nothing of models or files.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from desirepath.errors import ConfigError, DataError, nearest
from desirepath.schema import TIME, TIME_DTYPE

US_PER_S = 1_000_000
US_PER_DAY = 86_400 * US_PER_S


def before(events: pl.LazyFrame | pl.DataFrame, as_of: datetime) -> pl.LazyFrame:
    """The events strictly earlier than `as_of`, lazily; those without a time are left out.

    Raises:
        ConfigError: `as_of` bears no time zone, so that it would mean another moment elsewhere.
        DataError: the table has no `time`, or its time is not in UTC microseconds.
    """
    moment = checked(as_of)
    frame = events.lazy()
    require(frame, TIME)
    found = frame.collect_schema()[TIME]
    if found != TIME_DTYPE:
        raise DataError(
            f"'{TIME}' must be {TIME_DTYPE}; it is {found}. Cast it, or read the log with read_events."
        )
    return frame.filter(pl.col(TIME) < moment)


def checked(as_of: datetime) -> datetime:
    """`as_of` itself when it bears a time zone.

    Raises:
        ConfigError: it bears none.
    """
    if as_of.tzinfo is None or as_of.utcoffset() is None:
        raise ConfigError(
            f"as_of must bear a time zone; got {as_of.isoformat()}. Write datetime(..., tzinfo=timezone.utc)."
        )
    return as_of


def require(frame: pl.LazyFrame, *columns: str) -> None:
    """Nothing, when every named column is there.

    Raises:
        DataError: names the first missing column and the nearest known one.
    """
    known = frame.collect_schema().names()
    for column in columns:
        if column not in known:
            raise DataError(f"The table must have the column '{column}'. {nearest(column, known)}")


def age_days(as_of: datetime) -> pl.Expr:
    """Days from each event to `as_of`, as Float64."""
    return (pl.lit(as_of, dtype=TIME_DTYPE) - pl.col(TIME)).dt.total_microseconds() / US_PER_DAY


def within(as_of: datetime, days: float) -> pl.Expr:
    """Whether each event lies in the `days` days that end at `as_of` (start included, end not)."""
    return (pl.col(TIME) >= as_of - timedelta(days=days)) & (pl.col(TIME) < as_of)


def decay(as_of: datetime, half_life_days: float) -> pl.Expr:
    """The weight 0.5 ** (age / half-life) of each event, 1 at `as_of`.

    Underflows to 0 about 1074 half-lives before `as_of`.
    """
    return pl.lit(0.5) ** (age_days(as_of) / half_life_days)
