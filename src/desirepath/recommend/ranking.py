# SPDX-License-Identifier: Apache-2.0
"""Exact top-K lists and exact ranks of targets over the whole catalogue, a batch of queries at a time.

Takes any model's scores and reads each row of them once; the queries-by-items matrix never exists
as a whole. It knows no metrics and no policy beyond hiding what was seen or is not allowed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.models.base import Model
from desirepath.schema import FIRST, PADDING
from desirepath.sequences import Queries

TILE_BYTES = 32 * 2**20
"""Scores held at once when no batch size is given."""

ENCODED_AT_ONCE = 16_384
"""Histories encoded at once: many of like length then go together."""

OUT = 2**31 - 1
"""The rank of a target that cannot be recommended: beyond every list, however small the catalogue."""

BLOCK = 32
"""Scores compared at once before any of them is looked at singly."""


@runtime_checkable
class Encoder(Protocol):
    """A model whose scores are products of a query's state and the items' vectors.

    Its histories are encoded many at a time, and the products are made here, in float32 whatever
    the model was trained in: narrower products would tie many items.
    """

    def encode(self, queries: Queries) -> NDArray[np.float32]:
        """(B, D) the state after each history."""
        ...

    def item_vectors(self) -> NDArray[np.float32]:
        """(V, D) the vector of each vocabulary entry."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Lists and target ranks of Q queries with T targets in all.

    Equal scores are ordered by a draw that depends only on `seed`, the user, the length of the
    history and the item, so that a tie is never resolved in the model's favour (nor against it),
    the same query gives the same list in any batch, and ranks agree with lists.
    """

    item_ix: NDArray[np.int32]
    """(Q, K) best first; 0 where fewer than K items may be recommended."""
    score: NDArray[np.float32]
    """(Q, K) -inf where item_ix is 0."""
    rank: NDArray[np.int64]
    """(T,) 1 is best; `OUT` where the target is hidden, reserved or scored -inf."""
    better: NDArray[np.int64]
    """(T,) items with a higher score than the target; `OUT` - 1 where its rank is `OUT`."""
    tied: NDArray[np.int64]
    """(T,) items with the target's score, itself included."""
    masked: NDArray[np.bool_]
    """(T,) whether the target was hidden because it was seen before or is not allowed."""
    n_candidates: NDArray[np.int64]
    """(Q,) items that could be recommended: the real ones that were not hidden."""

    @property
    def pessimistic_rank(self) -> NDArray[np.int64]:
        """(T,) the rank when every tie goes against the target."""
        return self.better + self.tied


