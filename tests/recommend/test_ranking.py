# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.recommend import ranking
from desirepath.recommend.ranking import rank, seen_share, target_ranks, top_k
from desirepath.recommend.selection import OUT
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.splits import split_leave_one_out, split_temporal


class Table:
    """A model that knows each user's scores by heart."""

    name: ClassVar[str] = "table"

    def __init__(self, scores):
        self.table = np.asarray(scores, dtype=np.float32)
        self.table.flags.writeable = False  # a model's scores are read only
        self.asked = []

    def fit(self, train):
        return self

    def scores(self, queries):
        self.asked.append(len(queries))
        return self.table[queries.user_ix]

    def state(self):
        return {}

    def restore(self, state):
        return self


class Product(Table):
    """A model that encodes: fixed vectors of users and items."""

    name: ClassVar[str] = "product"

    def __init__(self, users, items):
        # Small whole numbers: their products are exact however they are made.
        self.users, self.items = np.asarray(users, np.float32), np.asarray(items, np.float32)
        super().__init__(self.users @ self.items.T)

    def encode(self, queries):
        self.asked.append(len(queries))
        return self.users[queries.user_ix]

    def item_vectors(self):
        return self.items


def world(n_users: int, n_items: int, seed: int = 0) -> Sequences:
    """Every item occurs, users have 3 to 11 events."""
    rng = np.random.default_rng(seed)
    lists = [[f"i{i}" for i in rng.integers(0, n_items, rng.integers(3, 12))] for _ in range(n_users)]
    return Sequences.from_lists([[f"i{i}" for i in range(n_items)], *lists])


def table(sequences: Sequences, seed: int, levels: int | None = None) -> np.ndarray:
    """Random scores, or only `levels` different ones so that many tie."""
    rng = np.random.default_rng(seed)
    shape = (sequences.n_users, len(sequences.items))
    scores = rng.standard_normal(shape) if levels is None else rng.integers(0, levels, shape)
    scores = scores.astype(np.float32)
    scores[:, :2] = -np.inf
    return scores


def by_hand(scores, queries: Queries, mask_seen: bool, allowed=None):
    """Candidates and (better, tied) of every target, one query at a time."""
    better, tied, candidates = [], [], []
    for q in range(len(queries)):
        row = scores[queries.user_ix[q]]
        can = np.ones(len(row), bool) if allowed is None else allowed.copy()
        can[:2] = False
        if mask_seen:
            can[queries.sequences.item_ix[queries.start[q] : queries.stop[q]]] = False
        candidates.append(can)
        for target in queries.target_item_ix[queries.target_offsets[q] : queries.target_offsets[q + 1]]:
            if not can[target] or row[target] == -np.inf:
                better.append(OUT - 1)
                tied.append(1)
            else:
                better.append((row[can] > row[target]).sum())
                tied.append((row[can] == row[target]).sum())
    return np.array(better), np.array(tied), candidates


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    levels=st.sampled_from([None, 1, 2, 30]),
    mask_seen=st.booleans(),
    restrict=st.booleans(),
    batch_size=st.sampled_from([None, 1, 7]),
    k=st.sampled_from([1, 5, 40]),
    n_items=st.sampled_from([9, 30, 700]),
)
def test_lists_and_ranks_agree_with_a_sort_of_each_row(
    seed, levels, mask_seen, restrict, batch_size, k, n_items
):
    sequences = world(20, n_items, seed)
    scores = table(sequences, seed + 1, levels)
    queries = split_temporal(sequences, 0.5, "days", 5 / 86_400, "none").test
    allowed = np.random.default_rng(seed).random(len(sequences.items)) < 0.7 if restrict else None
    result = rank(
        Table(scores), queries, k, mask_seen=mask_seen, allowed=allowed, batch_size=batch_size, seed=seed
    )
    better, tied, candidates = by_hand(scores, queries, mask_seen, allowed)
    assert np.array_equal(result.better, better)
    assert np.array_equal(result.tied, tied)
    assert ((result.rank > better) & (result.rank <= better + tied)).all()
    assert np.array_equal(result.pessimistic_rank, better + tied)
    assert result.n_candidates.tolist() == [int(can.sum()) for can in candidates]
    place = np.concatenate([np.zeros(1, int), queries.target_offsets[1:]])
    for q in range(len(queries)):
        row, can = scores[queries.user_ix[q]], candidates[q]
        items = result.item_ix[q]
        real = items[items > 0]
        assert len(real) == min(k, int((can & (row > -np.inf)).sum())) == len(set(real.tolist()))
        assert can[real].all()
        expected = np.sort(row[can & (row > -np.inf)])[::-1][:k]
        assert np.array_equal(result.score[q][: len(real)], expected)
        assert np.array_equal(row[real], expected)
        assert (result.score[q][len(real) :] == -np.inf).all()
        for t in range(place[q], place[q + 1]):
            target = queries.target_item_ix[t]
            if can[target]:  # the list and the rank tell the same story, ties included
                position = np.flatnonzero(items == target)
                assert position.tolist() == ([result.rank[t] - 1] if result.rank[t] <= k else [])


def test_a_worked_row():
    sequences = Sequences.from_lists([["a", "b", "c", "d", "e", "b"]])
    queries = split_leave_one_out(sequences).test  # after a b c d e comes b
    scores = [[-np.inf, -np.inf, 5, 3, 4, 1, 2]]
    result = rank(Table(scores), queries, 3)
    assert sequences.items.decode(result.item_ix[0]).to_list() == ["a", "c", "b"]
    assert result.score.tolist() == [[5, 4, 3]]
    assert (result.rank.tolist(), result.masked.tolist(), result.n_candidates.tolist()) == ([3], [False], [5])


