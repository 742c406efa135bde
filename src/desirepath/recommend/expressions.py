# SPDX-License-Identifier: Apache-2.0
"""Conditions on what is known of items, such as `price < 20 and 'drama' in genres`, as Polars expressions.

They are parsed, never evaluated as code. It knows the names and types of columns; `attributes` brings
the table and keeps the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NoReturn

import polars as pl
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from desirepath.errors import ConfigError, nearest
from desirepath.schema import TIME_DTYPE

MAX_LENGTH = 10_000
"""Characters of an expression."""
MAX_DEPTH = 40
"""Conditions within conditions: parentheses, `not`, and turns between `and` and `or`."""
MAX_CONDITIONS = 500
"""Comparisons in one expression."""
SHOWN = 60
"""Characters of an expression that an error shows."""

GRAMMAR = r"""
    ?start: either
    ?either: both | both (_OR both)+ -> any_of
    ?both: negated | negated (_AND negated)+ -> all_of
    ?negated: condition | _NOT negated -> negation
    ?condition: _OPEN either ")" -> group
        | operand OPERATOR operand -> comparison
        | operand _IN column -> holds
        | operand _NOT _IN column -> lacks
        | operand _IN _OPEN value ("," value)* ","? ")" -> among
        | operand _NOT _IN _OPEN value ("," value)* ","? ")" -> outside
        | operand WORDED operand -> comparison
        | column _IS _MISSING -> missing
        | column _IS _NOT _MISSING -> known
        | column -> truth
    ?operand: column | value
    column: NAME | QUOTED_NAME
    ?value: NUMBER -> number | TEXT -> text | TRUE -> true | FALSE -> false

    _OPEN: "("
    OPERATOR: "<=" | ">=" | "!=" | "<>" | "==" | "=" | "<" | ">"
    WORDED.3: /(contains|starts\s+with|ends\s+with)\b/i
    _OR.2: /or\b/i
    _AND.2: /and\b/i
    _NOT.2: /not\b/i
    _IN.2: /in\b/i
    _IS.2: /is\b/i
    _MISSING.2: /(missing|null)\b/i
    TRUE.2: /true\b/i
    FALSE.2: /false\b/i
    NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?(?![\w.])/
    TEXT: /'(?:[^']|'')*'/ | /"(?:[^"]|"")*"/
    NAME: /[^\W\d]\w*(\.\w+)*/
    QUOTED_NAME: /`[^`]+`/
    %ignore /\s+/
"""

Kinds = Mapping[str, pl.DataType]


@dataclass(frozen=True, slots=True)
class Column:
    """A column named at a place of the text."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Value:
    """A number, a text or a truth value written at a place of the text."""

    value: float | int | str | bool
    at: int


Operand = Column | Value


@dataclass(frozen=True, slots=True)
class Condition:
    """A part of an expression that holds, does not hold, or cannot be told."""

    form: str
    """any_of, all_of, negation, comparison, among, holds, missing or truth."""
    parts: tuple[Condition, ...] = ()
    operands: tuple[Operand, ...] = ()
    operator: str = ""
    at: int = 0
    depth: int = 1
    n_conditions: int = 1


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed condition on items; `compile` makes it a Polars expression over given columns.

    A comparison with a missing value (null or NaN) cannot be told, nor can its negation: the item passes
    only if the rest of the expression settles it, so `not brand == 'x'` keeps items whose brand is known
    and another. `brand is missing` asks for the others. An empty list is known to hold nothing.
    """

    text: str
    root: Condition

    def columns(self) -> tuple[str, ...]:
        """The columns that it names, in order of appearance."""
        found: dict[str, None] = {}
        _collect(self.root, found)
        return tuple(found)

    def compile(self, schema: Kinds) -> pl.Expr:
        """True, false or null for each row of a table with these columns.

        Raises:
            ConfigError: a column is not known or holds nothing that can be compared so; the message
                shows the place.
        """
        return _Compiler(self.text, schema).condition(self.root)


@lru_cache(maxsize=1024)
def parse(text: str) -> Expression:
    """The expression that `text` spells.

    >>> parse("price < 20 and category in ('a', 'b')").columns()
    ('price', 'category')
    >>> parse("price < < 20")
    Traceback (most recent call last):
    desirepath.errors.ConfigError: A filter must be a condition on items. After 8 characters, at '<',
    a column or a value must stand:
      price < < 20
              ^

    Raises:
        ConfigError: it is no expression, or too long or too deep; the message shows the place.
    """
    if len(text) > MAX_LENGTH:
        raise ConfigError(
            f"A filter must have at most {MAX_LENGTH:,} characters; it has {len(text):,}. "
            "Give long lists of items as an allow-list or a block-list instead."
        )
    if not text.strip():
        raise ConfigError("A filter must be a condition on items, such as price < 20; it is empty.")
    try:
        root: Any = _parser().parse(text)
    except UnexpectedInput as error:
        _refuse(text, error)
    except _Wrong as error:
        raise ConfigError(_pointed(str(error), text, error.at)) from None
    return Expression(text, root)


class _Wrong(Exception):
    """What is wrong with the expression at a place; `parse` adds the text."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


@lru_cache(maxsize=1)
def _parser() -> Lark:
    """An LALR parser: it keeps its own stack, so that no depth of nesting can exhaust Python's."""
    return Lark(GRAMMAR, parser="lalr", transformer=_Reader(), maybe_placeholders=False)


def _pointed(message: str, text: str, at: int) -> str:
    """The message, the part of the text around the place, and a mark under the place."""
    first = max(0, min(at - SHOWN // 2, len(text) - SHOWN))
    part = "".join(" " if letter.isspace() else letter for letter in text[first : first + SHOWN])
    before, after = "..." if first else "", "..." if first + SHOWN < len(text) else ""
    return f"{message}\n  {before}{part}{after}\n  {' ' * (len(before) + at - first)}^"


EXPECTED = {
    "NAME": "a column",
    "QUOTED_NAME": "a column",
    "NUMBER": "a value",
    "TEXT": "a value",
    "TRUE": "a value",
    "FALSE": "a value",
    "OPERATOR": "a comparison such as <, == or in",
    "WORDED": "a comparison such as <, == or in",
    "_IN": "a comparison such as <, == or in",
    "_AND": "'and' or 'or'",
    "_OR": "'and' or 'or'",
    "_OPEN": "'('",
    "RPAR": "')'",
    "COMMA": "','",
}
"""What a person calls the words of the grammar; the others are never worth naming."""


def _refuse(text: str, error: UnexpectedInput) -> NoReturn:
    expected: set[str] = set()
    at, found = len(text), "its end"
    if isinstance(error, UnexpectedToken):
        expected = set(error.expected)
        if error.token.type != "$END":
            at, found = int(error.token.start_pos or 0), f"'{str(error.token)[:SHOWN]}'"
    elif isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
        at, found = int(error.pos_in_stream or 0), f"'{text[error.pos_in_stream or 0]}'"
    words = list(dict.fromkeys(EXPECTED[word] for word in EXPECTED if word in expected))
    wanted = " or ".join(words[:3]) if words else "nothing more"
    raise ConfigError(
        _pointed(
            f"A filter must be a condition on items. After {at} characters, at {found}, {wanted} must stand:",
            text,
            at,
        )
    ) from None


@v_args(inline=True)
class _Reader(Transformer[Token, Condition]):
    """Builds conditions while the text is parsed, from the inside out."""

    def column(self, name: Token) -> Column:
        return Column(str(name).strip("`"), int(name.start_pos or 0))

    def number(self, token: Token) -> Value:
        # Beyond 64 bits a whole number is compared as a float, as Polars' columns hold none.
        whole = token.lstrip("+-").isdigit() and len(token) <= 20 and abs(int(token)) < 2**63
        return Value(int(token) if whole else float(token), int(token.start_pos or 0))

    def text(self, token: Token) -> Value:
        quote = token[0]
        return Value(str(token[1:-1]).replace(quote * 2, quote), int(token.start_pos or 0))

    def true(self, token: Token) -> Value:
        return Value(True, int(token.start_pos or 0))

    def false(self, token: Token) -> Value:
        return Value(False, int(token.start_pos or 0))

    def any_of(self, *parts: Condition) -> Condition:
        return _over("any_of", parts)

    def all_of(self, *parts: Condition) -> Condition:
        return _over("all_of", parts)

    def negation(self, part: Condition) -> Condition:
        return _over("negation", (part,))

    def group(self, part: Condition) -> Condition:
        return _over("group", (part,))

    def comparison(self, left: Operand, operator: Token, right: Operand) -> Condition:
        word = " ".join(str(operator).lower().split())
        word = {"=": "==", "<>": "!="}.get(word, word)
        return Condition("comparison", operands=(left, right), operator=word, at=int(operator.start_pos or 0))

    def holds(self, value: Operand, column: Column) -> Condition:
        return Condition("holds", operands=(value, column), at=column.at)

    def lacks(self, value: Operand, column: Column) -> Condition:
        return _over("negation", (self.holds(value, column),))

    def among(self, operand: Operand, *values: Value) -> Condition:
        return Condition("among", operands=(operand, *values), at=operand.at)

    def outside(self, operand: Operand, *values: Value) -> Condition:
        return _over("negation", (self.among(operand, *values),))

    def missing(self, column: Column) -> Condition:
        return Condition("missing", operands=(column,), at=column.at)

    def known(self, column: Column) -> Condition:
        return _over("negation", (self.missing(column),))

    def truth(self, column: Column) -> Condition:
        return Condition("truth", operands=(column,), at=column.at)


