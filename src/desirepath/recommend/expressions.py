# SPDX-License-Identifier: Apache-2.0
"""Conditions on what is known of items, such as `price < 20 and 'drama' in genres`, read from text.

They are parsed, never evaluated as code. `comparison` makes Polars expressions of them; `attributes` brings
the table and keeps the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import polars as pl
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from desirepath.errors import ConfigError
from desirepath.recommend.comparison import Compiler, Kinds
from desirepath.recommend.conditions import SHOWN, Column, Condition, Operand, Value, pointed

MAX_LENGTH = 10_000
"""Characters of an expression."""
MAX_DEPTH = 40
"""Conditions within conditions: parentheses, `not`, and turns between `and` and `or`."""
MAX_CONDITIONS = 500
"""Comparisons in one expression."""
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
        return Compiler(self.text, schema).condition(self.root)


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
        raise ConfigError(pointed(str(error), text, error.at)) from None
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
        pointed(
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
