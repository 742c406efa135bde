# SPDX-License-Identifier: Apache-2.0
"""From raw files to sequences: inspect, ingest."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

from desirepath import events
from desirepath.errors import TooLittleData
from desirepath.events.cleaning import RULES, CleaningConfig, unescape
from desirepath.events.log import EventLog, clean_events
from desirepath.events.manifest import IngestReport
from desirepath.events.raw import ColumnChoice, RawLog
from desirepath.flows.progress import Progress, silent
from desirepath.flows.settings import Settings, load_settings, remember
from desirepath.flows.words import Answer, Given
from desirepath.sequences import Sequences
from desirepath.sequences.build import pack_events
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace, fingerprint

NOTHING_NEW = IngestReport(number=0, names=(), fingerprints=(), rows_read=0, rows_kept=0)


def inspect(sources: Sequence[str], reading: ColumnChoice, *, samples: bool = False) -> Answer:
    """How a log is understood and how good it is; writes nothing."""
    inspection = events.inspect(sources, overrides=reading, show_samples=samples)
    return Answer(inspection.to_dict(), [partial(events.render, inspection)])


def ingest(given: Given, to: Path, words: Sequence[str] = (), progress: Progress = silent) -> Answer:
    """Read, clean and keep events, and build the sequences."""
    settings = load_settings(to, words)
    workspace, report, unreadable = take_in(given, to, settings, progress)
    remember(workspace, words)
    sequences = open_sequences(workspace, progress)
    plain = dataclasses.asdict(report) | {
        "unreadable": unreadable,
        "workspace": str(to),
        "events": sequences.n_events,
        "users": sequences.n_users,
        "items": sequences.n_items,
    }
    return Answer(plain, [_kept_table(report, unreadable), _said(report, sequences, to)])


def take_in(
    given: Given, to: Path, settings: Settings, progress: Progress
) -> tuple[Workspace, IngestReport, dict[str, int]]:
    """Add the files to the workspace's event log; a workspace made for nothing is removed again.

    Returns the workspace, what became of the rows, and how many could not even be read, by reason.
    """
    if not given.sources:
        return _as_it_is(to)
    title = "Understanding the log"
    raw = events.read_events(
        given.sources, overrides=given.reading, on_progress=lambda share: progress(title, share, "")
    )
    tables = {kind: events.read_table(path, kind=kind) for kind, path in _tables(given).items()}
    progress(title, 1.0, "")
    workspace, report = keep_log(raw, tables, to, (settings.cleaning, given.rejects), progress)
    return workspace, report, raw.problems


def keep_log(
    raw: RawLog | None,
    tables: Mapping[str, pl.DataFrame],
    to: Path,
    how: tuple[CleaningConfig, Path | None],
    progress: Progress = silent,
) -> tuple[Workspace, IngestReport]:
    """Add a raw log and tables of items and users to a workspace; one made for nothing is removed again.

    Args:
        raw: what was read; None keeps the tables only.
        tables: "items" and "users" to their tables, which take the place of earlier ones.
        to: folder of the workspace, made when there is none.
        how: the rules of cleaning, and the file for rejected rows.
        progress: told of the intake's steps.
    """
    is_new = not to.exists()
    workspace = Workspace.create(to)
    report = NOTHING_NEW
    try:
        with workspace.lock():
            if raw is not None:
                log = EventLog(workspace.events)
                report = log.append(raw, how[0], rejects=how[1], on_progress=progress)
                if not len(log):
                    raise _nothing_left(report)
            for kind, table in tables.items():
                _keep_table(table, workspace.table(kind))
            if raw is not None and (not report.was_known or workspace.step("ingest") is None):
                _remember(workspace, raw, log)
    except TooLittleData:
        if is_new:
            shutil.rmtree(to)
        raise
    return workspace, report


def _as_it_is(folder: Path) -> tuple[Workspace, IngestReport, dict[str, int]]:
    """A workspace whose log is there already, such as one that was imported."""
    workspace = Workspace.open(folder)
    if not len(EventLog(workspace.events)):
        raise TooLittleData(f"{folder} must hold events; it holds none. Name the files of a log.")
    return workspace, NOTHING_NEW, {}


def to_sequences(log: RawLog, cleaning: CleaningConfig | None = None) -> Sequences:
    """A raw log, cleaned and packed in memory, without a workspace; for logs that fit into it.

    Raises:
        TooLittleData: no row is left after cleaning.
    """
    kept, report = clean_events(log, cleaning)
    if not len(kept):
        raise _nothing_left(report)
    return pack_events(kept)


def _tables(given: Given) -> dict[Any, str]:
    return {kind: path for kind, path in (("items", given.items), ("users", given.users)) if path}


def _keep_table(table: pl.DataFrame, place: Path) -> None:
    part = place.with_name(place.name + ".part")
    texts = [name for name in table.columns[1:] if table.schema[name] == pl.String]
    table.with_columns(unescape(table[name]).alias(name) for name in texts).write_parquet(part)
    part.replace(place)


def _remember(workspace: Workspace, raw: RawLog, log: EventLog) -> None:
    removed: dict[str, int] = dict(raw.problems)
    for ingest in log.manifest.ingests:
        for reason, n in ingest.removed.items():
            removed[reason] = removed.get(reason, 0) + n
    last = log.manifest.ingests[-1]
    workspace.finish(
        "ingest",
        fingerprint(last.fingerprints, len(log)),
        understanding=raw.understanding.to_dict(),
        removed={RULES.get(reason, reason): n for reason, n in removed.items()},
        rows_read=sum(ingest.rows_read for ingest in log.manifest.ingests),
        rows_kept=len(log),
        has_time=not raw.understanding.ordered_by_file,
    )


def _nothing_left(report: IngestReport) -> TooLittleData:
    reasons = ", ".join(f"{n:,} {RULES[reason]}" for reason, n in report.removed.items())
    return TooLittleData(
        f"At least one event must remain after cleaning; of {report.rows_read} rows none does"
        f"{': ' if reasons else ''}{reasons}. Look at them with --rejects FILE, or relax [cleaning]."
    )


def _kept_table(report: IngestReport, unreadable: dict[str, int]) -> Table:
    table = Table(title="Events", title_justify="left", box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_row(f"{report.rows_read + sum(unreadable.values()):,}", "rows")
    for reason, n in unreadable.items():
        table.add_row(f"-{n:,}", f"[dim]not readable: {reason}[/]")
    for reason, n in report.removed.items():
        table.add_row(f"-{n:,}", f"[dim]{RULES[reason]}[/]")
    table.add_row(f"[bold]{report.rows_kept:,}[/]", "[bold]events kept[/]")
    return table


def _said(report: IngestReport, sequences: Sequences, to: Path) -> str:
    if report.was_known:
        return f"{to} has these files already; nothing was added."
    return (
        f"{to} now holds {sequences.n_events:,} events of {sequences.n_users:,} users "
        f"on {sequences.n_items:,} items."
    )
