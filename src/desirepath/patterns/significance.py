# SPDX-License-Identifier: Apache-2.0
"""What tables of two by two say, thousands at a time: effects, intervals, tests, and the false among them.

A table counts sequences of a group and of the rest, with a pattern and without. It knows numbers alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from desirepath.patterns.kernels import kernel

Floats = NDArray[np.float64]
FEW = 5.0
"""Below this expected count in a cell the chi-squared law is not trusted (Cochran's rule)."""


def p_values(
    inside: NDArray[np.integer], n_inside: int, total: NDArray[np.integer], n: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Two-sided probability of a difference at least as large by chance, and where Fisher's test gave it.

    Pearson's chi-squared without continuity correction where every expected count is 5 or more, Fisher's
    exact test elsewhere.

    Args:
        inside: (P,) sequences of the group with the pattern.
        n_inside: sequences of the group.
        total: (P,) sequences with the pattern, the group's included.
        n: sequences.

    Cost: O(1) a table for chi-squared; for Fisher's test O(range of the count) a distinct table.
    """
    a, k = inside.astype(np.float64), total.astype(np.float64)
    rest = n - n_inside
    fewest = np.minimum(k, n - k) * (min(n_inside, rest) / n)
    exact = fewest < FEW
    p = np.ones(len(a))
    with np.errstate(divide="ignore", invalid="ignore"):
        # n (ad - bc)^2 over the four margins; ad - bc = a n - k n_inside.
        statistic = n * (a * n - k * n_inside) ** 2 / (k * (n - k) * float(n_inside) * rest)
    p[~exact] = special.erfc(np.sqrt(statistic[~exact] / 2))
    if exact.any():
        tables, back = np.unique(
            np.stack([inside[exact], total[exact]]).astype(np.int64), axis=1, return_inverse=True
        )
        tables = np.ascontiguousarray(tables)
        p[exact] = _fisher(tables[0], tables[1], n_inside, n)[back.ravel()]
    return p, exact


def false_discovery(p: Floats) -> Floats:
    """(P,) the share of false discoveries to expect when all with a p as small are believed.

    Source: Benjamini and Hochberg (1995), adjusted p values; for independent or positively dependent tests.
    """
    if not len(p):
        return p.copy()
    order = np.argsort(p)
    adjusted = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(1.0, np.minimum.accumulate(adjusted[::-1])[::-1])
    return q


def odds_ratio(
    inside: NDArray[np.integer], n_inside: int, total: NDArray[np.integer], n: int, confidence: float
) -> tuple[Floats, Floats, Floats]:
    """Odds of the pattern in the group over those in the rest, and the interval's ends.

    Half a sequence is added to each of the four cells (Haldane, 1956; Anscombe, 1956), so that empty cells
    leave the ratio finite; the interval is Woolf's, normal in the logarithm.
    """
    a = inside + 0.5
    b = n_inside - inside + 0.5
    c = total - inside + 0.5
    d = n - n_inside - (total - inside) + 0.5
    log_ratio = np.log(a * d / (b * c))
    half = special.ndtri(0.5 + confidence / 2) * np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return np.exp(log_ratio), np.exp(log_ratio - half), np.exp(log_ratio + half)


def information_gain(
    inside: NDArray[np.integer], n_inside: int, total: NDArray[np.integer], n: int
) -> Floats:
    """(P,) bits that knowing of the pattern tells about being in the group, 0 to 1."""
    k = total.astype(np.float64)
    with_it = _entropy(inside, k)
    without = _entropy(n_inside - inside, n - k)
    whole = _entropy(np.array([n_inside]), np.array([float(n)]))[0]
    return np.asarray(np.maximum(0.0, whole - (k * with_it + (n - k) * without) / n))


def _entropy(part: NDArray[np.integer], whole: Floats) -> Floats:
    share = np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
    return np.asarray((special.entr(share) + special.entr(1 - share)) / math.log(2))


@kernel
def _fisher(
    inside: NDArray[np.int64], total: NDArray[np.int64], n_inside: int, n: int
) -> NDArray[np.float64]:
    """Two-sided p: the chance of all tables with these margins that are no likelier than this one."""
    log_factorial = np.zeros(n + 1)
    for i in range(2, n + 1):
        log_factorial[i] = log_factorial[i - 1] + math.log(i)
    p = np.empty(len(inside))
    rest = n - n_inside
    for t in range(len(inside)):
        k = total[t]
        margins = log_factorial[n_inside] + log_factorial[rest] + log_factorial[k]
        margins += log_factorial[n - k] - log_factorial[n]
        here, chance = -np.inf, 0.0
        for step in range(2):  # first the table itself, then all
            low, high = max(0, k - rest), min(k, n_inside)
            if step == 0:
                low = high = inside[t]
            for x in range(low, high + 1):
                cells = log_factorial[x] + log_factorial[n_inside - x] + log_factorial[k - x]
                likely = margins - cells - log_factorial[rest - k + x]
                if step == 0:
                    here = likely + 1e-7  # equal but for rounding counts as equal
                elif likely <= here:
                    chance += math.exp(likely)
        p[t] = min(1.0, chance)
    return p
