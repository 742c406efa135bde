# SPDX-License-Identifier: Apache-2.0
"""From a pattern back to the people: who holds it, in which events, when, and how long each step took.

It finds matches exactly as the miners count them; its rows point into the `Sequences` of the database.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.patterns.constrained import prepare
from desirepath.patterns.constraints import ConstraintConfig, check_database, named, windows
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.found import Patterns, PrefixTree
from desirepath.patterns.kernels import kernel
from desirepath.patterns.matrix import occurrence_only
from desirepath.patterns.projection import HI, LO, SYMBOL, TOGETHER, TOP
from desirepath.patterns.rules import RuleConfig
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
    tables = [_frame(database, *_traced(database, tree, int(node), constraints, every)) for node in nodes]
    if not tables:
        return pl.DataFrame(schema={"pattern": pl.List(pl.String), **SCHEMA})
    which = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    return pl.concat(tables).insert_column(0, pattern.names().gather(which).alias("pattern"))


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


@kernel
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


def match_rule(
    database: SequenceDatabase,
    antecedent: Sequence[str],
    consequent: Sequence[str],
    config: RuleConfig | None = None,
) -> pl.DataFrame:
    """Who bears a rule, and in which events.

    In each sequence the first end of the antecedent is taken that the whole consequent follows, in the
    window if the configuration has one: for the antecedent the latest events up to there, for the
    consequent the first ones after. That is the time that `rules` takes the median of.

    Returns:
        One row a sequence that bears the rule: user_id, sequence, antecedent_rows and consequent_rows (of
        the `Sequences`, in the order of the names given), start_time, end_time, gap_s (from the end of the
        antecedent to the first of the consequent).

    Cost: one pass over the events.

    Raises:
        ConfigError: a name never occurs, or stands on both sides.
    """
    check_database(database)
    sides = [named(database.symbols, tuple(names), "A rule") for names in (antecedent, consequent)]
    if not (len(sides[0]) and len(sides[1])) or len(np.unique(np.concatenate(sides))) < sum(map(len, sides)):
        raise ConfigError(
            f"A rule must have distinct names on both sides; got {list(antecedent)} and {list(consequent)}."
        )
    time_s = np.asarray(database.time_s, dtype=np.float64)
    reach = windows(database.offsets, database.element, time_s, (config or RuleConfig()).limits)
    side = np.zeros(database.n_symbols, np.int32)
    for sign, symbols in zip((1, -1), sides, strict=True):
        side[symbols] = sign * np.arange(1, len(symbols) + 1)
    found_RL = _follow(
        database.offsets, side[database.symbol_ix], reach.together, reach.top, len(sides[0]), len(sides[1])
    )
    sequence = np.searchsorted(database.offsets, found_RL[:, 0], side="right") - 1
    x_RL, y_RL = np.split(found_RL, [len(sides[0])], axis=1)
    row = np.asarray(database.row)
    done, begun = x_RL.max(axis=1, initial=0), y_RL.min(axis=1, initial=len(row))
    moment = pl.Datetime("us", "UTC")
    micros = np.rint(time_s * 1e6).astype(np.int64)
    return pl.DataFrame(
        {
            "user_id": database.users.decode(database.user_ix[sequence]),
            "sequence": sequence.astype(np.int64),
            "antecedent_rows": pl.Series(row[x_RL]).arr.to_list(),
            "consequent_rows": pl.Series(row[y_RL]).arr.to_list(),
            "start_time": pl.Series(micros[x_RL.min(axis=1, initial=len(row) - 1)]).cast(moment),
            "end_time": pl.Series(micros[y_RL.max(axis=1, initial=0)]).cast(moment),
            "gap_s": time_s[np.minimum(begun, len(row) - 1)] - time_s[done],
        }
    )


@kernel
def _follow(
    offsets: NDArray[np.int64],
    side: NDArray[np.int32],
    together: NDArray[np.int32],
    top: NDArray[np.int32],
    n_x: int,
    n_y: int,
) -> NDArray[np.int64]:
    """(R, n_x + n_y) rows of the antecedent and the consequent, for each sequence that bears the rule."""
    found, n_found = np.empty((64, n_x + n_y), np.int64), 0
    here = np.empty(n_x + n_y, np.int64)
    for s in range(len(offsets) - 1):
        here[:] = -1
        tried = -1  # one past the last row that a window reached without success
        for row in range(offsets[s], offsets[s + 1]):
            if side[row] <= 0:
                continue
            here[side[row] - 1] = row
            first = here[:n_x].min()
            if first < 0 or top[first] <= tried:
                continue
            tried = top[first]
            here[n_x:] = -1
            missing = n_y
            for later in range(together[row], top[first]):
                if side[later] < 0 and here[n_x - side[later] - 1] < 0:
                    here[n_x - side[later] - 1] = later
                    missing -= 1
                    if missing == 0:
                        break
            if missing == 0:
                if n_found == len(found):
                    more = np.empty((2 * n_found, n_x + n_y), np.int64)
                    more[:n_found] = found
                    found = more
                found[n_found] = here
                n_found += 1
                break
    return found[:n_found]
