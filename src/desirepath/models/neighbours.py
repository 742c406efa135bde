# SPDX-License-Identifier: Apache-2.0
"""Item-kNN: items that were had by the same users as the items of the history.

It keeps a few neighbours for each item, so that memory grows with the catalogue and not with its
square. It knows order only through the options that let old events fade.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.models.base import NEVER
from desirepath.models.counts import DAY_S, fitted, history_rows, interactions, item_counts, tie_break
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemKnnConfig:
    """How similarity is measured, and how a history is weighed."""

    n_neighbours: int = 100
    """Most similar items kept for each item."""
    shrinkage: float = 10.0
    """Added to the norm, in events, >= 0: similarities that rest on few users shrink towards 0."""
    binary: bool = True
    """Whether a user counts once for an item; False takes how often he came."""
    half_life_events: float | None = 1.0
    """An event of the history counts half after this many later ones; None counts all alike, as the paper
    does, which costs half of NDCG on MovieLens."""
    half_life_days: float | None = None
    """An event of the history counts half this many days before the question; None counts all alike."""
    max_events: int | None = 500
    """Only the last so many events of each user are learnt from; None takes all. Bounds what robots cost."""

    def __post_init__(self) -> None:
        for name in ("half_life_events", "half_life_days"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0; got {value}. Leave it out to count all alike.")
        for name in ("n_neighbours", "max_events"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1; got {value}.")
        if not self.shrinkage >= 0:
            raise ConfigError(f"shrinkage must be 0 or more; got {self.shrinkage}.")


class ItemKnn:
    """The score of j: the sum, over the history's items i that have j among their neighbours, of w_i s_ij.

    s_ij = x_i . x_j / (|x_i| |x_j| + shrinkage), with x_i the column of item i in the users x items matrix;
    w_i = 2^(-events since / half_life_events) 2^(-days since / half_life_days), counted from the item's last
    occurrence. Ties, and histories without a known item, follow popularity.

    Source: Deshpande and Karypis, "Item-based top-N recommendation algorithms" (TOIS 2004), section 4; the
    shrinkage after Bell and Koren (ICDM 2007), put on the norm; fading after Ding and Li, "Time weight
    collaborative filtering" (CIKM 2005).

    >>> train = Sequences.from_lists([["a", "b"], ["a", "b"], ["c", "d"]])
    >>> scores = ItemKnn().fit(train).scores(Queries.from_items([["a"]], train.items))[0]
    >>> train.items.decode([scores.argmax()]).to_list()
    ['b']
    """

    name: ClassVar[str] = "item-knn"

    def __init__(self, config: ItemKnnConfig | None = None) -> None:
        """Take the options."""
        self.config = config or ItemKnnConfig()
        self._similar_VV: sp.csr_array | None = None
        self._tie_V: NDArray[np.float32] | None = None

    def fit(self, train: Sequences) -> Self:
        """Find each item's neighbours.

        Cost: the sum of squared history lengths (bounded by `max_events`), shared among all cores; memory
        8 bytes x V x n_neighbours.
        """
        user_item = interactions(train, binary=self.config.binary, max_events=self.config.max_events)
        self._similar_VV = cosine_neighbours(user_item, self.config.n_neighbours, self.config.shrinkage)
        self._tie_V = tie_break(item_counts(train))
        return self

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """(B, V) summed similarity.     Cost: history length x n_neighbours for each query, and one write.

        Raises:
            NotFittedError: before `fit`.
        """
        tie_V, similar_VV = fitted(self._tie_V, self.name), fitted(self._similar_VV, self.name)
        out: NDArray[np.float32] = (self._weights(queries, len(tie_V)) @ similar_VV).toarray()
        out += tie_V
        out[:, :FIRST] = NEVER
        return out

    def _weights(self, queries: Queries, size: int) -> sp.csr_array:
        """(B, V) weight of each item of each history, that of its last occurrence."""
        rows, query = history_rows(queries, size)
        item = queries.sequences.item_ix[rows].astype(np.int64)
        n_events = np.bincount(query, minlength=len(queries))
        cell, from_end = np.unique((query * size + item)[::-1], return_index=True)
        last = len(rows) - 1 - from_end
        query, item = np.divmod(cell, size)
        n_items = np.bincount(query, minlength=len(queries))
        weight = np.ones(len(cell), dtype=np.float64)
        if self.config.half_life_events is not None:
            since = np.cumsum(n_events)[query] - 1.0 - last
            weight *= np.exp2(-since / self.config.half_life_events)
        if self.config.half_life_days is not None:
            age_days = (queries.now_s[query] - queries.sequences.time_s[rows[last]]) / DAY_S
            weight *= np.exp2(-age_days / self.config.half_life_days)
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(n_items)])
        return sp.csr_array((weight.astype(np.float32), item, indptr), shape=(len(queries), size))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The similarities as the three arrays of a CSR matrix, and the order of ties."""
        similar_VV = fitted(self._similar_VV, self.name)
        return {
            "similar_data": similar_VV.data,
            "similar_indices": similar_VV.indices,
            "similar_indptr": similar_VV.indptr,
            "tie_V": fitted(self._tie_V, self.name),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._tie_V = state["tie_V"].astype(np.float32)
        size = len(self._tie_V)
        parts = (state["similar_data"], state["similar_indices"], state["similar_indptr"])
        self._similar_VV = sp.csr_array(parts, shape=(size, size))
        return self


def cosine_neighbours(user_item: sp.csr_array, n_neighbours: int, shrinkage: float = 0.0) -> sp.csr_array:
    """Each row's most similar other columns of `user_item`, by shrunk cosine, as a (V, V) CSR matrix.

    Of equally similar items the one with the lower index is kept. The same result, slowly: the whole
    `X.T @ X`, divided, its diagonal emptied, and each row cut to its largest entries.

    Cost: the sum of squared row lengths, shared among all cores; memory V for each of them.
    """
    by_item = user_item.T.tocsr()
    n_items = by_item.shape[0]
    norm = np.sqrt(np.asarray(by_item.multiply(by_item).sum(axis=1), dtype=np.float64)).ravel()
    width = min(n_neighbours, max(n_items - 1, 1))
    similar = np.zeros((n_items, width), dtype=np.float32)
    neighbour = np.zeros((n_items, width), dtype=np.int32)
    found = np.zeros(n_items, dtype=np.int64)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Popular items cost most and often stand together, so there are more pieces than cores.
    edges = np.linspace(0, n_items, 8 * threads + 1).astype(np.int64)
    parts = [
        (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data)
        for matrix in (by_item, user_item)
    ]
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(
                _neighbours, first, last, parts[0], parts[1], norm, shrinkage, (similar, neighbour, found)
            )
            for first, last in pairwise(edges)
        ]
        for job in jobs:
            job.result()
    kept = np.arange(width) < found[:, None]
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(found)])
    result = sp.csr_array((similar[kept], neighbour[kept], indptr), shape=(n_items, n_items))
    result.sort_indices()
    return result


