# SPDX-License-Identifier: Apache-2.0
"""Lists that are not more of the same: maximal marginal relevance and determinantal point processes.

Both build a list greedily from relevance and likeness. They know arrays of numbers; who the items are, and
what else a list must satisfy, is said elsewhere.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from desirepath.recommend.codes import Codes

Floats = NDArray[np.float64]
LIKEST = 0.95
"""Likeness of two items with the same features. Below 1, so that copies, such as all items of one category,
still lie apart: a list over few categories goes on taking turns when each has been seen."""


class Picker(Protocol):
    """What a greedy choice asks at every step."""

    gain: Floats
    """(N,) what each item would add to the list so far; the highest is taken next."""

    def take(self, j: int) -> None:
        """Put item j on the list and bring `gain` up to date."""
        ...


class MarginalRelevance:
    """Maximal marginal relevance: (1 - dial) relevance - dial x likeness to the nearest item taken.

    Source: Carbonell and Goldstein, The use of MMR, SIGIR 1998; their lambda is 1 - dial.
    Cost: O(N D) a step.
    """

    def __init__(self, relevance: Floats, features_ND: Floats, dial: float) -> None:
        self.features_ND, self.dial = features_ND, dial
        self.pull = (1.0 - dial) * relevance
        self.nearest = np.zeros(len(relevance))
        self.gain: Floats = self.pull

    def take(self, j: int) -> None:
        """Bring up to date how near each item is to the nearest one taken."""
        np.maximum(self.nearest, likeness(self.features_ND, j), out=self.nearest)
        self.gain = self.pull - self.dial * self.nearest


class Determinant:
    """Greedy MAP of a determinantal point process: (1 - dial) relevance + dial x log of volume added.

    The kernel is L = diag(q) S diag(q) with S the likeness and q = exp(a x relevance), a = (1 - dial) /
    (2 dial): log det L of a list, times dial, is the sum of these gains. A Cholesky factor grows by one row
    a step, so that no determinant is taken.

    Source: Chen, Zhang and Zhou, Fast greedy MAP inference for determinantal point process, NeurIPS 2018,
    algorithm 1 and the trade-off of its section 4.2, whose theta is 1 - dial. Changed: S is mixed with the
    identity (see `LIKEST`), so that there is volume left for every item of any list.
    Cost: O(N (D + t)) at step t.
    """

    def __init__(self, relevance: Floats, features_ND: Floats, dial: float, n_steps: int) -> None:
        self.features_ND, self.dial = features_ND, dial
        self.pull = (1.0 - dial) * relevance
        self.volume = np.ones(len(relevance))
        self.rows = np.zeros((n_steps, len(relevance)))
        self.n_taken = 0
        self.gain: Floats = self.pull

    def take(self, j: int) -> None:
        """Take from every item's volume the part that lies along item j."""
        rows = self.rows[: self.n_taken]
        row = self.rows[self.n_taken]
        np.divide(likeness(self.features_ND, j) - rows[:, j] @ rows, np.sqrt(self.volume[j]), out=row)
        # Items already taken have none left; rounding must not make it negative.
        self.volume = np.maximum(self.volume - row * row, 1e-300)
        self.n_taken += 1
        self.gain = self.pull + self.dial * np.log(self.volume)


def likeness(features_ND: Floats, j: int) -> Floats:
    """(N,) likeness of every item to item j: `LIKEST` x (1 + cosine) / 2, and 1 to itself.

    An item without features lies half way from all others.
    """
    alike: Floats = LIKEST / 2 * (1.0 + features_ND @ features_ND[j])
    alike[j] = 1.0
    return alike


def features(
    item_ix: NDArray[np.int64], item_vectors: NDArray[np.floating] | None, labels: Codes | None
) -> Floats:
    """(N, D) unit vectors of items: the model's, or their labels where the model has none.

    Items beyond the rows of `item_vectors`, or with a row of zeros, get one place a label, each as long as
    the other; they lie at right angles to the items with vectors. Items without either are zero.
    """
    n_items = len(item_ix)
    known = np.zeros((n_items, 0))
    if item_vectors is not None:
        held = item_ix < len(item_vectors)
        known = item_vectors[np.where(held, item_ix, 0)].astype(np.float64)
        known[~held] = 0.0
        known = _unit(known)
    bare = np.flatnonzero(~known.any(axis=1))
    if labels is None or not len(bare):
        return known
    place, code = labels.of(item_ix[bare])
    distinct, column = np.unique(code, return_inverse=True)
    hot = np.zeros((n_items, len(distinct)))
    hot[bare[place], column] = 1.0
    return np.concatenate([known, _unit(hot)], axis=1)


def _unit(vectors_ND: Floats) -> Floats:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))[:, None]
    unit: Floats = np.divide(vectors_ND, lengths, out=np.zeros_like(vectors_ND), where=lengths > 0)
    return unit


def picker(method: str, relevance: Floats, features_ND: Floats, dial: float, n_steps: int) -> Picker:
    """What builds a list of `n_steps` by the method, "dpp" or "mmr", with dial above 0 and at most 1.

    Relevance is from 0 (the least of the candidates) to 1, on the scale of likeness.
    """
    if method == "mmr":
        return MarginalRelevance(relevance, features_ND, dial)
    return Determinant(relevance, features_ND, dial, n_steps)
