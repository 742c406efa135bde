# SPDX-License-Identifier: Apache-2.0
"""Two hundred deaths under load, and how many events a second are on disk when they are acknowledged.

SQLite in a temporary folder (TMPDIR says on which disk); with --postgresql, deaths on a PostgreSQL server
that is started here, without waiting for the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from record import RESULTS, record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "live"))
from crashes import USER, Http, Server, endure, outlive
from servers import free_port, postgres_server
from stored import row

from desirepath.live.store import LiveStore

SUMS = (
    "kills",
    "acknowledged",
    "sent_again",
    "known_when_sent_again",
    "lost",
    "kept_twice",
    "acknowledged_twice",
    "kept_but_never_sent",
    "counted_in_memory",
)


def rates(url: str, folder: Path) -> dict[str, Any]:
    """Events a second: batches of 1,000 from 4 clients, and one by one from 32."""
    store = LiveStore(url)
    figures: dict[str, Any] = {}
    for name, clients, batch, n in (("batches", 4, 1000, 60), ("one_by_one", 32, 1, 300)):

        def send(client: int, name: str = name, batch: int = batch, n: int = n) -> None:
            for k in range(n):
                first = f"{name}-{client}-{k}"
                store.keep([row(f"{first}-{j}", f"u{j}", f"i{k}", k) for j in range(batch)]).result()

        started = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(send, range(clients)))
        seconds = time.perf_counter() - started
        figures[f"{name}_events_per_s"] = round(clients * batch * n / seconds)
    store.close()
    started = time.perf_counter()
    with (folder / "synced").open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    figures["fsync_ms"] = round((time.perf_counter() - started) * 10, 2)
    return figures


def kept(name: str, figures: dict[str, Any], more: bool) -> None:
    """Record figures; with `more`, deaths and events are added to those of today's last run."""
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json"
    if more and path.exists():
        before = json.loads(path.read_text())["figures"]
        added = {key: before[key] + figures[key] for key in SUMS}
        figures = before | figures | added
    record(name, figures)


def served(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Deaths of `desirepath serve` itself, over HTTP; what its answers count in the end, too."""
    port = free_port()
    server = Server(folder, port)
    url = f"sqlite:///{folder / 'live.db'}"
    figures = outlive(url, server, lambda: Http(port), kills=kills, clients=8, seed=seed, opening_s=4.0)
    server.begin()
    while True:
        try:
            http = Http(port)
        except OSError:
            time.sleep(0.1)
            continue
        users = (f"{USER}{n}".replace(" ", "%20") for n in range(50))
        figures["counted_in_memory"] = sum(http.count(user) for user in users)
        http.close()
        break
    server.kill()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--postgresql", action="store_true", help="PostgreSQL instead of SQLite.")
    parser.add_argument("--serve", type=Path, help="kill `desirepath serve` on a copy of this workspace")
    parser.add_argument("--more", action="store_true", help="Add to the figures of today's last run.")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.postgresql:
        with postgres_server() as server:
            deaths = endure(f"{server}/postgres", free_port(), kills=given.kills, seed=given.seed)
            kept("durability-postgresql", deaths, given.more)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.serve:
            shutil.copytree(given.serve, folder / "shop", ignore=shutil.ignore_patterns("live.db*"))
            kept("durability-served", served(folder / "shop", given.kills, given.seed), given.more)
            return
        figures = {} if given.more else rates(f"sqlite:///{folder / 'rates.db'}", folder)
        url = f"sqlite:///{folder / 'live.db'}"
        deaths = endure(url, free_port(), kills=given.kills, seed=given.seed)
    kept("durability", figures | deaths, given.more)


if __name__ == "__main__":
    main()
