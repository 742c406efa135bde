# SPDX-License-Identifier: Apache-2.0
"""Data quality: how the raw files were understood, what was left out and why, and how events lie in time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from nicegui import ui

from desirepath.console import charts
from desirepath.console.controls import Text, aside, box, meter, waiting
from desirepath.console.frame import Visit, card, empty, facts
from desirepath.console.tables import Column, table
from desirepath.console.words import percent
from desirepath.events.cleaning import RULES
from desirepath.sequences import Sequences

CODES = {sentence: code for code, sentence in RULES.items()}
"""What the cleaner calls a reason, by the sentence that it leaves behind."""
COLUMNS = ("source", "role", "reason", "confidence", "dtype", "null_share", "n_unique")


async def quality(visit: Visit) -> None:
    """Build the page from what ingestion left behind."""
    words, project = visit.words, visit.desk.project
    place = waiting()
    await ui.context.client.connected()
    step = await aside(project.workspace.step, "ingest")
    labels, counts, actions = await aside(_in_time, visit.desk.taste.sequences)
    place.clear()
    with place:
        if step is None:
            with card(words("quality.none")):
                empty(words("quality.none_note"), f"desirepath ingest FILE --to {project.workspace.folder}")
        else:
            read, kept = int(step["rows_read"]), int(step["rows_kept"])
            facts(
                [
                    (f"{read:,}", words("quality.read")),
                    (f"{kept:,}", words("quality.kept")),
                    (percent(kept / read) if read else "–", words("quality.share")),
                    (f"{read - kept:,}", words("quality.removed")),
                ]
            )
        with box("dp-grid"):
            if step is not None:
                _read(visit, step)
            with card(words("quality.events"), words("quality.events_note"), "dp-two"):
                unit = words("users.events")
                charts.draw(charts.stacked(labels, {unit: counts}, unit), 250)
            with card(words("quality.actions"), words("quality.actions_note"), "dp-third"):
                names = [words.action(name) for name, _ in actions]
                charts.draw(charts.bars(names, [n for _, n in actions], words("users.events")), 250)


def _read(visit: Visit, step: dict[str, Any]) -> None:
    words = visit.words
    told = step["understanding"]
    with card(words("quality.rejected"), words("quality.rejected_note"), "dp-half"):
        removed = {reason: n for reason, n in step["removed"].items() if n}
        if removed:
            order = sorted(removed, key=lambda reason: -removed[reason])
            with box("dp-bars", "ul"):
                for reason in order:
                    name = words.get(f"removed.{CODES.get(reason, reason)}", reason)
                    counted = f"{removed[reason]:,} {words('quality.rows')}"
                    meter(name, counted, removed[reason] / removed[order[0]])
        else:
            empty(words("quality.rejected_none"))
    with card(words("quality.files"), classes="dp-half dp-second"):
        with box("dp-plain", "table"), box("", "tbody"):
            for file in told["files"]:
                with box("", "tr"):
                    Text(file["name"].rsplit("/", 1)[-1], tag="th")
                    kind = " · ".join(
                        str(file[key]) for key in ("format", "dialect", "encoding") if file.get(key)
                    )
                    n_rows = f"{file['rows']:,}"
                    Text(f"{kind} · {words('table.rows', n=n_rows)}", tag="td")
            if told.get("time"):
                with box("", "tr"):
                    Text(words("quality.time"), tag="th")
                    time = told["time"]
                    Text(f"{str(time['first'])[:16]} – {str(time['last'])[:16]} · {time['reason']}", tag="td")
        for note in told.get("notes", []):
            Text(note, "dp-note", "p")
    with card(words("quality.columns"), words("quality.columns_note"), "dp-all"):
        frame = pl.DataFrame(
            [{key: one.get(key) for key in COLUMNS} for one in told["columns"]],
            infer_schema_length=None,
        )  # fmt: skip
        columns = [
            Column("source", words("quality.source"), width=150),
            Column("role", words("quality.role"), width=140),
            Column("reason", words("quality.reason"), width=260),
            Column("confidence", words("quality.confidence"), "share"),
            Column("dtype", words("quality.dtype")),
            Column("null_share", words("quality.null_share"), "share"),
            Column("n_unique", words("quality.n_unique"), "number"),
        ]
        table(frame, columns, words, name="columns")


def _in_time(sequences: Sequences) -> tuple[list[str], list[int], list[tuple[str, int]]]:
    """Events by day, week or month, whichever gives some dozens of bars, and by action."""
    counts = np.bincount(np.asarray(sequences.action_ix), minlength=len(sequences.actions))
    names = sequences.actions.decode(np.arange(len(counts))).to_list()
    actions = sorted(
        ((name, int(n)) for name, n in zip(names, counts, strict=True) if n), key=lambda p: -p[1]
    )
    if not sequences.n_events:
        return [], [], actions
    times = pl.Series("at", (np.asarray(sequences.time_s) * 1e6).astype(np.int64)).cast(pl.Datetime("us"))
    days = (times.max() - times.min()).total_seconds() / 86_400  # type: ignore[operator, union-attr]
    every = "1d" if days <= 90 else "1w" if days <= 700 else "1mo"
    found = times.to_frame().select(pl.col("at").dt.truncate(every)).group_by("at").len().sort("at")
    found = found.upsample("at", every=every).with_columns(pl.col("len").fill_null(0))
    labels = [
        f"{at.replace(tzinfo=UTC):%Y-%m-%d}" for at in found["at"].to_list() if isinstance(at, datetime)
    ]
    return labels, found["len"].to_list(), actions[:10]
