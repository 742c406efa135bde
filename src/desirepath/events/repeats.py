# SPDX-License-Identifier: Apache-2.0
"""Finds rows that came twice: the same in every column, or under the same event id.

It knows coded rows and hashes, no files. The first of equal rows in order of the file stays.
"""

from __future__ import annotations

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.events.rows import Rows

SMALL_TIE = 24
"""Rows of one user and moment up to which comparing all pairs beats sorting."""


def exact_repeats(rows: Rows) -> NDArray[np.bool_]:
    """Which rows equal an earlier one in every column, null equal to null.

    `rows` must lie by user and time (`Rows.ordered`).

    Shapes: (N,) bool.     Cost: O(N); only rows that share user, moment, item and action with another
    have their further columns compared.
    """
    key = (rows.item_ix.astype(np.int64) << 16) | rows.action_ix.astype(np.int64)
    again: NDArray[np.bool_]
    twin: NDArray[np.bool_]
    again, twin = _repeated_keys(rows.user_ix, rows.time_us, key)
    if not rows.extra.width or not again.any():
        return again
    places = np.flatnonzero(twin)
    twins = rows.extra[places].with_columns(
        pl.Series(" user", rows.user_ix[places]),
        pl.Series(" time", rows.time_us[places]),
        pl.Series(" key", key[places]),
    )
    first = twins.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    exact = np.zeros(len(rows), np.bool_)
    exact[places[~first]] = True
    return exact


@numba.njit(nogil=True, cache=True)
def _repeated_keys(user_ix, time_us, key):  # type: ignore[no-untyped-def]
    """Rows whose (user, time, key) came before, and all rows that are one of several such."""
    n = len(key)
    again = np.zeros(n, np.bool_)
    twin = np.zeros(n, np.bool_)
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and time_us[stop] == time_us[start] and user_ix[stop] == user_ix[start]:
            stop += 1
        if stop - start > SMALL_TIE:
            places = start + np.argsort(key[start:stop], kind="mergesort")
            for place in range(1, len(places)):
                if key[places[place]] == key[places[place - 1]]:
                    again[places[place]] = True
                    twin[places[place]] = True
                    twin[places[place - 1]] = True
        else:
            for row in range(start + 1, stop):
                for before in range(start, row):
                    if key[row] == key[before]:
                        again[row] = True
                        twin[row] = True
                        twin[before] = True
                        break
        start = stop
    return again, twin


def hash_ids(ids: pl.Series) -> NDArray[np.uint64]:
    """Two independent 64-bit hashes of each id; a null has zeros.

    128 bits stand for the id: among 100 million ids, two different ones meet with probability 1e-23.

    Shapes: (N,) text to (N, 2).
    """
    known = ids.is_not_null().to_numpy()
    both = np.stack([ids.hash(seed).to_numpy() for seed in (0x5EED, 0xFACADE)], axis=1)
    return np.where(known[:, None], both, np.uint64(0))


def later_of_same(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The rows whose hashes came before, in rising order; rows of zeros have no id and never count.

    Shapes: (N, 2) to (M,).     Cost: one sort of 64-bit numbers.

    >>> later_of_same(np.array([[7, 1], [0, 0], [7, 1], [0, 0], [7, 2]], np.uint64)).tolist()
    [2]
    """
    rows = np.flatnonzero(hashes.any(axis=1))
    order = rows[np.lexsort((hashes[rows, 1], hashes[rows, 0]))]
    equal = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
    return np.sort(order[1:][equal])
