# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from desirepath.patterns import significance


def tables(n_inside: int, n: int, n_tables: int = 300):
    """Counts of random tables of two by two with these margins."""
    rng = np.random.default_rng(n_inside)
    total = rng.integers(1, n, n_tables)
    low, high = np.maximum(0, total - (n - n_inside)), np.minimum(total, n_inside)
    return rng.integers(low, high + 1), total


@pytest.mark.parametrize(("n_inside", "n"), [(9, 30), (50, 100), (3, 400), (150, 300)])
def test_p_values_are_scipys(n_inside, n):
    inside, total = tables(n_inside, n)
    p, exact = significance.p_values(inside, n_inside, total, n)
    for a, k, found, by_fisher in zip(inside, total, p, exact, strict=True):
        table = [[a, n_inside - a], [k - a, n - n_inside - k + a]]
        expected = stats.contingency.expected_freq(table)
        assert by_fisher == (expected.min() < 5)
        wanted = stats.fisher_exact(table)[1] if by_fisher else stats.chi2_contingency(table, False)[1]
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-300)
    assert exact.any()


def test_a_pattern_that_all_hold_says_nothing():
    p, exact = significance.p_values(np.array([10]), 10, np.array([30]), 30)
    assert exact.all()
    assert p.tolist() == [1.0]
    assert significance.information_gain(np.array([10]), 10, np.array([30]), 30).tolist() == [0.0]


def test_false_discovery_is_scipys():
    p = np.random.default_rng(1).random(500) ** 3
    assert np.allclose(significance.false_discovery(p), stats.false_discovery_control(p), rtol=1e-12)
    assert len(significance.false_discovery(np.zeros(0))) == 0


def test_odds_ratio_by_hand():
    ratio, low, high = significance.odds_ratio(np.array([8]), 10, np.array([10]), 20, 0.95)
    log_ratio, half = np.log(8.5 * 8.5 / (2.5 * 2.5)), 1.959963985 * np.sqrt(2 / 8.5 + 2 / 2.5)
    assert ratio[0] == pytest.approx(np.exp(log_ratio))
    assert (low[0], high[0]) == pytest.approx((np.exp(log_ratio - half), np.exp(log_ratio + half)))


def test_information_gain_is_mutual_information():
    inside, total = tables(40, 100)
    found = significance.information_gain(inside, 40, total, 100)
    for a, k, gain in zip(inside, total, found, strict=True):
        joint = np.array([[a, 40 - a], [k - a, 60 - k + a]]) / 100
        margins = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(joint > 0, joint * np.log2(joint / margins), 0)
        assert gain == pytest.approx(terms.sum(), abs=1e-9)
    assert significance.information_gain(np.array([5]), 5, np.array([5]), 10)[0] == pytest.approx(1.0)
