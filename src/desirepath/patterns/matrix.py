# SPDX-License-Identifier: Apache-2.0
"""Which sequences hold which patterns: thousands of patterns counted in one walk down their prefix tree.

It counts exactly what the miners count; segments and models read its matrix as features.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from desirepath.errors import ConfigError
from desirepath.patterns.constrained import prepare
from desirepath.patterns.constraints import ConstraintConfig, check_database
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.found import Patterns, PrefixTree
from desirepath.patterns.kernels import inner, kernel
from desirepath.patterns.projection import OWNER, TOGETHER, count, fill, longer
from desirepath.patterns.spelling import Spelled, tree_of

SUPPORTS, HELD, TIMES = range(3)
"""What a walk brings back: supports alone, who holds what, or how often too."""


def pattern_matrix(
    database: SequenceDatabase,
    patterns: Patterns | Sequence[Spelled],
    constraints: ConstraintConfig | None = None,
    *,
    rows: Literal["sequence", "user"] = "sequence",
    values: Literal["held", "times"] = "held",
    threads: int = 1,
) -> sparse.csr_matrix:
    """Who holds which pattern.

    Args:
        database: the sequences.
        patterns: what a miner found, or lists of names.
        constraints: gaps and spans of a match, as given to the miner; what it asks of patterns is not asked
            again.
        rows: a row for each sequence, or for each user: a user holds what one of his sequences holds.
        values: "held" for 0 and 1, "times" for the most matches that do not overlap (see `match`).
        threads: how many at once.

    Returns:
        (sequences or users, patterns) float32, in the order of `patterns`; the column sums of a row a
        sequence and "held" are the supports.

    Cost: a visit of each row that may follow a match for each inner node of the prefix tree; 12 bytes an
    entry.

    Raises:
        ConfigError: a name never occurs.
    """
    if rows not in ("sequence", "user") or values not in ("held", "times"):
        raise ConfigError(
            f"rows must be 'sequence' or 'user' and values 'held' or 'times'; got '{rows}' and '{values}'."
        )
    tree, nodes = tree_of(database.symbols, patterns)
    keep = np.zeros(len(tree), bool)
    keep[nodes] = True
    _, held = _walked(database, tree, constraints, keep, TIMES if values == "times" else HELD, threads)
    node, owner, times = held
    shape = (database.n_sequences, len(tree))
    value = times.astype(np.float32) if values == "times" else np.ones(len(node), np.float32)
    matrix = sparse.csr_matrix((value, (owner, node)), shape=shape)[:, nodes]
    if rows == "user":
        of_user = sparse.csr_matrix(
            (np.ones(database.n_sequences, np.float32), (database.user_ix, np.arange(database.n_sequences))),
            shape=(len(database.users), database.n_sequences),
        )
        matrix = (of_user @ matrix).tocsr()
        if values == "held":
            matrix.data[:] = 1.0
    matrix.sort_indices()
    return matrix


def exact_supports(
    database: SequenceDatabase,
    tree: PrefixTree,
    constraints: ConstraintConfig | None = None,
    *,
    threads: int = 1,
) -> NDArray[np.int64]:
    """(P,) sequences of this database that hold the pattern of each node.

    Shapes: symbols of the tree are the database's.     Cost: as `pattern_matrix`, without its entries.
    """
    support, _ = _walked(database, tree, constraints, np.zeros(len(tree), bool), SUPPORTS, threads)
    return support


def _walked(
    database: SequenceDatabase,
    tree: PrefixTree,
    constraints: ConstraintConfig | None,
    keep: NDArray[np.bool_],
    what: int,
    threads: int,
) -> tuple[NDArray[np.int64], list[NDArray[np.int32]]]:
    check_database(database)
    limits = occurrence_only(constraints)
    only = np.zeros(database.n_symbols, bool)
    only[tree.symbol] = True
    prepared = prepare(database, limits, 1, only=only, all_ends=what == TIMES)
    # A symbol of the tree may be absent from these sequences: its nodes are never reached.
    place = np.full(database.n_symbols, -1, np.int64)
    place[prepared.symbols] = np.arange(len(prepared.symbols))
    n = len(prepared.symbols)
    symbol = place[tree.symbol]
    joined = np.zeros(len(tree), bool) if tree.joined is None else tree.joined
    code = np.where(symbol < 0, -1, symbol + joined * n)
    order = np.argsort(tree.parent, kind="stable")
    begins = np.searchsorted(tree.parent[order], np.arange(-1, len(tree) + 1))
    roots = order[: begins[1]]
    roots = roots[code[roots] >= 0]
    support = np.zeros(len(tree), np.int64)
    n_shares = min(len(roots), threads * 4) if threads > 1 else 1
    shares = [roots[i::n_shares].copy() for i in range(n_shares)]

    def run(share: NDArray[np.int64]) -> tuple[NDArray[np.int32], ...]:
        first = (prepared.first_rows, prepared.first_offsets)
        children = (order, begins, code)
        flags = np.array([prepared.has_sets, prepared.first_only, what], np.int64)
        return _walk(prepared.rows, first, share, children, keep, flags, support)

    if threads == 1:
        parts = [run(share) for share in shares]
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(run, shares))
    if not parts:
        return support, [np.empty(0, np.int32)] * 3
    return support, [np.concatenate([part[i] for part in parts]) for i in range(3)]


def occurrence_only(constraints: ConstraintConfig | None) -> ConstraintConfig:
    """The same limits on a match, with nothing asked of the pattern."""
    return replace(
        constraints or ConstraintConfig(), starts_with=(), ends_with=(), contains=(), no_repeats=False
    )


@kernel
def _walk(
    rows: NDArray[np.int32],
    first: tuple[NDArray[np.int32], NDArray[np.int64]],
    roots: NDArray[np.int64],
    children: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    keep: NDArray[np.bool_],
    flags: NDArray[np.int64],
    support: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Node, owner and times of what is kept; `support` is written for every node below `roots`."""
    order, begins, codes = children
    with_sets, first_only = flags[0] != 0, flags[1] != 0
    n = len(first[1]) - 1
    tally = np.zeros((4, 2 * n + 1), np.int64)
    touched = np.empty(2 * n, np.int32)
    ends, starts = np.empty(1 << 12, np.int32), np.empty(1 << 12, np.int32)
    held, n_held = np.empty((3, 1 << 10), np.int32), 0
    pending = np.empty((256, 3), np.int64)
    for root in roots:
        begin, end = first[1][codes[root]], first[1][codes[root] + 1]
        ends, starts = longer(ends, end - begin), longer(starts, end - begin)
        ends[: end - begin] = first[0][begin:end]
        starts[: end - begin] = first[0][begin:end]
        pending[0, 0], pending[0, 1], pending[0, 2] = root, 0, end - begin
        n_pending = 1
        while n_pending:
            n_pending -= 1
            node, begin, end = pending[n_pending, 0], pending[n_pending, 1], pending[n_pending, 2]
            if n_held + end - begin > held.shape[1]:
                grown = np.empty((3, 2 * (n_held + end - begin)), np.int32)
                grown[:, :n_held] = held[:, :n_held]
                held = grown
            more = _who(rows, ends, starts, begin, end, held[:, n_held:])
            support[node] = more
            if keep[node] and flags[2]:
                held[0, n_held : n_held + more] = node
                n_held += more
            a, b = begins[node + 1], begins[node + 2]
            if a == b or begin == end:
                continue
            n_touched = count(rows, ends, starts, (begin, end), with_sets, tally, touched)
            for i in range(n_touched):
                tally[2, touched[i]] = -1
            room = end
            if n_pending + b - a > len(pending):
                taller = np.empty((2 * (n_pending + b - a), 3), np.int64)
                taller[:n_pending] = pending[:n_pending]
                pending = taller
            for child in order[a:b]:
                code = codes[child]
                if code >= 0 and tally[0, code] > 0:
                    size = tally[0, code] if first_only else tally[1, code]
                    pending[n_pending, 0], pending[n_pending, 1] = child, room
                    pending[n_pending, 2] = room + size
                    n_pending += 1
                    tally[2, code] = room
                    room += size
            if room > end:
                ends, starts = longer(ends, room), longer(starts, room)
                fill(rows, ends, starts, (begin, end), with_sets, first_only, tally)
            for i in range(n_touched):
                tally[0, touched[i]] = tally[1, touched[i]] = 0
    return held[0, :n_held].copy(), held[1, :n_held].copy(), held[2, :n_held].copy()


@inner
def _who(
    rows: NDArray[np.int32],
    ends: NDArray[np.int32],
    starts: NDArray[np.int32],
    begin: int,
    end: int,
    held: NDArray[np.int32],
) -> int:
    """Write each owner and his matches that do not overlap, earliest end first; how many owners."""
    owner, together = rows[OWNER], rows[TOGETHER]
    n, free = 0, 0
    for i in range(begin, end):
        if n == 0 or owner[ends[i]] != held[1, n - 1]:
            held[1, n], held[2, n] = owner[ends[i]], 1
            n += 1
            free = together[ends[i]]
        elif starts[i] >= free:
            held[2, n - 1] += 1
            free = together[ends[i]]
    return n
