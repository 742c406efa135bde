# SPDX-License-Identifier: Apache-2.0
"""One model version at work on live histories: from what users did to scored items of the catalogue.

The model keeps the item indexes it was trained with; the catalogue has its own, which grow. This is the only
place where the two meet, so that a model can be exchanged while everything else stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from desirepath.live.catalogue import Catalogue
from desirepath.live.states import Histories
from desirepath.models.base import NEVER, Model
from desirepath.recommend.calibration import seen_items
from desirepath.recommend.ranking import Encoder
from desirepath.recommend.shortlist import Shortlist, listed_probabilities, top_of_scores
from desirepath.recommend.slate import MODEL, Candidates
from desirepath.recommend.versions import TRANSFORMER, Version
from desirepath.schema import FIRST, PADDING, UNKNOWN
from desirepath.sequences import Queries, Sequences, Vocabulary

if TYPE_CHECKING:
    from desirepath.training.encoding import FastEncoder

FEW = 1 << 13
"""Items up to which each is scored in full: picking out what may be among the best would cost more."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much is asked of the model."""

    n: int
    """Items of each query."""
    hidden: Sequence[NDArray[np.integer]]
    """For each query, items that must not be listed, such as those of its history."""


class Ranker:
    """A version, and how its items map to the catalogue."""

    def __init__(self, version: Version, catalogue: Catalogue) -> None:
        """Map the items of the version; those that the catalogue lacks are added to it."""
        self.version = version
        self._catalogue = catalogue
        ids = version.items.ids.to_list()
        self._to_catalogue = np.array([PADDING, UNKNOWN, *(catalogue.take(name) for name in ids)], np.int32)
        self._last = int(self._to_catalogue.max())
        self._to_model = np.full(len(catalogue), UNKNOWN, np.int32)
        self._to_model[self._to_catalogue] = np.arange(len(self._to_catalogue), dtype=np.int32)
        self._row_names: dict[int, Vocabulary] = {}
        self._encoder: FastEncoder | Encoder | None = None
        self._shortlist: Shortlist | None = None
        self._vectors: NDArray[np.float32] | None = None
        if isinstance(version.model, Encoder):
            self._encoder = _encoder(version.model)
            self._vectors = np.ascontiguousarray(version.model.item_vectors(), dtype=np.float32)
            if len(self._vectors) > FEW:
                self._shortlist = Shortlist(self._vectors)

    def queries(self, histories: Histories, actions: Vocabulary, now_s: float) -> Queries:
        """The questions that these histories ask, in the model's own indexes."""
        n = len(histories.offsets) - 1
        sequences = Sequences(
            offsets=histories.offsets,
            item_ix=self.to_model(histories.item_ix),
            action_ix=histories.action_ix,
            time_s=histories.time_s,
            users=self._rows(n),
            items=self.version.items,
            actions=actions,
        )
        return Queries.latest(sequences, np.arange(n), now_s)

    def _rows(self, n: int) -> Vocabulary:
        """Names for n rows; made once for each n, for it takes a tenth of a millisecond."""
        found = self._row_names.get(n)
        if found is None:
            found = self._row_names[n] = Vocabulary([str(row) for row in range(n)], reserved=0)
        return found

    def to_model(self, item_ix: NDArray[np.integer]) -> NDArray[np.int32]:
        """The model's indexes of items of the catalogue; 1 where it does not know them."""
        if len(self._catalogue) > len(self._to_model):
            more = np.full(len(self._catalogue) - len(self._to_model), UNKNOWN, np.int32)
            self._to_model = np.concatenate([self._to_model, more])
        found: NDArray[np.int32] = self._to_model[item_ix]
        return found

    def recoded(self, log: Sequences) -> Sequences:
        """The packed log in the model's own item indexes.     Cost: one pass over its items and events.

        The log numbers items by their first event, the catalogue as they came to be known.
        """
        ids = log.items.ids.to_list()
        code = np.array([PADDING, UNKNOWN, *map(self._catalogue.take, ids)], dtype=np.int32)
        item_ix = self.to_model(code)[np.asarray(log.item_ix)]
        return replace(log, item_ix=item_ix, items=self.version.items)

    def to_catalogue(self, item_ix: NDArray[np.integer]) -> NDArray[np.int32]:
        """The catalogue's indexes of items of the model."""
        return np.asarray(self._to_catalogue[item_ix], dtype=np.int32)

    def of_model(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A (V,) mask over the catalogue as one over the model's items."""
        if len(mask) > int(self._last):
            found = mask[self._to_catalogue]
        else:  # the mask was made before the newest items came
            within = self._to_catalogue < len(mask)
            found = np.zeros(len(self._to_catalogue), dtype=np.bool_)
            found[within] = mask[self._to_catalogue[within]]
        return np.asarray(found, dtype=np.bool_)

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """(B,) whether each history holds an item that the model can read."""
        known = self.to_model(histories.item_ix) >= FIRST
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
        return before[histories.offsets[1:]] > before[histories.offsets[:-1]]

    @cached_property
    def item_vectors(self) -> NDArray[np.float32] | None:
        """(W, D) vectors by catalogue index, for likeness; None where the model has none."""
        vectors = self._vectors
        if vectors is None:
            return None
        if np.array_equal(self._to_catalogue, np.arange(len(vectors))):
            return vectors
        placed = np.zeros((int(self._to_catalogue.max()) + 1, vectors.shape[1]), dtype=np.float32)
        placed[self._to_catalogue] = vectors
        return placed

    def best(
        self, queries: Queries, allowed: Sequence[NDArray[np.bool_] | None], wanted: Wanted
    ) -> list[Candidates]:
        """The best items of each query among those that are allowed, as candidates of the source "model".

        Args:
            queries: as `queries` gave them.
            allowed: for each query (V,) over the catalogue: what may be shown; None for all.
            wanted: how many, and what must not be listed for each query, by catalogue index.
        """
        hidden = [np.unique(self.to_model(items)) for items in wanted.hidden]
        mask = self._masks(allowed)
        calibration = self.version.calibration
        probability_BN = None
        if self._encoder is not None and self._shortlist is not None:
            states_BD = self._encoder.encode(queries)
            if calibration is None:
                item_BN, score_BN = self._shortlist.top(states_BD, wanted.n, allowed=mask, hidden=hidden)
            else:
                item_BN, score_BN, partition = self._shortlist.top_with_partition(
                    states_BD, wanted.n, calibration, queries, allowed=mask, hidden=hidden
                )
                probability_BN = listed_probabilities(calibration, item_BN, score_BN, queries, partition)
        else:
            scores_BV = self._scores(queries)
            whole = None if calibration is None else calibration.partition(scores_BV, queries)
            for row, items in enumerate(hidden):
                scores_BV[row, items] = NEVER
            item_BN, score_BN = top_of_scores(scores_BV, wanted.n, allowed=mask)
            if calibration is not None and whole is not None:
                seen_BN = seen_items(item_BN, queries)
                probability_BN = calibration.probabilities(score_BN, seen_BN, whole)
        return [
            Candidates(
                source=MODEL,
                item_ix=self._to_catalogue[item_BN[row, :n]],
                score=score_BN[row, :n],
                probability=None if probability_BN is None else probability_BN[row, :n],
            )
            for row, n in enumerate((item_BN >= FIRST).sum(axis=1).tolist())
        ]

    def _scores(self, queries: Queries) -> NDArray[np.float32]:
        """(B, V) scores of every item of the model."""
        if self._encoder is None or self._vectors is None:
            return self.version.model.scores(queries)
        states_BD = self._encoder.encode(queries)
        # One product a query, so that a list does not depend on who else asks.
        scores_BV = np.empty((len(states_BD), len(self._vectors)), dtype=np.float32)
        for state, scores in zip(states_BD, scores_BV, strict=True):
            np.dot(self._vectors, state, out=scores)
        return scores_BV

    def _masks(self, allowed: Sequence[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
        """Masks over the model's items: none, one for all queries, or one each."""
        if all(mask is None for mask in allowed):
            return None
        if all(mask is allowed[0] for mask in allowed) and allowed[0] is not None:
            return self.of_model(allowed[0])
        whole = np.ones(len(self._to_catalogue), dtype=np.bool_)
        return np.stack([whole if mask is None else self.of_model(mask) for mask in allowed])


def _encoder(model: Model) -> FastEncoder | Encoder:
    """The quickest way from histories to states."""
    if model.name == TRANSFORMER:
        from desirepath.training import Transformer
        from desirepath.training.encoding import FastEncoder

        assert isinstance(model, Transformer)
        if model.module.norm.weight.device.type == "cpu":
            return FastEncoder(model)
    assert isinstance(model, Encoder)
    return model
