# SPDX-License-Identifier: Apache-2.0
"""Tells robots from people by two things no person does: never tiring, and never being late.

It knows ordered rows of one user after another. Its thresholds lie far beyond what people do, so
that a flag is worth believing; a slow and irregular robot passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numba
import numpy as np
from numpy.typing import NDArray

DAY_US = 86_400_000_000
RATE, REGULAR = 1, 2
REASONS: Mapping[int, str] = MappingProxyType({RATE: "robot_rate", REGULAR: "robot_regularity"})

MAX_GAP_US = 1_800_000_000
"""Half an hour: longer gaps are not judged, as people do things daily too."""
GRAINS = 8
"""Readings of the clock that a typical gap must span, or else equal gaps only say how coarse it is."""
SHARE = 0.8
"""Share of a user's gaps that must be near-equal."""
TOLERANCE = 0.05
"""How far near-equal gaps may lie from their median, as a share of it."""


def find_robots(
    time_us: NDArray[np.int64],
    offsets: NDArray[np.int64],
    *,
    max_events_a_day: int,
    min_regular_gaps: int,
    resolution_us: int,
) -> NDArray[np.uint8]:
    """Why each user is a robot: 0 for none, `RATE` or `REGULAR`.

    Rate: more than `max_events_a_day` events within some 24 hours. Regularity: at least
    `min_regular_gaps` gaps between events, of which 80% lie within 5% of their median, where that
    median is at most half an hour and at least 8 readings of the clock. Gaps of zero (several events
    at one moment) are not counted as gaps.

    Args:
        time_us: (N,) moments, oldest first within a user.
        offsets: (U + 1,) first row of each user.
        max_events_a_day: events within 24 hours that a person may have.
        min_regular_gaps: gaps needed before regularity is judged.
        resolution_us: microseconds between two readings of the log's clock.

    Shapes: (U,) uint8.     Cost: O(N); the median only for users with enough gaps.
    """
    flags: NDArray[np.uint8] = _flag(time_us, offsets, max_events_a_day, min_regular_gaps, resolution_us)
    return flags


def clock_resolution(time_us: NDArray[np.int64], at_most_us: int = DAY_US) -> int:
    """The coarsest of a day, an hour, a minute, 1 s, 1 ms and 1 us that divides all moments.

    >>> clock_resolution(np.array([0, 120_000_000]))
    60000000
    """
    return int(_coarsest(time_us, at_most_us))


@numba.njit(nogil=True, cache=True)
def _coarsest(time_us, resolution_us):  # type: ignore[no-untyped-def]
    for moment in time_us:
        while moment % resolution_us:
            if resolution_us == 86_400_000_000:
                resolution_us = 3_600_000_000
            elif resolution_us == 3_600_000_000:
                resolution_us = 60_000_000
            elif resolution_us == 60_000_000:
                resolution_us = 1_000_000
            else:
                resolution_us = resolution_us // 1_000
    return resolution_us


@numba.njit(nogil=True, cache=True)
def _flag(time_us, offsets, max_events_a_day, min_regular_gaps, resolution_us):  # type: ignore[no-untyped-def]
    n_users = len(offsets) - 1
    flags = np.zeros(n_users, np.uint8)
    for user in range(n_users):
        start, stop = offsets[user], offsets[user + 1]
        for row in range(start + max_events_a_day, stop):
            if time_us[row] - time_us[row - max_events_a_day] < DAY_US:
                flags[user] = RATE
                break
        if flags[user] or stop - start <= min_regular_gaps:
            continue
        gaps = np.diff(time_us[start:stop])
        gaps = gaps[gaps > 0]
        if len(gaps) < min_regular_gaps:
            continue
        median = np.median(gaps)
        if median > MAX_GAP_US or median < GRAINS * resolution_us:
            continue
        near = 0
        for gap in gaps:
            if abs(gap - median) <= TOLERANCE * median:
                near += 1
        if near >= SHARE * len(gaps):
            flags[user] = REGULAR
    return flags
