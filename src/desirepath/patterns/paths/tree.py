# SPDX-License-Identifier: Apache-2.0
"""The path tree: which ways sequences take from their beginning, branch by branch.

It names the most frequent branches and keeps the rest as "<other>", so that every node's sequences are
accounted for. Trees from an event on, or up to one, come from `between`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import kernel
from desirepath.patterns.paths.numbering import FREE, grown, place_of
from desirepath.patterns.paths.selection import OTHER, check_ordered, word_series


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeConfig:
    """How deep and how wide the tree is."""

    n_steps: int = 5
    """Events from the beginning that are looked at, 1 or more."""
    top: int = 5
    """Branches named at each node, the most frequent, 1 or more."""
    min_share: float = 0.0
    """Share of all sequences below which a branch is not named, 0 to 1."""

    def __post_init__(self) -> None:
        if self.n_steps < 1 or self.top < 1:
            raise ConfigError(f"n_steps and top must be 1 or more; got {self.n_steps} and {self.top}.")
        if not 0 <= self.min_share <= 1:
            raise ConfigError(f"min_share must lie between 0 and 1; got {self.min_share}.")


def path_tree(database: SequenceDatabase, config: TreeConfig | None = None) -> pl.DataFrame:
    """The tree of beginnings, a node a row, nodes before their branches.

    Columns: `node` and `parent` (row numbers; the root, all sequences, is node 0 and has no parent), `step`
    (0 at the root), `symbol` (null at the root), `path` (list of names), `count` sequences, `share` of all,
    `share_of_parent`, and `ended`, the sequences that end right there. A node's count is its `ended` plus the
    counts of its branches, "<other>" included; only at the last step, and below "<other>", does the tree
    stop looking: there `ended` is null.

    Cost: one visit of a hash table a shown event; memory for the distinct beginnings.

    >>> world = SequenceDatabase.from_lists([["a", "b"], ["a"], ["b"]])
    >>> path_tree(world, TreeConfig(top=1)).select("node", "parent", "symbol", "count", "ended").rows()
    [(0, None, None, 3, 0), (1, 0, 'a', 2, 1), (2, 0, '<other>', 1, None), (3, 1, 'b', 1, 1)]
    """
    config = config or TreeConfig()
    check_ordered(database)
    parent, symbol, count, ended = _tree(
        database.offsets, database.symbol_ix, config.n_steps, database.n_symbols
    )  # fmt: skip
    floor = max(1, int(np.ceil(config.min_share * database.n_sequences - 1e-9)))
    level = pl.DataFrame(
        {"old": [0], "node": [0], "count": [database.n_sequences], "path": [[]]},
        schema={"old": pl.Int64, "node": pl.Int64, "count": pl.Int64, "path": pl.List(pl.String)},
    )
    root = level.with_columns(
        parent=pl.lit(None, pl.Int64),
        symbol=pl.lit(None, pl.String),
        step=pl.lit(0, pl.Int64),
        ended=pl.lit(int(ended[0]), pl.Int64),
    )
    nodes = pl.DataFrame({"old": np.arange(len(parent)), "up": parent, "code": symbol, "count": count})
    nodes = nodes.with_columns(ended=pl.Series(ended), depth=_depths(parent))
    words = word_series(database, OTHER)
    parts = [root]
    n_nodes = 1
    for step in range(1, config.n_steps + 1):
        level = _branches(nodes.filter(pl.col("depth") == step), parts[-1], database.n_symbols, config, floor)
        if level.is_empty():
            break
        names = words.gather(level["code"])
        level = level.with_columns(
            node=n_nodes + pl.int_range(pl.len()),
            symbol=names,
            path=pl.concat_list("path", names.alias("name")),
            step=pl.lit(step, pl.Int64),
            ended=pl.when((pl.col("old") >= 0) & (step < config.n_steps)).then("ended"),
        )
        n_nodes += level.height
        parts.append(level.select(root.columns))
    table = pl.concat(parts)
    above = table["count"].gather(table["parent"].fill_null(0))
    return table.select(
        "node",
        "parent",
        "step",
        "symbol",
        "path",
        "count",
        share=pl.col("count") / database.n_sequences,
        share_of_parent=pl.when(pl.col("parent").is_not_null()).then(pl.col("count") / above),
        ended="ended",
    )


def _branches(
    nodes: pl.DataFrame, above: pl.DataFrame, other: int, config: TreeConfig, floor: int
) -> pl.DataFrame:
    """The named branches of the level above, most frequent first, and one "<other>" where some are left."""
    ups = above.filter(pl.col("old") >= 0).select(up="old", parent="node", path="path")
    mine = nodes.join(ups, on="up").sort("parent", -pl.col("count"), "code")
    rank = pl.int_range(pl.len()).over("parent")
    mine = mine.with_columns(named=(rank < config.top) & (pl.col("count") >= floor))
    named = mine.filter("named").select("old", "parent", "code", "count", "ended", "path")
    rest = mine.filter(~pl.col("named")).group_by("parent", maintain_order=True)
    left = rest.agg(pl.col("count").sum(), pl.col("path").first()).select(
        pl.lit(-1, pl.Int64).alias("old"),
        "parent",
        pl.lit(other, pl.Int32).alias("code"),
        "count",
        pl.lit(None, pl.Int64).alias("ended"),
        "path",
    )
    return pl.concat([named, left]).sort("parent", pl.col("old") < 0, -pl.col("count"), "code")


@kernel
def _depths(parent: NDArray[np.int32]) -> NDArray[np.int32]:
    depth = np.zeros(len(parent), np.int32)
    for node in range(1, len(parent)):
        depth[node] = depth[parent[node]] + 1
    return depth


@kernel
def _tree(
    offsets: NDArray[np.int64], symbol: NDArray[np.int32], n_steps: int, n_symbols: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Parent, symbol, sequences and ended sequences of each node; node 0 is the root."""
    keys, numbers = np.full(1024, FREE, np.int64), np.zeros(1024, np.int32)
    room = 1024
    parent, code = np.full(room, -1, np.int32), np.full(room, -1, np.int32)
    count, ended = np.zeros(room, np.int64), np.zeros(room, np.int64)
    n = 1
    for s in range(len(offsets) - 1):
        node = 0
        count[0] += 1
        stop = min(offsets[s + 1], offsets[s] + n_steps)
        for i in range(offsets[s], stop):
            key = np.int64(node) * n_symbols + symbol[i]
            place = place_of(keys, key)
            if keys[place] == FREE:
                if n == room:
                    parent = np.concatenate((parent, np.full(3 * room, -1, np.int32)))
                    code = np.concatenate((code, np.full(3 * room, -1, np.int32)))
                    count = np.concatenate((count, np.zeros(3 * room, np.int64)))
                    ended = np.concatenate((ended, np.zeros(3 * room, np.int64)))
                    room *= 4
                parent[n], code[n] = node, symbol[i]
                keys[place], numbers[place] = key, n
                n += 1
                if 2 * n > len(keys):
                    keys, numbers = grown(keys, numbers)
                    place = place_of(keys, key)
            node = numbers[place]
            count[node] += 1
        if offsets[s + 1] - offsets[s] <= n_steps:
            ended[node] += 1
    return parent[:n].copy(), code[:n].copy(), count[:n].copy(), ended[:n].copy()
