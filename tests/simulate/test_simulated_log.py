# SPDX-License-Identifier: Apache-2.0
"""The log itself: its columns, its size, its flaws and that it follows from the seed alone."""

from __future__ import annotations

import hashlib
import html
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from desirepath import schema
from desirepath.errors import ConfigError, DataError
from desirepath.simulate import (
    Marketplace,
    MarketplaceConfig,
    bench,
    demo,
    marketplace_summary,
    read_truth,
    simulate,
    tiny,
    world,
    write,
)
from desirepath.simulate.chance import scattered
from desirepath.simulate.files import Sheet

SMALL = MarketplaceConfig(n_events=6_000, n_users=300, n_items=240, seed=3, robot_share=0.01)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_columns_are_those_of_the_schema(market: Marketplace) -> None:
    assert market.events.columns == [
        "event_id", "user_id", "item_id", "action", "time", "session_id", "value", "device", "country",
        "position", "impression_id", "source",
    ]  # fmt: skip
    for name, dtype in market.events.schema.items():
        assert dtype == schema.EVENT[name], name


def test_sizes_are_as_asked(market: Marketplace, clean: pl.DataFrame) -> None:
    config, facts = market.truth.facts["config"], market.truth.facts
    assert market.events["user_id"].drop_nulls().n_unique() == config["n_users"] == market.users.height
    assert market.items["item_id"].n_unique() == config["n_items"]
    assert market.events["item_id"].drop_nulls().n_unique() > 0.99 * config["n_items"]
    assert abs(market.events.height / config["n_events"] - 1) < 0.04
    counts = dict(clean.group_by("action").len().iter_rows())
    assert counts == {name: number for name, number in facts["counts"]["actions"].items() if number}
    assert facts["counts"]["sessions"] == clean["session_id"].n_unique()
    assert facts["counts"]["people"] == clean["user_id"].n_unique()


@pytest.mark.parametrize("preset", [tiny(), demo()])
def test_presets_have_the_size_they_name(preset: MarketplaceConfig) -> None:
    made = simulate(preset)
    assert abs(made.events.height / preset.n_events - 1) < 0.04
    assert made.users.height == preset.n_users


def test_cleaning_gives_back_the_clean_log_to_the_row(market: Marketplace, clean: pl.DataFrame) -> None:
    rows = market.truth.facts["rows"]
    assert market.events.height == rows["written"] == sum(rows.values()) - rows["written"]
    assert clean.height == rows["clean"]
    people = market.truth.table("events").filter(pl.col("cause") != "robot")
    assert set(clean["event_id"]) == set(people["event_id"])


def test_each_flaw_is_counted_by_its_reason(market: Marketplace) -> None:
    events, rows = market.events, market.truth.facts["rows"]
    first, after = datetime(2025, 1, 6, tzinfo=UTC), datetime(2025, 3, 7, tzinfo=UTC)
    assert events["user_id"].null_count() == rows["missing_user"] > 0
    assert events["item_id"].null_count() == rows["missing_item"] > 0
    assert events["time"].null_count() == rows["bad_time"] > 0
    outside = ~pl.col("time").is_between(first, after, closed="left")
    assert events.filter(outside).height == rows["time_outside"] > 0
    assert events.filter(pl.col("value") < 0).height == rows["negative_value"] > 0
    assert events.height - events.unique().height == rows["exact_duplicate"] > 0
    distinct = events.unique()
    assert distinct.height - distinct["event_id"].n_unique() == rows["repeated_event_id"] > 0
    robots = market.truth.table("users").filter("robot")
    assert events.filter(pl.col("user_id").is_in(robots["user_id"].implode())).height == rows["robot"] > 0


def test_robots_are_fast_and_regular_and_people_are_not(market: Marketplace, clean: pl.DataFrame) -> None:
    robots = market.truth.table("users").filter("robot")["user_id"]
    gap = pl.col("time").diff().over("session_id", order_by="time").dt.total_microseconds() / 1e6
    bots = market.events.filter(pl.col("user_id").is_in(robots.implode())).with_columns(gap=gap)
    spread = bots.group_by("session_id").agg(pl.col("gap").std(), pl.len(), period=pl.col("gap").median())
    assert spread["gap"].max() < 0.01
    assert spread["period"].max() < 2.1
    assert spread["len"].min() >= 80
    people = clean.with_columns(gap=gap).group_by("session_id").agg(pl.col("gap").std(), pl.len())
    assert people.filter((pl.col("len") > 5) & (pl.col("gap") < 0.5)).height == 0