def top_k(
    model: Model,
    queries: Queries,
    k: int,
    *,
    mask_seen: bool = False,
    allowed: NDArray[np.bool_] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best items of each query and their scores, both (Q, k), best first.

    Rows with fewer than k possible items end in item 0 with score -inf. See `rank` for the options,
    the cost and the errors.
    """
    untold = replace(
        queries,
        target_offsets=np.zeros(len(queries) + 1, dtype=np.int64),
        target_item_ix=np.zeros(0, dtype=np.int32),
        target_action_ix=None,
    )
    ranking = rank(model, untold, k, mask_seen=mask_seen, allowed=allowed, batch_size=batch_size, seed=seed)
    return ranking.item_ix, ranking.score


def target_ranks(
    model: Model,
    queries: Queries,
    *,
    mask_seen: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """The rank of each target among all items, (T,), 1 is best. See `rank`."""
    return rank(model, queries, 1, mask_seen=mask_seen, batch_size=batch_size, seed=seed).rank


def rank(
    model: Model,
    queries: Queries,
    k: int,
    *,
    mask_seen: bool = False,
    allowed: NDArray[np.bool_] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Ranking:
    """Lists of k and the ranks of all targets, from one pass over each batch of scores.

    Args:
        model: fitted; its scores are read, never written to.
        queries: histories with their targets.
        k: length of the lists, at least 1.
        mask_seen: hide the items of each query's own history, its target among them if it is there.
        allowed: (V,) which items may be recommended at all; all real ones when None.
        batch_size: queries scored at once; default as many as 32 MiB of scores hold.
        seed: orders equal scores.
        on_progress: called with the number of queries done after each batch.

    Raises:
        ConfigError: k or batch_size is below 1.
        ShapeError: the model's scores are not (B, V), or `allowed` is not (V,).
        DataError: a score is not a number.

    Cost: O(Q V) comparisons, done in blocks by the processor's vector units and shared among all
    its cores; memory one batch of scores.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1; got {k}.")
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1; got {batch_size}.")
    n_queries, width = len(queries), len(queries.sequences.items)
    if allowed is not None and allowed.shape != (width,):
        raise ShapeError(f"allowed must have shape ({width},); got {allowed.shape}.")
    batch = batch_size or int(np.clip(TILE_BYTES // (4 * max(width, 1)), 16, 8192))
    ranking = _empty(n_queries, k, len(queries.target_item_ix))
    work = _work(queries, mask_seen, allowed, seed, ranking)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        for first, tile in _tiles(model, queries, batch):
            last = first + len(tile)
            edges = np.linspace(first, last, min(threads, len(tile)) + 1).astype(np.int64)
            jobs = [pool.submit(_rank_rows, tile, first, a, b, work) for a, b in itertools.pairwise(edges)]
            bad = max(job.result() for job in jobs)
            if bad >= 0:
                raise DataError(
                    f"Scores must be numbers; {model.name} gives NaN for query {bad}. "
                    "Look for diverged weights or a missing feature."
                )
            if on_progress is not None:
                on_progress(last)
    return ranking


def _tiles(model: Model, queries: Queries, batch: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The first query of each batch and its scores (B, V); they may be overwritten by the next batch."""
    width = len(queries.sequences.items)
    if not isinstance(model, Encoder):
        for first in range(0, len(queries), batch):
            part = queries[first : first + batch]
            scores = model.scores(part)
            if scores.shape != (len(part), width):
                raise ShapeError(f"Scores must have shape ({len(part)}, {width}); got {scores.shape}.")
            yield first, np.ascontiguousarray(scores, dtype=np.float32)
        return
    vectors_VD = np.asarray(model.item_vectors(), dtype=np.float32)
    if len(vectors_VD) != width:
        raise ShapeError(f"item_vectors must have {width} rows; got {len(vectors_VD)}.")
    tile_BV = np.empty((batch, width), dtype=np.float32)  # once: fresh memory costs as much as the product
    for begin in range(0, len(queries), ENCODED_AT_ONCE):
        states_QD = np.asarray(model.encode(queries[begin : begin + ENCODED_AT_ONCE]), dtype=np.float32)
        for first in range(0, len(states_QD), batch):
            part_BD = states_QD[first : first + batch]
            yield begin + first, np.matmul(part_BD, vectors_VD.T, out=tile_BV[: len(part_BD)])


class _Work(NamedTuple):
    """What the kernel reads of all queries, and the arrays of a `Ranking` that it fills."""

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


def _work(
    queries: Queries, mask_seen: bool, allowed: NDArray[np.bool_] | None, seed: int, ranking: Ranking
) -> _Work:
    width = len(queries.sequences.items)
    forbidden = np.zeros(width, dtype=np.bool_) if allowed is None else ~allowed
    forbidden[:FIRST] = True
    return _Work(
        item_ix=np.asarray(queries.sequences.item_ix),
        start=np.asarray(queries.start),
        # A history that hides nothing is an empty one.
        stop=np.asarray(queries.stop if mask_seen else queries.start),
        identity=_identities(queries, seed),
        forbidden=forbidden,
        offsets=np.asarray(queries.target_offsets),
        target=np.asarray(queries.target_item_ix),
        items=ranking.item_ix,
        scores=ranking.score,
        rank=ranking.rank,
        better=ranking.better,
        tied=ranking.tied,
        masked=ranking.masked,
        n_candidates=ranking.n_candidates,
    )


def _empty(n_queries: int, k: int, n_targets: int) -> Ranking:
    return Ranking(
        item_ix=np.full((n_queries, k), PADDING, dtype=np.int32),
        score=np.full((n_queries, k), -np.inf, dtype=np.float32),
        rank=np.zeros(n_targets, dtype=np.int64),
        better=np.zeros(n_targets, dtype=np.int64),
        tied=np.zeros(n_targets, dtype=np.int64),
        masked=np.zeros(n_targets, dtype=np.bool_),
        n_candidates=np.zeros(n_queries, dtype=np.int64),
    )


def _identities(queries: Queries, seed: int) -> NDArray[np.uint64]:
    """(Q,) what makes a query's draw its own, whichever batch it comes in."""
    user = queries.user_ix.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    length = queries.lengths.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    return user ^ length ^ np.uint64(seed % 2**63 * 2)


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
def _rank_rows(tile: Any, origin: Any, first: Any, last: Any, work: Any) -> int:
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


def seen_share(queries: Queries) -> float:
    """Share of targets that stand in their own query's history: what masking would hide.

    >>> from desirepath.sequences import Sequences
    >>> from desirepath.sequences.splits import split_leave_one_out
    >>> seen_share(split_leave_one_out(Sequences.from_lists([["a", "b", "a"]])).test)
    1.0
    """
    n_targets = len(queries.target_item_ix)
    if not n_targets:
        return 0.0
    out = np.zeros(n_targets, dtype=np.bool_)
    _seen(
        np.asarray(queries.sequences.item_ix),
        queries.start,
        queries.stop,
        queries.target_offsets,
        np.asarray(queries.target_item_ix),
        out,
    )
    return float(out.mean())


@numba.njit(cache=True, nogil=True)
def _seen(item_ix: Any, start: Any, stop: Any, offsets: Any, target: Any, out: Any) -> None:
    for q in range(len(start)):
        for t in range(offsets[q], offsets[q + 1]):
            for r in range(start[q], stop[q]):
                if item_ix[r] == target[t]:
                    out[t] = True
                    break
