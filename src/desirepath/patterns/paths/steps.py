# SPDX-License-Identifier: Apache-2.0
"""What happens at each step: the step matrix, and the links between steps for a Sankey diagram.

Steps count from the beginning, from the end, or from an anchor event. What has not begun, has ended, or is
not named has a row of its own, so that every step adds up to the sequences read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import kernel
from desirepath.patterns.paths.selection import (
    END,
    MORE,
    OTHER,
    START,
    check_ordered,
    symbol_mask,
    word_series,
)

NOWHERE = np.iinfo(np.int64).min
"""The origin of a sequence that has no anchor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsConfig:
    """Which steps are looked at, and how many events are named."""

    n_steps: int = 10
    """Steps shown; with an anchor, those after it. 1 to 1000."""
    align: Literal["start", "end", "anchor"] = "start"
    """What steps count from: "start" gives 1, 2, ...; "end" ..., -2, -1; "anchor" ..., -1, 0, 1, ..."""
    anchor: tuple[str, ...] = ()
    """Events of which the first or last occurrence is step 0; sequences without one are left out."""
    occurrence: Literal["first", "last"] = "first"
    """Which occurrence of the anchor counts."""
    n_before: int = 3
    """Steps shown before the anchor, 0 to 1000."""
    top: int | None = None
    """Events named at each step, the most frequent; the others become "<other>". None names all."""

    def __post_init__(self) -> None:
        if not 1 <= self.n_steps <= 1000 or not 0 <= self.n_before <= 1000:
            raise ConfigError(
                f"n_steps must be 1 to 1000 and n_before 0 to 1000; got {self.n_steps} and {self.n_before}."
            )
        if self.align not in ("start", "end", "anchor"):
            raise ConfigError(f"align must be 'start', 'end' or 'anchor'; got '{self.align}'.")
        if self.occurrence not in ("first", "last"):
            raise ConfigError(f"occurrence must be 'first' or 'last'; got '{self.occurrence}'.")
        if (self.align == "anchor") != bool(self.anchor):
            raise ConfigError("An anchor goes with align='anchor', and that with an anchor; one is missing.")
        if self.top is not None and self.top < 1:
            raise ConfigError(f"top must be 1 or more, or None for all; got {self.top}.")

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The steps shown."""
        first = {"start": 1, "end": -self.n_steps, "anchor": -self.n_before}[self.align]
        last = {"start": self.n_steps, "end": -1, "anchor": self.n_steps}[self.align]
        return np.arange(first, last + 1)


def step_matrix(database: SequenceDatabase, config: StepsConfig | None = None) -> pl.DataFrame:
    """Which share of the sequences stands at each event, step by step.

    One row a step and event that occurs there, most frequent first: `step`, `symbol`, `count`, `share`.
    "<end>" holds the sequences that are over, "<start>" those that have not begun, "<other>" the events
    beyond `top`; so the counts of a step sum to the sequences read (those with the anchor, where there is
    one) and its shares to 1.

    Raises:
        ConfigError: the anchor never occurs.
        DataError: the database holds no event.

    Cost: one visit of each shown event.

    >>> world = SequenceDatabase.from_lists([["a", "b"], ["a"]])
    >>> step_matrix(world, StepsConfig(n_steps=2)).rows()
    [(1, 'a', 2, 1.0), (2, 'b', 1, 0.5), (2, '<end>', 1, 0.5)]
    """
    config = config or StepsConfig()
    origin = _origins(database, config)
    numbers = config.numbers
    counts = _step_counts(
        database.offsets, database.symbol_ix, origin, len(numbers), database.n_symbols
    )  # fmt: skip
    group = _grouped(counts[:, :-2], config.top)
    column, code = np.nonzero(counts)
    other = database.n_symbols + 2
    is_event = code < database.n_symbols
    named = np.where(is_event, group[column, np.minimum(code, database.n_symbols - 1)], True)
    table = pl.DataFrame(
        {
            "step": numbers[column],
            "code": np.where(named, code, other),
            "count": counts[column, code],
        }
    )
    table = (
        table.group_by("step", "code")
        .agg(pl.col("count").sum())
        .sort("step", pl.col("code") >= database.n_symbols, -pl.col("count"), "code")
    )
    words = word_series(database, START, END, OTHER)
    return table.select(
        "step",
        words.gather(table["code"]).alias("symbol"),
        "count",
        share=pl.col("count") / pl.col("count").sum().over("step"),
    )


def sankey(database: SequenceDatabase, config: StepsConfig | None = None) -> pl.DataFrame:
    """The links of a Sankey diagram: how many sequences go from which event to which, step by step.

    One row a link: `step` (of its source), `source`, `target`, `count`, `share` of the sequences read. The
    `top` events of each step are named (10 unless said), all others are "<other>" there. Paths come from
    "<start>" and go to "<end>"; where they are cut by the steps shown they come from or go to "<more>". So
    links out of "<start>" and "<more>" sum to the sequences, links into "<end>" and "<more>" as well, and
    what comes into an event at a step is what goes out of it.

    Cost: two visits of each shown event.

    >>> world = SequenceDatabase.from_lists([["a", "b"], ["a", "b", "c"]])
    >>> sankey(world, StepsConfig(n_steps=2)).select("step", "source", "target", "count").rows()
    [(0, '<start>', 'a', 2), (1, 'a', 'b', 2), (2, 'b', '<end>', 1), (2, 'b', '<more>', 1)]
    """
    config = config or StepsConfig()
    n = database.n_symbols
    numbers = config.numbers
    origin = _origins(database, config)
    width = len(numbers) + 2  # one more on either side, where everything becomes a beginning or an end
    origin = np.where(origin == NOWHERE, NOWHERE, origin - 1)
    counts = _step_counts(database.offsets, database.symbol_ix, origin, width, n)
    named = _grouped(counts[:, :-2], config.top or 10)
    named[[0, -1]] = False
    start, end, other, more = range(4)
    group = np.full((width, n + 2), other, np.int32)
    group[[0, -1]] = more
    group[:, n], group[:, n + 1] = start, end
    column, code = np.nonzero(named)
    rank = np.arange(len(column)) - np.searchsorted(column, column)
    group[column, code] = (4 + rank).astype(np.int32)
    n_groups = 4 + int(rank.max(initial=-1)) + 1
    links = _link_counts(database.offsets, database.symbol_ix, origin, group, n_groups)
    step, source, target = np.nonzero(links)
    code_of = np.full((width, n_groups), n + 2, np.int64)  # by group: the index of its name
    code_of[:, [start, end, other, more]] = [n, n + 1, n + 2, n + 3]
    code_of[column, 4 + rank] = code
    words = word_series(database, START, END, OTHER, MORE)
    table = pl.DataFrame(
        {
            "step": step + numbers[0] - 1,
            "source": words.gather(code_of[step, source]),
            "target": words.gather(code_of[step + 1, target]),
            "count": links[step, source, target],
        }
    )
    n_read = int(np.count_nonzero(origin != NOWHERE))
    return table.with_columns(share=pl.col("count") / max(1, n_read)).sort(
        "step", "count", "source", "target", descending=[False, True, False, False]
    )


def _origins(database: SequenceDatabase, config: StepsConfig) -> NDArray[np.int64]:
    """(S,) the row at the first shown step, which may lie outside its sequence; NOWHERE if left out."""
    check_ordered(database)
    if config.align == "start":
        return np.asarray(database.offsets[:-1])
    if config.align == "end":
        return np.asarray(database.offsets[1:]) - config.n_steps
    mask = symbol_mask(database, config.anchor, "anchor")
    row = _anchors(database.offsets, database.symbol_ix, mask, config.occurrence == "last")
    return np.where(row < 0, NOWHERE, row - config.n_before)


def _grouped(counts: NDArray[np.int64], top: int | None) -> NDArray[np.bool_]:
    """(W, n) which events are named at each step: those that occur, or the `top` of them."""
    if top is None or top >= counts.shape[1]:
        return counts > 0
    named = np.zeros(counts.shape, bool)
    best = np.argsort(-counts, axis=1, kind="stable")[:, :top]
    np.put_along_axis(named, best, True, axis=1)
    return named & (counts > 0)


@kernel
def _anchors(
    offsets: NDArray[np.int64], symbol: NDArray[np.int32], mask: NDArray[np.bool_], last: bool
) -> NDArray[np.int64]:
    row = np.full(len(offsets) - 1, -1, np.int64)
    for s in range(len(row)):
        for i in range(offsets[s], offsets[s + 1]):
            if mask[symbol[i]]:
                row[s] = i
                if not last:
                    break
    return row


@kernel
def _step_counts(
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int32],
    origin: NDArray[np.int64],
    width: int,
    n: int,
) -> NDArray[np.int64]:
    """(width, n + 2) sequences at each event; n stands for not begun, n + 1 for over."""
    counts = np.zeros((width, n + 2), np.int64)
    for s in range(len(origin)):
        if origin[s] == NOWHERE:
            continue
        for c in range(width):
            row = origin[s] + c
            if row < offsets[s]:
                counts[c, n] += 1
            elif row >= offsets[s + 1]:
                counts[c, n + 1] += 1
            else:
                counts[c, symbol[row]] += 1
    return counts


@kernel
def _link_counts(
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int32],
    origin: NDArray[np.int64],
    group: NDArray[np.int32],
    n_groups: int,
) -> NDArray[np.int64]:
    """(width - 1, G, G) sequences from group to group; not from before to before or from over to over."""
    width, n = group.shape[0], group.shape[1] - 2
    links = np.zeros((width - 1, n_groups, n_groups), np.int64)
    for s in range(len(origin)):
        if origin[s] == NOWHERE:
            continue
        before = -1
        for c in range(width):
            row = origin[s] + c
            code = n if row < offsets[s] else n + 1 if row >= offsets[s + 1] else symbol[row]
            if c > 0 and not (before == n and code == n) and not (before == n + 1 and code == n + 1):
                links[c - 1, group[c - 1, before], group[c, code]] += 1
            before = code
    return links
