# SPDX-License-Identifier: Apache-2.0
"""Funnels: how many sequences pass ordered steps, how fast, and what those who drop off did next.

A sequence is a user's or a session's, as the database was made. It knows no chart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    OTHER,
    Names,
    check_ordered,
    name_set,
    symbol_mask,
    word_series,
)
from desirepath.patterns.paths.shares import check_confidence, wilson

MAX_STEPS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelConfig:
    """What counts as passing through a funnel."""

    window_s: float | None = None
    """Seconds from the first step to the last, both included; None for no limit. Above 0."""
    order: Literal["ordered", "strict"] = "ordered"
    """"ordered" allows other events between two steps, "strict" none."""
    start: Literal["best", "first"] = "best"
    """"best" considers every first step as a start, so that the depth of each sequence is the largest there
    is; "first" only the first of the sequence, as tools do that count from first entry."""
    exclude: tuple[str, ...] = ()
    """Events that end every attempt under way; a later start begins anew. None of them may be a step."""

    def __post_init__(self) -> None:
        if self.window_s is not None and not self.window_s > 0:
            raise ConfigError(f"window_s must be above 0 seconds; got {self.window_s}.")
        if self.order not in ("ordered", "strict"):
            raise ConfigError(f"order must be 'ordered' or 'strict'; got '{self.order}'.")
        if self.start not in ("best", "first"):
            raise ConfigError(f"start must be 'best' or 'first'; got '{self.start}'.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """How far each sequence came, and by which of its events."""

    database: SequenceDatabase
    """What was read."""
    steps: tuple[str, ...]
    """(K,) names of the steps; the names of a set are joined by " | "."""
    depth: NDArray[np.int8]
    """(S,) steps that each sequence passed, 0 to K."""
    row: NDArray[np.int64]
    """(sum of depth,) the database's row of the event of each step passed, sequence after sequence."""
    config: FunnelConfig

    def reached(self, step: int) -> NDArray[np.bool_]:
        """(S,) which sequences reached step 1, 2, ... K."""
        return np.asarray(self.depth >= self._checked(step))

    def dropped(self, step: int) -> NDArray[np.bool_]:
        """(S,) which sequences reached this step and not the next one."""
        return np.asarray(self.depth == self._checked(step))

    def users(self, chosen: NDArray[np.bool_]) -> pl.Series:
        """The ids of the users of chosen sequences, each once, such as `users(dropped(2))`."""
        index = np.unique(self.database.user_ix[chosen])
        return self.database.users.decode(index).alias("user_id")

    def to_frame(
        self, *, confidence: float = 0.95, quantiles: Sequence[float] = (0.25, 0.75)
    ) -> pl.DataFrame:
        """One row a step.

        Columns: `step` from 1, `name`, `entered` (sequences that reached it), `converted` (that reached the
        next; null for the last), `dropped` (entered less converted; null for the last), `share_of_previous`
        and `share_of_first` each with `_low` and `_high` (Wilson), `share_of_all` sequences, `median_s` from
        the step before and its quantiles (`q25_s`, ...), `median_from_first_s`. Times are those of the event
        chain that `funnel` describes.
        """
        passed = np.bincount(self.depth, minlength=len(self.steps) + 1)
        entered = np.cumsum(passed[:0:-1])[::-1]
        before, first = np.append(entered[0], entered[:-1]), np.full(len(entered), entered[0])
        columns: dict[str, object] = {
            "step": np.arange(1, len(entered) + 1),
            "name": self.steps,
            "entered": entered,
            "converted": [*entered[1:].tolist(), None],
            "dropped": [*(entered[:-1] - entered[1:]).tolist(), None],
        }
        for name, base in (("share_of_previous", before), ("share_of_first", first)):
            low, high = wilson(entered, base, confidence)
            share = np.divide(entered, base, out=np.full(len(base), np.nan), where=base > 0)
            # The first step is its own base, which is not an estimate of anything.
            low[0] = high[0] = np.nan
            columns |= {name: share, f"{name}_low": low, f"{name}_high": high}
        columns["share_of_all"] = entered / max(1, self.database.n_sequences)
        columns |= self._times(tuple(quantiles))
        return pl.DataFrame(columns, strict=False).with_columns(pl.col(pl.Float64).fill_nan(None))

    def _times(self, quantiles: tuple[float, ...]) -> dict[str, list[float]]:
        """Seconds from the step before, and from the first: medians and quantiles of each step."""
        for q in quantiles:
            check_confidence(q)
        names = ["median_s", *(f"q{100 * q:g}_s" for q in quantiles), "median_from_first_s"]
        out: dict[str, list[float]] = {name: [np.nan] for name in names}
        who = np.flatnonzero(self.depth > 1)
        depth, begin = self.depth[who], self._begins()[who]
        begun = previous = self.database.time_s[self.row[begin]]
        for step in range(1, len(self.steps)):
            at = self.database.time_s[self.row[begin + step]]
            # Polars finds order statistics in half of numpy's time; None of nobody.
            taken, whole = pl.Series(at - previous), pl.Series(at - begun)
            found = [taken.quantile(q, "linear") for q in (0.5, *quantiles)]
            found.append(found[0] if step == 1 else whole.quantile(0.5, "linear"))
            for name, value in zip(out, found, strict=True):
                out[name].append(np.nan if value is None else value)
            # Who comes further came so far, so that the next step looks only at those left.
            left = depth > step + 1
            depth, begin, begun, previous = depth[left], begin[left], begun[left], at[left]
        return out

    def _begins(self) -> NDArray[np.int64]:
        """(S,) where the rows of each sequence begin."""
        return np.cumsum(self.depth, dtype=np.int64) - self.depth

    def drop_offs(self, top: int = 10) -> pl.DataFrame:
        """What the sequences that left after each step did next, most frequent first.

        One row a step and next event: `step`, `name`, `next`, `count`, `share` of those who dropped there,
        `median_s` until it. The event right after the last step that was reached counts; "<end>" is none, and
        "<other>" is all beyond the `top`. Counts of a step sum to its `dropped`.
        """
        if top < 1:
            raise ConfigError(f"top must be 1 or more; got {top}.")
        words = word_series(self.database, END)
        who = np.flatnonzero((self.depth > 0) & (self.depth < len(self.steps)))
        depth = self.depth[who].astype(np.int64)
        row = self.row[self._begins()[who] + depth - 1]
        ended = row + 1 == self.database.offsets[1:][who]
        follower = np.where(ended, row, row + 1)
        code = np.where(ended, self.database.n_symbols, self.database.symbol_ix[follower])
        gap_s = self.database.time_s[follower] - self.database.time_s[row]
        rows = pl.DataFrame({"step": depth, "code": code, "gap_s": gap_s})
        rows = rows.with_columns(gap_s=pl.when(pl.col("code") < self.database.n_symbols).then("gap_s"))
        counts = rows.group_by("step", "code").agg(pl.len().alias("count"))
        rank = pl.col("count").rank("ordinal", descending=True).over("step")
        kept = counts.sort("step", "code").with_columns(
            kept=pl.when(rank <= top).then("code").otherwise(-1)
        )  # fmt: skip
        table = rows.join(kept.drop("count"), on=["step", "code"], how="left").group_by("step", "kept")
        known = table.agg(pl.len().alias("count"), pl.col("gap_s").median().alias("median_s"))
        names = pl.DataFrame(
            {"kept": np.arange(-1, len(words)), "next": pl.concat([pl.Series([OTHER]), words])}
        )
        steps = pl.DataFrame({"step": np.arange(1, len(self.steps) + 1), "name": self.steps})
        return (
            known.join(names, on="kept")
            .join(steps, on="step")
            .sort("step", pl.col("kept") < 0, -pl.col("count").cast(pl.Int64), "kept")
            .select(
                "step",
                "name",
                "next",
                pl.col("count").cast(pl.Int64),
                share=pl.col("count") / pl.col("count").sum().over("step"),
                median_s="median_s",
            )
        )

    def _checked(self, step: int) -> int:
        if not 1 <= step <= len(self.steps):
            raise ConfigError(f"step must lie between 1 and {len(self.steps)}; got {step}.")
        return step


