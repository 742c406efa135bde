# SPDX-License-Identifier: Apache-2.0
"""The wide search: patterns grown from suffixes of sequences, their supports by histogram.

A node's sequences are cut to its own frequent symbols and relabelled; as soon as no more than 63 symbols are
left, `bitmaps` takes over. It reads what `encoding` prepared, and knows no budget beyond the gauge's sign.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.dense import (
    CLASSES,
    FOLLOW,
    FREE_LANES,
    FREE_NUMBERS,
    LONGEST,
    N_FOLLOW,
    NEXT,
    NODE,
    STOP_AT,
    Arena,
    dig,
    extensions,
    padded,
    roomier,
    write_frame,
)
from desirepath.patterns.gauge import RUNNING, STOP, may_hold
from desirepath.patterns.harvest import Rule, count_for_top, emit, new_tree, taller
from desirepath.patterns.kernels import inner, kernel


class Source(NamedTuple):
    """Sequences over symbols 0..K-1."""

    code: NDArray[np.int32]
    """(N,) 2 * symbol, plus 1 where the symbol comes for the last time in its sequence."""
    end: NDArray[np.int32]
    """(S,) one past the last position of each sequence."""
    names: NDArray[np.int32]
    """(K,) what the symbols are outside."""
    classes: NDArray[np.int64]
    """(C + 1,) first sequence of each class."""


class Entries(NamedTuple):
    """Where the suffixes of one-symbol extensions begin, symbol by symbol, sequences ascending."""

    start: NDArray[np.int32]
    """(E,) position after the first occurrence of the symbol."""
    row: NDArray[np.int32]
    """(E,) its sequence."""
    offsets: NDArray[np.int64]
    """(K + 1,) where each symbol's entries begin; their number is the support."""


class Scratch(NamedTuple):
    """Memory that every node uses and leaves as it was."""

    histogram: NDArray[np.int32]
    """(2K,) zeros."""
    place: NDArray[np.int32]
    """(K,) -1: the new number of a symbol."""
    chosen: NDArray[np.int32]
    """(K,) symbols that are frequent here."""
    supports: NDArray[np.int64]
    """(K,) zeros: support of each symbol over all classes."""
    bounds: NDArray[np.int64]
    """(C + 1,) where the classes begin among a node's entries."""
    columns: NDArray[np.int64]
    """(K,) how often each chosen symbol comes at most in one sequence."""
    seen: NDArray[np.int64]
    """(K,) zeros."""
    ones: NDArray[np.int64]
    """(C,) ones."""


