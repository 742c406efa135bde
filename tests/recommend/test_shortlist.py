# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.recommend import Calibration
from desirepath.recommend import shortlist as shortlist_module
from desirepath.recommend.calibration import seen_items
from desirepath.recommend.shortlist import (
    Shortlist,
    ShortlistConfig,
    _fixed,
    listed_probabilities,
    top_of_scores,
)
from desirepath.recommend.tiles import TILE, product, products, quantise
from desirepath.sequences import Queries, Vocabulary


def plain(scores, n, allowed=None, hidden=None):
    """The same lists by sorting everything."""
    scores = np.array(scores, dtype=np.float64)
    scores[:, :2] = -np.inf
    if allowed is not None:
        scores[~np.broadcast_to(allowed, scores.shape)] = -np.inf
    for b, items in enumerate(hidden or []):
        scores[b, items] = -np.inf
    item = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    score = np.take_along_axis(scores, item, axis=1)
    item[score == -np.inf] = 0
    short = max(0, n - item.shape[1])
    return np.pad(item, ((0, 0), (0, short))), np.pad(score, ((0, 0), (0, short)), constant_values=-np.inf)


def skewed(rng, n_entries, dim):
    """Vectors as training leaves them: few directions hold most, popular items are long, many are alike."""
    vectors = rng.standard_normal((n_entries, dim)) * rng.lognormal(0, 1, dim)
    vectors *= rng.lognormal(0, 1, n_entries)[:, None]
    vectors[:: max(1, n_entries // 50)] = 0.0
    return vectors.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_entries=st.integers(2, 9000),
    dim=st.integers(1, 70),
    n_queries=st.integers(0, 3),
    n=st.integers(1, 300),
    whole=st.booleans(),
    mask=st.sampled_from(["none", "one", "each", "few", "nothing"]),
    hides=st.booleans(),
)
def test_lists_are_those_of_sorting_everything(seed, n_entries, dim, n_queries, n, whole, mask, hides):
    rng = np.random.default_rng(seed)
    vectors, states = skewed(rng, n_entries, dim), rng.standard_normal((n_queries, dim)).astype(np.float32)
    if whole:  # small whole numbers: their products are exact and tie often
        vectors = rng.integers(-2, 3, (n_entries, dim)).astype(np.float32)
        states = rng.integers(-2, 3, (n_queries, dim)).astype(np.float32)
    allowed = {
        "none": None,
        "one": rng.random(n_entries) < 0.5,
        "each": rng.random((n_queries, n_entries)) < 0.5,
        "few": rng.random(n_entries) < 0.01,
        "nothing": np.zeros(n_entries, dtype=bool),
    }[mask]
    hidden = [rng.integers(0, n_entries, rng.integers(0, 99)) for _ in range(n_queries)] if hides else None
    item, score = Shortlist(vectors).top(states, n, allowed=allowed, hidden=hidden)
    exact = states.astype(np.float64) @ vectors.T.astype(np.float64)
    want_item, want_score = plain(exact, n, allowed, hidden)
    assert item.dtype == np.int32
    assert item.shape == (n_queries, n)
    np.testing.assert_array_equal(item == 0, want_item == 0)
    size = np.linalg.norm(states, axis=1, keepdims=True) * np.linalg.norm(vectors, axis=1).max()
    listed = item > 0
    close = np.abs(np.where(listed, score, 0) - np.where(listed, want_score, 0)) <= 1e-5 * size + 1e-30
    assert close.all()
    if whole:
        np.testing.assert_array_equal(item, want_item)
        np.testing.assert_array_equal(score, want_score.astype(np.float32))
    if allowed is not None and n_queries:
        rows = np.arange(n_queries)[:, None]
        assert (np.broadcast_to(allowed, (n_queries, n_entries))[rows, item] | ~listed).all()


@pytest.mark.parametrize("dim", [1, 2, 7, 64, 515, 2001])
def test_quick_products_are_those_of_plain_loops_and_of_wider_numbers(dim):
    rng = np.random.default_rng(dim)
    vectors = skewed(rng, 202, dim)
    tiles, scale = np.zeros((4, -(-dim // 2), TILE, 2), np.int8), np.zeros(200, np.float32)
    error, length = quantise(_fixed(vectors), 2, tiles, scale)
    code = tiles.transpose(0, 2, 1, 3).reshape(256, -1)[:200, :dim]
    rest = vectors[2:] - code * scale[:, None].astype(np.float64)
    assert (np.linalg.norm(rest, axis=1) <= error * scale * (1 + 1e-6)).all()
    assert length >= np.linalg.norm(code.astype(float), axis=1).max() * (1 - 1e-9)
    limit = min(32767, (2**31 - 1) // (127 * 2 * -(-dim // 2)))
    state = np.zeros(2 * tiles.shape[1], np.int16)
    for numbers in (rng.integers(-limit, limit + 1, dim), np.full(dim, limit), np.full(dim, -limit)):
        state[:dim] = numbers
        want = code.astype(np.int64) @ state[:dim].astype(np.int64)
        out = np.zeros(256, np.int32)
        products(tiles, state.view(np.int32), out)
        np.testing.assert_array_equal(out[:200], want)
        assert [product(tiles, state, row) for row in (0, 63, 64, 199)] == want[[0, 63, 64, 199]].tolist()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_entries=st.integers(2, 5000),
    n=st.integers(1, 300),
    levels=st.sampled_from([1, 3, 10**6]),
    masked=st.booleans(),
)
def test_lists_of_finished_scores_are_those_of_sorting(seed, n_entries, n, levels, masked):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (3, n_entries)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    allowed = rng.random((3, n_entries)) < 0.3 if masked else None
    item, score = top_of_scores(scores, n, allowed=allowed)
    want_item, want_score = plain(scores, n, allowed)
    np.testing.assert_array_equal(item, want_item)
    np.testing.assert_array_equal(score, want_score)


@pytest.mark.parametrize("order", [1, -1])
def test_sorted_and_equal_items_change_nothing_but_the_cost(order):
    vectors = np.repeat(np.arange(20_000, dtype=np.float32)[::order, None], 3, axis=1)
    vectors[5000:15000] = 7.0  # far more equal items than are kept at first
    states = np.array([[1, 2, 3], [-1, -2, -3], [0, 0, 0]], dtype=np.float32)
    item, _ = Shortlist(vectors).top(states, 50)
    np.testing.assert_array_equal(item, plain(states @ vectors.T, 50)[0])
    np.testing.assert_array_equal(top_of_scores(states @ vectors.T, 50)[0], item)


def test_threads_and_company_change_nothing(monkeypatch):
    monkeypatch.setattr(shortlist_module, "ROWS_PER_THREAD", 1000)
    rng = np.random.default_rng(3)
    vectors, states = skewed(rng, 9000, 20), rng.standard_normal((5, 20)).astype(np.float32)
    one, two = Shortlist(vectors), Shortlist(vectors, ShortlistConfig(n_threads=2))
    together = one.top(states, 40)
    for found in (
        two.top(states, 40),
        [np.concatenate(x) for x in zip(*(one.top(states[[b]], 40) for b in range(5)), strict=True)],
    ):
        np.testing.assert_array_equal(found[0], together[0])
        np.testing.assert_array_equal(found[1], together[1])
    np.testing.assert_array_equal(one.scores(states, together[0]), together[1])


def test_mapped_vectors_are_left_where_they_are(tmp_path):
    vectors = skewed(np.random.default_rng(0), 500, 8)
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    shortlist = Shortlist(mapped)
    assert np.shares_memory(shortlist._vectors, mapped)
    states = np.ones((1, 8), np.float32)
    np.testing.assert_array_equal(shortlist.top(states, 9)[0], Shortlist(vectors).top(states, 9)[0])


@pytest.mark.parametrize(("sharpness", "relative"), [(1.0, 0.0), (0.0, 1.5), (0.4, 0.7), (-0.3, 0.0)])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_probabilities_are_those_of_all_scores(monkeypatch, sharpness, relative, n_threads):
    monkeypatch.setattr(shortlist_module, "ROWS_PER_THREAD", 1000)
    rng = np.random.default_rng(5)
    n_entries, dim = 5000, 24
    vectors = skewed(rng, n_entries, dim) * 0.1
    states = rng.standard_normal((4, dim)).astype(np.float32)
    states[3] = 0.0  # an empty history
    items = Vocabulary([str(i) for i in range(n_entries - 2)])
    histories = [[str(i) for i in rng.integers(0, n_entries, size)] for size in (200, 3, 40, 0)]
    queries = Queries.from_items(histories, items)
    calibration = Calibration(
        sharpness=sharpness, relative=relative, returning=-2.5,
        knot=(1e-6, 1e-3, 0.1), probability=(2e-6, 5e-4, 0.3), n_queries=9,
    )  # fmt: skip
    scores = states @ vectors.T
    scores[:, :2] = -np.inf
    slope, log_z = calibration.partition(scores, queries)
    shortlist = Shortlist(vectors, ShortlistConfig(n_threads=n_threads))
    listed = shortlist.top_with_partition(states, 30, calibration, queries)
    np.testing.assert_allclose(listed.partition[0], slope, rtol=1e-5)
    # A negative slope gives most weight to the worst items, which are no candidates.
    tolerance = 0.01 if sharpness >= 0 else 0.05
    np.testing.assert_allclose(listed.partition[1], log_z, atol=tolerance)
    given = listed_probabilities(calibration, listed.item_ix, listed.score, queries, listed.partition)
    seen = seen_items(listed.item_ix, queries)
    want = calibration.probabilities(listed.score, seen, (slope, log_z))
    np.testing.assert_allclose(given, want, rtol=tolerance)


def test_the_denominator_counts_what_no_list_may_hold():
    vectors = np.random.default_rng(1).standard_normal((300, 6)).astype(np.float32)
    states, queries = (
        vectors[7:8] * 2,
        Queries.from_items([["5", "5"]], Vocabulary([str(i) for i in range(298)])),
    )
    calibration = Calibration(sharpness=1.0, returning=1.0, knot=(), probability=(), n_queries=9)
    shortlist = Shortlist(vectors)
    free = shortlist.top_with_partition(states, 298, calibration, queries)
    bound = shortlist.top_with_partition(
        states, 5, calibration, queries, allowed=np.arange(300) > 200, hidden=[np.array([7])]
    )
    np.testing.assert_allclose(bound.partition[1], free.partition[1], atol=0.005)
    whole = listed_probabilities(calibration, free.item_ix, free.score, queries, free.partition)
    np.testing.assert_allclose(whole.sum(), 1.0, rtol=1e-5)


def test_bad_input_is_told():
    vectors = np.ones((5, 2), np.float32)
    with pytest.raises(DataError, match="entry 3"):
        Shortlist(np.array([[0, 0], [0, 0], [1, 1], [1, np.nan]], np.float32))
    with pytest.raises(DataError, match="entry 2"):
        Shortlist(np.array([[0, 0], [0, 0], [1, np.inf]], np.float32))
    with pytest.raises(ShapeError, match=r"\(V, D\)"):
        Shortlist(np.ones(4, np.float32))
    shortlist = Shortlist(vectors)
    with pytest.raises(ShapeError, match=r"\(B, 2\)"):
        shortlist.top(np.ones((1, 3), np.float32), 2)
    with pytest.raises(DataError, match="finite"):
        shortlist.top(np.array([[1, np.nan]], np.float32), 2)
    with pytest.raises(ShapeError, match="allowed"):
        shortlist.top(np.ones((1, 2), np.float32), 2, allowed=np.ones(4, bool))
    with pytest.raises(ShapeError, match="hidden"):
        shortlist.top(np.ones((1, 2), np.float32), 2, hidden=[])
    with pytest.raises(ConfigError, match="n must be"):
        shortlist.top(np.ones((1, 2), np.float32), 0)
    with pytest.raises(DataError, match="query 1"):
        top_of_scores(np.array([[0, 0, 1], [0, 0, np.nan]], np.float32), 2)
    with pytest.raises(ConfigError, match="n_threads"):
        ShortlistConfig(n_threads=0)
