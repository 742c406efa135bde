# SPDX-License-Identifier: Apache-2.0
"""Daily series and what calms them: moving averages, simple and double exponential smoothing.

Each smoother is an expression over a table sorted by key and day; the empty days are there, so that a
pause counts as zeros rather than not at all. It knows canonical events only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from desirepath.errors import ConfigError, TooLittleData
from desirepath.features.moment import before, require
from desirepath.schema import TIME

DAY = "day"


def daily(
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    by: Sequence[str] = (),
    value: pl.Expr | None = None,
    n_days: int | None = None,
) -> pl.DataFrame:
    """One row a key and UTC day, empty days included: by..., day, y; sorted by key and day.

    y is the number of events, or the sum of `value`. The days run from the first event's (or the last
    `n_days`) to the last whole day before `as_of`, the same for every key; the day that `as_of` cuts
    is left out, since a part of a day is no day.

    Cost: keys x days rows; keep the keys few (actions, top items) or `n_days` short.

    Raises:
        TooLittleData: no whole day lies before `as_of`.
    """
    log = before(events, as_of)
    require(log, *by)
    today = pl.lit(as_of).dt.convert_time_zone("UTC").dt.date()
    seen = log.with_columns(pl.col(TIME).dt.date().alias(DAY)).filter(pl.col(DAY) < today)
    if n_days is not None:
        if n_days < 1:
            raise ConfigError(f"n_days must be at least 1; got {n_days}.")
        seen = seen.filter(pl.col(DAY) >= today - timedelta(days=n_days))
    counted = (
        seen.group_by(*by, DAY)
        .agg((pl.len() if value is None else value.sum()).cast(pl.Float64).alias("y"))
        .collect(engine="streaming")
    )
    if counted.is_empty():
        raise TooLittleData(
            f"A daily series needs an event on a whole day before {as_of.isoformat()}; there is none."
        )
    last = pl.select(today).item() - timedelta(days=1)
    first = counted.get_column(DAY).min() if n_days is None else last - timedelta(days=n_days - 1)
    grid = pl.DataFrame({DAY: pl.date_range(first, last, "1d", eager=True)})  # type: ignore[arg-type]
    if by:
        grid = counted.select(by).unique().join(grid, how="cross")
    return (
        grid.join(counted, on=[*by, DAY], how="left")
        .with_columns(pl.col("y").fill_null(0.0))
        .sort(*by, DAY)
        .select(*by, DAY, "y")
    )


def moving_average(y: pl.Expr, window_days: int, by: Sequence[str] = ()) -> pl.Expr:
    """The mean of this row and the `window_days - 1` before it, of fewer at the start of a key.

    Trailing, never centred: it sees no later day.
    """
    if window_days < 1:
        raise ConfigError(f"window_days must be at least 1; got {window_days}.")
    calm = y.rolling_mean(window_days, min_samples=1)
    return calm.over(by) if by else calm


def exponential(y: pl.Expr, alpha: float, by: Sequence[str] = ()) -> pl.Expr:
    """Simple exponential smoothing: s_0 = y_0, s_t = alpha y_t + (1 - alpha) s_(t-1).

    Source: Brown, Statistical Forecasting for Inventory Control (1959). The last s is the forecast
    for every later day.
    """
    _unit_interval("alpha", alpha)
    calm = y.ewm_mean(alpha=alpha, adjust=False)
    return calm.over(by) if by else calm


def decaying_mean(y: pl.Expr, time: pl.Expr, half_life_days: float, by: Sequence[str] = ()) -> pl.Expr:
    """Time-aware exponential smoothing of irregular values: the weight of the past halves with time.

    s_0 = y_0, s_i = w y_i + (1 - w) s_(i-1) with w = 1 - 0.5 ** (gap / half-life): a value after a
    long pause nearly replaces the past, one at the same instant changes nothing.
    """
    if not half_life_days > 0:
        raise ConfigError(f"half_life_days must be above 0 days; got {half_life_days}.")
    calm = y.ewm_mean_by(time, half_life=timedelta(days=half_life_days))
    return calm.over(by) if by else calm


def double_exponential(y: pl.Expr, alpha: float, beta: float, by: Sequence[str] = ()) -> pl.Expr:
    """Holt's level and trend of each row, as a struct with the fields `level` and `trend`.

    level_t = alpha y_t + (1 - alpha)(level_(t-1) + trend_(t-1)); trend_t = beta (level_t - level_(t-1))
    + (1 - beta) trend_(t-1); level_0 = y_0, trend_0 = 0. `level + h * trend` forecasts h days ahead.
    The table must be sorted by `by`; keys are told apart where one row's key differs from the last's,
    so one compiled pass serves them all.

    Source: Holt (1957), reprinted in Int. J. Forecasting 20 (2004), with a start that needs only one row.

    >>> rise = pl.DataFrame({"y": [0.0, 10.0, 20.0]})
    >>> rise.select(double_exponential(pl.col("y"), alpha=0.5, beta=1.0).struct.field("*")).rows()
    [(0.0, 0.0), (5.0, 5.0), (15.0, 10.0)]
    """
    _unit_interval("alpha", alpha)
    _unit_interval("beta", beta)
    first = (
        pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift(1)) for key in by) if by else pl.lit(False)
    )

    def run(rows: pl.Series) -> pl.Series:
        fields = rows.struct.unnest()
        level, trend = _holt(
            fields.get_column("y").cast(pl.Float64).to_numpy(),
            fields.get_column("first").to_numpy(),
            alpha,
            beta,
        )
        return pl.DataFrame({"level": level, "trend": trend}).to_struct()

    kind = pl.Struct({"level": pl.Float64, "trend": pl.Float64})
    return pl.struct(y.alias("y"), first.alias("first")).map_batches(run, return_dtype=kind)


@njit(cache=True, nogil=True)
def _holt(
    y: NDArray[np.float64], first: NDArray[np.bool_], alpha: float, beta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    level, trend = np.empty_like(y), np.empty_like(y)
    for t in range(len(y)):
        if t == 0 or first[t]:
            level[t], trend[t] = y[t], 0.0
        else:
            level[t] = alpha * y[t] + (1 - alpha) * (level[t - 1] + trend[t - 1])
            trend[t] = beta * (level[t] - level[t - 1]) + (1 - beta) * trend[t - 1]
    return level, trend


def _unit_interval(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ConfigError(f"{name} must lie above 0 and at most 1; got {value}.")
