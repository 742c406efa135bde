# SPDX-License-Identifier: Apache-2.0
"""A model asked in another item vocabulary than the one it was fitted with, so that two can be compared.

It knows indexes only. Items that the model does not know are unknown in histories and never recommended.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from desirepath.models.base import NEVER, Model
from desirepath.schema import FIRST, UNKNOWN
from desirepath.sequences import Queries, Sequences, Vocabulary


class Rebased:
    """A fitted model that speaks another vocabulary: all that ranking asks of a model, and no more."""

    def __init__(self, model: Model, items: Vocabulary, sequences: Sequences) -> None:
        """Map between `items`, those of the model, and the items of `sequences`, which will be asked of."""
        self.name = model.name
        self._model = model
        to_model = items.encode(sequences.items.ids)
        known = np.flatnonzero(to_model >= FIRST)
        self._here = known + sequences.items.reserved
        self._there = to_model[known]
        of_ix = np.concatenate([np.arange(FIRST), to_model]).astype(np.int32)
        of_ix[UNKNOWN] = UNKNOWN
        self._asked = sequences
        self._sequences = replace(sequences, item_ix=of_ix[np.asarray(sequences.item_ix)], items=items)

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """Scores of shape (B, V) over the items of the sequences, -inf where the model does not know one."""
        assert queries.sequences is self._asked, "queries are of the sequences that were mapped"
        found = self._model.scores(replace(queries, sequences=self._sequences))
        scores_BV = np.full((len(queries), len(self._asked.items)), NEVER, dtype=np.float32)
        scores_BV[:, self._here] = found[:, self._there]
        return scores_BV


def rebased(model: Model, items: Vocabulary, sequences: Sequences) -> Model:
    """`model`, fitted with `items`, as one that can be asked of `sequences`; itself where they agree."""
    return model if items == sequences.items else cast(Model, Rebased(model, items, sequences))
