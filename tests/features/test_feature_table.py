# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.features import (
    ActivityConfig,
    FeatureConfig,
    InterestConfig,
    RateConfig,
    daily,
    describe,
    item_features,
    sessions,
    user_features,
)

START = datetime(2024, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=20)
ITEMS = pl.DataFrame(
    {"item_id": [f"i{i}" for i in range(9)], "tags": ["a|b", "b", "c|a", None, "d"] + ["a"] * 4}
)
CONFIG = FeatureConfig(
    activity=ActivityConfig(value="value"),
    rates=(RateConfig(trial="view", success="like"), RateConfig(trial="view", success="buy", within_days=2)),
    interests=InterestConfig(attribute="tags"),
)


def futures(log: pl.DataFrame) -> list[pl.DataFrame]:
    """The log with its future, at the moment and after, removed, doubled, shifted and rewritten."""
    past, future = log.filter(pl.col("time") < AS_OF), log.filter(pl.col("time") >= AS_OF)
    strange = future.with_columns(
        pl.lit("u0").alias("user_id"), pl.lit("i0").alias("item_id"), pl.lit("never").alias("action")
    )
    return [
        past,
        pl.concat([log, future]),
        pl.concat([future.with_columns(pl.col("time") + timedelta(days=3)), past]),
        pl.concat([past, strange.with_columns(pl.lit(AS_OF).cast(pl.Datetime("us", "UTC")).alias("time"))]),
        pl.concat([past, strange.with_columns(pl.lit(1e9).alias("value"))]),
    ]


@pytest.mark.parametrize("seed", range(2))
def test_the_future_changes_nothing(random_log: Callable[[int], pl.DataFrame], seed: int) -> None:
    log = random_log(seed)
    users, items = user_features(log, AS_OF, CONFIG, ITEMS), item_features(log, AS_OF, CONFIG)
    told, series = sessions(log, AS_OF).collect(), daily(log, AS_OF, by=["item_id"])
    for other in futures(log):
        assert_frame_equal(user_features(other, AS_OF, CONFIG, ITEMS), users)
        assert_frame_equal(item_features(other, AS_OF, CONFIG), items)
        assert_frame_equal(sessions(other, AS_OF).collect(), told, check_row_order=False)
        assert_frame_equal(daily(other, AS_OF, by=["item_id"]), series)
    # The check can fail: a moment later on, the same features differ.
    assert not user_features(log, AS_OF + timedelta(days=5), CONFIG, ITEMS).equals(users)


def test_every_column_is_described(random_log: Callable[[int], pl.DataFrame]) -> None:
    log = random_log(0).with_columns(pl.col("action").replace("buy", "BUY {now}: all"))
    config = FeatureConfig(
        activity=ActivityConfig(value="value", windows_days=(0.5, 7)),
        rates=(RateConfig(trial="view", success="BUY {now}: all"),),
        interests=InterestConfig(attribute="tags"),
    )
    users, items = user_features(log, AS_OF, config, ITEMS), item_features(log, AS_OF, config)
    for table in (users, items):
        told = describe(table.columns)
        assert told["column"].to_list() == table.columns
        assert told["meaning"].str.len_chars().min() > 3  # type: ignore[operator]
    assert describe(["n_events:BUY {now}: all"])["meaning"][0].startswith(
        "events of the action BUY {now}: all"
    )
    assert describe(["n_events_0.5d"]).rows()[0][2] == "events in the last 0.5 days"
    with pytest.raises(DataError, match="no feature column"):
        describe(["n_event"])


def test_rows_are_users_seen_before_the_moment(random_log: Callable[[int], pl.DataFrame]) -> None:
    log = random_log(0)
    seen = log.filter(pl.col("time") < AS_OF)
    users = user_features(log, AS_OF, CONFIG, ITEMS)
    assert users["user_id"].to_list() == sorted(set(seen["user_id"]))
    assert users["n_events"].sum() == seen.height
    sums = users.select(pl.sum_horizontal(pl.col("^interest:.*$"))).to_series()
    np.testing.assert_allclose(sums, 1.0)
    untried = users.filter(pl.col("n_trials:like_per_view") == 0)
    assert untried["rate:like_per_view"].n_unique() <= 1
    assert item_features(log, AS_OF, CONFIG)["item_id"].to_list() == sorted(set(seen["item_id"]))


def test_a_file_streams_to_the_same_table(random_log: Callable[[int], pl.DataFrame], tmp_path: Path) -> None:
    log = random_log(0)
    log.write_parquet(tmp_path / "log.parquet", row_group_size=50)
    lazily = user_features(pl.scan_parquet(tmp_path / "log.parquet"), AS_OF, CONFIG, ITEMS.lazy())
    assert_frame_equal(lazily, user_features(log, AS_OF, CONFIG, ITEMS))


def test_parts_can_be_left_out(random_log: Callable[[int], pl.DataFrame]) -> None:
    bare = FeatureConfig(sessions=None, dwell=None, rhythm=None)
    columns = user_features(random_log(0), AS_OF, bare).columns
    assert not [c for c in columns if c.startswith(("hour_", "dwell_", "n_sessions", "rate:", "interest"))]


def test_what_cannot_be_told_is_told(random_log: Callable[[int], pl.DataFrame]) -> None:
    log = random_log(0)
    with pytest.raises(ConfigError, match="items"):
        user_features(log, AS_OF, CONFIG)
    with pytest.raises(TooLittleData, match="an event before"):
        user_features(log, START - timedelta(days=1))
    with pytest.raises(TooLittleData, match="impression"):
        user_features(log, AS_OF, FeatureConfig(rates=(RateConfig(trial="impression", success="view"),)))
    with pytest.raises(ConfigError, match="one name"):
        FeatureConfig(
            rates=(RateConfig(trial="a", success="b"), RateConfig(trial="a", success="b", within_days=1))
        )


@pytest.mark.data
def test_deskdrop_features_are_sane(deskdrop: pl.DataFrame) -> None:
    as_of = datetime(2016, 9, 1, tzinfo=UTC)
    config = FeatureConfig(rates=(RateConfig(trial="VIEW", success="LIKE"),))
    users, items = user_features(deskdrop, as_of, config), item_features(deskdrop, as_of, config)
    seen = deskdrop.filter(pl.col("time") < as_of)
    assert users.height == seen["user_id"].n_unique()
    assert items.height == seen["item_id"].n_unique()
    assert users["n_events"].sum() == items["n_events"].sum() == seen.height
    assert users["n_events:VIEW"].sum() == (seen["action"] == "VIEW").sum()
    pairs = seen.filter(pl.col("action") == "VIEW").select("user_id", "item_id").n_unique()
    assert users["n_trials:LIKE_per_VIEW"].sum() == items["n_trials:LIKE_per_VIEW"].sum() == pairs
    # Readers at work in Brazil: few of their events fall on a weekend.
    weekend = (users["weekend_share"] * users["n_events"]).sum() / users["n_events"].sum()
    assert weekend < 0.15
    assert items["rate:LIKE_per_VIEW"].is_between(0, 1, closed="none").all()
