# SPDX-License-Identifier: Apache-2.0
"""Tables on their way out: to the screen, to a file, to a drawing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

from desirepath.errors import ConfigError
from desirepath.flows.words import Answer, Output

ENDINGS = (".parquet", ".csv", ".jsonl")
ARROW = " > "
WIDEST = 44
"""Characters of a cell beyond which it is shortened on the screen."""
DURATIONS = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One table that a flow found, and what must be said beside it."""

    table: pl.DataFrame
    title: str
    notes: Sequence[str] = ()
    columns: Sequence[str] = ()
    """Those shown on the screen; empty for all. Files hold all of them."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Names to show in place of ids on the screen."""
    figure: Callable[[], Any] | None = None
    """Draws it, where a drawing says more than the table."""


def answer(found: Found, output: Output) -> Answer:
    """The table to its file and drawing, and its first rows to the screen."""
    notes = list(found.notes)
    plain: dict[str, Any] = {"title": found.title, "rows": len(found.table), "notes": list(found.notes)}
    if output.to is not None:
        write_table(found.table.lazy(), output.to)
        plain["path"] = str(output.to)
        notes.append(f"The whole table  {output.to}")
    if output.plot is not None:
        if found.figure is None:
            raise ConfigError("This table has no drawing. Leave out --plot.")
        from desirepath.report import write_figure

        plain["plot"] = str(write_figure(found.figure(), output.plot))
        notes.append(f"The drawing      {output.plot}")
    first = found.table.head(output.k)
    plain["table"] = first.to_dicts()
    shown = first.select(found.columns) if found.columns else first
    if len(found.table) > output.k:
        notes.append(f"{len(found.table) - output.k:,} more rows; -k shows more, --to FILE keeps all.")
    return Answer(plain, [screen_table(shown, found.title, found.titles), *notes])


def write_table(table: pl.LazyFrame, to: Path) -> Path:
    """Write a table whole or not at all; lists become text joined by " > " in CSV.

    Raises:
        ConfigError: the file's ending is none of .parquet, .csv, .jsonl.
    """
    check_ending(to)
    part = to.with_name(to.name + ".part")
    if to.suffix == ".parquet":
        table.sink_parquet(part)
    elif to.suffix == ".csv":
        schema = table.collect_schema()
        lists = [name for name, kind in schema.items() if isinstance(kind, pl.List)]
        table.with_columns(
            pl.col(name).cast(pl.List(pl.String)).list.join(ARROW, ignore_nulls=True) for name in lists
        ).sink_csv(part)
    else:
        table.sink_ndjson(part)
    part.replace(to)
    return to


def drawn(kind: str, table: Any, ground: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """The figure that the report draws of such a table, or of segments; `ground` is what it rests on."""
    from desirepath import report

    if ground is not None:
        more["ground"] = report.Ground(**ground)
    return getattr(report, f"{kind}_figure")(table, **more)


def check_ending(to: Path) -> None:
    """Raise unless the file is of a kind that can be written.

    Raises:
        ConfigError: its ending is another.
    """
    if to.suffix not in ENDINGS:
        raise ConfigError(f"The file must end in {', '.join(ENDINGS)}; got '{to.name}'.")


def screen_table(table: pl.DataFrame, title: str, titles: Mapping[str, str] | None = None) -> Table:
    """A table for the screen: shares in per cent, seconds as durations, long texts shortened."""
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name, kind in table.schema.items():
        number = kind.is_numeric()
        drawn.add_column(name.removesuffix("_s") if number else name, justify="right" if number else "left")
    for row in table.iter_rows(named=True):
        drawn.add_row(*(_cell(name, value, titles or {}) for name, value in row.items()))
    return drawn


def _cell(name: str, value: Any, titles: Mapping[str, str]) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return _short(ARROW.join(_short(titles.get(str(word), str(word)), 28) for word in value), 96)
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return _number(name, value)
    if isinstance(value, int):
        return f"{value:,}"
    return _short(titles.get(str(value), str(value)), WIDEST)


def _number(name: str, value: float) -> str:
    if name.endswith("_s"):
        return duration(value)
    if any(word in name for word in ("share", "probability", "confidence")) and abs(value) <= 1:
        return f"{value:.1%}"
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.1e}"
    return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(42.0), duration(5400), duration(200_000)
    ('42 s', '1.5 h', '2.3 d')
    """
    for unit, size in DURATIONS:
        if abs(seconds) >= size:
            return f"{seconds / size:.2g} {unit}" if seconds / size < 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
