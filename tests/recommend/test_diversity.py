"""Diversity against the definitions: determinants taken one by one, and the double loop of MMR."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.diversity import features, likeness, picker

WORLDS = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 12))


def world(seed: int, n_items: int, width: int):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n_items, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = np.sort(rng.random(n_items))[::-1]
    return relevance, vectors


def greedy(method, relevance, vectors, dial, n_steps):
    pick = picker(method, relevance, vectors, dial, n_steps)
    chosen = []
    for _ in range(n_steps):
        gain = pick.gain.copy()
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        pick.take(chosen[-1])
    return chosen


@given(made=WORLDS, dial=st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_dpp_maximises_the_determinant_at_every_step(made, dial):
    """Each item taken is the one with the largest det(L) over all others, L = diag(q) S diag(q)."""
    relevance, vectors = world(*made)
    n_items = len(relevance)
    quality = np.exp((1 - dial) / (2 * dial) * relevance)
    alike = 0.95 * (1 + vectors @ vectors.T) / 2
    np.fill_diagonal(alike, 1.0)
    kernel = quality[:, None] * alike * quality[None, :]
    chosen = greedy("dpp", relevance, vectors, dial, n_items)
    for step in range(n_items):
        taken = chosen[:step]
        volumes = {
            j: np.linalg.slogdet(kernel[np.ix_([*taken, j], [*taken, j])])[1]
            for j in range(n_items)
            if j not in taken
        }
        assert volumes[chosen[step]] >= max(volumes.values()) - 1e-6


@given(made=WORLDS, dial=st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_mmr_is_its_definition(made, dial):
    relevance, vectors = world(*made)
    chosen: list[int] = []
    for _ in range(len(relevance)):
        best, best_gain = -1, -np.inf
        for j in range(len(relevance)):
            if j not in chosen:
                near = max([0.95 * (1 + float(vectors[j] @ vectors[i])) / 2 for i in chosen], default=0.0)
                gain = (1 - dial) * relevance[j] - dial * near
                if gain > best_gain + 1e-12:
                    best, best_gain = j, gain
        chosen.append(best)
    assert greedy("mmr", relevance, vectors, dial, len(relevance)) == chosen


@pytest.mark.parametrize("method", ["dpp", "mmr"])
def test_the_dial_has_two_ends(method):
    """Near 0 the order of relevance; at 1 the unlike come first whatever their relevance."""
    relevance = np.array([1.0, 0.9, 0.8, 0.1])
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.98, 0.199], [-1.0, 0.0]])
    assert greedy(method, relevance, vectors, 1e-9, 4) == [0, 1, 2, 3]
    assert greedy(method, relevance, vectors, 1.0, 2) == [0, 3]


@pytest.mark.parametrize("method", ["dpp", "mmr"])
def test_copies_of_one_item_do_not_break_it(method):
    relevance = np.linspace(1, 0, 6)
    vectors = np.tile([[1.0, 0.0]], (6, 1))
    chosen = greedy(method, relevance, vectors, 0.5, 6)
    assert chosen == [0, 1, 2, 3, 4, 5]


def test_likeness_is_the_cosine_from_0_to_1():
    vectors = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert likeness(vectors, 0).tolist() == [1.0, 0.0, 0.475, 0.475]
    assert likeness(vectors, 3).tolist() == [0.475, 0.475, 0.475, 1.0]


def test_labels_stand_in_for_vectors():
    """Items 2 and 3 have vectors; 4 to 6 labels only; 7 nothing."""
    labels = [None, None, ["a"], ["a"], ["a", "b"], ["b"], ["b"], None]
    codes = ItemAttributes(pl.DataFrame({"categories": labels})).codes("categories")
    vectors = np.array([[9, 9], [9, 9], [3, 4], [0, 2], [0, 0]], dtype=np.float32)
    found = features(np.arange(2, 8), vectors, codes)
    alike = found @ found.T
    expected = np.zeros((6, 6))
    expected[:2, :2] = [[1, 0.8], [0.8, 1]]
    expected[2:5, 2:5] = [[1, 0.5**0.5, 0.5**0.5], [0.5**0.5, 1, 1], [0.5**0.5, 1, 1]]
    np.testing.assert_allclose(alike, expected, atol=1e-7)
    np.testing.assert_allclose(features(np.arange(2, 4), None, None), np.zeros((2, 0)))
