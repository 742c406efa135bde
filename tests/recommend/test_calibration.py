# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.evaluation.calibration import ece
from desirepath.models import BASELINES
from desirepath.models.markov import Markov
from desirepath.models.popularity import Popularity
from desirepath.recommend import Calibration, CalibrationConfig, make_lists
from desirepath.recommend.calibration import seen_items, staircase
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.splits import split_leave_one_out
from worlds import leave_last, packed

STEP = 0.7


def noisy_cycle(n_users: int, seed: int, n_items: int = 12, length: int = 20) -> Sequences:
    """The next item is the last + 1 with a chance of 0.7, and otherwise any: 0.725 in all for the first."""
    rng = np.random.default_rng(seed)
    stray = rng.integers(n_items, size=(n_users, length))
    on_track = rng.random((n_users, length)) < STEP
    item = np.empty((n_users, length), dtype=np.int64)
    item[:, 0] = stray[:, 0]
    for step in range(1, length):
        item[:, step] = np.where(on_track[:, step], (item[:, step - 1] + 1) % n_items, stray[:, step])
    return packed(item, n_items)


class Scaled:
    """A model whose scores were multiplied, and moved: the same order, another language."""

    name = "scaled"

    def __init__(self, model, factor, shift=0.0):
        self.model, self.factor, self.shift = model, factor, shift

    def scores(self, queries):
        return self.model.scores(queries) * np.float32(self.factor) + np.float32(self.shift)


@pytest.fixture(scope="module")
def markov():
    return Markov().fit(noisy_cycle(400, seed=0))


@pytest.fixture(scope="module")
def validation():
    return leave_last(noisy_cycle(1500, seed=1))[1]


@pytest.fixture(scope="module")
def test_queries():
    return leave_last(noisy_cycle(3000, seed=2))[1]


def believed(model, calibration, queries, k=5, mask_seen=False):
    """Probability and outcome of each listed item, (Q, K)."""
    lists = make_lists(model, queries, k, calibration=calibration, mask_seen=mask_seen)
    return lists.probability, lists.item_ix == queries.single_target[:, None]


@pytest.mark.parametrize("factor", [1.0, 1000.0, 0.001])
def test_probabilities_are_true(markov, validation, test_queries, factor):
    """The planted chance comes back on other users, whatever the scale of the scores."""
    model = Scaled(markov, factor, shift=5 * factor)
    calibration = Calibration.fit(model, validation)
    probability, came = believed(model, calibration, test_queries)
    assert probability[:, 0].mean() == pytest.approx(STEP + (1 - STEP) / 12, abs=0.03)
    assert probability[:, 1:].mean() == pytest.approx((1 - STEP) / 12, abs=0.01)
    assert ece(probability.ravel(), came.ravel()) < 0.015


def test_popularity_is_calibrated_too(validation, test_queries):
    """No model of steps, so nothing is likelier than about 1 in 12; overstated scores are seen through."""
    model = Scaled(Popularity().fit(noisy_cycle(400, seed=0)), 100.0)
    probability, came = believed(model, Calibration.fit(model, validation), test_queries)
    assert probability.max() < 0.2
    assert ece(probability.ravel(), came.ravel()) < 0.02


def test_logit_is_the_maximum_likelihood(markov, validation):
    """Against scipy's optimiser on the likelihood written out with whole matrices."""
    queries = validation[:200]
    scores = markov.scores(queries)[:, FIRST:].astype(np.float64)
    seen = (queries.history_matrix().toarray() > 0)[:, FIRST:].astype(np.float64)
    target = queries.single_target - FIRST
    rows, own = np.arange(len(queries)), scores.std(axis=1, keepdims=True)
    typical = np.median(own)

    def loss(theta):
        logit = (theta[0] / typical + theta[1] / own) * scores + theta[2] * seen
        top = logit.max(axis=1)
        partition = top + np.log(np.exp(logit - top[:, None]).sum(axis=1))
        return (partition - logit[rows, target]).sum() + 0.005 * (theta**2).sum()

    best = minimize(loss, np.ones(3), method="BFGS", tol=1e-9).x
    calibration = Calibration.fit(markov, queries)
    found = [calibration.sharpness * typical, calibration.relative, calibration.returning]
    np.testing.assert_allclose(found, best, rtol=5e-3, atol=1e-3)


