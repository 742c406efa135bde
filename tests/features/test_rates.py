# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta as beta_distribution
from scipy.stats import betabinom

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.features import BetaPrior, RateConfig, fit_prior, rates, smoothed
from desirepath.features.rates import MAX_STRENGTH, trials

START = datetime(2024, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=20)


@pytest.mark.parametrize("method", ["likelihood", "moments"])
@pytest.mark.parametrize(("a", "b"), [(2.0, 18.0), (0.5, 1.5), (30.0, 70.0)])
def test_a_planted_prior_is_found_again(method: str, a: float, b: float) -> None:
    rng = np.random.default_rng(7)
    n = rng.integers(1, 60, 20_000)
    x = rng.binomial(n, rng.beta(a, b, len(n)))
    prior = fit_prior(x, n, method)  # type: ignore[arg-type]
    assert prior.mean == pytest.approx(a / (a + b), rel=0.02)
    assert prior.strength == pytest.approx(a + b, rel=0.1)


def test_the_likelihood_fit_stands_on_the_top() -> None:
    rng = np.random.default_rng(3)
    n = rng.integers(0, 30, 300)
    x = rng.binomial(n, rng.beta(1.2, 6.0, len(n)))
    prior = fit_prior(x, n)

    def loglik(a: float, b: float) -> float:
        return float(betabinom(n, a, b).logpmf(x).sum())

    best = loglik(prior.alpha, prior.beta)
    for scale_a in (0.97, 1.0, 1.03):
        for scale_b in (0.97, 1.0, 1.03):
            assert loglik(prior.alpha * scale_a, prior.beta * scale_b) <= best + 1e-6


@pytest.mark.parametrize("method", ["likelihood", "moments"])
def test_groups_that_differ_by_chance_alone_are_all_the_crowd(method: str) -> None:
    x, n = np.full(50, 3), np.full(50, 10)
    prior = fit_prior(x, n, method)  # type: ignore[arg-type]
    assert prior.mean == pytest.approx(0.3, rel=1e-3)
    assert prior.strength > 1e4
    assert prior.strength <= MAX_STRENGTH * (1 + 1e-9)


@pytest.mark.parametrize("method", ["likelihood", "moments"])
@pytest.mark.parametrize(("x", "n"), [([0, 0], [5, 9]), ([5, 9], [5, 9]), ([1], [1]), ([0, 4], [4, 4])])
def test_the_edges_give_a_proper_prior(method: str, x: list[int], n: list[int]) -> None:
    prior = fit_prior(np.array(x), np.array(n), method)  # type: ignore[arg-type]
    assert 0 < prior.mean < 1
    assert np.isfinite(prior.strength)
    assert prior.strength > 0


def test_smoothing_lies_between_the_group_and_the_crowd_with_exact_intervals() -> None:
    counts = pl.DataFrame({"n_successes": [0, 1, 40, 0], "n_trials": [3, 1, 50, 0]})
    prior = BetaPrior(alpha=2, beta=8)
    got = smoothed(counts, prior, interval=0.9)
    assert got["rate"].to_list() == pytest.approx([2 / 13, 3 / 11, 42 / 60, 0.2])
    assert got["rate_raw"].to_list() == [0.0, 1.0, 0.8, None]
    posterior = beta_distribution([2, 3, 42, 2], [11, 8, 18, 8])
    assert got["rate_low"].to_list() == pytest.approx(posterior.ppf(0.05).tolist())
    assert got["rate_high"].to_list() == pytest.approx(posterior.ppf(0.95).tolist())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["item_id", "user_id", "session_id"])
@pytest.mark.parametrize("within_days", [None, 3.0])
def test_trials_equal_those_counted_by_hand(
    random_log: Callable[[int], pl.DataFrame], seed: int, by: str, within_days: float | None
) -> None:
    log = random_log(seed)
    config = RateConfig(trial="view", success="like", within_days=within_days)
    rows = [r for r in log.iter_rows(named=True) if r["time"] < AS_OF]
    counted: dict[str, list[int]] = {}
    for unit in {(r["user_id"], r["item_id"]) for r in rows}:
        mine = [r for r in rows if (r["user_id"], r["item_id"]) == unit]
        views = sorted((r for r in mine if r["action"] == "view"), key=lambda r: r["time"])
        if not views:
            continue
        opened = views[0]["time"]
        if within_days and opened > AS_OF - timedelta(days=within_days):
            continue
        won = any(
            r["action"] == "like"
            and r["time"] >= opened
            and (not within_days or r["time"] < opened + timedelta(days=within_days))
            for r in mine
        )
        if views[0][by] is not None:
            pair = counted.setdefault(views[0][by], [0, 0])
            pair[0] += won
            pair[1] += 1
    got = trials(log, AS_OF, config, by)
    assert {row[0]: [row[1], row[2]] for row in got.rows()} == counted
    told = rates(log, AS_OF, config, by)
    assert ((told["rate_low"] < told["rate"]) & (told["rate"] < told["rate_high"])).all()


def test_a_given_prior_is_used_as_it_is() -> None:
    log = pl.DataFrame(
        {"user_id": ["u", "u"], "item_id": ["i", "j"], "action": ["view", "view"], "time": [START, START]}
    )
    prior = BetaPrior.from_dict(BetaPrior(alpha=1, beta=3).to_dict())
    got = rates(log, AS_OF, RateConfig(trial="view", success="buy"), prior=prior)
    assert got["rate"].to_list() == [0.2, 0.2]


def test_bad_rates_are_told() -> None:
    with pytest.raises(ConfigError, match="different actions"):
        RateConfig(trial="view", success="view")
    with pytest.raises(ConfigError, match="interval"):
        RateConfig(trial="view", success="buy", interval=1.0)
    with pytest.raises(ConfigError, match="within_days"):
        RateConfig(trial="view", success="buy", within_days=0)
    with pytest.raises(DataError, match="successes <= trials"):
        fit_prior(np.array([2]), np.array([1]))
    with pytest.raises(TooLittleData, match="at least one trial"):
        fit_prior(np.array([0]), np.array([0]))
    log = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "action": ["view"], "time": [START]})
    with pytest.raises(TooLittleData):
        rates(log, AS_OF, RateConfig(trial="impression", success="view"))
