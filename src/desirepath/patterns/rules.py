# SPDX-License-Identifier: Apache-2.0
"""Sequential rules: whoever did all of X, in any order, did all of Y afterwards.

It prepares the rows, shares the antecedents out to threads and turns what the kernel finds into a table;
`foresight` puts the table to use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, TooLittleData
from desirepath.patterns.budget import share_out, stopped_by
from desirepath.patterns.constraints import ConstraintConfig, check_database, windows
from desirepath.patterns.database import SequenceDatabase, check_nonempty
from desirepath.patterns.frequent import ANY_LENGTH, check_support, least_count
from desirepath.patterns.gauge import new_gauge
from desirepath.patterns.kernels import inner, kernel
from desirepath.patterns.projection import by_symbol, supports
from desirepath.patterns.rulegrowth import RuleRows, antecedents

BUNDLES_A_THREAD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleConfig:
    """Which rules are asked for, and what the search may cost."""

    min_support: float = 0.01
    """How many sequences must bear a rule. A float in (0, 1] is a share of all sequences, rounded up; an int
    of 1 or more is their number."""
    min_confidence: float = 0.3
    """Least share, in (0, 1], of the sequences with all of X in which all of Y follows."""
    max_antecedent: int = 0
    """Most symbols of X; 0 for any number."""
    max_consequent: int = 0
    """Most symbols of Y; 0 for any number."""
    window: int = 0
    """X and Y lie within so many events in a row, 2 or more; 0 for anywhere in the sequence."""
    window_s: float = 0.0
    """X and Y lie within so many seconds, first to last event; 0 for no limit."""
    max_rules: int = 1_000_000
    """The search ends when it has found this many rules, 1 or more."""
    max_memory_mib: int = 4096
    """The search ends rather than hold more than this many MiB beside the log, 1 or more."""
    max_seconds: float = 600.0
    """The search ends after this many seconds; 0 for no limit."""
    threads: int = 0
    """Threads that search; 0 for one a core, at most 8."""

    def __post_init__(self) -> None:
        check_support(self.min_support)
        if not 0 < self.min_confidence <= 1:
            raise ConfigError(f"min_confidence must be above 0 and up to 1; got {self.min_confidence}.")
        for name, least in (
            ("max_antecedent", 0), ("max_consequent", 0), ("window", 0), ("window_s", 0), ("max_rules", 1),
            ("max_memory_mib", 1), ("max_seconds", 0), ("threads", 0),
        ):  # fmt: skip
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} must be {least} or more; got {getattr(self, name)}.")
        if self.window == 1:
            raise ConfigError("window must hold 2 events or more, one of X and one of Y, or be 0; got 1.")

    @property
    def n_threads(self) -> int:
        """Threads that search."""
        return self.threads or min(8, len(os.sched_getaffinity(0)))

    @property
    def limits(self) -> ConstraintConfig:
        """The window as limits on a match."""
        return ConstraintConfig(max_span=self.window or None, max_span_s=self.window_s or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Rules as a table, and whether they are all."""

    frame: pl.DataFrame
    """One row a rule; see `rules`."""
    stopped_by: str
    """The budget that ended the search early, in words; empty when it was complete."""


def rules(database: SequenceDatabase, config: RuleConfig | None = None) -> pl.DataFrame:
    """Sequential rules X then Y as a table, largest support first; of equals the most confident.

    X and Y are sets without a common symbol. A sequence bears the rule if after all of X, in any order, it
    has all of Y, in any order; events at once with the last of X do not come after it. With a window, X and
    Y must lie within one. The confidence is the share of these sequences among those that hold all of X,
    anywhere and without regard to a window.

    Columns: antecedent and consequent (lists of names), support, share, confidence, lift (confidence over
    the share of sequences that hold all of Y), conviction (1 - that share, over 1 - confidence; infinite for
    sure rules), median_gap_s (seconds from the end of X to the first of Y, over the sequences that bear the
    rule, each at the first end of X that Y follows), is_partial (whether a budget ended the search).

    Cost: grows with the number of rules times their supports; about 40 bytes an event.

    Sources: the rules of Fournier-Viger et al. (2011), RuleGrowth: Mining Sequential Rules Common to Several
    Sequences by Pattern-Growth, section 2, and the window of Fournier-Viger et al. (2012), TRuleGrowth. The
    search is another: antecedents are grown first, and for each one the consequents are frequent sets in
    what follows, so that the least confidence prunes as a support does.

    Raises:
        DataError: there is nothing to mine.
        TooLittleData: the least support is above the number of sequences.

    >>> log = SequenceDatabase.from_lists([["a", "b", "c"], ["b", "a", "c"], ["a", "b"]])
    >>> rules(log, RuleConfig(min_support=2)).select("antecedent", "consequent", "confidence").rows()[-1]
    (['a', 'b'], ['c'], 0.666...)
    """
    return find_rules(database, config).frame


