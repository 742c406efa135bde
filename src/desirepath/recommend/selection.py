# SPDX-License-Identifier: Apache-2.0
"""Selects the best of a row of scores and finds the places of targets in it, in compiled code.

It knows rows of numbers and which items are hidden from them; `ranking` brings models and queries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.schema import FIRST

OUT = 2**31 - 1
"""The rank of a target that cannot be recommended: beyond every list, however small the catalogue."""

BLOCK = 32
"""Scores compared at once before any of them is looked at singly."""


class Work(NamedTuple):
    """What is read of all queries, and the arrays of a `ranking.Ranking` that are filled."""

    item_ix: NDArray[np.int32]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    identity: NDArray[np.uint64]
    forbidden: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    target: NDArray[np.int32]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    rank: NDArray[np.int64]
    better: NDArray[np.int64]
    tied: NDArray[np.int64]
    masked: NDArray[np.bool_]
    n_candidates: NDArray[np.int64]


@numba.njit(cache=True, nogil=True, inline="always")
def _draw(identity: Any, item: Any) -> Any:
    """A number that orders equal scores (the finaliser of splitmix64, Steele et al. 2014)."""
    x = identity + np.uint64(item) * np.uint64(0xD1B54A32D192ED03)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _count_above(row: Any, low: Any) -> Any:
    """How many scores reach `low`, and how many are not numbers; the loop becomes vector code."""
    above = np.int32(0)
    broken = np.int32(0)
    for j in range(len(row)):
        above += np.int32(row[j] >= low)
        broken += np.int32(row[j] != row[j])
    return above, broken


@numba.njit(cache=True, nogil=True)
def _count_both(row: Any, value: Any) -> Any:
    """How many of the scores are above `value`, and how many equal it."""
    above = np.int32(0)
    equal = np.int32(0)
    for j in range(len(row)):
        above += np.int32(row[j] > value)
        equal += np.int32(row[j] == value)
    return above, equal


@numba.njit(cache=True, nogil=True)
def _insert(items: Any, scores: Any, draws: Any, item: Any, score: Any, draw: Any) -> None:
    """Put one item into a full-length list that is ordered by falling (score, draw); the last drops out."""
    j = len(items) - 1
    while j > 0 and (scores[j - 1] < score or (scores[j - 1] == score and draws[j - 1] < draw)):
        items[j] = items[j - 1]
        scores[j] = scores[j - 1]
        draws[j] = draws[j - 1]
        j -= 1
    items[j] = item
    scores[j] = score
    draws[j] = draw


@numba.njit(cache=True, nogil=True)
def _best(row: Any, hidden: Any, identity: Any, items: Any, scores: Any, draws: Any) -> bool:
    """Fill one list; True where the row holds something that is no number.

    A block is looked into only if something in it reaches the list's last score, which soon is rare.
    """
    k = len(items)
    broken = False
    for left in range(0, len(row), BLOCK):
        part = row[left : left + BLOCK]
        low = scores[k - 1]
        above, wrong = _count_above(part, low)
        broken |= wrong > 0
        if above == 0:
            continue
        for j in range(len(part)):
            value = part[j]
            if value < scores[k - 1] or value == -np.inf or hidden[left + j]:
                continue
            draw = _draw(identity, left + j)
            if value > scores[k - 1] or draw > draws[k - 1]:
                _insert(items, scores, draws, left + j, value, draw)
    return broken


@numba.njit(cache=True, nogil=True)
def _place(row: Any, hidden: Any, concealed: Any, identity: Any, target: Any) -> Any:
    """(better, tied, rank) of one visible target among the items that are not hidden."""
    value = row[target]
    better, tied = _count_both(row, value)
    for item in concealed:
        better -= row[item] > value
        tied -= row[item] == value
    ahead = 0
    if tied > 1:
        mine = _draw(identity, target)
        for j in range(len(row)):
            if row[j] == value and j != target and not hidden[j]:
                other = _draw(identity, j)
                ahead += other > mine or (other == mine and j < target)
    return better, tied, better + ahead + 1


@numba.njit(cache=True, nogil=True)
def rank_rows(tile: Any, origin: Any, first: Any, last: Any, work: Any) -> int:
    """Rank queries first:last, whose scores begin at row `origin` of the tile; the first bad query or -1."""
    hidden = work.forbidden.copy()
    base = np.flatnonzero(hidden)
    concealed = np.empty(tile.shape[1], dtype=np.int64)
    concealed[: len(base)] = base
    draws = np.zeros(work.items.shape[1], dtype=np.uint64)
    for q in range(first, last):
        row = tile[q - origin]
        identity = work.identity[q]
        n_hidden = len(base)
        for r in range(work.start[q], work.stop[q]):
            item = work.item_ix[r]
            if not hidden[item]:
                hidden[item] = True
                concealed[n_hidden] = item
                n_hidden += 1
        work.n_candidates[q] = tile.shape[1] - n_hidden
        draws[:] = 0
        if _best(row, hidden, identity, work.items[q], work.scores[q], draws):
            return q
        for t in range(work.offsets[q], work.offsets[q + 1]):
            item = work.target[t]
            work.masked[t] = hidden[item] and item >= FIRST
            if hidden[item] or row[item] == -np.inf:
                work.better[t], work.tied[t], work.rank[t] = OUT - 1, 1, OUT
            else:
                better, tied, place = _place(row, hidden, concealed[:n_hidden], identity, item)
                work.better[t], work.tied[t], work.rank[t] = better, tied, place
        for j in range(len(base), n_hidden):
            hidden[concealed[j]] = False
    return -1


@numba.njit(cache=True, nogil=True)
def mark_seen(item_ix: Any, start: Any, stop: Any, offsets: Any, target: Any, out: Any) -> None:
    """Set out[t] where target t stands in the history start:stop of its query."""
    for q in range(len(start)):
        for t in range(offsets[q], offsets[q + 1]):
            for r in range(start[q], stop[q]):
                if item_ix[r] == target[t]:
                    out[t] = True
                    break
