# SPDX-License-Identifier: Apache-2.0
"""What training keeps back to know when to stop, and the one figure it reads there.

The last event of some users is kept back, not a last stretch of time: the model still learns from
everything up to the cut, so that nothing has to be fitted again. It knows no particular model; the
full set of measures lies in the evaluation room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.errors import TooLittleData
from desirepath.models.base import NEVER, Model
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences


@dataclass(frozen=True, slots=True)
class Holdout:
    """Sequences to learn from, and questions about the events taken out of them."""

    train: Sequences
    queries: Queries


def hold_out_last(train: Sequences, *, n_users: int, seed: int) -> Holdout:
    """Keep back the last event of `n_users` users drawn by `seed`, of those with three events or more.

    Cost: one pass over the columns.     Source: "last training item" validation of Gusak et al.
    2025, "Time to Split"; here of a sample of users, so that nearly all last events stay in.

    Raises:
        TooLittleData: no user has three events.
    """
    last = np.asarray(train.offsets[1:]) - 1
    able = np.flatnonzero(train.lengths >= 3)
    able = able[train.item_ix[last[able]] >= FIRST]
    if not len(able):
        raise TooLittleData(
            "Early stopping keeps back the last event of users with three events or more; "
            "no user has so many. Train a fixed number of epochs instead (validation_users = 0)."
        )
    users = np.sort(np.random.default_rng(seed).permutation(able)[:n_users])
    keep = np.ones(train.n_events, dtype=np.bool_)
    keep[last[users]] = False
    queries = Queries(
        sequences=train,
        user_ix=users,
        start=np.asarray(train.offsets[users]),
        stop=last[users],
        now_s=np.asarray(train.time_s[last[users]]),
        target_offsets=np.arange(len(users) + 1, dtype=np.int64),
        target_item_ix=np.asarray(train.item_ix[last[users]]),
    )
    return Holdout(train.select(keep), queries)


def mean_ndcg(
    model: Model, queries: Queries, *, k: int = 10, hide_seen: bool = False, chunk: int = 1024
) -> float:
    """Mean NDCG@k over all items where each query has one target: 1 / log2(1 + rank), 0 beyond k.

    Of n items that tie with the target, half of the others are counted before it (rounded down). A seen item
    that is itself the target is not hidden.

    Args:
        model: a fitted model.
        queries: questions with exactly one target.
        k: length of the list.
        hide_seen: whether items of the history are out of the running.
        chunk: queries scored at a time; chunk x V floats of memory.
    """
    target = queries.single_target
    gain = 0.0
    for first in range(0, len(queries), chunk):
        part = queries[first : first + chunk]
        rows, wanted = np.arange(len(part)), target[first : first + chunk]
        scores = model.scores(part)
        own = scores[rows, wanted]
        if hide_seen:
            seen = part.history_matrix().tocoo()
            scores[seen.row, seen.col] = NEVER
            scores[rows, wanted] = own
        rank = _rank(scores, own)
        gain += float((1.0 / np.log2(rank[rank < k] + 2.0)).sum())
    return gain / len(queries)


@numba.njit(nogil=True, cache=True)
def _rank(scores_BV: NDArray[np.float32], own_B: NDArray[np.float32]) -> NDArray[np.int64]:
    """Items before each row's own score, half of those level with it among them; one pass over the scores."""
    rank_B = np.empty(len(own_B), np.int64)
    for b in range(len(own_B)):
        above, level = np.int32(0), np.int32(-1)
        for v in range(scores_BV.shape[1]):
            above += scores_BV[b, v] > own_B[b]
            level += scores_BV[b, v] == own_B[b]
        rank_B[b] = above + level // 2
    return rank_B
