# SPDX-License-Identifier: Apache-2.0
"""Intervals by drawing users with replacement: queries of one user are never treated as independent.

All columns share the same draws, so that differences between models are paired. It knows no metrics.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, ShapeError

Average = Literal["users", "queries"]
Floats = NDArray[np.float64]

BLOCK = 4096
"""Users whose draws are counted at once: a draw's counts (32 KB) then stay in the fastest cache."""


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
    It walks through the users block by block: how many draws fall into each block is multinomial, and
    inside a block each user is equally likely, which together is the plain draw with replacement.

    Cost: R draws for every user, and one product of (R, U) with (U, C), in blocks; memory R times 32 KB.
    """
    if n_resamples < 1:
        raise ConfigError(f"n_resamples must be at least 1; got {n_resamples}.")
    total_UC, weight_UC = _by_user(values_QC, user_ix, average)
    if (weight_UC == weight_UC[:, :1]).all():
        weight_UC = np.ascontiguousarray(weight_UC[:, :1])
    n_users = len(total_UC)
    edges = np.append(np.arange(0, n_users, BLOCK), n_users)
    rng = np.random.default_rng(seed)
    drawn_RB = rng.multinomial(n_users, np.diff(edges) / n_users, size=n_resamples)
    state_R = rng.integers(2**63, size=n_resamples, dtype=np.uint64)
    total_RC = np.zeros((n_resamples, total_UC.shape[1]))
    weight_RC = np.zeros((n_resamples, weight_UC.shape[1]))
    for block, (first, last) in enumerate(itertools.pairwise(edges.tolist())):
        times_RU = np.zeros((n_resamples, last - first))
        _draw(drawn_RB[:, block], state_R, times_RU)
        total_RC += times_RU @ total_UC[first:last]
        weight_RC += times_RU @ weight_UC[first:last]
    return _ratio(total_RC, weight_RC)


@numba.njit(cache=True, nogil=True)
def _draw(n_R: Any, state_R: Any, times_RU: Any) -> None:
    """Count n draws of each row among its columns (splitmix64, Steele et al. 2014), and keep the states."""
    width = np.uint64(times_RU.shape[1])
    for r in range(len(n_R)):
        state = state_R[r]
        for _ in range(n_R[r]):
            state += np.uint64(0x9E3779B97F4A7C15)
            x = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x ^= x >> np.uint64(31)
            # The high half times the width, shifted: below the width, off uniform by at most 2^-20.
            times_RU[r, ((x >> np.uint64(32)) * width) >> np.uint64(32)] += 1.0
        state_R[r] = state


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
