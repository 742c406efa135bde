# SPDX-License-Identifier: Apache-2.0
"""Which actions people take on an item, kept up with every event: what a value function weighs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.sequences import Sequences

PSEUDO_EVENTS = 20.0
"""Events that the catalogue's own shares count for on each item: a new item behaves as items do."""


class Worth:
    """P(action | something is done to the item), by item and action index."""

    def __init__(self, base: Sequences) -> None:
        """Count the events of the packed log."""
        n_actions = max(len(base.actions), 4)
        code = np.asarray(base.item_ix, dtype=np.int64) * n_actions + base.action_ix
        counts = np.bincount(code, minlength=len(base.items) * n_actions)
        self._count_VA = counts.reshape(-1, n_actions).astype(np.float64)

    def add(self, item_ix: int, action_ix: int) -> None:
        """Count one event."""
        n_items, n_actions = self._count_VA.shape
        if item_ix >= n_items or action_ix >= n_actions:
            larger = (max(n_items, 2 * item_ix), max(n_actions, 2 * action_ix))
            grown = np.zeros((larger[0] + 1, larger[1] + 1))
            grown[:n_items, :n_actions] = self._count_VA
            self._count_VA = grown
        self._count_VA[item_ix, action_ix] += 1.0

    def shares(self, item_ix: NDArray[np.integer], action_ix: list[int]) -> NDArray[np.float64]:
        """(N, A) share of these actions among what is done to each item, drawn towards the catalogue's."""
        whole = self._count_VA.sum(axis=0)
        prior = whole / max(whole.sum(), 1.0)
        known = np.where(item_ix < len(self._count_VA), item_ix, 0)
        count = self._count_VA[known]
        share = (count + PSEUDO_EVENTS * prior) / (count.sum(axis=1, keepdims=True) + PSEUDO_EVENTS)
        found = np.zeros((len(share), len(action_ix)))
        met = np.asarray(action_ix, dtype=np.int64) < share.shape[1]  # of the others nobody did any yet
        found[:, met] = share[:, np.asarray(action_ix, dtype=np.int64)[met]]
        return found
