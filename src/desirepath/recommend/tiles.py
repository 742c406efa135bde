# SPDX-License-Identifier: Apache-2.0
"""Vectors in 8 bits a number, laid out in tiles so that a processor multiplies 64 of them at once.

It knows whole numbers and their layout. `scan` reads the tiles, `shortlist` has them made.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

TILE = 64
"""Rows that lie together: pair by pair of numbers, in the order of the rows. Four vectors of 16 sums."""


@numba.njit(cache=True, nogil=True)
def quantise(vectors: Any, first: Any, tiles: Any, scale: Any) -> Any:
    """Round vectors[first:] into `tiles` (N, P, TILE, 2) and their units into `scale`.

    Returns the largest rounding error and the largest length, both as norms in units; -1 and the place of a
    vector that is not finite.
    """
    worst, longest = 0.0, 0.0
    for row in range(len(vectors) - first):
        top, total = np.float32(0.0), 0.0
        for d in range(vectors.shape[1]):
            top = max(top, abs(vectors[first + row, d]))
            total += vectors[first + row, d]
        if not np.isfinite(total):
            return -1.0, float(first + row)
        unit = top / np.float32(127.0)
        scale[row] = unit
        if unit == 0.0:
            continue
        error, square = 0.0, 0.0
        tile = tiles[row // TILE]
        for d in range(vectors.shape[1]):
            whole = np.rint(vectors[first + row, d] / unit)
            tile[d // 2, row % TILE, d % 2] = np.int8(whole)
            rest = np.float64(vectors[first + row, d]) / unit - whole
            error += rest * rest
            square += whole * whole
        worst, longest = max(worst, error), max(longest, square)
    return np.sqrt(worst), np.sqrt(longest)


@numba.njit(cache=True, nogil=True)
def product(tiles: Any, state: Any, row: Any) -> Any:
    """Whole product of one row with a state of 2 P numbers: the plain way."""
    tile, place = tiles[row // TILE], row % TILE
    total = np.int32(0)
    for d in range(len(state)):
        total += np.int32(tile[d // 2, place, d % 2]) * np.int32(state[d])
    return total


@numba.njit(cache=True, nogil=True)
def products(tiles: Any, pairs: Any, out: Any) -> None:
    """Whole products of all rows of some tiles with one state: the quick way.

    A loop over numbers laid out row by row spends most of its time on adding up each row's lanes; here rows
    are lanes, and a multiply-add of pairs (vpdpwssd where there is one) does the rest: four times as fast.

    Shapes: tiles (N, P, TILE, 2) int8; pairs (P,) int32, each two int16 of the state as they lie in memory;
    out (N x TILE,) int32.
    """
    for n in range(len(tiles)):
        _tile_products(tiles, pairs, out, n)  # type: ignore[call-arg]


@intrinsic
def _tile_products(typingctx: Any, tiles: Any, pairs: Any, out: Any, n: Any) -> Any:
    """The products of tile n, written to its place of `out`.

    In LLVM's own language because it knows vectors of pairs and numba does not; it names no instruction of
    any processor, so that it runs everywhere.
    """
    i8, i16, i32, i64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
    bytes_, halves, wide, sums = (
        ir.VectorType(i8, 32),
        ir.VectorType(i16, 32),
        ir.VectorType(i32, 32),
        ir.VectorType(i32, 16),
    )

    allocate: Any = cgutils.alloca_once_value

    def lanes(first: int, step: int) -> Any:
        return ir.Constant(sums, list(range(first, first + 16 * step, step or 1)) if step else [first] * 16)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:3], values[:3], strict=True)
        ]
        n_pairs = builder.extract_value(arrays[1].shape, 0)
        row_bytes = ir.Constant(i64, 2 * TILE)
        begin = builder.mul(values[3], builder.mul(n_pairs, row_bytes))
        data = builder.gep(builder.bitcast(arrays[0].data, i8.as_pointer()), [begin])
        zeros = ir.Constant(sums, [0] * 16)
        totals = [allocate(builder, zeros) for _ in range(TILE // 16)]
        nothing, unset = ir.Constant(wide, ir.Undefined), ir.Constant(sums, ir.Undefined)
        with cgutils.for_range(builder, n_pairs) as loop:
            pair = builder.load(builder.gep(arrays[1].data, [loop.index]))
            spread = builder.shuffle_vector(
                builder.insert_element(unset, pair, ir.Constant(i32, 0)), unset, lanes(0, 0)
            )
            state = builder.sext(builder.bitcast(spread, halves), wide)
            for part, total in enumerate(totals):
                place = builder.add(builder.mul(loop.index, row_bytes), ir.Constant(i64, 32 * part))
                code = builder.load(builder.bitcast(builder.gep(data, [place]), bytes_.as_pointer()))
                code.align = 1
                both = builder.mul(builder.sext(code, wide), state)
                pair_sums = builder.add(
                    builder.shuffle_vector(both, nothing, lanes(0, 2)),
                    builder.shuffle_vector(both, nothing, lanes(1, 2)),
                )
                builder.store(builder.add(builder.load(total), pair_sums), total)
        for part, total in enumerate(totals):
            place = builder.add(builder.mul(values[3], ir.Constant(i64, TILE)), ir.Constant(i64, 16 * part))
            target = builder.bitcast(builder.gep(arrays[2].data, [place]), sums.as_pointer())
            builder.store(builder.load(total), target).align = 4
        return context.get_dummy_value()

    return types.void(tiles, pairs, out, types.intp), generate
