# SPDX-License-Identifier: Apache-2.0
"""Buckets that processes share must give all of them together no more than one bucket gives."""

from __future__ import annotations

import shutil
import sys
import time
import uuid
from pathlib import Path

import pytest
from shop import open_shop, served

from desirepath.errors import ConfigError
from desirepath.serving import buckets
from desirepath.serving.app import make_app
from desirepath.serving.buckets import MOST_BUCKETS, SharedBuckets, connect
from desirepath.serving.keys import KeyRing
from desirepath.serving.options import GuardConfig, LimitsConfig

sys.path.append(str(Path(__file__).parents[1] / "live"))
from servers import free_port, redis_server

SLOW = 1e-3
"""A rate at which nothing is gained while a test runs."""


@pytest.fixture(scope="module")
def redis_url():
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server here; install it (Debian: redis-server) to test shared rates")
    with redis_server() as url:
        yield url


@pytest.fixture
def shared(redis_url):
    prefix = uuid.uuid4().hex

    def one(rate_per_s: float, burst: float) -> SharedBuckets:
        return SharedBuckets(rate_per_s, burst, connect(redis_url), prefix)

    return one


@pytest.mark.parametrize("burst", [1, 7, 50, 120])
def test_two_processes_take_from_one_bucket(shared, burst):
    first, second = shared(SLOW, burst), shared(SLOW, burst)
    given = [one.take("anna")[0] for _ in range(burst) for one in (first, second)]
    held = max(1, burst // 50) - 1
    assert burst - held <= sum(given) <= burst
    assert all(given[: burst - 2 * held])
    assert [one.take("bert")[0] for one in (first, second)] == [True, burst > 1]


def test_a_bucket_that_is_empty_fills_again(shared):
    one, other = shared(20.0, 2.0), shared(20.0, 2.0)
    assert [one.take("x")[0] for _ in range(2)] == [True, True]
    is_allowed, left, wait_s = other.take("x")
    assert not is_allowed
    assert left < 1
    assert 0 < wait_s <= 0.05
    time.sleep(wait_s + 0.01)
    assert other.take("x")[0]
    assert not one.take("x")[0]


def test_tokens_that_a_process_does_not_use_go_back(shared, monkeypatch):
    idle, busy = shared(SLOW, 100.0), shared(SLOW, 100.0)
    assert idle.take("x")[0]
    assert sum(busy.take("x")[0] for _ in range(200)) == 98
    monkeypatch.setattr(buckets, "HELD_S", 0.0)
    allowed, left, _ = idle.take("x")
    assert (allowed, round(left)) == (True, 0)
    assert not busy.take("x")[0]


def test_who_was_refused_does_not_ask_the_server_again(shared):
    one = shared(SLOW, 1.0)
    assert one.take("x")[0]
    asked = []
    take = one._take

    def noted(**given):
        asked.append(1)
        return take(**given)

    one._take = noted
    assert [one.take("x")[0] for _ in range(50)] == [False] * 50
    assert len(asked) == 1


def test_without_its_server_each_process_counts_alone():
    one = SharedBuckets(SLOW, 3.0, connect(f"redis://127.0.0.1:{free_port()}/0"), "p")
    began = time.monotonic()
    assert [one.take("x")[0] for _ in range(5)] == [True] * 3 + [False] * 2
    assert time.monotonic() - began < 1.0


def test_callers_are_forgotten_before_they_are_too_many(shared):
    one = shared(SLOW, 100.0)
    one._take = lambda **_: [1, b"1"]
    for n in range(MOST_BUCKETS + 5):
        one.take(str(n))
    assert len(one._held) == MOST_BUCKETS


def test_a_server_must_have_a_redis_url():
    with pytest.raises(ConfigError, match="redis://"):
        connect("http://127.0.0.1")


def test_two_servers_count_one_key_together(tmp_path, redis_url):
    limits = LimitsConfig(rate_per_s=0.01, burst=6)
    shop = open_shop(tmp_path)
    key = {"x-api-key": KeyRing(tmp_path).create("read")[0]}
    config = GuardConfig(limits=limits, redis=redis_url)
    first, second = make_app({"default": shop}, config), make_app({"default": shop}, config)
    with served(first) as one, served(second) as other:
        statuses = [
            client.get("/v1/items", headers=key).status_code for _ in range(4) for client in (one, other)
        ]
    assert statuses == [200] * 6 + [429] * 2
