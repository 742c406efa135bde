# SPDX-License-Identifier: Apache-2.0
"""Sequential patterns beside the fastest miners that Python can call, on public sequences.

    DESIREPATH_MINING_PEER_PYTHON=PEER/bin/python python benchmarks/mining.py [--repeats 5]

The peers are effspm, seq2pat (max_span=None) and prefixspan; a peer counts where it finds the right number
of patterns. Seconds are the processor's, best of the repeats, one thread, data in memory, kernels compiled:
the machine is shared, and a wall clock would time its neighbours. Two threads are timed by the wall, beside
one thread, in turns. Memory is the peak of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.frequent import MiningConfig, least_count, mine
from desirepath.sequences import Vocabulary
from record import DATA, record

FOLDER = DATA / "spmf-sequences"
CASES = {
    "SIGN 0.3": (1928, ("HTMiner", "BTMiner", "seq2pat", "prefixspan")),
    "SIGN 0.2": (9718, ("HTMiner", "BTMiner", "seq2pat")),
    "SIGN 0.1": (110417, ("HTMiner", "BTMiner")),
    "BMS1_spmf 0.001": (3991, ("HTMiner", "BTMiner", "seq2pat")),
    "BMS1_spmf 0.0008": (10286, ("HTMiner", "BTMiner")),
    "LEVIATHAN 0.05": (3698, ("HTMiner", "BTMiner")),
    "LEVIATHAN 0.02": (33387, ("HTMiner", "BTMiner")),
    "FIFA 0.1": (40642, ("HTMiner",)),
}
BARS = {"SIGN 0.1": 5.0, "LEVIATHAN 0.02": 4.0, "FIFA 0.1": 6.0}


def read(path: Path) -> SequenceDatabase:
    """The file as flat arrays, without a Python object an event, which the peak would count."""
    items = np.fromfile(path, dtype=np.int32, sep=" ")
    text = np.fromfile(path, dtype=np.uint8)
    begins = text > ord(" ")
    begins[1:] &= text[:-1] <= ord(" ")
    ends = np.append(np.searchsorted(np.flatnonzero(begins), np.flatnonzero(text == ord("\n"))), len(items))
    names = np.flatnonzero(np.bincount(items))
    place = np.zeros(names[-1] + 1, np.int32)
    place[names] = np.arange(len(names), dtype=np.int32)
    code = place[items]
    offsets = np.unique(np.append(ends, 0)).astype(np.int64)
    n = len(offsets) - 1
    return SequenceDatabase(
        offsets=offsets,
        symbol_ix=code,
        time_s=np.arange(len(code), dtype=np.float64),
        symbols=Vocabulary(pl.Series(names).cast(pl.String), reserved=0),
        user_ix=np.arange(n, dtype=np.int32),
        users=Vocabulary(pl.Series(np.arange(n)).cast(pl.String), reserved=0),
        row=np.arange(len(code)),
    )


def best(call: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        began = clock()
        call()
        seconds.append(clock() - began)
    return min(seconds)


def peer(python: str, miner: str, path: Path, min_count: int) -> dict[str, Any] | None:
    script = Path(__file__).with_name("mining_peer.py")
    command = [python, str(script), miner, str(path), str(min_count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout) if done.returncode == 0 else None


def case(name: str, python: str, repeats: int) -> dict[str, Any]:
    count, miners = CASES[name]
    file, support = name.split()
    path = FOLDER / f"{file}.txt"
    database = read(path)
    config = MiningConfig(min_support=float(support), threads=1)
    min_count = least_count(float(support), database.n_sequences)
    found = mine(database, config)
    if len(found) != count:
        sys.exit(f"{name}: {len(found)} patterns, {count} expected.")
    singles = int((found.length == 1).sum())
    ours_s, theirs = math.inf, {}
    for miner in miners:  # in turns, so that both see the same neighbours
        ours_s = min(ours_s, best(lambda: mine(database, config), repeats))
        told = peer(python, miner, path, min_count)
        if told is not None:
            told["right"] = told["patterns"] in (count, count - singles)
            theirs[miner] = told
    ours_s = min(ours_s, best(lambda: mine(database, config), repeats))
    fastest = min((one["cpu_s"] for one in theirs.values() if one["right"]), default=None)
    figures = {
        "patterns": count,
        "ours_cpu_s": ours_s,
        "peers": theirs,
        "times_faster": fastest / ours_s if fastest else None,
        "times_faster_than_htminer": theirs["HTMiner"]["cpu_s"] / ours_s if "HTMiner" in theirs else None,
        "bar": BARS.get(name, 3.0),
    }
    for kind in ("closed", "maximal"):
        of_kind = MiningConfig(min_support=float(support), threads=1, kind=kind)
        figures[f"{kind}_to_frequent"] = (
            best(lambda of_kind=of_kind: mine(database, of_kind), repeats) / ours_s
        )
    top = MiningConfig(min_support=float(support), threads=1, top_k=1000)
    figures["top_1000_to_frequent"] = best(lambda: mine(database, top), repeats) / ours_s
    near = ConstraintConfig(max_gap=3)
    figures["max_gap_to_frequent"] = best(lambda: mine(database, config, near), repeats) / ours_s
    config_2 = MiningConfig(min_support=float(support), threads=2)
    one = two = math.inf
    for _ in range(max(8, repeats)):  # in turns: the second core is the one that neighbours take first
        one = min(one, best(lambda: mine(database, config), 1, time.perf_counter))
        two = min(two, best(lambda: mine(database, config_2), 1, time.perf_counter))
    figures["wall_s_1_thread"], figures["two_threads_times_faster"] = one, one / two
    print(name, json.dumps(figures), flush=True)
    return figures


def contrasted(python: str, repeats: int) -> dict[str, Any]:
    """LEVIATHAN, even lines against odd lines, patterns that 58 of a half hold."""
    from desirepath.patterns.contrast import ContrastConfig, contrast

    path = FOLDER / "LEVIATHAN.txt"
    database = read(path)
    label = np.arange(database.n_sequences) % 2
    config = ContrastConfig(mining=MiningConfig(min_support=146, threads=1))
    found = contrast(database, label, config)
    ours_s = best(lambda: contrast(database, label, config), repeats)
    told = peer(python, "dichotomic", path, 146)
    union = int((found["length"] > 1).sum())
    figures = {"rows": found.height, "ours_cpu_s": ours_s, "ours_union_longer_than_1": union, "peer": told}
    if told:
        figures |= {"equal": told["patterns"] == union, "times_faster": told["cpu_s"] / ours_s, "bar": 30.0}
    return figures


def peak_mib() -> float:
    """The most this process ever held; getrusage would count the parent's before the start."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def memory(name: str) -> None:
    """Print the peak of this process, MiB, what it held before, and the size of the database.

    The first call of any kernel brings some 45 MiB of LLVM, whatever it is asked; numba is not imported where
    the machine code is kept, which a first run sees to.
    """
    file, support = name.split()
    imported = peak_mib()
    mine(SequenceDatabase.from_lists([["a", "b"], ["a"]]), MiningConfig(min_support=1, threads=1))
    started = peak_mib()
    database = read(FOLDER / f"{file}.txt")
    before = peak_mib()
    mine(database, MiningConfig(min_support=float(support), threads=1))
    flat = (
        sum(a.nbytes for a in (database.offsets, database.symbol_ix, database.time_s, database.row)) / 2**20
    )
    told = {"imports_mib": imported, "first_kernel_mib": started, "read_mib": before}
    print(json.dumps(told | {"peak_mib": peak_mib(), "flat_mib": flat, "bar_mib": 150 + 2 * flat}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", default=os.environ.get("DESIREPATH_MINING_PEER_PYTHON"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", help="only print the peak memory of this case")
    options = parser.parse_args()
    if options.memory:
        return memory(options.memory)
    if not options.peer_python:
        sys.exit("Name an interpreter with the peers: DESIREPATH_MINING_PEER_PYTHON or --peer-python.")
    cases = {name: case(name, options.peer_python, options.repeats) for name in CASES}
    times = [one["times_faster"] for one in cases.values() if one["times_faster"]]
    peaks = {}
    for name in ("FIFA 0.1", "SIGN 0.1", "BMS1_spmf 0.0008"):
        command = [sys.executable, __file__, "--memory", name]
        peaks[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    record(
        "mining",
        {
            "cases": cases,
            "slowest_times_faster": min(times),
            "geometric_mean_times_faster": math.exp(sum(map(math.log, times)) / len(times)),
            "contrast": contrasted(options.peer_python, options.repeats),
            "memory": peaks,
        },
    )


if __name__ == "__main__":
    main()
