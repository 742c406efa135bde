# SPDX-License-Identifier: Apache-2.0
"""SASRec's forward pass for one history at a time, compiled into one piece.

The mathematics is that of `models.sasrec`; it is written again because forty calls of torch's layers cost a
lone request three times what the multiplications do, most of it for code that is not in the caches.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

TILE = 64
"""Cells that look back together: what is newer than the newest of them is not multiplied at all."""
_LOG2_E = np.float32(1.4426950408889634)
_LEAST = np.float32(-126.0)
_HALF, _ONE, _ZERO = np.float32(0.5), np.float32(1.0), np.float32(0.0)
_P1, _P2, _P3 = np.float32(6.931472028550421e-1), np.float32(2.402264791363012e-1), np.float32(5.550332471e-2)
_P4, _P5, _P6 = np.float32(9.618437357674640e-3), np.float32(1.339887440266574e-3), np.float32(1.535336188e-4)

Weights = NDArray[np.float32]


class Inputs(NamedTuple):
    """What cells are made of."""

    items: Weights
    """(V, D) by item index, as they are scored; multiplied by `scale` on their way in."""
    positions: Weights
    """(max_len, D) by place."""
    scale: np.float32
    is_from_newest: bool
    """Whether places count from the newest event."""


class Whole(NamedTuple):
    """The blocks whose every cell is read: N of them, with H heads of width W and F inner values."""

    attention_norm: Weights
    """(N, 2, D) scale and shift."""
    reads: Weights
    """(N, 3, H, D, W) of queries, keys and values."""
    reads_bias: Weights
    """(N, 3, H, W)."""
    out: Weights
    """(N, H, W, D)."""
    out_bias: Weights
    ffn_norm: Weights
    ffn_in: Weights
    """(N, D, F)."""
    ffn_in_bias: Weights
    ffn_out: Weights
    """(N, F, D)."""
    ffn_out_bias: Weights


class Newest(NamedTuple):
    """The last block, of which one cell is read: no keys and no values are made (see `FastEncoder`)."""

    attention_norm: Weights
    """(2, D)."""
    looks: Weights
    """(H, D, D): what a cell is multiplied by to be weighed, from the asking cell."""
    looks_bias: Weights
    """(H, D)."""
    brings: Weights
    """(H, D, D): what the weighed mean of cells adds."""
    brings_bias: Weights
    ffn_norm: Weights
    ffn_in: Weights
    """(D, F)."""
    ffn_in_bias: Weights
    ffn_out: Weights
    """(F, D)."""
    ffn_out_bias: Weights
    norm: Weights
    """(2, D) of the state."""


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def encode(item_BL: Any, length_B: Any, inputs: Any, whole: Any, newest: Any, eps: Any) -> Any:
    """(B, D) the state after each history; 0 after an empty one.

    Args:
        item_BL: int32 histories, padded on the right; no longer than max_len, without unknown items.
        length_B: int64 length of each.
        inputs: see `Inputs`.
        whole: see `Whole`.
        newest: see `Newest`.
        eps: what the norms add to a variance.

    Cost: 12 D^2 + L D multiplications a cell for every block but the last, 2 D for that. A history is
    encoded alone, so that its state does not depend on who else asks.
    """
    states = np.zeros((len(item_BL), inputs.items.shape[1]), np.float32)
    for b in range(len(item_BL)):
        if length_B[b]:
            x = _cells(item_BL[b, : length_B[b]], inputs)
            for n in range(len(whole.attention_norm)):
                x = _block(x, n, whole, eps)
            _state(x, newest, eps, states[b])
    return states


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _cells(history: Any, inputs: Any) -> Any:
    length, dim = len(history), inputs.items.shape[1]
    first = len(inputs.positions) - length if inputs.is_from_newest else 0
    x = np.empty((length, dim), np.float32)
    for i in range(length):
        vector, place = inputs.items[history[i]], inputs.positions[first + i]
        for d in range(dim):
            x[i, d] = vector[d] * inputs.scale + place[d]
    return x


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _block(x: Any, n: Any, whole: Any, eps: Any) -> Any:
    """The cells after block n."""
    asks = np.empty_like(x)
    for i in range(len(x)):
        _norm(x[i], whole.attention_norm[n], eps, asks[i])
    y = asks + whole.out_bias[n]
    for head in range(whole.reads.shape[2]):
        q = _linear(asks, whole.reads[n, 0, head], whole.reads_bias[n, 0, head])
        k = _linear(x, whole.reads[n, 1, head], whole.reads_bias[n, 1, head])
        v = _linear(x, whole.reads[n, 2, head], whole.reads_bias[n, 2, head])
        scale = np.float32(1.0 / math.sqrt(q.shape[1]))
        read = np.empty_like(v)
        for first in range(0, len(x), TILE):
            stop = min(len(x), first + TILE)
            weight = np.dot(q[first:stop], k[:stop].T)
            for i in range(first, stop):
                _soften(weight[i - first], i + 1, scale)
            read[first:stop] = np.dot(weight, v[:stop])
        y += np.dot(read, whole.out[n, head])
    for i in range(len(y)):
        _norm(y[i], whole.ffn_norm[n], eps, asks[i])
    inner = _linear(asks, whole.ffn_in[n], whole.ffn_in_bias[n])
    for i in range(len(inner)):
        _rectify(inner[i])
    return asks + _linear(inner, whole.ffn_out[n], whole.ffn_out_bias[n])


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _state(x: Any, newest: Any, eps: Any, state: Any) -> None:
    """The newest cell after the last block, normed."""
    length, dim = x.shape
    asks = np.empty(dim, np.float32)
    _norm(x[length - 1], newest.attention_norm, eps, asks)
    y = asks + newest.brings_bias
    for head in range(len(newest.looks)):
        look = np.dot(newest.looks[head], asks) + newest.looks_bias[head]
        weight = np.dot(x, look)
        _soften(weight, length, _ONE)
        y += np.dot(newest.brings[head], np.dot(weight, x))
    normed = np.empty(dim, np.float32)
    _norm(y, newest.ffn_norm, eps, normed)
    inner = np.dot(normed, newest.ffn_in) + newest.ffn_in_bias
    _rectify(inner)
    _norm(normed + np.dot(inner, newest.ffn_out) + newest.ffn_out_bias, newest.norm, eps, state)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _linear(x: Any, weight: Any, bias: Any) -> Any:
    y = np.dot(x, weight)
    for i in range(len(y)):
        for d in range(len(bias)):
            y[i, d] += bias[d]
    return y


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _norm(x: Any, weight: Any, eps: Any, out: Any) -> None:
    """Layer norm of one cell."""
    n = np.float32(len(x))
    mean = _ZERO
    for d in range(len(x)):
        mean += x[d]
    mean /= n
    variance = _ZERO
    for d in range(len(x)):
        variance += (x[d] - mean) * (x[d] - mean)
    slope = _ONE / np.float32(math.sqrt(variance / n + eps))
    for d in range(len(x)):
        out[d] = (x[d] - mean) * slope * weight[0, d] + weight[1, d]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _rectify(x: Any) -> None:
    for d in range(len(x)):
        x[d] = max(x[d], _ZERO)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _soften(weight: Any, n: Any, scale: Any) -> None:
    """Softmax of the first n, times `scale`, in place; 0 for the rest.

    2^t is a polynomial of t's fraction, within 2e-7 of itself, and t's whole part put where a float keeps its
    exponent: the library's function is called number by number, and would take as long as all the products.
    """
    most = weight[0]
    for j in range(1, n):
        most = max(most, weight[j])
    power = np.empty(n, np.int32)
    for j in range(n):
        t = max((weight[j] - most) * scale * _LOG2_E, _LEAST)
        whole = np.floor(t + _HALF)
        f = t - whole
        weight[j] = ((((((_P6 * f + _P5) * f + _P4) * f + _P3) * f + _P2) * f + _P1) * f) + _ONE
        power[j] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    two = power.view(np.float32)
    total = _ZERO
    for j in range(n):
        weight[j] *= two[j]
        total += weight[j]
    share = _ONE / total
    for j in range(n):
        weight[j] *= share
    for j in range(n, len(weight)):
        weight[j] = _ZERO
