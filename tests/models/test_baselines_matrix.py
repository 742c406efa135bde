# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from sklearn.metrics.pairwise import cosine_similarity
from threadpoolctl import threadpool_limits

from contracts import knows_tribe
from desirepath.errors import ConfigError
from desirepath.models.counts import interactions
from desirepath.models.ease import Ease, EaseConfig
from desirepath.models.factorisation import Als, AlsConfig, Bpr, BprConfig
from desirepath.models.neighbours import ItemKnn, ItemKnnConfig, cosine_neighbours
from desirepath.recommend.ranking import rank, top_k
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences
from worlds import DAY_S, checkerboard, drift, packed, two_tribes

SMALL_ALS = AlsConfig(dim=8)
SMALL_BPR = BprConfig(dim=8, learning_rate=0.1)


def noisy(n_users=50, n_items=12, seed=0) -> Sequences:
    return packed(np.random.default_rng(seed).integers(n_items, size=(n_users, 6)), n_items)


def dense(world: Sequences, binary: bool = True) -> np.ndarray:
    """The users x items matrix without reserved columns, the slow way."""
    matrix = np.zeros((world.n_users, world.n_items))
    for user, item in zip(world.user_ix, world.item_ix, strict=True):
        matrix[user, item - FIRST] += 1
    return np.minimum(matrix, 1) if binary else matrix


def everybody(world: Sequences) -> Queries:
    return Queries.latest(world, np.arange(world.n_users))


@pytest.mark.parametrize(
    "make",
    [ItemKnn, lambda: Ease(EaseConfig(penalty=5.0)), lambda: Als(SMALL_ALS), lambda: Bpr(SMALL_BPR)],
)
def test_personal_models_know_tribes(make):
    knows_tribe(make)


@pytest.mark.parametrize(
    "make",
    [ItemKnn, lambda: Ease(EaseConfig(penalty=1.0)), lambda: Als(SMALL_ALS)],
)
def test_checkerboard_is_completed(make):
    """Each user lacks exactly one item of those that his like have: his own."""
    world = checkerboard()
    item_BK, _ = top_k(make().fit(world), everybody(world), k=1, mask_seen=True)
    assert (item_BK[:, 0] - FIRST).tolist() == list(range(world.n_users))


# EASE


def test_ease_is_its_closed_form():
    world = noisy()
    x = dense(world)
    inverse = np.linalg.inv(x.T @ x + 3.0 * np.eye(world.n_items))
    weight = inverse / -np.diag(inverse)
    np.fill_diagonal(weight, 0.0)
    scores = Ease(EaseConfig(penalty=3.0)).fit(world).scores(everybody(world))
    np.testing.assert_allclose(scores[:, FIRST:], x @ weight, atol=2e-5)


def test_ease_solves_ridge_regressions():
    """Column j of B is the ridge regression of item j on all others, which needs no inverse of the whole."""
    from sklearn.linear_model import Ridge

    world = noisy(seed=1)
    model = Ease(EaseConfig(penalty=2.0)).fit(world)
    x = dense(world)
    for j in (0, 5):
        others = np.arange(world.n_items) != j
        ridge = Ridge(alpha=2.0, fit_intercept=False).fit(x[:, others], x[:, j])
        weight = model.state()["weight_MM"][others, j]
        np.testing.assert_allclose(weight, ridge.coef_, atol=2e-5)


def test_ease_works_in_blocks(monkeypatch):
    from desirepath.models import ease

    world = noisy()
    whole = Ease().fit(world).state()["weight_MM"].copy()
    monkeypatch.setattr(ease, "BLOCK", 5)
    np.testing.assert_allclose(Ease().fit(world).state()["weight_MM"], whole, atol=1e-6)


def test_ease_refuses_large_catalogues():
    with pytest.raises(ConfigError, match=r"at most max_items=10 .* there are 12.*item-knn"):
        Ease(EaseConfig(max_items=10)).fit(noisy())
    # Items without events cost nothing and do not count.
    world = packed(np.arange(5)[None, :], 100_000)
    assert Ease(EaseConfig(max_items=10)).fit(world).state()["weight_MM"].shape == (5, 5)


# Item-kNN


