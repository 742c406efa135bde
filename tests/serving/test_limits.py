# SPDX-License-Identifier: Apache-2.0
"""How much one caller may ask: rates in closed form, time, and how many at once."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import open_shop, served

from desirepath.errors import ConfigError
from desirepath.serving.app import make_app
from desirepath.serving.buckets import MOST_BUCKETS, Buckets
from desirepath.serving.keys import KeyRing
from desirepath.serving.options import GuardConfig, LimitsConfig


@given(
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    rate=st.floats(0.1, 20),
    burst=st.integers(1, 20),
)
def test_a_bucket_never_gives_more_than_it_may(gaps, rate, burst):
    """In any window of s seconds at most burst + rate s are allowed, and a token that is there is given."""
    now = 0.0
    buckets = Buckets(rate, float(burst), clock=lambda: now)
    allowed: list[float] = []
    level = float(burst)
    for gap in gaps:
        now += gap
        level = min(float(burst), level + gap * rate)
        given_one, left, wait_s = buckets.take("x")
        if given_one:
            allowed.append(now)
            level -= 1.0
            assert left == pytest.approx(level, abs=1e-6)
        else:
            assert level < 1.0 + 1e-6
            assert wait_s == pytest.approx((1 - level) / rate, abs=1e-6)
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            window_s = allowed[last] - allowed[first]
            assert last - first + 1 <= burst + rate * window_s + 1e-6


def test_buckets_are_forgotten_before_they_are_too_many():
    buckets = Buckets(1.0, 1.0)
    for n in range(MOST_BUCKETS + 50):
        buckets.take(f"caller {n}")
    assert len(buckets) == MOST_BUCKETS


@pytest.mark.parametrize("wrong", [{"body_bytes": 0}, {"request_s": -1.0}, {"rate_per_s": -1.0}])
def test_limits_must_make_sense(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LimitsConfig(**wrong)


def test_rates_are_counted_by_key(tmp_path):
    limits = LimitsConfig(rate_per_s=0.01, burst=5)
    shop = open_shop(tmp_path)
    ring = KeyRing(tmp_path)
    with served(make_app({"default": shop}, GuardConfig(limits=limits))) as client:
        first, second = ({"x-api-key": ring.create("read")[0]} for _ in range(2))
        replies = [client.get("/v1/items", headers=first) for _ in range(7)]
        assert [reply.status_code for reply in replies] == [200] * 5 + [429] * 2
        left = [reply.headers["ratelimit"].split(";")[1] for reply in replies]
        assert left == ["r=4", "r=3", "r=2", "r=1", "r=0", "r=0", "r=0"]
        assert replies[0].headers["ratelimit-policy"] == '"caller";q=5;w=500'
        refused = replies[-1]
        assert refused.headers["content-type"] == "application/problem+json"
        assert 80 <= int(refused.headers["retry-after"]) <= 100
        assert client.get("/v1/items", headers=second).status_code == 200


def test_guessing_keys_is_slowed_down(tmp_path):
    shop = open_shop(tmp_path)
    token, _ = KeyRing(tmp_path).create("read")
    with served(make_app({"default": shop})) as client:
        wrong = {"x-api-key": "dp_read_aaaaaaaa_" + "A" * 43}
        statuses = [client.get("/v1/items", headers=wrong).status_code for _ in range(40)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        # Whoever has a key is not kept out by a neighbour who guesses.
        assert client.get("/v1/items", headers={"x-api-key": token}).status_code == 200


@contextmanager
def slow(folder, **limits):
    """An application with a route that waits until it is let go, and the means to let it go."""
    app = make_app({"default": open_shop(folder)}, GuardConfig(limits=LimitsConfig(**limits)))
    seen, let_go = [], threading.Event()

    @app.get("/v1/slow")
    async def wait() -> str:
        seen.append(1)
        while not let_go.is_set():
            await asyncio.sleep(0.01)
        return "done"

    with served(app) as client:
        yield client, seen, let_go
        let_go.set()


def test_an_answer_that_takes_too_long_is_given_up(tmp_path):
    with slow(tmp_path, request_s=0.4) as (client, seen, _):
        reply = client.get("/v1/slow")
        assert reply.status_code == 503
        assert "0.4 s" in reply.json()["detail"]
        assert reply.headers["retry-after"] == "1"
        assert seen == [1]
        assert client.get("/livez").status_code == 200


def test_too_much_at_once_is_refused_at_the_door(tmp_path):
    with slow(tmp_path, most_at_once=3) as (client, seen, let_go):
        replies: list[int] = []

        def ask() -> None:
            replies.append(httpx.get(f"{client.base_url}/v1/slow", timeout=20).status_code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        while len(seen) < 3:
            time.sleep(0.005)
        refused = client.get("/v1/items")
        let_go.set()
        for thread in threads:
            thread.join()
        assert refused.status_code == 503
        assert "3 requests are under way" in refused.json()["detail"]
        assert replies == [200] * 3
        assert client.get("/v1/items").status_code == 200


def test_other_sites_may_ask_only_where_they_are_named(tmp_path):
    config = GuardConfig(cors_origins=("https://shop.example",))
    ask = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    with served(make_app({"default": open_shop(tmp_path / "a")}, config)) as client:
        reply = client.options("/v1/events", headers=ask)
        assert reply.headers["access-control-allow-origin"] == "https://shop.example"
        evil_ask = ask | {"origin": "https://evil.example"}
        assert client.options("/v1/events", headers=evil_ask).status_code == 400
        event = {"user_id": "u", "item_id": "3"}
        sent = client.post("/v1/events", json=event, headers={"origin": "https://shop.example"})
        assert sent.status_code == 200
        assert sent.headers["access-control-allow-origin"] == "https://shop.example"
        evil = client.post("/v1/events", json=event, headers={"origin": "https://evil.example"})
        assert evil.status_code == 403
        assert "access-control-allow-origin" not in evil.headers
    with served(make_app({"default": open_shop(tmp_path / "b")})) as client:
        assert "access-control-allow-origin" not in client.options("/v1/events", headers=ask).headers


@pytest.mark.parametrize("origin", ["shop.example", "https://", "https://shop.example/path", "https://*.x"])
def test_origins_are_origins(origin):
    with pytest.raises(ConfigError, match="cors_origins"):
        GuardConfig(cors_origins=(origin,))
