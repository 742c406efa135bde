# SPDX-License-Identifier: Apache-2.0
"""How often each item was shown and clicked, for exploration; counted as the events come in."""

from __future__ import annotations

import numpy as np

from desirepath.live.actions import IMPRESSION, SATISFACTION
from desirepath.recommend.slate import Counts


class Exposure:
    """Impressions, and actions on items of served lists, by catalogue index."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._impressions = np.zeros(1024, dtype=np.int64)
        self._clicks = np.zeros(1024, dtype=np.int64)

    def add(self, item_ix: int, action: str, *, is_served: bool) -> None:
        """Count one event; an action counts where it names the list that the item was served in."""
        if item_ix >= len(self._clicks):
            more = np.zeros(max(len(self._clicks), item_ix), dtype=np.int64)
            self._impressions = np.concatenate([self._impressions, more])
            self._clicks = np.concatenate([self._clicks, more])
        if action == IMPRESSION:
            self._impressions[item_ix] += 1
        elif is_served and action != SATISFACTION:
            self._clicks[item_ix] += 1

    def counts(self) -> Counts:
        """Both counts as they are now."""
        return Counts(impressions=self._impressions, clicks=self._clicks)
