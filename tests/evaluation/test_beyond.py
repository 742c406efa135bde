# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ShapeError
from desirepath.evaluation import beyond
from desirepath.sequences import Sequences
from desirepath.sequences.splits import split_leave_one_out

# Items a, b, c, d have indexes 2, 3, 4, 5 and 3, 2, 1, 0 users.
TRAIN = Sequences.from_lists([["a", "b", "a"], ["a", "b", "c"], ["a"], []])
USERS = np.append(beyond.users_per_item(TRAIN), 0)


def test_users_are_counted_once_an_item():
    assert USERS.tolist() == [0, 0, 3, 2, 1, 0]


def test_coverage_and_concentration_by_hand():
    lists = np.array([[2, 3], [2, 0], [0, 0]])
    assert beyond.coverage(lists, n_items=4) == 0.5
    # Counts 2, 1, 0, 0 in rising order 0, 0, 1, 2: (1 * 1 + 3 * 2) / (4 * 3).
    assert beyond.gini(lists, n_items=4) == pytest.approx(7 / 12)
    assert beyond.gini(np.zeros((2, 2), np.int32), n_items=4) == 0.0


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_gini_is_half_the_mean_difference_of_any_two_counts(listed):
    counts = np.bincount(listed, minlength=10).astype(float)
    expected = np.abs(counts[:, None] - counts).mean() / 2 / counts.mean()
    assert beyond.gini(np.array(listed)[:, None] + 2, 10) == pytest.approx(expected)


def test_novelty_popularity_and_tail_by_hand():
    lists = np.array([[2, 5], [4, 0], [0, 0]])
    # Of three users all have a; d, which nobody has, counts as one user's.
    assert beyond.novelty(lists, USERS, 3)[:2] == pytest.approx([np.log2(3) / 2, np.log2(3)])
    assert beyond.popularity(lists, USERS, 3)[:2] == pytest.approx([(1 + 0) / 2, 1 / 3])
    # a holds the first half of the six pairs, b goes on from there, c begins at five sixths.
    group = beyond.popularity_group(USERS)
    assert group.tolist() == [3, 3, 0, 1, 2, 3]
    assert beyond.tail_share(lists, group)[:2] == pytest.approx([0.5, 1.0])
    for metric in (beyond.novelty(lists, USERS, 3), beyond.popularity(lists, USERS, 3)):
        assert np.isnan(metric[2])


def test_groups_weigh_about_the_same_in_training():
    users = np.concatenate([[0, 0], (1000 / np.arange(1, 400)).astype(int)])
    group = beyond.popularity_group(users)
    shares = np.array([users[group == g].sum() for g in range(3)]) / users.sum()
    assert abs(shares - 1 / 3).max() < 0.1
    assert users[group == 0].min() >= users[group == 1].max() >= users[group == 2].max()


def test_surprise_by_hand():
    lists, hit = np.array([[5, 2, 3]]), np.array([[True, True, False]])
    # d, unknown to all, is placed 5th of 4 by popularity: gain (5 - 1) / 4; a, the first, gains nothing.
    assert beyond.serendipity_popularity(lists, hit, USERS) == pytest.approx([1 / 3])
    # Two items of equal popularity share the places 1 and 2: the hit at place 1 gains (1.5 - 1) / 2.
    assert beyond.serendipity_popularity(
        np.array([[2]]), np.array([[True]]), np.array([0, 0, 7, 7])
    ) == pytest.approx([0.25])
    assert beyond.unexpectedness(lists, np.array([[2, 4, 5]])) == pytest.approx([1 / 3])
    assert beyond.unexpectedness(lists, lists) == pytest.approx([0.0])
    with pytest.raises(ShapeError, match="one shape"):
        beyond.unexpectedness(lists, lists[:, :2])


def test_serendipity_by_content_rewards_hits_unlike_the_history():
    world = Sequences.from_lists([["a", "b", "c", "d"]])
    queries = split_leave_one_out(world).test  # the history is a, b, c
    vectors = np.array([[0, 0], [0, 0], [1, 0], [2, 0], [0, 3], [1, 1]], dtype=float)
    found = beyond.serendipity_content(np.array([[5, 4]]), np.array([[True, False]]), queries, vectors)
    # d is at 45 degrees to each of a, b and c.
    assert found == pytest.approx([(1 - np.sqrt(0.5)) / 2])


def random_lists(rng, n_queries, k, n_items):
    lists = np.stack([rng.permutation(n_items)[:k] + 2 for _ in range(n_queries)]).astype(np.int32)
    for row in lists:
        row[rng.integers(0, k + 1) :] = 0
    return lists


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_diversity_agrees_with_a_loop_over_pairs(seed):
    rng = np.random.default_rng(seed)
    histories = [[str(i) for i in rng.integers(0, 12, rng.integers(1, 9))] for _ in range(15)]
    train = Sequences.from_lists([[str(i) for i in range(12)], *histories])
    lists = random_lists(rng, 20, 5, 12)
    vectors = rng.standard_normal((14, 3))
    attributes = rng.integers(0, 3, (14, 4))
    incidence = np.zeros((14, train.n_users))
    incidence[train.item_ix, train.user_ix] = 1

    def cosine(a, b):
        return a @ b / np.sqrt((a @ a) * (b @ b))

    ways = [
        (beyond.diversity_vectors(lists, vectors), lambda i, j: 1 - cosine(vectors[i], vectors[j])),
        (beyond.diversity_users(lists, train), lambda i, j: 1 - cosine(incidence[i], incidence[j])),
        (
            beyond.diversity_attributes(lists, attributes),
            lambda i, j: (attributes[i] != attributes[j]).mean(),
        ),
    ]
    for found, distance in ways:
        expected = [
            np.mean([distance(i, j) for i, j in itertools.combinations(row[row > 0], 2)] or [np.nan])
            for row in lists
        ]
        assert found == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_remembered_cosines_survive_a_full_table():
    # One list with more pairs than half the table holds: it starts anew and stays right.
    n_items = 1500
    assert n_items * (n_items - 1) // 2 > beyond.MEMO // 2
    train = Sequences.from_lists([[str(i) for i in range(n_items)]])
    lists = np.arange(2, n_items + 2, dtype=np.int32)[None, :]
    assert beyond.diversity_users(lists, train) == pytest.approx([0.0], abs=1e-6)


def test_relevant_marks_the_targets():
    world = Sequences.from_lists([["a", "b", "c"], ["b", "c", "a"]])
    queries = split_leave_one_out(world).test
    assert beyond.relevant(np.array([[2, 4], [2, 0]]), queries).tolist() == [[False, True], [True, False]]
