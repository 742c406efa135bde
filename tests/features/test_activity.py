# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError, DataError
from desirepath.features import ActivityConfig, activity, rfm
from desirepath.features.activity import frequent_actions

START = datetime(2024, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=20)
DAY = 86_400.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["user_id", "item_id"])
def test_activity_equals_counting_by_hand(
    random_log: Callable[[int], pl.DataFrame], seed: int, by: str
) -> None:
    log = random_log(seed)
    config = ActivityConfig(windows_days=(1, 7.5), value="value", half_life_days=11, short_half_life_days=2)
    table = activity(log, AS_OF, config, by=by).collect()
    other = "item_id" if by == "user_id" else "user_id"
    rows = [r for r in log.iter_rows(named=True) if r["time"] < AS_OF]
    assert set(table[by]) == {r[by] for r in rows}
    for got in table.iter_rows(named=True):
        mine = [r for r in rows if r[by] == got[by]]
        ages = np.array([(AS_OF - r["time"]).total_seconds() / DAY for r in mine])
        assert got["n_events"] == len(mine)
        assert got["recency_days"] == pytest.approx(ages.min())
        assert got["tenure_days"] == pytest.approx(ages.max())
        assert got["active_days"] == len({r["time"].date() for r in mine})
        different = len({r[other] for r in mine})
        assert got["n_items" if by == "user_id" else "n_users"] == different
        assert got["repeat_share"] == pytest.approx(1 - different / len(mine))
        mean_gap = None if len(mine) == 1 else np.diff(np.sort(ages)).mean()
        assert got["gap_days_mean"] == (None if mean_gap is None else pytest.approx(mean_gap))
        for days in (1, 7.5):
            near = [r for r, age in zip(mine, ages, strict=True) if age <= days]
            assert got[f"n_events_{days:g}d"] == len(near)
            assert got[f"events_per_day_{days:g}d"] == pytest.approx(len(near) / days)
            for action in ("view", "like", "buy"):
                n = sum(r["action"] == action for r in near)
                assert got[f"n_events_{days:g}d:{action}"] == n
                assert got[f"events_per_day_{days:g}d:{action}"] == pytest.approx(n / days)
        for action in ("view", "like", "buy"):
            assert got[f"n_events:{action}"] == sum(r["action"] == action for r in mine)
        slow = math.log(2) / 11 * (0.5 ** (ages / 11)).sum()
        fast = math.log(2) / 2 * (0.5 ** (ages / 2)).sum()
        assert got["rate_slow"] == pytest.approx(slow)
        assert got["rate_fast"] == pytest.approx(fast)
        assert got["momentum"] == pytest.approx(fast - slow)
        values = [r["value"] for r in mine if r["value"] is not None]
        assert got["n_values"] == len(values)
        assert got["value_sum"] == pytest.approx(sum(values))
        if values:
            assert got["value_mean"] == pytest.approx(np.mean(values))


def test_a_steady_stream_has_its_own_rate() -> None:
    # 48 events a day for 400 days: both decayed rates must say 48 a day.
    times = [AS_OF - timedelta(minutes=30 * i + 15) for i in range(48 * 400)]
    log = pl.DataFrame({"user_id": "u", "item_id": "i", "action": "a", "time": times}).with_columns(
        pl.col("time").cast(pl.Datetime("us", "UTC"))
    )
    got = activity(log, AS_OF).collect().row(0, named=True)
    assert got["rate_slow"] == pytest.approx(48, rel=1e-3)
    assert got["rate_fast"] == pytest.approx(48, rel=1e-3)
    assert got["momentum"] == pytest.approx(0, abs=0.02)


def test_actions_of_the_future_make_no_columns() -> None:
    log = pl.DataFrame(
        {
            "user_id": ["u", "u", "u"],
            "item_id": ["i", "i", "i"],
            "action": ["b", "a", "later"],
            "time": [START, START, AS_OF],
        }
    ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    assert frequent_actions(log, AS_OF, 5) == ("a", "b")
    assert frequent_actions(log, AS_OF, 1) == ("a",)
    assert not [c for c in activity(log, AS_OF).collect().columns if "later" in c]


def test_rfm_scores_are_fifths_and_equal_rows_are_equal() -> None:
    table = pl.DataFrame(
        {"recency_days": np.arange(10.0), "n_events": [1] * 5 + [2] * 4 + [9], "value_sum": np.arange(10.0)}
    )
    got = rfm(table)
    assert got["rfm_recency"].to_list() == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert got["rfm_frequency"].to_list() == [3] * 5 + [5] * 5
    assert got["rfm_value"].to_list() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_bad_options_and_tables_are_told() -> None:
    with pytest.raises(ConfigError, match="windows_days"):
        ActivityConfig(windows_days=(7, 7))
    with pytest.raises(ConfigError, match="half_life_days"):
        ActivityConfig(half_life_days=0)
    with pytest.raises(ConfigError, match="actions must be different"):
        ActivityConfig(actions=("a", "a"))
    log = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "action": ["a"], "time": [START]})
    with pytest.raises(DataError, match="amount"):
        activity(log, AS_OF, ActivityConfig(value="amount"))
    with pytest.raises(ConfigError, match="time zone"):
        activity(log, datetime(2024, 3, 1))
    with pytest.raises(DataError, match="UTC"):
        activity(log.with_columns(pl.col("time").dt.replace_time_zone(None)), AS_OF)