def funnel(database: SequenceDatabase, steps: Iterable[Names], config: FunnelConfig | None = None) -> Funnel:
    """How far each sequence comes through `steps`, exactly.

    A sequence passes k steps if it has k events, one for each of the first k steps in this order, none used
    twice, within the window, with no excluded event between the first and the last. Its depth is the largest
    such k over all starts: a later start may pass where an earlier one ran out of time.

    Of the chains that reach the depth, the one reported (for times and drop-offs) is that which gets there
    first; of those, the one that starts last; from its start, each step is the earliest possible. With
    `start="first"` it is the chain from the first start.

    Args:
        database: sequences of users or of sessions.
        steps: 1 to 64 steps, each a name or several names of which any will do.
        config: window, order, start, exclusions.

    Raises:
        ConfigError: no steps, too many, a name that never occurs, or an excluded step.
        DataError: the database holds no event.

    Cost: one pass over the events, and one over those of the chains reported. For each step only the latest
    possible start need be kept, since it leaves the most time; an event is looked at only for the steps to
    which a later start than before may come.

    >>> world = SequenceDatabase.from_lists([["view", "cart", "buy"], ["view", "cart"], ["cart", "buy"]])
    >>> funnel(world, ["view", "cart", "buy"]).to_frame().select("name", "entered", "converted").rows()
    [('view', 2, 2), ('cart', 2, 1), ('buy', 1, None)]
    """
    config = config or FunnelConfig()
    check_ordered(database)
    named = [name_set(step) for step in ([steps] if isinstance(steps, str) else steps)]
    if not 1 <= len(named) <= MAX_STEPS:
        raise ConfigError(f"steps must be 1 to {MAX_STEPS}; got {len(named)}.")
    bits = np.zeros(database.n_symbols, np.uint64)
    for k, names in enumerate(named):
        bits[symbol_mask(database, names, f"Step {k + 1}")] |= np.uint64(1 << k)
    breaks = np.zeros(database.n_symbols, bool)
    if config.exclude:
        breaks = symbol_mask(database, config.exclude, "exclude")
        both = np.flatnonzero(breaks & (bits > 0))
        if len(both):
            name = database.symbols.decode(both[:1])[0]
            raise ConfigError(f"An event may not be both a step and excluded; '{name}' is. Take it from one.")
    window_s = np.inf if config.window_s is None else float(config.window_s)
    only_first = config.start == "first"
    arrays = (database.offsets, database.symbol_ix, database.time_s, bits)
    if config.order == "strict":
        depth, start = _strict(*arrays, len(named), window_s, only_first)
    else:
        depth, start = _ordered(*arrays, breaks, len(named), window_s, only_first)
    row = _chains(database.symbol_ix, bits, depth, start)
    labels = tuple(" | ".join(names) for names in named)
    return Funnel(database=database, steps=labels, depth=depth, row=row, config=config)


