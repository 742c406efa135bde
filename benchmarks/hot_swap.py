# SPDX-License-Identifier: Apache-2.0
"""Requests that fail while the model is exchanged again and again under load.

    .venv/bin/python benchmarks/hot_swap.py DIR [SECONDS]

DIR is a workspace with two versions or more (`desirepath models list DIR`); it is served from a copy.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import polars as pl

from record import record

CLIENTS = 8


def served(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A server of the workspace, ready to answer."""
    command = [sys.executable, "-m", "desirepath", "serve", str(folder), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return server
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("the server did not become ready")


def main() -> None:
    """Print and keep the figures."""
    source, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 40.0
    spare = Path(tempfile.mkdtemp(prefix="desirepath-swap-"))
    folder = Path(shutil.copytree(source, spare / "shop", ignore=shutil.ignore_patterns("live.db*")))
    ids = pl.read_ipc(folder / "sequences" / "users.arrow")["id"].head(2000).to_list()
    names = json.loads((folder / "runs" / "serving.json").read_text())["known"]
    port = random.Random(time.time()).randint(20_000, 40_000)
    server = served(folder, port)
    answers: Counter[tuple[int, str]] = Counter()
    failed: list[str] = []
    latency_ms: list[float] = []
    ends = time.monotonic() + seconds

    def ask(seed: int) -> None:
        drawn = random.Random(seed)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while time.monotonic() < ends:
                began = time.perf_counter()
                try:
                    reply = client.post("/v1/recommend", json={"user_id": drawn.choice(ids), "k": 10})
                    answers[reply.status_code, reply.json().get("model_version", "")] += 1
                except (httpx.HTTPError, ValueError) as error:
                    failed.append(repr(error))
                latency_ms.append(1e3 * (time.perf_counter() - began))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    swaps = 0
    current = httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["state"]["current"]
    for name in itertools.cycle(sorted(names, key=lambda one: one == current)):
        if time.monotonic() >= ends:
            break
        done = httpx.post(
            f"http://127.0.0.1:{port}/v1/models/{name}/promote", json={"reason": "swap"}, timeout=30
        )
        swaps += done.status_code == 200
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    server.terminate()
    server.wait()
    shutil.rmtree(spare)
    latency_ms.sort()
    figures = {
        "seconds": seconds,
        "clients": CLIENTS,
        "swaps": swaps,
        "requests": sum(answers.values()),
        "by_version": {name: n for (_, name), n in answers.items()},
        "not_200": sum(n for (status, _), n in answers.items() if status != 200),
        "failed": len(failed),
        "p50_ms": latency_ms[len(latency_ms) // 2],
        "p99_ms": latency_ms[int(0.99 * len(latency_ms))],
    }
    record("hot_swap", figures)


if __name__ == "__main__":
    main()