def test_partition_is_the_whole_sum(markov, validation):
    queries = validation[:7]
    calibration = Calibration(
        sharpness=0.8, relative=0.3, returning=-0.5, knot=(), probability=(), n_queries=0
    )
    scores = markov.scores(queries)
    item_BK = np.broadcast_to(np.arange(FIRST, scores.shape[1], dtype=np.int32), (7, scores.shape[1] - FIRST))
    seen = seen_items(item_BK, queries)
    np.testing.assert_array_equal(seen, queries.history_matrix().toarray()[:, FIRST:] > 0)
    real = scores[:, FIRST:]
    stated = calibration.probabilities(real, seen, calibration.partition(scores, queries))
    np.testing.assert_allclose(stated.sum(axis=1), 1.0, rtol=1e-5)
    odds = np.exp((0.8 + 0.3 / real.std(axis=1, keepdims=True)) * real - 0.5 * seen)
    np.testing.assert_allclose(stated, odds / odds.sum(axis=1, keepdims=True), rtol=1e-4)


def test_items_that_cannot_come(markov, validation):
    """A score of -inf takes no part; equal scores share alike; a row without any item stays silent."""
    queries = validation[:2]
    scores = np.full((2, 14), -np.inf, dtype=np.float32)
    scores[0, [3, 5]] = 1.0
    calibration = Calibration(
        sharpness=2.0, relative=1.0, returning=0.0, knot=(), probability=(), n_queries=0
    )
    stated = calibration.probabilities(scores, scores > 0, calibration.partition(scores, queries))
    np.testing.assert_allclose(stated[0, [3, 5]], 0.5)
    assert stated.sum() == pytest.approx(1.0)


def test_nothing_returns():
    """Where nobody takes an item twice, seen items get no probability, and unseen ones what they should."""
    rng = np.random.default_rng(0)
    order = np.stack([rng.permutation(10) for _ in range(3000)])[:, :8]
    world = packed(order, 10)
    queries = leave_last(world)[1]
    model = Popularity().fit(world)
    calibration = Calibration.fit(model, queries[:1500])
    assert calibration.returning < -5
    probability, came = believed(model, calibration, queries[1500:], k=10)
    seen = seen_items(make_lists(model, queries[1500:], 10).item_ix, queries[1500:])
    assert probability[seen].max() < 0.01
    # Three items are left for each: a third each, though the list shows all ten.
    assert probability[~seen].mean() == pytest.approx(1 / 3, abs=0.02)
    assert ece(probability.ravel(), came.ravel()) < 0.02


def test_only_returns():
    """Where people only come back, what they know takes all of the probability, whatever the model."""
    rng = np.random.default_rng(0)
    own = np.stack([rng.permutation(20)[:2] for _ in range(1500)])
    world = packed(np.take_along_axis(own, rng.integers(2, size=(1500, 12)), axis=1), 20)
    queries = leave_last(world)[1]
    model = Popularity().fit(world)
    calibration = Calibration.fit(model, queries[:700])
    assert calibration.returning > 3
    probability, came = believed(model, calibration, queries[700:], k=20)
    assert ece(probability.ravel(), came.ravel()) < 0.02
    assert probability.max() > 0.4


def test_unknown_targets_lower_everything(markov, validation):
    """If half of what comes is new to the vocabulary, probabilities halve."""
    target = validation.target_item_ix.copy()
    target[::2] = 1
    half = Queries(
        sequences=validation.sequences,
        user_ix=validation.user_ix,
        start=validation.start,
        stop=validation.stop,
        now_s=validation.now_s,
        target_offsets=validation.target_offsets,
        target_item_ix=target,
    )
    whole, _ = believed(markov, Calibration.fit(markov, validation), validation, k=1)
    halved, _ = believed(markov, Calibration.fit(markov, half), validation, k=1)
    assert halved.mean() == pytest.approx(whole.mean() / 2, rel=0.1)


