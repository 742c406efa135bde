# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from profile_worlds import AS_OF, START, with_future
from rich.console import Console

from desirepath.errors import DataError, LeakError
from desirepath.profiles import (
    Beside,
    ClassConfig,
    PartitionConfig,
    PortraitConfig,
    SegmentConfig,
    Sources,
    VectorConfig,
    item_portrait,
    segment,
    user_classes,
    user_portrait,
    user_vectors,
)
from desirepath.profiles.around import around
from desirepath.profiles.course import counts, half_life_days, trend
from desirepath.profiles.drawing import sparkline, week_map
from desirepath.sequences import Sequences, Vocabulary

CONFIG = PortraitConfig(
    vectors=VectorConfig(value_actions=("buy",)), classes=ClassConfig(value_actions=("buy",))
)


def rounded(value: Any) -> Any:
    """Without the last digits, which differ between sums of several threads."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


@pytest.fixture(scope="module")
def sources(world):
    events, items = world
    vectors = user_vectors(events, AS_OF, CONFIG.vectors, Beside(items=items))
    return Sources(
        items=items,
        users=pl.DataFrame({"user_id": ["u001"], "age_band": ["35-44"]}),
        segments=segment(vectors, SegmentConfig(partition=PartitionConfig(k=3))),
        patterns=pl.DataFrame({"user_id": ["u001", "u002"], "pattern": ["view > buy", "buy"], "n": [3, 1]}),
        next_actions=pl.DataFrame({"item_id": ["i12", "i11"], "probability": [0.2, 0.1]}),
    )


@pytest.fixture(scope="module")
def portrait(world, sources):
    return user_portrait("u001", world[0].lazy(), AS_OF, sources, CONFIG)


def test_facts_equal_a_plain_count(world, portrait):
    own = world[0].filter(pl.col("user_id") == "u001")
    facts = portrait.facts
    assert facts["n_events"] == own.height == portrait.timeline["n_events"].sum()
    assert facts["n_events"] == portrait.rhythm["n_events"].sum() == sum(facts["actions"].values())
    assert facts["n_items"] == own["item_id"].n_unique()
    assert facts["first"] == own["time"].min()
    assert facts["value_sum"] == own["value"].sum()
    assert facts["traits"] == {"age_band": "35-44"}
    classes = user_classes(world[0], AS_OF, CONFIG.classes).collect().filter(pl.col("user_id") == "u001")
    assert facts["activity_class"] == classes["activity_class"].item()
    assert portrait.latest["time"].is_sorted(descending=True)
    assert portrait.latest["title"][0].split()[0] in ("tea", "bread", "cheese")


def test_interests_segment_and_what_was_handed_in(portrait):
    top = portrait.interests.row(0, named=True)
    assert (top["attribute"], top["label"]) == ("category", "bread")
    assert portrait.interests["share_long"].sum() == pytest.approx(1)
    assert portrait.interests["n_events"].sum() == portrait.facts["n_events"]
    assert portrait.segment["name"].startswith("bread")
    why = portrait.segment["why"]
    assert "bread" in why["feature"]
    near = (why["own"] - why["value"]).abs() < (why["own"] - why["others"]).abs()
    assert near.filter(why["kind"] != "level").all()
    assert portrait.patterns.to_dicts() == [{"pattern": "view > buy", "n": 3}]
    assert portrait.next_actions["title"].to_list() == ["bread no. 12", "bread no. 11"]
    assert portrait.similar.height == 5
    assert portrait.similar["segment"].str.starts_with("bread").all()
    assert portrait.prices["band"] == "middle"
    assert portrait.contexts.row(0) == ("device", "desk", 30, 1.0)


def test_classes_handed_in_are_the_same(world, sources, portrait):
    table = user_classes(world[0], AS_OF, CONFIG.classes).collect()
    again = user_portrait("u001", world[0], AS_OF, dataclasses.replace(sources, classes=table), CONFIG)
    assert rounded(again.to_dict()) == rounded(portrait.to_dict())


def test_portraits_are_plain_and_readable(world, sources, portrait):
    item = item_portrait("i12", world[0], AS_OF, sources, CONFIG)
    for picture, words in (
        (portrait, ("User u001", "bread", "Mon", "per day")),
        (item, ("Item i12", "bread no. 12")),
    ):
        assert json.loads(json.dumps(picture.to_dict(), allow_nan=False)) == picture.to_dict()
        text = io.StringIO()
        picture.render(Console(file=text, width=100))
        assert all(word in text.getvalue() for word in words)
        assert len(text.getvalue().splitlines()) < 80


def test_nothing_later_counts(world, sources, portrait):
    """A loud future, with the sequences of the whole log beside it, changes no figure."""
    log = with_future(world[0])
    sequences, short = (_sequences(frame) for frame in (log, world[0]))
    told = user_portrait("u001", log, AS_OF, sources, CONFIG).to_dict()
    assert rounded(told) == rounded(portrait.to_dict())
    now = item_portrait("i29", world[0], AS_OF, dataclasses.replace(sources, sequences=short), CONFIG)
    later = item_portrait("i29", log, AS_OF, dataclasses.replace(sources, sequences=sequences), CONFIG)
    assert rounded(later.to_dict()) == rounded(now.to_dict())
    with pytest.raises(LeakError, match="know what came after"):
        user_portrait("u001", log, AS_OF - timedelta(days=1), sources, CONFIG)
    with pytest.raises(LeakError, match="know what came after"):
        item_portrait("i29", log, AS_OF - timedelta(days=1), sources, CONFIG)


def test_somebody_new_is_given_a_segment(world, sources):
    """A user who came after the segments were found is assigned by the same rule."""
    new = (
        world[0]
        .filter(pl.col("user_id") == "u002")
        .with_columns(pl.lit("new").alias("user_id"), pl.col("time") + timedelta(days=28))
    )
    log = pl.concat([world[0], new])
    told = user_portrait("new", log, AS_OF + timedelta(days=28), sources, CONFIG)
    assert told.segment["name"].startswith("cheese")
    assert told.similar is None


def test_who_is_not_there(world, sources):
    with pytest.raises(DataError, match=r"user 'u0011' has none. Did you mean 'u001'"):
        user_portrait("u0011", world[0], AS_OF, sources, CONFIG)
    with pytest.raises(DataError, match=r"item 'i1x' has none. Did you mean 'i1"):
        item_portrait("i1x", world[0], AS_OF, sources, CONFIG)
    with pytest.raises(DataError, match="has none"):
        user_portrait("u001", world[0], START, Sources())


def test_a_bare_log_suffices(world):
    told = user_portrait("u001", world[0].select("user_id", "item_id", "action", "time"), AS_OF)
    assert told.interests.is_empty()
    assert told.segment is None
    assert told.patterns is None
    assert told.contexts.is_empty()
    told.render(Console(file=io.StringIO()))
    item_portrait("i12", world[0], AS_OF).render(Console(file=io.StringIO()))


def test_item_who_and_life(world, sources):
    told = item_portrait("i12", world[0], AS_OF, sources, CONFIG)
    own = world[0].filter(pl.col("item_id") == "i12")
    assert told.facts["n_events"] == own.height == told.timeline["n_events"].sum()
    assert told.facts["n_users"] == own["user_id"].n_unique() == told.segments["n_users"].sum()
    first = told.segments.row(0, named=True)
    assert first["name"].startswith("bread")
    assert first["lift"] == pytest.approx(first["share"] * 3)
    assert told.life["phase"] == "steady"
    assert told.life["peak_events"] == told.timeline["n_events"].max()


def _sequences(events: pl.DataFrame) -> Sequences:
    log = events.sort("user_id", "time", maintain_order=True)
    sizes = log.group_by("user_id", maintain_order=True).len()
    names = {c: Vocabulary(log[c].unique().sort()) for c in ("item_id", "action")}
    return Sequences(
        offsets=np.concatenate([[0], np.cumsum(sizes["len"].to_numpy())]).astype(np.int64),
        item_ix=names["item_id"].encode(log["item_id"]).astype(np.int32),
        action_ix=names["action"].encode(log["action"]).astype(np.int16),
        time_s=log["time"].dt.epoch("us").to_numpy() / 1e6,
        users=Vocabulary(sizes["user_id"], reserved=0),
        items=names["item_id"],
        actions=names["action"],
    )


def test_around_by_hand():
    """a b | a a b c | b a: after a: b twice (a a is one meeting); before a: b once."""
    world = Sequences.from_lists([["a", "b"], ["a", "a", "b", "c"], ["b", "a"]])
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    told = around(world, "a", moment)
    # Pairs: a-b, a-b, b-c, b-a: four. After a: 2 of 2 are b; b is second in 2 of 4: lift 2 * 4 / (2 * 2).
    assert told.rows() == [("before", "b", 1, 1.0, 2.0), ("after", "b", 2, 1.0, 2.0)]
    early = datetime.fromtimestamp(2.5, UTC)  # "c" of the second user has not come yet
    assert around(world, "b", early).filter(pl.col("direction") == "after").rows() == [
        ("after", "a", 1, 1.0, 3.0)
    ]
    with pytest.raises(DataError, match="No event has the item"):
        around(world, "zz", moment)


def test_around_against_a_loop():
    rng = np.random.default_rng(4)
    lists = [[str(i) for i in rng.integers(0, 6, rng.integers(0, 12))] for _ in range(60)]
    told = around(Sequences.from_lists(lists), "3", datetime(2030, 1, 1, tzinfo=UTC), k=10)
    pairs = []
    for items in lists:
        runs = [a for n, a in enumerate(items) if n == 0 or items[n - 1] != a]
        pairs += list(pairwise(runs))
    after = [b for a, b in pairs if a == "3"]
    found = {r["item_id"]: r for r in told.filter(pl.col("direction") == "after").iter_rows(named=True)}
    assert set(found) == set(after)
    for item, row in found.items():
        assert row["n"] == after.count(item)
        assert row["share"] == pytest.approx(row["n"] / len(after))
        second = sum(b == item for _, b in pairs)
        assert row["lift"] == pytest.approx(row["n"] * len(pairs) / (len(after) * second))


def test_half_life_and_trend_of_known_laws():
    """An exponential law cut at 100 days gives its half-life back; an even one none and no trend."""
    u = (np.arange(4000) + 0.5) / 4000
    for half in (5.0, 20.0, 60.0):
        rate = np.log(2) / half
        cut = 1 - np.exp(-rate * 100)
        elapsed = -np.log(1 - u * cut) / rate
        assert half_life_days(elapsed, 100) == pytest.approx(half, rel=0.01)
        assert trend(elapsed, 100)[0] == "fading"
        assert trend(100 - elapsed, 100)[0] == "rising"
        assert half_life_days(100 - elapsed, 100) is None
    assert trend(u * 100, 100)[0] == "steady"
    assert trend(np.array([1.0, 2.0]), 9)[0] == "too few"
    assert half_life_days(np.array([1e-9] * 5), 100) == pytest.approx(np.log(2) * 1e-9, rel=0.01)


def test_timeline_has_its_empty_days_and_turns_to_weeks():
    times = [START + timedelta(days=d, hours=5) for d in (0, 2, 2)]
    frame = pl.DataFrame({"time": pl.Series(times, dtype=pl.Datetime("us", "UTC"))})
    step, table = counts(frame, START + timedelta(days=4))
    assert (step, table["n_events"].to_list()) == ("day", [1, 0, 2, 0])
    step, table = counts(frame, START + timedelta(days=140))
    assert step == "week"
    assert table["n_events"].to_list() == [3] + [0] * 19
    assert table["start"][0] == START.date()


def test_glyphs():
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([0, 1, 1000]) == "▁▂█"
    week = pl.DataFrame({"weekday": [1], "hour": [3], "n_events": [7]})
    assert week_map(week)[0] == "Mon █"
