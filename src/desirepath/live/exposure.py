# SPDX-License-Identifier: Apache-2.0
"""How often each item was shown and clicked, for exploration; counted as the events come in."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.events.log import EventLog
from desirepath.live.actions import IMPRESSION, SATISFACTION
from desirepath.live.archive import FOLDER, read_feedback
from desirepath.live.catalogue import Catalogue
from desirepath.recommend.slate import Counts
from desirepath.schema import ITEM
from desirepath.workspace import Workspace

LIST = "recommendation_id"


class Exposure:
    """Impressions, and actions on items of served lists, by catalogue index."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._impressions = np.zeros(1024, dtype=np.int64)
        self._clicks = np.zeros(1024, dtype=np.int64)

    def begin(self, workspace: Workspace, catalogue: Catalogue) -> None:
        """Add what was packed: impressions that lie beside the log, and the log's actions on served lists.

        Cost: a pass over two columns of what lists brought about.
        """
        feedback, log = read_feedback(workspace.folder / FOLDER), EventLog(workspace.events)
        if feedback is not None:
            shown = feedback.filter(pl.col("action") == IMPRESSION)
            self._impressions = _added(self._impressions, shown, catalogue)
        if LIST in log.manifest.columns:
            acted = log.scan().filter(pl.col(LIST).is_not_null())
            self._clicks = _added(self._clicks, acted, catalogue)

    def add(self, item_ix: int, action: str, *, is_served: bool) -> None:
        """Count one event; an action counts where it names the list that the item was served in."""
        if action == IMPRESSION:
            self._impressions = _holding(self._impressions, item_ix)
            self._impressions[item_ix] += 1
        elif is_served and action != SATISFACTION:
            self._clicks = _holding(self._clicks, item_ix)
            self._clicks[item_ix] += 1

    def counts(self) -> Counts:
        """Both counts as they are now."""
        n = max(len(self._impressions), len(self._clicks))
        return Counts(impressions=_holding(self._impressions, n - 1), clicks=_holding(self._clicks, n - 1))


def _holding(counts: NDArray[np.int64], item_ix: int) -> NDArray[np.int64]:
    """The counts, longer where they do not reach this item."""
    if item_ix < len(counts):
        return counts
    return np.concatenate([counts, np.zeros(max(len(counts), item_ix + 1 - len(counts)), dtype=np.int64)])


def _added(counts: NDArray[np.int64], rows: pl.LazyFrame, catalogue: Catalogue) -> NDArray[np.int64]:
    """The counts with those of these rows."""
    found = rows.group_by(ITEM).len().collect(engine="streaming")
    item_ix = catalogue.indexes(found[ITEM].to_list())
    counts = _holding(counts, int(item_ix.max(initial=0)))
    np.add.at(counts, item_ix, found["len"].to_numpy().astype(np.int64))
    return counts
