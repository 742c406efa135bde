"""Online figures, worked by hand; attribution that counts once; groups of users that differ."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError, DataError
from desirepath.live.outcomes import FEEDBACK, SERVED, OutcomeConfig, attribute, differences, metrics, series
from desirepath.recommend.sequential import difference_interval, multiplier

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def served(*lists: tuple) -> pl.DataFrame:
    """Rows of (list, user, variant, items) with further keys by name."""
    rows = []
    for name, user, variant, items, *more in lists:
        extra = {"time": NOON, "scenario": "home", "fallback": None, **(more[0] if more else {})}
        rows += [
            {
                "recommendation_id": name,
                "user_id": user,
                "variant": variant,
                "item_id": item,
                "position": place,
                "propensity": 1.0,
                **extra,
            }
            for place, item in enumerate(items, start=1)
        ]
    return pl.DataFrame(rows, schema=SERVED)


def said(*events: tuple) -> pl.DataFrame:
    """Rows of (list, item, action, minutes after noon, value)."""
    rows = [
        {
            "recommendation_id": name,
            "item_id": item,
            "action": action,
            "time": NOON + timedelta(minutes=minutes),
            "value": value[0] if value else None,
        }
        for name, item, action, minutes, *value in events
    ]
    return pl.DataFrame(rows, schema=FEEDBACK)


def figures(table: pl.DataFrame) -> dict[tuple[str, str], float]:
    return {(row["variant"], row["metric"]): row["value"] for row in table.iter_rows(named=True)}


LISTS = served(
    ("r1", "ann", "old", "abc"),
    ("r2", "ann", "old", "ad"),
    ("r3", "bob", "new", "abc", {"fallback": "popular"}),
    ("r4", None, None, "ef"),
)
EVENTS = said(
    ("r1", "b", "click", 1),
    ("r1", "b", "click", 2),  # again: counts once
    ("r1", "c", "purchase", 30),  # a click too
    ("r2", "z", "click", 1),  # not in the list
    ("r3", "a", "click", 60 * 25),  # too late
    ("r3", "b", "click", -1),  # before the list
    ("r9", "a", "click", 1),  # no such list
    ("r3", None, "satisfaction", 5, 2.0),
    ("r3", None, "satisfaction", 9, 4.0),  # the last counts
    ("r1", None, "satisfaction", 5, 5.0),
    ("r1", "a", "skip", 1),  # no outcome
)


def test_worked_by_hand() -> None:
    outcomes = attribute(LISTS, EVENTS)
    assert outcomes.left_out == {
        "again": 2,
        "before the list": 1,
        "not in the list": 1,
        "too late": 1,
        "unknown recommendation": 1,
    }
    found = figures(metrics(outcomes, n_items=10))
    expected = {
        ("old", "ctr"): 2 / 5,
        ("old", "conversion"): 1 / 2,
        ("old", "satisfaction"): 5.0,
        ("old", "fallback_rate"): 0.0,
        ("old", "coverage"): 4 / 10,
        ("new", "ctr"): 0.0,
        ("new", "conversion"): 0.0,
        ("new", "satisfaction"): 4.0,
        ("new", "fallback_rate"): 1.0,
        ("new", "coverage"): 3 / 10,
        ("", "ctr"): 0.0,
        ("", "conversion"): 0.0,
        ("", "fallback_rate"): 0.0,
        ("", "coverage"): 2 / 10,
    }
    assert found == pytest.approx(expected)
    clicked = outcomes.items.filter("clicked").select("recommendation_id", "item_id").rows()
    assert clicked == [("r1", "b"), ("r1", "c")]
    assert metrics(outcomes)["users"].to_list() == [1] * 11
    assert metrics(outcomes)["low"].null_count() == 11  # far too few users to say more


def test_impressions_that_clients_report() -> None:
    seen = said(("r1", "a", "impression", 0), ("r1", "b", "impression", 0), ("r2", "d", "click", 1))
    events = pl.concat([EVENTS, seen])
    found = figures(metrics(attribute(LISTS, events)))
    assert found["old", "ctr"] == 3 / 4  # a and b were seen, c and d were clicked
    assert ("new", "ctr") not in found  # nobody saw that list
    all_of_them = figures(metrics(attribute(LISTS, events, OutcomeConfig(shown="served"))))
    assert all_of_them["old", "ctr"] == 3 / 5


def test_a_shorter_window_and_other_words() -> None:
    config = OutcomeConfig(window_s=90, click_actions=("skip",), conversion_actions=("click",))
    found = figures(metrics(attribute(LISTS, EVENTS, config)))
    assert found["old", "ctr"] == 2 / 5  # a was skipped, b converted
    assert found["old", "conversion"] == 1 / 2
    assert ("old", "satisfaction") not in found


def test_any_behaviour_is_a_click_where_none_is_named() -> None:
    events = said(("r1", "a", "listen", 1), ("r1", "b", "dislike", 1), ("r1", "c", "impression", 1))
    outcomes = attribute(LISTS, events, OutcomeConfig(shown="served"))
    assert outcomes.items.filter("clicked")["item_id"].to_list() == ["a"]
    named = attribute(LISTS, events, OutcomeConfig(shown="served", click_actions=("click",)))
    assert not named.items["clicked"].any()


def test_stretches_of_time() -> None:
    later = served(("r5", "ann", "old", "ab", {"time": NOON + timedelta(hours=1)}))
    events = pl.concat([EVENTS, said(("r5", "a", "click", 61))])
    table = series(attribute(pl.concat([LISTS, later]), events), "1h").filter(pl.col("variant") == "old")
    assert table["time"].to_list() == [NOON, NOON + timedelta(hours=1)]
    assert table["ctr"].to_list() == [2 / 5, 1 / 2]
    assert table["impressions"].to_list() == [5, 2]
    assert table["satisfaction"].to_list() == [5.0, None]


def many(n_users: int, rates: dict[str, float], seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Users with two lists of three items; each item is clicked at the variant's rate."""
    rng = np.random.default_rng(seed)
    lists, events = [], []
    for user in range(n_users):
        variant = list(rates)[user % len(rates)]
        for visit in range(2):
            name = f"r{user}.{visit}"
            lists.append((name, f"u{user}", variant, "abc"))
            events += [(name, item, "click", 1) for item in "abc" if rng.random() < rates[variant]]
    return served(*lists), said(*events)


