# SPDX-License-Identifier: Apache-2.0
"""Ingest, clean and pack simulated events, beside a bare Polars scan, sort and sink of the same columns.

    python benchmarks/ingest.py                               20 million events, the ratio
    python benchmarks/ingest.py --events 100000000 --no-floor one run of a log larger than its memory

Each run is a process of its own, whose peak memory (resident, maps included) and processor time are
those of the kernel's accounts. Floor and ours take turns, so that a busy machine hits both alike; the
median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from record import record

COLUMNS = ["user_id", "item_id", "action", "time"]


def floor(source: Path, folder: Path) -> dict[str, Any]:
    """The bare Polars pipeline."""
    pl.scan_parquet(source).select(COLUMNS).sort(["user_id", "time"]).sink_parquet(folder / "floor.parquet")
    return {}


def ours(source: Path, folder: Path) -> dict[str, Any]:
    """Cleaning with all default rules into the event log, then the packed sequences."""
    from desirepath.events import canonical_log
    from desirepath.events.log import EventLog
    from desirepath.sequences.build import build_sequences

    log = EventLog(folder / "events")
    report = log.append(canonical_log(pl.scan_parquet(source).select(COLUMNS)))
    sequences = build_sequences(log, folder / "sequences")
    assert sequences.n_events == report.rows_kept
    return {
        "rows_read": report.rows_read,
        "rows_kept": report.rows_kept,
        "removed": dict(report.removed),
        "users": report.n_users,
        "items": report.n_items,
        "log_mb": round(sum(f.stat().st_size for f in (folder / "events").rglob("*.parquet")) / 1e6),
        "seconds_log": round(report.seconds, 2),
    }


def simulate(n_events: int, folder: Path) -> Path:
    """The log of a lean simulated marketplace; made once for each size."""
    from desirepath import simulate as simulation

    path = folder / "events.parquet"
    if not path.exists():
        made = folder.with_name(folder.name + ".part")
        shutil.rmtree(made, ignore_errors=True)
        simulation.write(simulation.bench(n_events, lean=True), made)
        made.replace(folder)
    return path


def measured(what: str, source: Path, spare: Path) -> dict[str, Any]:
    """One run in a process of its own: seconds, processor seconds, peak memory, and what it says."""
    folder = Path(tempfile.mkdtemp(dir=spare, prefix=f"{what}-"))
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, __file__, "--role", what, "--source", source, "--folder", folder],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    shutil.rmtree(folder)
    if process.returncode:
        raise SystemExit(f"{what} failed with {process.returncode}")
    run = {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_gib": round(usage.ru_maxrss / 2**20, 2),
        **json.loads(said),
    }
    print(what, run, flush=True)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-floor", action="store_true", help="only ours, for what Polars cannot sort")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "desirepath-bench")
    parser.add_argument("--only-data", action="store_true", help="make the input and stop")
    parser.add_argument("--role", choices=["floor", "ours"])
    parser.add_argument("--source", type=Path)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.role:
        print(json.dumps({"floor": floor, "ours": ours}[given.role](given.source, given.folder)))
        return
    given.data.mkdir(parents=True, exist_ok=True)
    source = simulate(given.events, given.data / f"lean-{given.events}")
    if given.only_data:
        return
    runs: dict[str, list[dict[str, Any]]] = {"floor": [], "ours": []}
    for _ in range(given.runs):
        for what in ["ours"] if given.no_floor else ["floor", "ours"]:
            runs[what].append(measured(what, source, given.data))
    figures: dict[str, Any] = {"events": given.events, "input_mb": round(source.stat().st_size / 1e6)}
    for what, made in runs.items():
        if made:
            middle = sorted(made, key=lambda run: run["seconds"])[len(made) // 2]
            figures[what] = {**middle, "peak_gib": max(run["peak_gib"] for run in made)}
    if runs["floor"]:
        for key, unit in (("seconds", "time"), ("cpu_seconds", "processor time")):
            medians = [statistics.median(run[key] for run in runs[what]) for what in ("ours", "floor")]
            figures[f"ratio of {unit}"] = round(medians[0] / medians[1], 3)
    record(f"ingest-{given.events // 1_000_000}m", figures)


if __name__ == "__main__":
    main()
