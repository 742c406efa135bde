# SPDX-License-Identifier: Apache-2.0
"""One model version at work on live histories: from what users did to scored items of the catalogue.

The model keeps the item indexes it was trained with; the catalogue has its own, which grow. This is the only
place where the two meet, so that a model can be exchanged while everything else stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.live.catalogue import Catalogue
from desirepath.live.states import Histories
from desirepath.models.base import NEVER
from desirepath.recommend.versions import Version
from desirepath.schema import FIRST, PADDING, UNKNOWN
from desirepath.sequences import Queries, Sequences, Vocabulary


@dataclass(frozen=True, slots=True)
class Scored:
    """The best items of one user, best first."""

    item_ix: NDArray[np.int32]
    """(N,) index into the catalogue."""
    score: NDArray[np.float32]
    """(N,) the model's own score."""
    probability: NDArray[np.float32]
    """(N,) that the item is the next one; NaN without a calibration."""


class Ranker:
    """A version, and how its items map to the catalogue."""

    def __init__(self, version: Version, catalogue: Catalogue) -> None:
        """Map the items of the version; those that the catalogue lacks are added to it."""
        self.version = version
        self._catalogue = catalogue
        ids = version.items.ids.to_list()
        self._to_catalogue = np.array([PADDING, UNKNOWN, *(catalogue.take(name) for name in ids)], np.int32)
        self._to_model = np.full(len(catalogue), UNKNOWN, np.int32)
        self._to_model[self._to_catalogue] = np.arange(len(self._to_catalogue), dtype=np.int32)

    def queries(self, histories: Histories, actions: Vocabulary, now_s: float) -> Queries:
        """The questions that these histories ask, in the model's own indexes."""
        n = len(histories.offsets) - 1
        sequences = Sequences(
            offsets=histories.offsets,
            item_ix=self.to_model(histories.item_ix),
            action_ix=histories.action_ix,
            time_s=histories.time_s,
            users=Vocabulary([str(row) for row in range(n)], reserved=0),
            items=self.version.items,
            actions=actions,
        )
        return Queries.latest(sequences, np.arange(n), now_s)

    def to_model(self, item_ix: NDArray[np.int32]) -> NDArray[np.int32]:
        """The model's indexes of items of the catalogue; 1 where it does not know them."""
        if len(self._catalogue) > len(self._to_model):
            more = np.full(len(self._catalogue) - len(self._to_model), UNKNOWN, np.int32)
            self._to_model = np.concatenate([self._to_model, more])
        return self._to_model[item_ix]

    def to_catalogue(self, item_ix: NDArray[np.integer]) -> NDArray[np.int32]:
        """The catalogue's indexes of items of the model."""
        return np.asarray(self._to_catalogue[item_ix], dtype=np.int32)

    def of_model(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A (V,) mask over the catalogue as one over the model's items."""
        return mask[self._to_catalogue]

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """(B,) whether each history holds an item that the model can read."""
        known = self.to_model(histories.item_ix) >= FIRST
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
        return before[histories.offsets[1:]] > before[histories.offsets[:-1]]

    def best(
        self, queries: Queries, allowed: list[NDArray[np.bool_] | None], exclude_seen: list[bool], n: int
    ) -> list[Scored]:
        """The n best items of each query among those that are allowed.

        Args:
            queries: as `queries` gave them.
            allowed: for each query (V,) over the catalogue: what may be shown.
            exclude_seen: for each query, whether items of its own history stay out.
            n: items wanted of each.
        """
        scores_BV = self.version.model.scores(queries)
        calibration = self.version.calibration
        partition = None if calibration is None else calibration.partition(scores_BV, queries)
        found = []
        for row in range(len(queries)):
            score_V = scores_BV[row]
            seen = np.unique(queries.sequences.item_ix[queries.start[row] : queries.stop[row]])
            mask = allowed[row]
            if mask is not None or exclude_seen[row]:
                score_V = score_V if mask is None else np.where(self.of_model(mask), score_V, NEVER)
                if exclude_seen[row]:
                    score_V = score_V.copy() if mask is None else score_V
                    score_V[seen] = NEVER
            chosen = highest(score_V, n)
            score = score_V[chosen]
            probability = np.full(len(chosen), np.nan, np.float32)
            if calibration is not None and partition is not None:
                of_row = (partition[0][row : row + 1], partition[1][row : row + 1])
                is_seen = np.isin(chosen, seen)
                probability = calibration.probabilities(score[None], is_seen[None], of_row)[0]
            found.append(Scored(self._to_catalogue[chosen], score, probability))
        return found


def highest(score_V: NDArray[np.float32], n: int) -> NDArray[np.int64]:
    """Indexes of the n highest scores above -inf, best first; of equals the lower index first."""
    if n < len(score_V):
        least = np.partition(score_V, len(score_V) - n)[len(score_V) - n]
        chosen = np.flatnonzero((score_V >= least) & (score_V > NEVER))
    else:
        chosen = np.flatnonzero(score_V > NEVER)
    order = np.argsort(-score_V[chosen], kind="stable")[:n]
    return chosen[order]
