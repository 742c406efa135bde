# SPDX-License-Identifier: Apache-2.0
"""Frequent patterns of a log in parts: on several machines, or larger than memory on one.

Each part is mined alone, then all that any part found is counted exactly in every part; so the answer is
that of one machine. Parts are loaded when their turn comes and let go after it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.database import SequenceDatabase, SymbolConfig, sequence_database
from desirepath.patterns.found import Patterns, PrefixTree
from desirepath.patterns.frequent import MiningConfig, least_count, mine
from desirepath.patterns.lattice import Asked, answers_among, closed_among
from desirepath.patterns.matrix import exact_supports, occurrence_only
from desirepath.sequences import Sequences, Vocabulary

Part = SequenceDatabase | Callable[[], SequenceDatabase]
"""A database, or what loads one: a function, a `UserRange`. With processes it must be possible to pickle."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRange:
    """Loads the database of some users: those from `first` up to `last`, the last not included."""

    source: Sequences | Path
    """All users' events, or the folder that holds them; a folder is mapped, so only the range is read."""
    first: int
    last: int
    config: SymbolConfig | None = None
    """What an event is called, and what a sequence is; the defaults without it."""
    items: pl.DataFrame | None = None
    """Attributes of items, for names that come from them."""

    def __call__(self) -> SequenceDatabase:
        """The database; its rows are those of all users' events."""
        whole = Sequences.load(self.source) if isinstance(self.source, Path) else self.source
        begin, end = int(whole.offsets[self.first]), int(whole.offsets[self.last])
        piece = Sequences(
            offsets=np.asarray(whole.offsets[self.first : self.last + 1]) - begin,
            item_ix=np.asarray(whole.item_ix[begin:end]),
            action_ix=np.asarray(whole.action_ix[begin:end]),
            time_s=np.asarray(whole.time_s[begin:end]),
            users=Vocabulary(whole.users.ids[self.first : self.last], reserved=0),
            items=whole.items,
            actions=whole.actions,
            context={name: np.asarray(column[begin:end]) for name, column in whole.context.items()},
            labels=whole.labels,
        )
        database = sequence_database(piece, self.config, self.items)
        return replace(database, row=database.row + begin)


def user_ranges(
    source: Sequences | Path,
    n_parts: int,
    config: SymbolConfig | None = None,
    items: pl.DataFrame | None = None,
) -> list[UserRange]:
    """Parts of about equal numbers of events, users kept whole.

    Raises:
        ConfigError: n_parts is below 1.
    """
    if n_parts < 1:
        raise ConfigError(f"n_parts must be 1 or more; got {n_parts}.")
    whole = Sequences.load(source) if isinstance(source, Path) else source
    goals = np.linspace(0, whole.n_events, n_parts + 1)
    bounds = np.searchsorted(whole.offsets, goals, side="left")
    bounds[0], bounds[-1] = 0, whole.n_users
    pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    return [
        UserRange(source=source, first=a, last=b, config=config, items=items)
        for a, b in pairs
        if whole.offsets[b] > whole.offsets[a]
    ]


