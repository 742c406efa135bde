# SPDX-License-Identifier: Apache-2.0
"""The loop over HTTP, on a ring where the truth is known: an event in, kept, and the next answer knows it."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from shop import open_shop, served

import worlds
from desirepath.errors import ConfigError
from desirepath.live.answer import Ask
from desirepath.live.trending import Trending
from desirepath.models.popularity import Popularity
from desirepath.recommend.versions import Version
from desirepath.schema import FIRST
from desirepath.serving.app import make_app


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    project = open_shop(tmp_path_factory.mktemp("shop"))
    with served(make_app({"default": project})) as client:
        yield client, project


def first(client, **ask):
    reply = client.post("/v1/recommend", json={"k": 1, **ask}).json()
    return reply["items"][0]["item_id"], reply


def test_the_next_answer_knows_the_event(shop):
    client, _ = shop
    for item in (3, 7, 11, 0):
        kept = client.post("/v1/events", json={"user_id": "ann", "item_id": str(item)}).json()
        assert kept["accepted"] == 1
        answer, reply = first(client, user_id="ann")
        assert answer == str((item + 1) % 12)
        assert reply["fallback"] is None
        assert reply["model_version"] == "ring-1"
    assert reply["n_events"] == 4


def test_a_session_a_history_and_an_item_page_are_contexts_too(shop):
    client, _ = shop
    client.post("/v1/events", json={"session_id": "s1", "item_id": "5"})
    assert first(client, session_id="s1")[0] == "6"
    assert first(client, history=["1", "2"])[0] == "3"
    assert first(client, user_id="u0", item_id="8")[0] == "9"


def test_who_asks_beside_a_question_that_breaks_gets_an_answer_all_the_same(shop, monkeypatch):
    _, project = shop
    may_go_on, of = threading.Event(), project.memory.context.of

    def breaking(context, item_ix):
        if "breaks" in context:
            raise RuntimeError("something unforeseen")
        may_go_on.wait(60)
        return of(context, item_ix)

    monkeypatch.setattr(project.memory.context, "of", breaking)
    held_up = project.engine.ask(Ask(history=("1",), k=1, context={"device": "phone"}))
    together = [
        project.engine.ask(Ask(history=("4",), k=1, context={"breaks": True} if place == 1 else {}))
        for place in range(3)
    ]
    may_go_on.set()
    assert held_up.result(60).items[0].item_id == "2"
    assert [type(one.exception(60)) for one in together] == [type(None), RuntimeError, type(None)]
    assert together[0].result().items == together[2].result().items
    assert together[0].result().items[0].item_id == "5"


def test_nobody_gets_what_is_popular_and_is_told_why(shop):
    client, _ = shop
    _, reply = first(client)
    assert "nothing that the model knows" in reply["fallback"]
    assert reply["items"][0]["reasons"][0]["source"] == "trending"
    shares = [row["share"] for row in client.get("/v1/trending").json()["items"]]
    assert shares == sorted(shares, reverse=True)


def test_what_comes_twice_counts_once(shop):
    client, project = shop
    event = {"event_id": "e-1", "user_id": "bob", "item_id": "2"}
    assert client.post("/v1/events", json=event).json()["accepted"] == 1
    assert client.post("/v1/events", json=[event, event]).json()["known"] == 2
    keyed = {"headers": {"Idempotency-Key": "k1"}, "json": {"user_id": "bob", "item_id": "3"}}
    assert client.post("/v1/events", **keyed).json()["accepted"] == 1
    assert client.post("/v1/events", **keyed).json() == {
        "accepted": 0,
        "known": 1,
        "rejected": [],
        "event_ids": client.post("/v1/events", **keyed).json()["event_ids"],
    }
    other = client.post("/v1/events", headers=keyed["headers"], json={"user_id": "bob", "item_id": "4"})
    assert other.status_code == 422
    assert other.json()["errors"][0]["field"] == "Idempotency-Key"
    assert len(project.states.histories(["bob"]).item_ix) == 2


def test_good_rows_are_kept_and_bad_ones_come_back(shop):
    client, _ = shop
    lines = [
        {"user_id": "cy", "item_id": "1"},
        {"user_id": "cy", "item_id": "1", "time": "9999-01-01T00:00:00Z"},
        {"user_id": "cy"},
        "nothing",
        {"user_id": "cy", "item_id": "2", "colour": "red"},
    ]
    body = "\n".join(json.dumps(line) for line in lines)
    reply = client.post("/v1/events", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert reply.json()["accepted"] == 1
    assert [(row["index"], row["errors"][0]["field"]) for row in reply.json()["rejected"]] == [
        (1, "time"),
        (2, "item_id"),
        (3, ""),
        (4, "colour"),
    ]


def test_an_item_is_shown_hidden_and_gone_at_once(shop):
    client, _ = shop
    client.put("/v1/items", json=[{"item_id": "new", "attributes": {"title": "New", "price": 3}}])
    assert client.get("/v1/items", params={"q": "NEW"}).json()["items"][0]["item_id"] == "new"
    filtered = client.post("/v1/recommend", json={"user_id": "u1", "filter": "price < 5"}).json()
    assert [one["item_id"] for one in filtered["items"]] == ["new"]
    assert filtered["items"][0]["reasons"][0]["source"] == "latest"
    assert first(client, history=["1"])[0] == "2"
    client.patch("/v1/items/2", json={"is_hidden": True})
    assert first(client, history=["1"])[0] != "2"
    client.patch("/v1/items/2", json={"is_hidden": False})
    assert first(client, history=["1"])[0] == "2"
    assert client.delete("/v1/items/new").status_code == 204
    assert client.post("/v1/recommend", json={"user_id": "u1", "filter": "price < 5"}).json()["items"] == []


def test_a_user_is_erased_and_stays_so(shop):
    client, _ = shop
    assert client.get("/v1/users/u3").json()["n_events"] == 15
    found = client.get("/v1/users", params={"q": "U3"}).json()["users"]
    assert found[0]["user_id"] == "u3"
    client.post("/v1/events", json={"user_id": "u3", "item_id": "1"})
    assert client.delete("/v1/users/u3").json()["events"] == 1
    _, reply = first(client, user_id="u3")
    assert reply["n_events"] == 0
    assert reply["fallback"]
    client.post("/v1/events", json={"user_id": "u3", "item_id": "1"})
    assert first(client, user_id="u3")[1]["n_events"] == 1


def test_memory_is_made_again_from_the_store(tmp_path):
    project = open_shop(tmp_path)
    rng = np.random.default_rng(0)
    rows = [
        {
            "event_id": f"e{n}",
            "user_id": f"v{rng.integers(5)}",
            "item_id": str(rng.integers(12)),
            "action": "view",
            "time_us": int(rng.integers(10**15)),
            "received_us": n,
        }
        for n in range(200)
    ]
    blank = dict.fromkeys(("session_id", "value", "recommendation_id", "position", "more"))
    project.keep([row | blank for row in rows]).result()
    project.records.put_items([("new", {"title": "N"}, True)]).result()
    project.forget("v1").result()
    users = [f"v{n}" for n in range(5)]
    before = project.states.histories(users)
    shares = project.trending.shares(14)
    project.close()
    again = open_shop(tmp_path)
    for old, new in zip(before, again.states.histories(users), strict=True):
        np.testing.assert_array_equal(old, new)
    assert again.catalogue.hidden[again.catalogue.index("new")]
    # What an erased user did is no longer in the store; it fades from the counts at the next start.
    assert again.trending.shares(14).sum() == pytest.approx(shares.sum())
    again.close()


def test_feedback_is_measured_and_the_action_counts(shop):
    client, project = shop
    _, reply = first(client, user_id="dan", k=3)
    said = client.post(
        "/v1/feedback",
        json={
            "recommendation_id": reply["recommendation_id"],
            "user_id": "dan",
            "impressions": [one["item_id"] for one in reply["items"]],
            "item_id": reply["items"][1]["item_id"],
            "action": "click",
            "satisfaction": 0.5,
        },
    ).json()
    assert said["accepted"] == 5
    assert len(project.states.histories(["dan"]).item_ix) == 1  # impressions and ratings are no behaviour
    found = project.results.outcomes(1.0).lists
    mine = found.filter(found["recommendation_id"] == reply["recommendation_id"]).row(0, named=True)
    assert (mine["impressions"], mine["clicks"], mine["rating"]) == (3, 1, 0.5)


def test_reasons_predictions_and_portraits(shop):
    client, _ = shop
    client.post("/v1/events", json=[{"user_id": "eve", "item_id": str(i)} for i in (4, 5, 6)])
    why = client.post("/v1/explain", json={"user_id": "eve", "k": 1}).json()["items"][0]
    assert why["item_id"] == "7"
    assert why["events"][0]["item_id"] == "6"  # a chain of order 1 looks at the last event alone
    assert why["sentence"].startswith("Because “<script>alert(6)</script>” is in your history.")
    said = client.get("/v1/users/eve/predict").json()
    assert sum(one["probability"] for one in said["actions"]) == pytest.approx(1.0)
    assert client.get("/v1/users/eve/profile").json()["facts"]["n_events"] == 3
    assert client.get("/v1/users/nobody/profile").status_code == 404


def test_people_to_follow_come_through_those_one_follows(shop):
    client, _ = shop
    ties = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("c", "e"), ("b", "a")]
    client.put("/v1/ties", json=[{"source": s, "target": t} for s, t in ties])
    found = client.get("/v1/users/a/people").json()["users"]
    assert [(one["user_id"], one["followed_by"]) for one in found] == [("d", 2), ("e", 1)]
    assert client.post("/v1/ties/cut", json={"source": "b", "target": "d"}).json()["was_there"]
    found = client.get("/v1/users/a/people").json()["users"]
    assert {one["user_id"]: one["followed_by"] for one in found} == {"d": 1, "e": 1}


def test_a_hot_swap_drops_nothing(tmp_path):
    project = open_shop(tmp_path)
    world = worlds.cycle()
    chain = project.engine.version
    popular = Version(
        name="popular-1",
        model=Popularity().fit(world),
        items=world.items,
        calibration=None,
        exclude_seen=False,
        made={},
    )
    futures, seen = [], set()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        project.swap(popular if len(futures) % 2 else chain)
        futures.append(project.recommend(Ask(user_id="u0", k=1)))
    for future in futures:
        seen.add(future.result(timeout=10).model_version)
    assert seen == {"ring-1", "popular-1"}
    project.close()


def test_scenarios_are_read_again_and_a_wrong_file_changes_nothing(tmp_path):
    project = open_shop(tmp_path)
    path = project.workspace.settings_path
    ask = Ask(user_id="u0", scenario="home")
    with pytest.raises(ConfigError, match="no scenario 'home'"):
        project.recommend(ask).result()

    def written(text):
        path.write_text(text)
        project.scenarios._looked_s = -10.0  # as if a second had passed

    written("[scenario.home]\nk = 2\n")
    assert len(project.recommend(ask).result().items) == 2
    written("[scenario.home]\nk = 'two'\n")
    assert len(project.recommend(ask).result().items) == 2
    assert "scenario.home" in project.scenarios.problem
    project.close()


def test_experiments_split_and_mix(tmp_path):
    project = open_shop(tmp_path)
    project.workspace.settings_path.write_text(
        "[scenario.short]\nk = 2\n[scenario.pinned]\nk = 2\n"
        'pins = [{item = "0", position = 1}]\n'
        '[experiment.split]\nvariants = {old = "short", new = "pinned"}\n'
        '[experiment.mix]\nkind = "interleaving"\nscenario = "short"\n'
        'variants = {a = "short", b = "pinned"}\n'
    )
    project.scenarios._looked_s = -10.0
    replies = {u: project.recommend(Ask(user_id=f"u{u}")).result() for u in range(20)}
    assert {reply.variant for reply in replies.values()} == {"split:old", "split:new"}
    assert all((r.items[0].item_id == "0") >= (r.variant == "split:new") for r in replies.values())
    mixed = project.recommend(Ask(user_id="u5", scenario="short")).result()
    teams = [reason["amount"] for one in mixed.items for reason in one.reasons if reason["kind"] == "team"]
    assert sorted(teams) == [0.0, 1.0]
    project.close()


def test_trending_counts_as_a_decay_does_and_one_late_click_is_not_everything():
    world = worlds.cycle()
    half_life_days, late_s = 2.0, float(world.time_s.max()) + 3600.0
    counts = Trending(half_life_days, world)
    counts.add(FIRST + 3, late_s)
    weight = np.exp2((world.time_s - late_s) / (half_life_days * 86_400))
    expected = np.bincount(world.item_ix, weights=weight, minlength=14)
    expected[FIRST + 3] += 1
    np.testing.assert_allclose(counts.shares(14), expected / expected.sum())
    slow = Trending(36_500.0, world)
    drawn = Trending(half_life_days, world, prior=slow)
    for one in (slow, drawn):
        one.add(FIRST + 3, late_s + 10 * 365 * 86_400.0)
    assert drawn.shares(14).max() < 0.15  # about 1 in 12, and one click beside a hundred
    assert drawn.shares(14).sum() == pytest.approx(1.0)


def test_chance_is_drawn_anew_for_each_list_and_propensities_hold(tmp_path):
    project = open_shop(tmp_path)
    project.workspace.settings_path.write_text(
        '[scenario.home]\nk = 3\nexploration = {method = "epsilon", share = 0.5, slots = [1]}\n'
    )
    project.scenarios._looked_s = -10.0
    ask = Ask(user_id="u0", scenario="home")
    lists = [project.recommend(ask).result() for _ in range(600)]
    first = [reply.items[0] for reply in lists]
    stated = {one.item_id: one.propensity for one in first}
    assert len(stated) > 5  # the model's own and those of the pool
    seen = {item: sum(one.item_id == item for one in first) / len(first) for item in stated}
    for item, propensity in stated.items():
        assert abs(seen[item] - propensity) < 5 * (propensity * (1 - propensity) / 600) ** 0.5
    again = [project.recommend(replace(ask, seed=7)).result().items for _ in range(3)]
    assert again[0] == again[1] == again[2]
    project.close()
