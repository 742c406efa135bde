# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError, TooLittleData
from desirepath.features import daily, decaying_mean, double_exponential, exponential, moving_average

START = datetime(2024, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=20)


@pytest.mark.parametrize("n_days", [None, 5])
@pytest.mark.parametrize("as_of", [AS_OF, AS_OF + timedelta(hours=7)])
def test_daily_counts_every_day(
    random_log: Callable[[int], pl.DataFrame], n_days: int | None, as_of: datetime
) -> None:
    log = random_log(0)
    got = daily(log, as_of, by=["user_id"], n_days=n_days)
    # The day that the moment cuts is left out whole.
    rows = [(r["user_id"], r["time"].date()) for r in log.iter_rows(named=True) if r["time"] < AS_OF]
    last = date(2024, 3, 20)
    first = min(d for _, d in rows) if n_days is None else last - timedelta(days=n_days - 1)
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    counts = Counter(rows)
    users = sorted({u for u, d in rows if d >= first})
    assert got.rows() == [(u, d, float(counts[u, d])) for u in users for d in days]


def test_daily_sums_a_value_and_needs_a_whole_day(random_log: Callable[[int], pl.DataFrame]) -> None:
    log = random_log(0)
    got = daily(log, AS_OF, value=pl.col("value"))
    seen = log.filter(pl.col("time") < AS_OF)
    assert got["y"].sum() == pytest.approx(seen["value"].sum())
    with pytest.raises(TooLittleData, match="whole day"):
        daily(log, START + timedelta(hours=3))


def brute(y: list[float], alpha: float, beta: float, window: int) -> list[tuple[float, float, float, float]]:
    rows = []
    simple = level = y[0]
    trend = 0.0
    for t, x in enumerate(y):
        if t:
            simple = alpha * x + (1 - alpha) * simple
            before, level = level, alpha * x + (1 - alpha) * (level + trend)
            trend = beta * (level - before) + (1 - beta) * trend
        near = y[max(0, t - window + 1) : t + 1]
        rows.append((sum(near) / len(near), simple, level, trend))
    return rows


@pytest.mark.parametrize(("alpha", "beta", "window"), [(0.3, 0.1, 7), (1.0, 1.0, 1), (0.05, 0.9, 30)])
def test_smoothers_equal_their_recursions(alpha: float, beta: float, window: int) -> None:
    rng = np.random.default_rng(0)
    series = {"a": rng.poisson(3, 40).astype(float).tolist(), "b": rng.poisson(9, 25).astype(float).tolist()}
    table = pl.DataFrame(
        {"key": [k for k, y in series.items() for _ in y], "y": [v for y in series.values() for v in y]}
    )
    y = pl.col("y")
    got = table.select(
        moving_average(y, window, by=["key"]).alias("average"),
        exponential(y, alpha, by=["key"]).alias("simple"),
        double_exponential(y, alpha, beta, by=["key"]).struct.field("*"),
    )
    expected = [row for y in series.values() for row in brute(y, alpha, beta, window)]
    np.testing.assert_allclose(got.to_numpy(), np.array(expected), rtol=1e-9, atol=1e-12)


def test_holt_follows_a_line_at_last() -> None:
    line = pl.DataFrame({"y": 5.0 + 2.0 * np.arange(300)})
    got = line.select(double_exponential(pl.col("y"), alpha=0.5, beta=0.3).struct.field("*"))
    assert got["level"][-1] == pytest.approx(5 + 2 * 299)
    assert got["trend"][-1] == pytest.approx(2.0)


def test_decaying_mean_halves_the_past() -> None:
    table = pl.DataFrame(
        {
            "y": [8.0, 0.0, 0.0, 100.0],
            "time": [START, START + timedelta(days=3), START + timedelta(days=6), START + timedelta(days=6)],
        }
    )
    got = table.select(decaying_mean(pl.col("y"), pl.col("time"), half_life_days=3)).to_series()
    assert got.to_list() == pytest.approx([8.0, 4.0, 2.0, 2.0])
    two = pl.concat([table, table]).with_columns(key=pl.Series(["a"] * 4 + ["b"] * 4))
    both = two.select(decaying_mean(pl.col("y"), pl.col("time"), half_life_days=3, by=["key"])).to_series()
    assert both.to_list() == pytest.approx([8.0, 4.0, 2.0, 2.0] * 2)


def test_bad_smoothing_options_are_told() -> None:
    with pytest.raises(ConfigError, match="alpha"):
        exponential(pl.col("y"), 0)
    with pytest.raises(ConfigError, match="beta"):
        double_exponential(pl.col("y"), 0.5, 1.5)
    with pytest.raises(ConfigError, match="window_days"):
        moving_average(pl.col("y"), 0)
    with pytest.raises(ConfigError, match="half_life_days"):
        decaying_mean(pl.col("y"), pl.col("t"), 0)
