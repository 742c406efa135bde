# SPDX-License-Identifier: Apache-2.0
"""The parts of a condition on items, as they were read, and where in the text each stands.

It knows neither how they are spelled nor what they are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

SHOWN = 60
"""Characters of an expression that an error shows."""


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


def pointed(message: str, text: str, at: int) -> str:
    """The message, the part of the text around the place, and a mark under the place."""
    first = max(0, min(at - SHOWN // 2, len(text) - SHOWN))
    part = "".join(" " if letter.isspace() else letter for letter in text[first : first + SHOWN])
    before, after = "..." if first else "", "..." if first + SHOWN < len(text) else ""
    return f"{message}\n  {before}{part}{after}\n  {' ' * (len(before) + at - first)}^"
