# SPDX-License-Identifier: Apache-2.0
"""The counts that every baseline begins with, and the last known step of a history.

It knows no particular model. Reserved item indexes (padding, unknown) never count.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.errors import NotFittedError
from desirepath.models.base import NEVER
from desirepath.schema import FIRST, PADDING
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.queries import ranges

DAY_S = 86_400.0

A = TypeVar("A")


def item_counts(train: Sequences, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """(V,) events of each item, or the sum of their weights; 0 at the reserved indexes.

    >>> item_counts(Sequences.from_lists([["a", "b"], ["b"]])).tolist()
    [0.0, 0.0, 1.0, 2.0]
    """
    counts = np.bincount(train.item_ix, weights=weight, minlength=len(train.items)).astype(np.float64)
    counts[:FIRST] = 0.0
    return counts


def log_share(counts: NDArray[np.float64], smoothing: float) -> NDArray[np.float32]:
    """(V,) log of each item's smoothed share, ln((n + a) / (N + a V)); -inf at the reserved indexes.

    Source: additive smoothing with `a` pseudo-counts an item (Lidstone 1920); keeps every score finite.
    """
    real = counts[FIRST:]
    score = np.full(len(counts), NEVER, dtype=np.float32)
    if len(real):
        score[FIRST:] = np.log(real + smoothing) - np.log(real.sum() + smoothing * len(real))
    return score


def repeated(score_V: NDArray[np.float32], n_rows: int) -> NDArray[np.float32]:
    """(B, V) the same scores for every query, as memory that the caller may write to."""
    out = np.empty((n_rows, len(score_V)), dtype=np.float32)
    out[:] = score_V
    return out


def last_items(queries: Queries, n_items: int) -> NDArray[np.int64]:
    """(Q,) the last item of each history that lies in FIRST..n_items-1; 0 where there is none.

    Cost: O(Q), and one pass over the histories that end with an unknown item.
    """
    item_ix = queries.sequences.item_ix
    last = np.full(len(queries), PADDING, dtype=np.int64)
    filled = np.flatnonzero(queries.lengths > 0)
    last[filled] = item_ix[queries.stop[filled] - 1]
    strange = filled[(last[filled] < FIRST) | (last[filled] >= n_items)]
    if len(strange):
        rows = ranges(queries.start[strange], queries.stop[strange])
        query = np.repeat(strange, queries.lengths[strange])
        known = (item_ix[rows] >= FIRST) & (item_ix[rows] < n_items)
        last[strange] = PADDING
        # Rows ascend within a query, and of repeated indexes numpy keeps the last value.
        last[query[known]] = item_ix[rows[known]]
    return last


def history_rows(queries: Queries, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of all histories with a known item, oldest first, as (row_T, query_T)."""
    rows = ranges(queries.start, queries.stop)
    query = np.repeat(np.arange(len(queries), dtype=np.int64), queries.lengths)
    item = queries.sequences.item_ix[rows]
    known = (item >= FIRST) & (item < n_items)
    return rows[known], query[known]


def history_counts(queries: Queries, n_items: int, *, binary: bool = True) -> sp.csr_array:
    """Each history as a row of a (Q, n_items) float32 matrix of known items' counts, or of ones."""
    rows, query = history_rows(queries, n_items)
    matrix = sp.coo_array(
        (np.ones(len(rows), np.float32), (query, np.asarray(queries.sequences.item_ix)[rows])),
        shape=(len(queries), n_items),
    ).tocsr()
    if binary:
        matrix.data[:] = 1.0
    return matrix


def interactions(train: Sequences, *, binary: bool = True, max_events: int | None = None) -> sp.csr_array:
    """A (n_users, V) float32 matrix of event counts, or of ones; reserved columns are empty.

    Args:
        train: the sequences.
        binary: ones in place of counts.
        max_events: only the last so many events of each user, which bounds the cost of users x items^2.
    """
    stop = np.asarray(train.offsets[1:])
    start = np.asarray(train.offsets[:-1])
    if max_events is not None:
        start = np.maximum(start, stop - max_events)
    rows = ranges(start, stop)
    item = np.asarray(train.item_ix[rows])
    user = np.repeat(np.arange(train.n_users, dtype=np.int32), stop - start)
    known = item >= FIRST
    matrix = sp.coo_array(
        (np.ones(int(known.sum()), np.float32), (user[known], item[known])),
        shape=(train.n_users, len(train.items)),
    ).tocsr()
    matrix.sum_duplicates()
    if binary:
        matrix.data[:] = 1.0
    return matrix


def fitted(array: A | None, name: str) -> A:
    """The array, once there is one.

    Raises:
        NotFittedError: the model was asked before `fit` or `restore`.
    """
    if array is None:
        raise NotFittedError(f"Model '{name}' must be fitted before it can score. Call fit(train) first.")
    return array


def tie_break(counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """(V,) at most 1e-6 and in the order of popularity: it orders ties and changes nothing else."""
    return np.asarray(1e-6 * counts / max(counts.max(initial=0.0), 1.0), dtype=np.float32)
