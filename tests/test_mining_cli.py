# SPDX-License-Identifier: Apache-2.0
"""`desirepath mine`, `segments` and `profile` as a user types them, on a log whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from desirepath import cli, flows
from desirepath.errors import ConfigError, DesirepathError
from desirepath.events.log import EventLog
from desirepath.sequences import Sequences
from desirepath.simulate import read_truth, tiny, write


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    write(tiny(), folder, format="csv")
    given = flows.Given(
        sources=[str(folder / "events.csv")],
        items=str(folder / "items.csv"),
        users=str(folder / "users.csv"),
    )
    flows.ingest(given, folder / "shop")
    return folder


@pytest.fixture(scope="module")
def shop(market) -> str:
    return str(market / "shop")


def mine(*words: str) -> dict:
    ran = CliRunner().invoke(cli.app, ["mine", *words, "--json"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def refused(*words: str) -> str:
    with pytest.raises(DesirepathError) as error:
        CliRunner().invoke(cli.app, [*words], catch_exceptions=False)
    return str(error.value)


def test_sequences_are_what_the_log_holds(shop):
    found = mine(
        "sequences", shop, "--by", "action", "--min-support", "0.5", "--min-length", "2", "-k", "9999"
    )
    events = Sequences.load(Path(shop) / "sequences").to_frame()
    users = events.group_by("user_id", maintain_order=True).agg("action")["action"].to_list()

    def holds(user: list[str], pattern: list[str]) -> bool:
        rest = iter(user)
        return all(name in rest for name in pattern)

    for row in found["table"][:: max(1, found["rows"] // 40)]:
        assert row["support"] == sum(holds(user, row["pattern"]) for user in users)
    assert found["rows"] == len(found["table"]) > 40


def test_a_log_in_parts_has_the_same_patterns(shop):
    words = ("sequences", shop, "--by", "action", "--min-support", "0.5", "-k", "9999")
    whole, parts = mine(*words)["table"], mine(*words, "--parts", "3")["table"]

    def counted(table: list[dict]) -> dict[tuple[str, ...], int]:
        return {tuple(row["pattern"]): row["support"] for row in table}

    assert counted(parts) == counted(whole)


def test_transitions_and_sankey_reconcile(shop):
    moves = mine("transitions", shop, "-k", "10000")["table"]
    visits = mine("visits", shop, "--per", "user", "--session-gap", "1e12", "-k", "1")
    events = EventLog(Path(shop) / "events").scan()
    n_events = events.select(pl.len()).collect().item()
    starts = sum(row["count"] for row in moves if row["from"] == "<start>")
    assert sum(row["count"] for row in moves) == n_events + starts
    streams = mine("sankey", shop, "-k", "10000")["table"]
    assert sum(row["count"] for row in streams if row["step"] == 0) == starts
    assert visits["rows"] == events.select(pl.col("user_id").n_unique()).collect().item()


def test_the_planted_funnel_is_found(market, shop):
    truth = read_truth(market).facts["funnel"]["sessions"]
    rows = mine("funnel", shop, "--steps", "view,cart,purchase", "--per", "session")["table"]
    entered = [row["entered"] for row in rows]
    assert entered[0] >= entered[1] >= entered[2] > 0
    # Cleaning takes robots away, which view and never buy.
    assert entered[1] == pytest.approx(truth[1], rel=0.1)
    assert entered[2] == pytest.approx(truth[2], rel=0.1)


def test_contrast_looks_at_what_came_before(shop):
    found = mine(
        "contrast", shop, "--between", "did:purchase", "--by", "action", "--per", "user", "-k", "2000"
    )
    assert found["table"]
    for row in found["table"]:
        assert "purchase" not in row["pattern"]
        assert "return" not in row["pattern"]
        assert 0 <= row["q"] <= 0.05
    assert "began with it" in found["notes"][1]


@pytest.mark.parametrize("between", ["since:2025-02-01", "country"])
def test_other_groups(shop, between):
    found = mine("contrast", shop, "--between", between, "--by", "action", "--max-q", "1", "-k", "5")
    assert found["rows"] > 0


def test_rules_match_next_and_the_rest(shop, tmp_path):
    rules = mine("rules", shop, "--by", "action", "--min-support", "0.1")["table"]
    assert rules[0]["confidence"] >= 0.3
    who = tmp_path / "who.csv"
    matches = mine(
        "match", shop, "view,cart,purchase", "--by", "action", "--per", "session", "--to", str(who)
    )
    assert matches["rows"] == len(pl.read_csv(who)) > 0
    chain = mine("next", shop, "view,cart", "--by", "action")["table"]
    assert sum(row["probability"] for row in chain) == pytest.approx(1, abs=1e-3)
    assert mine("next", shop, "view,cart", "--by", "action", "--rules", "--min-support", "0.05")["table"]
    for verb in ("steps", "tree", "paths", "retention", "loops"):
        assert mine(verb, shop)["table"]
    waits = mine("between", shop, "--from", "cart", "--then", "purchase")["table"][0]
    assert 0 < waits["met"] <= waits["starts"]


def test_segments_and_portraits(shop):
    ran = CliRunner().invoke(cli.app, ["segments", shop, "--json"], catch_exceptions=False)
    found = json.loads(ran.stdout)
    n_users = sum(row["n_users"] for row in found["table"])
    assert sum(row["n_users"] for row in found["moves"]) == n_users
    user = found["table"][0]["typical"][0]
    ran = CliRunner().invoke(cli.app, ["profile", shop, "--user", user, "--json"], catch_exceptions=False)
    told = json.loads(ran.stdout)
    assert told["user_id"] == user
    assert told["segment"]["name"] == found["table"][0]["name"]
    item = told["latest"][0]["item_id"]
    ran = CliRunner().invoke(cli.app, ["profile", shop, "--item", item], catch_exceptions=False)
    assert item in ran.output


def test_wrong_words_are_refused(shop):
    assert "share above 0" in refused("mine", "sequences", shop, "--min-support", "0.0")
    assert "share above 0" in refused("mine", "sequences", shop, "--min-support", "1.5")
    assert "--between must be" in refused("mine", "contrast", shop, "--between", "nonsense")
    assert "No event has the action 'buy'" in refused("mine", "contrast", shop, "--between", "did:buy")
    assert "two steps or more" in refused("mine", "funnel", shop, "--steps", "view")
    assert "never does" in refused("mine", "funnel", shop, "--steps", "view,fly")
    assert "by must name" in refused("mine", "sequences", shop, "--by", "colour")
    assert "has none" in refused("profile", shop, "--user", "nobody-at-all")
    assert "one user or one item" in refused("profile", shop)
    with pytest.raises(ConfigError, match="no such thing to mine"):
        flows.mine(Path(shop), "sequence")
