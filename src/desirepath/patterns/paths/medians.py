# SPDX-License-Identifier: Apache-2.0
"""Medians of many groups at once, without sorting.

It knows numbers of 0 or more, such as seconds between events. Transitions and loops read it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.kernels import inner, kernel

LOWEST = 1003 << 4
"""The first bucket that is told apart: 2^-20, a microsecond; exponent and four bits of the fraction."""
N_BUCKETS = 52 << 4
"""Sixteen buckets an octave, up to 2^32 seconds; what lies outside falls into the first or last."""
MOST_CELLS = 1 << 23


def group_medians(group: NDArray[np.int32], value: NDArray[np.float64], n_groups: int) -> NDArray[np.float64]:
    """(n_groups,) the exact median of each group's values, NaN where it has none.

    Args:
        group: (N,) group of each value; those below 0 are passed over.
        value: (N,) numbers of 0 or more.
        n_groups: number of groups.

    Cost: two passes. The first counts values in buckets by their leading bits, the second collects those
    of the bucket in which the median lies; many groups are brought side by side instead.
    """
    if n_groups * N_BUCKETS <= MOST_CELLS:
        return np.asarray(_bucketed(group, value, value.view(np.int64), n_groups))
    return np.asarray(_side_by_side(group, value, n_groups))


@kernel
def _bucketed(
    group: NDArray[np.int32], value: NDArray[np.float64], bits: NDArray[np.int64], n_groups: int
) -> NDArray[np.float64]:
    # Values without a group go to one more, so that no branch depends on the data.
    counts = np.zeros((n_groups + 1, N_BUCKETS), np.int32)
    for i in range(len(group)):
        g = n_groups if group[i] < 0 else group[i]
        counts[g, min(max((bits[i] >> 48) - LOWEST, 0), N_BUCKETS - 1)] += 1
    # The buckets of the two middle values; there is nothing between them.
    low, high = np.full(n_groups + 1, -1, np.int64), np.full(n_groups + 1, -2, np.int64)
    before, total = np.zeros(n_groups, np.int64), np.zeros(n_groups, np.int64)
    end = np.zeros(n_groups + 1, np.int64)
    for g in range(n_groups):
        for bucket in range(N_BUCKETS):
            total[g] += counts[g, bucket]
        end[g + 1] = end[g]
        passed = 0
        for bucket in range(N_BUCKETS):
            here = counts[g, bucket]
            if here > 0 and passed + here > (total[g] - 1) // 2:
                if low[g] < 0:
                    low[g], before[g] = bucket, passed
                end[g + 1] += here
                if passed + here > total[g] // 2:
                    high[g] = bucket
                    break
            passed += here
    cursor, collected = end[:-1].copy(), np.empty(end[-1])
    for i in range(len(group)):
        g = n_groups if group[i] < 0 else group[i]
        bucket = min(max((bits[i] >> 48) - LOWEST, 0), N_BUCKETS - 1)
        if low[g] <= bucket <= high[g]:
            collected[cursor[g]] = value[i]
            cursor[g] += 1
    median = np.full(n_groups, np.nan)
    for g in range(n_groups):
        if total[g]:
            median[g] = _middle(collected[end[g] : end[g + 1]], total[g] - before[g] * 2)
    return median


@kernel
def _side_by_side(group: NDArray[np.int32], value: NDArray[np.float64], n_groups: int) -> NDArray[np.float64]:
    end = np.zeros(n_groups + 1, np.int64)
    for g in group:
        if g >= 0:
            end[g + 1] += 1
    end = np.cumsum(end)
    cursor, ordered = end[:-1].copy(), np.empty(end[-1])
    for i in range(len(group)):
        if group[i] >= 0:
            ordered[cursor[group[i]]] = value[i]
            cursor[group[i]] += 1
    median = np.full(n_groups, np.nan)
    for g in range(n_groups):
        if end[g] < end[g + 1]:
            median[g] = _middle(ordered[end[g] : end[g + 1]], end[g + 1] - end[g])
    return median


@inner
def _middle(values: NDArray[np.float64], n: int) -> float:
    """The median of n values of which these are a part: ranks (n - 1) // 2 and n // 2 count from its first.

    The order of `values` is lost.     Cost: linear (Hoare's selection).
    """
    wanted = n // 2
    low, high = 0, len(values) - 1
    while low < high:
        a, b, c = values[low], values[(low + high) // 2], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    if n % 2:
        return float(values[wanted])
    below = values[0]
    for i in range(wanted):
        below = max(below, values[i])
    return float(below + values[wanted]) / 2
