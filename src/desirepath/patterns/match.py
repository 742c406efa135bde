# SPDX-License-Identifier: Apache-2.0
"""From a pattern back to the people: who holds it, in which events, when, and how long each step took.

It finds matches exactly as the miners count them; its rows point into the `Sequences` of the database.
"""

from __future__ import annotations

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.patterns.constrained import prepare
from desirepath.patterns.constraints import ConstraintConfig, check_database
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.found import Patterns, PrefixTree
from desirepath.patterns.matrix import occurrence_only
from desirepath.patterns.projection import HI, LO, SYMBOL, TOGETHER, TOP
from desirepath.patterns.spelling import Spelled, tree_of

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.String,
    "sequence": pl.Int64,
    "match": pl.Int64,
    "positions": pl.List(pl.Int64),
    "rows": pl.List(pl.Int64),
    "times": pl.List(pl.Datetime("us", "UTC")),
    "step_s": pl.List(pl.Float64),
    "duration_s": pl.Float64,
}


def match(
    database: SequenceDatabase,
    pattern: Spelled | Patterns,
    constraints: ConstraintConfig | None = None,
    *,
    every: bool = False,
) -> pl.DataFrame:
    """Who holds the pattern and in which events.

    Of all matches in a sequence the one that is over first is taken; of those that end there, the one whose
    steps come latest, decided from the end backwards: the shortest way to the first success. With `every`,
    the search begins anew after each match, with the next element; so the matches do not overlap, and there
    are as many as can be.

    Args:
        database: the sequences.
        pattern: names in order, or what a miner found; with several patterns a column `pattern` says which.
        constraints: gaps and spans of a match.
        every: all matches that do not overlap, in place of the first.

    Returns:
        One row a match, by sequence: user_id, sequence (its number in the database), match (0, 1, 2... in
        its sequence), positions (events of the sequence, from 0), rows (of the `Sequences`), times, step_s
        (seconds from each event to the next), duration_s.

    Cost: one pass over the events of the pattern's symbols, a pattern.

    Raises:
        ConfigError: a name never occurs.

    >>> log = SequenceDatabase.from_lists([["a", "c", "b"], ["b", "a"], ["a", "a", "b"]])
    >>> match(log, ["a", "b"]).select("user_id", "positions", "step_s").rows()
    [('0', [0, 2], [2.0]), ('2', [1, 2], [1.0])]
    """
    if not isinstance(pattern, Patterns):
        if isinstance(pattern, str):
            raise ConfigError(f"A pattern must be a list of names; got the text '{pattern}'.")
        tree, nodes = tree_of(database.symbols, [pattern])
        return _frame(database, *_traced(database, tree, int(nodes[0]), constraints, every))
    tree, nodes = tree_of(database.symbols, pattern)
    names = pattern.names()
    tables = [
        _frame(database, *_traced(database, tree, int(node), constraints, every)).insert_column(
            0, pl.Series("pattern", [names[i]], dtype=pl.List(pl.String)).new_from_index(0, 1)
        )
        for i, node in enumerate(nodes)
    ]
    return pl.concat(tables) if tables else pl.DataFrame(schema={"pattern": pl.List(pl.String), **SCHEMA})


