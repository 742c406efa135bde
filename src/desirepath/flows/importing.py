# SPDX-License-Identifier: Apache-2.0
"""Another system's files into a workspace: events through the same intake as any log, tables beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

from desirepath.errors import DataError
from desirepath.events.cleaning import RULES
from desirepath.events.foreign import read_foreign
from desirepath.events.log import EventLog
from desirepath.events.manifest import IngestReport
from desirepath.flows.ingestion import keep_log
from desirepath.flows.progress import Progress, silent
from desirepath.flows.settings import load_settings, remember
from desirepath.flows.words import Answer
from desirepath.schema import ITEM, USER
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace

KEYS = {"items": ITEM, "users": USER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """The files to import, and how."""

    sources: Sequence[str]
    """Files, folders or globs."""
    format: str | None = None
    """A key of FORMATS; None tells it by the content."""
    partial: bool = False
    """Whether a damaged dump gives what is whole before the damage."""
    rejects: Path | None = None
    """Where to write the rows that were not kept."""


def import_from(given: Foreign, to: Path, words: Sequence[str] = (), progress: Progress = silent) -> Answer:
    """Read another system's files, keep their events, items, users and shown lists, and build the sequences.

    Importing the same files again adds nothing; a later export of the same system adds what is new.

    Raises:
        DataError: a file has another format, or is damaged and `partial` was not asked for.
    """
    settings = load_settings(to, words)
    title = "Reading the export"
    found = read_foreign(
        given.sources,
        given.format,
        partial=given.partial,
        on_progress=lambda share: progress(title, share, ""),
    )
    progress(title, 1.0, "")
    tables = {
        kind: table for kind, table in (("items", found.items), ("users", found.users)) if table is not None
    }
    merged = {kind: _merged(table, kind, to) for kind, table in tables.items()}
    workspace, report = keep_log(found.log, merged, to, (settings.cleaning, given.rejects), progress)
    remember(workspace, words)
    lists = _keep_shown(found.shown, workspace) if found.shown is not None else 0
    unreadable = found.log.problems if found.log else {}
    plain: dict[str, Any] = dataclasses.asdict(report) | {
        "format": found.format,
        "files": list(found.files),
        "unreadable": unreadable,
        "items_known": tables["items"].height if "items" in tables else 0,
        "users_known": tables["users"].height if "users" in tables else 0,
        "lists_shown": lists,
        "damage": list(found.damage),
        "workspace": str(to),
    }
    notes = [*(found.log.understanding.notes if found.log else ()), *found.notes]
    if len(EventLog(workspace.events)):
        sequences = open_sequences(workspace, progress)
        plain |= {"events": sequences.n_events, "users": sequences.n_users, "items": sequences.n_items}
    return Answer(plain, [_table(plain, report), *_said(plain, notes, to)])


def _merged(table: pl.DataFrame, kind: str, to: Path) -> pl.DataFrame:
    """A table over the workspace's own: new rows take the place of old ones, the others stay.

    Raises: DataError when a column holds another type than it did.
    """
    place = Workspace(to).table(kind)
    if not place.exists():
        return table
    key = KEYS[kind]
    try:
        both = pl.concat([pl.read_parquet(place), table], how="diagonal_relaxed")
    except pl.exceptions.SchemaError as error:
        raise DataError(
            f"The {kind} must have columns of the same types as those in {place}; they have not ({error}). "
            f"Import into a new workspace, or remove {place} first."
        ) from error
    return both.unique(key, keep="last", maintain_order=True)


def _keep_shown(shown: pl.LazyFrame, workspace: Workspace) -> int:
    """Add lists that were shown to impressions/imported.parquet; how many lists it then has."""
    place = workspace.folder / "impressions" / "imported.parquet"
    place.parent.mkdir(exist_ok=True)
    part = place.with_name(place.name + ".part")
    known = [pl.scan_parquet(place)] if place.exists() else []
    both = pl.concat([*known, shown], how="diagonal_relaxed")
    both = both.unique(["impression_id", "position"], keep="first", maintain_order=True)
    both.sink_parquet(part)
    part.replace(place)
    counted = pl.scan_parquet(place).select(pl.col("impression_id").n_unique())
    return int(counted.collect(engine="streaming").item())


def _table(plain: dict[str, Any], report: IngestReport) -> Table:
    table = Table(title=f"Imported from {plain['format']}", title_justify="left", box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    read = report.rows_read + sum(plain["unreadable"].values())
    table.add_row(f"{read:,}", "events read")
    for reason, n in plain["unreadable"].items():
        table.add_row(f"-{n:,}", f"[dim]not readable: {reason}[/]")
    for reason, n in report.removed.items():
        table.add_row(f"-{n:,}", f"[dim]{RULES[reason]}[/]")
    table.add_row(f"[bold]{report.rows_kept:,}[/]", "[bold]events kept[/]")
    for name, words in (
        ("items_known", "items"),
        ("users_known", "users"),
        ("lists_shown", "lists that were shown"),
    ):
        if plain[name]:
            table.add_row(f"{plain[name]:,}", words)
    return table


def _said(plain: dict[str, Any], notes: Sequence[str], to: Path) -> list[str]:
    said = [f"[yellow]![/] {damage}" for damage in plain["damage"]]
    said += [f"[dim]· {note}[/]" for note in notes]
    if plain["number"] == 0 and plain["fingerprints"]:
        said.append("The workspace has these events already; none was added.")
    if plain.get("events"):
        said.append(
            f"{to} now holds {plain['events']:,} events of {plain['users']:,} users "
            f"on {plain['items']:,} items. Go on with `desirepath run --to {to}`."
        )
    return said
