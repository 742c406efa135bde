# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from desirepath.errors import ConfigError
from desirepath.profiles.classes import RFM_CLASSES, ClassConfig, class_sizes, rfm_class, user_classes

AS_OF = datetime(2025, 5, 1, tzinfo=UTC)


def log(days_before: dict[str, list[float]], value: float = 1.0) -> pl.DataFrame:
    rows = [(u, AS_OF - timedelta(days=d)) for u, days in days_before.items() for d in days]
    return pl.DataFrame(
        {
            "user_id": [r[0] for r in rows],
            "item_id": ["i"] * len(rows),
            "action": ["buy"] * len(rows),
            "time": pl.Series([r[1] for r in rows], dtype=pl.Datetime("us", "UTC")),
            "value": [value] * len(rows),
        }
    )


def test_activity_classes_by_hand():
    """new < 7 days old, cooling from 14 days away, lost from 30; borders belong to the later class."""
    found = user_classes(
        log(
            {
                "fresh": [6.9, 0.5],
                "week": [7.0, 1.0],
                "steady": [200, 13.9],
                "edge": [50, 14.0],
                "cool": [29.9],
                "lost": [30.0, 60],
            }
        ),
        AS_OF,
    ).collect()
    assert dict(found.select("user_id", "activity_class").iter_rows()) == {
        "fresh": "new",
        "week": "active",
        "steady": "active",
        "edge": "cooling",
        "cool": "cooling",
        "lost": "lost",
    }


def test_rfm_by_hand():
    """Five users, one a quintile: the last to come has R 5, the most frequent F 5."""
    days = {"a": [1], "b": [2] * 4, "c": [3] * 5, "d": [4] * 3, "e": [5] * 2}
    found = user_classes(log(days), AS_OF, ClassConfig(value_actions=("buy",))).collect()
    told = found.select("user_id", "rfm_recency", "rfm_frequency", "rfm_value", "rfm_class").rows()
    assert told == [
        ("a", 5, 1, 1, "promising"),
        ("b", 4, 4, 4, "champions"),
        ("c", 3, 5, 5, "loyal"),
        ("d", 2, 3, 3, "at risk"),
        ("e", 1, 2, 2, "hibernating"),
    ]
    sizes = class_sizes(found)
    assert sizes["n_users"].sum() == 5
    assert sizes["share"].sum() == pytest.approx(1)


def test_every_pair_of_scores_has_one_class():
    pairs = pl.DataFrame(
        [(r, f) for r in range(1, 6) for f in range(1, 6)],
        schema=["rfm_recency", "rfm_frequency"],
        orient="row",
    )
    counted = Counter(pairs.select(rfm_class().alias("c"))["c"])
    assert counted == {
        "champions": 4,
        "promising": 6,
        "loyal": 2,
        "occasional": 3,
        "at risk": 6,
        "hibernating": 4,
    }
    assert set(counted) == set(RFM_CLASSES)


def test_value_counts_only_its_actions():
    events = log({"a": [1, 2], "b": [3]}, value=10.0).with_columns(
        pl.Series("action", ["buy", "view", "view"])
    )
    found = user_classes(events, AS_OF, ClassConfig(value_actions=("buy",))).collect()
    assert found["value_sum"].to_list() == [10.0, 0.0]


def test_nothing_later_counts():
    events = log({"a": [1], "b": [40]})
    later = log({"a": [0, -1], "b": [-5], "c": [-1]})
    assert (
        user_classes(pl.concat([events, later]), AS_OF)
        .collect()
        .equals(user_classes(events, AS_OF).collect())
    )


def test_thresholds_must_rise():
    with pytest.raises(ConfigError, match="cooling_days < lost_days"):
        ClassConfig(cooling_days=30, lost_days=30)
    with pytest.raises(ConfigError, match="new_days"):
        ClassConfig(new_days=0)
