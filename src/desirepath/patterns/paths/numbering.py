# SPDX-License-Identifier: Apache-2.0
"""Dense numbers for sparse codes, in order of first appearance: a hash table in compiled code.

It knows integers only. Transitions between many symbols use it, and so does the path tree, whose nodes
are coded by parent and symbol.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.kernels import inner, kernel

FREE = -1


@inner
def place_of(keys: NDArray[np.int64], code: int) -> np.int64:
    """Where `code` lies in the table, or the free place where it belongs; codes are 0 or more."""
    mask = len(keys) - 1
    # Fibonacci hashing: the high bits of a product with 2^64 / golden ratio are well mixed.
    place = np.int64((np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while keys[place] != FREE and keys[place] != code:
        place = (place + 1) & mask
    return place


@inner
def grown(keys: NDArray[np.int64], numbers: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The same table with four times the places."""
    more_keys = np.full(4 * len(keys), FREE, np.int64)
    more_numbers = np.zeros(4 * len(keys), np.int32)
    for old in range(len(keys)):
        if keys[old] != FREE:
            place = place_of(more_keys, keys[old])
            more_keys[place] = keys[old]
            more_numbers[place] = numbers[old]
    return more_keys, more_numbers


@kernel
def number_codes(codes: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """(N,) the number of each code, and (M,) the distinct codes; negative codes get -1.

    Cost: one visit of a hash table a code.
    """
    keys, numbers = np.full(1024, FREE, np.int64), np.zeros(1024, np.int32)
    distinct = np.empty(1024, np.int64)
    out = np.full(len(codes), -1, np.int32)
    n = 0
    for i in range(len(codes)):
        code = codes[i]
        if code < 0:
            continue
        place = place_of(keys, code)
        if keys[place] == FREE:
            if n == len(distinct):
                more = np.empty(4 * n, np.int64)
                more[:n] = distinct
                distinct = more
            keys[place], numbers[place], distinct[n] = code, n, code
            n += 1
            if 2 * n > len(keys):
                keys, numbers = grown(keys, numbers)
                place = place_of(keys, code)
        out[i] = numbers[place]
    return out, distinct[:n].copy()
