# SPDX-License-Identifier: Apache-2.0
"""Kills a process that keeps events, again and again at random instants, while clients send and send again.

Every event has an id, and a client sends what was not acknowledged until it is. What must hold: after each
death everything acknowledged before it is there, and in the end every event is there exactly once.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, select
from stored import row

from desirepath.live.database import open_database
from desirepath.live.tables import events

USER = "someone new "


class Keeper:
    """The process, which begins a new life when told."""

    def __init__(self, url: str, port: int) -> None:
        words = [sys.executable, str(Path(__file__).with_name("keeper.py")), url, str(port)]
        self.port = port
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._pid = 0

    def begin(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("live\n")
        self._process.stdin.flush()
        self._pid = int(self._process.stdout.readline())

    def kill(self) -> None:
        assert self._process.stdout is not None
        os.kill(self._pid, signal.SIGKILL)
        assert self._process.stdout.readline() == "dead\n"

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Server:
    """A real server on a workspace, which begins a new life when told."""

    def __init__(self, folder: Path, port: int) -> None:
        self._words = [sys.executable, "-m", "desirepath", "serve", str(folder), "--port", str(port)]
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        self._process = subprocess.Popen([*self._words, "--log", "none"])

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class Line:
    """A connection to a keeper: one line for each request."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._reader = self._socket.makefile("rb")

    def ask(self, what: Any) -> Any:
        self._socket.sendall(json.dumps(what).encode() + b"\n")
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the end of the answer is missing")
        return json.loads(line)

    def keep(self, rows: list[dict[str, Any]]) -> int:
        """Have events kept; how many were known already."""
        return int(self.ask(rows)["known"])

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


class Http:
    """A connection to a real server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._connection.connect()

    def keep(self, rows: list[dict[str, Any]]) -> int:
        """Have events kept; how many were known already."""
        sent = [
            {name: event[name] for name in ("event_id", "user_id", "item_id", "action")} for event in rows
        ]
        self._connection.request("POST", "/v1/events", json.dumps(sent), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise ConnectionError(text)
        return int(json.loads(text)["known"])

    def count(self, user_id: str) -> int:
        """How many events of a user the answers know."""
        self._connection.request("GET", f"/v1/users/{user_id}")
        return int(json.loads(self._connection.getresponse().read()).get("n_events", 0))

    def close(self) -> None:
        self._connection.close()


@dataclass
class Sender:
    """A client: sends its events one by one or in batches, each until it is acknowledged."""

    number: int
    connect: Callable[[], Line | Http]
    batch: int
    stop: threading.Event
    acknowledged: list[str] = field(default_factory=list)
    sent: int = 0
    n_again: int = 0
    """Requests that were cut, and sent again."""
    n_known: int = 0
    """Events that an answer said were known already."""

    def run(self) -> None:
        chance = random.Random(self.number)
        rows: list[dict[str, Any]] = []
        connection: Line | Http | None = None
        while rows or not self.stop.is_set():
            if not rows:
                size = chance.randint(1, self.batch)
                rows = [self._event() for _ in range(size)]
                rows += rows[: chance.randint(0, 1)]  # and now and then one comes twice in its batch
            try:
                connection = connection or self.connect()
                self.n_known += connection.keep(rows)
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                    connection = None
                    self.n_again += 1
                time.sleep(0.01)
                continue
            self.acknowledged += dict.fromkeys(event["event_id"] for event in rows)
            rows = []
        if connection is not None:
            connection.close()

    def _event(self) -> dict[str, Any]:
        self.sent += 1
        return row(f"{self.number}-{self.sent}", f"{USER}{self.sent % 50}", f"i{self.sent % 97}", self.sent)


def endure(url: str, port: int, *, kills: int, clients: int = 8, seed: int = 0) -> dict[str, Any]:
    """Kill a keeper so many times, and count what was lost and what was doubled.

    Cost: about half a second a kill.
    """
    keeper = Keeper(url, port)
    figures = outlive(url, keeper, lambda: Line(port), kills=kills, clients=clients, seed=seed)
    keeper.begin()
    while True:
        try:
            line = Line(port)
        except OSError:
            continue
        figures["counted_in_memory"] = sum(line.ask("counts").values())
        line.close()
        break
    keeper.kill()
    keeper.close()
    return figures


def outlive(
    url: str,
    victim: Keeper | Server,
    connect: Callable[[], Line | Http],
    *,
    kills: int,
    clients: int,
    seed: int,
    opening_s: float = 0.0,
) -> dict[str, Any]:
    """Send events to what is killed so many times; in the end it is killed too."""
    chance = random.Random(seed)
    stop = threading.Event()
    senders = [Sender(n, connect, 1 if n % 2 else 200, stop) for n in range(clients)]
    engine = open_database(url)
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    found: Counter[str] = Counter()
    last = 0
    lost: set[str] = set()
    checked = [0] * clients

    def look() -> None:
        nonlocal last
        with engine.connect() as connection:
            chosen = select(events.c.seq, events.c.event_id).where(events.c.seq > last).order_by(events.c.seq)
            for seq, event_id in connection.execute(chosen):
                found[event_id] += 1
                last = seq

    try:
        victim.begin()
        for thread in threads:
            thread.start()
        for n in range(kills):
            if n % 10 < 9:  # under load; else in the midst of opening the store
                before = sum(len(sender.acknowledged) for sender in senders)
                patience = time.monotonic() + 120
                while sum(len(sender.acknowledged) for sender in senders) == before:
                    assert time.monotonic() < patience, "nothing is acknowledged any more"
                    time.sleep(0.001)
                time.sleep(chance.uniform(0.0, 0.2))
            else:
                time.sleep(chance.uniform(0.0, 0.2) + opening_s)
            claimed = [len(sender.acknowledged) for sender in senders]
            victim.kill()
            look()
            for place, sender in enumerate(senders):
                lost |= {e for e in sender.acknowledged[checked[place] : claimed[place]] if e not in found}
                checked[place] = claimed[place]
            victim.begin()
        stop.set()
        for thread in threads:
            thread.join()
        victim.kill()
    finally:
        stop.set()
    look()
    engine.dispose()
    everything = [event_id for sender in senders for event_id in sender.acknowledged]
    return {
        "database": make_url(url).get_backend_name(),
        "kills": kills,
        "clients": clients,
        "acknowledged": len(everything),
        "sent_again": sum(sender.n_again for sender in senders),
        "known_when_sent_again": sum(sender.n_known for sender in senders),
        "lost": len(lost | (set(everything) - set(found))),
        "kept_twice": sum(n > 1 for n in found.values()),
        "acknowledged_twice": len(everything) - len(set(everything)),
        "kept_but_never_sent": len(set(found) - set(everything)),
    }
