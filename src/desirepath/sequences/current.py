# SPDX-License-Identifier: Apache-2.0
"""The packed sequences of a workspace as they should be now: built anew where the log has grown since."""

from __future__ import annotations

from desirepath.events.intake import Progress, silent
from desirepath.events.log import EventLog
from desirepath.sequences.build import build_sequences
from desirepath.sequences.packed import Sequences
from desirepath.workspace import Workspace, fingerprint

STEP = "sequences"


def content_of(log: EventLog) -> str:
    """A short name of what a log holds: another one after every intake, and after every erasure."""
    ingests = [ingest.fingerprints for ingest in log.manifest.ingests]
    erasures = [log.manifest.erasures] if log.manifest.erasures else []
    return fingerprint(ingests, len(log), *erasures)


def open_sequences(workspace: Workspace, progress: Progress = silent) -> Sequences:
    """The packed sequences of the workspace, built anew where the log has grown since."""
    log = EventLog(workspace.events)
    made_from = content_of(log)
    if not (workspace.is_done(STEP, made_from) and workspace.sequences.exists()):
        with workspace.lock():
            build_sequences(log, workspace.sequences, on_progress=progress)
            workspace.finish(STEP, made_from)
    return Sequences.load(workspace.sequences)
