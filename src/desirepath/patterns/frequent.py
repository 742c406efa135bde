# SPDX-License-Identifier: Apache-2.0
"""Frequent sequential patterns: the one door to all miners of a sequence database.

It chooses the kernel, shares the search out to threads and keeps the budgets; it knows how patterns are
found only by the kernels' names. What it returns is a `Patterns`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, TooLittleData, nearest
from desirepath.patterns.budget import share_out, stopped_by
from desirepath.patterns.closed import closed, maximal
from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.database import SequenceDatabase, check_nonempty
from desirepath.patterns.encoding import Encoded, encode
from desirepath.patterns.found import Patterns, PrefixTree
from desirepath.patterns.gauge import RUNNING, STOP, TOO_MANY, new_gauge
from desirepath.patterns.harvest import Rule
from desirepath.patterns.suffixes import search

Kind = Literal["frequent", "closed", "maximal"]
ANY_LENGTH = 2**31 - 1
MOST_LOOK_UPS = 50_000_000
"""Of a search that a budget ended, closed and maximal patterns are told among as many symbols."""
PIECES = 12
"""Work is cut so that no piece is much above this part of a thread's share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningConfig:
    """Which patterns are asked for, and what the search may cost."""

    min_support: float = 0.01
    """How many sequences must hold a pattern. A float in (0, 1] is a share of all sequences, rounded up to
    whole sequences; an int of 1 or more is their number."""
    kind: Kind = "frequent"
    """"frequent": all; "closed": no longer pattern has the same support; "maximal": no longer pattern is
    frequent. Longer patterns are looked for up to `max_length` only."""
    top_k: int = 0
    """Only this many, the largest supports first; 0 for all. Of equal supports the longer come first."""
    min_length: int = 1
    """Fewest symbols of a pattern in the answer, 1 or more."""
    max_length: int = 0
    """Most symbols of a pattern; 0 for any number."""
    max_patterns: int = 20_000_000
    """The search ends when it has met this many patterns, 1 or more."""
    max_memory_mib: int = 4096
    """The search ends rather than hold more than this many MiB beside the log, 1 or more."""
    max_seconds: float = 600.0
    """The search ends after this many seconds; 0 for no limit."""
    threads: int = 0
    """Threads that search; 0 for one a core, at most 8."""

    def __post_init__(self) -> None:
        check_support(self.min_support)
        if self.kind not in get_args(Kind):
            raise ConfigError(
                f"kind must be one of {', '.join(get_args(Kind))}; got '{self.kind}'. "
                f"{nearest(self.kind, get_args(Kind))}"
            )
        for name, least in (
            ("top_k", 0), ("min_length", 1), ("max_length", 0), ("max_patterns", 1), ("max_memory_mib", 1),
            ("max_seconds", 0), ("threads", 0),
        ):  # fmt: skip
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} must be {least} or more; got {getattr(self, name)}.")
        if self.max_length and self.max_length < self.min_length:
            raise ConfigError(
                f"max_length must be 0 for any or at least min_length, {self.min_length}; "
                f"got {self.max_length}."
            )

    @property
    def n_threads(self) -> int:
        """Threads that search."""
        return self.threads or min(8, len(os.sched_getaffinity(0)))


