# SPDX-License-Identifier: Apache-2.0
"""What place, device and time of day change: which items are met more often there than elsewhere.

It counts the packed log by context, one value at a time and only when that value is first asked for. It knows
neither users nor models; what it finds is added to a model's log-odds.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath.schema import FIRST
from desirepath.sequences import Sequences

HOUR = "hour"
"""Context key of the hour of the day, 0 to 23 UTC."""
HOURS_APART = 2
"""Hours to either side that count as the same time of day."""
PSEUDO_EVENTS = 50.0
"""Expected events of an item in a context that count as much as those that were seen."""
MOST_KEPT = 256
DAY_S, HOUR_S = 86_400.0, 3600.0


class ContextLift:
    """log P(item | context) - log P(item), drawn towards 0 where little was seen.

    With n_i events of item i in the context, and e_i expected there if the context said nothing, the lift is
    log((n_i + c) / (e_i + c)), c = 50 events: the posterior mean of a Gamma(c, c) rate ratio.
    Several contexts at once are added up, as if they spoke independently; that is an approximation.
    """

    def __init__(self, base: Sequences) -> None:
        """Look at the packed log; nothing is counted yet."""
        self._base = base
        self._kept: dict[tuple[str, str], NDArray[np.float32] | None] = {}
        self._lock = threading.Lock()

    @property
    def keys(self) -> tuple[str, ...]:
        """What a context may name."""
        return (*sorted(self._base.labels), HOUR)

    def of(self, context: Mapping[str, Any], item_ix: NDArray[np.integer]) -> NDArray[np.float64] | None:
        """(N,) what the context adds to the log-odds of these items; None where it says nothing known."""
        found: NDArray[np.float64] | None = None
        for key in self.keys:
            if key not in context:
                continue
            lift = self._lift(key, str(context[key]))
            if lift is not None:
                known = item_ix < len(lift)
                mine = np.where(known, lift[np.where(known, item_ix, 0)], 0.0)
                found = mine if found is None else found + mine
        return found

    def _lift(self, key: str, value: str) -> NDArray[np.float32] | None:
        place = (key, value)
        with self._lock:
            if place in self._kept:
                return self._kept[place]
        lift = self._counted(key, value)
        with self._lock:
            if len(self._kept) >= MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[place] = lift
        return lift

    def _counted(self, key: str, value: str) -> NDArray[np.float32] | None:
        """(V,) the lift of one value.     Cost: one pass over the log."""
        base = self._base
        if key == HOUR:
            if not value.isdigit() or int(value) > 23:
                return None
            hour = np.asarray(base.time_s) % DAY_S / HOUR_S
            apart = np.abs((hour - (int(value) + 0.5) + 12.0) % 24.0 - 12.0)
            rows = apart <= HOURS_APART + 0.5
        else:
            code = base.labels[key].index(value)
            if code is None:
                return None
            rows = np.asarray(base.context[key]) == code
        n_rows = int(rows.sum())
        if not n_rows:
            return None
        size = len(base.items)
        met = np.bincount(base.item_ix[rows], minlength=size)
        expected = np.bincount(base.item_ix, minlength=size) * (n_rows / base.n_events)
        lift = np.log((met + PSEUDO_EVENTS) / (expected + PSEUDO_EVENTS))
        lift[:FIRST] = 0.0
        return lift.astype(np.float32)
