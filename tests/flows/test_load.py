# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from desirepath import flows
from desirepath.errors import ConfigError, DataError, DesirepathError
from desirepath.flows.bench import BenchConfig, bench, cpu_s, resident_bytes
from desirepath.flows.load import Taken, Wires, closed_loop, open_loop, request
from desirepath.models.markov import Markov
from desirepath.recommend.versions import Version, save_version
from desirepath.sequences import Sequences


class Server:
    """Answers by a function of the request's number and path; waits where the function does."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.under_way = self.most_under_way = self.connections = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.wires = Wires(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_):
        self.wires.close()
        self._server.close()
        await asyncio.sleep(0.01)

    async def _serve(self, reader, writer):
        self.connections += 1
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            size = int(head.lower().partition(b"content-length:")[2].split(b"\r")[0] or 0)
            body = await reader.readexactly(size)
            self.asked.append((head.split(b"\r\n")[0].decode(), body))
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            reply = await self.answer(len(self.asked) - 1)
            self.under_way -= 1
            if reply is None:
                break
            writer.write(reply[:20])  # in two parts, as networks do
            await asyncio.sleep(0)
            writer.write(reply[20:])
        writer.close()


def http(status, body=b"{}"):
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nx: y\r\n\r\n%s" % (status, len(body), body)


def test_open_loop_waits_for_nobody():
    async def scenario():
        everyone = asyncio.Event()

        async def answer(number):
            if number == 9:  # nobody is answered until ten have asked
                everyone.set()
            await everyone.wait()
            return http(200)

        async with Server(answer) as server:
            found = await open_loop(lambda: server.wires.ask(request("GET", "/")), 200.0, 0.2, seed=1)
            return server, found

    server, found = asyncio.run(scenario())
    assert server.most_under_way >= 10
    assert len(found.latency_ms) == len(server.asked) == len(found.late_ms)
    assert found.failures == {}
    assert found.figures()["per_s"] == pytest.approx(len(server.asked) / found.elapsed_s, rel=0.01)


def test_closed_loop_keeps_each_client_busy_with_one_request_on_one_connection():
    async def scenario():
        async def answer(number):
            await asyncio.sleep(0.001)
            return http(200, b"x" * 70_000 if number % 3 == 0 else b"")

        async with Server(answer) as server:
            return server, await closed_loop(lambda: server.wires.ask(request("GET", "/")), 3, 0.1)

    server, found = asyncio.run(scenario())
    assert server.most_under_way == server.connections == 3
    assert len(found.latency_ms) == len(server.asked) > 3


def test_refusals_and_broken_connections_are_counted_and_do_not_end_a_round():
    async def scenario():
        async def answer(number):
            return (http(200), http(429), None)[number % 3]

        async with Server(answer) as server:
            return await closed_loop(lambda: server.wires.ask(request("GET", "/")), 1, 0.1)

    taken = asyncio.run(scenario())
    n, refused, broken = len(taken.latency_ms), taken.failures["429"], taken.failures["ConnectionResetError"]
    assert n >= refused >= broken >= n - 1
    assert broken >= 1


def test_a_refusal_is_told_with_its_words():
    async def scenario():
        async def answer(number):
            return http(429, b"slow down")

        async with Server(answer) as server:
            await server.wires.ask_json("GET", "/v1/x")

    with pytest.raises(DesirepathError, match="GET /v1/x must be answered with 200; got 429: slow down"):
        asyncio.run(scenario())


def test_requests_are_well_formed():
    body = {"user_id": "größe", "k": 3}

    async def scenario():
        async def answer(number):
            return http(200, b'{"a": 1}')

        async with Server(answer) as server:
            found = await server.wires.ask_json("POST", "/v1/recommend", body)
            return server.asked, found

    asked, found = asyncio.run(scenario())
    assert asked[0][0] == "POST /v1/recommend HTTP/1.1"
    assert json.loads(asked[0][1]) == body
    assert found == {"a": 1}


def test_percentiles_are_those_of_what_was_answered():
    taken = Taken(latency_ms=[float(n) for n in range(101)], elapsed_s=2.0)
    figures = taken.figures()
    assert (figures["p50_ms"], figures["p99_ms"], figures["max_ms"]) == (50.0, 99.0, 100.0)
    assert figures["per_s"] == 50.5
    assert Taken().figures() == {"n": 0, "per_s": 0.0, "failures": {}}


def test_a_process_is_measured():
    import os

    assert resident_bytes(os.getpid()) > 2**20
    before = cpu_s(os.getpid())
    sum(range(3_000_000))
    assert cpu_s(os.getpid()) >= before > 0
    with pytest.raises(ConfigError, match="clients"):
        BenchConfig(clients=0)


@pytest.mark.slow
def test_a_workspace_is_measured_and_left_as_it_was(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"u{u},i{i},{1_700_000_000 + n}" for n, (u, i) in enumerate(rng.integers(0, 20, (600, 2)))]
    (tmp_path / "a.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    folder = tmp_path / "ws"
    flows.ingest(flows.Given(sources=[str(tmp_path / "a.csv")]), folder, [])
    sequences = Sequences.load(folder / "sequences")
    made = {"trained_until_s": 1_700_000_600.0, "validation": {}}
    save_version(
        folder / "runs" / "final",
        Version(
            name="v1",
            model=Markov().fit(sequences),
            items=sequences.items,
            calibration=None,
            exclude_seen=False,
            made=made,
        ),
    )
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    answer = bench(folder, BenchConfig(seconds=1.0, clients=4, batch=50, rate_per_s=30.0))
    plain = answer.plain
    for part in ("recommend", "recommend_most", "freshness", "events_one_by_one", "events_in_batches"):
        assert plain[part]["n"] > 0
        assert plain[part]["failures"] == {}
    assert plain["freshness"]["answers_that_did_not_know_yet"] == 0
    assert plain["rss_bytes"] > 2**20
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(DataError, match="1000 events"):
        bench(folder, BenchConfig(min_events=1000))
