# SPDX-License-Identifier: Apache-2.0
"""Which patterns of a tree are closed, and which are maximal.

A pattern without one of its symbols is a child of its parent without that symbol, so that one look-up a
symbol finds all patterns that are shorter by one. It knows trees in depth-first order alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.found import PrefixTree
from desirepath.patterns.kernels import inner, kernel


def closed(tree: PrefixTree) -> NDArray[np.bool_]:
    """(P,) whether no longer pattern of the tree has the same support.

    Cost: one look-up a symbol of each pattern. The tree must be in depth-first order, and is judged as it
    stands: of a search that was cut short or limited in length, longer patterns outside do not count.
    """
    return ~_contained(tree.parent, tree.symbol, tree.support, tree.length)[0]


def maximal(tree: PrefixTree) -> NDArray[np.bool_]:
    """(P,) whether no longer pattern of the tree holds it; see `closed`."""
    return ~_contained(tree.parent, tree.symbol, tree.support, tree.length)[1]


@kernel
def _contained(
    parent: NDArray[np.int32],
    symbol: NDArray[np.int32],
    support: NDArray[np.int32],
    length: NDArray[np.int32],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether a pattern longer by one with the same support holds each, and whether any does."""
    n = len(parent)
    same, some = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    bits = 3
    while (1 << bits) < 2 * n:
        bits += 1
    mask = (1 << bits) - 1
    table = np.full(1 << bits, -1, np.int32)
    longest = 1
    for node in range(n):
        longest = max(longest, length[node])
        slot = _slot(parent[node], symbol[node], mask)
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = node
    # shorter[d, i]: the pattern of length d on the way down without its symbol i; -1 the empty one, -2 none.
    shorter = np.full((longest + 1, longest + 1), -2, np.int64)
    for node in range(n):
        d = length[node]
        for i in range(d - 1):
            above, found = shorter[d - 1, i], np.int64(-2)
            if above >= -1:
                slot = _slot(above, symbol[node], mask)
                while table[slot] >= 0:
                    other = table[slot]
                    if parent[other] == above and symbol[other] == symbol[node]:
                        found = np.int64(other)
                        break
                    slot = (slot + 1) & mask
            shorter[d, i] = found
            if found >= 0:
                some[found] = True
                same[found] |= support[found] == support[node]
        above = parent[node]
        shorter[d, d - 1] = above
        if above >= 0:
            some[above] = True
            same[above] |= support[above] == support[node]
    return same, some


@inner
def _slot(node: int, symbol: int, mask: int) -> int:
    """Where a child is looked for first."""
    mixed = (node + 2) * 0x9E3779B97F4A7C1 + (symbol + 1) * 0x2545F4914F6CDD1D
    return ((mixed >> 29) ^ mixed) & mask