def check_support(min_support: float) -> None:
    """Raise unless it is a share in (0, 1] or a count of 1 or more.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(min_support, bool) or not isinstance(min_support, int | float | np.integer | np.floating):
        raise ConfigError(f"min_support must be a share or a count; got {min_support!r}.")
    whole = isinstance(min_support, int | np.integer)
    if not (min_support >= 1 if whole else 0 < min_support <= 1):
        raise ConfigError(
            "min_support must be a share above 0 and up to 1, or a whole number of sequences from 1; "
            f"got {min_support}."
        )


def least_count(min_support: float, n_sequences: int) -> int:
    """The smallest number of sequences that is at least this share of them; a count stays as it is.

    Rounded up, as SPMF does; a hair below a whole number, as 0.07 * 100 gives, counts as that number.

    >>> least_count(0.001, 59601), least_count(0.07, 100), least_count(5, 100)
    (60, 7, 5)
    """
    if isinstance(min_support, int | np.integer):
        return int(min_support)
    return max(1, math.ceil(min_support * n_sequences * (1 - 1e-12)))


def mine(
    database: SequenceDatabase,
    config: MiningConfig | None = None,
    constraints: ConstraintConfig | None = None,
) -> Patterns:
    """The sequential patterns that enough sequences hold.

    A sequence holds a pattern that it has in this order, whatever lies between, and counts once.

    Args:
        database: the sequences.
        config: which patterns, and what the search may cost.
        constraints: gaps, spans and what a pattern must hold.

    Returns:
        The patterns in depth-first order; `stopped_by` says which budget ended the search, if one did.

    Raises:
        DataError: the database holds no event.
        TooLittleData: the least support is above the number of sequences.

    Cost: grows with the supports of all patterns found; 12 bytes an event and 12 a pattern.
    Source: prefix projection of Pei et al. (PrefixSpan, ICDE 2001); counting over last positions as in
        Yang and Kitsuregawa (LAPIN, 2005); here with suffix sets as bitmaps added upright.

    >>> database = SequenceDatabase.from_lists([["a", "b", "c"], ["a", "c"], ["b", "c"]])
    >>> mine(database, MiningConfig(min_support=2)).to_frame()["pattern"].to_list()
    [['c'], ['a', 'c'], ['b', 'c'], ['a'], ['b']]
    """
    config = config or MiningConfig()
    check_nonempty(database)
    if database.element is not None or (constraints is not None and constraints.is_set):
        from desirepath.patterns.constrained import mine_constrained

        return mine_constrained(database, config, constraints or ConstraintConfig())
    min_count = least_count(config.min_support, database.n_sequences)
    if min_count > database.n_sequences:
        raise TooLittleData(
            f"min_support must be at most the number of sequences, {database.n_sequences}; got {min_count}."
        )
    return _all(database, config, min_count)


def _all(database: SequenceDatabase, config: MiningConfig, min_count: int) -> Patterns:
    least = np.array([min_count], np.int64)
    encoded = encode(database.offsets, database.symbol_ix, database.n_symbols, least)
    if config.top_k and config.kind != "maximal":
        tree, nodes, stopped = _top(encoded, config, min_count)
    else:
        tree, _, stopped = grow(encoded, new_rule(least, config.max_length), config)
        if stopped and config.kind != "frequent":
            tree = _head(tree)
        nodes = _of_kind(tree, config.kind)
    nodes = nodes[tree.length[nodes] >= config.min_length]
    patterns = Patterns(
        tree,
        symbols=database.symbols,
        n_sequences=database.n_sequences,
        min_count=min_count,
        nodes=nodes,
        stopped_by=stopped,
    )
    return patterns.top(config.top_k) if config.top_k else patterns


def _of_kind(tree: PrefixTree, kind: Kind) -> NDArray[np.int64]:
    if kind == "frequent":
        return np.arange(len(tree))
    return np.flatnonzero(closed(tree) if kind == "closed" else maximal(tree))


def _head(tree: PrefixTree) -> PrefixTree:
    """The first patterns of an explosion, as many as can be compared with each other in seconds."""
    n = int(np.searchsorted(np.cumsum(tree.length, dtype=np.int64), MOST_LOOK_UPS))
    return PrefixTree(parent=tree.parent[:n], symbol=tree.symbol[:n], support=tree.support[:n])


def _top(encoded: Encoded, config: MiningConfig, min_count: int) -> tuple[PrefixTree, NDArray[np.int64], str]:
    """The largest supports, more than were asked for where they tie.

    The least support rises as patterns are found. Where that alone does not end the search soon, the
    supports of short patterns are found first: the k-th of them is a least support with which most of the
    search need never begin. Closed patterns are looked for among the largest k, 2k, 4k... of all: a longer
    pattern of the same support is always among them too.
    """
    wanted, longest = config.top_k, config.max_length or ANY_LENGTH
    while True:
        least = min_count
        soon = replace(config, max_patterns=min(config.max_patterns, 8 * wanted + 1000))
        short = min(longest, max(2, config.min_length))
        for limits, length in ((soon, longest), (config, short), (config, longest)):
            first = np.array([least], np.int64)
            rule = new_rule(first, length, encoded.n_sequences, wanted, config.min_length)
            tree, _, stopped = grow(encoded, rule, limits)
            supports = tree.support[tree.length >= config.min_length]
            if len(supports) >= wanted:
                least = max(least, int(np.partition(supports, -wanted)[-wanted]))
            if not stopped and length == longest:
                break
        nodes = _of_kind(tree, config.kind)
        nodes = nodes[(tree.support[nodes] >= least) & (tree.length[nodes] >= config.min_length)]
        if len(nodes) >= config.top_k or len(supports) < wanted or stopped:
            return tree, nodes, stopped
        wanted *= 2


def new_rule(
    least: NDArray[np.int64], max_length: int = 0, n_sequences: int = 0, top_k: int = 0, min_length: int = 1
) -> Rule:
    """What a search looks for; with `top_k`, its least support rises."""
    return Rule(
        least,
        max_length or ANY_LENGTH,
        np.zeros(n_sequences + 2 if top_k else 0, np.int64),
        np.array([top_k, min_length, 0], np.int64),
    )


def grow(encoded: Encoded, rule: Rule, config: MiningConfig) -> tuple[PrefixTree, NDArray[np.int32], str]:
    """All patterns of an encoded log as a tree in depth-first order, and their supports in each class.

    Returns the tree, (P, C) supports, and in words which budget ended the search.
    """
    n_threads = config.n_threads
    pieces = _pieces(encoded.work, n_threads, may_part=len(rule.tally) == 0)
    gauge = new_gauge(config.max_patterns, config.max_memory_mib << 20, n_threads)
    # A rising least support belongs to one thread.
    rules = [
        Rule(rule.least.copy(), rule.longest, rule.tally.copy(), rule.top.copy()) for _ in range(n_threads)
    ]

    def run(piece: int, worker: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        first, stop, part, parts = pieces[piece]
        return search(
            encoded.source, encoded.entries, (first, stop), (part, parts), rules[worker], gauge, worker
        )

    found = share_out(run, _order(pieces, encoded.work), gauge, n_threads, config.max_seconds)
    met = sum(len(one[0]) for one in found if one is not None)
    if met > config.max_patterns and gauge[STOP] == RUNNING:
        gauge[STOP] = TOO_MANY  # kernels look at the budget in strides, and the last one ended in between
    tree, supports = _joined(found, pieces, len(rule.least), config.max_patterns)
    return tree, supports, stopped_by(gauge, config.max_seconds)


def _pieces(work: NDArray[np.int64], n_threads: int, *, may_part: bool) -> list[tuple[int, int, int, int]]:
    """Roots first:stop and, where one root is too much, a part of its children.

    While the least support rises, threads see different children, so that no root is parted.
    """
    if n_threads == 1 or not len(work):
        return [(0, len(work), 0, 1)]
    share = max(1.0, float(work.sum()) / (PIECES * n_threads))
    pieces = []
    first = 0
    while first < len(work):
        if work[first] > share:
            parts = min(64, math.ceil(work[first] / share) + 1) if may_part else 1
            pieces += [(first, first + 1, part, parts) for part in range(parts)]
            first += 1
            continue
        stop, total = first, 0.0
        while stop < len(work) and work[stop] <= share and total < share:
            total += float(work[stop])
            stop += 1
        pieces.append((first, stop, 0, 1))
        first = stop
    return pieces


def _order(pieces: list[tuple[int, int, int, int]], work: NDArray[np.int64]) -> list[int]:
    """Pieces, the costliest first."""
    cost = [float(work[first:stop].sum()) / parts for first, stop, _, parts in pieces]
    return sorted(range(len(pieces)), key=lambda piece: -cost[piece])


def _joined(
    found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]] | None],
    pieces: list[tuple[int, int, int, int]],
    n_classes: int,
    most: int,
) -> tuple[PrefixTree, NDArray[np.int32]]:
    """One tree of all pieces and its (P, C) supports; a root that was shared out comes once."""
    parents, symbols, supports = [], [], []
    n, root, root_of = 0, 0, -1
    for one, (first, _, _, parts) in zip(found, pieces, strict=True):
        if one is None or not len(one[0]):
            continue
        parent, symbol, support = one
        if parts == 1 or first != root_of:
            root, root_of = n, first
            parents.append(np.where(parent < 0, parent, parent + np.int32(n)))
        else:  # node 0 is the root that an earlier part brought
            parents.append(np.where(parent[1:] > 0, parent[1:] + np.int32(n - 1), np.int32(root)))
            symbol, support = symbol[1:], support[n_classes:]
        symbols.append(symbol)
        supports.append(support)
        n += len(symbol)
    none = np.zeros(0, np.int32)
    parent = np.concatenate([none, *parents])[:most]
    support = np.concatenate([none, *supports]).reshape(-1, n_classes)[:most]
    total = support[:, 0] if n_classes == 1 else support.sum(axis=1, dtype=np.int32)
    return PrefixTree(parent=parent, symbol=np.concatenate([none, *symbols])[:most], support=total), support