def test_knn_is_sklearns_cosine():
    world = noisy()
    for binary in (True, False):
        x = dense(world, binary)
        similar = cosine_similarity(x.T)
        np.fill_diagonal(similar, 0.0)
        config = ItemKnnConfig(n_neighbours=50, shrinkage=0.0, binary=binary, half_life_events=None)
        scores = ItemKnn(config).fit(world).scores(everybody(world))
        np.testing.assert_allclose(scores[:, FIRST:], dense(world) @ similar, rtol=1e-5, atol=2e-6)


def plain_neighbours(x: np.ndarray, n_neighbours: int, shrinkage: float) -> np.ndarray:
    """The reference of the kernel: whole matrices, and a stable sort of each row."""
    norm = np.sqrt((x * x).sum(axis=0))
    bottom = np.outer(norm, norm) + shrinkage
    similar = np.divide(x.T @ x, bottom, out=np.zeros_like(bottom), where=bottom > 0).astype(np.float32)
    np.fill_diagonal(similar, 0.0)
    order = np.argsort(-similar, axis=1, kind="stable")
    place = np.argsort(order, axis=1)
    return np.where(place < n_neighbours, similar, 0.0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 9)),
    n_neighbours=st.integers(1, 10),
    shrinkage=st.sampled_from([0.0, 5.0]),
)
def test_kernel_agrees_with_plain_reference(seed, shape, n_neighbours, shrinkage):
    x = np.random.default_rng(seed).integers(0, 3, size=shape).astype(np.float64)
    fast = cosine_neighbours(sp.csr_array(x.astype(np.float32)), n_neighbours, shrinkage).toarray()
    np.testing.assert_allclose(fast, plain_neighbours(x, n_neighbours, shrinkage), rtol=1e-6)


def test_knn_weights_fade():
    train = two_tribes()
    config = {"n_neighbours": 50, "shrinkage": 0.0}
    flat = ItemKnn(ItemKnnConfig(**config, half_life_events=None)).fit(train)
    alone = [flat.scores(Queries.from_items([[item]], train.items))[0, FIRST:] for item in ("0", "1", "2")]
    # "0" came last two events ago, "1" one, "2" none; its earlier visit does not count again.
    fading = ItemKnn(ItemKnnConfig(**config, half_life_events=1.0)).fit(train)
    scores = fading.scores(Queries.from_items([["2", "0", "1", "2"]], train.items))[0, FIRST:]
    np.testing.assert_allclose(scores, 0.25 * alone[0] + 0.5 * alone[1] + alone[2], atol=1e-5)

    world = packed(np.array([[0, 1]]), train.n_items, time_NL=np.array([[0.0, 2 * DAY_S]]))
    days = ItemKnn(ItemKnnConfig(**config, half_life_events=None, half_life_days=2.0)).fit(train)
    scores = days.scores(Queries.latest(world, np.array([0]), now_s=4 * DAY_S))[0, FIRST:]
    np.testing.assert_allclose(scores, 0.25 * alone[0] + 0.5 * alone[1], atol=1e-5)


def test_max_events_bounds_robots():
    robot = packed(np.arange(100)[None, :], 100)
    assert interactions(robot, max_events=3).toarray().nonzero()[1].tolist() == [99, 100, 101]
    assert ItemKnn(ItemKnnConfig(max_events=3)).fit(robot).state()["similar_data"].size == 6


# ALS and BPR


def test_als_agrees_with_implicit():
    """The lists of implicit's own recommend, with its own recalculation of users."""
    world = drift()
    config = AlsConfig(dim=8, confidence=3.0, penalty=0.5, epochs=5, seed=7)
    matrix = sp.csr_matrix(interactions(world, binary=False))
    matrix.data = 1 + 3 * matrix.data
    with threadpool_limits(1, "blas"):
        peer = AlternatingLeastSquares(factors=8, regularization=0.5, iterations=5, random_state=7)
        peer.fit(matrix, show_progress=False)
        users = np.arange(world.n_users)
        ids, scores = peer.recommend(
            users, matrix, N=5, filter_already_liked_items=True, recalculate_user=True
        )
    item_BK, score_BK = top_k(Als(config).fit(world), everybody(world), k=5, mask_seen=True)
    np.testing.assert_array_equal(item_BK, ids)
    np.testing.assert_allclose(score_BK, scores, atol=1e-5)


