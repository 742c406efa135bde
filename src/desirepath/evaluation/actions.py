# SPDX-License-Identifier: Apache-2.0
"""How often the action of the next event is foreseen, by models that predict it and by plain rules.

The rules are what such a model must beat: the most common action, and the same as last.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences

Ints = NDArray[np.int64]


class ActionModel(Protocol):
    """What says which action comes next, such as `models.markov.ActionMarkov`."""

    def probabilities(self, queries: Queries) -> NDArray[np.floating]:
        """(B, A) probability of each next action."""
        ...


def answerable(queries: Queries) -> bool:
    """Whether queries know one next action each, of several that there are."""
    return (
        queries.target_action_ix is not None
        and len(queries.sequences.actions) - FIRST > 1
        and len(queries.target_item_ix) == len(queries)
    )


def predicted(
    model: ActionModel, queries: Queries, batch_size: int = 8192
) -> tuple[Ints, NDArray[np.float64]]:
    """The action that the model holds for likeliest, and its probability, both (Q,)."""
    action, chance = np.zeros(len(queries), np.int64), np.zeros(len(queries))
    for first in range(0, len(queries), batch_size):
        part = slice(first, first + batch_size)
        said = np.asarray(model.probabilities(queries[part]), dtype=np.float64)
        action[part], chance[part] = said.argmax(axis=1), said.max(axis=1)
    return action, chance


def plain_predictions(train: Sequences, queries: Queries) -> dict[str, Ints]:
    """What two rules say, each (Q,): "most common action" of training, and "same action as last".

    An empty history has no last action: there both say the most common one. Of equally common
    actions the one with the lower index.

    >>> train = Sequences.from_lists([["a", "b"]])
    >>> {rule: said.tolist() for rule, said in
    ...     plain_predictions(train, Queries.latest(train, np.array([0]))).items()}
    {'most common action': [2], 'same action as last': [2]}
    """
    counts = np.bincount(np.asarray(train.action_ix), minlength=len(train.actions))
    common = np.full(len(queries), counts.argmax(), dtype=np.int64)
    some = np.flatnonzero(queries.stop > queries.start)
    last = common.copy()
    last[some] = queries.sequences.action_ix[queries.stop[some] - 1]
    return {"most common action": common, "same action as last": last}
