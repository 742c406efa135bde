# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.paths import (
    RetentionConfig,
    cut_visits,
    retention,
    retention_curve,
    select,
    visits,
)

BEGIN = datetime(2025, 1, 27, tzinfo=UTC)


def world(seed=0, n=120, days=75):
    rng = np.random.default_rng(seed)
    times, names = [], []
    for _ in range(n):
        born = rng.uniform(0, days)
        when = np.sort(born + np.append(0, rng.exponential(12, rng.integers(0, 9))))
        when = when[when < days]
        times.append((BEGIN.timestamp() + when * 86400).tolist())
        names.append(rng.choice(["view", "buy"], len(when), p=[0.8, 0.2]).tolist())
    return SequenceDatabase.from_lists(names, time_s=times)


def first_day(when, period):
    day = when.date()
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def following(day, period):
    if period == "month":
        return (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return day + timedelta(days=7 if period == "week" else 1)


def plain(database, config):
    """Cohorts of a database by datetimes and sets."""
    zone = timedelta(seconds=config.utc_offset_s)
    as_of = config.as_of_s or database.time_s.max()
    people = []
    for s in range(database.n_sequences):
        rows = range(database.offsets[s], database.offsets[s + 1])
        events = [(database.time_s[i], database.symbols.ids[int(database.symbol_ix[i])]) for i in rows]
        events = [(t, name) for t, name in events if t <= as_of]
        births = [t for t, name in events if not config.birth or name in config.birth]
        if births:
            active = [t for t, name in events if t >= births[0] and (not config.back or name in config.back)]
            where = [
                first_day(datetime.fromtimestamp(t, UTC) + zone, config.period) for t in [births[0], *active]
            ]
            people.append((where[0], set(where[1:])))
    out = {}
    for cohort in {cohort for cohort, _ in people}:
        mine = [active for born, active in people if born == cohort]
        period, day = 0, cohort
        while datetime.combine(day, datetime.min.time(), UTC) - zone <= datetime.fromtimestamp(as_of, UTC):
            end = following(day, config.period)
            over = (datetime.combine(end, datetime.min.time(), UTC) - zone).timestamp() <= as_of
            if config.kind == "exact":
                count = sum(day in active for active in mine)
            else:
                count = sum(any(a >= day for a in active) for active in mine)
            out[cohort, period] = (len(mine), count if over else None)
            period, day = period + 1, end
    return out


@pytest.mark.parametrize("period", ["day", "week", "month"])
@pytest.mark.parametrize("kind", ["exact", "rolling"])
@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"birth": ("buy",), "back": ("view",)},
        {"utc_offset_s": -5 * 3600.0, "as_of_s": (BEGIN + timedelta(days=40.3)).timestamp()},
    ],
)
def test_cohorts_are_those_of_a_plain_computation(period, kind, rest):
    config = RetentionConfig(period=period, kind=kind, **rest)
    database = world()
    table = retention(database, config)
    found = {(c, p): (users, active) for c, p, users, active, _ in table.rows()}
    expected = plain(database, config)
    assert found == expected
    assert table["active"].null_count() > 0


def test_sessions_of_a_user_are_one_user():
    database = world(1)
    assert retention(cut_visits(database)).equals(retention(database))


def test_periods_that_are_not_over_are_null():
    times = [[BEGIN.timestamp(), BEGIN.timestamp() + 8 * 86400.0]]
    table = retention(SequenceDatabase.from_lists([["a", "a"]], time_s=times))
    assert table.rows() == [(date(2025, 1, 27), 0, 1, 1, 1.0), (date(2025, 1, 27), 1, 1, None, None)]


def test_curve_counts_only_what_is_over():
    table = retention(world(), RetentionConfig(n_periods=4))
    assert table["period"].max() == 4
    curve = retention_curve(table)
    for row in curve.iter_rows(named=True):
        mine = table.filter(pl.col("period") == row["period"], pl.col("active").is_not_null())
        assert (row["users"], row["active"]) == (mine["users"].sum(), mine["active"].sum())
        assert row["low"] <= row["share"] <= row["high"]


def test_options_are_checked():
    with pytest.raises(ConfigError, match="period"):
        RetentionConfig(period="year")
    with pytest.raises(ConfigError, match="utc_offset_s"):
        RetentionConfig(utc_offset_s=1e6)
    with pytest.raises(ConfigError, match="as_of_s"):
        retention(world(), RetentionConfig(as_of_s=0.0))


# Visits --------------------------------------------------------------------------------------------


def test_visits_are_those_of_polars():
    database = world(2)
    gap_s = 86400.0 * 4
    table = visits(database, gap_s)
    lengths = np.diff(database.offsets)
    events = pl.DataFrame(
        {
            "user_id": database.users.decode(np.repeat(database.user_ix, lengths)),
            "symbol": database.symbols.decode(database.symbol_ix),
            "time": pl.from_epoch(pl.Series(np.rint(database.time_s * 1e6).astype(np.int64)), "us"),
        }
    ).with_columns(pl.col("time").dt.replace_time_zone("UTC"))
    new = (pl.col("time").diff().dt.total_microseconds() > gap_s * 1e6).over("user_id").fill_null(True)
    plainly = (
        events.with_columns(visit=new.cast(pl.Int32).cum_sum().over("user_id") - 1)
        .group_by("user_id", "visit", maintain_order=True)
        .agg(
            start=pl.col("time").min(),
            end=pl.col("time").max(),
            n_events=pl.len().cast(pl.Int32),
            first=pl.col("symbol").first(),
            last=pl.col("symbol").last(),
        )
    )
    assert table.select(plainly.columns).equals(plainly)
    assert table["n_events"].sum() == database.n_events
    expected = (plainly["end"] - plainly["start"]).dt.total_microseconds() / 1e6
    assert table["length_s"].to_list() == pytest.approx(expected.to_list(), abs=1e-5)
    assert table["pause_s"].null_count() == np.count_nonzero(lengths)
    assert table["pause_s"].min() > gap_s


def test_cut_visits_are_the_rows_of_the_table():
    database = world(3)
    database = select(database, np.diff(database.offsets) != 2)
    cut, table = cut_visits(database, 3600.0), visits(database, 3600.0)
    assert np.diff(cut.offsets).tolist() == table["n_events"].to_list()
    assert cut.users.decode(cut.user_ix).to_list() == table["user_id"].to_list()
    np.testing.assert_array_equal(cut.symbol_ix, database.symbol_ix)
    with pytest.raises(ConfigError, match="gap_s"):
        visits(database, 0)