def test_als_user_is_the_closed_form():
    world = drift()
    model = Als(SMALL_ALS).fit(world)
    y = model.item_vectors().astype(np.float64)
    counts = np.bincount(world.item_ix[:10], minlength=len(world.items))
    confidence = 1.0 + np.where(counts > 0, SMALL_ALS.confidence * counts, 0.0)
    left = y.T @ (confidence[:, None] * y) + SMALL_ALS.penalty * np.eye(8)
    right = y.T @ (confidence * (counts > 0))
    user = model.user_vectors(Queries.latest(world, np.array([0])))[0]
    np.testing.assert_allclose(user, np.linalg.solve(left, right), rtol=1e-3, atol=1e-4)


def test_bpr_keeps_learnt_factors_and_folds_the_rest():
    world = two_tribes()
    model = Bpr(SMALL_BPR).fit(world)
    learnt = model.user_vectors(everybody(world))
    # The same histories in another order, under other names, are still those that training saw.
    histories = world.item_ix.reshape(world.n_users, -1)[:, ::-1] - FIRST
    strangers = packed(histories, world.n_items)
    np.testing.assert_array_equal(model.user_vectors(everybody(strangers)), learnt)
    # One event less is a new history; its folded factor points the way of the learnt one.
    shorter = model.user_vectors(everybody(packed(histories[:, 1:], world.n_items)))
    assert not np.array_equal(shorter, learnt)
    cosine = (shorter * learnt).sum(axis=1)
    cosine /= np.linalg.norm(shorter, axis=1) * np.linalg.norm(learnt, axis=1)
    assert np.median(cosine) > 0.8


def test_bpr_walks_no_further_than_told():
    world = noisy()
    n_pairs = len(dense(world).nonzero()[0])
    scores = [
        Bpr(BprConfig(dim=4, epochs=epochs, max_steps=steps)).fit(world).scores(everybody(world))
        for epochs, steps in ((100, 3 * n_pairs + 1), (3, 10**9), (100, 1), (1, 10**9))
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[2], scores[3])
    assert not np.array_equal(scores[0], scores[2])


def test_factorisation_follows_seed():
    world = noisy()
    for make in (lambda s: Als(AlsConfig(dim=4, seed=s)), lambda s: Bpr(BprConfig(dim=4, seed=s))):
        one, two, other = (make(s).fit(world).scores(everybody(world)) for s in (1, 1, 2))
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)


def test_missing_package_is_named(monkeypatch):
    def refuse(name, *rest):
        raise ModuleNotFoundError(f"No module named '{name}'", name="implicit")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ConfigError, match=r"'implicit'.*pip install"):
        Als().fit(noisy())


def test_options_are_checked():
    for wrong in (
        lambda: EaseConfig(penalty=0),
        lambda: EaseConfig(max_items=0),
        lambda: ItemKnnConfig(shrinkage=-1),
        lambda: ItemKnnConfig(n_neighbours=0),
        lambda: ItemKnnConfig(half_life_days=0),
        lambda: AlsConfig(dim=0),
        lambda: BprConfig(learning_rate=0),
    ):
        with pytest.raises(ConfigError, match="must be"):
            wrong()


@pytest.fixture(scope="module")
def movielens(shared_data):
    from desirepath.sequences.splits import split_leave_one_out

    table = pl.read_csv(
        shared_data / "movielens-100k" / "u.data",
        separator="\t",
        has_header=False,
        new_columns=["user", "item", "rating", "time"],
        schema_overrides={"user": pl.String, "item": pl.String},
    ).sort("time", maintain_order=True)
    histories = table.group_by("user", maintain_order=True).agg("item")
    world = Sequences.from_lists(dict(zip(histories["user"], histories["item"].to_list(), strict=True)))
    return split_leave_one_out(world)


@pytest.mark.data
@pytest.mark.parametrize(
    "row",
    ["markov", "item-knn", *(pytest.param(row, marks=pytest.mark.slow) for row in ("ease", "als", "bpr"))],
)
def test_rows_beat_popularity_on_movielens(movielens, row):
    """Leave-one-out on ML-100K: whatever knows the user, or his last step, beats what knows neither."""
    from desirepath.models import BASELINES

    hit = {}
    for name in ("popularity", row):
        ranks = rank(BASELINES[name]().fit(movielens.train), movielens.test, 10, mask_seen=True).rank
        hit[name] = np.mean(ranks <= 10)
    # 943 users: one standard deviation of a hit rate of 0.1 is 0.01.
    assert 0.06 < hit["popularity"] < 0.12
    assert hit[row] > hit["popularity"] + 0.01
