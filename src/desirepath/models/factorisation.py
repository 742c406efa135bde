# SPDX-License-Identifier: Apache-2.0
"""Matrix factorisation by the `implicit` package: ALS and BPR.

They know which items a user had and how often, not in which order. A user is what his history says:
histories that training did not see are folded in, so that nobody waits for the next training.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.models.base import NEVER
from desirepath.models.counts import (
    fitted,
    history_counts,
    history_rows,
    interactions,
    item_counts,
    tie_break,
)
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences


def _load(module: str) -> ModuleType:
    """A module of the optional package, fetched only by who needs it.

    Raises:
        ConfigError: the package is not installed.
    """
    from importlib import import_module

    try:
        return import_module(f"implicit.cpu.{module}")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"ALS and BPR need the package '{error.name}', which is not installed. "
            'Run: pip install "desirepath[models]".'
        ) from None


def _one_blas_thread() -> Any:
    """A context in which BLAS keeps to one thread, beside the threads of `implicit`.

    Without it both kinds of threads fight for the cores, up to 10 times slower, of which `implicit` warns.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(limits=1, user_api="blas")


def _plain(matrix: sp.csr_array) -> sp.csr_matrix:
    """The kind of matrix, with the kind of index, that `implicit` accepts."""
    plain = sp.csr_matrix(matrix)
    plain.indices, plain.indptr = plain.indices.astype(np.int32), plain.indptr.astype(np.int32)
    return plain


def _confidence(counts: sp.csr_array, weight: float) -> sp.csr_matrix:
    """1 + weight x count where there are events: Hu et al., section 4; empty elsewhere, which means 1."""
    matrix = _plain(counts)
    matrix.data = (1.0 + weight * matrix.data).astype(np.float32)
    return matrix


