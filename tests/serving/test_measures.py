# SPDX-License-Identifier: Apache-2.0
"""What /metrics tells agrees with what was done, reads as Prometheus reads it, and holds no ids."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from shop import open_shop, served

from desirepath.serving.app import make_app
from desirepath.serving.keys import KeyRing
from desirepath.serving.measures import BOUNDS_S, MOST_ACTIONS, OTHER, Delays


@pytest.fixture
def shops(tmp_path):
    projects = {"default": open_shop(tmp_path / "a"), "b": open_shop(tmp_path / "b", "b")}
    with served(make_app(projects)) as client:
        yield projects, client


def read(client, **more) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    reply = client.get("/metrics", **more)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def total(samples, name: str, **labels: str) -> float:
    return sum(v for (n, ls), v in samples.items() if n == name and set(labels.items()) <= set(ls))


def test_figures_agree_with_what_was_done(shops):
    _, client = shops
    event = {"event_id": "e1", "user_id": "anna", "item_id": "3", "action": "view"}
    rows = [event, event | {"event_id": "e2", "action": "buy"}, {"user_id": "anna"}]
    assert client.post("/v1/events", json=rows).status_code == 200
    assert client.post("/v1/events", json=event).json()["known"] == 1
    assert client.post("/v1/events", json={}).status_code == 422
    for user in ("anna", "nobody", "nobody else"):
        assert client.post("/v1/recommend", json={"user_id": user}).status_code == 200
    assert client.post("/v1/recommend", json={"scenario": "x" * 40}).status_code >= 400
    samples = read(client)
    ingested = "desirepath_events_ingested_total"
    assert total(samples, ingested, action="view", result="kept") == 1
    assert total(samples, ingested, action="buy", result="kept") == 1
    assert total(samples, ingested, action="view", result="known") == 1
    assert total(samples, ingested, result="rejected") == 2
    asked = "desirepath_recommend_requests_total"
    assert total(samples, asked, status="model", scenario="default", model="ring-1") == 1
    assert total(samples, asked, status="fallback") == 2
    assert total(samples, "desirepath_fallback_total") == 2
    assert total(samples, "desirepath_recommend_latency_seconds_count") == 3
    assert total(samples, "desirepath_event_to_serve_seconds_count") == 2
    assert 0 < total(samples, "desirepath_event_to_serve_seconds_sum") < 20
    assert total(samples, "desirepath_model_info", version="ring-1", model="markov") == 2
    assert total(samples, "desirepath_catalog_items", project="default") == 12
    assert total(samples, "desirepath_users", project="default") == 61
    assert total(samples, "desirepath_live_events", project="default") == 2
    assert 0 <= total(samples, "desirepath_store_waiting_events") <= 3  # the lists just served, at most
    assert total(samples, "process_resident_memory_bytes") > 1e6
    assert total(samples, "desirepath_http_requests_total", route="/v1/events", status="200") == 2
    assert total(samples, "desirepath_http_requests_total", route="/v1/events", status="422") == 1


def test_labels_hold_no_ids_and_stay_few(shops):
    _, client = shops
    rows = [{"user_id": "secret-user", "item_id": f"secret-item-{n}", "action": f"a{n}"} for n in range(99)]
    assert client.post("/v1/events", json=rows).status_code == 200
    client.get("/v1/users/secret-user/recommendations")
    client.get("/v1/items/secret-item-3")
    client.get("/secret-path")
    client.request("SECRET", "/v1/events")
    text = client.get("/metrics").text
    assert "secret" not in text.lower()
    samples = read(client)
    actions = {dict(ls).get("action") for (n, ls) in samples if n == "desirepath_events_ingested_total"}
    assert len(actions) == MOST_ACTIONS + 1
    assert total(samples, "desirepath_events_ingested_total", action=OTHER) == 99 - MOST_ACTIONS


def test_a_key_reads_the_figures_of_its_own_project(shops):
    projects, client = shops
    client.post("/v1/events", json={"user_id": "u", "item_id": "3", "action": "only-in-a"})
    token, _ = KeyRing(projects["b"].workspace.folder).create("read")
    writer, _ = KeyRing(projects["b"].workspace.folder).create("events")
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"X-API-Key": writer}).status_code == 403
    samples = read(client, headers={"X-API-Key": token})
    assert {dict(labels).get("project", "b") for _, labels in samples} == {"b"}
    assert total(samples, "desirepath_catalog_items") == 12
    assert not [labels for _, labels in samples if dict(labels).get("action") == "only-in-a"]


def test_delays_agree_with_the_library_one_by_one():
    delay_s = np.random.default_rng(0).lognormal(-4, 2, 1000)
    delay_s[:12] = BOUNDS_S  # what lies on a bound belongs to it
    ours = Delays()
    ours.add(delay_s[:300])
    ours.add(delay_s[300:])
    registry = CollectorRegistry()
    theirs = Histogram("d", "x", buckets=BOUNDS_S, registry=registry)
    for value in delay_s.tolist():
        theirs.observe(value)
    family = next(iter(text_string_to_metric_families(generate_latest(registry).decode())))
    expected = {s.labels["le"]: s.value for s in family.samples if s.name == "d_bucket"}
    buckets, sum_s = ours.read()
    assert dict(buckets) == expected
    assert sum_s == pytest.approx(float(delay_s.sum()))
