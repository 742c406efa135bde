# SPDX-License-Identifier: Apache-2.0
"""Transitions: how often one event follows another, with beginnings and ends as states.

It knows pairs of neighbours only. Its counts add up to events plus sequences.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import kernel
from desirepath.patterns.paths.medians import group_medians
from desirepath.patterns.paths.numbering import number_codes
from desirepath.patterns.paths.selection import END, START, check_ordered, word_series

DENSE_CELLS = 1 << 20
"""Pairs of symbols up to which a table of all pairs is cheaper than a hash table."""


def transitions(database: SequenceDatabase) -> pl.DataFrame:
    """How often, and how fast, one event follows another.

    One row a pair that occurs, most frequent first. A sequence of L events makes L + 1 transitions: from
    "<start>", between its events, to "<end>"; one without events goes from start to end. So the counts sum
    to events + sequences, those into a symbol equal those out of it, and both equal its events.

    Columns: `from`, `to`, `count`; `probability`, count over all transitions out of `from` (rows of one
    `from` sum to 1); `share` of all transitions; `sequences` that contain it and `sequence_share` of all;
    `mean_s`, `median_s` seconds from one event to the next, null from start and to end.

    Raises:
        DataError: the database holds no event.

    Cost: three passes over the events; 12 bytes an event.

    >>> transitions(SequenceDatabase.from_lists([["a", "b"], ["a"]])).select("from", "to", "count").rows()
    [('<start>', 'a', 2), ('a', 'b', 1), ('a', '<end>', 1), ('b', '<end>', 1)]
    """
    check_ordered(database)
    n = database.n_symbols
    if n * n <= DENSE_CELLS:
        slot, pair, *found, gap_s = _dense(database.offsets, database.symbol_ix, database.time_s, n)
    else:
        slot, pair = number_codes(_pair_codes(database.offsets, database.symbol_ix, n))
        *found, gap_s = _measured(database.offsets, slot, database.time_s, len(pair))
    count, in_sequences, total_s = found
    mean_s, median_s = total_s / count, group_medians(slot, gap_s, len(pair))
    starts, ends = _outer(database.offsets, database.symbol_ix, n)
    empty = database.n_sequences - int(starts.sum())
    begun, ended = np.flatnonzero(starts), np.flatnonzero(ends)
    none = np.full(len(begun) + len(ended) + (empty > 0), np.nan)
    once = np.concatenate([starts[begun], ends[ended], np.full(int(empty > 0), empty)])
    left = np.concatenate([pair // n, np.full(len(begun), n), ended, np.full(int(empty > 0), n)])
    right = np.concatenate([pair % n, begun, np.full(len(ended), n + 1), np.full(int(empty > 0), n + 1)])
    words = word_series(database, START, END)
    table = pl.DataFrame(
        {
            "from": words.gather(left),
            "to": words.gather(right),
            "count": np.concatenate([count, once]).astype(np.int64),
            "sequences": np.concatenate([in_sequences, once]).astype(np.int64),
            "mean_s": pl.Series(np.concatenate([mean_s, none])).fill_nan(None),
            "median_s": pl.Series(np.concatenate([median_s, none])).fill_nan(None),
            "order": np.where(left == n, -1, left),
            "order_to": right,
        }
    )
    return table.sort("count", "order", "order_to", descending=[True, False, False]).select(
        "from",
        "to",
        "count",
        probability=pl.col("count") / pl.col("count").sum().over("from"),
        share=pl.col("count") / pl.col("count").sum(),
        sequences="sequences",
        sequence_share=pl.col("sequences") / database.n_sequences,
        mean_s="mean_s",
        median_s="median_s",
    )


def step_slots(database: SequenceDatabase) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """(N,) the number of the pair that each event makes with the one before it, -1 for a first event.

    And (P,) the pairs as `from * n_symbols + to`, in order of first appearance.
    """
    n = database.n_symbols
    if n * n <= DENSE_CELLS:
        slot, pair, *_ = _dense(database.offsets, database.symbol_ix, database.time_s, n)
    else:
        slot, pair = number_codes(_pair_codes(database.offsets, database.symbol_ix, n))
    return slot, pair


@kernel
def _outer(
    offsets: NDArray[np.int64], symbol: NDArray[np.int32], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) sequences that begin with each symbol, and that end with it."""
    starts, ends = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for s in range(len(offsets) - 1):
        if offsets[s] < offsets[s + 1]:
            starts[symbol[offsets[s]]] += 1
            ends[symbol[offsets[s + 1] - 1]] += 1
    return starts, ends