def mine_partitioned(
    parts: Sequence[Part],
    config: MiningConfig | None = None,
    constraints: ConstraintConfig | None = None,
    *,
    processes: int = 1,
) -> Patterns:
    """The patterns of all parts together, with supports exactly as one machine counts them.

    Of N sequences M must hold a pattern; then at least one part of n sequences has M * n / N of them or
    more, rounded up, for else all parts together would have fewer than M. Each part is mined with that
    number, exact in integers, and the union of what they find holds every answer.

    Args:
        parts: disjoint sequences; symbols are matched by name.
        config: as for one machine; the budgets hold for each part.
        constraints: as for one machine.
        processes: parts worked on at once, each in a process of its own; 1 works here, one after another.

    Cost: each part is loaded three times, to be measured, mined and counted. Many small parts make small
    least supports, hence many candidates that come to nothing: better few parts, as large as memory allows.

    Source: Savasere, Omiecinski and Navathe (1995), An Efficient Algorithm for Mining Association Rules in
    Large Databases, sections 3 and 4; here for sequences, with closed, maximal and top-k taken at the end.

    Raises:
        ConfigError: there are no parts, or a constraint names a symbol that never occurs.
        TooLittleData: no part holds an event, or the least support is above the number of sequences.
    """
    config, constraints = config or MiningConfig(), constraints or ConstraintConfig()
    if not len(parts) or processes < 1:
        raise ConfigError(f"parts and processes must be 1 or more; got {len(parts)} and {processes}.")
    with _workers(processes) as every:
        sizes = list(every(_size, parts))
        n_sequences = sum(n for n, _ in sizes)
        symbols = Vocabulary([], reserved=0)
        for _, names in sizes:
            symbols = symbols.extended(names)
        if not len(symbols):
            raise TooLittleData("Mining needs at least one event; no part holds any.")
        min_count = least_count(config.min_support, n_sequences)
        if min_count > n_sequences:
            raise TooLittleData(
                f"min_support must be at most the number of sequences, {n_sequences}; got {min_count}."
            )
        asked = Asked.of(symbols, constraints)  # an unknown name is said before the work begins
        local = replace(config, kind="frequent", top_k=0)
        # Closed patterns are told through patterns that need not be answers, see `lattice`.
        limits = constraints if config.kind == "frequent" else occurrence_only(constraints)
        least = [-(-min_count * n // n_sequences) for n, _ in sizes]
        jobs = [
            (part, replace(local, min_support=count))
            for part, count, (_, names) in zip(parts, least, sizes, strict=True)
            if len(names)
        ]
        mined = list(every(partial(_candidates, symbols=symbols, limits=limits), jobs))
        tree = _union([tree for tree, _ in mined], len(symbols))
        job = partial(_counts, symbols=symbols, tree=tree, limits=limits, threads=config.n_threads)
        support = np.zeros(len(tree), np.int64)
        for counts in every(job, [part for part, _ in jobs]):
            support += counts
    tree = _frequent(tree, support, min_count)
    answer = answers_among(tree, asked, config.min_length)
    if config.kind != "frequent":
        answer = closed_among(tree, answer, config.kind, rigid=constraints.bounds_gap)
    words = [f"part {i}: {word}" for i, (_, word) in enumerate(mined) if word]
    found = Patterns(
        tree,
        symbols=symbols,
        n_sequences=n_sequences,
        min_count=min_count,
        nodes=np.flatnonzero(answer),
        stopped_by="; ".join(words),
    )
    return found.top(config.top_k) if config.top_k else found


class _workers:
    """Gives a map that runs here, or in processes."""

    def __init__(self, processes: int) -> None:
        # A fresh process: one forked beside running threads may wait for a lock for ever.
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(processes, mp_context=context) if processes > 1 else None

    def __enter__(self) -> Callable[[Callable[[Any], T], Sequence[Any]], Iterator[T]]:
        return self.pool.map if self.pool else map

    def __exit__(self, *error: object) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


def _loaded(part: Part, symbols: Vocabulary | None = None) -> SequenceDatabase:
    """The part's database, its symbols numbered as in `symbols`."""
    database = part() if callable(part) else part
    if not isinstance(database, SequenceDatabase):
        raise DataError(f"A part must be or load a SequenceDatabase; got {type(database).__name__}.")
    if symbols is None or database.symbols == symbols:
        return database
    symbol = symbols.encode(database.symbols.ids).astype(np.int32)[database.symbol_ix]
    if database.element is None:
        return replace(database, symbol_ix=symbol, symbols=symbols)
    # Symbols of an element must ascend in their new numbers too.
    sequence = np.repeat(np.arange(database.n_sequences), np.diff(database.offsets))
    order = np.lexsort((symbol, database.element, sequence))
    return replace(
        database,
        symbol_ix=symbol[order],
        symbols=symbols,
        time_s=np.asarray(database.time_s)[order],
        row=np.asarray(database.row)[order],
    )


def _size(part: Part) -> tuple[int, pl.Series]:
    """Number of sequences and names of symbols."""
    database = _loaded(part)
    return database.n_sequences, database.symbols.ids if database.n_events else database.symbols.ids[:0]


def _candidates(
    job: tuple[Part, MiningConfig], *, symbols: Vocabulary, limits: ConstraintConfig
) -> tuple[PrefixTree, str]:
    """What one part finds, and the budget that ended its search."""
    part, config = job
    found = mine(_loaded(part, symbols), config, limits)
    return found.tree, found.stopped_by


def _counts(
    part: Part, *, symbols: Vocabulary, tree: PrefixTree, limits: ConstraintConfig, threads: int
) -> NDArray[np.int64]:
    """(P,) sequences of one part that hold each candidate."""
    return exact_supports(_loaded(part, symbols), tree, limits, threads=threads)


def _union(trees: Sequence[PrefixTree], n_symbols: int) -> PrefixTree:
    """One tree of all nodes, level by level; supports are 0."""
    depth = [tree.length for tree in trees]
    joined = [np.zeros(len(tree), bool) if tree.joined is None else tree.joined for tree in trees]
    code = [tree.symbol + n_symbols * j.astype(np.int64) for tree, j in zip(trees, joined, strict=True)]
    new = [np.full(len(tree) + 1, -1, np.int64) for tree in trees]  # the last entry is the parent of roots
    parents, codes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    n = 0
    for level in range(1, max((int(d.max()) for d in depth if len(d)), default=0) + 1):
        at = [np.flatnonzero(d == level) for d in depth]
        keys = [
            (new[i][trees[i].parent[nodes]] + 1) * (2 * n_symbols) + code[i][nodes]
            for i, nodes in enumerate(at)
        ]
        unique, place = np.unique(np.concatenate(keys), return_inverse=True)
        for i, piece in enumerate(np.split(place, np.cumsum([len(key) for key in keys])[:-1])):
            new[i][at[i]] = n + piece
        parents.append(unique // (2 * n_symbols) - 1)
        codes.append(unique % (2 * n_symbols))
        n += len(unique)
    parent, all_codes = np.concatenate(parents), np.concatenate(codes)
    together = all_codes >= n_symbols
    return PrefixTree(
        parent=parent.astype(np.int32),
        symbol=(all_codes % n_symbols).astype(np.int32),
        support=np.zeros(n, np.int32),
        joined=together if together.any() else None,
    )


def _frequent(tree: PrefixTree, support: NDArray[np.int64], min_count: int) -> PrefixTree:
    """The nodes with enough support; what a pattern extends has as much or more, so it stays too."""
    kept = support >= min_count
    new = np.cumsum(kept) - 1
    parent = tree.parent[kept]
    return PrefixTree(
        parent=np.where(parent < 0, -1, new[parent]).astype(np.int32),
        symbol=tree.symbol[kept],
        support=support[kept].astype(np.int32),
        joined=None if tree.joined is None else tree.joined[kept],
    )
