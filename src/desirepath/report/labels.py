# SPDX-License-Identifier: Apache-2.0
"""Names of events as people read them: titles for item ids, words for beginnings, ends and the rest.

It knows how symbols are spelled and which titles are known. Everything it returns for a figure is escaped.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from desirepath.patterns.database import JOINT, NO_LABEL
from desirepath.patterns.found import TOGETHER
from desirepath.patterns.paths.selection import END, MORE, OTHER, START
from desirepath.report.theme import plain

WORDS = {START: "start", END: "ended", OTHER: "all others", MORE: "goes on", NO_LABEL: "without label"}
"""What stands in tables for no event of the log."""
ARROW = " → "
PLACES = frozenset({START, END, OTHER, MORE})


class Labels:
    """Names of symbols such as "42", "view:42" or "view:42 + like:42", with titles where they are known."""

    def __init__(self, titles: Mapping[str, str] | None = None) -> None:
        """Keep the titles, by item id."""
        self.titles = titles or {}

    def full(self, symbol: object) -> str:
        """The whole name, as plain text that is not escaped.

        >>> Labels({"42": "Blue shoes"}).full("view:42 + like:7"), Labels().full("<end>")
        ('view: Blue shoes + like:7', 'ended')
        """
        text = str(symbol)
        if text in WORDS or text in self.titles:
            return WORDS.get(text) or self.titles[text]
        if TOGETHER in text:
            return TOGETHER.join(self.full(part) for part in text.split(TOGETHER))
        parts = text.split(JOINT)
        if len(parts) > 1 and any(part in self.titles for part in parts):
            return ": ".join(self.titles.get(part, part) for part in parts)
        return text

    def short(self, symbol: object, limit: int = 24) -> str:
        """The name cut to `limit` characters and escaped."""
        return plain(self.full(symbol), limit)

    def path(self, symbols: Iterable[object]) -> str:
        """Names in order, joined by arrows; plain text."""
        return ARROW.join(self.full(symbol) for symbol in symbols) or "(no event)"

    def short_path(self, symbols: Sequence[object], limit: int = 48) -> str:
        """Names in order for an axis, escaped: in one or two lines of some `limit` characters.

        >>> Labels().short_path(["a long name", "another name", "c"], 20)
        'a long name →<br>another name → c'
        """
        names = [" ".join(self.full(symbol).split()) for symbol in symbols]
        if len(ARROW.join(names)) <= limit or len(names) < 2:
            return plain(self.path(symbols), limit)
        breaks = range(1, len(names))
        over = [_over(names[:k], limit) + _over(names[k:], limit) for k in breaks]
        best = min(breaks, key=lambda k: (over[k - 1], abs(2 * k - len(names))))
        lines = [_fitted(line, limit) for line in (names[:best], names[best:])]
        return f"{ARROW.rstrip()}<br>".join(lines)

    def hover(self, text: str) -> str:
        """Plain text for a hover box: escaped, in lines of some 60 characters."""
        return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(text, 60)) or " "


def _over(names: list[str], limit: int) -> int:
    return max(0, len(ARROW.join(names)) - limit)


def _fitted(names: list[str], limit: int) -> str:
    """Names joined within the limit: the longest are cut, alike, and not below 8 characters."""
    room = limit - len(ARROW) * (len(names) - 1)
    cap = max(map(len, names))
    while cap > 8 and sum(min(len(name), cap) for name in names) > room:
        cap -= 1
    return ARROW.join(plain(name, cap) for name in names)


def spelled_parts(*columns: pl.Series) -> list[str]:
    """All names in these columns of symbols (or lists of them), and the parts they are made of.

    >>> sorted(spelled_parts(pl.Series([["view:42"], ["like:7"]])))
    ['42', '7', 'like', 'like:7', 'view', 'view:42']
    """
    found: set[str] = set()
    for column in columns:
        while isinstance(column.dtype, pl.List):
            column = column.explode()
        single = column.cast(pl.String).drop_nulls().unique().str.split(TOGETHER).explode().unique()
        found |= set(single) | set(single.str.split(JOINT).explode())
    return list(found)


def duration(seconds: float | None) -> str:
    """A length of time in the unit that suits it; "" for none.

    >>> duration(0.4), duration(42), duration(150), duration(9000), duration(200_000)
    ('under 1 s', '42 s', '2.5 min', '2.5 h', '2.3 days')
    """
    if seconds is None or seconds != seconds:
        return ""
    if seconds < 1:
        return "under 1 s" if seconds > 0 else "0 s"
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size * (1 if unit != "days" else 2):
            count = seconds / size
            return f"{count:.0f} {unit}" if count >= 10 else f"{count:.1f} {unit}"
    return f"{seconds:.0f} s"
