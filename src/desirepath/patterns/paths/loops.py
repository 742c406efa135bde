# SPDX-License-Identifier: Apache-2.0
"""Loops: events repeated at once, and ways that lead back to where they began.

It knows single events as the place of return; what lies on the way is counted, not named.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import kernel
from desirepath.patterns.paths.medians import group_medians
from desirepath.patterns.paths.selection import check_ordered

KINDS = ("repeat", "cycle")


def loops(database: SequenceDatabase) -> pl.DataFrame:
    """How often each event is repeated at once, and how often a sequence comes back to it.

    A "repeat" is a run of the same event, A A A, taken as long as it is. A "cycle" is the way from an A to
    the next A with something else between, A b c A; so A b A c A are two. One row an event and kind that
    occurs, most frequent first.

    Columns: `symbol`, `kind`, `count`, `sequences` that have one, `sequence_share` of all, `events` (all
    steps taken: A A A has two, A b c A three), `mean_events`, `longest` (both in steps), `mean_s`,
    `median_s` from its first event to its last.

    Cost: two passes over the events; 8 bytes an event.

    >>> world = SequenceDatabase.from_lists([["a", "a", "a", "b", "a"]])
    >>> loops(world).select("symbol", "kind", "count", "longest").rows()
    [('a', 'cycle', 1, 2), ('a', 'repeat', 1, 2)]
    """
    check_ordered(database)
    n = database.n_symbols
    count, inside, steps, longest, which, length_s = _loops(
        database.offsets, database.symbol_ix, database.time_s, n
    )  # fmt: skip
    total_s = np.bincount(which, weights=length_s, minlength=2 * n)
    median_s = group_medians(which, length_s, 2 * n)
    kind, symbol = np.divmod(np.flatnonzero(count), n)
    found = count > 0
    return pl.DataFrame(
        {
            "symbol": database.symbols.decode(symbol),
            "kind": pl.Series(KINDS, dtype=pl.String).gather(kind),
            "count": count[found],
            "sequences": inside[found],
            "sequence_share": inside[found] / database.n_sequences,
            "events": steps[found],
            "mean_events": steps[found] / count[found],
            "longest": longest[found],
            "mean_s": total_s[found] / count[found],
            "median_s": median_s[found],
        }
    ).sort("count", "symbol", "kind", descending=[True, False, False])


@kernel
def _loops(
    offsets: NDArray[np.int64], symbol: NDArray[np.int32], time_s: NDArray[np.float64], n: int
) -> tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int32],
    NDArray[np.float64],
]:
    """Count, sequences, steps and longest of repeats (0..n-1) and cycles (n..2n-1).

    And of every loop which of these it is, and its seconds.
    """
    count, inside = np.zeros(2 * n, np.int64), np.zeros(2 * n, np.int64)
    steps, longest = np.zeros(2 * n, np.int64), np.zeros(2 * n, np.int64)
    touched = np.full(2 * n, -1, np.int64)
    latest, holder = np.zeros(n, np.int64), np.full(n, -1, np.int64)
    which, length_s = np.empty(len(symbol), np.int32), np.empty(len(symbol))
    total = 0
    for s in range(len(offsets) - 1):
        i = offsets[s]
        while i < offsets[s + 1]:
            here = symbol[i]
            stop = i + 1
            while stop < offsets[s + 1] and symbol[stop] == here:
                stop += 1
            # A way back ends at the first event of this run, and a run of two or more is a repeat.
            for kind in range(2):
                if kind == 0:
                    begun, ended, is_one = i, stop - 1, stop - i > 1
                else:
                    begun, ended, is_one = latest[here], i, holder[here] == s
                if is_one:
                    slot = kind * n + here
                    count[slot] += 1
                    steps[slot] += ended - begun
                    longest[slot] = max(longest[slot], ended - begun)
                    if touched[slot] != s:
                        touched[slot] = s
                        inside[slot] += 1
                    which[total], length_s[total] = slot, time_s[ended] - time_s[begun]
                    total += 1
            latest[here], holder[here] = stop - 1, s
            i = stop
    return count, inside, steps, longest, which[:total], length_s[:total]
