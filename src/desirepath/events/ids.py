# SPDX-License-Identifier: Apache-2.0
"""Outside ids into dense positions: each id is hashed once, then is a number.

It knows neither files nor events. Positions count from 0 in order of first appearance; those of ids
known before are kept. The vocabularies of the sequences look their ids up here too.
"""

from __future__ import annotations

import secrets

import numba
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

MAX_LOAD = 0.6
"""Share of the slots in use beyond which the table doubles."""
LOW = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(0xFFFFFFFF00000000)


class IdTable:
    """A growing list of distinct ids, and where each of them stands.

    Ids are told apart by 95 bits of two hashes with seeds drawn afresh for each table, which nobody can
    aim at: among 10 million ids, two different ones meet with probability 1e-15. The positions do
    not depend on the seeds. Cost: 16 bytes a slot; one visit of memory an id looked up.

    >>> table = IdTable(pl.Series(["b"]))
    >>> table.encode(pl.Series(["a", "b", "a"])).tolist(), table.ids().to_list()
    ([1, 0, 1], ['b', 'a'])
    >>> table.find(pl.Series(["zzz", "a"])).tolist()
    [-1, 1]
    """

    def __init__(self, known: pl.Series | None = None) -> None:
        """Start from ids that keep their positions (distinct, without null), or from none."""
        self._seeds = secrets.randbits(63), secrets.randbits(63)
        self._slots = np.zeros(2 * 2**10, np.uint64)
        self._pieces: list[pa.Array] = []
        self._n = 0
        if known is not None and len(known):
            self.encode(known)

    def __len__(self) -> int:
        """The number of distinct ids."""
        return self._n

    def encode(self, ids: pl.Series) -> NDArray[np.int32]:
        """The position of each id; new ids are appended.

        Shapes: (N,) text without null to (N,) int32.
        """
        first, second = (ids.hash(seed).to_numpy() for seed in self._seeds)
        positions = np.empty(len(ids), np.int32)
        fresh = np.empty(len(ids), np.int64)
        done = n_fresh = 0
        while done < len(ids):
            limit = int(len(self._slots) // 2 * MAX_LOAD)
            done, n_fresh = _encode(
                done, first, second, self._slots, self._n, n_fresh, limit, positions, fresh
            )
            if done < len(ids):
                grown = np.zeros(2 * len(self._slots), np.uint64)
                _rehash(self._slots, grown)
                self._slots = grown
        if n_fresh:
            # Copied, so that the batch behind the ids is let go.
            piece = ids.gather(pl.Series(fresh[:n_fresh])).to_arrow(compat_level=pl.CompatLevel.oldest())
            self._pieces.append(piece)
            self._n += n_fresh
        return positions

    def find(self, ids: pl.Series) -> NDArray[np.int32]:
        """The position of each id, -1 for those that are not in the table (and for null).

        Shapes: (N,) text to (N,) int32.
        """
        first, second = (ids.hash(seed).to_numpy() for seed in self._seeds)
        positions = np.empty(len(ids), np.int32)
        _find(first, second, self._slots, positions)
        if ids.null_count():
            positions[ids.is_null().to_numpy()] = -1
        return positions

    def ids(self) -> pl.Series:
        """All ids, each at its position."""
        pieces = [pl.Series("id", piece, dtype=pl.String) for piece in self._pieces]
        return pl.concat(pieces, rechunk=True) if pieces else pl.Series("id", [], dtype=pl.String)


# A slot is two numbers: the first hash (never 0), and 32 bits of the second beside position + 1.


@numba.njit(nogil=True, cache=True)
def _encode(done, first, second, slots, n_known, n_fresh, limit, positions, fresh):  # type: ignore[no-untyped-def]
    """Code rows from `done` on; stops where the table must grow. Returns (rows done, new ids)."""
    mask = np.int64(len(slots) // 2 - 1)
    for row in range(done, len(first)):
        key = first[row] | np.uint64(1)
        tag = second[row] & HIGH
        slot = np.int64(key >> np.uint64(20)) & mask
        while True:
            found = slots[2 * slot]
            if found == key:
                value = slots[2 * slot + 1]
                if value & HIGH == tag:
                    positions[row] = np.int32(value & LOW) - 1
                    break
            elif found == 0:
                if n_known + n_fresh >= limit:
                    return row, n_fresh
                fresh[n_fresh] = row
                positions[row] = n_known + n_fresh
                n_fresh += 1
                slots[2 * slot] = key
                slots[2 * slot + 1] = tag | np.uint64(n_known + n_fresh)
                break
            slot = (slot + 1) & mask
    return len(first), n_fresh


@numba.njit(nogil=True, cache=True)
def _find(first, second, slots, positions):  # type: ignore[no-untyped-def]
    mask = np.int64(len(slots) // 2 - 1)
    for row in range(len(first)):
        key = first[row] | np.uint64(1)
        tag = second[row] & HIGH
        slot = np.int64(key >> np.uint64(20)) & mask
        positions[row] = -1
        while slots[2 * slot] != 0:
            value = slots[2 * slot + 1]
            if slots[2 * slot] == key and value & HIGH == tag:
                positions[row] = np.int32(value & LOW) - 1
                break
            slot = (slot + 1) & mask


@numba.njit(nogil=True, cache=True)
def _rehash(slots, grown):  # type: ignore[no-untyped-def]
    mask = np.int64(len(grown) // 2 - 1)
    for old in range(0, len(slots), 2):
        if slots[old] != 0:
            slot = np.int64(slots[old] >> np.uint64(20)) & mask
            while grown[2 * slot] != 0:
                slot = (slot + 1) & mask
            grown[2 * slot] = slots[old]
            grown[2 * slot + 1] = slots[old + 1]
