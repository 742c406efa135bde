# SPDX-License-Identifier: Apache-2.0
"""How quick a workspace answers on this machine: a real server on a copy of it, asked over HTTP.

Latency at a steady rate, the most it can do, how soon an event changes a list, how fast events are kept,
and memory. The workspace itself is not written to.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from desirepath.errors import ConfigError, DataError, DesirepathError
from desirepath.flows.load import Reply, Taken, Wires, closed_loop, open_loop, request
from desirepath.flows.progress import Progress, silent
from desirepath.flows.words import Answer
from desirepath.schema import FIRST
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace

LEFT_OUT = ("live.db*", "keys.json", "*.old", "report.html", "recommendations.parquet")
"""What the copy goes without: live events would be counted in, and keys would be asked for."""
START_S = 300.0
STOP_S = 40.0
SHOWN = ("p50_ms", "p90_ms", "p99_ms", "max_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """What is asked, how often and for how long."""

    rate_per_s: float = 50.0
    """Requests a second while latency is measured, > 0."""
    seconds: float = 10.0
    """Length of each of the five parts, > 0."""
    clients: int = 32
    """Clients at once where the most is measured, >= 1."""
    batch: int = 500
    """Events in one request where batches are measured, >= 1."""
    k: int = 10
    """Length of the lists."""
    min_events: int = 1
    """Only users with so many events are asked for; the model's max_len shows full windows."""
    scenario: str = "default"
    """Rules of the lists."""
    seed: int = 0
    """Of the users, items and arrivals that are drawn."""

    def __post_init__(self) -> None:
        for name in ("rate_per_s", "seconds", "clients", "batch", "k", "min_events"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0; got {getattr(self, name)}.")


def bench(folder: Path, config: BenchConfig | None = None, progress: Progress = silent) -> Answer:
    """Measure a workspace's server; figures in milliseconds, answers a second, and bytes.

    Raises:
        DataError: no user has as many events as are asked for.
        DesirepathError: the server did not start.
    """
    config = config or BenchConfig()
    workspace = Workspace.open(folder)
    sequences = open_sequences(workspace)
    enough = np.flatnonzero(np.diff(sequences.offsets) >= config.min_events)
    if not len(enough):
        raise DataError(
            f"Some user must have {config.min_events} events; none of {folder} has. Ask for fewer."
        )
    draw = np.random.default_rng(config.seed)
    users = sequences.users.ids.gather(draw.choice(enough, 20_000)).to_list()
    items = sequences.items.decode(draw.integers(FIRST, len(sequences.items), 20_000)).to_list()
    words = sequences.actions.decode(sequences.action_ix[:1]).to_list()
    asked = _Asked(users, items, words[0] if words else "view", config)
    with tempfile.TemporaryDirectory(prefix="desirepath-bench-") as place:
        copy = Path(place) / "workspace"
        progress("copy", 0.0, "")
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        with serving(copy) as (port, process):
            plain = asyncio.run(_measure(port, process.pid, asked, config, progress))
    plain["workspace"] = {
        "users": sequences.n_users,
        "events": sequences.n_events,
        "items": len(sequences.items) - FIRST,
        "median_events": float(np.median(np.diff(sequences.offsets)[enough])),
    }
    plain["asked"] = {"min_events": config.min_events, "k": config.k, "scenario": config.scenario}
    return Answer(plain, [_shown(plain, config), *_notes(plain)])


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server of the workspace in a process of its own, on a free port, until the block ends.

    Raises:
        DesirepathError: it did not become ready.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = folder / "bench.log"
    words = [sys.executable, "-m", "desirepath", "serve", str(folder), "--port", str(port), *options]
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out)
        try:
            _wait_until_ready(port, process, log)
            yield port, process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0) as wire:
                wire.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                if b" 200 " in wire.recv(256):
                    return
        except OSError:
            time.sleep(0.1)
    said = log.read_text(errors="replace").strip().splitlines()[-5:]
    raise DesirepathError("The server did not become ready. It said: " + " / ".join(said or ["nothing"]))


class _Asked:
    """What is asked, one after the other, over and over."""

    def __init__(self, users: list[str], items: list[str], action: str, config: BenchConfig) -> None:
        self._users, self._items = itertools.cycle(users), itertools.cycle(items)
        self.action, self.config = action, config

    def recommend(self, user: str | None = None) -> dict[str, Any]:
        return {
            "user_id": user or next(self._users),
            "k": self.config.k,
            "scenario": self.config.scenario,
        }

    def event(self, user: str | None = None, item: str | None = None) -> dict[str, Any]:
        return {
            "user_id": user or next(self._users),
            "item_id": item or next(self._items),
            "action": self.action,
        }