def test_nothing_happens_before_its_user_or_item_exists(market: Marketplace, clean: pl.DataFrame) -> None:
    log = clean.join(market.users, on="user_id").join(
        market.items.select("item_id", "created_at"), on="item_id"
    )
    assert log.filter(pl.col("time") < pl.col("signup_at")).height == 0
    assert log.filter(pl.col("time") < pl.col("created_at")).height == 0


def test_the_cold_come_late(market: Marketplace, clean: pl.DataFrame) -> None:
    late = datetime(2025, 3, 1, tzinfo=UTC)
    counts = market.truth.facts["counts"]
    for key, count in (("user", "cold_users"), ("item", "cold_items")):
        cold = market.truth.table(f"{key}s").filter("cold")[f"{key}_id"]
        seen = clean.filter(pl.col(f"{key}_id").is_in(cold.implode()))
        assert len(cold) == counts[count]
        assert seen["time"].min() >= late
        assert seen[f"{key}_id"].n_unique() > 0.9 * len(cold)
    assert counts["cold_items"] == round(0.05 * 800)
    assert abs(counts["cold_users"] / 5_000 - 0.05) < 0.01


def test_values_are_prices_and_dwell(market: Marketplace, clean: pl.DataFrame) -> None:
    log = clean.join(market.items.select("item_id", "price"), on="item_id")
    money = log.filter(pl.col("action").is_in(["purchase", "return"]))
    assert (money["value"] - money["price"]).abs().max() == 0
    views = log.filter(pl.col("action") == "view", pl.col("value").is_not_null())
    assert 30 < views["value"].mean() < 45
    liked = clean.filter(pl.col("action") == "like").select("session_id", "item_id").unique()
    dwelt = views.join(liked, on=["session_id", "item_id"], how="semi")["value"].mean()
    assert dwelt > 1.5 * views["value"].mean()


