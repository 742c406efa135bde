# SPDX-License-Identifier: Apache-2.0
"""What has been popular of late, kept up with every event in constant time.

An event counts half after a half-life. Weights only ever grow towards the present, so that nothing has to
be aged: all are measured at one moment, which moves on when they become large. It knows no users.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.schema import FIRST
from desirepath.sequences import Sequences

DAY_S = 86_400.0
MOST_HALF_LIVES = 40.0
PRIOR_EVENTS = 100.0


class Trending:
    """Exponentially decayed counts of items, as of the latest event."""

    def __init__(
        self, half_life_days: float = 7.0, base: Sequences | None = None, prior: Trending | None = None
    ) -> None:
        """Begin with the events of the packed log, whose item indexes are those of the catalogue.

        Args:
            half_life_days: an event counts half after so long.
            base: the packed log.
            prior: slower counts that stand for `PRIOR_EVENTS` events, so that the first click after a quiet
                year is not all that there is.
        """
        self.half_life_s = half_life_days * DAY_S
        self._prior = prior
        self._moment_s = self._latest_s = 0.0
        self._weight = np.zeros(1024)
        if base is not None and base.n_events:
            self._moment_s = self._latest_s = float(np.max(base.time_s))
            weight = np.exp2((base.time_s - self._moment_s) / self.half_life_s)
            found = np.bincount(base.item_ix, weights=weight)
            self._weight = np.concatenate([found, np.zeros(len(found))])

    def add(self, item_ix: int, time_s: float) -> None:
        """Count one event."""
        if self._moment_s == 0.0:
            self._moment_s = time_s
        self._latest_s = max(self._latest_s, time_s)
        grown = (time_s - self._moment_s) / self.half_life_s
        if grown > MOST_HALF_LIVES:
            self._weight *= np.exp2(-grown)
            self._moment_s, grown = time_s, 0.0
        if item_ix >= len(self._weight):
            self._weight = np.concatenate([self._weight, np.zeros(max(len(self._weight), item_ix))])
        self._weight[item_ix] += np.exp2(grown)

    def best(self, hidden: NDArray[np.bool_], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k items with the largest shares above 0 that are not `hidden`, (V,), and the shares."""
        share = self.shares(len(hidden))
        found = np.flatnonzero((share > 0) & ~hidden)
        if len(found) > k:
            least = np.partition(share[found], len(found) - k)[len(found) - k]
            found = found[share[found] >= least]
        found = found[np.argsort(-share[found], kind="stable")][:k]
        return found, share[found]

    def shares(self, n: int) -> NDArray[np.float64]:
        """(n,) each item's share of the decayed count; 0 for padding and unknown, sums to 1 or 0."""
        weight = np.zeros(n)
        known = self._weight[:n]
        weight[: len(known)] = known
        weight[:FIRST] = 0.0
        if self._prior is not None:
            weight *= np.exp2((self._moment_s - self._latest_s) / self.half_life_s)
            weight += PRIOR_EVENTS * self._prior.shares(n)
        total = weight.sum()
        return weight / total if total > 0 else weight