def _over(form: str, parts: tuple[Condition, ...]) -> Condition:
    depth = 1 + max(part.depth for part in parts)
    n_conditions = sum(part.n_conditions for part in parts)
    if depth > MAX_DEPTH:
        raise _Wrong(
            f"A filter must have at most {MAX_DEPTH} conditions one within another. Write it flatter:",
            parts[0].at,
        )
    if n_conditions > MAX_CONDITIONS:
        raise _Wrong(
            f"A filter must have at most {MAX_CONDITIONS} comparisons; this has more. Use `in (...)`:",
            parts[-1].at,
        )
    return Condition(form, parts=parts, at=parts[0].at, depth=depth, n_conditions=n_conditions)


def _collect(condition: Condition, found: dict[str, None]) -> None:
    for part in condition.parts:
        _collect(part, found)
    for operand in condition.operands:
        if isinstance(operand, Column):
            found[operand.name] = None


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


class _Compiler:
    """Turns conditions into Polars expressions over one table's columns."""

    def __init__(self, text: str, schema: Kinds) -> None:
        self.text, self.schema = text, schema

    def condition(self, condition: Condition) -> pl.Expr:
        parts = [self.condition(part) for part in condition.parts]
        blank = [o.name for o in condition.operands if isinstance(o, Column) and self.is_blank(o)]
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
                return self.comparison(condition)
            case "among":
                return self.among(condition.operands[0], condition.operands[1:])
            case "holds":
                return self.holds(condition.operands[0], condition.operands[1])
            case "missing":
                return self.column(condition.operands[0]).is_null()
        operand = condition.operands[0]
        if self.kind(operand) != "truth":
            self.wrong(f"{self.told(operand)}; to be a condition by itself it must be true or false", operand)
        return self.column(operand)

    def is_blank(self, column: Column) -> bool:
        """Whether nothing at all is known of a column, not even its type."""
        return self.schema.get(column.name) == pl.Null

    def kind(self, operand: Operand) -> str:
        if isinstance(operand, Column):
            if operand.name not in self.schema:
                hint = nearest(operand.name, self.schema) if self.schema else "No column is known of items."
                self.wrong(f"Items have no column '{operand.name}'. {hint}", operand)
            return kind_of(self.schema[operand.name])
        if isinstance(operand.value, bool):
            return "truth"
        return "text" if isinstance(operand.value, str) else "number"

    def told(self, operand: Operand) -> str:
        kind = self.kind(operand)
        if isinstance(operand, Value):
            return f"{operand.value!r} is a {kind} value"
        if kind == "nothing":
            return f"'{operand.name}' holds {self.schema[operand.name]}, which no condition reads"
        plain = {"truth": "true or false", "number": "numbers", "text": "texts", "time": "moments"}
        listed, _, inner = kind.rpartition(" of ")
        return f"'{operand.name}' holds {'lists of ' if listed else ''}{plain[inner]}"

    def wrong(self, message: str, operand: Operand) -> NoReturn:
        raise ConfigError(
            _pointed(f"A filter must compare like with like. {message}:", self.text, operand.at)
        )

    def column(self, operand: Operand) -> pl.Expr:
        """The column with NaN made null, and with types that differ only in storage made one."""
        assert isinstance(operand, Column)
        kind, dtype = self.kind(operand), self.schema[operand.name]
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

    def operand(self, operand: Operand, beside: Operand) -> pl.Expr:
        """One side of a comparison; text beside a moment is read as one."""
        if isinstance(operand, Column):
            return self.column(operand)
        if self.kind(beside) == "time" and isinstance(operand.value, str):
            try:
                moment = datetime.fromisoformat(operand.value.strip())
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                return pl.lit(moment.astimezone(UTC), dtype=TIME_DTYPE)
            except (ValueError, OverflowError):
                self.wrong(f"'{operand.value}' is no moment; write 2026-01-31 or 2026-01-31T08:00Z", operand)
        return pl.lit(operand.value)

    def comparison(self, condition: Condition) -> pl.Expr:
        left, right = condition.operands
        kinds, operator = (self.kind(left), self.kind(right)), condition.operator
        if operator == "contains" and kinds[0].startswith("list of "):
            return self.holds(right, left)
        for operand, kind in zip(condition.operands, kinds, strict=True):
            if kind.startswith("list of "):
                name = operand.name if isinstance(operand, Column) else ""
                self.wrong(f"{self.told(operand)}; write 'x' in {name}", operand)
            if kind == "nothing" or (operator in WORDED and kind != "text"):
                self.wrong(f"{self.told(operand)}; '{operator}' cannot take it", operand)
        dated = "time" in kinds and any(
            isinstance(o, Value) and isinstance(o.value, str) for o in condition.operands
        )
        if kinds[0] != kinds[1] and not dated:
            self.wrong(f"{self.told(left)}, but {self.told(right)}", right)
        if kinds[0] == "truth" and operator not in ("==", "!="):
            self.wrong(f"{self.told(left)}; compare it with == or !=", left)
        return COMPARE[operator](self.operand(left, right), self.operand(right, left))

    def among(self, operand: Operand, values: Sequence[Operand]) -> pl.Expr:
        """Whether the operand is one of the values; of a list, whether any of its entries is."""
        kind = self.kind(operand).removeprefix("list of ")
        for value in values:
            if self.kind(value) != kind and not (kind == "time" and self.kind(value) == "text"):
                self.wrong(f"{self.told(operand)}, but {self.told(value)}", value)
        column = self.operand(operand, values[0])
        if kind == "time":
            return pl.any_horizontal([column == self.operand(value, operand) for value in values])
        plain = [value.value for value in values if isinstance(value, Value)]
        if kind == "number":
            # Whole numbers beyond 2**53 would tie as floats.
            if isinstance(operand, Column) and self.schema[operand.name].is_integer():
                whole = [int(v) for v in plain if float(v).is_integer() and -(2**63) <= int(v) < 2**63]
                return column.cast(pl.Int64, strict=False).is_in(pl.Series(whole, dtype=pl.Int64).implode())
            plain = [float(value) for value in plain]
            if self.kind(operand) == "number":
                return column.cast(pl.Float64).is_in(plain)
            column = column.cast(pl.List(pl.Float64))
        if self.kind(operand).startswith("list of "):
            # `any` of an empty list is false; a missing list stays missing.
            found = column.list.eval(pl.element().is_in(plain).any()).list.first().fill_null(False)
            return pl.when(column.is_not_null()).then(found)
        return column.is_in(plain)

    def holds(self, value: Operand, column: Operand) -> pl.Expr:
        kind = self.kind(column)
        if not kind.startswith("list of ") or not isinstance(column, Column):
            self.wrong(f"{self.told(column)}; only a list can hold a value, so write == or contains", column)
        if self.kind(value) != kind.removeprefix("list of "):
            self.wrong(f"{self.told(column)}, but {self.told(value)}", value)
        return self.column(column).list.contains(self.operand(value, column))
