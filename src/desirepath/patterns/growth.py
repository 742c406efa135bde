# SPDX-License-Identifier: Apache-2.0
"""The kernel that grows all constrained patterns from their first symbols, depth first.

It reads the table of rows that `constrained` prepares and writes a prefix tree; it runs until it is done or
the gauge says stop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.gauge import RUNNING, STOP, check_found, may_hold
from desirepath.patterns.kernels import inner, kernel
from desirepath.patterns.projection import OWNER, count, fill, longer

# Entries of `options`.
MIN_COUNT, MIN_LENGTH, MAX_LENGTH, FIRST_ONLY, WITH_SETS, NO_REPEATS, MUST_START, ASKED, TOP_K = range(9)
# Bits of a node's mark.
JOINED, ANSWER = 1, 2
STARTS, ENDS = 1, 2


@kernel
def grow(
    rows: NDArray[np.int32],
    first: tuple[NDArray[np.int32], NDArray[np.int64]],
    roots: NDArray[np.int32],
    flags: NDArray[np.uint8],
    needs: NDArray[np.int64],
    options: NDArray[np.int64],
    gauge: NDArray[np.int64],
    worker: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """All patterns that begin with one of `roots`: parent, symbol, support and mark of each node.

    Args:
        rows: (6, N) see `projection`.
        first: rows of each symbol's matches, symbol by symbol, and where each symbol's begin.
        roots: symbols to begin with, in the order wanted.
        flags: (n,) see `lattice.Asked`.
        needs: (n,) likewise.
        options: (9,) see the constants above.
        gauge: see `gauge`.
        worker: our place in it.
    """
    n = len(flags)
    with_sets, first_only = options[WITH_SETS] != 0, options[FIRST_ONLY] != 0
    limits = options.copy()
    tally = np.zeros((4, 2 * n + 1), np.int64)
    touched = np.empty(2 * n, np.int32)
    path = np.zeros((5, 64), np.int64)  # code, first depth of its element, bits held, right start, right end
    ends, starts = np.empty(1 << 12, np.int32), np.empty(1 << 12, np.int32)
    pending, n_pending = np.empty((256, 6), np.int64), 0  # see _put
    nodes, n_nodes = np.empty((4, 1 << 10), np.int32), 0
    best = np.zeros(max(1, options[TOP_K]), np.int64)
    for root in roots:
        begin, end = first[1][root], first[1][root + 1]
        ends, starts = longer(ends, end - begin), longer(starts, end - begin)
        ends[: end - begin] = first[0][begin:end]
        starts[: end - begin] = first[0][begin:end]
        support = _distinct(rows[OWNER], ends, end - begin)
        _put(pending, 0, root, 0, -1, 0, end - begin, support)
        n_pending = 1
        while n_pending and gauge[STOP] == RUNNING:
            n_pending -= 1
            child = pending[n_pending]
            depth, begin, end, support = child[1], child[3], child[4], child[5]
            if support < limits[MIN_COUNT]:
                continue
            if depth >= path.shape[1] - 1:
                path = _wider(path)
            if n_nodes == nodes.shape[1]:
                may_hold(gauge, worker, 16 * n_nodes)
                nodes = _wider(nodes)
            _step(path, depth, child[0], n, flags, needs)
            answer = _is_answer(path, depth, options)
            _write(nodes, n_nodes, child, n, answer)
            n_nodes += 1
            check_found(gauge, worker, 1)
            if answer and options[TOP_K]:
                _raise_bar(best, support, limits)
            if gauge[STOP] != RUNNING or depth + 1 >= options[MAX_LENGTH]:
                continue
            n_touched = count(rows, ends, starts, (begin, end), with_sets, tally, touched)
            chosen = _chosen(touched[:n_touched], tally, path, depth, n, limits)
            room = end  # all above belonged to siblings that are done
            if n_pending + len(chosen) > len(pending):
                pending = _taller(pending, n_pending + len(chosen))
            for code in chosen:
                size = tally[0, code] if first_only else tally[1, code]
                _put(pending, n_pending, code, depth + 1, n_nodes - 1, room, room + size, tally[0, code])
                n_pending += 1
                tally[2, code] = room
                room += size
            if len(chosen):
                if room > len(ends):
                    may_hold(gauge, worker, 8 * (max(room, len(ends) + len(ends) // 2) - len(ends)))
                ends, starts = longer(ends, room), longer(starts, room)
                fill(rows, ends, starts, (begin, end), with_sets, first_only, tally)
            for i in range(n_touched):
                tally[0, touched[i]] = tally[1, touched[i]] = 0
    found = nodes[:, :n_nodes].copy()
    return found[0], found[1], found[2], found[3]


@inner
def _put(
    pending: NDArray[np.int64],
    at: int,
    code: int,
    depth: int,
    parent: int,
    begin: int,
    end: int,
    support: int,
) -> None:
    pending[at, 0], pending[at, 1], pending[at, 2] = code, depth, parent
    pending[at, 3], pending[at, 4], pending[at, 5] = begin, end, support


@inner
def _write(nodes: NDArray[np.int32], at: int, child: NDArray[np.int64], n: int, answer: bool) -> None:
    nodes[0, at], nodes[1, at], nodes[2, at] = child[2], child[0] % n, child[5]
    nodes[3, at] = (JOINED if child[0] >= n else 0) | (ANSWER if answer else 0)


@inner
def _chosen(
    touched: NDArray[np.int32],
    tally: NDArray[np.int64],
    path: NDArray[np.int64],
    depth: int,
    n: int,
    limits: NDArray[np.int64],
) -> NDArray[np.int32]:
    """The codes that lengthen the pattern, last to be followed first; the places of all others are -1."""
    n_chosen = 0
    chosen = np.empty(len(touched), np.int32)
    for code in touched:
        tally[2, code] = -1
        if tally[0, code] < limits[MIN_COUNT]:
            continue
        # A wrong first element can still be mended by a symbol at once with it, by nothing after it.
        if limits[MUST_START] and code < n and path[3, depth] == 0:
            continue
        if limits[NO_REPEATS] and _repeats(path, depth, code, n):
            continue
        chosen[n_chosen] = code
        n_chosen += 1
    chosen = chosen[:n_chosen]
    if limits[TOP_K]:
        support = np.empty(n_chosen, np.int64)
        for i in range(n_chosen):
            support[i] = tally[0, chosen[i]]
        return chosen[np.argsort(support)]
    return np.sort(chosen)[::-1].copy()


@inner
def _repeats(path: NDArray[np.int64], depth: int, code: int, n: int) -> bool:
    """Whether the symbol stands in the element before the one that it would join or open."""
    last = depth
    if code >= n:
        last = path[1, depth] - 1
        if last < 0:
            return False
    hit = False
    for i in range(path[1, last], last + 1):
        hit |= path[0, i] % n == code % n
    return hit


@inner
def _step(
    path: NDArray[np.int64],
    depth: int,
    code: int,
    n: int,
    flags: NDArray[np.uint8],
    needs: NDArray[np.int64],
) -> None:
    """Write the pattern's state with this symbol at its end."""
    flag = flags[code % n]
    path[0, depth] = code
    if depth == 0:
        path[1, 0], path[2, 0] = 0, needs[code % n]
        path[3, 0], path[4, 0] = flag & STARTS, flag & ENDS
        return
    path[2, depth] = path[2, depth - 1] | needs[code % n]
    if code >= n:
        path[1, depth] = path[1, depth - 1]
        path[3, depth] = path[3, depth - 1] | (flag & STARTS if path[1, depth] == 0 else 0)
        path[4, depth] = path[4, depth - 1] | flag & ENDS
    else:
        path[1, depth] = depth
        path[3, depth], path[4, depth] = path[3, depth - 1], flag & ENDS


