# SPDX-License-Identifier: Apache-2.0
"""Random numbers that depend on a key and nothing else: not on threads, shards or call order.

Inside compiled loops a stream is one 64-bit state, advanced by SplitMix64 (Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014, figure 15). Whole arrays are drawn
by numpy's PCG64 from a `generator` of the same keys.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def generator(seed: int, *keys: int) -> np.random.Generator:
    """A numpy generator that follows from the seed and the keys alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=keys))


def stream_key(seed: int, *keys: int) -> np.uint64:
    """A 64-bit key for the streams of a compiled loop."""
    return np.uint64(np.random.SeedSequence(seed, spawn_key=keys).generate_state(1, np.uint64)[0])


@njit(cache=True, nogil=True)
def mixed(value: Any) -> Any:
    """The finaliser of SplitMix64: a bijection of 64-bit numbers that looks random."""
    value = (value ^ (value >> _S30)) * _MIX_1
    value = (value ^ (value >> _S27)) * _MIX_2
    return value ^ (value >> _S31)


@njit(cache=True, nogil=True)
def start_stream(state: NDArray[np.uint64], key: Any, number: int) -> None:
    """Set `state` (length 1) to the beginning of stream `number` of `key`."""
    state[0] = mixed(key ^ mixed(np.uint64(number) * _GOLDEN + _GOLDEN))


@njit(cache=True, nogil=True)
def uniform(state: NDArray[np.uint64]) -> float:
    """The next number in [0, 1)."""
    state[0] += _GOLDEN
    return float(mixed(state[0]) >> _S11) * 1.1102230246251565e-16


@njit(cache=True, nogil=True)
def exponential(state: NDArray[np.uint64]) -> float:
    """The next number of an exponential law with mean 1."""
    return -math.log(1.0 - uniform(state))


@njit(cache=True, nogil=True)
def drawn(state: NDArray[np.uint64], cumulative: NDArray[np.float64]) -> int:
    """An index drawn with the chances whose running sum (last entry 1) is given; for short rows."""
    u = uniform(state)
    for index in range(len(cumulative) - 1):
        if u < cumulative[index]:
            return index
    return len(cumulative) - 1


def scattered(numbers: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """A fixed shuffle of 0..n-1 applied to `numbers` without storing it: an affine map modulo n.

    Outside ids made of it say nothing about rank, segment or shard.
    """
    rng = generator(seed, 99, n)
    factor = int(rng.integers(n // 3 + 1, max(n, n // 3 + 2)))
    while math.gcd(factor, n) != 1:
        factor += 1
    shift = int(rng.integers(0, n))
    ids: NDArray[np.int64] = (numbers * np.int64(factor % n) + shift) % n
    return ids
