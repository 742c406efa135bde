# SPDX-License-Identifier: Apache-2.0
"""From raw files to sequences: inspect, ingest."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
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
from desirepath.sequences.build import build_sequences, pack_events
from desirepath.workspace import Workspace, fingerprint


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
    title = "Understanding the log"
    raw = events.read_events(
        given.sources, overrides=given.reading, on_progress=lambda share: progress(title, share, "")
    )
    tables = {kind: events.read_table(path, kind=kind) for kind, path in _tables(given).items()}
    progress(title, 1.0, "")
    is_new = not to.exists()
    workspace = Workspace.create(to)
    try:
        with workspace.lock():
            log = EventLog(workspace.events)
            report = log.append(raw, settings.cleaning, rejects=given.rejects, on_progress=progress)
            if not len(log):
                raise _nothing_left(report)
            for kind, table in tables.items():
                _keep_table(table, workspace.table(kind))
            if not report.was_known or workspace.step("ingest") is None:
                _remember(workspace, raw, log)
    except TooLittleData:
        if is_new:
            shutil.rmtree(to)
        raise
    return workspace, report, raw.problems


def to_sequences(log: RawLog, cleaning: CleaningConfig | None = None) -> Sequences:
    """A raw log, cleaned and packed in memory, without a workspace; for logs that fit into it.

    Raises:
        TooLittleData: no row is left after cleaning.
    """
    kept, report = clean_events(log, cleaning)
    if not len(kept):
        raise _nothing_left(report)
    return pack_events(kept)


def open_sequences(workspace: Workspace, progress: Progress = silent) -> Sequences:
    """The packed sequences of the workspace, built anew where the log has grown since."""
    log = EventLog(workspace.events)
    made_from = fingerprint([ingest.fingerprints for ingest in log.manifest.ingests], len(log))
    if not (workspace.is_done("sequences", made_from) and workspace.sequences.exists()):
        with workspace.lock():
            build_sequences(log, workspace.sequences, on_progress=progress)
            workspace.finish("sequences", made_from)
    return Sequences.load(workspace.sequences)


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