def _check(config: AlsConfig | BprConfig, positive: tuple[str, ...]) -> None:
    for name in positive:
        if not getattr(config, name) > 0:
            raise ConfigError(f"{name} must be above 0; got {getattr(config, name)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlsConfig:
    """The shape of the factors, and what a count is worth."""

    dim: int = 64
    """Length of a factor, >= 1."""
    epochs: int = 15
    """Alternations of users and items, >= 1."""
    penalty: float = 1.0
    """The ridge penalty lambda on all factors, > 0."""
    confidence: float = 10.0
    """How much surer one more event makes (alpha of the paper), > 0."""
    seed: int = 0
    """Start of the factors."""

    def __post_init__(self) -> None:
        _check(self, ("dim", "epochs", "penalty", "confidence"))


class Als:
    """Scores p_u . y_i, with p_u the exact least-squares answer to the user's history.

    The item factors Y come from training; for every query p_u = (Y'C_u Y + penalty I)^-1 Y' C_u 1 with
    C_u = 1 + confidence x count, which is the half-step that ALS itself makes, so that known, updated and new
    histories are treated alike. Deterministic whatever the number of threads: rows are solved independently.
    Ties, and histories without a known item, follow popularity.

    Source: Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets" (ICDM 2008), eq. 4
    and section 4; solved by `implicit` with conjugate gradients (Takacs et al., RecSys 2011).
    """

    name: ClassVar[str] = "als"

    def __init__(self, config: AlsConfig | None = None) -> None:
        """Take the options."""
        self.config = config or AlsConfig()
        self._item_VD: NDArray[np.float32] | None = None
        self._tie_V: NDArray[np.float32] | None = None
        self._solver: Any = None

    def fit(self, train: Sequences) -> Self:
        """Alternate.     Cost: epochs x (events x dim + (users + items) x dim^2), shared among all cores."""
        matrix = _confidence(interactions(train, binary=False), self.config.confidence)
        with _one_blas_thread():
            model = self._empty()
            model.fit(matrix, show_progress=False)
        return self._take(model.item_factors, tie_break(item_counts(train)))

    def user_vectors(self, queries: Queries) -> NDArray[np.float32]:
        """(B, D) the factor of each history.     Cost: history x dim^2 + dim^3 for each query.

        Raises:
            NotFittedError: before `fit`.
        """
        item_VD = fitted(self._item_VD, self.name)
        history = history_counts(queries, len(item_VD), binary=False)
        matrix = _confidence(history, self.config.confidence)
        with _one_blas_thread():
            vectors: NDArray[np.float32] = self._solver.recalculate_user(np.arange(len(queries)), matrix)
        return vectors

    def item_vectors(self) -> NDArray[np.float32]:
        """(V, D) the factors of the items."""
        return fitted(self._item_VD, self.name)

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """(B, V) products of factors.     Cost: B x V x dim, after the factors of the histories.

        Raises:
            NotFittedError: before `fit`.
        """
        item_VD = fitted(self._item_VD, self.name)
        out = self.user_vectors(queries) @ item_VD.T
        out += fitted(self._tie_V, self.name)
        out[:, :FIRST] = NEVER
        return out

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The factors of the items, and the order of ties."""
        return {"item_VD": fitted(self._item_VD, self.name), "tie_V": fitted(self._tie_V, self.name)}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        return self._take(state["item_VD"].astype(np.float32), state["tie_V"].astype(np.float32))

    def _empty(self) -> Any:
        return _load("als").AlternatingLeastSquares(
            factors=self.config.dim,
            regularization=self.config.penalty,
            iterations=self.config.epochs,
            random_state=self.config.seed,
        )

    def _take(self, item_VD: NDArray[np.float32], tie_V: NDArray[np.float32]) -> Self:
        with _one_blas_thread():
            solver = self._empty()
        solver.item_factors = item_VD
        self._item_VD, self._tie_V, self._solver = item_VD, tie_V, solver
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class BprConfig:
    """The shape of the factors, and the walk of the gradient."""

    dim: int = 64
    """Length of a factor without its bias, >= 1."""
    epochs: int = 100
    """Most passes over the events, >= 1."""
    max_steps: int = 50_000_000
    """Most pairs drawn, >= 1: large logs take fewer passes (at least one), about a minute in all."""
    learning_rate: float = 0.05
    """Step of the stochastic gradient, > 0."""
    penalty: float = 0.01
    """The ridge penalty on all factors, > 0."""
    seed: int = 0
    """Start of the factors and draw of the pairs."""

    def __post_init__(self) -> None:
        _check(self, ("dim", "epochs", "max_steps", "learning_rate", "penalty"))


class Bpr:
    """Scores p_u . y_i + b_i, learnt so that what a user had stands above what he had not.

    A history that training saw has the factor p_u that was learnt for it. Any other is folded in:
    p_u = W m_u, with m_u the mean of its items' factors and W the ridge regression of the learnt factors of
    all training users on their means; on MovieLens it ranks at least as well as the learnt factors do.
    Equal seeds give equal models, for which the gradient walks on one thread. Ties, and histories without a
    known item, follow popularity.

    Source: Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit
    feedback" (UAI 2009); `implicit` draws its negatives by popularity. The folding is ours.
    """

    name: ClassVar[str] = "bpr"

    def __init__(self, config: BprConfig | None = None) -> None:
        """Take the options."""
        self.config = config or BprConfig()
        self._arrays: dict[str, NDArray[Any]] | None = None

    def fit(self, train: Sequences) -> Self:
        """Walk.     Cost: steps x dim on one core, then users x dim^2 for the folding."""
        history = interactions(train)
        epochs = max(1, min(self.config.epochs, self.config.max_steps // max(history.nnz, 1)))
        with _one_blas_thread():
            model = _load("bpr").BayesianPersonalizedRanking(
                factors=self.config.dim,
                learning_rate=self.config.learning_rate,
                regularization=self.config.penalty,
                iterations=epochs,
                num_threads=1,
                random_state=self.config.seed,
            )
            model.fit(_plain(history), show_progress=False)
        counts = item_counts(train)
        # The last column holds the items' biases, beside which users have a 1.
        item_VD, bias_V = model.item_factors[:, :-1].copy(), model.item_factors[:, -1].copy()
        item_VD[counts == 0] = 0.0
        bias_V[counts == 0] = bias_V[counts > 0].min(initial=0.0)
        user_UD = model.user_factors[:, :-1]
        seen = np.flatnonzero(np.diff(history.indptr))
        everybody = Queries.latest(train, seen)
        mean_UD = self._means(history[seen], item_VD)
        ridge_DD = mean_UD.T @ mean_UD + 1e-6 * len(seen) * np.eye(self.config.dim, dtype=np.float32)
        signature_U, first = np.unique(_signatures(everybody, len(counts)), return_index=True)
        self._arrays = {
            "item_VD": item_VD,
            "bias_V": bias_V,
            "fold_DD": np.linalg.solve(ridge_DD, mean_UD.T @ user_UD[seen]).astype(np.float32),
            "signature_U": signature_U,
            "user_UD": user_UD[seen][first],
            "tie_V": tie_break(counts),
        }
        return self

    @staticmethod
    def _means(history: sp.csr_array, item_VD: NDArray[np.float32]) -> NDArray[np.float32]:
        n_items = np.maximum(np.diff(history.indptr), 1).astype(np.float32)
        means: NDArray[np.float32] = (history @ item_VD) / n_items[:, None]
        return means

    def _fitted(self) -> dict[str, NDArray[Any]]:
        return fitted(self._arrays, self.name)

    def user_vectors(self, queries: Queries) -> NDArray[np.float32]:
        """(B, D) the learnt factor of each history that training saw, and the folded one of every other.

        Raises:
            NotFittedError: before `fit`.
        """
        arrays = self._fitted()
        item_VD, signature_U = arrays["item_VD"], arrays["signature_U"]
        means_BD = self._means(history_counts(queries, len(item_VD)), item_VD)
        vectors: NDArray[np.float32] = means_BD @ arrays["fold_DD"]
        if len(signature_U):
            signature = _signatures(queries, len(item_VD))
            place = np.minimum(np.searchsorted(signature_U, signature), len(signature_U) - 1)
            known = signature_U[place] == signature
            vectors[known] = arrays["user_UD"][place[known]]
        return vectors

    def item_vectors(self) -> NDArray[np.float32]:
        """(V, D) the factors of the items, without their biases."""
        item_VD: NDArray[np.float32] = self._fitted()["item_VD"]
        return item_VD

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """(B, V) products of factors, and biases.     Cost: B x V x dim.

        Raises:
            NotFittedError: before `fit`.
        """
        arrays = self._fitted()
        out: NDArray[np.float32] = self.user_vectors(queries) @ arrays["item_VD"].T
        out += arrays["bias_V"] + arrays["tie_V"]
        out[:, :FIRST] = NEVER
        return out

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Factors, biases, the folding, and the signatures of the histories that training saw."""
        return dict(self._fitted())

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._arrays = dict(state)
        return self


def _signatures(queries: Queries, n_items: int) -> NDArray[np.int64]:
    """(Q,) one number for the known items of each history and their counts, whatever their order.

    The sum of a 64-bit hash of each item (the finaliser of splitmix64, Steele et al. 2014): that any two
    of 100 million different histories agree has a chance of 3 in 10,000.
    """
    rows, query = history_rows(queries, n_items)
    x = (np.asarray(queries.sequences.item_ix)[rows].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(x ^ (x >> np.uint64(31)))])
    ends = np.cumsum(np.bincount(query, minlength=len(queries)))
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    signature: NDArray[np.int64] = (total[ends] - total[starts[: len(ends)]]).view(np.int64)
    return signature
