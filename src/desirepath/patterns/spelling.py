# SPDX-License-Identifier: Apache-2.0
"""Patterns written by people, as lists of names, turned into a prefix tree; it knows symbols alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.patterns.constraints import named
from desirepath.patterns.found import TOGETHER, Patterns, PrefixTree
from desirepath.sequences import Vocabulary

type_of_pattern = "a list of names, where a tuple of names stands for events at once"

Spelled = Sequence[str | Iterable[str]]
"""One pattern: names in order; several names in one place, or names joined by " + ", happen at once."""


def tree_of(
    symbols: Vocabulary, patterns: Patterns | Sequence[Spelled]
) -> tuple[PrefixTree, NDArray[np.int64]]:
    """A prefix tree by these symbols and the node of each pattern; supports are 0 unless they were known.

    Raises:
        ConfigError: a pattern is empty, or holds a name that never occurs.
    """
    if isinstance(patterns, Patterns):
        if patterns.symbols == symbols:
            return patterns.tree, patterns.nodes
        patterns = patterns.names().to_list()
    of_path: dict[tuple[tuple[int, bool], ...], int] = {}
    parent: list[int] = []
    last: list[tuple[int, bool]] = []
    nodes = []
    for pattern in patterns:
        path = _steps(symbols, pattern)
        node = -1
        for depth in range(len(path)):
            key = path[: depth + 1]
            if key not in of_path:
                of_path[key] = len(parent)
                parent.append(node)
                last.append(path[depth])
            node = of_path[key]
        nodes.append(node)
    joined = np.array([together for _, together in last], dtype=bool)
    tree = PrefixTree(
        parent=np.array(parent, dtype=np.int32),
        symbol=np.array([ix for ix, _ in last], dtype=np.int32),
        support=np.zeros(len(parent), np.int32),
        joined=joined if joined.any() else None,
    )
    return tree, np.array(nodes, dtype=np.int64)


def _steps(symbols: Vocabulary, pattern: Spelled) -> tuple[tuple[int, bool], ...]:
    """Symbol and whether it is at once with the one before, symbols of an element ascending."""
    if isinstance(pattern, str) or not len(pattern):
        raise ConfigError(f"A pattern must be {type_of_pattern}, with one name or more; got {pattern!r}.")
    steps: list[tuple[int, bool]] = []
    for part in pattern:
        if isinstance(part, str):
            names = (part,) if part in symbols else tuple(part.split(TOGETHER))
        else:
            names = tuple(part)
        element = np.unique(named(symbols, names, "A pattern"))
        if not len(element):
            raise ConfigError(f"An element of a pattern must hold one name or more; got {pattern!r}.")
        steps += [(int(ix), at > 0) for at, ix in enumerate(element)]
    return tuple(steps)
