# SPDX-License-Identifier: Apache-2.0
"""A live server over HTTP: latency, throughput, freshness, durable ingest, a million items, a million users.

    python benchmarks/serving.py WORKSPACE [--seconds 8] [--parts as_it_is million_items million_users]

WORKSPACE holds a trained transformer (`desirepath run`). The load generator runs on the same machine. Only
users are asked for whose history fills the model's window. The million items are made by mixing the trained
vectors (see serving_kernels.py); the million users each get the newest events of a real one. Run it on a
quiet machine: a neighbour's work is counted as the server's delay.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from desirepath.flows.bench import LEFT_OUT, BenchConfig, bench, resident_bytes, serving
from desirepath.flows.load import Wires, closed_loop, request
from desirepath.recommend.versions import Version, open_version, save_version
from desirepath.schema import FIRST
from desirepath.sequences import Sequences, Vocabulary
from desirepath.sequences.queries import ranges
from desirepath.training import Transformer
from desirepath.workspace import Workspace
from record import record
from serving_kernels import grown

PARTS = ("as_it_is", "million_items", "million_users")
MANY = 1_000_000
NEWEST = 20
"""Events of each of the million users."""
BARS: dict[str, dict[str, float]] = {
    "as_it_is": {
        "recommend p50_ms": 6,
        "recommend p99_ms": 20,
        "freshness p99_ms": 50,
        "recommend_most per_s": -300,
        "events_one_by_one per_s": -800,
        "events_in_batches events_per_s": -5000,
    },
    "million_items": {"recommend p99_ms": 40},
    "million_users": {"rss_bytes": 2 * 2**30},
}
"""What is promised, at most; at least where negative."""


def copied(folder: Path, place: Path) -> Workspace:
    """A copy of a workspace whose only model is the one that `run` left."""
    ignored = shutil.ignore_patterns(*LEFT_OUT, "versions", "serving.json")
    shutil.copytree(folder, place, ignore=ignored)
    return Workspace.open(place)


def with_many_items(folder: Path, place: Path) -> Path:
    """The workspace with a catalogue of a million, most of it made up; histories stay as they are."""
    workspace = copied(folder, place)
    version = open_version(workspace.run("final"))
    assert isinstance(version.model, Transformer), "the workspace must hold a transformer"
    state = version.model.state()
    known = version.model.item_vectors()
    made = grown(known, MANY + FIRST - len(known), seed=0)[FIRST:]
    state["items.weight"] = np.concatenate([known, made])
    model = Transformer(version.model.model_config, version.model.train_config).restore(state)
    ids = pl.concat([version.items.ids, pl.Series([f"simulated-{n}" for n in range(len(made))])])
    final = workspace.run("final")
    model.save(final)
    save_version(
        final,
        Version(
            name=f"{version.name}-million",
            model=model,
            items=Vocabulary(ids),
            calibration=version.calibration,
            exclude_seen=version.exclude_seen,
            made=version.made,
        ),
    )
    return place


def with_many_users(folder: Path, place: Path) -> Path:
    """The workspace with a million users, each with the newest events of a real one drawn by chance."""
    workspace = copied(folder, place)
    real = Sequences.load(workspace.sequences)
    twin = np.random.default_rng(0).integers(0, real.n_users, MANY)
    stop = np.asarray(real.offsets[twin + 1])
    start = np.maximum(np.asarray(real.offsets[twin]), stop - NEWEST)
    rows = ranges(start, stop)
    many = Sequences(
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(stop - start)]),
        item_ix=real.item_ix[rows],
        action_ix=real.action_ix[rows],
        time_s=real.time_s[rows],
        users=Vocabulary([f"user-{n}" for n in range(MANY)], reserved=0),
        items=real.items,
        actions=real.actions,
    )
    del real
    shutil.rmtree(workspace.sequences)
    many.save(workspace.sequences)
    return place


def memory(folder: Path) -> dict[str, Any]:
    """Resident bytes of the server, after fifty thousand lists and as many events."""
    names = itertools.cycle(f"user-{n}" for n in np.random.default_rng(1).integers(0, MANY, 50_000))
    figures: dict[str, Any] = {"users": MANY, "events_each": NEWEST}

    async def ask(port: int) -> None:
        wires = Wires(port)
        item = "1"

        def event() -> Any:
            events = [{"user_id": next(names), "item_id": item, "action": "view"} for _ in range(500)]
            return wires.ask(request("POST", "/v1/events", events))

        def recommend() -> Any:
            return wires.ask(request("POST", "/v1/recommend", {"user_id": next(names), "k": 10}))

        figures["events"] = (await closed_loop(event, 2, 5.0)).figures()
        figures["lists"] = (await closed_loop(recommend, 16, 10.0)).figures()
        wires.close()

    began = time.perf_counter()
    with serving(folder) as (port, process):
        figures["ready_after_s"] = round(time.perf_counter() - began, 1)
        figures["rss_at_start_bytes"] = resident_bytes(process.pid)
        asyncio.run(ask(port))
        figures["rss_bytes"] = resident_bytes(process.pid)
    return figures


def judged(figures: dict[str, Any]) -> dict[str, str]:
    """Each bar with what was measured."""
    said = {}
    for part, bars in BARS.items():
        for name, bar in bars.items():
            found: Any = figures.get(part)
            for word in name.split():
                found = found.get(word) if isinstance(found, dict) else None
            if found is not None:
                kept = found <= bar if bar > 0 else found >= -bar
                said[f"{part}: {name}"] = (
                    f"{found:,} ({'at most' if bar > 0 else 'at least'} {abs(bar):,})"
                    + ("" if kept else "  MISSED")
                )
    return said


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    version = open_version(Workspace.open(options.workspace).run("final"))
    assert isinstance(version.model, Transformer), "the workspace must hold a transformer"
    window = version.model.model_config.max_len
    config = BenchConfig(seconds=options.seconds, min_events=window)
    figures: dict[str, Any] = {"max_len": window, "dim": version.model.model_config.dim}
    with tempfile.TemporaryDirectory(prefix="desirepath-bench-") as folder:
        place = Path(folder)
        if "as_it_is" in options.parts:
            figures["as_it_is"] = bench(options.workspace, config).plain
        if "million_items" in options.parts:
            figures["million_items"] = bench(
                with_many_items(options.workspace, place / "items"), config
            ).plain
        if "million_users" in options.parts:
            figures["million_users"] = memory(with_many_users(options.workspace, place / "users"))
    figures["bars"] = judged(figures)
    record("serving", figures)


if __name__ == "__main__":
    main()
