# SPDX-License-Identifier: Apache-2.0
"""How fast a transformer is trained, against RecTools' SASRec and against what the machine can do at best.

    DESIREPATH_PEER_PYTHON=/path/to/venv/bin/python python benchmarks/training.py

The peer's Python has RecTools 0.19 (`pip install "rectools[torch]==0.19.*"`). Everything runs in one
go on the same threads: half of our epochs, the peer's steps, the machine's rates, our other epochs.
The machine's rates are the fastest of many timings, so the share of the floor is taken of our fastest
epoch; on a machine with other work the median tells how much that work cost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from desirepath.models.losses import product_dtype
from desirepath.models.sasrec import SASRecConfig
from desirepath.sequences import Sequences
from desirepath.sequences.batch import Batches
from desirepath.training import Progress, TrainConfig
from desirepath.training.loop import train_module
from record import DATA, record

SHAPE = SASRecConfig(dim=64, n_layers=2, n_heads=1, max_len=50, dropout=0.2)
BATCH = 512
TARGETS = 131_413


def our_epochs(train: Sequences, n: int) -> list[float]:
    """Seconds of each of `n` epochs after a first one that warms everything up."""
    ends: list[float] = []

    def note(progress: Progress) -> None:
        if progress.step == progress.steps and (len(ends) <= progress.epoch):
            ends.append(time.perf_counter())

    train_module(SHAPE, TrainConfig(epochs=n + 1, batch_size=BATCH, device="cpu"), train, on_progress=note)
    return [b - a for a, b in itertools.pairwise(ends)]


def best_seconds(work: Callable[[], object], repeats: int = 15) -> float:
    """The least of several timings: what the machine can do when nothing disturbs it."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def machine_rates(n_items: int, rows: int) -> dict[str, float]:
    """GFLOP/s of the three products at this shape, and exponentials a second, the fastest layout of each."""
    dtype, dim = product_dtype("auto", torch.device("cpu")), SHAPE.dim
    states, items = torch.randn(rows, dim).to(dtype), torch.randn(n_items, dim).to(dtype)
    logits, turned = torch.empty(rows, n_items, dtype=dtype), torch.empty(n_items, rows, dtype=dtype)
    logits.normal_(), turned.normal_()
    flop = 2.0 * rows * dim * n_items

    def rate(*ways: Callable[[], object]) -> float:
        return flop / min(best_seconds(way) for way in ways) / 1e9

    # The exponential is taken of a piece that stays in the cache, as a good kernel would.
    piece = torch.randn(64, n_items).to(dtype)
    out = torch.empty_like(piece)
    return {
        "logits GFLOP/s": rate(
            lambda: torch.mm(states, items.T, out=logits), lambda: torch.mm(items, states.T, out=turned)
        ),
        "states' gradient GFLOP/s": rate(lambda: torch.mm(logits, items), lambda: torch.mm(turned.T, items)),
        "items' gradient GFLOP/s": rate(lambda: torch.mm(logits.T, states), lambda: torch.mm(turned, states)),
        "exponentials G/s": piece.numel() / best_seconds(lambda: torch.exp(piece, out=out)) / 1e9,
    }


def floor_seconds(rates: dict[str, float], n_items: int) -> float:
    """The least an epoch can take: three products and one exponential a logit at the machine's rates."""
    logits = float(TARGETS) * n_items
    products = sum(2.0 * SHAPE.dim * logits / (rate * 1e9) for name, rate in rates.items() if "GFLOP" in name)
    return products + logits / (rates["exponentials G/s"] * 1e9)


def peer(histories: list[list[str]], threads: int, warmup: int, steps: int) -> dict[str, Any] | None:
    """RecTools' own figures, or None where its Python was not named."""
    python = os.environ.get("DESIREPATH_PEER_PYTHON")
    if not python:
        print("No peer: set DESIREPATH_PEER_PYTHON to a Python that has rectools[torch] 0.19.")
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sequences.txt"
        path.write_text("\n".join(" ".join(items) for items in histories))
        options = {
            "threads": threads,
            "warmup": warmup,
            "steps": steps,
            "batch-size": BATCH,
            "max-len": SHAPE.max_len,
            "dim": SHAPE.dim,
            "n-layers": SHAPE.n_layers,
            "n-heads": SHAPE.n_heads,
            "dropout": SHAPE.dropout,
        }
        script = Path(__file__).with_name("training_peer.py")
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        done = subprocess.run(
            [python, str(script), str(path), *words], capture_output=True, text=True, check=False, cwd=folder
        )
    if done.returncode:
        raise SystemExit(f"The peer failed:\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6, help="epochs of ours that are timed")
    parser.add_argument("--peer-warmup", type=int, default=2)
    parser.add_argument("--peer-steps", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load_before = os.getloadavg()[0]
    lines = (DATA / "leave-one-out-sequences" / "Beauty.txt").read_text().splitlines()
    histories = [line.split()[1:-2] for line in lines]
    train = Sequences.from_lists(histories)
    batches = Batches(train, max_len=SHAPE.max_len, batch_size=BATCH, seed=0)
    assert batches.n_targets == TARGETS, batches.n_targets
    packed = list(batches.epoch(0))
    padding = 1 - sum(int((b.row_BL >= 0).sum()) for b in packed) / sum(b.row_BL.size for b in packed)

    times = our_epochs(train, (options.epochs + 1) // 2)
    theirs = peer(histories, options.threads, options.peer_warmup, options.peer_steps)
    rates = machine_rates(train.n_items, TARGETS // len(packed))
    times += our_epochs(train, options.epochs // 2)

    floor, epoch, fastest = floor_seconds(rates, train.n_items), statistics.median(times), min(times)
    figures: dict[str, Any] = {
        "what": "SASRec, Beauty without the last two events of each user, d=64, 2 blocks, 1 head, length 50, "
        "batch 512, full softmax, CPU",
        "threads": options.threads,
        "load average before": round(load_before, 2),
        "load average after": round(os.getloadavg()[0], 2),
        "targets an epoch": TARGETS,
        "items": train.n_items,
        "padding": round(padding, 4),
        "seconds an epoch": [round(t, 3) for t in times],
        "median seconds an epoch": round(epoch, 3),
        "fastest seconds an epoch": round(fastest, 3),
        "targets/s, median epoch": round(TARGETS / epoch),
        "targets/s, fastest epoch": round(TARGETS / fastest),
        "machine": {name: round(rate, 2) for name, rate in rates.items()},
        "floor seconds an epoch": round(floor, 3),
        "share of the floor, fastest epoch": round(floor / fastest, 3),
        "share of the floor, median epoch": round(floor / epoch, 3),
        "peer": theirs,
    }
    if theirs is not None:
        figures["times the peer, all its steps against our median epoch"] = round(
            TARGETS / epoch / theirs["targets_per_s"], 1
        )
        figures["times the peer, its fastest step against our fastest epoch"] = round(
            TARGETS / fastest / theirs["fastest_step_targets_per_s"], 1
        )
    record("training", figures)


if __name__ == "__main__":
    main()
