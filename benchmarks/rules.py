# SPDX-License-Identifier: Apache-2.0
"""Rules, largest gaps, matches and parts on public logs, one thread, warm.

    python benchmarks/rules.py [--repeats 5]

Rules of BMS1 (support 0.001, confidence 0.3); patterns with a largest gap of 3 beside the frequent run of
the same case; the matrix of all frequent patterns; three parts beside one machine. For each the best wall
seconds and the best processor seconds of the repeats, runs of a pair taken in turn, so that a busy machine
slows both; ratios are of processor seconds.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.frequent import MiningConfig, mine
from desirepath.patterns.matrix import pattern_matrix
from desirepath.patterns.partitions import mine_partitioned
from desirepath.patterns.rules import RuleConfig, find_rules
from desirepath.sequences import Vocabulary
from record import DATA, record

GAP_CASES = (("LEVIATHAN", 0.02), ("SIGN", 0.1), ("BMS1_spmf", 0.001))
PART_CASES = (("SIGN", 0.2), ("LEVIATHAN", 0.05))


def read(path: Path) -> SequenceDatabase:
    """One sequence a line, items separated by spaces."""
    lines = pl.Series(path.read_text().split("\n")).str.strip_chars()
    items = lines.filter(lines != "").str.split(" ")
    lengths = items.list.len().to_numpy().astype(np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    flat = items.explode()
    symbols = Vocabulary([], reserved=0).extended(flat)
    return SequenceDatabase(
        offsets=offsets,
        symbol_ix=symbols.encode(flat).astype(np.int32),
        time_s=(np.arange(len(flat)) - np.repeat(offsets[:-1], lengths)).astype(np.float64),
        symbols=symbols,
        user_ix=np.arange(len(lengths), dtype=np.int32),
        users=Vocabulary([str(i) for i in range(len(lengths))], reserved=0),
        row=np.arange(len(flat), dtype=np.int64),
    )


def parts_of(log: SequenceDatabase, n: int) -> list[SequenceDatabase]:
    """The log in n parts of equal numbers of sequences."""
    parts = []
    for a, b in itertools.pairwise(np.linspace(0, log.n_sequences, n + 1).astype(int).tolist()):
        first, last = log.offsets[a], log.offsets[b]
        parts.append(
            SequenceDatabase(
                offsets=log.offsets[a : b + 1] - first,
                symbol_ix=log.symbol_ix[first:last],
                time_s=log.time_s[first:last],
                symbols=log.symbols,
                user_ix=log.user_ix[a:b],
                users=log.users,
                row=log.row[first:last],
            )
        )
    return parts


def in_turn(calls: Sequence[Callable[[], Any]], repeats: int) -> list[dict[str, Any]]:
    """Best wall and processor seconds of each call after one to warm up, and how much came back."""
    sizes = [len(call()) for call in calls]
    best = [{"wall_s": float("inf"), "cpu_s": float("inf"), "found": size} for size in sizes]
    for _ in range(repeats):
        for call, mark in zip(calls, best, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            mark["cpu_s"] = min(mark["cpu_s"], time.process_time() - cpu)
            mark["wall_s"] = min(mark["wall_s"], time.perf_counter() - wall)
    return [{key: round(value, 4) for key, value in mark.items()} for mark in best]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    folder = DATA / "spmf-sequences"
    figures: dict[str, Any] = {}
    logs = {name: read(folder / f"{name}.txt") for name in ("BMS1_spmf", "LEVIATHAN", "SIGN")}
    bms = logs["BMS1_spmf"]
    for label, window in (("anywhere", 0), ("window of 5", 5)):
        config = RuleConfig(min_support=0.001, min_confidence=0.3, window=window, threads=1)
        figures[f"rules BMS1 0.001, confidence 0.3, {label}"] = in_turn(
            [lambda c=config: find_rules(bms, c).frame], repeats
        )[0]
    for name, share in GAP_CASES:
        config = MiningConfig(min_support=share, threads=1)
        gap = ConstraintConfig(max_gap=3)
        free, bound = in_turn(
            [lambda n=name, c=config: mine(logs[n], c), lambda n=name, c=config, g=gap: mine(logs[n], c, g)],
            repeats,
        )
        figures[f"max gap 3, {name} {share}"] = {
            "frequent": free,
            "max_gap": bound,
            "ratio": round(bound["cpu_s"] / free["cpu_s"], 3),
        }
    patterns = mine(logs["LEVIATHAN"], MiningConfig(min_support=0.02, threads=1))
    matrix = in_turn([lambda: pattern_matrix(logs["LEVIATHAN"], patterns).indptr], repeats)[0]
    figures["matrix of sequences x patterns, LEVIATHAN 0.02"] = {**matrix, "found": len(patterns)}
    for name, share in PART_CASES:
        config = MiningConfig(min_support=share, threads=1)
        parts = parts_of(logs[name], 3)
        whole, split = in_turn(
            [lambda n=name, c=config: mine(logs[n], c), lambda p=parts, c=config: mine_partitioned(p, c)],
            repeats,
        )
        figures[f"3 parts, {name} {share}"] = {
            "one machine": whole,
            "parts": split,
            "ratio": round(split["cpu_s"] / whole["cpu_s"], 3),
        }
    record("rules", figures)


if __name__ == "__main__":
    main()
