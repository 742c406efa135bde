# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError, DataError
from desirepath.features import InterestConfig, interest_summary, interests
from desirepath.features.interests import item_labels

START = datetime(2024, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=20)
GENRES = {
    "i0": ["war"],
    "i1": ["war", "love"],
    "i2": ["love"],
    "i3": ["a", "b", "c"],
    "i4": ["c"],
    "i5": [],
    "i6": ["b", "love"],
}
ITEMS = pl.DataFrame(
    {"item_id": list(GENRES), "genres": ["|".join(labels) or None for labels in GENRES.values()]}
)


@pytest.mark.parametrize("strength", [0.0, 4.0])
@pytest.mark.parametrize("seed", range(2))
def test_interests_equal_counting_by_hand(
    random_log: Callable[[int], pl.DataFrame], seed: int, strength: float
) -> None:
    log = random_log(seed)
    weights = {"like": 3.0, "buy": 0.0}
    config = InterestConfig(
        attribute="genres",
        half_life_days=9,
        short_half_life_days=1.5,
        action_weights=weights,
        strength=strength,
    )
    masses: dict[str, dict[str, dict[str, float]]] = {
        name: defaultdict(lambda: defaultdict(float)) for name in ("long", "short", "n")
    }
    for r in log.iter_rows(named=True):
        weight = weights.get(r["action"], 1.0)
        labels = GENRES.get(r["item_id"], [])
        if r["time"] >= AS_OF or weight == 0:
            continue
        age = (AS_OF - r["time"]).total_seconds() / 86_400
        for label in labels:
            masses["n"][r["user_id"]][label] += 1
            for name, days in (("long", 9), ("short", 1.5)):
                masses[name][r["user_id"]][label] += weight * 0.5 ** (age / days) / len(labels)
    got = interests(log, ITEMS, AS_OF, config).collect()
    assert got.height == sum(len(labels) for labels in masses["n"].values())
    shares = {
        name: {u: {k: v / sum(w.values()) for k, v in w.items()} for u, w in masses[name].items()}
        for name in ("long", "short")
    }
    for row in got.iter_rows(named=True):
        user, label = row["user_id"], row["label"]
        assert row["n_events"] == masses["n"][user][label]
        for name in ("long", "short"):
            crowd = np.mean([s.get(label, 0.0) for s in shares[name].values()])
            own = sum(masses[name][user].values())
            expected = (masses[name][user][label] + strength * crowd) / (own + strength)
            assert row[f"share_{name}"] == pytest.approx(expected, rel=1e-9)
            if name == "long":
                assert row["lift"] == pytest.approx(expected / crowd, rel=1e-9)
    if strength == 0:
        sums = got.group_by("user_id").agg(pl.col("share_long", "share_short").sum())
        assert sums["share_long"].to_list() == pytest.approx([1.0] * sums.height)
        assert sums["share_short"].to_list() == pytest.approx([1.0] * sums.height)


def test_very_old_histories_keep_their_shares() -> None:
    # Twenty years are 1,043 weeks; with a half-life of a day every weight underflows to 0.
    old = AS_OF - timedelta(days=365 * 20)
    log = pl.DataFrame(
        {
            "user_id": ["u"] * 3,
            "item_id": ["i0", "i0", "i2"],
            "action": ["v"] * 3,
            "time": [old, old, old],
        }
    ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    got = interests(log, ITEMS, AS_OF, InterestConfig(attribute="genres", short_half_life_days=1)).collect()
    assert got.sort("label")["share_short"].to_list() == pytest.approx([1 / 3, 2 / 3])


def test_lists_and_text_give_the_same_labels() -> None:
    as_list = pl.DataFrame({"item_id": list(GENRES), "genres": list(GENRES.values())})
    config = InterestConfig(attribute="genres")
    assert (
        item_labels(as_list, config)
        .sort("item_id", "label")
        .collect()
        .equals(item_labels(ITEMS, config).sort("item_id", "label").collect())
    )
    messy = pl.DataFrame({"item_id": ["x"], "genres": [" a ||a| b"]})
    assert sorted(item_labels(messy, config).collect().rows()) == [("x", "a", 0.5), ("x", "b", 0.5)]
    whole = InterestConfig(attribute="genres", separator=None)
    assert item_labels(messy, whole).collect()["label"].to_list() == ["a ||a| b"]


def test_summary_of_closed_forms() -> None:
    shares = pl.DataFrame(
        {
            "user_id": ["u"] * 4 + ["v"],
            "label": ["d", "c", "b", "a", "a"],
            "share_long": [0.25] * 4 + [1.0],
            "share_short": [1.0, 0.0, 0.0, 0.0, 1.0],
        }
    )
    got = {row["user_id"]: row for row in interest_summary(shares).collect().iter_rows(named=True)}
    assert got["u"] == {
        "user_id": "u",
        "top_interest": "a",
        "interest_entropy_bits": pytest.approx(2.0),
        "interest_drift": pytest.approx(0.75),
        "n_labels": 4,
    }
    assert got["v"]["interest_entropy_bits"] == pytest.approx(0.0)
    assert got["v"]["interest_drift"] == pytest.approx(0.0)


def test_bad_interest_options_are_told() -> None:
    with pytest.raises(ConfigError, match="half_life_days"):
        InterestConfig(attribute="g", half_life_days=0)
    with pytest.raises(ConfigError, match="separator"):
        InterestConfig(attribute="g", separator="")
    with pytest.raises(ConfigError, match="action_weights"):
        InterestConfig(attribute="g", action_weights={"v": -1})
    with pytest.raises(DataError, match="genres"):
        item_labels(ITEMS, InterestConfig(attribute="genre"))
