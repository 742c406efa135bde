# SPDX-License-Identifier: Apache-2.0
"""What is looked at: a workspace's events, named and cut into the sequences that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl

from desirepath.flows.items import category_column, items_table
from desirepath.flows.progress import Progress, silent
from desirepath.flows.words import Selection
from desirepath.patterns.database import JOINT, SequenceDatabase, SymbolConfig, sequence_database
from desirepath.patterns.paths import with_ends
from desirepath.sequences import Sequences
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Sequences of named events, and where they come from."""

    workspace: Workspace
    sequences: Sequences
    items: pl.DataFrame | None
    database: SequenceDatabase
    symbols: SymbolConfig

    @property
    def words(self) -> str:
        """What an event and a sequence are here, in one sentence."""
        whose = "user" if self.symbols.per == "user" else "session"
        named = JOINT.join(self.symbols.by)
        kept = f", only {', '.join(self.symbols.actions)}" if self.symbols.actions else ""
        return (
            f"{self.database.n_sequences:,} {whose}s with {self.database.n_events:,} events, "
            f"each called by its {named}{kept}"
        )

    def ground(self, **more: Any) -> dict[str, Any]:
        """What figures rest on, as `report.Ground` takes it."""
        named = " and ".join(f"the {name}" for name in self.symbols.by)
        return {
            "event": named,
            "sequence": self.symbols.per,
            "n_sequences": self.database.n_sequences,
            "n_users": len(np.unique(self.database.user_ix)),
        } | more


def open_subject(
    folder: Path,
    selection: Selection,
    purpose: Literal["patterns", "paths"],
    progress: Progress = silent,
) -> Subject:
    """The sequences of a workspace as asked for; what was left open is chosen by the log and the purpose.

    Patterns are by default of items per user, paths of actions (or kinds of items) per session.
    """
    workspace = Workspace.open(folder)
    sequences = open_sequences(workspace, progress)
    items = items_table(workspace)
    symbols = symbol_config(selection, purpose, sequences, items)
    database = sequence_database(sequences, symbols, items)
    if selection.start or selection.end:
        database = with_ends(database, tuple(selection.start), tuple(selection.end))
    return Subject(workspace=workspace, sequences=sequences, items=items, database=database, symbols=symbols)


def symbol_config(
    selection: Selection,
    purpose: Literal["patterns", "paths"],
    sequences: Sequences,
    items: pl.DataFrame | None,
) -> SymbolConfig:
    """What an event and a sequence are, as selected or by default."""
    by = tuple(selection.by) or (("item",) if purpose == "patterns" else path_names(sequences, items))
    return SymbolConfig(
        by=by,
        per=selection.per or ("user" if purpose == "patterns" else "session"),
        session_gap_s=selection.session_gap_s,
        collapse_repeats=selection.collapse_repeats,
        simultaneous=selection.simultaneous,
        actions=tuple(selection.actions),
    )


def path_names(sequences: Sequences, items: pl.DataFrame | None) -> tuple[str, ...]:
    """What events are called on a path: actions where there are several, else kinds of items, else items."""
    if len(np.unique(np.asarray(sequences.action_ix))) > 1:
        return ("action",)
    category = category_column(items)
    return ("item",) if category is None else (category,)


def made(config: type[T], options: Mapping[str, Any]) -> T:
    """A configuration from those options that are its fields; the others are for something else."""
    names = {field.name for field in fields(config)}  # type: ignore[arg-type]
    return config(**{name: value for name, value in options.items() if name in names})
