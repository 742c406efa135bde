# SPDX-License-Identifier: Apache-2.0
"""What a flow is asked and what it answers; light, so that `--help` costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console, RenderableType

from desirepath.events.raw import ColumnChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The files of a log, and what the caller says of them."""

    sources: Sequence[str]
    """Files, folders, globs or database URLs of events."""
    reading: ColumnChoice = field(default_factory=ColumnChoice)
    items: str | None = None
    """A table of the items."""
    users: str | None = None
    """A table of the users."""
    rejects: Path | None = None
    """Where to write the rows that were not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """For whom to recommend; nobody named means everybody."""

    user: str | None = None
    history: list[str] | None = None
    """Item ids, oldest first."""
    similar_item: str | None = None
    similar_user: str | None = None
    k: int | None = None
    exclude_seen: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What an event is called, and which sequences are looked at; what is None is chosen by the log."""

    by: Sequence[str] = ()
    """"item", "action", a column of the items' table or of the context; several are joined."""
    per: Literal["user", "session"] | None = None
    session_gap_s: float = 1800.0
    collapse_repeats: bool = False
    simultaneous: bool = False
    actions: Sequence[str] = ()
    """Only events with these actions; empty for all."""
    start: Sequence[str] = ()
    """Only sequences whose first event is one of these; empty for all."""
    end: Sequence[str] = ()
    """Only sequences whose last event is one of these; empty for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a table goes."""

    k: int = 20
    """Rows shown on the screen."""
    to: Path | None = None
    """A .parquet, .csv or .jsonl file for the whole table."""
    plot: Path | None = None
    """An .html, .png, .svg or .pdf file for a drawing of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a flow found: plain values for machines, and the same for people."""

    plain: dict[str, Any]
    shown: list[RenderableType | Callable[[Console], None]] = field(default_factory=list)
    """Things that rich can print, or functions that print themselves on a console."""

    def print(self, console: Console) -> None:
        """Show the answer to a person."""
        for part in self.shown:
            if callable(part):
                part(console)
            else:
                console.print(part)
