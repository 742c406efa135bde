# SPDX-License-Identifier: Apache-2.0
"""Which patterns of a tree are answers, and which of those are closed or maximal.

It reads prefix trees alone, never a database. A pattern is part of another if every match of the other
holds a match of it: any symbol may be taken out, but where gaps are limited from above only the first
element, the last, or one symbol of several in an element, for what is left must still stand close enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.constraints import ConstraintConfig, named
from desirepath.patterns.found import PrefixTree
from desirepath.patterns.kernels import inner, kernel
from desirepath.sequences import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a pattern itself, as bits of its symbols."""

    flags: NDArray[np.uint8]
    """(n,) bit 0: its first element may hold this symbol to be right; bit 1: its last."""
    needs: NDArray[np.int64]
    """(n,) the bit of each symbol that must be held, 0 for the others."""
    all_bits: int
    """All bits that must be held."""
    no_repeats: bool
    """Whether a symbol may not stand again in the next element."""

    @staticmethod
    def of(symbols: Vocabulary, constraints: ConstraintConfig) -> Asked:
        """The bits of the constraints' names.

        Raises:
            ConfigError: a name never occurs.
        """
        flags = np.zeros(len(symbols), np.uint8)
        for bit, option in ((1, "starts_with"), (2, "ends_with")):
            names = getattr(constraints, option)
            flags[named(symbols, names, option) if names else slice(None)] |= bit
        needs = np.zeros(len(symbols), np.int64)
        held = tuple(dict.fromkeys(constraints.contains))
        needs[named(symbols, held, "contains")] = 1 << np.arange(len(held), dtype=np.int64)
        return Asked(
            flags=flags, needs=needs, all_bits=(1 << len(held)) - 1, no_repeats=constraints.no_repeats
        )

    def of_symbols(self, chosen: NDArray[np.integer]) -> Asked:
        """The same for these symbols alone, numbered anew."""
        return Asked(
            flags=self.flags[chosen],
            needs=self.needs[chosen],
            all_bits=self.all_bits,
            no_repeats=self.no_repeats,
        )


def answers_among(tree: PrefixTree, asked: Asked, min_length: int) -> NDArray[np.bool_]:
    """(P,) nodes that meet what is asked of a pattern and are long enough. Cost: one pass."""
    return _answers(
        tree.parent, tree.symbol, _together(tree), asked.flags, asked.needs, asked.all_bits, asked.no_repeats
    ) & (tree.length >= min_length)


def closed_among(tree: PrefixTree, answer: NDArray[np.bool_], kind: str, *, rigid: bool) -> NDArray[np.bool_]:
    """(P,) answers that no longer answer makes needless.

    An answer is closed if no longer answer of the same support has it as a part, and maximal if no longer
    answer at all does. What is known of longer patterns is handed down one symbol at a time, through every
    node of the tree; so the tree must hold the patterns between two answers, which themselves need not meet
    what is asked of a pattern.

    Args:
        tree: all patterns met.
        answer: (P,) those that are answers.
        kind: "closed" or "maximal".
        rigid: whether gaps are limited from above.

    Cost: a pattern of length L takes L walks of at most L look-ups.
    """
    joined = _together(tree)
    n = int(tree.symbol.max()) + 1 if len(tree) else 1
    code = tree.symbol.astype(np.int64) + joined * n
    key = (tree.parent.astype(np.int64) + 1) * (2 * n) + code
    order = np.argsort(key, kind="stable")
    parents = np.searchsorted(key[order], np.arange(len(tree) + 2, dtype=np.int64) * (2 * n))
    longest_first = np.argsort(-tree.length, kind="stable")
    above = _best_above(tree.parent, code, tree.support, answer, order, parents, longest_first, n, rigid)
    return answer & (above < tree.support if kind == "closed" else above == 0)


def scaffold_of(tree: PrefixTree, nodes: NDArray[np.integer]) -> tuple[PrefixTree, NDArray[np.int64]]:
    """The tree with only these nodes and those above them, and their new numbers."""
    kept = np.zeros(len(tree), bool)
    kept[nodes] = True
    _mark_above(tree.parent, kept)
    new = np.cumsum(kept) - 1
    parent = tree.parent[kept]
    smaller = PrefixTree(
        parent=np.where(parent < 0, -1, new[parent]).astype(np.int32),
        symbol=tree.symbol[kept],
        support=tree.support[kept],
        joined=None if tree.joined is None else tree.joined[kept],
    )
    return smaller, new[nodes]