def test_texts_are_in_two_languages_and_entities_are_counted(market: Marketplace) -> None:
    items = market.items
    broken = items.filter(pl.col("title") != pl.col("title").map_elements(html.unescape, pl.String))
    assert broken.height == market.truth.facts["counts"]["titles_with_entity"] > 0
    flagged = market.truth.table("items").filter("title_has_entity")
    assert set(flagged["item_id"]) == set(broken["item_id"])
    assert items["title_zh"].str.contains(r"^\p{Han}+$").all()
    assert items["description_zh"].str.contains(r"\p{Han}").all()
    assert items["title"].str.contains(r"^[\x00-\x7f]+$").all()
    assert (items["price"] > 0).all()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(SMALL, tmp_path / name)
    other = MarketplaceConfig(n_events=6_000, n_users=300, n_items=240, seed=4, robot_share=0.01)
    write(other, tmp_path / "three")
    one, two, three = (digests(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one.keys() == three.keys()
    assert one["events.parquet"] != three["events.parquet"]
    assert not [name for name in one if name.endswith(".partial")]


def test_files_hold_what_memory_holds(tmp_path: Path) -> None:
    made = simulate(SMALL)
    truth = write(SMALL, tmp_path / "parquet")
    assert pl.read_parquet(truth.events).equals(made.events)
    for name in ("items", "users", "social", "exposures", "campaign"):
        assert pl.read_parquet(tmp_path / "parquet" / f"{name}.parquet").equals(getattr(made, name)), name
    assert truth.facts["rows"] == made.truth.facts["rows"]
    assert set(truth.tables) == set(made.truth.tables)
    for name in truth.tables:
        assert truth.table(name).equals(made.truth.table(name)), name


def test_csv_holds_the_same_log_with_unreadable_times(tmp_path: Path) -> None:
    made = simulate(SMALL)
    truth = write(SMALL, tmp_path, format="csv")
    text = pl.read_csv(truth.events, infer_schema=False)
    assert text.columns == made.events.columns
    assert text["event_id"].equals(made.events["event_id"])
    assert text["user_id"].equals(made.events["user_id"])
    time = text["time"].str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.6fZ", time_unit="us", time_zone="UTC", strict=False
    )
    assert time.equals(made.events["time"])
    assert text.filter(time.is_null()).height == truth.facts["rows"]["bad_time"]
    assert text["value"].cast(pl.Float64).equals(made.events["value"])
    assert (tmp_path / "items.csv").is_file()
    assert read_truth(tmp_path).facts == truth.facts


def test_shards_fit_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(world, "SHARD_EVENTS", 10_000)
    progress: list[tuple[int, int]] = []
    truth = write(tiny(seed=2), tmp_path, on_progress=lambda done, total: progress.append((done, total)))
    events = pl.read_parquet(truth.events)
    assert len(progress) == 5
    assert progress[-1][0] == events.height
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
    assert abs(events.height / 45_000 - 1) < 0.05
    assert events["user_id"].drop_nulls().n_unique() == 2_000
    rows = truth.facts["rows"]
    assert (
        events["event_id"].n_unique() == events.height - rows["exact_duplicate"] - rows["repeated_event_id"]
    )
    assert events.group_by("session_id").agg(pl.col("user_id").drop_nulls().n_unique())["user_id"].max() == 1
    shown = pl.read_parquet(tmp_path / "exposures.parquet")
    assert shown.select("impression_id", "position").is_unique().all()
    clicked = events.drop_nulls("impression_id")
    assert (
        clicked.join(shown, on=["impression_id", "position", "item_id"], how="anti")
        .drop_nulls("item_id")
        .height
        == 0
    )


def test_a_lean_log_is_the_same_log_with_four_columns(tmp_path: Path) -> None:
    truth = write(bench(20_000, lean=True), tmp_path)
    events = pl.read_parquet(truth.events)
    assert events.columns == ["user_id", "item_id", "action", "time"]
    rows = truth.facts["rows"]
    assert rows["negative_value"] == rows["repeated_event_id"] == 0
    assert events.height - events.unique().height == rows["exact_duplicate"] > 0
    assert (
        events.null_count().sum_horizontal().item()
        == rows["missing_user"] + rows["missing_item"] + rows["bad_time"]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.parquet", "items.parquet", "truth", "truth.json",
    ]  # fmt: skip
    with pytest.raises(DataError, match="no table 'users'"):
        truth.table("users")


def test_a_summary_says_what_was_planted(market: Marketplace) -> None:
    summary = marketplace_summary(market.truth)
    text = "\n".join(f"{title}: {line}" for title, line in summary.items())
    for word in ("night owls", "gift hunt", "robot", "+14%", "friends", "cart → purchase"):
        assert word in text


def test_a_failed_writing_leaves_no_file(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1]})
    with pytest.raises(RuntimeError), Sheet(tmp_path, "x", "csv") as sheet:  # noqa: PT012
        sheet.append(frame)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"n_events": 10}, "n_events"),
        ({"n_users": 1}, "n_users"),
        ({"n_items": 100}, "n_items"),
        ({"n_events": 2_000, "n_users": 200}, "n_events"),
        ({"days": 7}, "days"),
        ({"seed": -1}, "seed"),
        ({"cold_share": 0.9}, "cold_share"),
        ({"switch_share": 1.5}, "switch_share"),
        ({"robot_share": -0.1}, "robot_share"),
        ({"duplicate_share": 0.6}, "duplicate_share"),
        ({"dirty_share": 0.6}, "dirty_share"),
        ({"start": "yesterday"}, "start"),
    ],
)
def test_impossible_dials_are_refused(wrong: dict[str, int], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        MarketplaceConfig(**wrong)


def test_an_unknown_format_and_a_folder_without_truth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'csv'"):
        write(SMALL, tmp_path, format="cvs")
    with pytest.raises(DataError, match=r"truth\.json"):
        read_truth(tmp_path)
    (tmp_path / "truth.json").write_text('{"version": 99}')
    with pytest.raises(DataError, match="version 1"):
        read_truth(tmp_path)


def test_no_flaws_and_nothing_cold_if_not_wanted() -> None:
    config = MarketplaceConfig(
        n_events=5_000, n_users=200, n_items=240, cold_share=0, switch_share=0, robot_share=0,
        duplicate_share=0, dirty_share=0, days=14, start="2024-02-29",
    )  # fmt: skip
    made = simulate(config)
    rows, counts = made.truth.facts["rows"], made.truth.facts["counts"]
    assert rows["written"] == rows["clean"] == made.events.height
    assert counts["robots"] == counts["cold_users"] == counts["cold_items"] == counts["switchers"] == 0
    assert made.events["time"].min() >= datetime(2024, 2, 29, tzinfo=UTC)
    assert made.events["time"].max() < datetime(2024, 2, 29, tzinfo=UTC) + timedelta(days=14)


@pytest.mark.parametrize("n", [1, 2, 7, 240, 1_000, 99_991])
def test_scattering_is_a_bijection(n: int) -> None:
    assert np.array_equal(np.sort(scattered(np.arange(n), n, seed=5)), np.arange(n))
