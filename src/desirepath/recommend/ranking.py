# SPDX-License-Identifier: Apache-2.0
"""Exact top-K lists and exact ranks of targets over the whole catalogue, a batch of queries at a time.

Takes any model's scores and reads each row of them once; the queries-by-items matrix never exists
as a whole. It knows no metrics and no policy beyond hiding what was seen or is not allowed.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.models.base import Model
from desirepath.recommend.selection import Work, mark_seen, rank_rows
from desirepath.schema import FIRST, PADDING
from desirepath.sequences import Queries

TILE_BYTES = 32 * 2**20
"""Scores held at once when no batch size is given."""

THREAD_TILE_BYTES = 8 * 2**20
"""Scores that each thread holds of a model that encodes."""

ENCODED_AT_ONCE = 16_384
"""Histories encoded at once: many of like length then go together."""

JOB_QUERIES = 1024
"""Encoded queries that a thread takes at once."""


@runtime_checkable
class Encoder(Protocol):
    """A model whose scores are products of a query's state and the items' vectors.

    Its histories are encoded many at a time, and the products are made here, on the processor and in
    float32 whatever the model was trained in: narrower products would tie many items.
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
        batch_size: queries scored at once; default as many as 32 MiB of scores hold, or 8 MiB a thread
            for a model that encodes.
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
    ranking = _empty(n_queries, k, len(queries.target_item_ix))
    work = _work(queries, mask_seen, allowed, seed, ranking)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool, ExitStack() as stack:
        if isinstance(model, Encoder):
            steps = _encoded(model, queries, batch_size, work, pool)
        else:
            steps = _scored(model, queries, batch_size, work, pool, threads)
        stack.enter_context(closing(steps))
        for done, bad in steps:
            if bad >= 0:
                raise DataError(
                    f"Scores must be numbers; {model.name} gives NaN for query {bad}. "
                    "Look for diverged weights or a missing feature."
                )
            if on_progress is not None:
                on_progress(done)
    return ranking


def _rows(tile_bytes: int, width: int) -> int:
    """How many rows of scores fit; at least 16, so that products are worth their calls."""
    return int(np.clip(tile_bytes // (4 * max(width, 1)), 16, 8192))


def _scored(
    model: Model,
    queries: Queries,
    batch_size: int | None,
    work: Work,
    pool: ThreadPoolExecutor,
    threads: int,
) -> Generator[tuple[int, int]]:
    """Rank by the model's own scores; yields the queries done and the first bad one or -1, batch by batch."""
    width = len(queries.sequences.items)
    batch = batch_size or _rows(TILE_BYTES, width)
    for first in range(0, len(queries), batch):
        part = queries[first : first + batch]
        scores = model.scores(part)
        if scores.shape != (len(part), width):
            raise ShapeError(f"Scores must have shape ({len(part)}, {width}); got {scores.shape}.")
        tile_BV = np.ascontiguousarray(scores, dtype=np.float32)
        last = first + len(part)
        edges = np.linspace(first, last, min(threads, len(part)) + 1).astype(np.int64)
        jobs = [pool.submit(rank_rows, tile_BV, first, a, b, work) for a, b in itertools.pairwise(edges)]
        yield last, max(job.result() for job in jobs)


def _encoded(
    model: Encoder, queries: Queries, batch_size: int | None, work: Work, pool: ThreadPoolExecutor
) -> Generator[tuple[int, int]]:
    """Rank by products of states and item vectors; as `_scored`, but each thread makes its own products.

    A thread's tile then stays in its caches, and no thread waits for another inside a product: twice as
    fast as products that are shared among threads.
    """
    vectors_VD = np.asarray(model.item_vectors(), dtype=np.float32)
    width = len(queries.sequences.items)
    if len(vectors_VD) != width:
        raise ShapeError(f"item_vectors must have {width} rows; got {len(vectors_VD)}.")
    batch = batch_size or _rows(THREAD_TILE_BYTES, width)
    libraries = ThreadpoolController()

    def rank_part(states_QD: NDArray[np.float32], origin: int) -> int:
        tile_BV = np.empty((min(batch, len(states_QD)), width), dtype=np.float32)
        bad = -1
        for row in range(0, len(states_QD), batch):
            part_BD = states_QD[row : row + batch]
            scores_BV = np.matmul(part_BD, vectors_VD.T, out=tile_BV[: len(part_BD)])
            first = origin + row
            bad = max(bad, rank_rows(scores_BV, first, first, first + len(part_BD), work))
        return bad

    for begin in range(0, len(queries), ENCODED_AT_ONCE):
        states_QD = np.asarray(model.encode(queries[begin : begin + ENCODED_AT_ONCE]), dtype=np.float32)
        size = batch * math.ceil(JOB_QUERIES / batch)
        with libraries.limit(limits=1, user_api="blas"):
            starts = range(0, len(states_QD), size)
            jobs = [pool.submit(rank_part, states_QD[a : a + size], begin + a) for a in starts]
            for start, job in zip(starts, jobs, strict=True):
                yield min(begin + start + size, begin + len(states_QD)), job.result()


def _work(
    queries: Queries, mask_seen: bool, allowed: NDArray[np.bool_] | None, seed: int, ranking: Ranking
) -> Work:
    width = len(queries.sequences.items)
    forbidden = np.zeros(width, dtype=np.bool_) if allowed is None else ~allowed
    forbidden[:FIRST] = True
    return Work(
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
    mark_seen(
        np.asarray(queries.sequences.item_ix),
        queries.start,
        queries.stop,
        queries.target_offsets,
        np.asarray(queries.target_item_ix),
        out,
    )
    return float(out.mean())
