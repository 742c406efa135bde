# SPDX-License-Identifier: Apache-2.0
"""What constrained mining must find, by listing every match of every pattern; for small logs only."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.found import TOGETHER, Patterns
from desirepath.sequences import Vocabulary

Pattern = tuple[tuple[str, ...], ...]
Log = list[list[tuple[tuple[str, ...], float]]]
"""Sequences of (symbols at once, time)."""


def random_log(rng: np.random.Generator, *, sets: bool, n_symbols: int = 4) -> Log:
    """2 to 7 sequences of up to 7 elements, times with ties."""
    names = [chr(97 + i) for i in range(n_symbols)]
    log = []
    for _ in range(rng.integers(2, 8)):
        length = int(rng.integers(0, 6 if sets else 8))
        times = np.cumsum(rng.integers(0, 4, length)) / 2
        sizes = rng.integers(1, 3, length) if sets else np.ones(length, int)
        log.append(
            [
                (tuple(sorted(rng.choice(names, size, replace=False).tolist())), float(t))
                for size, t in zip(sizes, times, strict=True)
            ]
        )
    return log


def random_constraints(rng: np.random.Generator, names: list[str]) -> ConstraintConfig:
    """Each limit with a chance of about a third."""

    def maybe(value, otherwise=None, chance=0.35):
        return value if rng.random() < chance else otherwise

    min_gap = maybe(int(rng.integers(1, 3)), 1)
    min_gap_s = maybe(float(rng.integers(0, 3)) / 2, 0.0)
    some = [tuple(rng.choice(names, min(len(names), 2), replace=False).tolist()) for _ in range(3)]
    return ConstraintConfig(
        min_gap=min_gap,
        max_gap=maybe(min_gap + int(rng.integers(0, 3))),
        min_gap_s=min_gap_s,
        max_gap_s=maybe(min_gap_s + float(rng.integers(0, 4)) / 2),
        max_span=maybe(int(rng.integers(1, 6))),
        max_span_s=maybe(float(rng.integers(0, 8)) / 2),
        starts_with=maybe(some[0], (), 0.25),
        ends_with=maybe(some[1], (), 0.25),
        contains=maybe(some[2][:1], (), 0.25),
        no_repeats=maybe(True, False, 0.25),
    )


def matches(sequence, limits: ConstraintConfig):
    """Every (pattern, positions) that the sequence holds within gaps and spans."""

    def follows(chosen: list[int], i: int) -> bool:
        gap, gap_s = i - chosen[-1], sequence[i][1] - sequence[chosen[-1]][1]
        span, span_s = i - chosen[0] + 1, sequence[i][1] - sequence[chosen[0]][1]
        return (
            limits.min_gap <= gap <= (limits.max_gap or 99)
            and limits.min_gap_s <= gap_s <= (99 if limits.max_gap_s is None else limits.max_gap_s)
            and span <= (limits.max_span or 99)
            and span_s <= (99 if limits.max_span_s is None else limits.max_span_s)
        )

    def further(chosen: list[int]):
        yield chosen
        for i in range(chosen[-1] + 1, len(sequence)):
            if follows(chosen, i):
                yield from further([*chosen, i])

    for start in range(len(sequence)):
        for chosen in further([start]):
            choices = [
                [c for size in range(1, len(names) + 1) for c in itertools.combinations(names, size)]
                for names in (sequence[i][0] for i in chosen)
            ]
            for pattern in itertools.product(*choices):
                yield pattern, chosen


def is_asked(pattern: Pattern, limits: ConstraintConfig) -> bool:
    """Whether the pattern itself is one that was asked for."""
    flat = {name for element in pattern for name in element}
    return (
        (not limits.starts_with or bool(set(pattern[0]) & set(limits.starts_with)))
        and (not limits.ends_with or bool(set(pattern[-1]) & set(limits.ends_with)))
        and set(limits.contains) <= flat
        and not (limits.no_repeats and any(set(a) & set(b) for a, b in itertools.pairwise(pattern)))
    )


def is_part(small: Pattern, large: Pattern, *, in_a_row: bool) -> bool:
    """Whether elements of the large one hold those of the small one, in order (and in a row)."""
    for places in itertools.combinations(range(len(large)), len(small)):
        if in_a_row and places[-1] - places[0] != len(small) - 1:
            continue
        if all(set(one) <= set(large[i]) for one, i in zip(small, places, strict=True)):
            return True
    return False


def constrained_patterns(
    log: Log,
    min_count: int,
    limits: ConstraintConfig,
    *,
    kind: str = "frequent",
    min_length: int = 1,
    max_length: int = 99,
) -> dict[Pattern, int]:
    """Support of every answer."""
    support: Counter[Pattern] = Counter()
    for sequence in log:
        support.update({pattern for pattern, _ in matches(sequence, limits)})
    found = {
        pattern: n
        for pattern, n in support.items()
        if n >= min_count and min_length <= sum(map(len, pattern)) <= max_length and is_asked(pattern, limits)
    }
    if kind == "frequent":
        return found
    in_a_row = limits.max_gap is not None or limits.max_gap_s is not None
    return {
        small: n
        for small, n in found.items()
        if not any(
            large != small and (kind == "maximal" or m == n) and is_part(small, large, in_a_row=in_a_row)
            for large, m in found.items()
        )
    }


def as_database(log: Log) -> SequenceDatabase:
    """The log as miners read it; single events unless one element holds several."""
    sets = any(len(names) > 1 for sequence in log for names, _ in sequence)
    return SequenceDatabase.from_lists(
        [[names if sets else names[0] for names, _ in sequence] for sequence in log],
        time_s=[[t for _, t in sequence] for sequence in log],
    )


def spelled(patterns: Patterns) -> dict[Pattern, int]:
    """Support of every pattern of an answer, each of which must come once."""
    frame = patterns.to_frame()
    found = [
        (tuple(tuple(sorted(element.split(TOGETHER))) for element in pattern), support)
        for pattern, support in frame.select("pattern", "support").rows()
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def read_spmf(path: Path) -> SequenceDatabase:
    """One sequence a line, items separated by spaces; times count 0, 1, 2..."""
    lines = pl.Series(path.read_text().split("\n")).str.strip_chars()
    items = lines.filter(lines != "").str.split(" ")
    lengths = items.list.len().to_numpy().astype(np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    flat = items.explode()
    symbols = Vocabulary([], reserved=0).extended(flat)
    n = len(lengths)
    return SequenceDatabase(
        offsets=offsets,
        symbol_ix=symbols.encode(flat).astype(np.int32),
        time_s=(np.arange(len(flat)) - np.repeat(offsets[:-1], lengths)).astype(np.float64),
        symbols=symbols,
        user_ix=np.arange(n, dtype=np.int32),
        users=Vocabulary([str(i) for i in range(n)], reserved=0),
        row=np.arange(len(flat), dtype=np.int64),
    )
