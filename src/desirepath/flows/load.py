# SPDX-License-Identifier: Apache-2.0
"""Asks an HTTP server many things and takes the time of each; cheap enough to share a machine with it.

It knows requests as bytes and their replies; what is asked and what it means is said elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from desirepath.errors import DesirepathError

MOST_CONNECTIONS = 256
REPLY_S = 60.0
"""How long a reply is waited for."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes


def request(method: str, path: str, body: object = None) -> bytes:
    """A request as it goes over the wire."""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    data = json.dumps(body, separators=(",", ":")).encode()
    return f"{head}content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


class _Wire(asyncio.Protocol):
    """One connection that is kept; one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waits: asyncio.Future[Reply] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._waits is None:
            return
        head = self._buffer[:end].lower()
        place = head.find(b"content-length:")
        size = int(head[place + 15 :].split(b"\r", 1)[0]) if place >= 0 else 0
        if len(self._buffer) < end + 4 + size:
            return
        waits, self._waits = self._waits, None
        body, self._buffer = self._buffer[end + 4 : end + 4 + size], b""
        if not waits.done():
            waits.set_result(Reply(int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waits is not None and not self._waits.done():
            self._waits.set_exception(ConnectionResetError("the server closed the connection"))

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def ask(self, data: bytes) -> Reply:
        assert self._transport is not None
        self._waits = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        async with asyncio.timeout(REPLY_S):
            return await self._waits


class Wires:
    """Connections to one server, opened when all that there are have something to do."""

    def __init__(self, port: int) -> None:
        """Connect to this machine's `port`, when there is something to ask."""
        self._port = port
        self._idle: list[_Wire] = []
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)

    async def ask(self, data: bytes) -> Reply:
        """The reply to one request.

        Raises:
            OSError: the connection could not be made, or broke.
            TimeoutError: no reply came within a minute.
        """
        async with self._room:
            wire = self._idle.pop() if self._idle else None
            if wire is None or not wire.is_open:
                loop = asyncio.get_running_loop()
                _, wire = await loop.create_connection(_Wire, "127.0.0.1", self._port)
            reply = await wire.ask(data)
            self._idle.append(wire)
            return reply

    async def ask_json(self, method: str, path: str, body: object = None) -> Any:
        """The JSON that a request brings.

        Raises:
            DesirepathError: the server refused.
        """
        reply = await self.ask(request(method, path, body))
        if reply.status != 200:
            text = reply.body[:300].decode(errors="replace")
            raise DesirepathError(f"{method} {path} must be answered with 200; got {reply.status}: {text}")
        return json.loads(reply.body)

    def close(self) -> None:
        """Hang up."""
        for wire in self._idle:
            wire.close()


@dataclass(slots=True)
class Taken:
    """What a round of requests took."""

    latency_ms: list[float] = field(default_factory=list)
    """Of each request that was answered with 200."""
    failures: dict[str, int] = field(default_factory=dict)
    """Requests that were not, by status or error."""
    elapsed_s: float = 0.0
    late_ms: list[float] = field(default_factory=list)
    """By how much requests left later than drawn: this program's own fault, or its processor's."""

    def count(self, reply: Reply | None, latency_ms: float, error: str = "") -> bool:
        """Take one request in; whether it was answered with 200."""
        if reply is not None and reply.status == 200:
            self.latency_ms.append(latency_ms)
            return True
        name = error if reply is None else str(reply.status)
        self.failures[name] = self.failures.get(name, 0) + 1
        return False

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.latency_ms) / self.elapsed_s if self.elapsed_s else 0.0

    def figures(self) -> dict[str, Any]:
        """Percentiles in milliseconds, rates and failures, as plain values."""
        found: dict[str, Any] = {"n": len(self.latency_ms), "per_s": round(self.per_s, 1)}
        if self.latency_ms:
            for name, share in (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("max_ms", 1.0)):
                found[name] = round(float(np.quantile(self.latency_ms, share)), 2)
        if self.late_ms:
            found["sent_late_p99_ms"] = round(float(np.quantile(self.late_ms, 0.99)), 2)
        found["failures"] = dict(self.failures)
        return found


Ask = Callable[[], Awaitable[Reply]]


async def _timed(ask: Ask, taken: Taken) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        reply = await ask()
    except (OSError, TimeoutError) as error:
        taken.count(None, 0.0, type(error).__name__)
    else:
        taken.count(reply, (loop.time() - began) * 1e3)


async def open_loop(ask: Ask, rate_per_s: float, duration_s: float, seed: int = 0) -> Taken:
    """Requests that arrive by chance (Poisson) at a rate, whether or not earlier ones were answered.

    A server that falls behind is so asked on, and each request that had to wait says so: a client that waits
    for its answers would ask less when the server is slow, and hide it.
    """
    loop, draw, taken = asyncio.get_running_loop(), random.Random(seed), Taken()
    began = loop.time()
    at, under_way = began, set()
    while True:
        at += draw.expovariate(rate_per_s)
        if at > began + duration_s:
            break
        if (wait := at - loop.time()) > 0:
            await asyncio.sleep(wait)
        taken.late_ms.append((loop.time() - at) * 1e3)
        task = asyncio.ensure_future(_timed(ask, taken))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    if under_way:
        await asyncio.wait(under_way)
    taken.elapsed_s = loop.time() - began
    return taken


async def closed_loop(ask: Ask, n_clients: int, duration_s: float) -> Taken:
    """Clients that each ask again as soon as they were answered: what the server can do at most."""
    loop, taken = asyncio.get_running_loop(), Taken()
    began = loop.time()

    async def client() -> None:
        while loop.time() < began + duration_s:
            await _timed(ask, taken)

    await asyncio.gather(*(client() for _ in range(n_clients)))
    taken.elapsed_s = loop.time() - began
    return taken
