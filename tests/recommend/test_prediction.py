# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError, NotFittedError, WorkspaceError
from desirepath.evaluation.calibration import ece
from desirepath.models.timing import TimingConfig
from desirepath.recommend.prediction import HEADER, Prediction, Predictor, PredictorConfig, mended
from desirepath.schema import FIRST, REQUIRED
from desirepath.sequences import Queries, Sequences, Vocabulary
from desirepath.sequences.build import pack_events
from desirepath.sequences.splits import Split, split_leave_one_out, split_temporal
from desirepath.simulate import MarketplaceConfig, demo, simulate, tiny
from worlds import packed

ACTIONS = ("view", "cart", "buy")


def shoppers(n_users: int, seed: int, turn: float = 0.8, length: int = 30) -> Sequences:
    """view, cart and buy follow one another round a ring with a chance of `turn`, otherwise any comes."""
    rng = np.random.default_rng(seed)
    action = rng.integers(3, size=(n_users, length))
    on = rng.random((n_users, length)) < turn
    for step in range(1, length):
        action[:, step] = np.where(on[:, step], (action[:, step - 1] + 1) % 3, action[:, step])
    time = np.cumsum(rng.exponential(3600.0, (n_users, length)), axis=1)
    return packed(rng.integers(5, size=(n_users, length)), 5, time_NL=time, action_NL=action, actions=ACTIONS)


def every(world: Sequences, skip: int = 0) -> Queries:
    """A query for each event after the first `skip` of its user, with its action."""
    row = np.flatnonzero(np.arange(world.n_events) - np.repeat(world.offsets[:-1], world.lengths) >= skip)
    user = np.searchsorted(world.offsets, row, side="right") - 1
    return Queries(
        sequences=world,
        user_ix=user,
        start=np.asarray(world.offsets[user]),
        stop=row,
        now_s=np.asarray(world.time_s)[row],
        target_offsets=np.arange(len(row) + 1),
        target_item_ix=np.asarray(world.item_ix)[row],
        target_action_ix=np.asarray(world.action_ix)[row],
    )


def loss(predictor: Predictor, queries: Queries) -> float:
    said = predictor.predict(queries).probability_QA
    return float(-np.log(said[np.arange(len(queries)), queries.target_action_ix - FIRST]).mean())


def same(one: Prediction, other: Prediction, **close) -> None:
    for name in ("probability_QA", "median_s", "low_s", "high_s", "within_QH"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), err_msg=name, **close)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor().fit(shoppers(300, seed=0))


def test_the_planted_chances_come_back(predictor):
    queries = every(shoppers(200, seed=1), skip=3)
    said = predictor.predict(queries).probability_QA
    np.testing.assert_allclose(said.sum(axis=1), 1.0)
    last = queries.sequences.action_ix[queries.stop - 1] - FIRST
    follows = said[np.arange(len(said)), (last + 1) % 3]
    assert follows == pytest.approx(0.8 + 0.2 / 3, abs=0.06)
    came = queries.target_action_ix - FIRST
    assert ece(said.max(axis=1), said.argmax(axis=1) == came) < 0.02


def test_tables(predictor):
    world = shoppers(3, seed=2)
    queries = Queries.latest(world, np.arange(3))
    nobody = replace(queries, start=queries.stop)
    prediction = predictor.predict(queries)
    table = prediction.next_actions()
    assert table.columns == ["query", "action", "probability"]
    best = table.group_by("query", maintain_order=True).first()
    last = world.action_ix[world.offsets[1:] - 1] - FIRST
    assert best["action"].to_list() == [ACTIONS[(a + 1) % 3] for a in last]
    times = prediction.times()
    assert (times["low_s"] < times["median_s"]).all()
    assert (times["median_s"] < times["high_s"]).all()
    assert (times["within_1h"] < times["within_1d"]).all()
    assert (times["within_1d"] <= times["within_7d"]).all()
    unknown = predictor.predict(nobody).times()
    assert unknown.drop("query").null_count().row(0) == (3,) * 6
    assert predictor.predict(nobody).next_actions()["probability"].sum() == pytest.approx(3.0)


def test_waiting_changes_the_answer(predictor):
    """An hour a gap: after three days of silence the next event no longer comes within the hour."""
    queries = Queries.latest(shoppers(20, seed=3), np.arange(20))
    soon = predictor.predict(queries).within_QH
    late = predictor.predict(queries, queries.now_s + 3 * 86_400.0).within_QH
    assert (soon[:, 0] > 0.4).all()
    assert (late[:, 0] < soon[:, 0]).all()


def test_mending_where_it_helps():
    """Validation lives in a world with another order: what is mended is better there, on other users too."""
    train, other = shoppers(300, seed=0), shoppers(150, seed=4, turn=0.2)
    plain = Predictor().fit(train)
    helped = Predictor().fit(train, every(other))
    assert (helped.figures["kept"], helped.slope < 0.6) == (1.0, True)
    assert helped.figures["log_loss_mended"] < helped.figures["log_loss"]
    test = every(shoppers(150, seed=5, turn=0.2))
    assert loss(helped, test) < loss(plain, test) - 0.05
    truth = every(shoppers(150, seed=6, turn=0.2), skip=3)
    said = helped.predict(truth).probability_QA
    assert ece(said.max(axis=1), said.argmax(axis=1) == truth.target_action_ix - FIRST) < 0.03
    before = plain.predict(truth).probability_QA
    assert ece(before.max(axis=1), before.argmax(axis=1) == truth.target_action_ix - FIRST) > 0.2


def test_no_mending_where_it_does_not():
    found = Predictor().fit(shoppers(300, seed=0), every(shoppers(100, seed=7)))
    assert (found.figures["kept"], found.slope) == (0.0, 1.0)
    assert not found.bias_A.any()
    few = Predictor().fit(shoppers(300, seed=0), every(shoppers(2, seed=8)))
    assert few.figures == {}


