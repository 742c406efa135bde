# SPDX-License-Identifier: Apache-2.0
"""Sixty-four small integers at a time: the vector instructions that the dense search is made of.

Numba finds no vector code for arithmetic within one array, so the steps are spelled for LLVM, which has
instructions for them on every processor. They check no bounds.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]

from desirepath.patterns.kernels import instruction

LANES = 64
"""Numbers in a block."""


def _block(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> tuple[Any, Any]:
    """The address of 64 numbers from array[index], and their type."""
    data = context.make_array(array_type)(context, builder, array).data
    lanes = ir.VectorType(context.get_value_type(array_type.dtype), LANES)
    return builder.bitcast(builder.gep(data, [index]), lanes.as_pointer()), lanes


def _loaded(builder: Any, block: tuple[Any, Any]) -> Any:
    return builder.load(block[0], align=1)


@instruction
def reaching(typing_context: Any, array: Any, last: Any, least: Any) -> Any:
    """How many i < 64 have array[last + i] >= array[least + i]."""
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array_type = signature.args[0]
        left = _loaded(builder, _block(context, builder, array_type, values[0], values[1]))
        right = _loaded(builder, _block(context, builder, array_type, values[0], values[2]))
        reached = builder.icmp_unsigned(">=", left, right)
        return builder.ctpop(builder.bitcast(reached, ir.IntType(LANES)))

    return types.int64(array, types.int64, types.int64), generate


@instruction
def step_past(typing_context: Any, array: Any, place: Any, least: Any, out: Any, otherwise: Any) -> Any:
    """For i < 64: array[out + i] = array[place + i] + 1 where that place is >= array[least + i].

    Elsewhere it becomes array[otherwise + i], or the largest number when `otherwise` is below 0.
    """
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array_type = signature.args[0]
        places = _loaded(builder, _block(context, builder, array_type, values[0], values[1]))
        limits = _loaded(builder, _block(context, builder, array_type, values[0], values[2]))
        target, lanes = _block(context, builder, array_type, values[0], values[3])
        known = builder.icmp_signed(">=", values[4], ir.Constant(ir.IntType(64), 0))
        # Without an alternative the column itself is read, and not used.
        before = builder.select(known, values[4], values[1])
        others = _loaded(builder, _block(context, builder, array_type, values[0], before))
        kept = builder.select(known, others, ir.Constant(lanes, [-1] * LANES))
        reached = builder.icmp_unsigned(">=", places, limits)
        after = builder.add(places, ir.Constant(lanes, [1] * LANES))
        builder.store(builder.select(reached, after, kept), target, align=1)
        return context.get_dummy_value()

    return types.none(array, types.int64, types.int64, types.int64, types.int64), generate
