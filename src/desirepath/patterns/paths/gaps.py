# SPDX-License-Identifier: Apache-2.0
"""Time between two steps: from each start to the end that follows it.

Starts that no end follows are kept, since leaving them out would make everything look fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import kernel
from desirepath.patterns.paths.selection import Names, check_ordered, symbol_mask
from desirepath.patterns.paths.shares import check_confidence

BOUNDS_S = (10.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0)
"""Where people part times: 10 s, 1, 5 and 15 minutes, 1 and 6 hours, a day, a week, 30 days."""


def time_between(
    database: SequenceDatabase,
    start: Names,
    end: Names,
    *,
    which: Literal["nearest", "first", "every"] = "nearest",
) -> pl.DataFrame:
    """One row a start: `sequence`, `row` of the start (in the `Sequences` read), `steps` and `gap_s`.

    `steps` counts events from the start to the next `end` after it (1: the very next), `gap_s` the seconds;
    both are null where no end follows. Events in both sets end one wait and open the next.

    Args:
        database: sequences of users or sessions.
        start: the event that waiting begins with, or several.
        end: the event that ends it, or several.
        which: of several starts before one end: "nearest" counts the last, "first" the first, "every" all.

    Raises:
        ConfigError: a name never occurs.

    >>> world = SequenceDatabase.from_lists([["a", "a", "b", "a"]])
    >>> time_between(world, "a", "b").select("row", "gap_s").rows()
    [(1, 1.0), (3, None)]
    """
    check_ordered(database)
    if which not in ("nearest", "first", "every"):
        raise ConfigError(f"which must be 'nearest', 'first' or 'every'; got '{which}'.")
    opens, closes = symbol_mask(database, start, "start"), symbol_mask(database, end, "end")
    mode = ("nearest", "first", "every").index(which)
    begun, ended, sequence = _waits(database.offsets, database.symbol_ix, opens, closes, mode)
    met = ended >= 0
    gap_s = np.where(met, database.time_s[ended] - database.time_s[begun], np.nan)
    return pl.DataFrame(
        {
            "sequence": sequence,
            "row": database.row[begun],
            "steps": pl.Series(ended - begun).set(pl.Series(~met), None),
            "gap_s": pl.Series(gap_s, nan_to_null=True),
        }
    )


def gap_summary(gaps: pl.DataFrame, quantiles: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9)) -> pl.DataFrame:
    """One row: `starts`, `met` (those with an end), `share_met`, `mean_s`, and quantiles such as `q50_s`.

    Times are those of the starts that were met; read them beside `share_met`.
    """
    met = gaps["gap_s"].drop_nulls()
    times = {f"q{100 * check_confidence(q):g}_s": met.quantile(q, "linear") for q in quantiles}
    share = len(met) / gaps.height if gaps.height else None
    columns = {"starts": gaps.height, "met": len(met), "share_met": share, "mean_s": met.mean(), **times}
    types = {name: pl.Int64 if name in ("starts", "met") else pl.Float64 for name in columns}
    return pl.DataFrame({name: [value] for name, value in columns.items()}, schema=types)


def gap_counts(
    gaps: pl.DataFrame, start: str, end: str, bounds_s: Sequence[float] = BOUNDS_S
) -> pl.DataFrame:
    """How many starts were met within which time, a span a row, and in the last row those never met.

    Columns: `from` and `to` (the names given), `above_s` and `up_to_s` (seconds; the first span begins and
    the last ends nowhere, and both are null where no end follows), `starts`, `share` of all starts. The
    rows add up to all starts.

    >>> gaps = pl.DataFrame({"gap_s": [0.5, 60.0, 61.0, None]})
    >>> gap_counts(gaps, "a", "b", [60.0]).select("above_s", "up_to_s", "starts").rows()
    [(None, 60.0, 2), (60.0, None, 1), (None, None, 1)]
    """
    met = gaps["gap_s"].drop_nulls().to_numpy()
    edges = np.asarray(bounds_s, np.float64)
    within = np.bincount(np.searchsorted(edges, met), minlength=len(edges) + 1)
    counts = [*within.tolist(), gaps.height - len(met)]
    return pl.DataFrame(
        {
            "from": start,
            "to": end,
            "above_s": pl.Series([None, *edges, None], dtype=pl.Float64),
            "up_to_s": pl.Series([*edges, None, None], dtype=pl.Float64),
            "starts": pl.Series(counts, dtype=pl.Int64),
            "share": pl.Series(counts, dtype=pl.Float64) / max(1, gaps.height),
        }
    )


@kernel
def _waits(
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int32],
    opens: NDArray[np.bool_],
    closes: NDArray[np.bool_],
    mode: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows of starts, rows of their ends or -1, and their sequences; mode 0 nearest, 1 first, 2 every."""
    most = 0
    for i in range(len(symbol)):
        most += opens[symbol[i]]
    begun, ended = np.empty(most, np.int64), np.full(most, -1, np.int64)
    sequence = np.empty(most, np.int64)
    n = 0
    for s in range(len(offsets) - 1):
        waiting = n  # starts from here on have not met their end
        for i in range(offsets[s], offsets[s + 1]):
            if closes[symbol[i]]:
                ended[waiting:n] = i
                waiting = n
            if opens[symbol[i]]:
                if mode == 2 or n == waiting:
                    begun[n], sequence[n] = i, s
                    n += 1
                elif mode == 0:
                    begun[n - 1] = i
    return begun[:n].copy(), ended[:n].copy(), sequence[:n].copy()