def _traced(
    database: SequenceDatabase,
    tree: PrefixTree,
    node: int,
    constraints: ConstraintConfig | None,
    every: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(M, L) rows of the database for each match, and (M,) number of the match in its sequence."""
    check_database(database)
    _, symbols = tree.spelled(np.array([node]))
    joined = np.zeros(len(symbols), bool)
    if tree.joined is not None:
        at = node
        for i in range(len(symbols) - 1, -1, -1):
            joined[i] = tree.joined[at]
            at = int(tree.parent[at])
    only = np.zeros(database.n_symbols, bool)
    only[symbols] = True
    prepared = prepare(database, occurrence_only(constraints), 1, only=only, all_ends=True)
    place = np.full(database.n_symbols, -1, np.int32)
    place[prepared.symbols] = np.arange(len(prepared.symbols), dtype=np.int32)
    found, ordinal = _trace(prepared.rows, prepared.offsets, place[symbols], joined, every)
    return prepared.row[found], ordinal


def _frame(database: SequenceDatabase, row_ML: NDArray[np.int64], ordinal: NDArray[np.int64]) -> pl.DataFrame:
    n, length = row_ML.shape
    if not n:
        return pl.DataFrame(schema=SCHEMA)
    sequence = np.searchsorted(database.offsets, row_ML[:, 0], side="right") - 1
    time_ML = np.asarray(database.time_s)[row_ML]
    micros = np.rint(time_ML * 1e6).astype(np.int64)
    times = pl.Series(micros, dtype=pl.Array(pl.Int64, length)).cast(pl.Array(pl.Datetime("us"), length))
    step = np.diff(time_ML, axis=1)
    steps = pl.Series(step, dtype=pl.Array(pl.Float64, length - 1)).arr.to_list() if length > 1 else None
    none = pl.Series([[]], dtype=pl.List(pl.Float64)).new_from_index(0, n)
    return pl.DataFrame(
        {
            "user_id": database.users.decode(database.user_ix[sequence]),
            "sequence": sequence.astype(np.int64),
            "match": ordinal,
            "positions": pl.Series(row_ML - database.offsets[sequence][:, None]).arr.to_list(),
            "rows": pl.Series(np.asarray(database.row)[row_ML]).arr.to_list(),
            "times": times.arr.to_list().cast(pl.List(pl.Datetime("us", "UTC"))),
            "step_s": none if steps is None else steps,
            "duration_s": time_ML[:, -1] - time_ML[:, 0],
        }
    )


@numba.njit(nogil=True, cache=True)
def _trace(
    rows: NDArray[np.int32],
    offsets: NDArray[np.int64],
    pattern: NDArray[np.int32],
    joined: NDArray[np.bool_],
    every: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Matches, row by row: for each step the rows where it may be reached, each with the latest step before.

    The latest step before a row also has the latest start (see `projection.count`), so that a match that
    fits the span is found if there is one.
    """
    symbol, lo, hi = rows[SYMBOL], rows[LO], rows[HI]
    top, together = rows[TOP], rows[TOGETHER]
    length, longest = len(pattern), 0
    for s in range(len(offsets) - 1):
        longest = max(longest, offsets[s + 1] - offsets[s])
    # For each step and row reached: the row, one past the last row its start allows, the step before.
    reached = np.empty((length, longest, 3), np.int64)
    n_reached, pointer = np.zeros(length, np.int64), np.zeros(length, np.int64)
    found, ordinal, n_found = np.empty((64, length), np.int64), np.empty(64, np.int64), 0
    for s in range(len(offsets) - 1):
        row, n_here = offsets[s], 0
        n_reached[:] = 0
        pointer[:] = -1
        while row < offsets[s + 1]:
            complete = False
            for step in range(length - 1, -1, -1):
                if symbol[row] != pattern[step]:
                    continue
                before, limit = -1, top[row]
                if step > 0:
                    if joined[step]:
                        before = n_reached[step - 1] - 1
                        if before < 0 or together[reached[step - 1, before, 0]] <= row:
                            continue
                    else:
                        before = pointer[step]
                        while (
                            before + 1 < n_reached[step - 1] and lo[reached[step - 1, before + 1, 0]] <= row
                        ):
                            before += 1
                        pointer[step] = before
                        if before < 0 or row >= hi[reached[step - 1, before, 0]]:
                            continue
                    limit = reached[step - 1, before, 1]
                    if row >= limit:
                        continue
                at = n_reached[step]
                reached[step, at, 0], reached[step, at, 1], reached[step, at, 2] = row, limit, before
                n_reached[step] += 1
                if step == length - 1:
                    complete = True
                    break
            if not complete:
                row += 1
                continue
            if n_found == len(found):
                more = np.empty((2 * n_found, length), np.int64)
                more[:n_found] = found
                found = more
                ordinal = np.append(ordinal, np.empty(n_found, np.int64))
            at = n_reached[length - 1] - 1
            for step in range(length - 1, -1, -1):
                found[n_found, step] = reached[step, at, 0]
                at = reached[step, at, 2]
            ordinal[n_found] = n_here
            n_here += 1
            n_found += 1
            if not every:
                break
            row = together[row]
            n_reached[:] = 0
            pointer[:] = -1
    return found[:n_found], ordinal[:n_found]
