# SPDX-License-Identifier: Apache-2.0
"""Intervals by drawing users with replacement: queries of one user are never treated as independent.

All columns share the same draws, so that differences between models are paired. It knows no metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, ShapeError

Average = Literal["users", "queries"]
Floats = NDArray[np.float64]

DRAWN_AT_ONCE = 4_000_000
"""Users drawn before their sums are taken: 32 MB of indexes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its interval, and how much it moves between seeds."""

    value: float
    low: float | None = None
    """Lower end of the interval; None where a figure has none, such as coverage."""
    high: float | None = None
    seed_sd: float | None = None
    """Standard deviation between models of different seeds; None for one model."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def means(values_QC: Floats, user_ix: NDArray[np.int64], average: Average) -> Floats:
    """The mean of each column, (C,): over queries, or over users of each user's own mean.

    NaN entries (a metric that has no value for a query) are left out.

    >>> values, user = np.array([[1.0], [0.0], [0.0]]), np.array([0, 0, 7])
    >>> means(values, user, "queries").round(3).tolist(), means(values, user, "users").tolist()
    ([0.333], [0.25])
    """
    total_UC, weight_UC = _by_user(values_QC, user_ix, average)
    return _ratio(total_UC.sum(axis=0), weight_UC.sum(axis=0))


def resample(
    values_QC: Floats,
    user_ix: NDArray[np.int64],
    average: Average = "users",
    n_resamples: int = 1000,
    seed: int = 0,
) -> Floats:
    """The means of `n_resamples` draws of as many users as there are, with replacement, (R, C).

    The cluster bootstrap (Efron and Tibshirani 1993; Field and Welsh 2007): a user brings all queries.

    Cost: R times the number of users drawn, then one product of (R, U) with (U, C); memory 32 MB and
    the (U, C) sums.
    """
    if n_resamples < 1:
        raise ConfigError(f"n_resamples must be at least 1; got {n_resamples}.")
    total_UC, weight_UC = _by_user(values_QC, user_ix, average)
    n_users = len(total_UC)
    rng = np.random.default_rng(seed)
    out = np.empty((n_resamples, values_QC.shape[1]))
    step = max(1, DRAWN_AT_ONCE // max(n_users, 1))
    for first in range(0, n_resamples, step):
        n = min(step, n_resamples - first)
        drawn = rng.integers(n_users, size=(n, n_users), dtype=np.int64)
        drawn += np.arange(n)[:, None] * n_users
        times_RU = np.bincount(drawn.ravel(), minlength=n * n_users).reshape(n, n_users).astype(np.float64)
        out[first : first + n] = _ratio(times_RU @ total_UC, times_RU @ weight_UC)
    return out


def interval(draws_RC: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper ends of the percentile intervals of each column, both (C,).

    Raises:
        ConfigError: confidence is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"confidence must lie between 0 and 1; got {confidence}.")
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(draws_RC, [tail, 1.0 - tail], axis=0)
    return low, high


def _by_user(values_QC: Floats, user_ix: NDArray[np.int64], average: Average) -> tuple[Floats, Floats]:
    """What each user adds to numerator and denominator of the means, both (U, C)."""
    if values_QC.ndim != 2 or len(values_QC) != len(user_ix) or not len(user_ix):
        raise ShapeError(
            f"Need (Q, C) values and (Q,) users, Q at least 1; got {values_QC.shape} and {user_ix.shape}."
        )
    if average not in ("users", "queries"):
        raise ConfigError(f"average must be 'users' or 'queries'; got '{average}'.")
    order = np.argsort(user_ix, kind="stable")
    first = np.flatnonzero(np.diff(user_ix[order], prepend=user_ix[order[0]] - 1))
    values = values_QC[order]
    real = ~np.isnan(values)
    total = np.add.reduceat(np.where(real, values, 0.0), first, axis=0)
    weight = np.add.reduceat(real.astype(np.float64), first, axis=0)
    if average == "users":
        return total / np.maximum(weight, 1.0), (weight > 0).astype(np.float64)
    return total, weight


def _ratio(total: Floats, weight: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(weight > 0, total / weight, np.nan), dtype=np.float64)