def test_several_targets(markov):
    """With the next two as targets, P is that of being among them."""
    world = noisy_cycle(1500, seed=3)
    stop = world.offsets[1:] - 2
    queries = Queries(
        sequences=world,
        user_ix=np.arange(1500),
        start=world.offsets[:-1],
        stop=stop,
        now_s=world.time_s[stop],
        target_offsets=np.arange(1501) * 2,
        target_item_ix=np.stack([world.item_ix[stop], world.item_ix[stop + 1]], axis=1).ravel(),
    )
    calibration = Calibration.fit(markov, queries[:700])
    lists = make_lists(markov, queries[700:], 5, calibration=calibration)
    targets = queries[700:].target_item_ix.reshape(-1, 2)
    came = (lists.item_ix[:, :, None] == targets[:, None, :]).any(axis=2)
    assert ece(lists.probability.ravel(), came.ravel()) < 0.03


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, 0.9]), st.booleans()), min_size=1))
def test_staircase_is_sklearns(pairs):
    stated = np.array([p for p, _ in pairs])
    came = np.array([c for _, c in pairs])
    corner, level = staircase(stated, came, 0.0)
    peer = IsotonicRegression(out_of_bounds="clip").fit(stated, came.astype(float))
    np.testing.assert_allclose(np.interp(stated, corner, level), peer.predict(stated), atol=1e-9)
    assert np.all(np.diff(corner) > 0)
    assert np.all(np.diff(level) >= 0)
    # Pseudo-pairs keep every level away from certainty, and in order.
    _, careful = staircase(stated, came, 10.0)
    assert np.all(np.diff(careful) >= 0)
    assert careful.min() > 0
    assert careful.max() < 1


def test_mended_ends():
    calibration = Calibration(
        sharpness=1.0, relative=0.0, returning=0.0, knot=(0.2, 0.4), probability=(0.1, 0.3), n_queries=1
    )
    np.testing.assert_allclose(
        calibration.mended(np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.9])), [0, 0.05, 0.1, 0.2, 0.3, 0.3]
    )


def test_saves_to_the_last_bit(markov, validation, tmp_path):
    calibration = Calibration.fit(markov, validation)
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    assert [file.name for file in tmp_path.iterdir()] == ["calibration.json"]


def test_bad_files(tmp_path):
    path = tmp_path / "calibration.json"
    with pytest.raises(DataError, match="holds no calibration"):
        Calibration.load(path)
    for text in ("{", "{}", "[]", '{"format": 1, "sharpness": "x"}'):
        path.write_text(text)
        with pytest.raises(DataError, match="holds no calibration"):
            Calibration.load(path)
    path.write_text(json.dumps({"format": 2}))
    with pytest.raises(DataError, match="Upgrade"):
        Calibration.load(path)


def test_refusals(markov, validation):
    with pytest.raises(TooLittleData, match="at least 20"):
        Calibration.fit(markov, validation[:19])
    for wrong in ({"depth": 0}, {"max_scores": 0}, {"pseudo_pairs": -1.0}):
        with pytest.raises(ConfigError):
            CalibrationConfig(**wrong)


def test_sample_is_enough(markov, validation, test_queries):
    """A fifth of the queries in the first step, and the probabilities are still true."""
    calibration = Calibration.fit(markov, validation, CalibrationConfig(max_scores=300 * 14))
    assert calibration.sharpness != Calibration.fit(markov, validation).sharpness
    probability, came = believed(markov, calibration, test_queries)
    assert ece(probability.ravel(), came.ravel()) < 0.02


@pytest.mark.data
@pytest.mark.parametrize("row", ["popularity", "markov", "item-knn", "ease", "als"])
def test_movielens(shared_data, row):
    """Fitted on the one before the last, believed on the last: within half a point on average."""
    table = pl.read_csv(
        shared_data / "movielens-100k" / "u.data",
        separator="\t",
        has_header=False,
        new_columns=["user", "item", "rating", "time"],
        schema_overrides={"user": pl.String, "item": pl.String},
    ).sort("time", maintain_order=True)
    histories = table.group_by("user", maintain_order=True).agg("item")
    world = Sequences.from_lists(dict(zip(histories["user"], histories["item"].to_list(), strict=True)))
    split = split_leave_one_out(world)
    model = BASELINES[row]().fit(split.train)
    calibration = Calibration.fit(model, split.validation)
    for mask_seen in (True, False):
        probability, came = believed(model, calibration, split.test, k=10, mask_seen=mask_seen)
        assert ece(probability.ravel(), came.ravel()) < 0.005
        assert ece(probability.ravel(), came.ravel(), bins="count") < 0.01
        # What is expected in a list and what came agree within three standard deviations.
        deviation = np.sqrt(came.any(axis=1).var() / len(came)) + 1e-3
        assert abs(probability.sum(axis=1).mean() - came.any(axis=1).mean()) < 3.5 * deviation
