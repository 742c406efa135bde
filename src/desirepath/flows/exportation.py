# SPDX-License-Identifier: Apache-2.0
"""Parts of a workspace as one table in a file that other tools read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from desirepath.errors import WorkspaceError
from desirepath.events.log import EventLog
from desirepath.flows.progress import Progress, silent
from desirepath.flows.tabulation import check_ending, write_table
from desirepath.flows.words import Answer
from desirepath.schema import TIME
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace


def export(folder: Path, what: str, to: Path, progress: Progress = silent) -> Answer:
    """Write events, sequences, recommendations, features or the evaluation as one table.

    Raises:
        ConfigError: the file's ending is none of .parquet, .csv, .jsonl.
        WorkspaceError: the workspace does not hold that part yet.
    """
    check_ending(to)
    progress(f"Exporting {what}", 0.0, "")
    table = _table(Workspace.open(folder), what)
    write_table(table, to)
    progress(f"Exporting {what}", 1.0, "")
    return Answer({"path": str(to), "what": what}, [f"{what}: {to}"])


def _table(workspace: Workspace, what: str) -> pl.LazyFrame:
    if what == "events":
        return EventLog(workspace.events).scan()
    if what == "sequences":
        return open_sequences(workspace).to_frame().lazy()
    if what == "features":
        from desirepath.features import user_features

        events = EventLog(workspace.events).scan()
        last: datetime | None = events.select(pl.col(TIME).max()).collect().item()
        # Features are of what lies strictly before their moment.
        moment = (last or datetime.now(UTC)).replace(microsecond=0)
        return user_features(events, moment).lazy()
    place = {"recommendations": workspace.recommendations, "evaluation": workspace.evaluation}[what]
    if not place.exists():
        raise WorkspaceError(f"{workspace.folder} holds no {what} yet. Run `desirepath run` first.")
    if what == "recommendations":
        return pl.scan_parquet(place)
    import json

    from desirepath.evaluation.table import Evaluation

    return Evaluation.from_dict(json.loads(place.read_text(encoding="utf-8"))).frame().lazy()
