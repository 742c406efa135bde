# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from contracts import CONTRACTS, follows_cycle, knows_tribe
from desirepath.errors import ConfigError
from desirepath.models import BASELINES
from desirepath.models.markov import ActionMarkov, ActionMarkovConfig, Markov, MarkovConfig
from desirepath.models.popularity import (
    DecayedPopularity,
    Popularity,
    PopularityConfig,
    RecentPopularity,
)
from desirepath.models.repeat import RepeatConfig, RepeatLast
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences
from worlds import DAY_S, cycle, drift, packed, two_tribes


@pytest.mark.parametrize("row", BASELINES)
@pytest.mark.parametrize("check", CONTRACTS)
def test_contract(check, row):
    check(BASELINES[row])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Popularity(PopularityConfig(half_life_days=3, window_days=30)),
        lambda: RepeatLast(RepeatConfig(half_life_events=3)),
    ],
)
@pytest.mark.parametrize("check", CONTRACTS)
def test_contract_of_options(check, make):
    check(make)


def test_registry_names_models():
    assert [make().name for make in BASELINES.values()] == list(BASELINES)


def test_import_is_light():
    code = (
        "import sys, desirepath.models; sys.exit(bool({'torch', 'implicit', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_options_are_checked():
    for wrong in (
        lambda: PopularityConfig(half_life_days=0),
        lambda: PopularityConfig(window_days=-1),
        lambda: RepeatConfig(half_life_events=0),
        lambda: MarkovConfig(back_off=0),
        lambda: ActionMarkovConfig(order=3),
        lambda: ActionMarkovConfig(back_off=0),
    ):
        with pytest.raises(ConfigError, match="must be"):
            wrong()


# Popularity, against a polars group-by of the same events.


@pytest.mark.parametrize("make", [Popularity, DecayedPopularity, RecentPopularity])
def test_popularity_counts(make):
    world = drift()
    age_days = (pl.col("time").max() - pl.col("time")).dt.total_microseconds() / (DAY_S * 1e6)
    weight = {
        "popularity": pl.lit(1.0),
        "popularity-decayed": 0.5 ** (age_days / 7),
        "popularity-7d": (age_days < 7).cast(pl.Float64),
    }[make.name]
    table = world.to_frame().with_columns(weight=weight).group_by("item_id").agg(pl.col("weight").sum())
    share = np.full(len(world.items), 1.0)
    share[world.items.encode(table["item_id"])] += table["weight"].to_numpy()
    share = share[FIRST:] / share[FIRST:].sum()
    scores = make().fit(world).scores(Queries.latest(world, np.arange(2)))
    np.testing.assert_allclose(np.exp(scores[:, FIRST:]), [share, share], rtol=1e-5)


def test_recent_popularity_sees_fashion():
    world = drift()
    one = Queries.latest(world, np.array([0]))
    half = FIRST + world.n_items // 2
    assert Popularity().fit(world).scores(one).argmax() < half
    assert DecayedPopularity().fit(world).scores(one).argmax() >= half
    assert RecentPopularity().fit(world).scores(one).argmax() >= half


# Repeat-last, by hand.


def ranked(model, history, train):
    order = np.argsort(-model.scores(Queries.from_items([history], train.items))[0], kind="stable")
    return train.items.decode(order[: train.n_items]).to_list()


def test_repeat_is_latest_first_then_popular():
    train = Sequences.from_lists([["a", "b", "c", "d", "d", "e", "e", "e"]])
    model = RepeatLast().fit(train)
    assert ranked(model, ["a", "b", "a", "c"], train) == ["c", "a", "b", "e", "d"]
    assert ranked(model, [], train) == ["e", "d", "a", "b", "c"]
    # Three visits to "a" outrank one later visit to "b" once every occurrence counts.
    habit = RepeatLast(RepeatConfig(half_life_events=4)).fit(train)
    assert ranked(habit, ["a", "a", "a", "b"], train)[:2] == ["a", "b"]
    assert ranked(model, ["a", "a", "a", "b"], train)[:2] == ["b", "a"]


def test_repeat_stays_above_the_unseen_in_long_histories():
    train = packed(np.arange(5)[None, :], 5)
    history = ["1"] + ["0"] * 200_000
    for config in (RepeatConfig(), RepeatConfig(half_life_events=2.0)):
        order = ranked(RepeatLast(config).fit(train), history, train)
        assert order[:2] == ["0", "1"]


# Markov, against counts made by hand.


def test_markov_is_its_formula():
    train = Sequences.from_lists([["a", "b", "a", "c"], ["b", "a", "b"], ["c"]])
    config = MarkovConfig(back_off=2.0, smoothing=0.5)
    scores = Markov(config).fit(train).scores(Queries.from_items([["a"], ["b"], ["c"], []], train.items))
    # Events: a 3, b 3, c 2. Transitions: a-b 2, a-c 1, b-a 2; none from c.
    prior = np.array([3.5, 3.5, 2.5]) / 9.5
    rows = np.array([[0, 2, 1], [2, 0, 0], [0, 0, 0], [0, 0, 0]])
    wanted = (rows + 2 * prior) / (rows.sum(axis=1, keepdims=True) + 2)
    np.testing.assert_allclose(np.exp(scores[:, FIRST:]), wanted, rtol=1e-5)


def test_markov_does_not_cross_users():
    train = Sequences.from_lists([["a", "b"], ["c", "d"]])
    scores = Markov().fit(train).scores(Queries.from_items([["b"]], train.items))[0, FIRST:]
    assert np.ptp(scores) < 1e-6  # nothing was seen after "b", so all equally popular items tie


def test_markov_rows_sum_to_one():
    world = cycle()
    scores = Markov().fit(world).scores(Queries.latest(world, np.arange(world.n_users)))
    np.testing.assert_allclose(np.exp(scores.astype(np.float64)).sum(axis=1), 1.0, rtol=1e-5)


def test_markov_follows_cycle():
    follows_cycle(Markov, at_least=1.0)


# Actions.


def actions_world() -> Sequences:
    # 0 view, 1 cart, 2 buy: after two views comes a cart, after view + cart a buy, then again.
    action_NL = np.tile([0, 0, 1, 2], (30, 3))
    return packed(np.zeros_like(action_NL), 1, action_NL=action_NL, actions=("view", "cart", "buy"))


def test_actions_need_two_steps():
    world = actions_world()
    start = np.repeat(world.offsets[:-1][:1], 5)
    queries = Queries(
        sequences=world,
        user_ix=np.zeros(5, np.int64),
        start=start,
        stop=start + np.arange(5),
        now_s=np.zeros(5),
        target_offsets=np.zeros(6, np.int64),
        target_item_ix=np.zeros(0, np.int32),
    )
    two = ActionMarkov().fit(world).probabilities(queries)
    np.testing.assert_allclose(two.sum(axis=1), 1.0, rtol=1e-6)
    assert np.all(two[:, :FIRST] == 0)
    assert (two.argmax(axis=1) - FIRST).tolist() == [0, 0, 1, 2, 0]
    one = ActionMarkov(ActionMarkovConfig(order=1)).fit(world).probabilities(queries)
    # A view is followed by a view as often as by a cart; only the step before tells which.
    assert abs(one[2, FIRST] - one[2, FIRST + 1]) < 0.03
    assert two[2, FIRST + 1] > 0.85


def test_actions_are_their_formula():
    train = actions_world()
    queries = Queries.latest(train, np.array([0]))
    action = train.action_ix.reshape(30, 12) - FIRST
    share = (np.bincount(action.ravel(), minlength=3) + 1.0) / (action.size + 3.0)

    def blend(contexts, shorter):
        after = np.bincount(action[:, 1:][contexts], minlength=3)
        return (after + 10 * shorter) / (after.sum() + 10)

    last = action[:, :-1] == 2
    two = last.copy()
    two[:, 1:] &= action[:, :-2] == 1
    two[:, 0] = False
    wanted = blend(two, blend(last, share))
    np.testing.assert_allclose(ActionMarkov().fit(train).probabilities(queries)[0, FIRST:], wanted, rtol=1e-6)


def test_actions_restore():
    world = actions_world()
    queries = Queries.latest(world, np.arange(3))
    model = ActionMarkov().fit(world)
    again = ActionMarkov().restore(model.state())
    np.testing.assert_array_equal(again.probabilities(queries), model.probabilities(queries))


def test_tribes_and_cycle_tell_models_apart():
    """The checks can fail: popularity knows neither order nor tribe."""
    with pytest.raises(AssertionError):
        follows_cycle(Popularity)
    with pytest.raises(AssertionError):
        knows_tribe(Popularity)
    assert two_tribes().n_items == 20
