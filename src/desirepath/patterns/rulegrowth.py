# SPDX-License-Identifier: Apache-2.0
"""The kernel that grows antecedents of sequential rules, set by set; `consequents` grows what follows each.

It reads the rows that `rules` prepares: where an antecedent may take a symbol, and where a consequent may.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.consequents import Found, consequents
from desirepath.patterns.gauge import RUNNING, STOP, may_hold
from desirepath.patterns.kernels import inner, kernel
from desirepath.patterns.projection import longer

# Entries of `limits`.
MIN_COUNT, MAX_ANTECEDENT, MAX_CONSEQUENT, SINGLE = range(4)
# Lines of a list of windows: sequence, row that completes the antecedent, row where the window begins, and
# one past the last place of a consequent.
OWNER, DONE, BEGIN, LIMIT = range(4)


class RuleRows(NamedTuple):
    """A log as the rule kernels read it; N rows of S sequences and n symbols."""

    symbol: NDArray[np.int32]
    """(N,)."""
    owner: NDArray[np.int32]
    """(N,) sequence of each row."""
    time_s: NDArray[np.float64]
    """(N,)."""
    together: NDArray[np.int32]
    """(N,) one past the last row of the same element."""
    offsets: NDArray[np.int64]
    """(S + 1,) first row of each sequence."""
    by_symbol: NDArray[np.int32]
    """Rows where an antecedent may take a symbol, symbol by symbol."""
    by_symbol_offsets: NDArray[np.int64]
    """(n + 1,)."""
    x_row: NDArray[np.int32]
    """The same rows, sequence by sequence."""
    x_offsets: NDArray[np.int64]
    """(S + 1,)."""
    y_symbol: NDArray[np.int32]
    """Symbols of the places where a consequent may take one, in order."""
    y_after: NDArray[np.int32]
    """(N,) first such place after each row's element."""
    y_limit: NDArray[np.int32]
    """(N,) one past the last such place in the window that begins at each row."""


@kernel
def antecedents(
    log: RuleRows,
    roots: NDArray[np.int32],
    limits: NDArray[np.int64],
    min_confidence: float,
    gauge: NDArray[np.int64],
    worker: int,
) -> Found:
    """All rules whose antecedent begins with one of `roots`, its least symbol.

    An antecedent is kept as the windows in which it is complete, for each window the least that may follow
    it. Without a window one is enough for each sequence: from the row where it is first complete.
    For `limits` see the constants above, for `gauge` and `worker` the module `gauge`.
    """
    n = len(log.by_symbol_offsets) - 1
    single = limits[SINGLE] != 0
    tally = np.zeros((4, n + 1), np.int64)  # support, entries, place, stamp; see `projection`
    inside = np.zeros(n, np.bool_)
    windows, holders = np.empty((4, 1 << 12), np.int32), np.empty(1 << 12, np.int32)
    candidates = np.empty(1 << 10, np.int32)
    # For each depth: symbol, last window, last holder, next and last candidate.
    frame = np.zeros((n + 2, 5), np.int64)
    found = (np.empty(64, np.int32), np.empty((16, 4), np.int64), np.empty(16), np.zeros(2, np.int64))
    for root in roots:
        frame[0, 3], frame[0, 4], candidates[0] = 0, 1, root
        depth = 0  # symbols of the antecedent
        while depth >= 0 and gauge[STOP] == RUNNING:
            if frame[depth, 3] == frame[depth, 4]:
                if depth:
                    inside[frame[depth, 0]] = False
                depth -= 1
                continue
            symbol = candidates[frame[depth, 3]]
            frame[depth, 3] += 1
            occurrences = log.by_symbol_offsets[symbol + 1] - log.by_symbol_offsets[symbol]
            begin, held = frame[depth, 1], frame[depth, 2]
            before = frame[depth - 1, 1] if depth else 0
            held_before = frame[depth - 1, 2] if depth else 0
            room = max(begin + begin - before, held) + occurrences
            if room > len(holders):
                may_hold(gauge, worker, 20 * room)
                windows, holders = _roomier(windows, holders, 2 * room)
            if depth:
                end = _join(log, windows, before, begin, symbol, single)
                stop = _meet(log, holders, held_before, held, symbol)
            else:
                end = _open(log, windows, symbol)
                stop = _meet(log, holders, -1, 0, symbol)
            if end - begin < limits[MIN_COUNT] or _owners(windows, begin, end) < limits[MIN_COUNT]:
                continue
            depth += 1
            inside[symbol] = True
            frame[depth, 0], frame[depth, 1], frame[depth, 2] = symbol, end, stop
            after, n_after = _after(log, windows, begin, end, inside, tally, limits[MIN_COUNT])
            frame[depth, 3] = frame[depth, 4] = frame[depth - 1, 4]
            if not len(after):
                continue
            if single:
                end = _shorten(log, windows, begin, end, after, tally)
                frame[depth, 1] = end
            n_held = stop - frame[depth - 1, 2]
            least = max(limits[MIN_COUNT], np.int64(np.ceil(min_confidence * n_held - 1e-9)))
            found = consequents(
                (log.symbol, log.time_s, log.together, log.offsets),
                (log.y_symbol, log.y_after),
                windows[:, begin:end],
                after[n_after >= least],
                frame[1 : depth + 1, 0],
                np.array([least, limits[MAX_CONSEQUENT], n_held]),
                found,
                gauge,
                worker,
            )
            if depth < limits[MAX_ANTECEDENT]:
                more = _candidates(log, windows, begin, end, symbol, tally, limits)
                last = frame[depth, 4] + len(more)
                candidates = longer(candidates, last)
                candidates[frame[depth, 4] : last] = more
                frame[depth, 4] = last
    return found


