# SPDX-License-Identifier: Apache-2.0
"""The course of something in time: counts by day or week, its trend, and how fast it fades.

It knows moments only. Interests of a user and the life of an item are told with it.
"""

from __future__ import annotations

from datetime import datetime
from math import exp, log, sqrt
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import brentq

from desirepath.features.moment import US_PER_DAY
from desirepath.schema import TIME

Array = NDArray[np.float64]

MAX_DAYS = 90
"""A longer course is told by weeks."""
MIN_EVENTS = 5
"""Fewer events tell no trend and no half-life."""
TREND_Z = 1.96
"""Standard errors beyond which a trend is called one: 5% by chance."""
EDGE = 500.0
"""Decays over the whole span beyond which the exponential law is flat to a double."""


def counts(events: pl.DataFrame, as_of: datetime, since: datetime | None = None) -> tuple[str, pl.DataFrame]:
    """What a row is, and one row each up to `as_of`: "day" or "week" (from Monday); start, n_events.

    Begins with the first event, or at `since`; those without events are there. Weeks when days would be
    more than 90. The last one is not over yet.
    """
    first = since if since is not None else events.get_column(TIME).min()
    assert isinstance(first, datetime)
    step: Literal["1d", "1w"] = "1d" if (as_of - first).days <= MAX_DAYS else "1w"
    start = pl.col(TIME).dt.truncate(step).dt.date().alias("start")
    ends = pl.Series(TIME, [first, as_of], dtype=pl.Datetime("us", "UTC")).dt.truncate(step).dt.date()
    grid = pl.DataFrame({"start": pl.date_range(ends[0], ends[1], step, eager=True)})
    if as_of == datetime.combine(ends[1], datetime.min.time(), as_of.tzinfo) and grid.height > 1:
        grid = grid.head(-1)  # the moment itself opens a day in which nothing can lie
    seen = events.group_by(start).agg(pl.len().cast(pl.Int64).alias("n_events"))
    table = (
        grid.join(seen, on="start", how="left").with_columns(pl.col("n_events").fill_null(0)).sort("start")
    )
    return ("day" if step == "1d" else "week"), table


def elapsed_days(times: pl.Series, since: datetime) -> Array:
    """Days from `since` to each time."""
    return (times - since).dt.total_microseconds().to_numpy().astype(np.float64) / US_PER_DAY


def trend(elapsed: Array, span_days: float) -> tuple[str, float | None]:
    """The trend in a word, and its z: "rising", "steady" or "fading"; "too few" under 5 events.

    Laplace's test: under a constant rate the times are even over the span, so their mean is span / 2
    with variance span^2 / (12 n). Source: Cox and Lewis, The Statistical Analysis of Series of Events
    (1966), section 3.3.

    >>> trend(np.array([7.0, 8.0, 9.0, 9.0, 10.0]), 10.0)[0]
    'rising'
    """
    if len(elapsed) < MIN_EVENTS or not span_days > 0:
        return "too few", None
    z = (float(elapsed.mean()) - span_days / 2) / (span_days / sqrt(12 * len(elapsed)))
    return ("rising" if z > TREND_Z else "fading" if z < -TREND_Z else "steady"), z


def half_life_days(elapsed: Array, span_days: float) -> float | None:
    """Days in which the rate of events halves, or None when it does not fall or events are under 5.

    The maximum-likelihood rate of an exponential law cut at the span: with x = rate * span,
    mean / span = 1 / x - 1 / (e^x - 1) (Deemer and Votaw, Annals of Mathematical Statistics 26, 1955).

    >>> half_life_days(np.array([0.5, 1.0, 1.5, 2.0, 9.0]), 10.0) < 5
    True
    """
    if len(elapsed) < MIN_EVENTS or not span_days > 0:
        return None
    mean = float(elapsed.mean()) / span_days
    if mean >= 0.5 - 1e-9:
        return None
    if mean <= _mean_share(EDGE):
        return log(2) * span_days * max(mean, 1e-12)
    x = float(brentq(lambda value: _mean_share(value) - mean, 1e-6, EDGE))
    return log(2) * span_days / x


def _mean_share(x: float) -> float:
    return 1 / x - 1 / (exp(x) - 1)
