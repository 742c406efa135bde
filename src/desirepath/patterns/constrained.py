# SPDX-License-Identifier: Apache-2.0
"""Sequential patterns under constraints, and patterns of simultaneous events.

The rows that matter are cut out, numbered anew and handed to the kernel of `growth`, first symbols in
parallel; budgets end the search with what was found so far. The unconstrained miner of single events is
`frequent`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import TooLittleData
from desirepath.patterns.budget import share_out
from desirepath.patterns.budget import stopped_by as ended_by
from desirepath.patterns.constraints import ConstraintConfig, check_database, windows
from desirepath.patterns.database import SequenceDatabase, check_nonempty
from desirepath.patterns.found import Patterns, PrefixTree
from desirepath.patterns.frequent import ANY_LENGTH, MiningConfig, least_count
from desirepath.patterns.gauge import new_gauge
from desirepath.patterns.growth import ANSWER, JOINED, grow
from desirepath.patterns.lattice import Asked, answers_among, closed_among, scaffold_of
from desirepath.patterns.projection import by_symbol, kept_rows, supports

BUNDLES_A_THREAD = 8
"""How many shares of the first symbols each thread gets, so that none ends long after the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Rows of the frequent symbols, as the kernels read them."""

    rows: NDArray[np.int32]
    """(6, N) symbol, owner and windows of each row; see `projection`."""
    symbols: NDArray[np.int32]
    """(n,) the database's index of each symbol, ascending."""
    first_rows: NDArray[np.int32]
    """Rows of each symbol, symbol by symbol."""
    first_offsets: NDArray[np.int64]
    """(n + 1,) where each symbol's rows begin."""
    offsets: NDArray[np.int64]
    """(S + 1,) first row of each sequence."""
    row: NDArray[np.int64]
    """(N,) the database's row of each."""
    asked: Asked
    """What is asked of a pattern, by the new numbers."""
    first_only: bool
    """Whether the first end in each sequence is enough."""
    has_sets: bool
    """Whether two rows share an element."""


def mine_constrained(
    database: SequenceDatabase, config: MiningConfig, constraints: ConstraintConfig | None = None
) -> Patterns:
    """All patterns with matches that meet the constraints, in as many sequences as asked.

    Args:
        database: single events, or elements of simultaneous events.
        config: support, kind, lengths (in symbols) and budgets.
        constraints: nothing by default.

    Closed and maximal are meant among the answers: a closed pattern is part of no longer answer of the same
    support, a maximal one of no longer answer at all. What counts as a part is said in `lattice`: with a
    largest gap it must stand in a row in the longer pattern, for else its matches could lie elsewhere.
    Supports of answers are exact; nodes of the tree that are none count only the matches that an answer
    could still grow from.

    Cost: one visit of each row that may follow a match, a pattern found; 24 bytes an event.

    Sources: Pei et al. (2004), Mining Sequential Patterns by Pattern-Growth: The PrefixSpan Approach,
    section 3 for the two ways to lengthen a pattern of elements, and Ayres et al. (2002), Sequential
    Pattern Mining using a Bitmap Representation, section 2 for their names. Changed: all ends of matches
    are kept, each with its latest start, in place of first ends, which cannot bear gaps and spans.

    Raises:
        ConfigError: a constraint names a symbol that never occurs.
        DataError: there is nothing to mine.
        TooLittleData: the least support is above the number of sequences.
    """
    constraints = constraints or ConstraintConfig()
    check_nonempty(database)
    check_database(database)
    min_count = least_count(config.min_support, database.n_sequences)
    if min_count > database.n_sequences:
        raise TooLittleData(
            f"min_support must be at most the number of sequences, {database.n_sequences}; got {min_count}."
        )
    # Whether an answer is closed is passed on through patterns that need not be answers themselves.
    through_all = config.kind != "frequent"
    prepared = prepare(database, constraints, min_count)
    tree, answer, stopped_by = search(prepared, config, constraints, min_count, through_all=through_all)
    if through_all and constraints.no_repeats:
        answer = answers_among(tree, Asked.of(database.symbols, constraints), config.min_length)
    nodes = np.flatnonzero(answer)
    if config.kind != "frequent":
        nodes = nodes[closed_among(tree, answer, config.kind, rigid=constraints.bounds_gap)[nodes]]
    elif constraints.bounds_pattern or config.min_length > 1:
        tree, nodes = scaffold_of(tree, nodes)
    found = Patterns(
        tree,
        symbols=database.symbols,
        n_sequences=database.n_sequences,
        min_count=min_count,
        nodes=nodes,
        stopped_by=stopped_by,
    )
    return found.top(config.top_k) if config.top_k else found