Found = tuple[
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.float64],
]


@kernel
def _dense(
    offsets: NDArray[np.int64], symbol: NDArray[np.int32], time_s: NDArray[np.float64], n: int
) -> Found:
    """Slots and pairs, and of each pair count, sequences and seconds; and the seconds before each event.

    Everything in one pass, since a pass costs more than what is done in it.
    """
    table, pair = np.full(n * n, -1, np.int32), np.empty(n * n, np.int64)
    count, inside, total_s = np.zeros(n * n, np.int64), np.zeros(n * n, np.int64), np.zeros(n * n)
    latest = np.full(n * n, -1, np.int64)
    slot, gap_s = np.empty(len(symbol), np.int32), np.empty(len(symbol))
    n_pairs = 0
    for s in range(len(offsets) - 1):
        if offsets[s] == offsets[s + 1]:
            continue
        first = offsets[s]
        slot[first], gap_s[first] = -1, 0.0
        left, before = symbol[first], time_s[first]
        for i in range(first + 1, offsets[s + 1]):
            code = left * n + symbol[i]
            number = table[code]
            if number < 0:
                number = n_pairs
                table[code], pair[n_pairs] = n_pairs, code
                n_pairs += 1
            slot[i], gap_s[i] = number, time_s[i] - before
            total_s[number] += gap_s[i]
            count[number] += 1
            inside[number] += latest[number] != s  # no branch: it would often be guessed wrong
            latest[number] = s
            left, before = symbol[i], time_s[i]
    return (
        slot,
        pair[:n_pairs].copy(),
        count[:n_pairs].copy(),
        inside[:n_pairs].copy(),
        total_s[:n_pairs].copy(),
        gap_s,
    )


@kernel
def _pair_codes(offsets: NDArray[np.int64], symbol: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    code = np.empty(len(symbol), np.int64)
    for s in range(len(offsets) - 1):
        if offsets[s] < offsets[s + 1]:
            code[offsets[s]] = -1
        for i in range(offsets[s] + 1, offsets[s + 1]):
            code[i] = np.int64(symbol[i - 1]) * n + symbol[i]
    return code


@kernel
def _measured(
    offsets: NDArray[np.int64], slot: NDArray[np.int32], time_s: NDArray[np.float64], n_pairs: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each pair: how often, in how many sequences, all seconds; and the seconds before each event."""
    count, total_s = np.zeros(n_pairs + 1, np.int64), np.zeros(n_pairs + 1)
    gap_s = np.zeros(len(slot))
    # Neither loop branches on the data: what has no pair is counted in one place more.
    for i in range(1, len(slot)):
        pair = n_pairs if slot[i] < 0 else slot[i]
        gap_s[i] = max(time_s[i] - time_s[i - 1], 0.0)
        total_s[pair] += gap_s[i]
        count[pair] += 1
    inside, latest = np.zeros(n_pairs, np.int64), np.full(n_pairs, -1, np.int64)
    for s in range(len(offsets) - 1):
        for i in range(offsets[s] + 1, offsets[s + 1]):
            pair = slot[i]
            inside[pair] += latest[pair] != s
            latest[pair] = s
    return count[:-1].copy(), inside, total_s[:-1].copy(), gap_s
