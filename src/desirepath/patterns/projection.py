# SPDX-License-Identifier: Apache-2.0
"""Kernels that lengthen a pattern by one symbol: from where its matches end to where the longer ones end.

A projection is a list of entries, the row where a match may end and the latest row where such a match may
begin, in order of ends. It knows rows as integers alone; `constraints.windows` makes them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.kernels import inner, kernel

# Lines of the table of rows that all kernels read.
SYMBOL, OWNER, LO, HI, TOP, TOGETHER = range(6)


@inner
def count(
    rows: NDArray[np.int32],
    ends: NDArray[np.int32],
    starts: NDArray[np.int32],
    span: tuple[int, int],
    with_sets: bool,
    tally: NDArray[np.int64],
    touched: NDArray[np.int32],
) -> int:
    """How often each symbol may follow, after a pattern or at once with its last symbol.

    For a given end nothing but the latest start matters: gaps depend on the end alone, and a later start
    leaves more of the span. Latest starts never decrease with the end, because what may precede a row is a
    window that moves forward with it; so the last end that may precede a row is the only one to look at,
    and each row is visited once.

    Args:
        rows: (6, N) what stands in each row, see the constants above.
        ends: entries, ascending.
        starts: entries, the latest start for each end.
        span: first and one past the last entry.
        with_sets: whether symbols of the same element are counted too, under symbol + n.
        tally: (4, 2n) support, entries, place and stamp of each code; support and entries must be 0.
            tally[3, 2n] counts the sequences ever visited.
        touched: (2n,) receives the codes met.

    Returns:
        How many codes were met.
    """
    symbol, owner, lo, hi = rows[SYMBOL], rows[OWNER], rows[LO], rows[HI]
    top, together = rows[TOP], rows[TOGETHER]
    support, total, stamp = tally[0], tally[1], tally[3]
    n_codes = tally.shape[1] - 1
    n_touched = 0
    tick = stamp[n_codes]
    last_owner = -1
    for i in range(span[0], span[1]):
        end = ends[i]
        mine = owner[end]
        if mine != last_owner:
            tick += 1
            last_owner = mine
        limit = min(hi[end], top[starts[i]])
        if i + 1 < span[1] and owner[ends[i + 1]] == mine:
            limit = min(limit, lo[ends[i + 1]])
        for row in range(lo[end], limit):
            code = symbol[row]
            if stamp[code] != tick:
                stamp[code] = tick
                if support[code] == 0:
                    touched[n_touched] = code
                    n_touched += 1
                support[code] += 1
            total[code] += 1
        if with_sets:
            for row in range(end + 1, together[end]):
                code = symbol[row] + n_codes // 2
                if stamp[code] != tick:
                    stamp[code] = tick
                    if support[code] == 0:
                        touched[n_touched] = code
                        n_touched += 1
                    support[code] += 1
                total[code] += 1
    stamp[n_codes] = tick
    return n_touched


@inner
def fill(
    rows: NDArray[np.int32],
    ends: NDArray[np.int32],
    starts: NDArray[np.int32],
    span: tuple[int, int],
    with_sets: bool,
    first_only: bool,
    tally: NDArray[np.int64],
) -> None:
    """Write the entries of each longer pattern to where tally[2] says; codes with a place below 0 are left.

    With `first_only` the first end in each sequence is enough: nothing is limited from above, so that
    whatever follows a later end follows the first one too.
    """
    symbol, owner, lo, hi = rows[SYMBOL], rows[OWNER], rows[LO], rows[HI]
    top, together = rows[TOP], rows[TOGETHER]
    place, stamp = tally[2], tally[3]
    n_codes = tally.shape[1] - 1
    tick = stamp[n_codes]
    last_owner = -1
    for i in range(span[0], span[1]):
        end, start = ends[i], starts[i]
        mine = owner[end]
        if mine != last_owner:
            tick += 1
            last_owner = mine
        limit = min(hi[end], top[start])
        if i + 1 < span[1] and owner[ends[i + 1]] == mine:
            limit = min(limit, lo[ends[i + 1]])
        for row in range(lo[end], limit):
            code = symbol[row]
            if place[code] >= 0:
                if first_only:
                    if stamp[code] == tick:
                        continue
                    stamp[code] = tick
                ends[place[code]] = row
                starts[place[code]] = start
                place[code] += 1
        if with_sets:
            for row in range(end + 1, together[end]):
                code = symbol[row] + n_codes // 2
                if place[code] >= 0:
                    ends[place[code]] = row
                    starts[place[code]] = start
                    place[code] += 1
    stamp[n_codes] = tick


@inner
def longer(array: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    """The array with room for `size` entries at least; grown by half at a time."""
    if size <= len(array):
        return array
    grown = np.empty(max(size, len(array) + len(array) // 2), array.dtype)
    grown[: len(array)] = array
    return grown


@kernel
def kept_rows(
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int32],
    element: NDArray[np.int32],
    flags: NDArray[np.uint8],
    needs: NDArray[np.int64],
    asked: tuple[bool, bool, int],
) -> NDArray[np.bool_]:
    """(N,) rows that an answer can use.

    None before the first start or after the last end, and none of a sequence without what must be held.

    Args:
        offsets: (S + 1,) first row of each sequence.
        symbol: (N,) symbols.
        element: (N,) element of each row, or an empty array where each event is its own.
        flags: (n,) bit 0: the first element may hold this symbol to be right, bit 1: the last.
        needs: (n,) the bit of each symbol that must be held, 0 for the others.
        asked: whether starts are asked for, whether ends are, and all bits that must be held.
    """
    kept = np.zeros(len(symbol), np.bool_)
    for s in range(len(offsets) - 1):
        begin, end = offsets[s], offsets[s + 1]
        held = 0
        if asked[0]:
            while begin < end and not flags[symbol[begin]] & 1:
                begin += 1
        if asked[1]:
            while end > begin and not flags[symbol[end - 1]] & 2:
                end -= 1
        if len(element) and begin < end:
            while begin > offsets[s] and element[begin - 1] == element[begin]:
                begin -= 1
            while end < offsets[s + 1] and element[end] == element[end - 1]:
                end += 1
        for row in range(begin, end):
            held |= needs[symbol[row]]
        if held == asked[2]:
            kept[begin:end] = True
    return kept


@kernel
def supports(
    offsets: NDArray[np.int64], symbol: NDArray[np.int32], kept: NDArray[np.bool_], n_symbols: int
) -> NDArray[np.int64]:
    """(n_symbols,) sequences that hold each symbol in a row that is kept."""
    support = np.zeros(n_symbols, np.int64)
    last = np.full(n_symbols, -1, np.int64)
    for s in range(len(offsets) - 1):
        for row in range(offsets[s], offsets[s + 1]):
            if kept[row] and last[symbol[row]] != s:
                last[symbol[row]] = s
                support[symbol[row]] += 1
    return support


@kernel
def by_symbol(
    symbol: NDArray[np.int32], owner: NDArray[np.int32], n_symbols: int, first_only: bool
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows symbol by symbol, ascending, and where each symbol's begin; the first of each owner, or all."""
    last = np.full(n_symbols, -1, np.int64)
    offsets = np.zeros(n_symbols + 1, np.int64)
    for row in range(len(symbol)):
        if not first_only or last[symbol[row]] != owner[row]:
            last[symbol[row]] = owner[row]
            offsets[symbol[row] + 1] += 1
    offsets = np.cumsum(offsets)
    place, rows = offsets[:-1].copy(), np.empty(offsets[-1], np.int32)
    last[:] = -1
    for row in range(len(symbol)):
        if not first_only or last[symbol[row]] != owner[row]:
            last[symbol[row]] = owner[row]
            rows[place[symbol[row]]] = row
            place[symbol[row]] += 1
    return rows, offsets
