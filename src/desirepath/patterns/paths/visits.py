# SPDX-License-Identifier: Apache-2.0
"""Visits: runs of a sequence's events without a long pause.

It knows pauses only, not session ids of a log; those are the choice of the database's maker.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import kernel
from desirepath.patterns.paths.selection import check_ordered
from desirepath.schema import TIME_DTYPE, USER


def visits(database: SequenceDatabase, gap_s: float = 1800.0) -> pl.DataFrame:
    """One row a visit, in the order of the database.

    Columns: user_id, `visit` (number within its sequence, from 0), `start` and `end` (UTC), `n_events`,
    `length_s` from first to last event (0 for one event), `pause_s` since the visit before it in the sequence
    (null for the first), `first` and `last` (names of its first and last event). `n_events` sums to the
    events of the database.

    Args:
        database: usually whole users; a new sequence always opens a visit.
        gap_s: a pause of more than this many seconds ends a visit; above 0.

    Cost: one pass over the events, then a few over the visits.
    """
    first, sequence, number = _cuts(database, gap_s)
    last = np.append(first[1:], database.n_events) - 1
    time_s, symbol = database.time_s, database.symbol_ix
    begun, ended = time_s[first], time_s[last]
    pause = np.full(len(first), np.nan)
    pause[1:] = begun[1:] - ended[:-1]
    pause[number == 0] = np.nan
    names = database.symbols.ids
    return pl.DataFrame(
        {
            USER: database.users.ids.gather(_places(database.user_ix[sequence])),
            "visit": number,
            "start": _moments(begun),
            "end": _moments(ended),
            "n_events": (last - first + 1).astype(np.int32),
            "length_s": ended - begun,
            "pause_s": pl.Series(pause, nan_to_null=True),
            "first": names.gather(_places(symbol[first])),
            "last": names.gather(_places(symbol[last])),
        }
    )


def _places(index: NDArray[np.int32]) -> pl.Series:
    return pl.Series(index.view(np.uint32))  # the type that polars gathers by


def cut_visits(database: SequenceDatabase, gap_s: float = 1800.0) -> SequenceDatabase:
    """The same events with a sequence a visit; sequences without events are gone."""
    first, sequence, _ = _cuts(database, gap_s)
    return SequenceDatabase(
        offsets=np.append(first, database.n_events),
        symbol_ix=database.symbol_ix,
        time_s=database.time_s,
        symbols=database.symbols,
        user_ix=database.user_ix[sequence],
        users=database.users,
        row=database.row,
    )


def _cuts(
    database: SequenceDatabase, gap_s: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    if not gap_s > 0:
        raise ConfigError(f"gap_s must be above 0 seconds; got {gap_s}.")
    check_ordered(database)
    first, sequence, number = _visit_starts(database.offsets, database.time_s, float(gap_s))
    return first, sequence, number


def _moments(time_s: NDArray[np.float64]) -> pl.Series:
    return pl.Series(np.rint(time_s * 1e6).astype(np.int64)).cast(TIME_DTYPE)


@kernel
def _visit_starts(
    offsets: NDArray[np.int64], time_s: NDArray[np.float64], gap_s: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """(M,) the first row of each visit, its sequence, and its number in it."""
    # Room for a visit an event; pages that are never written take no memory.
    first = np.empty(offsets[-1], np.int64)
    sequence, number = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.int32)
    n = 0
    for s in range(len(offsets) - 1):
        before, visit = -np.inf, 0
        for i in range(offsets[s], offsets[s + 1]):
            if time_s[i] - before > gap_s:
                first[n], sequence[n], number[n] = i, s, visit
                n += 1
                visit += 1
            before = time_s[i]
    return first[:n].copy(), sequence[:n].copy(), number[:n].copy()
