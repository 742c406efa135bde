# SPDX-License-Identifier: Apache-2.0
"""How fast a marketplace is simulated and written, beside a bare Polars copy of the same log.

    python benchmarks/simulate.py                        10 million events whole, 20 million lean
    python benchmarks/simulate.py --lean 100000000       one lean log of that size

Each run is a process of its own; peak memory is resident memory as the kernel counts it. The floor
reads the log back and writes it again with the same compression: a writer that had nothing to simulate.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from desirepath.simulate import bench, tiny, write
from record import record


def simulated(n_events: int, lean: bool, folder: Path) -> dict[str, Any]:
    """Simulate and write; compiled code is loaded beforehand, as it is in any second run."""
    write(tiny(), folder / "warm")
    start, busy = time.perf_counter(), time.process_time()
    truth = write(bench(n_events, lean=lean), folder / "log")
    seconds, processor = time.perf_counter() - start, time.process_time() - busy
    rows = truth.facts["rows"]["written"]
    size = sum(path.stat().st_size for path in (folder / "log").rglob("*") if path.is_file())
    return {
        "rows": rows,
        "seconds": round(seconds, 2),
        "processor_s": round(processor, 2),
        "million_rows_per_s": round(rows / seconds / 1e6, 3),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "written_mb": round(size / 1e6),
    }


def copied(folder: Path) -> dict[str, Any]:
    """The floor: the same log through Polars."""
    start = time.perf_counter()
    source, target = folder / "log" / "events.parquet", folder / "copy.parquet"
    pl.scan_parquet(source).sink_parquet(target, compression="zstd", compression_level=1)
    return {"seconds": round(time.perf_counter() - start, 2)}


def apart(work: str, n_events: int, lean: bool, folder: Path) -> dict[str, Any]:
    """Run one of the two in a process of its own."""
    words = [sys.executable, __file__, "--work", work, "--folder", str(folder)]
    words += ["--lean" if lean else "--whole", str(n_events)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--whole", type=int, help="events of a log with all columns, tables and truth")
    parser.add_argument("--lean", type=int, help="events of a log with four columns")
    parser.add_argument("--work", choices=["simulated", "copied"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    asked = [(given.whole, False), (given.lean, True)]
    runs = [(n, lean) for n, lean in asked if n] or [(10_000_000, False), (20_000_000, True)]
    if given.work:
        n, lean = runs[0]
        done = simulated(n, lean, given.folder) if given.work == "simulated" else copied(given.folder)
        print(json.dumps(done))
        return
    for n, lean in runs:
        with tempfile.TemporaryDirectory(prefix="simulate-") as folder:
            figures = apart("simulated", n, lean, Path(folder))
            floor = apart("copied", n, lean, Path(folder))
        figures |= {
            "floor_s": floor["seconds"],
            "times_floor": round(figures["seconds"] / floor["seconds"], 2),
        }
        record(f"simulate-{'lean' if lean else 'whole'}-{n // 1_000_000}m", figures)


if __name__ == "__main__":
    main()