@kernel
def _ordered(
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int32],
    time_s: NDArray[np.float64],
    bits: NDArray[np.uint64],
    breaks: NDArray[np.bool_],
    n_steps: int,
    window_s: float,
    only_first: bool,
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """(S,) steps passed, and the row of the first of them."""
    n = len(offsets) - 1
    depth, start = np.zeros(n, np.int8), np.zeros(n, np.int64)
    # begun[k]: the latest start of a chain of k + 1 steps, which never increases with k. Bit k of `ready`:
    # the chain of k steps has a later start than that of k + 1, so that an event of step k brings it on.
    begun = np.zeros(n_steps, np.int64)
    none, one = np.uint64(0), np.uint64(1)
    for s in range(n):
        longest, opened, ready = 0, False, none
        for i in range(offsets[s], offsets[s + 1]):
            mask = bits[symbol[i]]
            if breaks[symbol[i]]:
                ready = none
            able = mask & ready
            k = longest
            # Downwards, so that one event is not used for two steps.
            while able != none:
                bit = one << np.uint64(k)
                if able & bit:
                    able ^= bit
                    ready ^= bit  # either it comes on now, or its start is too old and stays so
                    if time_s[i] - time_s[begun[k - 1]] <= window_s:
                        begun[k] = begun[k - 1]
                        ready |= bit << one
                        if k == longest:
                            longest, start[s] = k + 1, begun[k]
                k -= 1
            if longest == n_steps:
                break
            if mask & one and not (only_first and opened):
                begun[0], opened = i, True
                ready |= one << one
                if longest == 0:
                    longest, start[s] = 1, i
                    if n_steps == 1:
                        break
        depth[s] = longest
    return depth, start


@kernel
def _strict(
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int32],
    time_s: NDArray[np.float64],
    bits: NDArray[np.uint64],
    n_steps: int,
    window_s: float,
    only_first: bool,
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """(S,) steps passed, and the row of the first of them."""
    n = len(offsets) - 1
    depth, start = np.zeros(n, np.int8), np.zeros(n, np.int64)
    one = np.uint64(1)
    for s in range(n):
        longest, opened = 0, False
        # Bit k: the events up to here, taken without a hole, are the first k + 1 steps.
        running = np.uint64(0)
        for i in range(offsets[s], offsets[s + 1]):
            mask = bits[symbol[i]]
            fresh = one if not (only_first and opened) else np.uint64(0)
            running = ((running << one) | fresh) & mask
            opened = opened or bool(mask & one)
            if running >> np.uint64(longest) == 0:
                continue
            for k in range(n_steps - 1, longest - 1, -1):
                if (running >> np.uint64(k)) & one and time_s[i] - time_s[i - k] <= window_s:
                    longest, start[s] = k + 1, i - k
                    break
            if longest == n_steps:
                break
        depth[s] = longest
    return depth, start


@kernel
def _chains(
    symbol: NDArray[np.int32], bits: NDArray[np.uint64], depth: NDArray[np.int8], start: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rows of the steps passed, sequence after sequence: from the start on, each the earliest possible."""
    total = 0
    for steps in depth:
        total += steps
    row, at = np.empty(total, np.int64), 0
    one = np.uint64(1)
    for s in range(len(depth)):
        i, step = start[s], 0
        while step < depth[s]:
            if (bits[symbol[i]] >> np.uint64(step)) & one:
                row[at] = i
                at += 1
                step += 1
            i += 1
    return row