@kernel
def search(
    source: Source,
    entries: Entries,
    roots: tuple[int, int],
    share: tuple[int, int],
    rule: Rule,
    gauge: NDArray[np.int64],
    worker: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """All patterns that begin with the symbols roots[0]:roots[1]: parent, symbol and supports of each.

    Of each root's children only the part share[0] of share[1] is searched; the root itself always comes.

    Cost: O(events of all suffixes) a wide node, see `bitmaps.dig` for the narrow ones.
    """
    n_classes = len(rule.least)
    tree = new_tree(n_classes)
    n_symbols = len(source.names)
    scratch = Scratch(
        np.zeros(2 * n_symbols, np.int32),
        np.full(n_symbols, -1, np.int32),
        np.empty(n_symbols, np.int32),
        np.zeros(n_symbols, np.int64),
        np.zeros(n_classes + 1, np.int64),
        np.zeros(n_symbols, np.int64),
        np.zeros(n_symbols, np.int64),
        np.ones(n_classes, np.int64),
    )
    arena = Arena(np.empty(4096, np.uint8), np.empty(1024, np.int64))
    tree = _branch(source, entries, roots, share, rule, (scratch, arena, tree), (gauge, worker))
    n = tree.size[0]
    return tree.parent[:n].copy(), tree.symbol[:n].copy(), tree.support[: n * n_classes].copy()


@inner
def _branch(source, entries, roots, share, rule, memory, report):  # type: ignore[no-untyped-def]
    """The tree with everything below these roots."""
    scratch, arena, tree = memory
    gauge, worker = report
    support = np.zeros(len(rule.least), np.int64)
    # One level a wide node on the way down: its sequences, its children, and the next child.
    levels = [(source, entries)]
    nodes = np.empty((64, 4), np.int64)  # node, next child, end of children, bytes held
    nodes[0, 0], nodes[0, 1], nodes[0, 2], nodes[0, 3] = -1, roots[0], roots[1], 0
    depth = 0
    while depth >= 0 and gauge[STOP] == RUNNING:
        child = nodes[depth, 1]
        if child >= nodes[depth, 2]:
            levels.pop()
            may_hold(gauge, worker, -nodes[depth, 3])
            depth -= 1
            continue
        nodes[depth, 1] = child + 1
        source, entries = levels[depth]
        _class_bounds(source, entries, child, scratch.bounds)
        if not _supports(scratch.bounds, rule.least, support):
            continue
        length = depth + 1
        tree = emit(tree, nodes[depth, 0], source.names[child], support, gauge, worker)
        count_for_top(rule, support[0], length)
        if length >= rule.longest:
            continue
        k, events = _choose(source, entries, rule.least, scratch)
        if k == 0:
            continue
        first, last = 0, k
        if depth == 0 and share[1] > 1:
            first = k * share[0] * share[0] // (share[1] * share[1])
            last = k * (share[0] + 1) * (share[0] + 1) // (share[1] * share[1])
        node, rows = tree.size[0] - 1, scratch.bounds[len(scratch.bounds) - 1] - scratch.bounds[0]
        n_columns, longest = _columns(source, entries, scratch, k)
        if not _is_dense(scratch, k, events, rows, n_columns) or longest > LONGEST:
            held = 4 * events + 16 * k + 4 * rows + 8 * scratch.supports[scratch.chosen[:k]].sum()
            if not may_hold(gauge, worker, held):
                break
            levels.append(_cut(source, entries, scratch, k, events))
            depth += 1
            if depth == len(nodes):
                nodes = taller(nodes)
            nodes[depth, 0], nodes[depth, 1], nodes[depth, 2], nodes[depth, 3] = node, first, last, held
        else:
            arena, level = _frame(source, entries, scratch, arena, (k, n_columns, node), report)
            level[NEXT], level[STOP_AT] = first, min(last, level[STOP_AT])
            arena, tree = dig(arena, level, tree, rule, length, gauge, worker)
        for i in range(k):
            scratch.place[scratch.chosen[i]] = -1
            scratch.supports[scratch.chosen[i]] = 0
    return tree


@inner
def _is_dense(scratch: Scratch, k: int, events: int, rows: int, n_columns: int) -> bool:
    """Whether columns are cheaper than suffixes below this node."""
    supports = 0
    for i in range(k):
        supports += scratch.supports[scratch.chosen[i]]
    columns_cost = padded(rows) / 64 * (k * k * 3 + 4 * n_columns) + padded(rows) * n_columns / 16
    suffixes_cost = 1.5 * supports * events / rows
    small = n_columns * padded(rows) < 64 * events + 1000000
    return bool(small and columns_cost < 4 * suffixes_cost + 100000)


@inner
def _class_bounds(source: Source, entries: Entries, symbol: int, bounds: NDArray[np.int64]) -> None:
    """Where each class begins among the entries of a symbol."""
    begin, end = entries.offsets[symbol], entries.offsets[symbol + 1]
    n_classes = len(bounds) - 1
    bounds[0], bounds[n_classes] = begin, end
    for c in range(1, n_classes):
        bounds[c] = bounds[c - 1] + np.searchsorted(entries.row[bounds[c - 1] : end], source.classes[c])


@inner
def _supports(bounds: NDArray[np.int64], least: NDArray[np.int64], support: NDArray[np.int64]) -> bool:
    """Whether one class holds the pattern often enough; writes the supports."""
    frequent = False
    for c in range(len(least)):
        support[c] = bounds[c + 1] - bounds[c]
        frequent |= support[c] >= least[c]
    return bool(frequent)


@inner
def _choose(source: Source, entries: Entries, least: NDArray[np.int64], scratch: Scratch) -> tuple[int, int]:
    """Find the symbols that are frequent in the suffixes of scratch.bounds: how many, and their events.

    Each different symbol of a suffix has exactly one last occurrence in it, so a histogram over codes
    counts sequences without asking which were counted already.
    """
    histogram, place, chosen, supports = scratch.histogram, scratch.place, scratch.chosen, scratch.supports
    k, events, sparse, n_symbols = 0, 0, False, len(source.names)
    for c in range(len(least)):
        total = 0
        for i in range(scratch.bounds[c], scratch.bounds[c + 1]):
            start, end = entries.start[i], source.end[entries.row[i]]
            total += end - start
            for p in range(start, end):
                histogram[source.code[p]] += 1
        if total < n_symbols:  # few events: visit them again rather than all symbols
            sparse = True
            for i in range(scratch.bounds[c], scratch.bounds[c + 1]):
                for p in range(entries.start[i], source.end[entries.row[i]]):
                    x = source.code[p] >> 1
                    if histogram[2 * x + 1] >= least[c] and place[x] < 0:
                        place[x] = 0
                        chosen[k] = x
                        k += 1
        else:
            for x in range(n_symbols):
                if histogram[2 * x + 1] >= least[c] and place[x] < 0:
                    place[x] = 0
                    chosen[k] = x
                    k += 1
        if len(least) == 1:
            for i in range(k):
                supports[chosen[i]] = histogram[2 * chosen[i] + 1]
                events += histogram[2 * chosen[i]] + histogram[2 * chosen[i] + 1]
        if total < n_symbols:
            for i in range(scratch.bounds[c], scratch.bounds[c + 1]):
                for p in range(entries.start[i], source.end[entries.row[i]]):
                    histogram[source.code[p]] = 0
        else:
            histogram[: 2 * n_symbols] = 0
    if sparse or len(least) > 1:
        chosen[:k].sort()
    for i in range(k):
        place[chosen[i]] = i
    if len(least) > 1:  # a symbol may be chosen for one class after another was counted
        events = _recount(source, entries, scratch)
    return k, events


@inner
def _recount(source: Source, entries: Entries, scratch: Scratch) -> int:
    """Supports and events of the chosen symbols over all classes."""
    events = 0
    for i in range(scratch.bounds[0], scratch.bounds[len(scratch.bounds) - 1]):
        for p in range(entries.start[i], source.end[entries.row[i]]):
            x = source.code[p] >> 1
            if scratch.place[x] >= 0:
                scratch.supports[x] += source.code[p] & 1
                events += 1
    return events


@inner
def _cut(source: Source, entries: Entries, scratch: Scratch, k: int, events: int) -> tuple[Source, Entries]:
    """The suffixes with only the chosen symbols, and where their one-symbol extensions begin."""
    begin, end = scratch.bounds[0], scratch.bounds[len(scratch.bounds) - 1]
    names = np.empty(k, np.int32)
    offsets = np.zeros(k + 1, np.int64)
    for i in range(k):
        names[i] = source.names[scratch.chosen[i]]
        offsets[i + 1] = offsets[i] + scratch.supports[scratch.chosen[i]]
    code, ends = np.empty(events, np.int32), np.empty(end - begin, np.int32)
    start, row = np.empty(offsets[k], np.int32), np.empty(offsets[k], np.int32)
    room, stamp = offsets[:k].copy(), np.full(k, -1, np.int32)
    classes = np.zeros(len(scratch.bounds), np.int64)
    at, n, c = 0, 0, 0
    for i in range(begin, end):
        while scratch.bounds[c + 1] <= i:
            c += 1
            classes[c] = n
        before = at
        for p in range(entries.start[i], source.end[entries.row[i]]):
            x = source.code[p]
            new = scratch.place[x >> 1]
            if new >= 0:
                code[at] = 2 * new + (x & 1)
                at += 1
                if stamp[new] != n:
                    stamp[new] = n
                    start[room[new]] = at
                    row[room[new]] = n
                    room[new] += 1
        if at > before:
            ends[n] = at
            n += 1
    classes[c + 1 :] = n
    return Source(code, ends[:n].copy(), names, classes), Entries(start, row, offsets)


@inner
def _columns(source: Source, entries: Entries, scratch: Scratch, k: int) -> tuple[int, int]:
    """How many columns a frame of the chosen symbols needs, and its longest sequence.

    scratch.columns receives how often each symbol comes at most in a sequence.
    """
    columns, seen, place = scratch.columns, scratch.seen, scratch.place
    longest = 0
    columns[:k] = 0
    for i in range(scratch.bounds[0], scratch.bounds[len(scratch.bounds) - 1]):
        start, end = entries.start[i], source.end[entries.row[i]]
        n = 0
        for p in range(start, end):
            new = place[source.code[p] >> 1]
            if new >= 0:
                n += 1
                seen[new] += 1
                columns[new] = max(columns[new], seen[new])
        for p in range(start, end):
            new = place[source.code[p] >> 1]
            if new >= 0:
                seen[new] = 0
        longest = max(longest, n)
    return columns[:k].sum(), longest


@inner
def _frame(source, entries, scratch, arena, size, report):  # type: ignore[no-untyped-def]
    """The arena with a frame of the suffixes of scratch.bounds, and the node as a level of `dense`."""
    k, n_columns, node = size
    gauge, worker = report
    n_classes = len(scratch.bounds) - 1
    level = np.zeros(9, np.int64)
    rows = 0
    for c in range(n_classes):
        rows += padded(scratch.bounds[c + 1] - scratch.bounds[c])
    room = CLASSES + n_classes + 2 + 2 * k + k * (n_classes + 1)
    arena = roomier(arena, (0, 0), ((n_columns + 1) * rows, room), gauge, worker)
    if gauge[STOP] != RUNNING:
        return arena, level
    lanes, numbers = arena
    places, follow = write_frame(numbers, 0, k, scratch.bounds)
    at = rows
    for i in range(k):
        numbers[places + i] = at
        numbers[places + k + 1 + i] = source.names[scratch.chosen[i]]
        numbers[follow + i * (n_classes + 1)] = i
        at += scratch.columns[i] * rows
    numbers[places + k] = at
    lanes[:rows] = lanes.dtype.type(-1)
    lanes[rows:at] = 0
    for c in range(n_classes):
        for i in range(scratch.bounds[c], scratch.bounds[c + 1]):
            row = numbers[CLASSES + c] + i - scratch.bounds[c]
            lanes[row] = 1
            position = LONGEST
            start, end = entries.start[i], source.end[entries.row[i]]
            for p in range(end - 1, start - 1, -1):
                new = scratch.place[source.code[p] >> 1]
                if new >= 0:
                    lanes[numbers[places + new] + scratch.seen[new] * rows + row] = position
                    scratch.seen[new] += 1
                    position -= 1
            for p in range(start, end):
                new = scratch.place[source.code[p] >> 1]
                if new >= 0:
                    scratch.seen[new] = 0
    n = extensions(arena, 0, 0, (follow, k), follow, scratch.ones)
    level[NODE], level[STOP_AT], level[N_FOLLOW], level[FOLLOW] = node, n, n, follow
    level[FREE_LANES], level[FREE_NUMBERS] = at, follow + n * (n_classes + 1)
    return arena, level
