# SPDX-License-Identifier: Apache-2.0
"""The kernel that grows the consequents of one antecedent: frequent sets in what follows it.

What may follow one window of the antecedent is a set; a consequent is a part of enough of these sets,
counted once a sequence. It knows nothing of how the antecedent came about.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.gauge import RUNNING, STOP, check_found, may_hold
from desirepath.patterns.kernels import inner

Found = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]
"""Symbols of all rules, antecedent then consequent; for each rule the lengths of both, its support and its
antecedent's; the median delay in seconds; and how many symbols and rules there are."""


@inner
def consequents(
    rows: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32], NDArray[np.int64]],
    places: tuple[NDArray[np.int32], NDArray[np.int32]],
    windows: NDArray[np.int32],
    after: NDArray[np.int32],
    antecedent: NDArray[np.int64],
    limits: NDArray[np.int64],
    found: Found,
    gauge: NDArray[np.int64],
    worker: int,
) -> Found:
    """Add the rules of one antecedent to `found`.

    Args:
        rows: symbol, time_s and end of the element of each row, and the first row of each sequence.
        places: symbols of the places where a consequent may be, and the first place after each row.
        windows: (4, W) windows of the antecedent, see `rulegrowth`.
        after: symbols that follow often enough.
        antecedent: its symbols.
        limits: least support of a rule, most symbols of a consequent, support of the antecedent.
        found: what there is already.
        gauge: see `gauge`.
        worker: our place in it.
    """
    if not len(after):
        return found
    members, begins = _sets(places, windows, after)
    owner, n = windows[0], len(after)
    tally = np.zeros((4, n + 1), np.int64)
    # Entries: which set, and the first member that may still be added.
    of_set, following = np.empty(len(begins) - 1, np.int64), np.empty(len(begins) - 1, np.int64)
    for i in range(len(begins) - 1):
        of_set[i], following[i] = i, begins[i]
    chosen = np.empty(n, np.int64)  # members of the consequent, by place in `after`
    pending, n_pending = np.empty((n + 1, 5), np.int64), 1  # member, depth, first and last entry, support
    pending[0, 0], pending[0, 1], pending[0, 2], pending[0, 3] = -1, 0, 0, len(of_set)
    while n_pending and gauge[STOP] == RUNNING:
        n_pending -= 1
        depth, begin, end = pending[n_pending, 1], pending[n_pending, 2], pending[n_pending, 3]
        if depth:
            chosen[depth - 1] = pending[n_pending, 0]
            delay = _delay(rows, windows, of_set[begin:end], after[chosen[:depth]])
            found = _keep(found, antecedent, after[chosen[:depth]], pending[n_pending, 4], limits[2], delay)
            check_found(gauge, worker, 1)
        if depth == limits[1]:
            continue
        _count(owner, of_set, following, (begin, end), members, begins, tally)
        room, extra = end, 0
        for member in range(n - 1, -1, -1):  # the last to be pushed lies highest, so that it is free to grow
            if tally[0, member] >= limits[0]:
                tally[2, member] = room
                room += tally[1, member]
                extra += 1
            else:
                tally[2, member] = -1
        if extra:
            if room > len(of_set):
                may_hold(gauge, worker, 16 * room)
                more = np.empty((2, 2 * room), np.int64)
                more[0, :end], more[1, :end] = of_set[:end], following[:end]
                of_set, following = more[0], more[1]
            if n_pending + extra > len(pending):
                taller = np.empty((2 * (n_pending + extra), 5), np.int64)
                taller[:n_pending] = pending[:n_pending]
                pending = taller
            for member in range(n - 1, -1, -1):
                if tally[2, member] >= 0:
                    pending[n_pending, 0], pending[n_pending, 1] = member, depth + 1
                    pending[n_pending, 2] = tally[2, member]
                    pending[n_pending, 3] = tally[2, member] + tally[1, member]
                    pending[n_pending, 4] = tally[0, member]
                    n_pending += 1
            for i in range(begin, end):
                for place in range(following[i], begins[of_set[i] + 1]):
                    at = tally[2, members[place]]
                    if at >= 0:
                        of_set[at], following[at] = of_set[i], place + 1
                        tally[2, members[place]] += 1
        tally[:2] = 0
    return found