@inner
def _is_answer(path: NDArray[np.int64], depth: int, options: NDArray[np.int64]) -> bool:
    return bool(
        depth + 1 >= options[MIN_LENGTH]
        and path[2, depth] == options[ASKED]
        and path[3, depth] != 0
        and path[4, depth] != 0
    )


@inner
def _raise_bar(best: NDArray[np.int64], support: int, limits: NDArray[np.int64]) -> None:
    """Keep the k largest supports as a heap, the smallest at 0, and never look below it again."""
    if support <= best[0]:
        return
    k, at = len(best), 0
    best[0] = support
    while 2 * at + 1 < k:
        child = 2 * at + 1
        if child + 1 < k and best[child + 1] < best[child]:
            child += 1
        if best[at] <= best[child]:
            break
        best[at], best[child] = best[child], best[at]
        at = child
    limits[MIN_COUNT] = max(limits[MIN_COUNT], best[0])


@inner
def _distinct(owner: NDArray[np.int32], ends: NDArray[np.int32], size: int) -> int:
    n = 0
    for i in range(size):
        if i == 0 or owner[ends[i]] != owner[ends[i - 1]]:
            n += 1
    return n


@inner
def _wider(table: NDArray[Any]) -> NDArray[Any]:
    """The table with twice the columns."""
    grown = np.empty((table.shape[0], 2 * table.shape[1]), table.dtype)
    grown[:, : table.shape[1]] = table
    return grown


@inner
def _taller(table: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The table with twice the lines, `size` at least."""
    grown = np.empty((max(size, 2 * table.shape[0]), table.shape[1]), table.dtype)
    grown[: table.shape[0]] = table
    return grown
