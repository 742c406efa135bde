# SPDX-License-Identifier: Apache-2.0
"""When people are there: shares of hours and weekdays, drawn to the crowd's where events are few.

It knows canonical events only. A user's features and the report's heat map are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from desirepath.errors import ConfigError
from desirepath.features.moment import before, require
from desirepath.schema import TIME, USER

HOURS = range(24)
WEEKDAYS = range(1, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class RhythmConfig:
    """Whose clock is read, and how much the crowd weighs."""

    tz: str = "UTC"
    """Time zone of the clock, an IANA name such as "America/Sao_Paulo"."""
    strength: float = 10.0
    """Events that the crowd's profile is worth beside a user's own; 0 leaves shares raw."""

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ConfigError(f"strength must be at least 0 events; got {self.strength}.")
        try:
            ZoneInfo(self.tz)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                f"tz must be an IANA time zone; got '{self.tz}'. Try 'Europe/Berlin'."
            ) from error


def hour(tz: str = "UTC") -> pl.Expr:
    """The hour of the day of each event on the clock of `tz`, 0 to 23."""
    return pl.col(TIME).dt.convert_time_zone(tz).dt.hour()


def weekday(tz: str = "UTC") -> pl.Expr:
    """The day of the week of each event on the clock of `tz`, Monday 1 to Sunday 7."""
    return pl.col(TIME).dt.convert_time_zone(tz).dt.weekday()


def hour_weekday_counts(events: pl.LazyFrame | pl.DataFrame, tz: str = "UTC") -> pl.DataFrame:
    """All 168 rows (weekday 1-7, hour 0-23, n_events), those without events included.

    Counts whatever it is given: pass `before(events, as_of)` for a moment.
    """
    counts = (
        events.lazy()
        .filter(pl.col(TIME).is_not_null())
        .group_by(weekday(tz).alias("weekday"), hour(tz).alias("hour"))
        .agg(pl.len().cast(pl.Int64).alias("n_events"))
        .collect(engine="streaming")
    )
    days = pl.DataFrame({"weekday": pl.Series(list(WEEKDAYS), dtype=pl.Int8)})
    hours = pl.DataFrame({"hour": pl.Series(list(HOURS), dtype=pl.Int8)})
    return (
        days.join(hours, how="cross")
        .join(counts, on=["weekday", "hour"], how="left")
        .with_columns(pl.col("n_events").fill_null(0))
        .sort("weekday", "hour")
    )


def rhythm(
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    config: RhythmConfig | None = None,
    by: str = USER,
) -> pl.LazyFrame:
    """One row a `by`: shares of its events in each hour and on each weekday, and how even they are.

    hour_00 .. hour_23 and weekday_1 (Monday) .. weekday_7 each sum to 1. A share is
    (n_own + strength * crowd) / (n + strength), the posterior mean of a multinomial under a Dirichlet
    prior whose mean is the crowd's share of all events before `as_of`. weekend_share is
    weekday_6 + weekday_7. hour_entropy_bits is that of the smoothed hours: 0 for one hour, log2(24) =
    4.58 for no rhythm.
    """
    config = config or RhythmConfig()
    log = before(events, as_of)
    require(log, by)
    clock = {f"hour_{h:02d}": pl.col("hour") == h for h in HOURS}
    days = {f"weekday_{d}": pl.col("weekday") == d for d in WEEKDAYS}
    own = (
        log.filter(pl.col(by).is_not_null())
        .select(by, hour(config.tz).alias("hour"), weekday(config.tz).alias("weekday"))
        .group_by(by)
        .agg(*(rows.sum().alias(name) for name, rows in (clock | days).items()), pl.len().alias("n"))
    )
    crowd = own.select(
        *((pl.col(name).sum() / pl.col("n").sum()).alias(f"crowd:{name}") for name in clock | days)
    )
    shares = [
        ((pl.col(name) + config.strength * pl.col(f"crowd:{name}")) / (pl.col("n") + config.strength)).alias(
            name
        )
        for name in clock | days
    ]
    surprise = pl.sum_horizontal(
        pl.when(pl.col(name) > 0).then(-pl.col(name) * pl.col(name).log(2)).otherwise(0.0) for name in clock
    )
    return (
        own.join(crowd, how="cross")
        .select(by, *shares)
        .with_columns(
            (pl.col("weekday_6") + pl.col("weekday_7")).alias("weekend_share"),
            surprise.alias("hour_entropy_bits"),
        )
    )