@inner
def _sets(
    places: tuple[NDArray[np.int32], NDArray[np.int32]],
    windows: NDArray[np.int32],
    after: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """What follows each window, as ascending places in `after`, and where each set begins."""
    y_symbol, y_after = places
    member_of = np.full(after[-1] + 1, -1, np.int32)
    for i in range(len(after)):
        member_of[after[i]] = i
    begins = np.zeros(windows.shape[1] + 1, np.int64)
    members, n = np.empty(256, np.int32), 0
    for i in range(windows.shape[1]):
        first, last = y_after[windows[1, i]], windows[3, i]
        if n + last - first > len(members):
            grown = np.empty(2 * (n + last - first), np.int32)
            grown[:n] = members[:n]
            members = grown
        begin = n
        for place in range(first, last):
            symbol = y_symbol[place]
            member = member_of[symbol] if symbol < len(member_of) else -1
            if member >= 0:
                members[n] = member
                n += 1
        members[begin:n] = np.sort(members[begin:n])
        stop, n = n, begin
        for at in range(begin, stop):
            if at == begin or members[at] != members[n - 1]:
                members[n] = members[at]
                n += 1
        begins[i + 1] = n
    return members, begins


@inner
def _count(
    owner: NDArray[np.int32],
    of_set: NDArray[np.int64],
    following: NDArray[np.int64],
    span: tuple[int, int],
    members: NDArray[np.int32],
    begins: NDArray[np.int64],
    tally: NDArray[np.int64],
) -> None:
    """Sequences and sets in which each member may be added."""
    support, total, stamp = tally[0], tally[1], tally[3]
    tick = stamp[-1]
    for i in range(span[0], span[1]):
        if i == span[0] or owner[of_set[i]] != owner[of_set[i - 1]]:
            tick += 1
        for place in range(following[i], begins[of_set[i] + 1]):
            member = members[place]
            total[member] += 1
            if stamp[member] != tick:
                stamp[member] = tick
                support[member] += 1
    stamp[-1] = tick


@inner
def _delay(
    rows: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32], NDArray[np.int64]],
    windows: NDArray[np.int32],
    of_set: NDArray[np.int64],
    consequent: NDArray[np.int32],
) -> float:
    """Median seconds from the end of the antecedent to the first symbol of the consequent.

    In each sequence the first window counts that the whole consequent follows.
    """
    symbol, time_s, together, offsets = rows
    delays, n = np.empty(len(of_set)), 0
    for i in range(len(of_set)):
        owner, done = windows[0, of_set[i]], windows[1, of_set[i]]
        if i and windows[0, of_set[i - 1]] == owner:
            continue
        for row in range(together[done], offsets[owner + 1]):
            hit = False
            for one in consequent:
                hit |= symbol[row] == one
            if hit:
                delays[n] = time_s[row] - time_s[done]
                n += 1
                break
    return float(np.median(delays[:n]))


@inner
def _keep(
    found: Found,
    antecedent: NDArray[np.int64],
    consequent: NDArray[np.int32],
    support: int,
    held: int,
    delay: float,
) -> Found:
    """Append one rule, in arrays twice as long where they are full."""
    symbols, rules, delays, sizes = found
    n_symbols, n_rules = sizes[0], sizes[1]
    length = len(antecedent) + len(consequent)
    if n_symbols + length > len(symbols):
        more_symbols = np.empty(2 * (n_symbols + length), np.int32)
        more_symbols[:n_symbols] = symbols[:n_symbols]
        symbols = more_symbols
    if n_rules == len(rules):
        more_rules, more_delays = np.empty((2 * n_rules, 4), np.int64), np.empty(2 * n_rules)
        more_rules[:n_rules], more_delays[:n_rules] = rules, delays
        rules, delays = more_rules, more_delays
    symbols[n_symbols : n_symbols + len(antecedent)] = antecedent
    symbols[n_symbols + len(antecedent) : n_symbols + length] = consequent
    rules[n_rules, 0], rules[n_rules, 1] = len(antecedent), len(consequent)
    rules[n_rules, 2], rules[n_rules, 3] = support, held
    delays[n_rules] = delay
    sizes[0] += length
    sizes[1] += 1
    return symbols, rules, delays, sizes
