# SPDX-License-Identifier: Apache-2.0
"""Patterns of simultaneous events, their supports counted in each class in one search.

It reads sequences that stand class by class, and lengthens patterns with the kernels of `projection`. The
search of single events is `suffixes`; what the supports say of the classes is told by `contrast`.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.budget import share_out, stopped_by
from desirepath.patterns.constrained import prepare
from desirepath.patterns.constraints import ConstraintConfig, check_database
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.found import PrefixTree
from desirepath.patterns.frequent import ANY_LENGTH, MiningConfig
from desirepath.patterns.gauge import RUNNING, STOP, check_found, may_hold, new_gauge
from desirepath.patterns.kernels import inner, kernel
from desirepath.patterns.projection import count, fill, longer, supports

PIECES_A_THREAD = 8
"""Shares of the first symbols that each thread gets, so that none ends long after the others."""
CODE, DEPTH, PARENT, BEGIN, END, SUPPORT = range(6)
"""What is kept of a pattern yet to be lengthened; from SUPPORT on, its support in each class."""


def grow_by_class(
    database: SequenceDatabase, sizes: NDArray[np.int64], least: NDArray[np.int64], config: MiningConfig
) -> tuple[PrefixTree, NDArray[np.int64], str]:
    """All patterns that one class or more holds often enough, and their supports in each.

    The entries of a projection stand in the order of rows, so those of a class are one piece of it: each
    class is counted by itself, and all are lengthened at once.

    Args:
        database: the sequences of the first class, then those of the second, and so on.
        sizes: (C,) sequences of each class.
        least: (C,) smallest support of interest in each class; one suffices.
        config: lengths and budgets.

    Returns:
        The tree in depth-first order, (P, C) supports, and in words which budget ended the search.

    Cost: one visit of each row that may follow a match, a pattern found, whatever the number of classes.
    """
    check_database(database)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    everything = np.ones(database.n_events, bool)
    by_class = np.stack(
        [
            supports(database.offsets[a : b + 1], database.symbol_ix, everything, database.n_symbols)
            for a, b in itertools.pairwise(bounds)
        ],
        axis=1,
    )
    frequent = np.asarray((by_class >= least).any(axis=1))
    prepared = prepare(database, ConstraintConfig(), 1, only=frequent)
    first = (prepared.first_rows, prepared.first_offsets)
    roots = _shares(np.diff(prepared.first_offsets), config.n_threads)
    row_bounds, of_root = prepared.offsets[bounds], by_class[prepared.symbols]
    options = np.array([config.max_length or ANY_LENGTH, prepared.has_sets, prepared.first_only], np.int64)
    gauge = new_gauge(config.max_patterns, config.max_memory_mib << 20, config.n_threads)

    def run(piece: int, worker: int) -> NDArray[np.int64]:
        return _grow(prepared.rows, first, roots[piece], of_root, row_bounds, least, options, gauge, worker)

    parts = share_out(run, list(range(len(roots))), gauge, config.n_threads, config.max_seconds)
    found = [part for part in parts if part is not None]
    lengths = np.array([len(part) for part in found], np.int64)
    shift = np.repeat(np.cumsum(lengths) - lengths, lengths)
    nodes = np.concatenate([np.zeros((0, 2 + len(sizes)), np.int64), *found])
    nodes[:, 0] = np.where(nodes[:, 0] < 0, -1, nodes[:, 0] + shift)
    nodes, n = nodes[: config.max_patterns], len(prepared.symbols)
    tree = PrefixTree(
        parent=nodes[:, 0].astype(np.int32),
        symbol=prepared.symbols[nodes[:, 1] % max(1, n)],
        support=nodes[:, 2:].sum(axis=1).astype(np.int32),
        joined=nodes[:, 1] >= n if prepared.has_sets else None,
    )
    return tree, nodes[:, 2:], stopped_by(gauge, config.max_seconds)


def _shares(work: NDArray[np.int64], n_threads: int) -> list[tuple[int, int]]:
    """First symbols in runs of about equal work."""
    n_shares = 1 if n_threads == 1 else min(len(work), n_threads * PIECES_A_THREAD)
    goals = np.linspace(0, work.sum(), n_shares + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(np.cumsum(work), goals, side="right"), len(work)])
    return [(int(a), int(b)) for a, b in itertools.pairwise(cuts)]


@kernel
def _grow(
    rows: NDArray[np.int32],
    first: tuple[NDArray[np.int32], NDArray[np.int64]],
    roots: tuple[int, int],
    of_root: NDArray[np.int64],
    bounds: NDArray[np.int64],
    least: NDArray[np.int64],
    options: NDArray[np.int64],
    gauge: NDArray[np.int64],
    worker: int,
) -> NDArray[np.int64]:
    """(P, 2 + C) parent, code and supports of each pattern that begins with one of these roots."""
    n, n_classes = len(of_root), len(least)
    with_sets, first_only = options[1] != 0, options[2] != 0
    tally, touched = np.zeros((4, 2 * n + 1), np.int64), np.empty(2 * n, np.int32)
    upto = np.zeros((2 * n, n_classes + 1), np.int64)
    ends, starts = np.empty(1 << 12, np.int32), np.empty(1 << 12, np.int32)
    pending, nodes = (
        np.empty((256, SUPPORT + n_classes), np.int64),
        np.empty((1 << 10, 2 + n_classes), np.int64),
    )
    n_nodes = 0
    for root in range(roots[0], roots[1]):
        begin, end = first[1][root], first[1][root + 1]
        ends, starts = longer(ends, end - begin), longer(starts, end - begin)
        for i in range(end - begin):
            ends[i] = starts[i] = first[0][begin + i]
        pending[0, CODE], pending[0, DEPTH], pending[0, PARENT] = root, 1, -1
        pending[0, BEGIN], pending[0, END] = 0, end - begin
        for c in range(n_classes):
            pending[0, SUPPORT + c] = of_root[root, c]
        n_pending = 1
        while n_pending and gauge[STOP] == RUNNING:
            n_pending -= 1
            entry = pending[n_pending]
            depth, span = entry[DEPTH], (entry[BEGIN], entry[END])
            if n_nodes == len(nodes):
                may_hold(gauge, worker, nodes.nbytes)
                nodes = _taller(nodes, 2 * n_nodes)
            nodes[n_nodes, 0], nodes[n_nodes, 1] = entry[PARENT], entry[CODE]
            for c in range(n_classes):
                nodes[n_nodes, 2 + c] = entry[SUPPORT + c]
            n_nodes += 1
            check_found(gauge, worker, 1)
            if gauge[STOP] != RUNNING or depth >= options[0]:
                continue
            n_touched = _count_by_class(rows, ends, starts, span, bounds, with_sets, (tally, touched, upto))
            pending = _taller(pending, n_pending + n_touched)
            room = span[1]  # all above belonged to siblings that are done
            for code in touched[:n_touched]:
                tally[2, code] = -1
                if _reaches(upto[code], least):
                    size = tally[0, code] if first_only else tally[1, code]
                    entry, n_pending = pending[n_pending], n_pending + 1
                    entry[CODE], entry[DEPTH], entry[PARENT] = code, depth + 1, n_nodes - 1
                    entry[BEGIN], entry[END] = room, room + size
                    for c in range(n_classes):
                        entry[SUPPORT + c] = upto[code, c + 1] - upto[code, c]
                    tally[2, code] = room
                    room += size
            if room > span[1]:
                if room > len(ends):
                    may_hold(gauge, worker, 8 * (max(room, len(ends) + len(ends) // 2) - len(ends)))
                ends, starts = longer(ends, room), longer(starts, room)
                fill(rows, ends, starts, span, with_sets, first_only, tally)
            for code in touched[:n_touched]:
                tally[0, code] = tally[1, code] = 0
                for c in range(n_classes):
                    upto[code, c + 1] = 0
    return nodes[:n_nodes].copy()


@inner
def _count_by_class(
    rows: NDArray[np.int32],
    ends: NDArray[np.int32],
    starts: NDArray[np.int32],
    span: tuple[int, int],
    bounds: NDArray[np.int64],
    with_sets: bool,
    counts: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]],
) -> int:
    """As `projection.count`, with the supports up to the end of each class; how many codes were met."""
    tally, touched, upto = counts
    n_touched, begin = 0, span[0]
    for c in range(len(bounds) - 1):
        end, above = begin, span[1]
        while end < above:
            middle = (end + above) // 2
            if ends[middle] < bounds[c + 1]:
                end = middle + 1
            else:
                above = middle
        n_touched += count(rows, ends, starts, (begin, end), with_sets, tally, touched[n_touched:])
        for code in touched[:n_touched]:
            upto[code, c + 1] = tally[0, code]
        begin = end
    return n_touched


@inner
def _reaches(upto: NDArray[np.int64], least: NDArray[np.int64]) -> bool:
    """Whether one class alone has enough."""
    reached = False
    for c in range(len(least)):
        reached |= upto[c + 1] - upto[c] >= least[c]
    return reached


@inner
def _taller(table: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The table with room for `size` lines; where that is more than it has, twice as many at least."""
    if size <= len(table):
        return table
    grown = np.empty((max(size, 2 * len(table)), table.shape[1]), table.dtype)
    grown[: len(table)] = table
    return grown