def find_rules(database: SequenceDatabase, config: RuleConfig | None = None) -> Rules:
    """As `rules`, with the word of the budget that ended the search, if one did."""
    config = config or RuleConfig()
    check_nonempty(database)
    check_database(database)
    min_count = least_count(config.min_support, database.n_sequences)
    if min_count > database.n_sequences:
        raise TooLittleData(
            f"min_support must be at most the number of sequences, {database.n_sequences}; got {min_count}."
        )
    log, symbols = _rows(database, config, min_count)
    limits = np.array(
        [
            min_count,
            config.max_antecedent or ANY_LENGTH,
            config.max_consequent or ANY_LENGTH,
            not config.limits.is_set,
        ],
        dtype=np.int64,
    )
    bundles = _bundles(np.diff(log.by_symbol_offsets), config.n_threads)
    gauge = new_gauge(config.max_rules, config.max_memory_mib << 20, config.n_threads)

    def run(piece: int, worker: int) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
        flat, found, delay, sizes = antecedents(
            log, bundles[piece], limits, config.min_confidence, gauge, worker
        )
        return flat[: sizes[0]], found[: sizes[1]], delay[: sizes[1]]

    parts = share_out(run, list(range(len(bundles))), gauge, config.n_threads, config.max_seconds)
    done = [part for part in parts if part is not None]
    flat, found, delay = (
        (np.concatenate([part[i] for part in done]) for i in range(3))
        if done
        else (np.empty(0, np.int32), np.empty((0, 4), np.int64), np.empty(0))
    )
    word = stopped_by(gauge, config.max_seconds).replace("max_patterns", "max_rules")
    word = word.replace("set max_length, ask for closed patterns", "set max_antecedent or max_consequent")
    table = _table(database, log, symbols, flat, found, delay)
    table = table.head(config.max_rules).with_columns(is_partial=pl.lit(bool(word)))
    return Rules(frame=table, stopped_by=word)


def _rows(
    database: SequenceDatabase, config: RuleConfig, min_count: int
) -> tuple[RuleRows, NDArray[np.int64]]:
    """The rows of frequent symbols, and the database's index of each symbol."""
    everywhere = np.ones(database.n_events, bool)
    support = supports(database.offsets, database.symbol_ix, everywhere, database.n_symbols)
    symbols = np.flatnonzero(support >= min_count)
    place = np.full(database.n_symbols, -1, np.int32)
    place[symbols] = np.arange(len(symbols), dtype=np.int32)
    row = np.flatnonzero(place[database.symbol_ix] >= 0)
    symbol = place[database.symbol_ix[row]]
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(place[database.symbol_ix] >= 0)])
    offsets = before[database.offsets]
    time_s = np.asarray(database.time_s, dtype=np.float64)[row]
    element = None if database.element is None else database.element[row]
    reach = windows(offsets, element, time_s, config.limits, position=row.astype(np.int32))
    owner = np.repeat(np.arange(database.n_sequences, dtype=np.int32), np.diff(offsets))
    first, last = np.ones(len(row), bool), np.ones(len(row), bool)
    if not config.limits.is_set:
        # The first time of each symbol completes X soonest, the last is there after any X if one is.
        first, last = _edges(offsets, symbol, len(symbols))
    x_row = np.flatnonzero(first).astype(np.int32)
    rows_of, begins = by_symbol(symbol[x_row], owner[x_row], len(symbols), False)
    earlier = np.concatenate([np.zeros(1, np.int64), np.cumsum(last)])
    log = RuleRows(
        symbol=symbol,
        owner=owner,
        time_s=time_s,
        together=reach.together,
        offsets=offsets,
        by_symbol=x_row[rows_of],
        by_symbol_offsets=begins,
        x_row=x_row,
        x_offsets=np.searchsorted(x_row, offsets).astype(np.int64),
        y_symbol=symbol[last],
        y_after=earlier[reach.together].astype(np.int32),
        y_limit=earlier[reach.top].astype(np.int32),
    )
    return log, symbols


