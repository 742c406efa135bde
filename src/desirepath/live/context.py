# SPDX-License-Identifier: Apache-2.0
"""What place, device and time of day change: which items are met more often there than elsewhere.

It counts the packed log by context, one value at a time and only when that value is first asked for. It knows
neither users nor models; what it finds is added to the log-odds of what a source offers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.recommend.slate import Candidates
from desirepath.schema import FIRST
from desirepath.sequences import Sequences

HOUR = "hour"
"""Context key of the hour of the day, 0 to 23 UTC."""
HOURS_APART = 2
"""Hours to either side that count as the same time of day."""
MOST_KEPT = 256
DAY_S, HOUR_S = 86_400.0, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextConfig:
    """How far what the log says of a context is believed."""

    prior_events: float = 10.0
    """Expected events (> 0) of an item in a context that count as much as those that were seen."""
    share: float = 1.0
    """Part of what device and place say that is added, [0, 1]: histories tell some of it already."""
    hour_share: float = 0.0
    """Part of what the hour says that is added, [0, 1]: none, for on real logs it did not help."""

    def __post_init__(self) -> None:
        if not self.prior_events > 0:
            raise ConfigError(f"prior_events must be above 0; got {self.prior_events}.")
        if not (0 <= self.share <= 1 and 0 <= self.hour_share <= 1):
            raise ConfigError(f"Shares must lie in [0, 1]; got {self.share} and {self.hour_share}.")


def placed(candidates: Candidates, lift: NDArray[np.float64]) -> Candidates:
    """Candidates in the order of their log-odds and what the context adds to them.

    Where a source knows no probabilities its scores are on a scale of their own, which log-odds would drown:
    then nothing is moved. Items of unknown probability stay behind the others.

    Args:
        candidates: N of one source, best first.
        lift: (N,) as `ContextLift.of` gives it.
    """
    probability = candidates.probability
    if probability is None or not len(lift):
        return candidates
    chance = np.clip(probability.astype(np.float64), 1e-12, 1 - 1e-12)
    log_odds = np.log(chance) - np.log1p(-chance) + lift
    order = np.argsort(-np.nan_to_num(log_odds, nan=-np.inf), kind="stable")
    actions = candidates.action_probability
    return replace(
        candidates,
        item_ix=candidates.item_ix[order],
        score=candidates.score[order],
        probability=1.0 / (1.0 + np.exp(-log_odds[order])),
        action_probability=None if actions is None else actions[order],
    )


class ContextLift:
    """log P(item | context) - log P(item), drawn towards 0 where little was seen.

    With n_i events of item i in the context, and e_i expected there if the context said nothing, the lift is
    log((n_i + c) / (e_i + c)), c = `prior_events`: the posterior mean of a Gamma(c, c) rate ratio.
    Several contexts at once are added up, as if they spoke independently; that is an approximation.
    """

    def __init__(self, base: Sequences, config: ContextConfig | None = None) -> None:
        """Look at the packed log; nothing is counted yet."""
        self._base = base
        self.config = config or ContextConfig()
        self._kept: dict[tuple[str, str], NDArray[np.float32] | None] = {}
        self._lock = threading.Lock()

    @property
    def keys(self) -> tuple[str, ...]:
        """What a context may name."""
        return (*sorted(self._base.labels), *([HOUR] if self.config.hour_share else []))

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
        prior, share = self.config.prior_events, self.config.hour_share if key == HOUR else self.config.share
        lift = share * np.log((met + prior) / (expected + prior))
        lift[:FIRST] = 0.0
        return lift.astype(np.float32)
