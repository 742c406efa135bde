# SPDX-License-Identifier: Apache-2.0
"""What a search looks for, and the tree of patterns that it fills.

Both kernels, `suffixes` and `dense`, write here; neither is known here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.gauge import check_found, may_hold
from desirepath.patterns.kernels import inner


class Tree(NamedTuple):
    """Patterns found by one worker, in depth-first order."""

    parent: NDArray[np.int32]
    symbol: NDArray[np.int32]
    support: NDArray[np.int32]
    """(P * C,) supports in each class."""
    size: NDArray[np.int64]
    """(1,) patterns so far."""


class Rule(NamedTuple):
    """What is looked for."""

    least: NDArray[np.int64]
    """(C,) smallest support of interest in each class; one class suffices. Rises in a search for the top."""
    longest: int
    """Most symbols of a pattern."""
    tally: NDArray[np.int64]
    """How many patterns have each support, in a search for the top; empty in others."""
    top: NDArray[np.int64]
    """(3,) how many are wanted, their least length, and how many are counted in `tally`."""


@inner
def longer(array, used, wanted):  # type: ignore[no-untyped-def]
    """The array, or a larger one with the same first `used` entries, with room for `wanted`."""
    if wanted <= len(array):
        return array
    larger = np.empty(max(wanted, 2 * len(array)), array.dtype)
    for i in range(used):  # a slice would compile its error messages too, for seconds
        larger[i] = array[i]
    return larger


@inner
def taller(table):  # type: ignore[no-untyped-def]
    """The table with twice the rows."""
    larger = np.empty((2 * table.shape[0], table.shape[1]), table.dtype)
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            larger[i, j] = table[i, j]
    return larger


@inner
def new_tree(n_classes: int) -> Tree:
    """A tree without a pattern."""
    room = 1024
    return Tree(
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room * n_classes, np.int32),
        np.zeros(1, np.int64),
    )


@inner
def emit(
    tree: Tree, parent: int, symbol: int, support: NDArray[np.int64], gauge: NDArray[np.int64], worker: int
) -> Tree:
    """The tree with one more pattern."""
    n_classes, n = len(support), tree.size[0]
    if n == len(tree.parent):
        if not may_hold(gauge, worker, n * (8 + 4 * n_classes)):
            return tree
        tree = Tree(
            longer(tree.parent, n, 2 * n),
            longer(tree.symbol, n, 2 * n),
            longer(tree.support, n * n_classes, 2 * n * n_classes),
            tree.size,
        )
    tree.parent[n] = parent
    tree.symbol[n] = symbol
    for c in range(n_classes):
        tree.support[n * n_classes + c] = support[c]
    tree.size[0] = n + 1
    if n & 31 == 31:
        check_found(gauge, worker, 32)
    return tree


@inner
def count_for_top(rule: Rule, support: int, length: int) -> None:
    """Count a pattern; raise the least support as soon as enough are at least as frequent."""
    if len(rule.tally) == 0 or length < rule.top[1]:
        return
    rule.tally[support] += 1
    rule.top[2] += 1
    while rule.top[2] - rule.tally[rule.least[0]] >= rule.top[0]:
        rule.top[2] -= rule.tally[rule.least[0]]
        rule.least[0] += 1
