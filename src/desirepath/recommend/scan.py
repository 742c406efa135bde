# SPDX-License-Identifier: Apache-2.0
"""One pass over a catalogue's vectors in 8 bits: what may be among the best, and the sum of exponentials.

It knows arrays only. `shortlist` makes them, and scores again in full what is found here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.recommend.tiles import TILE, products
from desirepath.schema import FIRST

ROWS = 2048
"""Rows scored before any of them is looked at, so that they stay in the cache for the next query; whole
tiles."""

LOG2_E = np.float32(1.4426950408889634)


class Scan(NamedTuple):
    """What a pass reads and fills."""

    tiles: NDArray[np.int8]
    """(N, P, TILE, 2) item vectors in units of `scale`; row r is item FIRST + r."""
    scale: NDArray[np.float32]
    """(R,) size of one unit."""
    state: NDArray[np.int16]
    """(B, 2 P) queries in units of `unit`."""
    pairs: NDArray[np.int32]
    """(B, P) `state`, two numbers at once."""
    unit: NDArray[np.float32]
    """(B,) size of one unit."""
    slack: NDArray[np.float32]
    """(B,) by how much a score in units of `scale` may be wrong."""
    allowed: NDArray[np.bool_]
    """(M, V) M = 0: everything may be listed; 1: one mask for all queries; B: one each."""
    slope: NDArray[np.float32]
    """(B,) what scores are multiplied by in the exponent; of length 0 where the sums are not wanted."""
    mass: NDArray[np.float64]
    """(T, B, 2) greatest exponent seen by each thread, and the sum of exp(exponent - greatest)."""
    seen: NDArray[np.int32]
    """(S,) rows of each query's history, ascending and without doubles; of length 0 without sums."""
    seen_at: NDArray[np.int64]
    """(B + 1,) whose rows they are."""
    seen_rough: NDArray[np.float32]
    """(S,) rough scores of those rows, as they went into the sums."""


@numba.njit(cache=True, nogil=True, fastmath=True)
def _count_reaching(rough: Any, scale: Any, unit: Any, slack: Any, low: Any) -> Any:
    """How many rows may score `low` or more."""
    n = np.int32(0)
    for r in range(len(scale)):
        n += np.int32(scale[r] * (unit * np.float32(rough[r]) + slack) >= low)
    return n


@numba.njit(cache=True, nogil=True, fastmath=True)
def _add_exponentials(rough: Any, scale: Any, rate: Any, mass: Any, exponent: Any, power: Any) -> None:
    """Add exp(rate x scale x rough) of a block to `mass`.

    2^x is a power of two, put together from bits, times a polynomial of the rest (relative error 2e-6):
    a call to the library's own for each row would cost more than all else in the pass.
    """
    n = len(scale)
    top = np.float32(-3e38)
    for v in range(n):
        x = rate * scale[v] * np.float32(rough[v])
        exponent[v] = x
        top = max(top, x)
    if top > mass[0]:
        mass[1] *= np.exp(mass[0] - np.float64(top))
        mass[0] = np.float64(top)
    top = np.float32(mass[0])
    for v in range(n):
        x = max((exponent[v] - top) * LOG2_E, np.float32(-126.0))
        whole = np.int32(x - np.float32(0.5))
        part = x - np.float32(whole)
        power[v] = (whole + np.int32(127)) << np.int32(23)
        value = np.float32(0.00133335581)
        value = value * part + np.float32(0.00961812911)
        value = value * part + np.float32(0.0555041087)
        value = value * part + np.float32(0.240226507)
        value = value * part + np.float32(0.693147181)
        exponent[v] = value * part + np.float32(1.0)
    factor = power.view(np.float32)
    total = np.float32(0.0)
    for v in range(n):
        total += exponent[v] * factor[v]
    mass[1] += np.float64(total)