def _together(tree: PrefixTree) -> NDArray[np.bool_]:
    return np.zeros(len(tree), bool) if tree.joined is None else tree.joined


@kernel
def _mark_above(parent: NDArray[np.int32], kept: NDArray[np.bool_]) -> None:
    for node in range(len(parent) - 1, -1, -1):
        if kept[node] and parent[node] >= 0:
            kept[parent[node]] = True


@kernel
def _answers(
    parent: NDArray[np.int32],
    symbol: NDArray[np.int32],
    joined: NDArray[np.bool_],
    flags: NDArray[np.uint8],
    needs: NDArray[np.int64],
    all_bits: int,
    no_repeats: bool,
) -> NDArray[np.bool_]:
    n = len(parent)
    right = np.zeros(n, np.bool_)
    held = np.zeros(n, np.int64)
    # Bit 0: the first element is right, 1: the last is, 2: still in the first element, 3: a repeat is inside.
    state = np.zeros(n, np.uint8)
    for node in range(n):
        up, flag = parent[node], flags[symbol[node]]
        held[node] = needs[symbol[node]]
        if up < 0:
            state[node] = flag | 4
        else:
            held[node] |= held[up]
            if joined[node]:
                first = (state[up] | flag) & 1 if state[up] & 4 else state[up] & 1
                state[node] = first | ((state[up] | flag) & 2) | (state[up] & 12)
            else:
                state[node] = (state[up] & 1) | (flag & 2) | (state[up] & 8)
            if no_repeats and _stands_before(parent, symbol, joined, node):
                state[node] |= 8
        right[node] = held[node] == all_bits and state[node] & 3 == 3 and not state[node] & 8
    return right


@inner
def _stands_before(
    parent: NDArray[np.int32], symbol: NDArray[np.int32], joined: NDArray[np.bool_], node: int
) -> bool:
    """Whether the node's symbol stands in the element before its own."""
    at = node
    while joined[at]:
        at = parent[at]
    at = parent[at]
    while at >= 0:
        if symbol[at] == symbol[node]:
            return True
        if not joined[at]:
            return False
        at = parent[at]
    return False


@kernel
def _best_above(
    parent: NDArray[np.int32],
    code: NDArray[np.int64],
    support: NDArray[np.int32],
    answer: NDArray[np.bool_],
    order: NDArray[np.int64],
    begins: NDArray[np.int64],
    longest_first: NDArray[np.int64],
    n: int,
    rigid: bool,
) -> NDArray[np.int64]:
    """(P,) the largest support of an answer that a pattern is a proper part of, 0 without one."""
    best = np.zeros(len(parent), np.int64)
    path = np.empty(16, np.int64)
    for node in longest_first:
        known = best[node]
        if answer[node]:
            known = max(known, support[node])
        length, at = 0, node
        while at >= 0:
            if length == len(path):
                path = np.append(path, np.empty(length, np.int64))
            path[length] = at
            length += 1
            at = parent[at]
        path[:length] = path[:length][::-1].copy()
        if known == 0 or length == 1:
            continue
        for out in range(length):
            alone = code[path[out]] < n and (out + 1 == length or code[path[out + 1]] < n)
            if rigid and alone and 0 < out < length - 1:
                continue
            at = path[out - 1] if out else -1
            for i in range(out + 1, length):
                wanted = code[path[i]]
                if i == out + 1 and wanted >= n and code[path[out]] < n:
                    wanted -= n  # the next symbol of the element opens it now
                at = _child(at, wanted, code, order, begins)
                if at < 0:
                    break
            if at >= 0:
                best[at] = max(best[at], known)
    return best


@inner
def _child(
    node: int, wanted: int, code: NDArray[np.int64], order: NDArray[np.int64], begins: NDArray[np.int64]
) -> int:
    """The child with this code, -1 without one; children lie in `order` by code."""
    a, b = begins[node + 1], begins[node + 2]
    while a < b:
        middle = (a + b) // 2
        if code[order[middle]] < wanted:
            a = middle + 1
        else:
            b = middle
    if a < begins[node + 2] and code[order[a]] == wanted:
        return int(order[a])
    return -1