async def _measure(
    port: int, pid: int, asked: _Asked, config: BenchConfig, progress: Progress
) -> dict[str, Any]:
    wires = Wires(port)

    def recommend() -> Any:
        return wires.ask(request("POST", "/v1/recommend", asked.recommend()))

    def event() -> Any:
        return wires.ask(request("POST", "/v1/events", asked.event()))

    def batch() -> Any:
        return wires.ask(request("POST", "/v1/events", [asked.event() for _ in range(config.batch)]))

    plain: dict[str, Any] = {"rss_at_start_bytes": resident_bytes(pid)}
    await closed_loop(recommend, 2, min(2.0, config.seconds))  # warms caches, and compiles what is not yet
    steps: dict[str, Callable[[], Coroutine[Any, Any, Taken | dict[str, Any]]]] = {
        "recommend": lambda: open_loop(recommend, config.rate_per_s, config.seconds, config.seed),
        "recommend_most": lambda: closed_loop(recommend, config.clients, config.seconds),
        "freshness": lambda: _freshness(wires, asked, config),
        "events_one_by_one": lambda: closed_loop(event, config.clients, config.seconds),
        "events_in_batches": lambda: closed_loop(batch, 4, config.seconds),
    }
    for done, (name, step) in enumerate(steps.items()):
        progress("bench", done / len(steps), name.replace("_", " "))
        before_s = cpu_s(pid)
        found = await step()
        if isinstance(found, Taken):
            cores = (cpu_s(pid) - before_s) / found.elapsed_s
            plain[name] = {**found.figures(), "server_cores": round(cores, 2)}
        else:
            plain[name] = found
    many = plain["events_in_batches"]
    many["events_per_s"] = round(many["per_s"] * config.batch, 1)
    plain["rss_bytes"] = resident_bytes(pid)
    progress("bench", 1.0, "")
    wires.close()
    return plain


async def _freshness(wires: Wires, asked: _Asked, config: BenchConfig) -> dict[str, Any]:
    """From a kept event to the first answer that knows it.

    For users drawn by chance, at a fifth of the rate: the best item of a list is reported as seen; once that
    is acknowledged, the list is asked for until it knows of one event more.
    """
    changed, whole = Taken(), Taken()
    asks: list[int] = []
    same: list[bool] = []
    loop = asyncio.get_running_loop()

    async def one() -> Reply:
        body = asked.recommend()
        before = await wires.ask_json("POST", "/v1/recommend", body)
        listed = [item["item_id"] for item in before["items"]]
        event = request("POST", "/v1/events", asked.event(body["user_id"], listed[0] if listed else None))
        sent = loop.time()
        kept = await wires.ask(event)
        known = loop.time()
        for n in itertools.count(1):
            reply = await wires.ask(request("POST", "/v1/recommend", body))
            if reply.status != 200:
                return reply
            after = json.loads(reply.body)
            if after["n_events"] > before["n_events"] or n == 100:
                break
        now = loop.time()
        changed.count(kept, (now - known) * 1e3)
        whole.count(kept, (now - sent) * 1e3)
        asks.append(n)
        same.append([item["item_id"] for item in after["items"]] == listed)
        return kept

    began = loop.time()
    rounds = await open_loop(one, config.rate_per_s / 5, config.seconds, config.seed + 1)
    changed.elapsed_s = whole.elapsed_s = loop.time() - began
    changed.failures = rounds.failures
    return {
        **changed.figures(),
        "from_sending": whole.figures(),
        "answers_that_did_not_know_yet": int(sum(asks) - len(asks)),
        "lists_unchanged": int(sum(same)),
    }


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now."""
    return 1024 * int(_ps(pid, "rss"))


def cpu_s(pid: int) -> float:
    """Processor time that a process has taken until now, seconds, to a hundredth where /proc tells it."""
    path = Path(f"/proc/{pid}/stat")
    if not path.exists():
        days, _, clock = _ps(pid, "time").rpartition("-")
        seconds = 0.0
        for part in clock.split(":"):
            seconds = 60 * seconds + float(part)
        return 86_400.0 * float(days or 0) + seconds
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ps(pid: int, what: str) -> str:
    words = ["ps", "-o", f"{what}=", "-p", str(pid)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _shown(plain: dict[str, Any], config: BenchConfig) -> Table:
    table = Table(title="The server on this machine", title_justify="left", box=None, pad_edge=False)
    table.add_column("what")
    for column in ("p50 ms", "p90 ms", "p99 ms", "max ms", "a second", "failed", "cores"):
        table.add_column(column, justify="right")
    fresh = plain["freshness"]
    rows = {
        f"lists at {config.rate_per_s:g} requests/s": plain["recommend"],
        f"lists, {config.clients} clients": plain["recommend_most"],
        "event kept, until a list knows it": fresh,
        "event sent, until a list knows it": fresh["from_sending"],
        f"events one by one, {config.clients} clients": plain["events_one_by_one"],
        f"events in batches of {config.batch}": plain["events_in_batches"],
    }
    for name, found in rows.items():
        per_s = found.get("events_per_s", found["per_s"])
        table.add_row(
            name,
            *(f"{found[key]:.1f}" if key in found else "" for key in SHOWN),
            f"{per_s:,.0f}",
            str(sum(found["failures"].values())),
            str(found.get("server_cores", "")),
        )
    return table


def _notes(plain: dict[str, Any]) -> list[str]:
    known = plain["workspace"]
    notes = [
        f"{known['users']:,} users, {known['events']:,} events, {known['items']:,} items; half of those "
        f"asked for have more than {known['median_events']:.0f} events.",
        f"Memory of the server: {plain['rss_bytes'] / 2**20:,.0f} MiB "
        f"({plain['rss_at_start_bytes'] / 2**20:,.0f} MiB before the first question).",
    ]
    stale = plain["freshness"]["answers_that_did_not_know_yet"]
    if stale:
        notes.append(f"{stale} answers did not know an event that had been acknowledged before.")
    return notes
