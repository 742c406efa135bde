# SPDX-License-Identifier: Apache-2.0
"""The patterns that a workspace keeps, and who holds them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from desirepath.flows.items import items_table, titles_of
from desirepath.patterns.database import SequenceDatabase, SymbolConfig, sequence_database
from desirepath.patterns.matrix import pattern_matrix
from desirepath.patterns.paths import select
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace

TABLE = "patterns.parquet"
NAMING = "patterns.json"


def keep_naming(folder: Path, symbols: SymbolConfig) -> None:
    """Write what the events of the kept patterns are called; the patterns are a table like the others."""
    (folder / NAMING).write_text(json.dumps(asdict(symbols)), encoding="utf-8")


def kept_patterns(workspace: Workspace) -> tuple[pl.DataFrame, SymbolConfig] | None:
    """The patterns that were kept, and what their events are called; None before any were."""
    folder = workspace.behaviour
    if not ((folder / NAMING).exists() and (folder / TABLE).exists()):
        return None
    words: dict[str, Any] = json.loads((folder / NAMING).read_text(encoding="utf-8"))
    symbols = SymbolConfig(**words | {"by": tuple(words["by"]), "actions": tuple(words["actions"])})
    return pl.read_parquet(folder / TABLE), symbols


def patterns_of_user(workspace: Workspace, user: str) -> pl.DataFrame | None:
    """The kept patterns that one user holds, the rarest first: pattern and its share of all."""
    kept = kept_patterns(workspace)
    if kept is None:
        return None
    table, symbols = kept
    sequences = open_sequences(workspace)
    ix = sequences.users.index(user)
    if ix is None:
        return None
    mine = np.zeros(sequences.n_events, bool)
    mine[sequences.offsets[ix] : sequences.offsets[ix + 1]] = True
    database = sequence_database(sequences.select(mine), symbols, items_table(workspace))
    database = select(database, np.diff(database.offsets) > 0)
    known = table.filter(
        pl.col("pattern").list.eval(pl.element().is_in(database.symbols.ids.implode())).list.all()
    )
    if known.is_empty():
        return known.select("pattern", "share")
    held = known.filter(pl.Series(_held(database, known) > 0)).sort("share", maintain_order=True)
    titles = titles_of(workspace)
    names = [[titles.get(name, name) for name in pattern] for pattern in held["pattern"].to_list()]
    return pl.DataFrame({"pattern": pl.Series(names, dtype=pl.List(pl.String)), "share": held["share"]})


def user_patterns(workspace: Workspace) -> tuple[pl.Series, sparse.csr_array, tuple[str, ...]] | None:
    """Users, who of them holds which kept pattern (0 and 1), and the names of the patterns."""
    kept = kept_patterns(workspace)
    if kept is None or kept[0].is_empty():
        return None
    table, symbols = kept
    database = sequence_database(open_sequences(workspace), symbols, items_table(workspace))
    matrix = pattern_matrix(database, table["pattern"].to_list(), rows="user")
    names = tuple(" > ".join(names) for names in table["pattern"].to_list())
    return database.users.ids, sparse.csr_array(matrix), names


def _held(database: SequenceDatabase, table: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float32]]:
    matrix = pattern_matrix(database, table["pattern"].to_list())
    return np.asarray(matrix.sum(axis=0), np.float32).ravel()