@numba.njit(cache=True, nogil=True)
def _nth_best(values: Any, n: Any) -> Any:
    """The value that n of the values reach; they are put in another order.

    Hoare's selection, since numba takes seven seconds to compile NumPy's.
    """
    left, right, place = 0, len(values) - 1, n - 1
    while left < right:
        pivot = values[(left + right) // 2]
        i, j = left, right
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if place <= j:
            right = j
        elif place >= i:
            left = i
        else:
            break
    return values[place]


@numba.njit(cache=True, nogil=True)
def _tighten(item: Any, score: Any, scale: Any, slack: Any, n_held: Any, n: Any) -> Any:
    """Drop what can no longer be among the n best; how many stay, and what n of them surely score."""
    if n_held < n:
        return n_held, np.float32(-np.inf)
    sure = np.empty(n_held, dtype=np.float32)
    for j in range(n_held):
        sure[j] = score[j] - slack * scale[item[j]]
    low = _nth_best(sure, n)
    kept = 0
    for j in range(n_held):
        if score[j] + slack * scale[item[j]] >= low:
            item[kept] = item[j]
            score[kept] = score[j]
            kept += 1
    return kept, low


@numba.njit(cache=True, nogil=True)
def _widened(rows: Any) -> Any:
    wide = np.empty((len(rows), 2 * rows.shape[1]), dtype=rows.dtype)
    for b in range(len(rows)):
        for j in range(rows.shape[1]):
            wide[b, j] = rows[b, j]
    return wide


@numba.njit(cache=True, nogil=True)
def _place(values: Any, first: Any, last: Any, value: Any) -> Any:
    """The first place in values[first:last], which ascend, that holds `value` or more."""
    while first < last:
        middle = (first + last) // 2
        if values[middle] < value:
            first = middle + 1
        else:
            last = middle
    return first


@numba.njit(cache=True, nogil=True)
def scan_blocks(scan: Any, leap: Any, n: Any, thread: Any, n_threads: Any) -> Any:
    """Candidates of every query among the blocks of one thread: items, rough scores, and how many each has.

    Blocks are visited in leaps (of a number prime to theirs) over the whole catalogue, so that the first
    few already tell what a good score is, whatever the order of the items. Every item that is among the n
    best of what this thread reads is a candidate.     Cost: one read of the tiles for all queries.
    """
    n_queries, n_rows = len(scan.state), len(scan.scale)
    n_blocks = (n_rows + ROWS - 1) // ROWS
    size = max(1024, 4 * n)
    items = np.empty((n_queries, size), dtype=np.int32)
    scores = np.empty((n_queries, size), dtype=np.float32)
    held = np.zeros(n_queries, dtype=np.int64)
    low = np.full(n_queries, -np.inf, dtype=np.float32)
    rough = np.empty(ROWS, dtype=np.int32)
    exponent = np.empty(ROWS, dtype=np.float32)
    power = np.empty(ROWS, dtype=np.int32)
    for turn in range(thread, n_blocks, n_threads):
        begin = (turn * leap) % n_blocks * ROWS
        end = min(begin + ROWS, n_rows)
        tiles, scale = scan.tiles[begin // TILE : (end + TILE - 1) // TILE], scan.scale[begin:end]
        for b in range(n_queries):
            unit, slack = scan.unit[b], scan.slack[b]
            products(tiles, scan.pairs[b], rough)
            if len(scan.slope):
                mass = scan.mass[thread, b]
                _add_exponentials(rough, scale, scan.slope[b] * unit, mass, exponent, power)
                last = scan.seen_at[b + 1]
                for k in range(_place(scan.seen, scan.seen_at[b], last, begin), last):
                    r = scan.seen[k] - begin
                    if r >= end - begin:
                        break
                    scan.seen_rough[k] = scale[r] * (unit * np.float32(rough[r]))
            if _count_reaching(rough, scale, unit, slack, low[b]) == 0:
                continue
            mask = b if len(scan.allowed) > 1 else 0
            for r in range(end - begin):
                if scale[r] * (unit * np.float32(rough[r]) + slack) < low[b]:
                    continue
                if len(scan.allowed) and not scan.allowed[mask, FIRST + begin + r]:
                    continue
                if held[b] == items.shape[1]:
                    held[b], low[b] = _tighten(items[b], scores[b], scan.scale, slack, held[b], n)
                    if 2 * held[b] > items.shape[1]:  # many are alike: nothing may be dropped yet
                        items, scores = _widened(items), _widened(scores)
                items[b, held[b]] = begin + r
                scores[b, held[b]] = scale[r] * (unit * np.float32(rough[r]))
                held[b] += 1
    for b in range(n_queries):
        held[b], low[b] = _tighten(items[b], scores[b], scan.scale, scan.slack[b], held[b], n)
        for j in range(held[b]):
            items[b, j] += FIRST
    return items, scores, held


@numba.njit(cache=True, nogil=True, fastmath=True)
def _dot(x: Any, y: Any) -> Any:
    total = np.float32(0.0)
    for d in range(len(x)):
        total += x[d] * y[d]
    return total


@numba.njit(cache=True, nogil=True)
def settle(vectors: Any, states: Any, items: Any, held: Any, scores: Any) -> None:
    """Score candidates in full; places that hold none get -inf."""
    for b in range(len(items)):
        for j in range(items.shape[1]):
            scores[b, j] = _dot(vectors[items[b, j]], states[b]) if j < held[b] else np.float32(-np.inf)


@numba.njit(cache=True, nogil=True)
def hide(items: Any, held: Any, hidden: Any, hidden_at: Any, scores: Any) -> None:
    """Give -inf to the candidates that are hidden from their query; those of each query ascend."""
    for b in range(len(items)):
        last = hidden_at[b + 1]
        for j in range(held[b]):
            k = _place(hidden, hidden_at[b], last, items[b, j])
            if k < last and hidden[k] == items[b, j]:
                scores[b, j] = np.float32(-np.inf)


@numba.njit(cache=True, nogil=True)
def score_items(vectors: Any, states: Any, item: Any, out: Any) -> None:
    """Fill out[b, k] with the whole score of item[b, k]."""
    for b in range(len(item)):
        for k in range(item.shape[1]):
            out[b, k] = _dot(vectors[item[b, k]], states[b])


@numba.njit(cache=True, nogil=True)
def _exchange(mass: Any, old: Any, new: Any) -> None:
    """Put exp(new) in the place of exp(old)."""
    if new > mass[0]:
        mass[1] *= np.exp(mass[0] - new)
        mass[0] = new
    mass[1] += np.exp(new - mass[0]) - np.exp(old - mass[0])


@numba.njit(cache=True, nogil=True)
def mend_mass(
    scan: Any, vectors: Any, states: Any, items: Any, rough: Any, scores: Any, held: Any, returning: Any
) -> Any:
    """(B,) logs of the sums of all threads, with whole scores for candidates and histories.

    What is in the history has `returning` added to its exponent. Candidates that are in it count once.
    """
    out = np.empty(len(items), dtype=np.float64)
    mass = np.empty(2, dtype=np.float64)
    for b in range(len(items)):
        rate, first, last = np.float64(scan.slope[b]), scan.seen_at[b], scan.seen_at[b + 1]
        mass[0], mass[1] = scan.mass[0, b, 0], scan.mass[0, b, 1]
        for t in range(1, len(scan.mass)):
            top = max(mass[0], scan.mass[t, b, 0])
            mass[1] = mass[1] * np.exp(mass[0] - top)
            mass[1] += scan.mass[t, b, 1] * np.exp(scan.mass[t, b, 0] - top)
            mass[0] = top
        for j in range(held[b]):
            k = _place(scan.seen, first, last, items[b, j] - FIRST)
            if k == last or scan.seen[k] != items[b, j] - FIRST:
                _exchange(mass, rate * rough[b, j], rate * scores[b, j])
        for k in range(first, last):
            exact = rate * np.float64(_dot(vectors[scan.seen[k] + FIRST], states[b]))
            _exchange(mass, rate * scan.seen_rough[k], exact + returning)
        out[b] = mass[0] + np.log(max(mass[1], 1e-300))
    return out


@numba.njit(cache=True, nogil=True)
def _trim(item: Any, score: Any, n_held: Any, n: Any) -> Any:
    """Keep the n best, of equal ones the first; the score that another must pass."""
    low = _nth_best(score[:n_held].copy(), n)
    spare = n
    for j in range(n_held):
        spare -= score[j] > low
    kept = 0
    for j in range(n_held):
        equal = score[j] == low
        if score[j] > low or (equal and spare > 0):
            spare -= equal
            item[kept] = item[j]
            score[kept] = score[j]
            kept += 1
    return low


@numba.njit(cache=True, nogil=True)
def _count_over(row: Any, low: Any) -> Any:
    n = np.int32(0)
    for v in range(len(row)):
        n += np.int32(row[v] > low) + np.int32(row[v] != row[v])
    return n


@numba.njit(cache=True, nogil=True)
def select_rows(scores: Any, allowed: Any, out_item: Any, out_score: Any) -> int:
    """Find the best of each row of scores, in the order of the items.

    Returns the first row that holds something that is no number, or -1.
    """
    n = out_item.shape[1]
    item = np.empty(max(512, 4 * n), dtype=np.int32)
    score = np.empty(len(item), dtype=np.float32)
    for b in range(len(scores)):
        mask = b if len(allowed) > 1 else 0
        held, low = 0, np.float32(-np.inf)
        for begin in range(FIRST, scores.shape[1], 64):
            row = scores[b, begin : begin + 64]
            if _count_over(row, low) == 0:
                continue
            for v in range(len(row)):
                if np.isnan(row[v]):
                    return b
                if row[v] > low and (len(allowed) == 0 or allowed[mask, begin + v]):
                    if held == len(item):
                        low = _trim(item, score, held, n)
                        held = n
                        if row[v] <= low:
                            continue
                    item[held] = begin + v
                    score[held] = row[v]
                    held += 1
        if held > n:
            _trim(item, score, held, n)
        held = min(held, n)
        for j in range(held):
            out_item[b, j] = item[j]
            out_score[b, j] = score[j]
    return -1
