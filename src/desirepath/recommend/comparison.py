# SPDX-License-Identifier: Apache-2.0
"""Conditions on items as Polars expressions: what may be compared with what, and what missing values mean.

It knows the names and types of a table's columns, never its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NoReturn

import polars as pl

from desirepath.errors import ConfigError, nearest
from desirepath.recommend.conditions import SHOWN, Column, Condition, Operand, Value, pointed
from desirepath.schema import TIME_DTYPE

Kinds = Mapping[str, pl.DataType]


def kind_of(dtype: pl.DataType) -> str:
    """What an expression may do with a column: number, text, truth, time, a list of these, or nothing.

    >>> kind_of(pl.Int32()), kind_of(pl.List(pl.String())), kind_of(pl.Binary())
    ('number', 'list of text', 'nothing')
    """
    if isinstance(dtype, pl.List | pl.Array):
        inner = kind_of(dtype.inner if isinstance(dtype.inner, pl.DataType) else dtype.inner())
        return f"list of {inner}" if inner in ("number", "text") else "nothing"
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    if isinstance(dtype, pl.Boolean):
        return "truth"
    return "time" if isinstance(dtype, pl.Datetime | pl.Date) else "nothing"


COMPARE: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "contains": lambda a, b: a.str.contains(b, literal=True),
    "starts with": lambda a, b: a.str.starts_with(b),
    "ends with": lambda a, b: a.str.ends_with(b),
}
WORDED = ("contains", "starts with", "ends with")


class Compiler:
    """Turns conditions into Polars expressions over one table's columns."""

    def __init__(self, text: str, schema: Kinds) -> None:
        self.text, self.schema = text, schema

    def condition(self, condition: Condition) -> pl.Expr:
        """True, false or null for each row; see `Expression.compile`."""
        parts = [self.condition(part) for part in condition.parts]
        blank = [o.name for o in condition.operands if isinstance(o, Column) and self._is_blank(o)]
        if blank and condition.form != "missing":
            return pl.col([blank[0]]).cast(pl.Boolean)
        match condition.form:
            # Both keep Kleene's logic of three values: false settles `and`, true settles `or`.
            case "all_of":
                return pl.all_horizontal(parts)
            case "any_of":
                return pl.any_horizontal(parts)
            case "negation":
                return ~parts[0]
            case "group":
                return parts[0]
            case "comparison":
                return self._comparison(condition)
            case "among":
                return self._among(condition.operands[0], condition.operands[1:])
            case "holds":
                return self._holds(condition.operands[0], condition.operands[1])
            case "missing":
                return self._column(condition.operands[0]).is_null()
        operand = condition.operands[0]
        if self._kind(operand) != "truth":
            self._wrong(
                f"{self._told(operand)}; to be a condition by itself it must be true or false", operand
            )
        return self._column(operand)

    def _is_blank(self, column: Column) -> bool:
        """Whether nothing at all is known of a column, not even its type."""
        return self.schema.get(column.name) == pl.Null

    def _kind(self, operand: Operand) -> str:
        if isinstance(operand, Column):
            if operand.name not in self.schema:
                hint = (
                    nearest(operand.name[:SHOWN], self.schema)
                    if self.schema
                    else "No column is known of items."
                )
                self._wrong(f"Items have no column '{operand.name[:SHOWN]}'. {hint}", operand)
            return kind_of(self.schema[operand.name])
        if isinstance(operand.value, bool):
            return "truth"
        return "text" if isinstance(operand.value, str) else "number"

    def _told(self, operand: Operand) -> str:
        kind = self._kind(operand)
        if isinstance(operand, Value):
            value = operand.value[:SHOWN] if isinstance(operand.value, str) else operand.value
            return f"{value!r} is a {kind} value"
        if kind == "nothing":
            return f"'{operand.name}' holds {self.schema[operand.name]}, which no condition reads"
        plain = {"truth": "true or false", "number": "numbers", "text": "texts", "time": "moments"}
        listed, _, inner = kind.rpartition(" of ")
        return f"'{operand.name}' holds {'lists of ' if listed else ''}{plain[inner]}"

    def _wrong(self, message: str, operand: Operand) -> NoReturn:
        raise ConfigError(pointed(f"A filter must compare like with like. {message}:", self.text, operand.at))

    def _column(self, operand: Operand) -> pl.Expr:
        """The column with NaN made null, and with types that differ only in storage made one."""
        assert isinstance(operand, Column)
        kind, dtype = self._kind(operand), self.schema[operand.name]
        # A name such as ^a.*$ would be taken for a pattern over all columns.
        column = pl.col([operand.name])
        if kind == "number":
            column = column.cast(pl.Float64) if dtype.is_decimal() else column
            return column.fill_nan(None) if dtype.is_float() else column
        if kind == "text":
            return column.cast(pl.String)
        if kind == "time":
            if isinstance(dtype, pl.Datetime) and dtype.time_zone:
                return column.dt.convert_time_zone("UTC").cast(TIME_DTYPE)
            return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        if isinstance(dtype, pl.Array):
            column = column.arr.to_list()
        return column.cast(pl.List(pl.String)) if kind == "list of text" else column

    def _operand(self, operand: Operand, beside: Operand) -> pl.Expr:
        """One side of a comparison; text beside a moment is read as one."""
        if isinstance(operand, Column):
            return self._column(operand)
        if self._kind(beside) == "time" and isinstance(operand.value, str):
            try:
                moment = datetime.fromisoformat(operand.value.strip())
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                return pl.lit(moment.astimezone(UTC), dtype=TIME_DTYPE)
            except (ValueError, OverflowError):
                self._wrong(
                    f"'{operand.value[:SHOWN]}' is no moment; write 2026-01-31 or 2026-01-31T08:00Z", operand
                )
        return pl.lit(operand.value)

    def _comparison(self, condition: Condition) -> pl.Expr:
        left, right = condition.operands
        kinds, operator = (self._kind(left), self._kind(right)), condition.operator
        if operator == "contains" and kinds[0].startswith("list of "):
            return self._holds(right, left)
        for operand, kind in zip(condition.operands, kinds, strict=True):
            if kind.startswith("list of "):
                name = operand.name if isinstance(operand, Column) else ""
                self._wrong(f"{self._told(operand)}; write 'x' in {name}", operand)
            if kind == "nothing" or (operator in WORDED and kind != "text"):
                self._wrong(f"{self._told(operand)}; '{operator}' cannot take it", operand)
        dated = "time" in kinds and any(
            isinstance(o, Value) and isinstance(o.value, str) for o in condition.operands
        )
        if kinds[0] != kinds[1] and not dated:
            self._wrong(f"{self._told(left)}, but {self._told(right)}", right)
        if kinds[0] == "truth" and operator not in ("==", "!="):
            self._wrong(f"{self._told(left)}; compare it with == or !=", left)
        return COMPARE[operator](self._operand(left, right), self._operand(right, left))

    def _among(self, operand: Operand, values: Sequence[Operand]) -> pl.Expr:
        """Whether the operand is one of the values; of a list, whether any of its entries is."""
        kind = self._kind(operand).removeprefix("list of ")
        for value in values:
            if self._kind(value) != kind and not (kind == "time" and self._kind(value) == "text"):
                self._wrong(f"{self._told(operand)}, but {self._told(value)}", value)
        column = self._operand(operand, values[0])
        if kind == "time":
            return pl.any_horizontal([column == self._operand(value, operand) for value in values])
        plain = [value.value for value in values if isinstance(value, Value)]
        if kind == "number":
            # Whole numbers beyond 2**53 would tie as floats.
            if isinstance(operand, Column) and self.schema[operand.name].is_integer():
                whole = [int(v) for v in plain if float(v).is_integer() and -(2**63) <= int(v) < 2**63]
                return column.cast(pl.Int64, strict=False).is_in(pl.Series(whole, dtype=pl.Int64).implode())
            plain = [float(value) for value in plain]
            if self._kind(operand) == "number":
                return column.cast(pl.Float64).is_in(plain)
            column = column.cast(pl.List(pl.Float64))
        if self._kind(operand).startswith("list of "):
            # `any` of an empty list is false; a missing list stays missing.
            found = column.list.eval(pl.element().is_in(plain).any()).list.first().fill_null(False)
            return pl.when(column.is_not_null()).then(found)
        return column.is_in(plain)

    def _holds(self, value: Operand, column: Operand) -> pl.Expr:
        kind = self._kind(column)
        if not kind.startswith("list of ") or not isinstance(column, Column):
            self._wrong(
                f"{self._told(column)}; only a list can hold a value, so write == or contains", column
            )
        if self._kind(value) != kind.removeprefix("list of "):
            self._wrong(f"{self._told(column)}, but {self._told(value)}", value)
        return self._column(column).list.contains(self._operand(value, column))
