# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from desirepath.errors import ConfigError, ShapeError
from desirepath.evaluation import bootstrap
from desirepath.evaluation.bootstrap import Estimate, interval, means, resample


def test_means_leave_out_what_has_no_value():
    values = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, np.nan], [np.nan, np.nan]])
    user = np.array([4, 4, 9, 2])
    assert means(values, user, "queries") == pytest.approx([3.0, 4.0])
    assert means(values, user, "users") == pytest.approx([(2.0 + 5.0) / 2, 4.0])
    assert np.isnan(means(values[3:], user[3:], "users")).all()


def test_one_query_a_user_gives_the_normal_interval():
    rng = np.random.default_rng(0)
    values = rng.random((4000, 1)) ** 2
    draws = resample(values, np.arange(4000), n_resamples=8000)
    low, high = interval(draws)
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values[:, 0]))
    assert (low[0], high[0]) == pytest.approx(expected, abs=5e-4)


def test_queries_of_one_user_are_not_independent():
    # Forty users with fifty equal queries each know as much as forty queries.
    rng = np.random.default_rng(1)
    own = rng.random(40)
    values, user = np.repeat(own, 50)[:, None], np.repeat(np.arange(40), 50)
    clustered = resample(values, user, "queries", 4000).std()
    assert clustered == pytest.approx(own.std() / np.sqrt(40), rel=0.05)
    assert resample(values, np.arange(2000), "queries", 500).std() < clustered / 5


def test_pooled_means_weigh_users_by_their_queries():
    values = np.array([[1.0]] * 9 + [[0.0]])
    user = np.array([0] * 9 + [1])
    draws = resample(values, user, "queries", 400)
    assert set(np.round(draws[:, 0], 6)) == {0.0, 0.9, 1.0}
    assert means(values, user, "users") == 0.5


def test_columns_share_their_draws():
    rng = np.random.default_rng(2)
    first = rng.random(500)
    draws = resample(np.stack([first, first + 0.25], axis=1), np.arange(500) // 2)
    assert draws[:, 1] - draws[:, 0] == pytest.approx(np.full(1000, 0.25))


def test_draws_are_multinomial_across_blocks(monkeypatch):
    # Each user's own column gives how often it was drawn: mean 1, variance 1 - 1/n, covariance -1/n.
    monkeypatch.setattr(bootstrap, "BLOCK", 4)
    n = 10
    draws = resample(np.eye(n), np.arange(n), n_resamples=20_000) * n
    assert draws.sum(axis=1) == pytest.approx(np.full(20_000, n))
    assert np.array_equal(draws, np.rint(draws))
    expected = np.eye(n) - 1 / n
    assert draws.mean(axis=0) == pytest.approx(np.ones(n), abs=0.03)
    assert np.cov(draws.T) == pytest.approx(expected, abs=0.05)
    assert np.array_equal(draws, resample(np.eye(n), np.arange(n), n_resamples=20_000) * n)


def test_whether_an_interval_excludes_zero():
    assert Estimate(0.2, 0.1, 0.3).excludes_zero
    assert Estimate(-0.2, -0.3, -0.1).excludes_zero
    assert not Estimate(0.2, -0.1, 0.3).excludes_zero
    assert not Estimate(0.2).excludes_zero


def test_what_is_wrong_is_said():
    with pytest.raises(ConfigError, match="n_resamples"):
        resample(np.ones((2, 1)), np.arange(2), n_resamples=0)
    with pytest.raises(ConfigError, match="average"):
        means(np.ones((2, 1)), np.arange(2), "all")
    with pytest.raises(ConfigError, match="confidence"):
        interval(np.ones((2, 1)), 1.0)
    with pytest.raises(ShapeError, match="Q at least 1"):
        means(np.ones((0, 1)), np.arange(0), "users")
