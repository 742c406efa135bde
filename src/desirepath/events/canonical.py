# SPDX-License-Identifier: Apache-2.0
"""Lays the canonical columns over a table, as lazy expressions that stream.

Which column plays which role is told to it. No row is dropped and no id passes through a float.
"""

from __future__ import annotations

import polars as pl

from desirepath.errors import DataError
from desirepath.events.clock import SECOND, Clock
from desirepath.events.inference import Guess, Role, joined
from desirepath.events.masking import NULLS
from desirepath.events.raw import ColumnChoice
from desirepath.events.tables import Table
from desirepath.events.times import understand
from desirepath.schema import (
    ACTION,
    EVENT,
    EVENT_ID,
    ITEM,
    REQUIRED,
    SESSION,
    TIME,
    TIME_DTYPE,
    USER,
)

IDS = frozenset({USER, ITEM, EVENT_ID, SESSION, "impression_id"})
"""Roles whose values are kept to the letter; null markers mean nothing to them."""


Runs = list[tuple[int, int, Clock | None]]
"""Stretches of a table's files (first, last exclusive) and the clock that reads them."""


def canonical(table: Table, guess: Guess, runs: Runs, default_action: str) -> pl.LazyFrame:
    """A table's rows with canonical columns, in order.

    Args:
        table: The rows.
        guess: What its columns were taken for.
        runs: Which clock reads which files, from `clock_runs`.
        default_action: The action where no column tells one.
    """
    parts = []
    for first, last, clock in runs:
        lazy = table.lazy(first, last)
        parts.append(laid_over(lazy, guess, lazy.collect_schema(), default_action, clock))
    return parts[0] if len(parts) == 1 else pl.concat(parts)


def clock_runs(table: Table, guess: Guess, choice: ColumnChoice) -> Runs:
    """Stretches of files that share a time unit; a file plainly in another is read by its own."""
    usual = guess.clock
    if usual is None or not usual.scale_us or len(table.heads) < 2 or choice.time_unit is not None:
        return [(0, len(table.files), usual)]
    role = guess.roles[TIME]
    runs: Runs = []
    for at, head in enumerate(table.heads):
        clock = usual
        if head.height:
            try:
                own = understand(joined(head, role), role.source)
            except DataError:
                own = usual
            if (
                own.scale_us
                and not own.is_relative
                and (own.scale_us, usual.is_relative) != (usual.scale_us, False)
            ):
                clock = own
        elif runs:
            clock = runs[-1][2] or usual
        if runs and _same(runs[-1][2], clock):
            runs[-1] = (runs[-1][0], at + 1, runs[-1][2])
        else:
            runs.append((at, at + 1, clock))
    return runs


def _same(a: Clock | None, b: Clock) -> bool:
    return a is not None and (a.scale_us, a.is_relative, a.whole) == (b.scale_us, b.is_relative, b.whole)


def laid_over(
    lazy: pl.LazyFrame, guess: Guess, schema: pl.Schema, default_action: str, clock: Clock | None
) -> pl.LazyFrame:
    """Canonical columns first, then every further column as text under its own name."""
    columns: list[pl.Expr] = []
    used = {column for role in guess.roles.values() for column in role.columns}
    for name, kind in EVENT.items():
        role = guess.roles.get(name)
        if name == TIME:
            moment = (
                pl.lit(None, TIME_DTYPE) if role is None or clock is None else _moment(role, clock, schema)
            )
            columns.append(moment.alias(TIME))
        elif role is not None:
            columns.append(_value(name, role, kind, schema).alias(name))
        elif name == ACTION:
            columns.append(pl.lit(default_action).alias(ACTION))
        elif name in REQUIRED:
            columns.append(pl.lit(None, pl.String).alias(name))
    for name, dtype in schema.items():
        if name in used or name in guess.left_out:
            continue
        text = _text(pl.col(name), dtype)
        if text is not None:
            columns.append(text.alias(f"{name}_given" if name in EVENT else name))
    return lazy.select(columns)


def _moment(role: Role, clock: Clock, schema: pl.Schema) -> pl.Expr:
    if len(role.columns) == 1:
        return clock.moments(pl.col(role.columns[0]), schema[role.columns[0]])
    parts = [pl.col(column).cast(pl.String) for column in role.columns]
    return clock.moments(pl.concat_str(parts, separator=role.joiner), pl.String())


def _value(name: str, role: Role, kind: pl.DataType, schema: pl.Schema) -> pl.Expr:
    if len(role.columns) > 1:
        parts = [_text(pl.col(column), schema[column]) for column in role.columns]
        return pl.concat_str([part for part in parts if part is not None], separator=role.joiner)
    dtype = schema[role.columns[0]]
    column = pl.col(role.columns[0])
    if kind == pl.String():
        text = _text(column, dtype)
        text = pl.lit(None, pl.String) if text is None else text
        markers = [word for word in NULLS if word not in ("NA", "-", "?") or name != "country"]
        if name in IDS or dtype != pl.String():
            return text if dtype != pl.String() else pl.when(text != "").then(text)
        return pl.when(~text.is_in(markers)).then(text)
    if dtype == pl.String():
        column = column.str.strip_chars()
    if kind.is_integer():
        return column.cast(pl.Float64, strict=False).round().cast(kind, strict=False)
    return column.cast(kind, strict=False).fill_nan(None)


def _text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """A column as text with every digit kept, or None for kinds that have no text."""
    if dtype == pl.String():
        return column
    if isinstance(dtype, pl.Struct):
        return column.struct.json_encode()
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        if isinstance(inner, pl.DataType) and (inner.is_nested() or inner == pl.Binary()):
            return None
        listed = column.arr.to_list() if isinstance(dtype, pl.Array) else column
        return listed.cast(pl.List(pl.String)).list.join(" ")
    if dtype == pl.Binary():
        return column.bin.encode("hex")
    if dtype in (pl.Object(), pl.Null()):
        return None
    return column.cast(pl.String)


def in_file_order(lazy: pl.LazyFrame) -> pl.LazyFrame:
    """Time as the number of the row, in seconds from 1970-01-01."""
    names = lazy.collect_schema().names()
    moment = (pl.col("__row").cast(pl.Int64) * SECOND).cast(TIME_DTYPE).alias(TIME)
    return lazy.with_row_index("__row").with_columns(moment).select(names)
