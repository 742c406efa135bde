# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desirepath.features import SessionConfig, hour_weekday_counts, sessions
from desirepath.report.actions import action_counts, actions_bar, actions_reading
from desirepath.report.concentration import (
    counts_of_counts,
    doublings,
    gini,
    histogram_reading,
    lorenz,
    lorenz_curves,
    top_share,
)
from desirepath.report.overview import overview
from desirepath.report.theme import many, plain, share
from desirepath.report.timeline import OTHER, counts_over_time, step_for, timeline, timeline_reading
from desirepath.report.visits import MINUTES, count_sessions, session_minutes, session_sizes
from desirepath.report.week import heat_map, week_reading, weekday_bars

START = datetime(2024, 1, 31, 22, tzinfo=UTC)


def log(n: int, days: float, n_actions: int = 3, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in rng.integers(0, 20, n)],
            "item_id": [f"i{i}" for i in rng.zipf(1.6, n) % 30],
            "action": [f"a{a}" for a in rng.integers(0, n_actions, n)],
            "time": [START + timedelta(seconds=int(s)) for s in rng.integers(0, int(days * 86_400), n)],
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )


def test_overview_counts() -> None:
    events = log(500, 40)
    size = overview(events.lazy())
    assert (size.n_events, size.n_users, size.n_items, size.n_actions) == (
        500,
        len(set(events["user_id"])),
        len(set(events["item_id"])),
        3,
    )
    assert size.n_pairs == len(set(zip(events["user_id"], events["item_id"], strict=True)))
    assert (size.first, size.last) == (min(events["time"]), max(events["time"]))
    assert not size.is_day_grained
    assert not size.has_session_ids
    assert all(events["time"] < size.end)
    days = events.with_columns(pl.col("time").dt.truncate("1d"), pl.lit("s").alias("session_id"))
    assert overview(days.lazy()).is_day_grained
    assert overview(days.lazy()).has_session_ids


def test_pairs_of_a_long_log_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    events = log(n, 10).with_columns(
        pl.Series("user_id", rng.integers(0, 3000, n).astype(str)),
        pl.Series("item_id", rng.integers(0, 300, n).astype(str)),
    )
    exact = overview(events.lazy()).n_pairs
    assert exact == events.select("user_id", "item_id").n_unique()
    monkeypatch.setattr("desirepath.report.overview.EXACT_PAIRS", 50_000)
    assert overview(events.lazy()).n_pairs == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize(
    ("days", "name"), [(3, "hour"), (60, "day"), (500, "week"), (4000, "month"), (40_000, "year")]
)
def test_timeline_counts_every_step(days: float, name: str) -> None:
    events = log(300, days)
    span = (max(events["time"]) - min(events["time"])).total_seconds() / 86_400
    assert step_for(span)[1] == name
    counts = counts_over_time(events.lazy(), span)

    def step_of(t: datetime) -> datetime:
        day = t.replace(hour=0, minute=0, second=0, microsecond=0)
        return {
            "hour": t.replace(minute=0, second=0, microsecond=0),
            "day": day,
            "week": day - timedelta(days=t.weekday()),
            "month": day.replace(day=1),
            "year": day.replace(day=1, month=1),
        }[name]

    expected = Counter((step_of(t), a) for t, a in zip(events["time"], events["action"], strict=True))
    got = {(row["start"], row["action"]): row["n_events"] for row in counts.iter_rows(named=True)}
    assert {key: n for key, n in got.items() if n} == dict(expected)
    # Every step of every action has a row, empty or not.
    assert len(got) == 3 * counts["start"].n_unique()
    starts = counts["start"].unique().sort().to_list()
    assert max(b - a for a, b in itertools.pairwise(starts)) <= timedelta(days=366)
    figure = timeline(counts, name)
    assert sum(sum(trace.y) for trace in figure.data) == 300
    assert "The fullest" in timeline_reading(counts, name)


def test_many_actions_become_one() -> None:
    events = log(2000, 30, n_actions=12)
    counts = counts_over_time(events.lazy(), 30)
    order = counts["action"].unique(maintain_order=True).to_list()
    sizes = Counter(events["action"])
    assert order[:-1] == [a for a, _ in sorted(sizes.items(), key=lambda p: (-p[1], p[0]))[:7]]
    assert order[-1] == OTHER
    assert counts["n_events"].sum() == 2000


