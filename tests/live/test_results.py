# SPDX-License-Identifier: Apache-2.0
"""Figures of served lists against a count by hand, wherever the rows lie: in the store, in files, in both."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from stored import row

from desirepath.events.log import EventLog
from desirepath.events.raw import canonical_log
from desirepath.live.compaction import CompactionConfig, compact
from desirepath.live.outcomes import metrics
from desirepath.live.results import Results
from desirepath.live.shown import WHOLE_LIST, said_since, served_since
from desirepath.live.store import LiveStore, now_us
from desirepath.live.tables import impressions, users
from desirepath.recommend.assignment import ExperimentConfig
from desirepath.recommend.interleaving import credit, judge
from desirepath.workspace import Workspace

HOUR_US = 3_600_000_000
NOW = now_us() - 60_000_000
WINDOW_US = 24 * HOUR_US
CLICKS = ("view", "click", "purchase")


def lists(n: int, chance: random.Random) -> list[dict[str, Any]]:
    """Lists of the last 20 days, for few users and for nobody, plain and of two experiments."""
    found = []
    for k in range(n):
        variant = chance.choice([None, "price/low", "price/high", "mixed"])
        slate = [
            [
                item,
                chance.random(),
                chance.random(),
                "model",
                *([chance.randint(0, 1)] * (variant == "mixed")),
            ]
            for item in chance.sample(["a", "b", "c", 'd"e', "é", "7", "1.0"], chance.randint(0, 5))
        ]
        found.append(
            {
                "recommendation_id": f"r{k}",
                "time_us": NOW - chance.randint(0, 20 * 24) * HOUR_US,
                "user_id": chance.choice([None, *(f"u{n}" for n in range(12))]),
                "session_id": None,
                "scenario": chance.choice(["home", "page"]),
                "variant": variant,
                "model_version": "m",
                "fallback": chance.choice([None, None, "nobody"]),
                "slate": slate,
            }
        )
    return found


def said(served: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """What people did with them: in time and late, with items of the list and others, again and again."""
    found = []
    for one in served:
        for k in range(chance.randint(0, 4)):
            action = chance.choice(["impression", "satisfaction", "dislike", *CLICKS])
            items = [item[0] for item in one["slate"]] or ["x"]
            moment = one["time_us"] + chance.choice([0, 1, HOUR_US, WINDOW_US, WINDOW_US + 1, -1])
            found.append(
                row(
                    f"{one['recommendation_id']}-{k}",
                    one["user_id"] or "nobody",
                    WHOLE_LIST if action == "satisfaction" else chance.choice([*items, "elsewhere"]),
                    min(moment, NOW),
                    received_us=min(moment, NOW),
                    action=action,
                    value=chance.choice([None, 0.25, 1.0]),
                    recommendation_id=one["recommendation_id"],
                )
            )
    chance.shuffle(found)
    return [*found, row("plain", "u1", "a", NOW), row("odd", "u1", "a", NOW, recommendation_id="unheard of")]


def by_hand(
    served: list[dict[str, Any]], said: list[dict[str, Any]], since_us: int
) -> dict[tuple[str, str], dict[str, float]]:
    """The sums behind the metrics, list by list."""
    of_list: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in said:
        if event["time_us"] >= since_us:
            of_list[event["recommendation_id"]].append(event)
    lists = [one for one in served if one["time_us"] >= since_us and one["slate"]]
    valid: dict[str, list[dict[str, Any]]] = {}
    reports: dict[str, bool] = defaultdict(bool)
    for one in lists:
        own = [
            e
            for e in of_list[one["recommendation_id"]]
            if 0 <= e["time_us"] - one["time_us"] <= WINDOW_US
            and (e["item_id"] in {item[0] for item in one["slate"]} or e["item_id"] == WHOLE_LIST)
        ]
        valid[one["recommendation_id"]] = own
        reports[one["scenario"]] |= any(e["action"] == "impression" for e in own)
    sums: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    shown: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in lists:
        own, key = valid[one["recommendation_id"]], (one["scenario"], one["variant"] or "")
        clicked = {e["item_id"] for e in own if e["action"] in CLICKS}
        reported = clicked | {e["item_id"] for e in own if e["action"] == "impression"}
        seen = reported if reports[one["scenario"]] else {item[0] for item in one["slate"]}
        rated = [e for e in own if e["action"] == "satisfaction" and e["value"] is not None]
        sums[key]["impressions"] += len(seen)
        sums[key]["clicks"] += len(clicked & seen)
        sums[key]["lists"] += 1
        sums[key]["converted_lists"] += any(e["action"] == "purchase" for e in own)
        sums[key]["fallback_lists"] += one["fallback"] is not None
        if rated:
            sums[key]["rated_lists"] += 1
            sums[key]["rating_sum"] += max(enumerate(rated), key=lambda p: (p[1]["time_us"], p[0]))[1][
                "value"
            ]
        shown[key] |= seen
    for key, items in shown.items():
        sums[key]["different"] = len(items)
    return sums


def figures(results: Results, hours: float) -> pl.DataFrame:
    return metrics(results.outcomes(hours), 7)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace.create(tmp_path / "shop")
    old = {
        "user_id": ["u1"],
        "item_id": ["a"],
        "action": ["view"],
        "time": [datetime(2026, 5, 1, tzinfo=UTC)],
    }
    EventLog(workspace.events).append(
        canonical_log(pl.DataFrame(old, schema_overrides={"time": pl.Datetime("us", "UTC")}))
    )
    return workspace


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_figures_are_those_of_a_count_by_hand_wherever_the_rows_lie(url: str, workspace, seed: int) -> None:
    chance = random.Random(seed)
    served = lists(160, chance)
    events = said(served, chance)
    store = LiveStore(url)
    results = Results(store, workspace)
    half = len(events) // 2
    store.keep(events[:half]).result()
    store.write(lambda c: c.execute(impressions.insert(), served[:80])).result()
    compact(workspace, store, CompactionConfig(keep_days=0 if seed else 7))
    store.keep(events[half:]).result()
    store.write(lambda c: c.execute(impressions.insert(), served[80:])).result()
    for keep_days in (None, 7, 0):
        if keep_days is not None:
            compact(workspace, store, CompactionConfig(keep_days=keep_days))
        for hours in (48.0, 24.0 * 30):
            wanted = by_hand(served, events, now_us() - round(hours * HOUR_US))
            found = figures(results, hours)
            assert {(r["scenario"], r["variant"]) for r in found.iter_rows(named=True)} == set(wanted)
            for one in found.iter_rows(named=True):
                sums = wanted[one["scenario"], one["variant"]]
                above, below = {
                    "ctr": ("clicks", "impressions"),
                    "conversion": ("converted_lists", "lists"),
                    "satisfaction": ("rating_sum", "rated_lists"),
                    "fallback_rate": ("fallback_lists", "lists"),
                    "coverage": ("different", None),
                }[one["metric"]]
                assert one["numerator"] == pytest.approx(sums[above])
                assert one["denominator"] == (7 if below is None else sums[below])
    store.close()


def test_rows_are_the_same_before_and_after_packing(url: str, workspace) -> None:
    chance = random.Random(5)
    served = lists(80, chance)
    store = LiveStore(url)
    store.keep(said(served, chance)).result()
    store.write(lambda c: c.execute(impressions.insert(), served)).result()

    def told() -> tuple[pl.DataFrame, pl.DataFrame]:
        since = NOW - 15 * 24 * HOUR_US
        by = ("recommendation_id", "position")
        items = served_since(store, workspace, since, 10**6).sort(*by)
        feedback = said_since(store, workspace, since).sort(pl.all())
        return items, feedback

    before = told()
    rows = [
        (one["recommendation_id"], place, item[0], item[1], item[4] if len(item) > 4 else None)
        for one in served
        if one["time_us"] >= NOW - 15 * 24 * HOUR_US
        for place, item in enumerate(one["slate"], start=1)
    ]
    names = ["recommendation_id", "position", "item_id", "propensity", "team"]
    assert before[0].select(names).rows() == sorted(rows, key=lambda r: (r[0], r[1]))
    for keep_days in (7, 0):
        compact(workspace, store, CompactionConfig(keep_days=keep_days))
        for was, now in zip(before, told(), strict=True):
            assert_frame_equal(was, now)
    # The latest come first where there are too many.
    latest = served_since(store, workspace, 0, 10)["recommendation_id"].unique()
    moments = sorted((one["time_us"] for one in served), reverse=True)
    assert {one["time_us"] for one in served if one["recommendation_id"] in set(latest)} <= set(moments[:10])
    # Who was erased is in no figure, though his lists still lie in files.
    gone = {"user_id": "u3", "attributes": {}, "is_deleted": True, "updated_us": 1, "erased_us": now_us()}
    store.write(lambda c: c.execute(users.insert().values(**gone))).result()
    assert told()[0].rows() == before[0].filter(pl.col("user_id").ne_missing("u3")).rows()
    store.close()


def test_interleaved_lists_are_judged_by_their_teams(workspace) -> None:
    store = LiveStore(f"sqlite:///{workspace.folder / 'live.db'}")
    chance = random.Random(2)
    served, clicks, rows = [], [], []
    for k in range(120):
        teams = [0, 1] if k % 2 else [1, 0]
        served.append(
            {
                "recommendation_id": f"r{k}",
                "time_us": NOW - HOUR_US,
                "user_id": f"u{k % 40}",
                "scenario": "home",
                "variant": "mixed",
                "model_version": "m",
                "slate": [[f"i{place}", 1.0, 0.5, "model", team] for place, team in enumerate(teams)],
            }
        )
        place = chance.choice([0, 1, None])
        if place is not None:
            clicks.append(
                row(f"e{k}", f"u{k % 40}", f"i{place}", NOW, received_us=NOW, recommendation_id=f"r{k}")
            )
            rows.append((f"u{k % 40}", f"r{k}", f"i{place}", teams[place]))
    store.keep(clicks).result()
    store.write(lambda c: c.execute(impressions.insert(), served)).result()
    wanted = credit(
        pl.DataFrame(rows, schema=["user_id", "recommendation_id", "item_id", "team"], orient="row")
    )
    verdict = judge(wanted["first"].to_numpy(), wanted["second"].to_numpy())
    experiment = ExperimentConfig(
        name="mixed", kind="interleaving", scenario="home", variants={"old": "model:a", "new": "model:b"}
    )
    for _ in range(2):
        (told,) = Results(store, workspace).experiments({"mixed": experiment}, 24.0)
        assert told["verdict"]["wins"] == {"old": verdict.first_wins, "new": verdict.second_wins}
        assert told["verdict"]["win_rate_of_second"] == verdict.win_rate.value
        compact(workspace, store, CompactionConfig(keep_days=0))
    store.close()