def test_held_out_users_are_asked_all_along():
    """Last events before a cut are unlike others: every event of the users held out counts, none later."""
    world = shoppers(200, seed=9)
    split = split_temporal(world, quantile=0.7, validation_size=60)
    found = Predictor().fit(split.train, split.validation)
    asked = split.validation
    assert found.figures["n_events"] == (asked.stop + 1 - asked.start).sum()
    # What comes after the rows asked for is poison.
    time, action = np.array(world.time_s), np.array(world.action_ix)
    for user, stop in zip(asked.user_ix, asked.stop, strict=True):
        time[stop + 1 : world.offsets[user + 1]] = np.nan
        action[stop + 1 : world.offsets[user + 1]] = FIRST
    poisoned = replace(asked, sequences=replace(world, time_s=time, action_ix=action))
    again = Predictor().fit(split.train, poisoned)
    assert again.figures == found.figures
    same(found.predict(split.test), again.predict(split.test))


def test_leave_one_out_does_not_read_silence():
    """Each user's next event was held back, so that the time after his last one tells nothing."""
    world = shoppers(200, seed=10)
    split = split_leave_one_out(world)
    honest = Predictor().fit(split.train, split.validation)
    fooled = Predictor().fit(split.train)
    assert (
        honest.predict(split.test).within_QH[:, 1].mean() > fooled.predict(split.test).within_QH[:, 1].mean()
    )


def test_folder_round_trip(tmp_path):
    world = shoppers(300, seed=0)
    fitted = Predictor(timing=TimingConfig(max_gaps=7)).fit(world, every(shoppers(150, seed=4, turn=0.2)))
    fitted.save(tmp_path / "p")
    again = Predictor.load(tmp_path / "p")
    queries = Queries.latest(world, np.arange(40))
    same(fitted.predict(queries), again.predict(queries), rtol=0)
    assert (again.figures, again.timing.config, again.slope) == (
        fitted.figures,
        fitted.timing.config,
        fitted.slope,
    )
    assert again.predict(queries).next_actions().equals(fitted.predict(queries).next_actions())
    header = tmp_path / "p" / HEADER
    header.write_text(json.dumps(json.loads(header.read_text()) | {"format": 99}))
    with pytest.raises(WorkspaceError, match="Upgrade"):
        Predictor.load(tmp_path / "p")
    header.unlink()
    with pytest.raises(WorkspaceError, match="no predictor"):
        Predictor.load(tmp_path / "p")


def test_other_numbers_for_the_same_actions(predictor):
    """A live log appends actions, another log numbers them anew; neither changes what is said."""
    world = shoppers(30, seed=11)
    queries = Queries.latest(world, np.arange(30))
    said = predictor.predict(queries)
    longer = replace(world, actions=Vocabulary([*ACTIONS, "return"]))
    same(said, predictor.predict(replace(queries, sequences=longer)), rtol=0)
    turned = replace(
        world,
        actions=Vocabulary(["gift", "buy", "cart", "view"]),
        action_ix=np.array([0, 1, 5, 4, 3], np.int16)[world.action_ix],
    )
    same(said, predictor.predict(replace(queries, sequences=turned)), rtol=1e-9)
    same(said, predictor.predict(queries), rtol=0)


def test_refit_keeps_the_mending():
    found = Predictor().fit(shoppers(300, seed=0), every(shoppers(150, seed=4, turn=0.2)))
    slope = found.slope
    found.refit(shoppers(100, seed=12))
    assert found.slope == slope
    wider = replace(shoppers(100, seed=12), actions=Vocabulary([*ACTIONS, "return"]))
    assert found.refit(wider).predict(Queries.latest(wider, np.arange(3))).probability_QA.shape == (3, 4)


def test_mended_is_a_softmax():
    chance = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    theta = np.array([0.7, 0.1, -0.3, 0.5, 0.0])
    odds = chance**0.7 * np.exp(theta[1:])
    np.testing.assert_allclose(mended(chance, theta), odds / odds.sum(axis=1, keepdims=True))


def test_what_it_refuses():
    with pytest.raises(NotFittedError):
        Predictor().predict(Queries.latest(shoppers(2, seed=0), np.array([0])))
    with pytest.raises(NotFittedError):
        Predictor().save(None)  # type: ignore[arg-type]
    for wrong in ({"ridge": 0.0}, {"min_queries": 1}, {"n_folds": 1}):
        with pytest.raises(ConfigError):
            PredictorConfig(**wrong)


def shop(config: MarketplaceConfig) -> Split:
    log = simulate(config).events.select(list(REQUIRED)).drop_nulls()
    return split_temporal(pack_events(log.filter(pl.col("time").dt.year() == 2025)))


@pytest.mark.parametrize(
    ("make", "most"), [(tiny, 0.05), pytest.param(demo, 0.02, marks=pytest.mark.slow)], ids=["tiny", "demo"]
)
def test_a_simulated_shop(make, most):
    """Next actions of a shop after a cut in time: believable, and better than their shares."""
    split = shop(make())
    found = Predictor().fit(split.train, split.validation)
    came = split.test.target_action_ix - FIRST
    said = found.predict(split.test).probability_QA
    assert ece(said.max(axis=1), said.argmax(axis=1) == came) < most
    for action in range(said.shape[1]):
        assert ece(said[:, action], came == action) < most
    share = np.bincount(split.train.action_ix, minlength=said.shape[1] + FIRST)[FIRST:] / split.train.n_events
    assert loss(found, split.test) < -np.log(share[came]).mean() - 0.05
    assert found.predict(split.test[:0]).times().is_empty()