def test_actions_are_counted_and_drawn() -> None:
    events = log(300, 3)
    counts = action_counts(events.lazy())
    assert dict(counts.select("action", "n_events").iter_rows()) == dict(Counter(events["action"]))
    figure = actions_bar(counts)
    # Bars are drawn from below: the greatest comes last.
    assert list(figure.data[0].x) == sorted(figure.data[0].x)
    assert "makes up" in actions_reading(counts)
    assert "of one kind" in actions_reading(counts.head(1))


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60))
def test_concentration_is_that_of_the_plain_list(sizes: list[int]) -> None:
    events = pl.DataFrame({"user_id": np.repeat(np.arange(len(sizes)), sizes)})
    counts = counts_of_counts(events.lazy(), "user_id")
    assert dict(counts.iter_rows()) == dict(Counter(sizes))
    x = np.sort(np.array(sizes, float))
    mean_difference = np.abs(x[:, None] - x[None, :]).mean()
    assert gini(counts) == pytest.approx(mean_difference / (2 * x.mean()), abs=1e-9)
    bins = dict(doublings(counts).iter_rows())
    assert sum(bins.values()) == len(sizes)
    for label, n in bins.items():
        edges = [int(edge.replace(",", "")) for edge in label.split("–")]
        assert n == sum(edges[0] <= size <= edges[-1] for size in sizes)
    curve_x, curve_y = lorenz(counts)
    for k in range(len(x) + 1):
        assert np.interp(k / len(x), curve_x, curve_y) == pytest.approx(x[:k].sum() / x.sum(), abs=1e-9)
    middle = sorted(sizes)[(len(sizes) - 1) // 2]
    assert f"at most {many(middle, 'event')}" in histogram_reading(counts, "user")


def test_the_top_holds_what_it_holds() -> None:
    counts = pl.DataFrame({"n_events": [1, 91], "n_keys": [9, 1]})
    assert top_share(counts, 0.1) == pytest.approx(0.91)
    figure = lorenz_curves(counts, counts)
    assert all(max(trace.y) == 100 for trace in figure.data)


def test_heat_map_rows_are_days() -> None:
    events = log(700, 20)
    grid = hour_weekday_counts(events.lazy())
    figure = heat_map(grid, "UTC")
    expected = Counter((t.weekday(), t.hour) for t in events["time"])
    assert [[int(v) for v in row] for row in figure.data[0].z] == [
        [expected[d, h] for h in range(24)] for d in range(7)
    ]
    bars = weekday_bars(grid, "UTC").data[0]
    assert [int(v) for v in bars.y] == [sum(expected[d, h] for h in range(24)) for d in range(7)]
    (day, hour), _ = max(expected.items(), key=lambda pair: (pair[1], pair[0]))
    assert f"from {hour:02d}:00" in week_reading(grid)
    assert list(bars.x)[day] in week_reading(grid)


def test_sessions_fall_into_their_minutes() -> None:
    events = log(900, 6)
    end = max(events["time"]) + timedelta(seconds=1)
    told = sessions(events, end, SessionConfig(session_gap_s=3600 * 6))
    rows = told.collect()
    counted = count_sessions(told)
    sizes, minutes = session_sizes(counted), session_minutes(counted)
    assert dict(sizes.iter_rows()) == dict(Counter(rows["n_events"]))
    edges = [0.0, *map(float, MINUTES), np.inf]
    lengths = [s / 60 for s, n in zip(rows["length_s"], rows["n_events"], strict=True) if n > 1]
    expected = [rows.filter(pl.col("n_events") == 1).height]
    for low, high in itertools.pairwise(edges):
        expected.append(sum(low < m <= high or (low == 0 and m == 0) for m in lengths))
    assert minutes["n_sessions"].to_list() == expected
    assert minutes["label"].n_unique() == minutes.height


def test_words() -> None:
    assert plain("a  b\n<i>") == "a b &lt;i&gt;"
    assert share(999, 1000) == "99.9%"
    assert share(1, 1_000_000) == "0.0001%"
    assert many(0, "event") == "0 events"
