# SPDX-License-Identifier: Apache-2.0
"""What the states of a million users weigh: memory of the process, and what a history costs then.

Each user has 20 live events, or a packed log of 100 under them that stays on disk; everything that serves is
loaded, torch and the web framework included, as in a server.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import desirepath.serving.app
import desirepath.training.transformer
from desirepath.live.states import UserStates
from desirepath.sequences import Sequences, Vocabulary
from record import record

LOADED = (desirepath.serving.app, desirepath.training.transformer)
MIB = 2**20


def resident_mib(name: str = "VmRSS") -> float:
    """Memory of this process now, or its peak ("VmHWM"), or without pages of files ("RssAnon")."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return round(int(line.split()[1]) / 1024, 1)


def pack(folder: Path, n_users: int, n_each: int, n_items: int = 50_000) -> None:
    """Write a log of so many users."""
    rng = np.random.default_rng(1)
    n = n_users * n_each
    sequences = Sequences(
        offsets=np.arange(n_users + 1, dtype=np.int64) * n_each,
        item_ix=rng.integers(2, n_items + 2, n, dtype=np.int32),
        action_ix=np.full(n, 2, np.int16),
        time_s=1.7e9 + np.tile(np.arange(n_each, dtype=np.float64), n_users),
        users=Vocabulary(pl.Series([f"user-{u:09d}" for u in range(n_users)]), reserved=0),
        items=Vocabulary(pl.Series([f"item-{i:06d}" for i in range(n_items)])),
        actions=Vocabulary(["view"]),
    )
    sequences.save(folder)


def asked(states: UserStates, names: list[str]) -> dict[str, float]:
    """Milliseconds that the history of one user takes, and of 64 at once."""
    figures = {}
    for size in (1, 64):
        took = []
        for first in range(0, 64 * 50, size):
            started = time.perf_counter()
            states.histories(names[first : first + size])
            took.append((time.perf_counter() - started) * 1e3)
        figures[f"p50_ms_of_{size}"] = round(float(np.median(took)), 3)
        figures[f"p99_ms_of_{size}"] = round(float(np.quantile(took, 0.99)), 3)
    return figures


def live(n_users: int, n_each: int, base: Sequences | None) -> dict[str, Any]:
    """States of users who all did something since the log was packed."""
    rng = np.random.default_rng(2)
    states = UserStates(base)
    started, slowest = time.perf_counter(), 0.0
    at_once = 10_000
    for _ in range(n_each):
        for first in range(0, n_users, at_once):
            names = [f"user-{u:09d}" for u in range(first, min(n_users, first + at_once))]
            n = len(names)
            began = time.perf_counter()
            states.extend(
                names, rng.integers(2, 1000, n), np.full(n, 2), rng.integers(1_700, 1_800, n) * 10**12
            )
            slowest = max(slowest, time.perf_counter() - began)
    seconds = time.perf_counter() - started
    names = [f"user-{u:09d}" for u in rng.integers(0, n_users, 64 * 50)]
    return {
        "users": len(states),
        "live_events": states.n_live,
        "arrays_mib": round(states.n_bytes / MIB, 1),
        "events_per_s": round(n_users * n_each / seconds),
        "slowest_ms_for_10_000": round(slowest * 1e3, 1),
        "resident_mib": resident_mib(),
        "of_it_not_files_mib": resident_mib("RssAnon"),
        "peak_mib": resident_mib("VmHWM"),
        **asked(states, names),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--base", type=int, default=0, help="packed events of each user")
    parser.add_argument("--live", type=int, default=20, help="live events of each user")
    parser.add_argument("--pack", type=Path, help="only write the packed log there")
    given = parser.parse_args()
    if given.pack:
        pack(given.pack, given.users, given.base)
        return
    figures: dict[str, Any] = {"before_mib": resident_mib()}
    if given.base:
        with tempfile.TemporaryDirectory() as name:
            # In a process of its own, whose memory is not this one's.
            words = ["--pack", name, "--users", str(given.users), "--base", str(given.base)]
            subprocess.run([sys.executable, __file__, *words], check=True)
            figures |= live(given.users, given.live, Sequences.load(Path(name)))
    else:
        figures |= live(given.users, given.live, None)
    record(f"live-memory-{given.base}-{given.live}", figures)


if __name__ == "__main__":
    main()
