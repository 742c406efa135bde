# SPDX-License-Identifier: Apache-2.0
"""Shares with intervals, and two shares compared with a test.

It knows counts only. Funnels, retention and comparisons of groups read it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from desirepath.errors import ConfigError
from desirepath.patterns.significance import false_discovery

SMALL = 5.0
"""Expected count below which the normal approximation of a two-by-two table is not trusted (Cochran 1954)."""


def check_confidence(confidence: float) -> float:
    """The confidence, where it lies between 0 and 1.

    Raises:
        ConfigError: it does not.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie between 0 and 1, such as 0.95; got {confidence}.")
    return confidence


def wilson(
    count: ArrayLike, total: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high of the share count / total; NaN where the total is 0.

    Source: Wilson 1927, the score interval, without correction for continuity.

    >>> [round(float(end), 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    x, n = np.asarray(count, np.float64), np.asarray(total, np.float64)
    z = float(special.ndtri(0.5 + check_confidence(confidence) / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (x + z * z / 2) / (n + z * z)
        half = z / (n + z * z) * np.sqrt(x * (n - x) / n + z * z / 4)
        # Rounding must not move an end past a share of 0 or 1.
        low = np.where(x == 0, 0.0, middle - half)
        high = np.where(x == n, 1.0, middle + half)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def difference(
    count_a: ArrayLike,
    total_a: ArrayLike,
    count_b: ArrayLike,
    total_b: ArrayLike,
    *,
    confidence: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Share of a less share of b, with low and high; NaN where a total is 0.

    Source: Newcombe 1998, method 10 (two Wilson intervals combined), without correction for continuity.
    """
    xa, na, xb, nb = (np.asarray(v, np.float64) for v in (count_a, total_a, count_b, total_b))
    low_a, high_a = wilson(xa, na, confidence)
    low_b, high_b = wilson(xb, nb, confidence)
    with np.errstate(invalid="ignore", divide="ignore"):
        pa, pb = xa / na, xb / nb
        gap = pa - pb
        low = gap - np.sqrt((pa - low_a) ** 2 + (high_b - pb) ** 2)
        high = gap + np.sqrt((high_a - pa) ** 2 + (pb - low_b) ** 2)
    return gap, low, high


def share_test(
    count_a: ArrayLike, total_a: ArrayLike, count_b: ArrayLike, total_b: ArrayLike
) -> NDArray[np.float64]:
    """Two-sided p that both shares are one; NaN where a total is 0.

    Pearson's chi-squared without correction, which is the pooled two-proportion z test; Fisher's exact
    test where an expected count lies below 5.     Cost: vectorised, but for the rows that need Fisher.
    """
    xa, na, xb, nb = (np.atleast_1d(np.asarray(v, np.float64)) for v in (count_a, total_a, count_b, total_b))
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = (xa + xb) / (na + nb)
        least = np.minimum(na, nb) * np.minimum(pooled, 1 - pooled)
        z = (xa / na - xb / nb) / np.sqrt(pooled * (1 - pooled) * (1 / na + 1 / nb))
    p = 2 * special.ndtr(-np.abs(z))
    comparable = (na > 0) & (nb > 0)
    p[~comparable] = np.nan
    few = np.flatnonzero(comparable & (least < SMALL))
    if len(few):
        from scipy.stats import fisher_exact  # half a second and 45 MiB, which most tables never need

        for row in few:
            table = [[xa[row], na[row] - xa[row]], [xb[row], nb[row] - xb[row]]]
            p[row] = fisher_exact(np.rint(table).astype(np.int64)).pvalue
    return np.asarray(p)


def adjusted(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The p after Benjamini and Hochberg (1995) over all rows that have one; NaN stays.

    >>> adjusted(np.array([0.01, 0.04, np.nan, 0.03])).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    out = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    out[known] = false_discovery(p[known])
    return out
