# SPDX-License-Identifier: Apache-2.0
"""Shows an inspection on a terminal.

It gets everything from the `Inspection` and prints through rich; no raw value appears unless the
inspection holds one.
"""

from __future__ import annotations

import re
from dataclasses import replace

from rich.columns import Columns
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from desirepath.events.inspection import Inspection
from desirepath.events.raw import ColumnUnderstanding

BARS = "▁▂▃▄▅▆▇█"
SHOWN_ACTIONS = 8
SHOWN_COLUMNS = 40
SHOWN_FILES = 3


def render(inspection: Inspection, console: Console) -> None:
    """Print files, columns, time, size and quality of a log."""
    console.print(_files(inspection))
    console.print(_columns(inspection))
    console.print(Columns([_size(inspection), _time(inspection)], padding=(0, 1)))
    for finding in inspection.findings:
        console.print(Text("! ", style="yellow") + Text(finding))
    for note in inspection.understanding.notes:
        console.print(Text("· ", style="dim") + Text(note))
    for role in inspection.understanding.missing:
        console.print(
            Text(f"x No column fills {role}: this log cannot be used until one does.", style="bold red")
        )


def _files(inspection: Inspection) -> Text:
    files = inspection.understanding.files
    lines = []
    for file in files[:SHOWN_FILES]:
        words = [word for word in (file.format, file.dialect, file.compression, file.encoding) if word]
        lines.append(f"{file.name}  ({'; '.join(dict.fromkeys(words))}; {file.rows:,} rows)")
    if len(files) > SHOWN_FILES:
        lines.append(f"... and {len(files) - SHOWN_FILES:,} more files")
    return Text("\n".join(lines), style="dim")


def _columns(inspection: Inspection) -> Table:
    table = Table(title="Columns as understood", title_justify="left", expand=False)
    for heading in ("column", "taken for", "why", "kind", "empty", "looks like"):
        table.add_column(heading, justify="right" if heading == "empty" else "left", overflow="fold")
    columns = _folded(sorted(inspection.understanding.columns, key=lambda c: c.role is None))
    for column in columns[:SHOWN_COLUMNS]:
        share = _null_share(column, inspection)
        table.add_row(
            escape(column.source),
            f"[bold cyan]{column.role}[/]" if column.role else "[dim]kept as is[/]",
            escape(f"{column.reason}{'' if column.confidence >= 0.6 else ' (unsure)'}"),
            column.dtype,
            f"{share:.1%}" if share else "",
            escape(", ".join(dict.fromkeys(column.samples))),
        )
    if len(columns) > SHOWN_COLUMNS:
        table.caption = f"and {len(columns) - SHOWN_COLUMNS} more columns, kept as they are"
    return table


def _folded(columns: list[ColumnUnderstanding]) -> list[ColumnUnderstanding]:
    """The columns with families such as feature_0, feature_1, ... told as one."""
    families: dict[str, list[ColumnUnderstanding]] = {}
    for column in columns:
        family = re.sub(r"\d+$", "#", column.source) if column.role is None else ""
        families.setdefault(family if family.endswith("#") else f"{column.source} {column.role}", []).append(
            column
        )
    told: list[ColumnUnderstanding] = []
    for members in families.values():
        if len(members) < 4:
            told += members
        else:
            reason = f"{members[0].reason}, like {len(members) - 1} more up to {members[-1].source}"
            told.append(replace(members[0], reason=reason))
    return told


def _null_share(column: ColumnUnderstanding, inspection: Inspection) -> float:
    """The exact share where it was measured, else that of the sample."""
    return inspection.null_shares.get(column.role or column.source, column.null_share)


def _size(inspection: Inspection) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(justify="right")
    median, most = inspection.events_per_user
    for name, value in (
        ("events", f"{inspection.rows:,}"),
        ("users", f"{inspection.users:,}"),
        ("items", f"{inspection.items:,}"),
        ("events a user", f"median {median:,.0f}, most {most:,}"),
        ("repeated (user, item, action)", f"{inspection.quality.repeated:,}"),
        ("exact duplicates", f"{inspection.quality.exact_duplicates:,}"),
    ):
        grid.add_row(name, value)
    for name, n in list(inspection.actions.items())[:SHOWN_ACTIONS]:
        grid.add_row(Text(f"  {name}", style="cyan"), f"{n:,}  {n / max(inspection.rows, 1):6.1%}")
    if inspection.n_actions > SHOWN_ACTIONS:
        grid.add_row(Text(f"  and {inspection.n_actions - SHOWN_ACTIONS:,} more actions", style="dim"), "")
    return Panel(grid, title="Size", title_align="left")


def _time(inspection: Inspection) -> Panel:
    time = inspection.understanding.time
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold", max_width=60)
    grid.add_row("unit", time.unit)
    grid.add_row("why", escape(time.reason))
    if time.first is not None and time.last is not None:
        if time.is_relative:
            grid.add_row("range", f"{time.last - time.first} from the first to the last")
        else:
            grid.add_row("from", f"{time.first:%Y-%m-%d %H:%M:%S} UTC")
            grid.add_row("to", f"{time.last:%Y-%m-%d %H:%M:%S} UTC")
        grid.add_row("clock shows", _grain(time.resolution_s))
    if inspection.activity:
        grid.add_row("activity", Text(sparkline(inspection.activity), style="green"))
    return Panel(grid, title="Time", title_align="left")


def _grain(seconds: float) -> str:
    names = {86_400.0: "days", 3600.0: "hours", 60.0: "minutes", 1.0: "seconds", 0.001: "milliseconds"}
    return names.get(seconds, "microseconds")


def sparkline(counts: tuple[int, ...]) -> str:
    """Counts as a line of bars.

    >>> sparkline((0, 1, 4, 8))
    ' ▁▄█'
    """
    top = max(counts)
    return (
        "".join(" " if not n else BARS[max(0, -(-n * len(BARS) // top) - 1)] for n in counts) if top else ""
    )
