# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.evaluation.calibration import brier, ece, log_loss, reliability


def test_worked_by_hand():
    chance, happened = np.array([0.1, 0.1, 0.3, 0.9, 1.0]), np.array([0, 1, 0, 1, 1])
    assert brier(chance, happened) == pytest.approx((0.01 + 0.81 + 0.09 + 0.01 + 0) / 5)
    table = reliability(chance, happened, n_bins=4)
    assert table["low"].to_list() == [0.0, 0.25, 0.75]
    assert table["n"].to_list() == [2, 1, 2]
    assert table["stated"].to_list() == pytest.approx([0.1, 0.3, 0.95])
    assert table["observed"].to_list() == [0.5, 0.0, 1.0]
    assert ece(chance, happened, n_bins=4) == pytest.approx((2 * 0.4 + 1 * 0.3 + 2 * 0.05) / 5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["width", "count"]))
def test_agreement_with_scikit_learn(seed, bins):
    rng = np.random.default_rng(seed)
    chance = rng.random(300)
    happened = rng.random(300) < chance
    assert brier(chance, happened) == pytest.approx(brier_score_loss(happened, chance))
    assert log_loss(chance, happened) == pytest.approx(sklearn_log_loss(happened, chance))
    strategy = {"width": "uniform", "count": "quantile"}[bins]
    observed, stated = calibration_curve(happened, chance, n_bins=10, strategy=strategy)
    table = reliability(chance, happened, 10, bins)
    assert table["stated"].to_list() == pytest.approx(stated.tolist())
    assert table["observed"].to_list() == pytest.approx(observed.tolist())


def test_true_chances_are_calibrated_and_boasting_is_not():
    rng = np.random.default_rng(1)
    chance = rng.random(100_000)
    happened = rng.random(100_000) < chance
    assert ece(chance, happened) < 0.01
    assert ece(np.sqrt(chance), happened) > 0.1
    assert ece(np.sqrt(chance), happened, bins="count") > 0.1


def test_equal_probabilities_fill_one_bin():
    table = reliability(np.full(10, 0.2), np.arange(10) < 4, bins="count")
    assert (table["n"].to_list(), table["observed"].to_list()) == ([10], [0.4])
    assert reliability(np.array([0.0, 1.0]), np.array([0, 1]), 1)["n"].to_list() == [2]


@pytest.mark.parametrize(
    ("chance", "happened", "error", "words"),
    [
        ([0.5], [0, 1], ShapeError, "one probability an outcome"),
        ([], [], ShapeError, "at least one"),
        ([0.5, 1.2], [0, 1], DataError, "number 1 of 1 is 1.2"),
        ([0.5, np.nan], [0, 1], DataError, "must lie in"),
        ([0.5], [3], DataError, "0 or 1"),
    ],
)
def test_what_is_wrong_is_said(chance, happened, error, words):
    with pytest.raises(error, match=words):
        brier(np.array(chance), np.array(happened))


def test_wrong_bins():
    with pytest.raises(ConfigError, match="n_bins"):
        reliability(np.array([0.5]), np.array([1]), 0)
    with pytest.raises(ConfigError, match="'width' or 'count'"):
        ece(np.array([0.5]), np.array([1]), bins="quantile")
