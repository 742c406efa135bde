# SPDX-License-Identifier: Apache-2.0
"""EASE: one closed-form linear model from all items of a history to each next item.

It knows which items a user has, neither their order nor their number. Its cost is that of inverting a
matrix of items x items, so it refuses catalogues that would not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import lapack

from desirepath.errors import ConfigError
from desirepath.models.base import NEVER
from desirepath.models.counts import fitted, history_counts, interactions, item_counts, tie_break
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences

BLOCK = 1024
"""Rows of an items x items matrix that are worked on at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EaseConfig:
    """How strongly the weights are held down, and how large a catalogue is accepted."""

    penalty: float = 100.0
    """The ridge penalty lambda, in squared events, > 0; the paper finds 200 to 1000 on large data."""
    max_items: int = 20_000
    """Most items with events that are accepted; memory is 8 bytes and time a few flops x items^3."""
    max_events: int | None = 1000
    """Only the last so many events of each user are learnt from; None takes all. Bounds what robots cost."""

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise ConfigError(f"penalty must be above 0; got {self.penalty}.")
        for name in ("max_items", "max_events"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1; got {value}.")


class Ease:
    """Scores x B, where x marks the items of the history and B is the best linear map with no diagonal.

    P = (X'X + penalty I)^-1,  B_ij = -P_ij / P_jj off the diagonal and 0 on it, with X the binary
    users x items matrix. Everything in float32 but the Gram matrix's counts, which are exact in it.
    Ties, and histories without a known item, follow popularity.

    Source: Steck, "Embarrassingly shallow autoencoders for sparse data" (WWW 2019), eq. 8, algorithm 1.

    >>> train = Sequences.from_lists([["a", "b"], ["a", "b"], ["c", "d"]])
    >>> model = Ease(EaseConfig(penalty=1.0)).fit(train)
    >>> scores = model.scores(Queries.from_items([["a"]], train.items))[0]
    >>> train.items.decode([scores.argmax()]).to_list()
    ['b']
    """

    name: ClassVar[str] = "ease"

    def __init__(self, config: EaseConfig | None = None) -> None:
        """Take the options."""
        self.config = config or EaseConfig()
        self._weight_MM: NDArray[np.float32] | None = None
        """M x M, for the M items that have events."""
        self._item_M: NDArray[np.int64] | None = None
        self._tie_V: NDArray[np.float32] | None = None

    def fit(self, train: Sequences) -> Self:
        """Solve for the weights.

        Cost: the sum of squared history lengths, then M^3 float32 operations and 8 M^2 bytes for M items
        with events: 12,000 items take about 1.2 GB.

        Raises:
            ConfigError: more than `max_items` items have events.
        """
        counts = item_counts(train)
        item_M = np.flatnonzero(counts)
        if len(item_M) > self.config.max_items:
            raise ConfigError(
                f"EASE needs at most max_items={self.config.max_items} items with events; there are "
                f"{len(item_M)}, which would take {8e-9 * len(item_M) ** 2:.1f} GB. Raise max_items if that "
                "fits, drop rare items when the log is cleaned, or use 'item-knn' instead."
            )
        user_item = interactions(train, max_events=self.config.max_events)[:, item_M]
        gram_MM = _gram(user_item)
        gram_MM[np.diag_indices_from(gram_MM)] += np.float32(self.config.penalty)
        inverse_MM = _inverse(gram_MM)
        inverse_MM /= -np.diag(inverse_MM).copy()
        np.fill_diagonal(inverse_MM, 0.0)
        self._weight_MM = inverse_MM
        self._item_M = item_M
        self._tie_V = tie_break(counts)
        return self

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """(B, V) sum of the weights from the history's items.     Cost: history length x M for each query.

        Raises:
            NotFittedError: before `fit`.
        """
        weight_MM = fitted(self._weight_MM, self.name)
        tie_V, item_M = fitted(self._tie_V, self.name), fitted(self._item_M, self.name)
        out = np.zeros((len(queries), len(tie_V)), dtype=np.float32)
        if len(item_M):
            out[:, item_M] = history_counts(queries, len(tie_V))[:, item_M] @ weight_MM
        out += tie_V
        out[:, :FIRST] = NEVER
        return out

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The weights, the items they belong to, and the order of ties."""
        return {
            "weight_MM": fitted(self._weight_MM, self.name),
            "item_M": fitted(self._item_M, self.name),
            "tie_V": fitted(self._tie_V, self.name),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._weight_MM = state["weight_MM"].astype(np.float32, copy=False)
        self._item_M = state["item_M"].astype(np.int64, copy=False)
        self._tie_V = state["tie_V"].astype(np.float32, copy=False)
        return self


def _gram(user_item: sp.csr_array) -> NDArray[np.float32]:
    """X'X as a dense matrix, made in blocks so that no second one exists."""
    by_item = user_item.T.tocsr()
    size = by_item.shape[0]
    gram = np.empty((size, size), dtype=np.float32)
    for first in range(0, size, BLOCK):
        gram[first : first + BLOCK] = (by_item[first : first + BLOCK] @ user_item).toarray()
    return gram


def _inverse(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of a symmetric positive definite matrix, in its own memory (Cholesky)."""
    if not len(matrix):
        return matrix
    # The transpose of a C array is a Fortran array, which LAPACK overwrites instead of copying.
    factor, failed = lapack.spotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    assert not failed, "a Gram matrix with a positive penalty is positive definite"
    inverse, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    assert not failed, "a Cholesky factor has no zero on its diagonal"
    full: NDArray[np.float32] = inverse.T
    # LAPACK filled one triangle: the upper one, as C sees it. Mirror it, block by block.
    for first in range(0, len(full), BLOCK):
        rows = slice(first, first + BLOCK)
        square = np.triu(full[rows, rows])
        full[rows, rows] = square + np.triu(square, 1).T
        full[first + BLOCK :, rows] = full[rows, first + BLOCK :].T
    return full