def test_a_variant_that_is_better() -> None:
    outcomes = attribute(*many(1200, {"old": 0.1, "new": 0.2}, 1))
    row = differences(outcomes, "old").filter(pl.col("metric") == "ctr").row(0, named=True)
    # Every user saw six items, so that the ratio is the mean of the users' own rates.
    users = outcomes.lists.group_by("variant", "unit").agg(pl.col("clicks").sum() / 6)
    old, new = (users.filter(pl.col("variant") == v)["clicks"].to_numpy() for v in ("old", "new"))
    expected = difference_interval(old, new)
    assert row["difference"] == pytest.approx(expected.value)
    assert (row["low"], row["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert row["decided"]
    assert row["relative"] == pytest.approx(expected.value / old.mean())
    assert row["users"] == 1200
    own = metrics(outcomes).filter(pl.col("metric") == "ctr", pl.col("variant") == "new").row(0, named=True)
    error = new.std(ddof=1) / np.sqrt(600)
    assert own["high"] - own["value"] == pytest.approx(float(multiplier(600)) * error)


def test_what_hardly_anybody_did_has_no_interval() -> None:
    """A thousand users without a conversion do not prove that there never is one."""
    outcomes = attribute(*many(400, {"old": 0.1, "new": 0.005}, 2))
    table = metrics(outcomes)
    none = table.filter(pl.col("metric") == "conversion")
    assert none["value"].to_list() == [0.0, 0.0]
    assert none["high"].to_list() == [None, None]
    ctr = {row["variant"]: row for row in table.filter(pl.col("metric") == "ctr").iter_rows(named=True)}
    assert 0 < ctr["new"]["numerator"] < 10
    assert ctr["new"]["low"] is None
    assert ctr["old"]["low"] is not None
    change = differences(outcomes, "old").filter(pl.col("metric") == "ctr").row(0, named=True)
    assert (change["low"], change["decided"]) == (None, False)


def test_a_scenario_without_the_baseline_is_left_out() -> None:
    assert differences(attribute(LISTS, EVENTS), "nobody").height == 0


def test_nothing_served_nothing_said() -> None:
    none = attribute(served(), said())
    assert metrics(none, n_items=5).height == 0
    assert series(none).height == 0
    assert differences(none, "old").height == 0
    assert figures(metrics(attribute(LISTS, said())))["old", "ctr"] == 0.0


def test_an_item_twice_in_a_list_is_one_impression() -> None:
    outcomes = attribute(served(("r1", "ann", "old", "aab")), said(("r1", "a", "click", 1)))
    assert figures(metrics(outcomes))["old", "ctr"] == 1 / 2


def test_wrong_use_is_refused() -> None:
    with pytest.raises(DataError, match="'served' must have the column 'position'"):
        attribute(LISTS.drop("position"), EVENTS)
    with pytest.raises(ConfigError, match="window_s"):
        OutcomeConfig(window_s=0)
    with pytest.raises(ConfigError, match="click_actions"):
        OutcomeConfig(click_actions=("impression",))
