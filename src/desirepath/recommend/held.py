# SPDX-License-Identifier: Apache-2.0
"""A batch of scores that are known already: ranked without asking the model again, worked on by all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from desirepath.models.base import Model
from desirepath.recommend.ranking import TILE_BYTES, top_k
from desirepath.sequences import Queries
from desirepath.sequences.queries import ranges

CELLS_TO_SHARE = 1 << 17
"""Scores that one core goes through while another would still be starting a thread."""


class Held:
    """One batch's scores in the dress of a model, which is all that ranking asks of one."""

    def __init__(self, name: str, scores_BV: NDArray[np.float32]) -> None:
        """Hold `scores_BV`; errors will speak of `name`."""
        self.name = name
        self.scores_BV = scores_BV

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """What is held."""
        return self.scores_BV

    def top_k(
        self, queries: Queries, k: int, *, mask_seen: bool = False, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """As `ranking.top_k`, for the queries whose scores are held."""
        model, whole = cast(Model, self), max(len(queries), 1)
        return top_k(model, queries, k, mask_seen=mask_seen, allowed=allowed, batch_size=whole)


def batches(queries: Queries) -> Iterator[slice]:
    """Slices of the queries whose scores fill about 32 MiB each."""
    size = int(np.clip(TILE_BYTES // (4 * len(queries.sequences.items)), 16, 8192))
    for first in range(0, len(queries), size):
        yield slice(first, min(first + size, len(queries)))


def seen_cells(queries: Queries) -> NDArray[np.int64]:
    """Query * V + item of every row of every history: where each is in a (Q, V) matrix laid flat."""
    rows = ranges(queries.start, queries.stop)
    query = np.repeat(np.arange(len(queries), dtype=np.int64), queries.lengths)
    return query * len(queries.sequences.items) + np.asarray(queries.sequences.item_ix)[rows]


def target_cells(queries: Queries) -> NDArray[np.int64]:
    """Query * V + item of every target."""
    query = np.repeat(np.arange(len(queries), dtype=np.int64), np.diff(queries.target_offsets))
    return query * len(queries.sequences.items) + queries.target_item_ix


def among(cells: NDArray[np.int64], marked: NDArray[np.int64], queries: Queries) -> NDArray[np.bool_]:
    """Whether each of `cells` is one of `marked`, both in the (Q, V) matrix of these queries laid flat.

    Cost: one byte a cell of the matrix, so for a batch only; far cheaper than sorting long histories.
    """
    mask = np.zeros(len(queries) * len(queries.sequences.items), dtype=np.bool_)
    mask[marked] = True
    return mask[cells]


def in_threads(n_rows: int, n_cells: int, work: Callable[[int, int], None]) -> None:
    """Call work(first, last) on pieces of n_rows rows, one for each core; `work` should let go of the GIL.

    Where all rows together have few cells, this thread does them all.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if min(cores, n_rows) < 2 or n_cells < CELLS_TO_SHARE:
        work(0, n_rows)
        return
    edges = [n_rows * piece // cores for piece in range(cores + 1)]
    with ThreadPoolExecutor(cores) as pool:
        for done in [pool.submit(work, first, last) for first, last in pairwise(edges)]:
            done.result()
