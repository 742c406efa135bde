# SPDX-License-Identifier: Apache-2.0
"""The distribution of the time to the next event: bins of time, and what is read off the hazard in them.

It knows hazards and paces, wherever they come from; `timing` fits them. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.models.clock import HOUR_S, WeekClock
from desirepath.models.counts import DAY_S

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _spaced(low: float, high: float, n: int) -> Floats:
    return np.geomspace(low, high, n, endpoint=False)


EDGES_S: Floats = np.concatenate(
    [
        [0.0],
        _spaced(1.0, 60.0, 6),
        _spaced(60.0, HOUR_S, 8),
        _spaced(HOUR_S, DAY_S, 8),
        _spaced(DAY_S, 7 * DAY_S, 6),
        _spaced(7 * DAY_S, 30 * DAY_S, 4),
        _spaced(30 * DAY_S, 3650 * DAY_S, 12),
        [3650 * DAY_S],
    ]
)
"""(J,) where each bin of gaps begins, in seconds; a bin is open below and closed above, the last endless."""
WIDTH_S: Floats = np.append(np.diff(EDGES_S), np.inf)
SCALES_S: Floats = np.array([0.0, 60.0, HOUR_S, DAY_S, 7 * DAY_S, 30 * DAY_S])
"""(G,) where each scale of time begins: a user has a pace of his own on each."""
FIRST_BIN: Ints = np.searchsorted(EDGES_S, SCALES_S * (1 - 1e-9)).astype(np.int64)
SCALE: Ints = np.searchsorted(FIRST_BIN, np.arange(len(EDGES_S)), side="right") - 1
"""(J,) the scale of each bin."""


CLOCKED: Ints = np.flatnonzero((SCALE >= 2) & (SCALE <= 4))
"""Bins from an hour to 30 days, in which time counts by how busy it is: sessions care little for the hour,
and months hold all hours alike."""
_FENCE_S: Floats = EDGES_S[CLOCKED[0] : CLOCKED[-1] + 2]


def spent(clock: WeekClock, begin_s: Floats, from_s: Floats, until_s: Floats) -> Floats:
    """(N, J) seconds of each bin from `from_s` to `until_s` after the begin, by the clock where it counts.

    Shapes: begin_s, from_s and until_s (N,). An infinite end gives none of the endless bin; NaN stays NaN.
    """
    last_s = np.where(np.isinf(until_s), EDGES_S[-1], until_s)
    low, high = from_s[:, None], last_s[:, None]
    result: Floats = np.clip(high - EDGES_S, 0.0, WIDTH_S) - np.clip(low - EDGES_S, 0.0, WIDTH_S)
    far = np.flatnonzero((last_s > _FENCE_S[0]) & np.isfinite(from_s))
    if len(far):
        shown = clock.reading(begin_s[far, None] + np.clip(_FENCE_S, low[far], np.maximum(high, low)[far]))
        result[far[:, None], CLOCKED] = np.diff(shown, axis=1)
    return np.maximum(result, 0.0)


def bins(gap_s: Floats) -> Ints:
    """The bin of each gap: open below, closed above, 0 in the first."""
    return np.maximum(np.searchsorted(EDGES_S, gap_s, side="left") - 1, 0).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The distribution of the time to the next event of Q queries; NaN where the history is empty."""

    begin_s: Floats
    """(Q,) moment of the last event, seconds since 1970 UTC."""
    elapsed_s: Floats
    """(Q,) since the last event."""
    clock: WeekClock
    """By which time passes in bins from an hour to 30 days."""
    known_s: float
    """Longest time without an event that the log could have shown; nothing is known beyond."""
    shape_QG: Floats
    """Of the gamma distribution of each user's pace on each scale, now."""
    rate_QG: Floats
    hazard_QJ: Floats
    """Hazard a second in each bin at pace 1."""

    def within(self, horizons_s: Sequence[float] | Floats) -> Floats:
        """(Q, H) P(next event within each of H horizons from now), horizons in seconds."""
        wait_QH = np.broadcast_to(np.asarray(horizons_s, np.float64), (len(self.elapsed_s), len(horizons_s)))
        return self._chance(wait_QH)

    def chance(self, wait_s: Floats) -> Floats:
        """(Q,) P(next event within the given time from now), one time a query."""
        return self._chance(np.asarray(wait_s, np.float64)[:, None])[:, 0]

    def _chance(self, wait_QH: Floats) -> Floats:
        query = np.repeat(np.arange(len(wait_QH)), wait_QH.shape[1])
        elapsed = self.elapsed_s[query]
        spent_TJ = spent(self.clock, self.begin_s[query], elapsed, elapsed + wait_QH.ravel())
        hazard_TG = np.add.reduceat(self.hazard_QJ[query] * spent_TJ, FIRST_BIN, axis=1)
        log_T = -(self.shape_QG[query] * np.log1p(hazard_TG / self.rate_QG[query])).sum(axis=1)
        came: Floats = -np.expm1(log_T).reshape(wait_QH.shape)
        return came

    def quantile(self, level: float) -> Floats:
        """(Q,) as `quantiles`, of one level."""
        return self.quantiles([level])[:, 0]

    def quantiles(self, levels: Sequence[float]) -> Floats:
        """(Q, N) seconds from now until the next event has come with each of these probabilities.

        Infinite where that lies beyond what the log could have shown.

        Raises:
            ConfigError: a level is not between 0 and 1.
        """
        for level in levels:
            if not 0 < level < 1:
                raise ConfigError(f"level must lie between 0 and 1; got {level}.")
        left_QJ = spent(self.clock, self.begin_s, self.elapsed_s, np.full(len(self.elapsed_s), np.inf))
        gained_QJ = self.hazard_QJ * left_QJ
        before_QJ = np.cumsum(gained_QJ, axis=1) - gained_QJ
        before_QJ -= before_QJ[:, FIRST_BIN][:, SCALE]
        shape_QJ, rate_QJ = self.shape_QG[:, SCALE], self.rate_QG[:, SCALE]
        full_QG = np.add.reduceat(gained_QJ, FIRST_BIN, axis=1)
        scale_log = -self.shape_QG * np.log1p(full_QG / self.rate_QG)
        earlier_QJ = (np.cumsum(scale_log, axis=1) - scale_log)[:, SCALE]
        # Log survival at the begin of each bin; a quantile lies in the last one that is still above it.
        begin_QJ = earlier_QJ - shape_QJ * np.log1p(before_QJ / rate_QJ)
        known, query = np.isfinite(self.elapsed_s), np.arange(len(self.elapsed_s))
        waits = np.empty((len(query), len(levels)))
        for n, wanted in enumerate(np.log1p(-np.asarray(levels, np.float64))):
            at = np.maximum((begin_QJ > wanted).sum(axis=1) - 1, 0)
            rate, shape = rate_QJ[query, at], shape_QJ[query, at]
            more = rate * np.expm1((earlier_QJ[query, at] - wanted) / shape) - before_QJ[query, at]
            begin = np.maximum(EDGES_S[at], np.where(known, self.elapsed_s, 0.0))
            needed = np.maximum(more, 0.0) / self.hazard_QJ[query, at]
            reached = begin + needed
            timed = np.flatnonzero(known & (at >= CLOCKED[0]) & (at <= CLOCKED[-1]))
            shown = self.clock.reading(self.begin_s[timed] + begin[timed]) + needed[timed]
            reached[timed] = self.clock.moment(shown) - self.begin_s[timed]
            waits[:, n] = np.where(known & (reached > self.known_s), np.inf, reached - self.elapsed_s)
        return waits