def prepare(
    database: SequenceDatabase,
    constraints: ConstraintConfig,
    min_count: int,
    *,
    only: NDArray[np.bool_] | None = None,
    all_ends: bool = False,
) -> Prepared:
    """Cut out the rows that an answer can use, and number their symbols anew in the same order.

    Args:
        database: the sequences.
        constraints: gaps, spans and what patterns hold.
        min_count: least support of a symbol.
        only: (n_symbols,) symbols to keep, all by default.
        all_ends: whether all ends of matches are wanted where the first would do.
    """
    n_symbols = database.n_symbols
    asked = Asked.of(database.symbols, constraints)
    element = np.empty(0, np.int32) if database.element is None else database.element
    kept = kept_rows(
        database.offsets,
        database.symbol_ix,
        element,
        asked.flags,
        asked.needs,
        (bool(constraints.starts_with), bool(constraints.ends_with), asked.all_bits),
    )
    frequent = supports(database.offsets, database.symbol_ix, kept, n_symbols) >= min_count
    if only is not None:
        frequent &= only
    chosen = np.flatnonzero(frequent)
    kept &= frequent[database.symbol_ix]
    place = np.full(n_symbols, -1, np.int32)
    place[chosen] = np.arange(len(chosen), dtype=np.int32)
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept, dtype=np.int64)])
    offsets = before[database.offsets]
    row = np.flatnonzero(kept)
    symbol = place[database.symbol_ix[row]]
    limits = windows(
        offsets,
        None if database.element is None else database.element[row],
        database.time_s[row],
        constraints,
        position=row.astype(np.int32),
    )
    owner = np.repeat(np.arange(database.n_sequences, dtype=np.int32), np.diff(offsets))
    has_sets = bool((limits.together > np.arange(1, len(row) + 1)).any())
    first_only = not (all_ends or has_sets or constraints.bounds_gap or constraints.bounds_span)
    first_rows, first_offsets = by_symbol(symbol, owner, len(chosen), first_only)
    return Prepared(
        rows=np.stack([symbol, owner, limits.lo, limits.hi, limits.top, limits.together]),
        symbols=chosen.astype(np.int32),
        first_rows=first_rows,
        first_offsets=first_offsets,
        offsets=offsets,
        row=row,
        asked=asked.of_symbols(chosen),
        first_only=first_only,
        has_sets=has_sets,
    )


def search(
    prepared: Prepared,
    config: MiningConfig,
    constraints: ConstraintConfig,
    min_count: int,
    *,
    through_all: bool = False,
) -> tuple[PrefixTree, NDArray[np.bool_], str]:
    """The tree of patterns found, which nodes are answers, and the budget that ended the search."""
    top_k = config.top_k if config.kind == "frequent" else 0
    n_threads = 1 if top_k else config.n_threads
    bundles = _bundles(prepared, constraints, n_threads, through_all)
    options = np.array(
        [
            min_count,
            config.min_length,
            config.max_length or ANY_LENGTH,
            prepared.first_only,
            prepared.has_sets,
            constraints.no_repeats and not through_all,
            bool(constraints.starts_with) and not through_all,
            prepared.asked.all_bits,
            top_k,
        ],
        dtype=np.int64,
    )
    gauge = new_gauge(config.max_patterns, config.max_memory_mib << 20, n_threads)

    def run(piece: int, worker: int) -> tuple[NDArray[np.int32], ...]:
        asked = prepared.asked
        first = (prepared.first_rows, prepared.first_offsets)
        return grow(prepared.rows, first, bundles[piece], asked.flags, asked.needs, options, gauge, worker)

    parts = share_out(run, list(range(len(bundles))), gauge, n_threads, config.max_seconds)
    parent, symbol, support, mark = _joined([part for part in parts if part is not None])
    most = config.max_patterns
    tree = PrefixTree(
        parent=parent[:most],
        symbol=prepared.symbols[symbol[:most]],
        support=support[:most],
        joined=mark[:most] & JOINED != 0 if prepared.has_sets else None,
    )
    return tree, mark[:most] & ANSWER != 0, ended_by(gauge, config.max_seconds)


def _bundles(
    prepared: Prepared, constraints: ConstraintConfig, threads: int, through_all: bool
) -> list[NDArray[np.int32]]:
    """First symbols in shares of about equal work; one share, in order, for one thread."""
    roots = np.arange(len(prepared.symbols), dtype=np.int32)
    if constraints.starts_with and not prepared.has_sets and not through_all:
        roots = roots[prepared.asked.flags & 1 != 0]
    weight = np.diff(prepared.first_offsets)[roots]
    order = np.argsort(-weight, kind="stable")
    if threads == 1:
        # A top-k search raises its bar the sooner the more frequent symbols come first.
        return [roots[order]] if len(roots) else []
    n_bundles = min(len(roots), threads * BUNDLES_A_THREAD)
    # Dealt out to and fro, so that each share gets a like sum of heavy and light ones.
    turn, lap = np.arange(len(roots)) % max(1, n_bundles), np.arange(len(roots)) // max(1, n_bundles)
    share = np.where(lap % 2 == 0, turn, n_bundles - 1 - turn)
    return [roots[order[share == b]] for b in range(n_bundles)]


def _joined(parts: list[tuple[NDArray[np.int32], ...]]) -> list[NDArray[np.int32]]:
    """One tree of the parts' trees, first symbols ascending whoever found them."""
    if not parts:
        return [np.empty(0, np.int32)] * 4
    sizes = [len(part[0]) for part in parts]
    shift = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    parent = np.concatenate([part[0] for part in parts]).astype(np.int64)
    parent = np.where(parent < 0, -1, parent + shift)
    symbol, support, mark = (np.concatenate([part[i] for part in parts]) for i in (1, 2, 3))
    root = np.cumsum(parent < 0) - 1
    order = np.argsort(symbol[parent < 0][root], kind="stable")
    new = np.empty(len(order), np.int64)
    new[order] = np.arange(len(order))
    parent = np.where(parent < 0, -1, new[parent])[order].astype(np.int32)
    return [parent, symbol[order], support[order], mark[order]]