@numba.njit(cache=True, nogil=True)
def _neighbours(
    first: Any, last: Any, by_item: Any, by_user: Any, norm: Any, shrinkage: Any, out: Any
) -> None:
    """Fill the rows first:last: one row of X'X at a time (Gustavson 1978), of which the best are kept."""
    item_ptr, item_users, item_weight = by_item
    user_ptr, user_items, user_weight = by_user
    similar, neighbour, found = out
    n_items = len(norm)
    dot = np.zeros(n_items, dtype=np.float64)
    touched = np.empty(n_items, dtype=np.int64)
    for i in range(first, last):
        n_touched = 0
        for p in range(item_ptr[i], item_ptr[i + 1]):
            user = item_users[p]
            for r in range(user_ptr[user], user_ptr[user + 1]):
                j = user_items[r]
                if dot[j] == 0.0:
                    touched[n_touched] = j
                    n_touched += 1
                dot[j] += item_weight[p] * user_weight[r]
        n = 0
        for t in range(n_touched):
            j = touched[t]
            if j != i:
                value = np.float32(dot[j] / (norm[i] * norm[j] + shrinkage))
                n = _keep(similar[i], neighbour[i], n, value, j)
            dot[j] = 0.0
        found[i] = n


@numba.njit(cache=True, nogil=True)
def _keep(values: Any, items: Any, n: Any, value: Any, item: Any) -> Any:
    """Offer one item to a heap of the n best so far whose root is the worst; the new n comes back."""
    if n < len(values):
        at = n
        n += 1
        while at > 0:
            above = (at - 1) // 2
            if values[above] < value or (values[above] == value and items[above] > item):
                break
            values[at], items[at] = values[above], items[above]
            at = above
    elif value < values[0] or (value == values[0] and item > items[0]):
        return n
    else:
        at = 0
        while 2 * at + 1 < n:
            below = 2 * at + 1
            other = below + 1
            if other < n and (
                values[other] < values[below]
                or (values[other] == values[below] and items[other] > items[below])
            ):
                below = other
            if values[below] > value or (values[below] == value and items[below] < item):
                break
            values[at], items[at] = values[below], items[below]
            at = below
    values[at], items[at] = value, item
    return n
