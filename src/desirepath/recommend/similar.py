# SPDX-License-Identifier: Apache-2.0
"""Which items are alike, and which users: by a model's own vectors, or by who shares what.

It knows sequences and models; neither names nor titles.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.models.base import Model
from desirepath.models.counts import interactions
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences

USERS_AT_ONCE = 4096


@runtime_checkable
class HasItemVectors(Protocol):
    """A model with a vector for each item."""

    def item_vectors(self) -> NDArray[np.float32]:
        """(V, D) one vector an item; the reserved rows mean nothing."""
        ...


@runtime_checkable
class HasUserVectors(Protocol):
    """A model that makes a vector of a history."""

    def user_vectors(self, queries: Queries) -> NDArray[np.float32]:
        """(B, D) one vector a history."""
        ...


class Similar:
    """Neighbours of items and of users, by cosine.

    Items are compared by the model's item vectors where it has them, otherwise by their columns in the binary
    users x items matrix: the number of users of both, over the root of the product of the users of each.
    Users are compared by the model's vectors of their histories, otherwise by their rows in that matrix.
    What is needed is made at the first question and kept.
    """

    def __init__(self, model: Model, sequences: Sequences) -> None:
        """Compare by `model`, or by the events of `sequences`; nothing is computed yet."""
        self._model = model
        self._sequences = sequences

    @property
    def basis(self) -> tuple[str, str]:
        """What items and what users are compared by: "vectors" or "events"."""
        return (
            "vectors" if isinstance(self._model, HasItemVectors) else "events",
            "vectors" if isinstance(self._model, HasUserVectors) else "events",
        )

    def items(self, item_ix: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k items most like one item, and their cosines; fewer where fewer have any likeness.

        Cost: V x D by vectors; by events, the events of the item's users.
        """
        if isinstance(self._model, HasItemVectors):
            cosine = self._item_unit_VD @ self._item_unit_VD[item_ix]
        else:
            cosine = self._columns(item_ix)
        cosine[:FIRST] = 0.0
        cosine[item_ix] = 0.0
        return _best(cosine, k)

    def users(self, user_ix: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k users most like one user, and their cosines; fewer where fewer have any likeness.

        Cost: n_users x D by vectors, made for all at the first question; by events, the events of all
        users of this user's items.
        """
        one = Queries.latest(self._sequences, np.array([user_ix]))
        found, cosine = self.users_like(one, k + 1)
        other = found != user_ix
        return found[other][:k], cosine[other][:k]

    def users_like(self, queries: Queries, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k users most like a history, that of one query, and their cosines; see `users`."""
        if isinstance(self._model, HasUserVectors):
            if not queries.lengths[0]:
                return np.zeros(0, np.int64), np.zeros(0, np.float32)
            cosine = self._user_unit_UD @ _unit(self._model.user_vectors(queries))[0]
        else:
            user_item = self._user_item
            had = queries.history_matrix().indices
            had = had[had >= FIRST]
            # Only users of these items are met.
            shared = np.asarray(self._item_user[had].sum(axis=0), dtype=np.float32).ravel()
            n_items = np.diff(user_item.indptr)
            cosine = shared / np.sqrt(np.maximum(n_items * max(len(had), 1), 1.0))
        return _best(cosine.astype(np.float32), k)

    def _columns(self, item_ix: int) -> NDArray[np.float32]:
        users = self._item_user[[item_ix]].indices
        shared = np.asarray(self._user_item[users].sum(axis=0), dtype=np.float32).ravel()
        n_users = np.diff(self._item_user.indptr)
        return np.asarray(shared / np.sqrt(np.maximum(n_users * max(len(users), 1), 1.0)), dtype=np.float32)

    @cached_property
    def _user_item(self) -> sp.csr_array:
        return interactions(self._sequences)

    @cached_property
    def _item_user(self) -> sp.csr_array:
        return self._user_item.T.tocsr()

    @cached_property
    def _item_unit_VD(self) -> NDArray[np.float32]:
        assert isinstance(self._model, HasItemVectors)
        return _unit(self._model.item_vectors())

    @cached_property
    def _user_unit_UD(self) -> NDArray[np.float32]:
        assert isinstance(self._model, HasUserVectors)
        everybody = Queries.latest(self._sequences, np.arange(self._sequences.n_users))
        parts = [
            self._model.user_vectors(everybody[first : first + USERS_AT_ONCE])
            for first in range(0, len(everybody), USERS_AT_ONCE)
        ]
        vectors = _unit(np.concatenate(parts))
        # Who has no events has no likeness, whatever a model says of an empty history.
        vectors[everybody.lengths == 0] = 0.0
        return vectors


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norm > 0, norm, 1.0), dtype=np.float32)


def _best(cosine: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Indexes and values of the k highest above 0; of equals the lower index first."""
    found = np.flatnonzero(cosine > 0)
    if len(found) > k:
        least = np.partition(cosine[found], len(found) - k)[len(found) - k]
        found = found[cosine[found] >= least]
    order = found[np.argsort(-cosine[found], kind="stable")][:k]
    return order, cosine[order]
