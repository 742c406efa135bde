# SPDX-License-Identifier: Apache-2.0
"""The log as the unconstrained search reads it: frequent symbols only, numbered by support, class by class.

It knows a database and least supports; `suffixes` searches what it makes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.kernels import kernel
from desirepath.patterns.suffixes import Entries, Source


@dataclass(frozen=True, slots=True)
class Encoded:
    """A log ready to be searched."""

    source: Source
    entries: Entries
    work: NDArray[np.int64]
    """(K,) events in the suffixes of each symbol: what its search costs, roughly."""

    @property
    def n_sequences(self) -> int:
        """Sequences of all classes."""
        return len(self.source.end)


def encode(
    offsets: NDArray[np.int64],
    symbol_ix: NDArray[np.int32],
    n_symbols: int,
    least: NDArray[np.int64],
    label: NDArray[np.int32] | None = None,
) -> Encoded:
    """The frequent part of a log.

    Args:
        offsets: (S + 1,) first event of each sequence.
        symbol_ix: (N,) what happened, from 0.
        n_symbols: how many symbols there are.
        least: (C,) smallest support of interest in each class; a symbol stays if one class suffices.
        label: (S,) class of each sequence, -1 for those to leave out; one class by default.

    Cost: two passes over the events; 12 bytes an event that stays.
    """
    n_classes = len(least)
    if label is None:
        order = np.arange(len(offsets) - 1)
        classes = np.array([0, len(order)], np.int64)
    else:
        order = np.argsort(label, kind="stable")
        classes = np.searchsorted(label[order], np.arange(n_classes + 1)).astype(np.int64)
        order = order[classes[0] :]
        classes -= classes[0]
    begins, ends = offsets[order], offsets[order + 1]
    supports = _count(begins, ends, symbol_ix, classes, n_symbols)
    frequent = np.flatnonzero((supports >= least).any(axis=1))
    total = supports.sum(axis=1)
    frequent = frequent[np.argsort(-total[frequent], kind="stable")]
    place = np.full(n_symbols, -1, np.int32)
    place[frequent] = np.arange(len(frequent), dtype=np.int32)
    entry_offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(total[frequent])])
    code, end, start, row, work = _encode(begins, ends, symbol_ix, place, entry_offsets)
    return Encoded(
        Source(code, end, frequent.astype(np.int32), classes), Entries(start, row, entry_offsets), work
    )


@kernel
def _count(
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    symbol: NDArray[np.int32],
    classes: NDArray[np.int64],
    n_symbols: int,
) -> NDArray[np.int64]:
    """(V, C) sequences of each class that hold each symbol."""
    supports = np.zeros((n_symbols, len(classes) - 1), np.int64)
    stamp = np.full(n_symbols, -1, np.int64)
    for c in range(len(classes) - 1):
        for s in range(classes[c], classes[c + 1]):
            for p in range(begins[s], ends[s]):
                x = symbol[p]
                if stamp[x] != s:
                    stamp[x] = s
                    supports[x, c] += 1
    return supports


@kernel
def _encode(
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    symbol: NDArray[np.int32],
    place: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Codes, ends, the entries of every symbol, and the events in their suffixes."""
    kept = 0
    for s in range(len(begins)):
        for p in range(begins[s], ends[s]):
            kept += place[symbol[p]] >= 0
    k = len(offsets) - 1
    code, end = np.empty(kept, np.int32), np.empty(len(begins), np.int32)
    start, row = np.empty(offsets[k], np.int32), np.empty(offsets[k], np.int32)
    room, work = offsets[:k].copy(), np.zeros(k, np.int64)
    first, last = np.full(k, -1, np.int64), np.full(k, -1, np.int64)
    at = 0
    for s in range(len(begins)):
        before = at
        for p in range(begins[s], ends[s]):
            x = place[symbol[p]]
            if x < 0:
                continue
            if first[x] != s:
                first[x] = s
                start[room[x]] = at + 1
                row[room[x]] = s
                room[x] += 1
                work[x] -= at + 1
            code[at] = 2 * x
            last[x] = at
            at += 1
        end[s] = at
        for p in range(before, at):
            x = code[p] >> 1
            if last[x] == p:
                code[p] += 1
                work[x] += at
    return code, end, start, row, work