def test_a_masked_target_is_never_a_hit_and_is_counted():
    sequences = Sequences.from_lists([["a", "b", "c", "d", "b"], ["a", "b", "c", "d"]])
    queries = split_leave_one_out(sequences).test
    result = rank(Table(np.ones((2, 6))), queries, 3, mask_seen=True)
    assert result.masked.tolist() == [True, False]
    # The first user has seen everything: nothing can be recommended, and the target is no hit.
    assert result.n_candidates.tolist() == [0, 1]
    assert result.item_ix.tolist() == [[0, 0, 0], [5, 0, 0]]
    assert result.rank.tolist() == [OUT, 1]
    assert seen_share(queries) == 0.5


def test_a_constant_model_does_not_look_good():
    sequences = world(3000, 200)
    queries = split_leave_one_out(sequences).test
    scores = np.broadcast_to(np.float32(0.5), (sequences.n_users, len(sequences.items)))
    result = rank(Table(scores), queries, 10)
    chance = 10 / 200
    hits = (result.rank <= 10).mean()
    assert abs(hits - chance) < 4 * np.sqrt(chance * (1 - chance) / len(queries))
    assert abs(result.rank.mean() - 100.5) < 4 * 57.7 / np.sqrt(len(queries))
    assert (result.pessimistic_rank == 200).all()
    # Draws differ between queries: no item is favoured in the lists.
    shares = np.bincount(result.item_ix.ravel(), minlength=202)[2:] / len(queries)
    assert abs(shares - chance).max() < 5 * np.sqrt(chance / len(queries))


def test_ties_do_not_depend_on_the_batch_and_follow_the_seed():
    sequences = world(50, 30)
    queries = split_leave_one_out(sequences).test
    model = Table(table(sequences, 0, levels=2))
    whole = rank(model, queries, 5)
    single = [rank(model, queries[q : q + 1], 5) for q in range(len(queries))]
    assert np.array_equal(whole.item_ix, np.concatenate([r.item_ix for r in single]))
    assert np.array_equal(whole.rank, np.concatenate([r.rank for r in single]))
    assert not np.array_equal(whole.rank, rank(model, queries, 5, seed=1).rank)
    assert np.array_equal(rank(model, queries, 5, seed=1).rank, target_ranks(model, queries, seed=1))


def test_an_item_that_is_never_recommended_is_never_a_hit():
    sequences = Sequences.from_lists([["a", "b", "c", "d"]])
    queries = split_leave_one_out(sequences).test
    everything = np.full((1, 6), -np.inf)
    result = rank(Table(everything), queries, 2)
    assert (result.rank.tolist(), result.item_ix.tolist()) == ([OUT], [[0, 0]])


def test_batches_are_as_asked_and_progress_is_told():
    sequences = world(20, 30)
    queries = split_leave_one_out(sequences).test
    model, done = Table(table(sequences, 0)), []
    rank(model, queries, 3, batch_size=8, on_progress=done.append)
    assert model.asked == [8, 8, 5]
    assert done == [8, 16, 21]


@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_a_model_that_encodes_ranks_as_its_scores_do(batch_size, monkeypatch):
    monkeypatch.setattr(ranking, "ENCODED_AT_ONCE", 60)
    monkeypatch.setattr(ranking, "JOB_QUERIES", 25)
    sequences = world(150, 90)
    queries = split_leave_one_out(sequences).test
    rng = np.random.default_rng(0)
    model = Product(
        rng.integers(-3, 4, (sequences.n_users, 4)), rng.integers(-3, 4, (len(sequences.items), 4))
    )
    done = []
    found = rank(model, queries, 12, mask_seen=True, batch_size=batch_size, on_progress=done.append)
    expected = rank(Table(model.table), queries, 12, mask_seen=True)
    for name in ("item_ix", "score", "rank", "better", "tied", "masked", "n_candidates"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert model.asked == [60, 60, 31]
    assert done[-1] == 151
    assert done == sorted(done)


def test_what_an_encoder_does_wrong_is_said():
    sequences = world(20, 30)
    queries = split_leave_one_out(sequences).test
    users, items = np.ones((sequences.n_users, 2)), np.ones((len(sequences.items), 2))
    with pytest.raises(ShapeError, match="item_vectors must have 32 rows; got 31"):
        top_k(Product(users, items[1:]), queries, 1)
    users[7] = np.nan
    with pytest.raises(DataError, match="product gives NaN for query 7"):
        top_k(Product(users, items), queries, 1)


def test_top_k_needs_no_targets():
    sequences = world(20, 30)
    latest = Queries.latest(sequences, np.arange(5))
    scores = table(sequences, 0)
    items, values = top_k(Table(scores), latest, 4)
    assert np.array_equal(items, np.argsort(-scores[:5], axis=1)[:, :4])
    assert np.array_equal(values, -np.sort(-scores[:5], axis=1)[:, :4])
    assert top_k(Table(scores), latest[:0], 4)[0].shape == (0, 4)


def test_what_is_wrong_is_said():
    sequences = world(20, 30)
    queries = split_leave_one_out(sequences).test
    scores = table(sequences, 0)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        top_k(Table(scores), queries, 0)
    with pytest.raises(ConfigError, match="batch_size"):
        top_k(Table(scores), queries, 1, batch_size=0)
    with pytest.raises(ShapeError, match=r"allowed must have shape \(32,\)"):
        top_k(Table(scores), queries, 1, allowed=np.ones(30, bool))
    with pytest.raises(ShapeError, match=r"Scores must have shape \(21, 32\)"):
        top_k(Table(scores[:, :-1]), queries, 1)
    scores = scores.copy()
    scores[7, 9] = np.nan
    with pytest.raises(DataError, match="table gives NaN for query 7"):
        top_k(Table(scores), queries, 1)
