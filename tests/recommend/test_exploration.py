"""Propensities against frequencies over many seeds, and against integrals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from desirepath.errors import ConfigError
from desirepath.recommend.exploration import epsilon, thompson
from desirepath.recommend.scenario import ExplorationConfig


def frequencies(draw, n_outcomes, n_slots, n_seeds):
    """(S, outcomes + 1) share of seeds in which each item stood in each place, the list's own last."""
    found = np.zeros((n_slots, n_outcomes + 1))
    told = np.full((n_slots, n_outcomes + 1), np.nan)
    for seed in range(n_seeds):
        drawn = draw(seed)
        found[np.arange(n_slots), drawn.item] += 1
        told[np.arange(n_slots), drawn.item] = drawn.propensity
    return found / n_seeds, told


@pytest.mark.parametrize(("n_slots", "n_pool", "share"), [(3, 5, 0.3), (4, 2, 0.9), (2, 2, 1.0), (3, 0, 0.5)])
def test_epsilon_tells_how_often(n_slots, n_pool, share):
    n_seeds = 6000
    found, told = frequencies(lambda seed: epsilon(n_slots, n_pool, share, seed), n_pool, n_slots, n_seeds)
    seen = ~np.isnan(told)
    # Every outcome of more than a per mille was seen, and each as often as told, within five deviations.
    assert seen[found > 0].all()
    slack = 5 * np.sqrt(0.25 / n_seeds)
    np.testing.assert_allclose(found[seen], told[seen], atol=slack)
    whole = np.where(seen, told, 0).sum(axis=1)
    np.testing.assert_allclose(whole, 1.0, atol=1e-12)


def test_epsilon_never_repeats_an_item():
    for seed in range(300):
        drawn = epsilon(6, 7, 0.8, seed).item
        shown = drawn[drawn >= 0]
        assert len(set(shown.tolist())) == len(shown)


def test_no_share_changes_nothing():
    drawn = epsilon(4, 9, 0.0, 5)
    assert drawn.item.tolist() == [-1] * 4
    assert drawn.propensity.tolist() == [1.0] * 4


CLICKS = np.array([30.0, 5.0, 0.0, 12.0])
SHOWN = np.array([100.0, 40.0, 0.0, 60.0])


def beliefs(config):
    usual = (CLICKS.sum() + 1) / (SHOWN.sum() + 20)
    n = config.prior_impressions
    return [stats.beta(c + usual * n, s - c + (1 - usual) * n) for c, s in zip(CLICKS, SHOWN, strict=True)]


def first_places(config):
    """P(item i has the highest rate) = integral of f_i times the other items' F."""
    found = beliefs(config)
    return [
        integrate.quad(
            lambda x, i=i: found[i].pdf(x) * np.prod([found[j].cdf(x) for j in range(4) if j != i]), 0, 1
        )[0]
        for i in range(4)
    ]


def test_thompson_in_one_place_is_the_integral():
    """The share of lists, and the mean of what is told, are the probability to be the best."""
    config = ExplorationConfig(method="thompson", draws=400)
    exact = first_places(config)
    n_seeds = 1500
    shown = np.zeros(4)
    told: dict[int, list[float]] = {i: [] for i in range(4)}
    for seed in range(n_seeds):
        drawn = thompson(1, CLICKS, SHOWN, config, seed)
        item = max(int(drawn.item[0]), 0)  # the list's own is the first of the pool
        shown[item] += 1
        told[item].append(float(drawn.propensity[0]))
    np.testing.assert_allclose(shown / n_seeds, exact, atol=5 * np.sqrt(0.25 / n_seeds))
    for item, values in told.items():
        if len(values) > 30:
            # The list's own draw is among those counted, which adds (1 - p) / (draws + 1).
            bias = (1 - exact[item]) / 401
            assert np.mean(values) == pytest.approx(exact[item] + bias, abs=0.01)
            assert min(values) >= 1 / 401


def test_thompson_in_several_places_tells_how_often():
    config = ExplorationConfig(method="thompson", draws=20_000)
    n_seeds = 2000
    few = ExplorationConfig(method="thompson", draws=16)
    found = np.zeros((2, 4))
    for seed in range(n_seeds):
        item = thompson(2, CLICKS, SHOWN, few, seed).item
        found[np.arange(2), np.where(item < 0, np.arange(2), item)] += 1
    found /= n_seeds
    told = np.zeros((2, 4))
    for seed in range(60):
        drawn = thompson(2, CLICKS, SHOWN, config, seed)
        item = np.where(drawn.item < 0, np.arange(2), drawn.item)
        assert item[0] != item[1]
        told[np.arange(2), item] = drawn.propensity
    seen = told > 0
    np.testing.assert_allclose(told[seen], found[seen], atol=5 * np.sqrt(0.25 / n_seeds) + 0.02)


def test_the_seed_decides_alone():
    config = ExplorationConfig(method="thompson")
    for draw in (lambda s: epsilon(5, 8, 0.5, s), lambda s: thompson(2, CLICKS, SHOWN, config, s)):
        first, again = draw(11), draw(11)
        assert first.item.tolist() == again.item.tolist()
        assert first.propensity.tolist() == again.propensity.tolist()
        assert len({tuple(draw(s).item.tolist()) for s in range(40)}) > 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": 1.5},
        {"draws": 3},
        {"slots": (1, 1)},
        {"slots": (0,)},
        {"pool": 1000, "draws": 2000},
        {"prior_impressions": 0.0},
    ],
)
def test_ranges(wrong):
    with pytest.raises(ConfigError):
        ExplorationConfig(**wrong)
