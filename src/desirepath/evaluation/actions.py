# SPDX-License-Identifier: Apache-2.0
"""How often the action of the next event is foreseen, by models that predict it and by plain counts.

The counts are what such a model must beat: the most common action, the same as last, and what most
often follows the last action.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences

Ints = NDArray[np.int64]


@runtime_checkable
class PredictsAction(Protocol):
    """A model that also says which action comes next."""

    def action_scores(self, queries: Queries) -> NDArray[np.float32]:
        """Scores of shape (B, A), higher is likelier; columns 0 and 1 are -inf."""
        ...


def answerable(queries: Queries) -> bool:
    """Whether queries know one next action each, of several that there are."""
    return (
        queries.target_action_ix is not None
        and len(queries.sequences.actions) - FIRST > 1
        and len(queries.target_item_ix) == len(queries)
    )


def predicted(model: PredictsAction, queries: Queries, batch_size: int) -> Ints:
    """(Q,) the action that the model holds for likeliest."""
    parts = [
        model.action_scores(queries[first : first + batch_size]).argmax(axis=1)
        for first in range(0, len(queries), batch_size)
    ]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


def plain_predictions(train: Sequences, queries: Queries) -> dict[str, Ints]:
    """What three rules say, each (Q,): "most common", "same as last", "after the last".

    An empty history has no last action: there all say the most common one. Equally common actions:
    the one with the lower index. Cost: one pass over the training rows.

    >>> train = Sequences.from_lists([["a", "b"]])
    >>> sorted(plain_predictions(train, Queries.latest(train, np.array([0]))))
    ['after the last', 'most common', 'same as last']
    """
    n = len(train.actions)
    action = np.asarray(train.action_ix).astype(np.int64)
    counts = np.bincount(action, minlength=n)
    common = np.full(len(queries), counts.argmax(), dtype=np.int64)
    follows = np.ones(max(len(action) - 1, 0), dtype=np.bool_)
    inner = train.offsets[1:-1]
    follows[inner[(inner > 0) & (inner < len(action))] - 1] = False  # no step from one user to the next
    steps = np.bincount((action[:-1] * n + action[1:])[follows], minlength=n * n).reshape(n, n)
    after = np.where(steps.sum(axis=1) > 0, steps.argmax(axis=1), counts.argmax())
    some = queries.stop > queries.start
    last = np.asarray(queries.sequences.action_ix)[np.maximum(queries.stop - 1, 0)].astype(np.int64)
    return {
        "most common": common,
        "same as last": np.where(some, last, common),
        "after the last": np.where(some, after[last], common),
    }
