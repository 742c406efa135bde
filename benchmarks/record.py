# SPDX-License-Identifier: Apache-2.0
"""Keeps a benchmark's figures: one dated JSON file a run, with the machine and the commit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("DESIREPATH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
"""Where the real data sets lie."""


def machine() -> dict[str, Any]:
    """Processor, cores, memory and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line),
            cpu,
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {}
    for package in ("polars", "numba", "torch", "numpy", "rectools"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        **versions,
    }


def commit() -> str:
    """The commit that is measured, with "+" where the tree holds more than it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (
        "+" if git("status", "--porcelain", "--untracked-files=no") else ""
    )


def record(name: str, figures: dict[str, Any]) -> Path:
    """Write `results/<date>-<name>.json` and print the figures; the last run of a day stands."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y-%m-%d}-{name}.json"
    entry = {
        "benchmark": name,
        "date": f"{now:%Y-%m-%d %H:%M} UTC",
        "commit": commit(),
        "command": " ".join(["python", *(word if not word.startswith("/") else "PATH" for word in sys.argv)]),
        "machine": machine(),
        "figures": figures,
    }
    path.write_text(json.dumps(entry, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    print(f"kept in {path}")
    return path
