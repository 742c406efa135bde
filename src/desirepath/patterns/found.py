# SPDX-License-Identifier: Apache-2.0
"""What a miner found: a prefix tree in flat arrays, and the table that people read.

It knows no miner and no database beyond the names of its symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ShapeError
from desirepath.patterns.kernels import kernel
from desirepath.sequences import Vocabulary

TOGETHER = " + "
"""Joins the names of events that a pattern wants at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixTree:
    """P nodes, each one pattern: its parent's pattern with one more symbol at the end."""

    parent: NDArray[np.int32]
    """(P,) the node it extends, always a lower number; -1 for patterns of one symbol."""
    symbol: NDArray[np.int32]
    """(P,) the symbol it adds."""
    support: NDArray[np.int32]
    """(P,) sequences that hold the pattern, each counted once."""
    joined: NDArray[np.bool_] | None = None
    """(P,) whether the symbol happens at once with the one before it; None where events are single."""

    def __post_init__(self) -> None:
        if not len(self.parent) == len(self.symbol) == len(self.support):
            raise ShapeError(
                "parent, symbol and support must have one entry a node; they have "
                f"{len(self.parent)}, {len(self.symbol)} and {len(self.support)}."
            )

    def __len__(self) -> int:
        return len(self.parent)

    @property
    def length(self) -> NDArray[np.int32]:
        """(P,) symbols of each pattern."""
        return _depths(self.parent)

    def spelled(self, nodes: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The patterns of these nodes, flat: offsets (N + 1,) and symbols in order, first to last."""
        return _spelled(self.parent, self.symbol, np.asarray(nodes, dtype=np.int64))


class Patterns:
    """Sequential patterns with their supports; `nodes` of the tree are the answer, the rest is scaffold.

    A pattern is held by a sequence that has its symbols in this order, with anything between them
    unless a gap was asked for.
    """

    def __init__(
        self,
        tree: PrefixTree,
        *,
        symbols: Vocabulary,
        n_sequences: int,
        min_count: int,
        nodes: NDArray[np.integer] | None = None,
        stopped_by: str = "",
    ) -> None:
        """Keep what was found.

        Args:
            tree: all patterns met.
            symbols: names of the symbols.
            n_sequences: what a share of support is a share of.
            min_count: the smallest support asked for, in sequences.
            nodes: those that are the answer, all by default.
            stopped_by: the budget that ended the search early, in words; empty when it was complete.
        """
        self.tree = tree
        self.symbols = symbols
        self.n_sequences = n_sequences
        self.min_count = min_count
        self.nodes = np.arange(len(tree)) if nodes is None else np.asarray(nodes, dtype=np.int64)
        self.stopped_by = stopped_by

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        partial = "" if self.is_complete else f", partial: {self.stopped_by}"
        return f"Patterns({len(self):,} with support of {self.min_count:,} or more{partial})"

    @property
    def is_complete(self) -> bool:
        """Whether every pattern that meets the conditions is here."""
        return not self.stopped_by

    @property
    def support(self) -> NDArray[np.int32]:
        """(N,) sequences that hold each pattern of the answer."""
        return self.tree.support[self.nodes]

    @property
    def length(self) -> NDArray[np.int32]:
        """(N,) symbols of each pattern of the answer."""
        return self._length[self.nodes]

    @cached_property
    def _length(self) -> NDArray[np.int32]:
        return self.tree.length

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.integer]) -> Patterns:
        """The same search with only some patterns of the answer."""
        return Patterns(
            self.tree,
            symbols=self.symbols,
            n_sequences=self.n_sequences,
            min_count=self.min_count,
            nodes=self.nodes[chosen],
            stopped_by=self.stopped_by,
        )

    def top(self, k: int) -> Patterns:
        """The k patterns with the largest support; of equals the longer, then the one found first."""
        order = np.lexsort((np.arange(len(self)), -self.length, -self.support))
        return self.select(order[:k])

    def to_frame(self) -> pl.DataFrame:
        """One row a pattern, largest support first: pattern (list of names), length, support, share.

        Symbols that happen at once are joined by " + " into one entry of the list. A partial answer
        bears `is_partial` = true in every row.
        """
        ordered = self.top(len(self))
        return pl.DataFrame(
            {
                "pattern": ordered.names(),
                "length": ordered.length,
                "support": ordered.support,
                "share": ordered.support / max(1, self.n_sequences),
                "is_partial": np.full(len(self), not self.is_complete),
            }
        )

    def names(self) -> pl.Series:
        """(N,) each pattern of the answer as a list of names."""
        offsets, flat = self.tree.spelled(self.nodes)
        pattern = np.repeat(np.arange(len(self)), np.diff(offsets))
        words = self.symbols.decode(flat).alias("name")
        table = pl.DataFrame({"pattern": pattern, "name": words})
        if self.tree.joined is not None:
            _, joined = _spelled(self.tree.parent, self.tree.joined.astype(np.int32), self.nodes)
            table = (
                table.with_columns(element=np.cumsum(joined == 0))
                .group_by("pattern", "element", maintain_order=True)
                .agg(pl.col("name").str.join(TOGETHER))
            )
        lists = table.group_by("pattern", maintain_order=True).agg("name")["name"].alias("pattern")
        return lists if len(self) else pl.Series("pattern", [], dtype=pl.List(pl.String))


@kernel
def _depths(parent: NDArray[np.int32]) -> NDArray[np.int32]:
    depth = np.ones(len(parent), np.int32)
    for node in range(len(parent)):
        if parent[node] >= 0:
            depth[node] = depth[parent[node]] + 1
    return depth


@kernel
def _spelled(
    parent: NDArray[np.int32], symbol: NDArray[np.int32], nodes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    offsets = np.zeros(len(nodes) + 1, np.int64)
    for i in range(len(nodes)):
        node, n = nodes[i], 0
        while node >= 0:
            n += 1
            node = parent[node]
        offsets[i + 1] = offsets[i] + n
    flat = np.empty(offsets[-1], np.int32)
    for i in range(len(nodes)):
        node, place = nodes[i], offsets[i + 1] - 1
        while node >= 0:
            flat[place] = symbol[node]
            place -= 1
            node = parent[node]
    return offsets, flat
