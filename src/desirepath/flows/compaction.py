# SPDX-License-Identifier: Apache-2.0
"""From the live store to the log: what was served and done becomes part of the workspace."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from desirepath.errors import WorkspaceError
from desirepath.flows.progress import Progress, silent
from desirepath.flows.words import Answer
from desirepath.live import compaction
from desirepath.live.compaction import CompactionConfig
from desirepath.live.store import LiveStore
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace


def compact(folder: Path, keep_days: float = 7.0, database: str = "", progress: Progress = silent) -> Answer:
    """Pack the live store of a workspace into its log, and its sequences anew; a server may run meanwhile.

    Args:
        folder: the workspace.
        keep_days: days for which what is packed stays in the store.
        database: URL of the store; empty for the SQLite file in the workspace.
        progress: told of the packing of sequences.

    Raises:
        WorkspaceError: it has no live store, or another process writes to it.
    """
    workspace = Workspace.open(folder)
    file = workspace.folder / "live.db"
    if not database and not file.exists():
        raise WorkspaceError(
            f"{folder} must have a live store to be packed; it has none. Serve it first with "
            f"`desirepath serve {folder}`, or name the store's URL with --database."
        )
    store = LiveStore(database or f"sqlite:///{file}")
    try:
        done = compaction.compact(workspace, store, CompactionConfig(keep_days=keep_days))
    finally:
        store.close()
    sequences = open_sequences(workspace, progress)
    plain = dataclasses.asdict(done) | {"workspace": str(folder), "events": sequences.n_events}
    return Answer(plain, [_said(done, sequences.n_events, folder)])


def _said(done: compaction.Compacted, n_events: int, folder: Path) -> str:
    beside = f"; {done.feedback:,} impressions and ratings and {done.lists:,} lists lie beside it"
    erased = f" {done.erased_users:,} erased users left all files, and {done.erased_events:,} events the log."
    return (
        f"{done.behaviour:,} events joined the log of {folder}, which now holds {n_events:,}"
        f"{beside if done.feedback or done.lists else ''}. {done.removed:,} old rows left the live store."
        f"{erased if done.erased_users else ''}"
    )
