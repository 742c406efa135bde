# SPDX-License-Identifier: Apache-2.0
"""The dense search: patterns grown in columns, sixty-four sequences an instruction.

A frame holds the positions of each symbol in each sequence, symbol by symbol; a pattern is a column of the
first position where each sequence may go on, and an extension's support is one comparison a sequence. It
knows no log; `suffixes` cuts out the sequences and takes what is found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.gauge import RUNNING, STOP, may_hold
from desirepath.patterns.harvest import count_for_top, emit, longer, taller
from desirepath.patterns.kernels import inner
from desirepath.patterns.lanes import LANES, reaching, step_past

# A level on the way down: its node; its next, last and number of extensions and where they stand in
# `numbers`; its frame; where its column begins; what is free above it in `lanes` and in `numbers`.
NODE, NEXT, STOP_AT, N_FOLLOW, FOLLOW, FRAME, COLUMN, FREE_LANES, FREE_NUMBERS = range(9)
# A frame in `numbers`: its rows, then C + 1 rows where classes begin, then for each symbol where its
# positions begin and, k + 1 later, its name. The positions of a symbol are columns, its last occurrence
# first, 0 where there are no more.
ROWS, SYMBOLS, CLASSES = range(3)

LONGEST = 253
"""Most events of a sequence in a frame: 0 says never, 255 that a pattern is not held."""


class Arena(NamedTuple):
    """Memory of one thread, used as a stack."""

    lanes: NDArray[np.uint8]
    """Columns."""
    numbers: NDArray[np.int64]
    """Frames, and lists of extensions: symbol and C supports each."""


@inner
def roomier(arena: Arena, used: tuple[int, int], wanted: tuple[int, int], gauge, worker):  # type: ignore[no-untyped-def]
    """The arena with room for so many lanes and numbers, or as it was once the stop sign is up."""
    lanes, numbers = arena
    if wanted[0] > len(lanes):
        more = max(wanted[0], 2 * len(lanes)) - len(lanes)
        if not may_hold(gauge, worker, more * lanes.itemsize):
            return arena
        lanes = longer(lanes, used[0], wanted[0])
    if wanted[1] > len(numbers):
        if not may_hold(gauge, worker, 8 * (max(wanted[1], 2 * len(numbers)) - len(numbers))):
            return arena
        numbers = longer(numbers, used[1], wanted[1])
    return Arena(lanes, numbers)


@inner
def padded(n: int) -> int:
    """Rows of n sequences, whole blocks."""
    return (n + LANES - 1) // LANES * LANES


@inner
def write_frame(numbers: NDArray[np.int64], at: int, k: int, bounds: NDArray[np.int64]) -> tuple[int, int]:
    """Begin a frame of k symbols; the classes' sequences are counted by bounds.

    Returns where the places of its symbols stand, and one past its end.
    """
    n_classes = len(bounds) - 1
    rows = 0
    for c in range(n_classes):
        numbers[at + CLASSES + c] = rows
        rows += padded(bounds[c + 1] - bounds[c])
    numbers[at + CLASSES + n_classes] = rows
    numbers[at + ROWS], numbers[at + SYMBOLS] = rows, k
    return at + CLASSES + n_classes + 1, at + CLASSES + n_classes + 1 + 2 * k + 1


@inner
def move_on(lanes: NDArray[np.uint8], places: tuple[int, int], rows: int, column: int, out: int) -> None:
    """Write from `out` where each sequence may go on after its next occurrence of a symbol.

    places[0]:places[1] are the symbol's columns; the largest number says that there is none.
    """
    for at in range(0, rows, LANES):
        step_past(lanes, places[0] + at, column + at, out + at, -1)
    for place in range(places[0] + rows, places[1], rows):
        for at in range(0, rows, LANES):
            step_past(lanes, place + at, column + at, out + at, out + at)


@inner
def extensions(
    arena: Arena, frame: int, column: int, known: tuple[int, int], out: int, least: NDArray[np.int64]
) -> int:
    """Write from numbers[out] the extensions of a column that are frequent, among known[1] from known[0]."""
    lanes, numbers = arena
    n_classes = len(least)
    places = frame + CLASSES + n_classes + 1
    n = 0
    for i in range(known[1]):
        symbol = numbers[known[0] + i * (n_classes + 1)]
        last = numbers[places + symbol]
        to, frequent = out + n * (n_classes + 1), False
        for c in range(n_classes):
            support = 0
            for at in range(numbers[frame + CLASSES + c], numbers[frame + CLASSES + c + 1], LANES):
                support += reaching(lanes, last + at, column + at)
            numbers[to + 1 + c] = support
            frequent |= support >= least[c]
        numbers[to] = symbol
        n += frequent
    return n


@inner
def dig(arena, root, tree, rule, length, gauge, worker):  # type: ignore[no-untyped-def]
    """All patterns below a node.

    Args:
        arena: memory; the node's frame and column are in it.
        root: (9,) the node as a level, see above; only some of its extensions may be asked for.
        tree: receives the patterns.
        rule: what is looked for.
        length: symbols of the node's pattern.
        gauge: stop sign and budgets.
        worker: who searches.

    Cost: a pattern costs three instructions for each 64 sequences of its parent and each extension of it.
    """
    n_classes = len(rule.least)
    stride = n_classes + 1
    levels = np.empty((64, 9), np.int64)
    for i in range(len(root)):
        levels[0, i] = root[i]
    support = np.zeros(n_classes, np.int64)
    depth = 0
    while depth >= 0 and gauge[STOP] == RUNNING:
        level = levels[depth]
        if level[NEXT] >= level[STOP_AT]:
            depth -= 1
            continue
        entry = level[FOLLOW] + level[NEXT] * stride
        level[NEXT] += 1
        frequent, total = False, 0
        for c in range(n_classes):
            support[c] = arena.numbers[entry + 1 + c]
            frequent |= support[c] >= rule.least[c]
            total += support[c]
        if not frequent:  # the least support has risen since
            continue
        frame = level[FRAME]
        places = frame + CLASSES + n_classes + 1
        symbol = arena.numbers[entry]
        name = arena.numbers[places + arena.numbers[frame + SYMBOLS] + 1 + symbol]
        tree = emit(tree, level[NODE], name, support, gauge, worker)
        count_for_top(rule, support[0], length + depth + 1)
        if length + depth + 1 >= rule.longest:
            continue
        rows, top, free = arena.numbers[frame + ROWS], level[FREE_LANES], level[FREE_NUMBERS]
        arena = roomier(arena, (top, free), (top + rows, free + stride * level[N_FOLLOW]), gauge, worker)
        if gauge[STOP] != RUNNING:
            break
        where = (arena.numbers[places + symbol], arena.numbers[places + symbol + 1])
        move_on(arena.lanes, where, rows, level[COLUMN], top)
        n = extensions(arena, frame, top, (level[FOLLOW], level[N_FOLLOW]), free, rule.least)
        if n == 0:
            continue
        depth += 1
        if depth == len(levels):
            levels = taller(levels)
        level = levels[depth]
        level[NODE], level[NEXT], level[STOP_AT], level[N_FOLLOW] = tree.size[0] - 1, 0, n, n
        level[FOLLOW], level[FRAME], level[COLUMN] = free, frame, top
        level[FREE_LANES], level[FREE_NUMBERS] = top + rows, free + stride * n
        if 2 * total <= rows and rows > LANES:
            arena = gather(arena, level, support, gauge, worker)
    return arena, tree


@inner
def gather(arena, level, support, gauge, worker):  # type: ignore[no-untyped-def]
    """Give a level a frame of its own: only its sequences, and only the symbols that may follow."""
    n_classes, stride, n = len(support), len(support) + 1, level[N_FOLLOW]
    old, column = level[FRAME], level[COLUMN]
    bounds = np.zeros(n_classes + 1, np.int64)
    for c in range(n_classes):
        bounds[c + 1] = bounds[c] + support[c]
    old_places, old_k = old + CLASSES + n_classes + 1, arena.numbers[old + SYMBOLS]
    old_rows, rows, columns = arena.numbers[old + ROWS], 0, 1
    for c in range(n_classes):
        rows += padded(support[c])
    for i in range(n):
        symbol = arena.numbers[level[FOLLOW] + i * stride]
        columns += (arena.numbers[old_places + symbol + 1] - arena.numbers[old_places + symbol]) // old_rows
    frame, top = level[FREE_NUMBERS], level[FREE_LANES]
    room = frame + CLASSES + n_classes + 2 + 2 * n + old_rows
    arena = roomier(arena, (top, frame), (top + columns * rows, room), gauge, worker)
    if gauge[STOP] != RUNNING:
        return arena
    lanes, numbers = arena
    places, moved = write_frame(numbers, frame, n, bounds)
    nowhere = lanes.dtype.type(-1)
    lanes[top : top + rows] = nowhere
    for c in range(n_classes):  # where the rows that hold the pattern go
        to = numbers[frame + CLASSES + c]
        for row in range(numbers[old + CLASSES + c], numbers[old + CLASSES + c + 1]):
            if lanes[column + row] != nowhere:
                numbers[moved + row] = to
                lanes[top + to] = lanes[column + row]
                to += 1
    at = top + rows
    for i in range(n):
        entry = level[FOLLOW] + i * stride
        symbol = numbers[entry]
        numbers[entry], numbers[places + i] = i, at
        numbers[places + n + 1 + i] = numbers[old_places + old_k + 1 + symbol]
        for place in range(numbers[old_places + symbol], numbers[old_places + symbol + 1], old_rows):
            lanes[at : at + rows] = 0
            if not _pick(lanes, numbers[moved : moved + old_rows], place, column, at):
                break
            at += rows
    numbers[places + n] = at
    level[FRAME], level[COLUMN], level[FREE_LANES], level[FREE_NUMBERS] = frame, top, at, moved
    return arena


@inner
def _pick(lanes: NDArray[np.uint8], moved: NDArray[np.int64], place: int, column: int, out: int) -> bool:
    """Copy the positions that are not too early to their new rows; whether there is any."""
    some = False
    for at in range(0, len(moved), LANES):
        if reaching(lanes, place + at, column + at):  # most symbols seldom come twice
            some = True
            for row in range(at, at + LANES):
                if lanes[place + row] >= lanes[column + row]:
                    lanes[out + moved[row]] = lanes[place + row]
    return some
