# SPDX-License-Identifier: Apache-2.0
"""The narrow search: patterns over at most 63 symbols, their supports counted 63 at a time.

Each position of each sequence bears the set of symbols still to come as bits of one word, and where each of
them comes next; a pattern is then a list of positions, and the supports of all its extensions are sums over
their words, bit by bit. It knows no log; `suffixes` cuts out the sequences and takes what is found.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.gauge import RUNNING, STOP, check_found, may_hold

WIDEST = 63
"""Most symbols of a frame: one bit each, the sign bit unused."""
LEVELS = 32
"""Bits of a support."""
PADDING = 512
"""Positions after the last that a blind look-up may touch."""


class Frame(NamedTuple):
    """The sequences below one node, over its own symbols 0..k-1."""

    later: NDArray[np.int64]
    """(M,) symbols at this position or after it, a bit each; 0 at the end of a sequence."""
    following: NDArray[np.uint8]
    """(M * width,) the position after the next occurrence of each symbol, its lowest eight bits."""
    symbol: NDArray[np.uint8]
    """(M,) the symbol at this position."""
    names: NDArray[np.int32]
    """(63,) what the symbols are outside this frame."""
    width: NDArray[np.int64]
    """(2,) bytes of a row of `following`, a multiple of 8; and whether a sequence is longer than 255."""


class Lists(NamedTuple):
    """Where the patterns on the way down stand: entries of all depths, one after another."""

    position: NDArray[np.int32]
    later: NDArray[np.int64]
    """`Frame.later` there."""


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


@numba.njit(nogil=True, cache=True)
def longer(array, used, wanted):  # type: ignore[no-untyped-def]
    """The array, or a larger one with the same first `used` entries, with room for `wanted`."""
    if wanted <= len(array):
        return array
    larger = np.empty(max(wanted, 2 * len(array)), array.dtype)
    larger[:used] = array[:used]
    return larger


@numba.njit(nogil=True, cache=True)
def new_tree(n_classes: int) -> Tree:
    """A tree without a pattern."""
    room = 1024
    return Tree(
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room * n_classes, np.int32),
        np.zeros(1, np.int64),
    )


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def count_for_top(rule: Rule, support: int, length: int) -> None:
    """Count a pattern; raise the least support as soon as enough are at least as frequent."""
    if len(rule.tally) == 0 or length < rule.top[1]:
        return
    rule.tally[support] += 1
    rule.top[2] += 1
    while rule.top[2] - rule.tally[rule.least[0]] >= rule.top[0]:
        rule.top[2] -= rule.tally[rule.least[0]]
        rule.least[0] += 1


@numba.njit(nogil=True, cache=True)
def lowest_bit(bits: int) -> int:
    """The number of the lowest bit that is set."""
    n = 0
    if bits & 0xFFFFFFFF == 0:
        n, bits = 32, bits >> 32
    if bits & 0xFFFF == 0:
        n, bits = n + 16, bits >> 16
    if bits & 0xFF == 0:
        n, bits = n + 8, bits >> 8
    if bits & 0xF == 0:
        n, bits = n + 4, bits >> 4
    if bits & 0x3 == 0:
        n, bits = n + 2, bits >> 2
    return n + (1 - (bits & 1))


@numba.njit(nogil=True, cache=True)
def frequent_bits(later: NDArray[np.int64], begin: int, end: int, least: int, sums: NDArray[np.int64]) -> int:
    """The bits that at least `least` of later[begin:end] bear.

    The sums stand upright, one word a binary digit, so that one addition serves 63 symbols; eight words
    are added by seven carry-save adders (Harley and Seal's population count, upright).
    """
    n = end - begin
    if n < least:
        return 0
    n_levels = 0
    while n >> n_levels:
        sums[n_levels] = 0
        n_levels += 1
    ones, twos, fours = 0, 0, 0
    i = begin
    while i + 8 <= end:
        a, b = later[i], later[i + 1]
        x = ones ^ a
        two_a = (ones & a) | (x & b)
        ones = x ^ b
        a, b = later[i + 2], later[i + 3]
        x = ones ^ a
        two_b = (ones & a) | (x & b)
        ones = x ^ b
        x = twos ^ two_a
        four_a = (twos & two_a) | (x & two_b)
        twos = x ^ two_b
        a, b = later[i + 4], later[i + 5]
        x = ones ^ a
        two_a = (ones & a) | (x & b)
        ones = x ^ b
        a, b = later[i + 6], later[i + 7]
        x = ones ^ a
        two_b = (ones & a) | (x & b)
        ones = x ^ b
        x = twos ^ two_a
        four_b = (twos & two_a) | (x & two_b)
        twos = x ^ two_b
        x = fours ^ four_a
        carry = (fours & four_a) | (x & four_b)
        fours = x ^ four_b
        level = 3
        while carry:
            x = sums[level]
            sums[level] = x ^ carry
            carry &= x
            level += 1
        i += 8
    while i < end:
        carry = later[i]
        x = ones & carry
        ones ^= carry
        carry = x & twos
        twos ^= x
        x = carry & fours
        fours ^= carry
        level = 3
        while x:
            carry = sums[level] & x
            sums[level] ^= x
            x = carry
            level += 1
        i += 1
    sums[0] = ones
    if n_levels > 1:
        sums[1] = twos
    if n_levels > 2:
        sums[2] = fours
    short = 0  # bits whose sum is below `least`: the borrow of sum - least
    for level in range(n_levels):
        if (least >> level) & 1:
            short |= ~sums[level]
        else:
            short &= ~sums[level]
    return ~short


@numba.njit(nogil=True, cache=True)
def advance(frame: Frame, lists: Lists, begin: int, end: int, top: int, a: int) -> tuple[int, int]:
    """Lengthen by symbol a: entries begin:end move past its next occurrence and are written from `top`.

    Returns where the written entries end, and the support; entries with nothing left are not written.
    """
    position, later = lists.position, lists.later
    width = frame.width[0]
    n = 0
    if frame.width[1]:
        for i in range(begin, end):
            if (later[i] >> a) & 1:
                at = np.int64(position[i])
                at += ((np.int64(frame.following[at * width + a]) - at - 1) & 255) + 1
                while frame.symbol[at - 1] != a:
                    at += 256
                n += 1
                bits = frame.later[at]
                position[top] = at
                later[top] = bits
                top += bits != 0
        return top, n
    for i in range(begin, end):  # without a branch: whether a symbol comes is not predictable
        has = (later[i] >> a) & 1
        at = np.int64(position[i])
        at += ((np.int64(frame.following[at * width + a]) - at - 1) & 255) + 1
        bits = frame.later[at] & -has
        position[top] = at
        later[top] = bits
        n += has
        top += bits != 0
    return top, n


@numba.njit(nogil=True, cache=True)
def dig(
    frame: Frame,
    lists: Lists,
    tree: Tree,
    rule: Rule,
    bounds: NDArray[np.int64],
    root: tuple[int, int, int],
    gauge: NDArray[np.int64],
    worker: int,
) -> tuple[Lists, Tree]:
    """All patterns below a node whose sequences are in the frame.

    Args:
        frame: the sequences.
        lists: its first entries are the starts of the sequences, class by class.
        tree: receives the patterns.
        rule: what is looked for.
        bounds: (C + 1,) where the classes begin in `lists`.
        root: the node, its length, and the symbols that may follow it, as bits.
        gauge: stop sign and budgets.
        worker: who searches.

    Cost: a few operations an entry of the parent, a pattern; 12 bytes an entry of the path.
    """
    node, length, follow = root
    n_classes = len(bounds) - 1
    step = n_classes + 1
    segment = np.empty((64, step), np.int64)
    open_, nodes = np.empty(64, np.int64), np.empty(64, np.int64)
    sums, support = np.zeros(LEVELS, np.int64), np.zeros(n_classes, np.int64)
    segment[0], open_[0], nodes[0] = bounds, follow, node
    depth = 0
    while depth >= 0 and gauge[STOP] == RUNNING:
        rest = open_[depth]
        if rest == 0:
            depth -= 1
            continue
        open_[depth] = rest & (rest - 1)
        a = lowest_bit(rest)
        if depth + 1 == len(open_):
            segment = taller(segment)
            open_, nodes = longer(open_, depth + 1, depth + 2), longer(nodes, depth + 1, depth + 2)
        mine, below = segment[depth], segment[depth + 1]
        top = mine[n_classes]
        wanted = 2 * top - mine[0] + 1
        if wanted > len(lists.position):
            if not may_hold(gauge, worker, 12 * (max(wanted, 2 * len(lists.position)) - len(lists.position))):
                break
            lists = Lists(longer(lists.position, top, wanted), longer(lists.later, top, wanted))
        frequent, follow = False, 0
        for c in range(n_classes):
            below[c] = top
            top, support[c] = advance(frame, lists, mine[c], mine[c + 1], top, a)
            frequent |= support[c] >= rule.least[c]
        below[n_classes] = top
        if not frequent:  # the least support has risen since
            continue
        tree = emit(tree, nodes[depth], frame.names[a], support, gauge, worker)
        count_for_top(rule, support[0], length + depth + 1)
        if length + depth + 1 >= rule.longest:
            continue
        for c in range(n_classes):
            follow |= frequent_bits(lists.later, below[c], below[c + 1], rule.least[c], sums)
        if follow:
            depth += 1
            open_[depth], nodes[depth] = follow, tree.size[0] - 1
    return lists, tree


@numba.njit(nogil=True, cache=True)
def taller(table):  # type: ignore[no-untyped-def]
    """The table with twice the rows."""
    larger = np.empty((2 * table.shape[0], table.shape[1]), table.dtype)
    larger[: table.shape[0]] = table
    return larger
