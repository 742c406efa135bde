# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from desirepath.errors import ConfigError, ShapeError, TooLittleData
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.paths import (
    StepsConfig,
    compare_funnel,
    compare_steps,
    compare_transitions,
    funnel,
    select,
    step_matrix,
    transitions,
)
from desirepath.patterns.paths.shares import adjusted, difference, share_test, wilson


def two_groups(n=400, seed=0):
    """Group a goes from view to cart in half of the cases, group b in a quarter."""
    rng = np.random.default_rng(seed)
    in_a = np.arange(n) % 2 == 0
    lists = []
    for a in in_a:
        length = rng.integers(1, 7)
        lists.append(["view", *np.where(rng.random(length) < (0.5 if a else 0.25), "cart", "view").tolist()])
    return SequenceDatabase.from_lists(lists), in_a


def test_shares_agree_with_scipy():
    rng = np.random.default_rng(0)
    na, nb = rng.integers(1, 300, 200), rng.integers(1, 300, 200)
    xa, xb = rng.binomial(na, 0.2), rng.binomial(nb, 0.25)
    low, high = wilson(xa, na, 0.9)
    p = share_test(xa, na, xb, nb)
    for i in range(200):
        interval = stats.binomtest(int(xa[i]), int(na[i])).proportion_ci(0.9, "wilson")
        assert (low[i], high[i]) == pytest.approx((interval.low, interval.high))
        table = np.array([[xa[i], na[i] - xa[i]], [xb[i], nb[i] - xb[i]]])
        if 0 < xa[i] + xb[i] < na[i] + nb[i] and stats.contingency.expected_freq(table).min() >= 5:
            assert p[i] == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
        else:
            assert p[i] == pytest.approx(stats.fisher_exact(table).pvalue)


def test_difference_is_newcombes():
    """The example of Newcombe 1998, table II: 56/70 against 48/80, method 10."""
    gap, low, high = difference(56, 70, 48, 80)
    assert (round(float(gap), 4), round(float(low), 4), round(float(high), 4)) == (0.2, 0.0524, 0.3339)


def test_empty_totals_have_no_share():
    assert np.isnan(wilson(0, 0)).all()
    assert np.isnan(share_test(0, 0, 3, 5)).all()
    assert np.isnan(adjusted(np.array([np.nan]))).all()


def test_funnels_are_compared_step_by_step():
    world, in_a = two_groups()
    found = funnel(world, ["view", "cart", "cart"])
    table = compare_funnel(found, in_a)
    apart = [funnel(select(world, mask), ["view", "cart", "cart"]).to_frame() for mask in (in_a, ~in_a)]
    first = table.filter(pl.col("of") == "first")
    assert first["share_a"].to_list() == pytest.approx(apart[0]["share_of_first"].to_list()[1:])
    assert first["share_b"].to_list() == pytest.approx(apart[1]["share_of_first"].to_list()[1:])
    before = table.filter(pl.col("of") == "previous")
    assert before["share_a"].to_list() == pytest.approx(apart[0]["share_of_previous"].to_list()[1:])
    assert (table["p_adjusted"] >= table["p"]).all()
    assert table["p_adjusted"][0] < 1e-3
    assert table["low"][0] > 0
    labels = pl.Series(np.where(in_a, "buyer", "leaver"))
    assert compare_funnel(found, labels).equals(table)


def test_steps_are_compared():
    world, in_a = two_groups()
    config = StepsConfig(n_steps=3)
    table = compare_steps(world, in_a, config)
    for mask, name in ((in_a, "a"), (~in_a, "b")):
        alone = step_matrix(select(world, mask), config).select("step", "symbol", "share")
        both = table.join(alone, on=["step", "symbol"])
        assert both[f"share_{name}"].to_list() == pytest.approx(both["share"].to_list())
    strongest = table.row(0, named=True)
    assert strongest["p_adjusted"] < 1e-3
    assert strongest["step"] in (2, 3)
    other = compare_steps(world, in_a, StepsConfig(n_steps=3, top=1))
    sums = other.group_by("step").agg(pl.col("count_a").sum(), pl.col("total_a").first())
    assert sums["count_a"].to_list() == sums["total_a"].to_list()


def test_transitions_are_compared_by_sequence():
    world, in_a = two_groups()
    table = compare_transitions(world, in_a)
    for mask, name in ((in_a, "a"), (~in_a, "b")):
        alone = transitions(select(world, mask)).select("from", "to", "probability")
        both = table.join(alone, on=["from", "to"])
        assert both.height == table.height
        assert both[f"share_{name}"].to_list() == pytest.approx(both["probability"].to_list())
    assert table.row(0, named=True)["p_adjusted"] < 1e-6


def test_variance_of_a_transition_is_that_of_resampled_sequences():
    """The interval's width against 2,000 bootstrap samples of whole sequences."""
    world, in_a = two_groups(300, seed=5)
    row = compare_transitions(world, in_a).filter(pl.col("from") == "view", pl.col("to") == "cart")
    lists = [np.asarray(world.symbol_ix[a:z]) for a, z in zip(world.offsets, world.offsets[1:], strict=False)]
    view, cart = world.symbols.index("view"), world.symbols.index("cart")
    x = np.array([np.count_nonzero((one[:-1] == view) & (one[1:] == cart)) for one in lists], float)
    n = np.array([np.count_nonzero(one == view) for one in lists], float)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(2000):
        a = rng.choice(np.flatnonzero(in_a), in_a.sum())
        b = rng.choice(np.flatnonzero(~in_a), (~in_a).sum())
        draws.append(x[a].sum() / n[a].sum() - x[b].sum() / n[b].sum())
    width = (row["high"].item() - row["low"].item()) / (2 * stats.norm.ppf(0.975))
    assert width == pytest.approx(np.std(draws), rel=0.08)


def test_no_difference_gives_even_p():
    """Of equal groups a twentieth has p below 0.05, though transitions of a sequence hang together."""
    rng = np.random.default_rng(1)
    sticky = [["a" if x else "b"] * 6 + ["a", "b"] for x in rng.random(300) < 0.5]
    world = SequenceDatabase.from_lists(sticky)
    found = []
    for _ in range(150):
        groups = rng.permutation(300) < 150
        table = compare_transitions(world, groups).filter(pl.col("from") == "a", pl.col("to") == "b")
        found.append(table["p"].item())
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.11


def test_groups_are_checked():
    world, in_a = two_groups(20)
    with pytest.raises(ShapeError, match="each of 20"):
        compare_transitions(world, in_a[:3])
    with pytest.raises(ConfigError, match="have 3"):
        compare_transitions(world, pl.Series(["a", "b", "c", None] * 5))
    with pytest.raises(TooLittleData, match="all labels are True"):
        compare_transitions(world, np.ones(20, bool))