@inner
def _roomier(
    windows: NDArray[np.int32], holders: NDArray[np.int32], size: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    more_windows, more_holders = np.empty((4, size), np.int32), np.empty(size, np.int32)
    more_windows[:, : windows.shape[1]] = windows
    more_holders[: len(holders)] = holders
    return more_windows, more_holders


@inner
def _open(log: RuleRows, windows: NDArray[np.int32], symbol: int) -> int:
    """The windows of a single symbol, from place 0."""
    n = 0
    for i in range(log.by_symbol_offsets[symbol], log.by_symbol_offsets[symbol + 1]):
        row = log.by_symbol[i]
        n = _add(windows, 0, n, log.owner[row], row, row, log.y_after[row], log.y_limit[row])
    return n


@inner
def _add(
    windows: NDArray[np.int32],
    first: int,
    at: int,
    owner: int,
    done: int,
    begin: int,
    after: int,
    limit: int,
) -> int:
    """Keep a window unless nothing can follow it, or an earlier one of its sequence reaches as far."""
    if after >= limit:
        return at
    if at > first and windows[OWNER, at - 1] == owner and windows[LIMIT, at - 1] >= limit:
        return at
    windows[OWNER, at], windows[DONE, at] = owner, done
    windows[BEGIN, at], windows[LIMIT, at] = begin, limit
    return at + 1


@inner
def _join(log: RuleRows, windows: NDArray[np.int32], begin: int, end: int, symbol: int, single: bool) -> int:
    """The windows in which one more symbol is there too, written from `end` on.

    At each row that completes the old antecedent or holds the symbol, the latest of both before it make the
    shortest window that ends there.
    """
    at, i = end, begin
    j, last = log.by_symbol_offsets[symbol], log.by_symbol_offsets[symbol + 1]
    while i < end and j < last:
        mine, other = windows[OWNER, i], log.owner[log.by_symbol[j]]
        if mine < other:
            i += 1
        elif other < mine:
            j += 1
        else:
            old, row = -1, -1
            while True:
                more_old = i < end and windows[OWNER, i] == mine
                more_row = j < last and log.owner[log.by_symbol[j]] == mine
                if not (more_old or more_row):
                    break
                if more_old and (not more_row or windows[DONE, i] < log.by_symbol[j]):
                    old, done = i, windows[DONE, i]
                    i += 1
                else:
                    row = log.by_symbol[j]
                    done = row
                    j += 1
                if old >= 0 and row >= 0:
                    first = min(windows[BEGIN, old], row)
                    limit = windows[LIMIT, old] if single else log.y_limit[first]
                    at = _add(windows, end, at, mine, done, first, log.y_after[done], limit)
    return at


@inner
def _meet(log: RuleRows, holders: NDArray[np.int32], begin: int, end: int, symbol: int) -> int:
    """Sequences of holders[begin:end] that hold the symbol too, written from `end` on; all from -1."""
    at, i = end, begin
    before = -1
    for j in range(log.by_symbol_offsets[symbol], log.by_symbol_offsets[symbol + 1]):
        owner = log.owner[log.by_symbol[j]]
        if owner == before:
            continue
        before = owner
        if begin >= 0:
            while i < end and holders[i] < owner:
                i += 1
            if i == end:
                break
            if holders[i] != owner:
                continue
        holders[at] = owner
        at += 1
    return at


@inner
def _owners(windows: NDArray[np.int32], begin: int, end: int) -> int:
    n = 0
    for i in range(begin, end):
        if i == begin or windows[OWNER, i] != windows[OWNER, i - 1]:
            n += 1
    return n


@inner
def _after(
    log: RuleRows,
    windows: NDArray[np.int32],
    begin: int,
    end: int,
    inside: NDArray[np.bool_],
    tally: NDArray[np.int64],
    min_count: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Symbols outside the antecedent that follow it often enough, ascending, and in how many sequences."""
    support, stamp = tally[0], tally[3]
    tick = stamp[-1]
    touched, n_touched = np.empty(len(inside), np.int32), 0
    for i in range(begin, end):
        if i == begin or windows[OWNER, i] != windows[OWNER, i - 1]:
            tick += 1
        for place in range(log.y_after[windows[DONE, i]], windows[LIMIT, i]):
            symbol = log.y_symbol[place]
            if stamp[symbol] != tick and not inside[symbol]:
                stamp[symbol] = tick
                if support[symbol] == 0:
                    touched[n_touched] = symbol
                    n_touched += 1
                support[symbol] += 1
    stamp[-1] = tick
    n = 0
    for symbol in touched[:n_touched]:
        if support[symbol] >= min_count:
            touched[n] = symbol  # never ahead of what is read
            n += 1
        else:
            support[symbol] = 0
    after = np.sort(touched[:n])
    held = np.empty(n, np.int64)
    for i in range(n):
        held[i] = support[after[i]]
        support[after[i]] = 0
    return after, held


@inner
def _shorten(
    log: RuleRows,
    windows: NDArray[np.int32],
    begin: int,
    end: int,
    after: NDArray[np.int32],
    tally: NDArray[np.int64],
) -> int:
    """Cut each window after its last symbol that still counts, and leave out those without one."""
    mark = tally[1]
    mark[after] = 1
    at = begin
    for i in range(begin, end):
        limit, first = windows[LIMIT, i], log.y_after[windows[DONE, i]]
        while limit > first and not mark[log.y_symbol[limit - 1]]:
            limit -= 1
        if limit > first:
            windows[:, at] = windows[:, i]
            windows[LIMIT, at] = limit
            at += 1
    mark[after] = 0
    return at


@inner
def _candidates(
    log: RuleRows,
    windows: NDArray[np.int32],
    begin: int,
    end: int,
    least: int,
    tally: NDArray[np.int64],
    limits: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Symbols above `least` that may join the antecedent: enough of its sequences hold them in time."""
    support, stamp = tally[0], tally[3]
    tick = stamp[-1]
    n = len(support) - 1
    for i in range(begin, end):
        owner = windows[OWNER, i]
        if i > begin and owner == windows[OWNER, i - 1]:
            continue
        tick += 1
        for j in range(log.x_offsets[owner], log.x_offsets[owner + 1]):
            row = log.x_row[j]
            symbol = log.symbol[row]
            if symbol > least and stamp[symbol] != tick:
                # Without a window, something that counts must come after the symbol.
                if limits[SINGLE] and log.y_after[row] >= windows[LIMIT, i]:
                    break
                stamp[symbol] = tick
                support[symbol] += 1
    stamp[-1] = tick
    chosen = np.flatnonzero(support[least + 1 : n] >= limits[MIN_COUNT]) + least + 1
    support[least + 1 : n] = 0
    return chosen.astype(np.int32)