@kernel
def _edges(
    offsets: NDArray[np.int64], symbol: NDArray[np.int32], n_symbols: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) whether each row is the first, and the last, of its symbol in its sequence."""
    first, last = np.zeros(len(symbol), np.bool_), np.zeros(len(symbol), np.bool_)
    seen = np.full(n_symbols, -1, np.int64)
    for s in range(len(offsets) - 1):
        for row in range(offsets[s], offsets[s + 1]):
            if seen[symbol[row]] != s:
                seen[symbol[row]] = s
                first[row] = True
    seen[:] = -1
    for s in range(len(offsets) - 1):
        for row in range(offsets[s + 1] - 1, offsets[s] - 1, -1):
            if seen[symbol[row]] != s:
                seen[symbol[row]] = s
                last[row] = True
    return first, last


def _bundles(weight: NDArray[np.int64], threads: int) -> list[NDArray[np.int32]]:
    """First symbols in shares; a least symbol has the more to grow the lower it is."""
    roots = np.arange(len(weight), dtype=np.int32)
    n = 1 if threads == 1 else max(1, min(len(roots), threads * BUNDLES_A_THREAD))
    return [roots[i::n].copy() for i in range(n)]


def _table(
    database: SequenceDatabase,
    log: RuleRows,
    symbols: NDArray[np.int64],
    flat: NDArray[np.int32],
    found: NDArray[np.int64],
    delay: NDArray[np.float64],
) -> pl.DataFrame:
    """Names and measures, largest support first; of equals the most confident, then the shortest."""
    n = len(found)
    side = np.repeat(np.tile([False, True], n), found[:, :2].ravel())
    sizes = found[:, :2]
    of_rule = np.repeat(np.arange(n), sizes.sum(axis=1))

    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[:, 1])])
    held = _holders(ends, flat[side], log.owner[log.by_symbol], log.by_symbol_offsets)
    share_y = held / database.n_sequences
    confidence = found[:, 2] / np.maximum(1, found[:, 3])
    with np.errstate(divide="ignore", invalid="ignore"):
        conviction = np.where(confidence < 1, (1 - share_y) / (1 - confidence), np.inf)
    names = database.symbols.decode(symbols[flat])

    def lists(chosen: NDArray[np.bool_]) -> pl.Series:
        table = pl.DataFrame({"rule": of_rule[chosen], "name": names.filter(pl.Series(chosen))})
        return table.group_by("rule", maintain_order=True).agg("name")["name"]

    frame = pl.DataFrame(
        {
            "antecedent": lists(~side) if n else pl.Series([], dtype=pl.List(pl.String)),
            "consequent": lists(side) if n else pl.Series([], dtype=pl.List(pl.String)),
            "support": found[:, 2],
            "share": found[:, 2] / database.n_sequences,
            "confidence": confidence,
            "lift": confidence / np.maximum(share_y, 1e-300),
            "conviction": conviction,
            "median_gap_s": delay,
        }
    )
    order = np.lexsort((np.arange(n), sizes.sum(axis=1), -confidence, -found[:, 2]))
    return frame[order]


@kernel
def _holders(
    ends: NDArray[np.int64],
    flat: NDArray[np.int32],
    owner: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(R,) sequences that hold all of each rule's consequent, anywhere.

    Rules come with the same consequents again and again; a set met before in a table of hashes is not
    counted anew.
    """
    n = len(ends) - 1
    held = np.zeros(n, np.int64)
    size = 1
    while size < 2 * n:
        size *= 2
    slots = np.full(size, -1, np.int64)
    for rule in range(n):
        a, b = ends[rule], ends[rule + 1]
        key = np.uint64(14695981039346656037)
        for i in range(a, b):
            key = (key ^ np.uint64(flat[i])) * np.uint64(1099511628211)
        slot = np.int64((key ^ (key >> np.uint64(32))) & np.uint64(size - 1))
        known = -1
        while slots[slot] >= 0:
            other = slots[slot]
            if _equal(flat, a, b, ends[other], ends[other + 1]):
                known = other
                break
            slot = (slot + 1) & (size - 1)
        if known >= 0:
            held[rule] = held[known]
        else:
            slots[slot] = rule
            held[rule] = _common(flat[a:b], owner, offsets)
    return held


@inner
def _equal(flat: NDArray[np.int32], a: int, b: int, c: int, d: int) -> bool:
    if b - a != d - c:
        return False
    same = True
    for i in range(b - a):
        same &= flat[a + i] == flat[c + i]
    return same


@inner
def _common(members: NDArray[np.int32], owner: NDArray[np.int32], offsets: NDArray[np.int64]) -> int:
    """Sequences in the lists of all members; each list ascends."""
    at = offsets[members].copy()
    n, current = 0, -1
    while True:
        # The next owner that the first list offers, if every other list can reach it.
        while at[0] < offsets[members[0] + 1] and owner[at[0]] <= current:
            at[0] += 1
        if at[0] == offsets[members[0] + 1]:
            return n
        current = owner[at[0]]
        everywhere = True
        for i in range(1, len(members)):
            while at[i] < offsets[members[i] + 1] and owner[at[i]] < current:
                at[i] += 1
            if at[i] == offsets[members[i] + 1]:
                return n
            everywhere &= owner[at[i]] == current
        n += everywhere
