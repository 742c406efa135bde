# SPDX-License-Identifier: Apache-2.0
"""Part of a database: some sequences whole, or each sequence between two of its events.

It knows the names that path tables give to beginnings, ends and the rest. Every path function reads
databases that come from here as well as whole ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, ShapeError, nearest
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import kernel
from desirepath.sequences.queries import ranges

START = "<start>"
"""Before the first event of a sequence."""
END = "<end>"
"""After the last event of a sequence."""
OTHER = "<other>"
"""All that a table does not name."""
MORE = "<more>"
"""The sequence goes on beyond what a table shows."""

Names = str | Iterable[str]
"""One name or several."""


def name_set(names: Names) -> tuple[str, ...]:
    """One name or several as a tuple without doubles, in their order."""
    return (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))


def symbol_mask(database: SequenceDatabase, names: Names, role: str) -> NDArray[np.bool_]:
    """(n_symbols,) which symbols are named.

    Raises:
        ConfigError: no name is given, or one never occurs.
    """
    chosen = name_set(names)
    if not chosen:
        raise ConfigError(f"{role} must name at least one event; it names none.")
    mask = np.zeros(database.n_symbols, bool)
    for name in chosen:
        index = database.symbols.index(name)
        if index is None:
            known = database.symbols.ids.to_list()
            raise ConfigError(
                f"{role} must name events that occur; '{name}' never does. {nearest(name, known)}"
            )
        mask[index] = True
    return mask


def check_ordered(database: SequenceDatabase) -> None:
    """Raise where there is no path to read.

    Raises:
        DataError: no sequence holds an event.
        ConfigError: events of one instant were made sets, which have no order.
    """
    if not database.n_events:
        raise DataError("Paths need at least one event; the database holds none. Select more of the log.")
    if database.element is not None:
        raise ConfigError(
            "Paths need one event after the other; this database holds sets of simultaneous events. "
            "Make it with simultaneous=False."
        )


def word_series(database: SequenceDatabase, *extra: str) -> pl.Series:
    """The names of all symbols, then the extra ones, which so have indexes from `n_symbols`."""
    return pl.concat([database.symbols.ids, pl.Series("id", extra, dtype=pl.String)])


def select(database: SequenceDatabase, chosen: NDArray[np.bool_] | pl.Series) -> SequenceDatabase:
    """Only the sequences where `chosen` is true, whole; names and users stay as they are.

    Shapes: chosen (n_sequences,) bool.     Cost: one pass over the chosen events.
    """
    mask = np.asarray(chosen)
    if mask.shape != (database.n_sequences,) or mask.dtype != bool:
        raise ShapeError(
            f"chosen must be {database.n_sequences} booleans, one a sequence; got {mask.dtype} of shape "
            f"{mask.shape}."
        )
    return _cut(database, np.flatnonzero(mask), database.offsets[:-1][mask], database.offsets[1:][mask])


def with_ends(database: SequenceDatabase, start: Names = (), end: Names = ()) -> SequenceDatabase:
    """Only the sequences whose first event is one of `start` and whose last is one of `end`.

    Nothing given is no condition. What lies between plays no part.

    >>> world = SequenceDatabase.from_lists([["a", "b"], ["b", "a", "b"], ["a"]])
    >>> with_ends(world, start="a", end=["b", "c"]).n_sequences
    Traceback (most recent call last):
    desirepath.errors.ConfigError: end must name events that occur; 'c' never does. Known: a, b.
    >>> with_ends(world, start="a", end="b").n_sequences
    1
    """
    filled = np.diff(database.offsets) > 0
    keep = filled.copy() if start or end else np.ones(database.n_sequences, bool)
    for names, role, row in (
        (start, "start", database.offsets[:-1]),
        (end, "end", database.offsets[1:] - 1),
    ):
        if names:
            mask = symbol_mask(database, names, role)
            keep[filled] &= mask[database.symbol_ix[row[filled]]]
    return select(database, keep)


def between(database: SequenceDatabase, start: Names = (), end: Names = ()) -> SequenceDatabase:
    """Each sequence from its first `start` to the first `end` after it, both included.

    Sequences without them are left out. Without `start` a sequence counts from its beginning; without
    `end`, to its end. An event that is both opens a path and needs a second one to close it.
    """
    everything = np.ones(database.n_symbols, bool)
    opens = symbol_mask(database, start, "start") if start else everything
    closes = symbol_mask(database, end, "end") if end else everything
    first, stop = _bounds(
        database.offsets, database.symbol_ix, opens, closes, bool(start), bool(end)
    )  # fmt: skip
    keep = np.flatnonzero(first >= 0)
    return _cut(database, keep, first[keep], stop[keep])


def _cut(
    database: SequenceDatabase,
    sequence: NDArray[np.int64],
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
) -> SequenceDatabase:
    rows = ranges(first, stop)
    return SequenceDatabase(
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(stop - first, dtype=np.int64)]),
        symbol_ix=database.symbol_ix[rows],
        time_s=database.time_s[rows],
        symbols=database.symbols,
        user_ix=database.user_ix[sequence],
        users=database.users,
        row=database.row[rows],
        element=None if database.element is None else database.element[rows],
    )


@kernel
def _bounds(
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int32],
    opens: NDArray[np.bool_],
    closes: NDArray[np.bool_],
    has_start: bool,
    has_end: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n = len(offsets) - 1
    first, stop = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    for s in range(n):
        i, z = offsets[s], offsets[s + 1]
        if has_start:
            while i < z and not opens[symbol[i]]:
                i += 1
            if i == z:
                continue
        j = z
        if has_end:
            j = i + 1 if has_start else i
            while j < z and not closes[symbol[j]]:
                j += 1
            if j == z:
                continue
            j += 1
        first[s], stop[s] = i, j
    return first, stop
