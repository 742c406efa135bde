# SPDX-License-Identifier: Apache-2.0
"""First-order Markov chains: the next item from the last item, the next action from the last two.

Both back off to shorter contexts where counts are thin, so that every answer is a probability. They
know order but neither time nor anything before the last steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.models.counts import fitted, item_counts, last_items, log_share
from desirepath.schema import FIRST, PADDING
from desirepath.sequences import Queries, Sequences


def _adjacent(train: Sequences, steps: int = 1) -> NDArray[np.int64]:
    """Rows that have at least `steps` earlier rows of the same user."""
    rows = np.arange(train.n_events, dtype=np.int64)
    first = np.repeat(np.asarray(train.offsets[:-1]), train.lengths)
    return rows[rows - first >= steps]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkovConfig:
    """How far the chain trusts its counts."""

    back_off: float = 10.0
    """Weight of the popularity prior, in transitions, > 0: an item left this often is trusted by half."""
    smoothing: float = 1.0
    """Pseudo-count of every item (> 0) in the popularity it backs off to."""

    def __post_init__(self) -> None:
        for name in ("back_off", "smoothing"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0; got {getattr(self, name)}.")


class Markov:
    """The next item from the last one: ln P(j | i), P = (n_ij + c q_j) / (n_i + c).

    n_ij counts j right after i in one user's sequence, n_i its row sum, q the smoothed popularity, c the
    option `back_off`. A history without a known item gets q itself; an unknown last item is passed over.

    Source: a Dirichlet prior centred on the shorter context (MacKay and Peto, "A hierarchical Dirichlet
    language model", 1995, eq. 12). Without the factorisation that FPMC adds (Rendle et al., WWW 2010).

    >>> train = Sequences.from_lists([["a", "b", "a", "b"]])
    >>> model = Markov().fit(train)
    >>> best = model.scores(Queries.from_items([["b"]], train.items)).argmax()
    >>> train.items.decode([best]).to_list()
    ['a']
    """

    name: ClassVar[str] = "markov"

    def __init__(self, config: MarkovConfig | None = None) -> None:
        """Take the options."""
        self.config = config or MarkovConfig()
        self._prior_V: NDArray[np.float32] | None = None
        self._count_VV: sp.csr_array | None = None

    def fit(self, train: Sequences) -> Self:
        """Count the transitions of `train`.     Cost: one sort of its adjacent pairs."""
        size = len(train.items)
        after = _adjacent(train)
        left, right = np.asarray(train.item_ix)[after - 1], np.asarray(train.item_ix)[after]
        known = (left >= FIRST) & (right >= FIRST)
        self._count_VV = sp.coo_array(
            (np.ones(int(known.sum()), np.float32), (left[known], right[known])), shape=(size, size)
        ).tocsr()
        self._prior_V = log_share(item_counts(train), self.config.smoothing)
        return self

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """(B, V) ln P(item | last item).     Cost: one write of the matrix, and the counts of B rows.

        Raises:
            NotFittedError: before `fit`.
        """
        prior_V = fitted(self._prior_V, self.name)
        row_BV = fitted(self._count_VV, self.name)[last_items(queries, len(prior_V))]
        weight = self.config.back_off
        total_B = np.asarray(row_BV.sum(axis=1), dtype=np.float64) + weight
        out = prior_V + np.log(weight / total_B).astype(np.float32)[:, None]
        query = np.repeat(np.arange(len(queries)), np.diff(row_BV.indptr))
        seen = row_BV.data + weight * np.exp(prior_V[row_BV.indices].astype(np.float64))
        out[query, row_BV.indices] = np.log(seen / total_B[query])
        return out

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The prior, and the counts as the three arrays of a CSR matrix."""
        count_VV = fitted(self._count_VV, self.name)
        return {
            "prior_V": fitted(self._prior_V, self.name),
            "count_data": count_VV.data,
            "count_indices": count_VV.indices,
            "count_indptr": count_VV.indptr,
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._prior_V = state["prior_V"].astype(np.float32)
        size = len(self._prior_V)
        self._count_VV = sp.csr_array(
            (state["count_data"], state["count_indices"], state["count_indptr"]), shape=(size, size)
        )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionMarkovConfig:
    """How far the chain of actions looks back and trusts its counts."""

    order: int = 2
    """How many last actions it looks at: 1 or 2."""
    back_off: float = 10.0
    """Weight (> 0) of the shorter context, in events: one seen this often is trusted by half."""

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ConfigError(f"order must be 1 or 2; got {self.order}.")
        if not self.back_off > 0:
            raise ConfigError(f"back_off must be above 0; got {self.back_off}.")


class ActionMarkov:
    """The next action from the last two: P(a | a2 a1) backs off to P(a | a1), and that to P(a).

    P_k(a | context) = (n(context, a) + c P_{k-1}(a | shorter context)) / (n(context) + c), with c the option
    `back_off` and P_0 the share of each action with one pseudo-count. Where a user has no earlier action,
    padding stands in its place, so that beginnings are contexts of their own. Only contexts that occur are
    kept, so that many actions cost no more than their events.

    Source: as `Markov`, one level deeper.

    >>> train = Sequences.from_lists([["a", "b"]])
    >>> ActionMarkov().fit(train).probabilities(Queries.latest(train, np.array([0]))).tolist()
    [[0.0, 0.0, 1.0]]
    """

    name: ClassVar[str] = "action-markov"

    def __init__(self, config: ActionMarkovConfig | None = None) -> None:
        """Take the options."""
        self.config = config or ActionMarkovConfig()
        self._share_A: NDArray[np.float64] | None = None
        self._counts: list[tuple[NDArray[np.int64], sp.csr_array]] = []
        """For each order from 1: the sorted codes of its contexts, and their (C, A) counts."""

    def fit(self, train: Sequences) -> Self:
        """Count the actions of `train` after each context.     Cost: a sort of the events, for each order."""
        size = len(train.actions)
        action = np.asarray(train.action_ix, dtype=np.int64)
        known = action >= FIRST
        share_A = np.bincount(action[known], minlength=size).astype(np.float64)
        share_A[FIRST:] += 1.0
        self._share_A = share_A / max(share_A.sum(), 1.0)
        self._counts = []
        code = np.zeros(train.n_events, dtype=np.int64)
        for steps in range(1, self.config.order + 1):
            rows = _adjacent(train, steps)
            before = np.full(train.n_events, PADDING, dtype=np.int64)
            before[rows] = action[rows - steps]
            code += before * size ** (steps - 1)
            context_C, place = np.unique(code[known], return_inverse=True)
            count_CA = sp.coo_array(
                (np.ones(len(place)), (place, action[known])), shape=(len(context_C), size)
            ).tocsr()
            self._counts.append((context_C, count_CA))
        return self

    def probabilities(self, queries: Queries) -> NDArray[np.float32]:
        """(B, A) probability of each next action; rows sum to 1, columns 0 and 1 are 0.

        An action that training did not know counts as padding.

        Raises:
            NotFittedError: before `fit`.
        """
        share_A = fitted(self._share_A, self.name)
        action_ix = queries.sequences.action_ix
        out = np.repeat(share_A[None, :], len(queries), axis=0)
        code = np.zeros(len(queries), dtype=np.int64)
        for steps, (context_C, count_CA) in enumerate(self._counts, start=1):
            long_enough = queries.lengths >= steps
            before = np.full(len(queries), PADDING, dtype=np.int64)
            before[long_enough] = action_ix[queries.stop[long_enough] - steps]
            code += np.where(before < len(share_A), before, PADDING) * len(share_A) ** (steps - 1)
            place = np.searchsorted(context_C, code)
            met = np.flatnonzero(np.append(context_C, -1)[place] == code)
            count_BA = count_CA[place[met]].toarray()
            weight = self.config.back_off
            out[met] = (count_BA + weight * out[met]) / (count_BA.sum(axis=1, keepdims=True) + weight)
        return np.asarray(out, dtype=np.float32)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The shares, and for each order its contexts and the three arrays of its CSR counts."""
        arrays: dict[str, NDArray[np.generic]] = {"share_A": fitted(self._share_A, self.name)}
        for order, (context_C, count_CA) in enumerate(self._counts, start=1):
            arrays[f"context_{order}"] = context_C
            for part in ("data", "indices", "indptr"):
                arrays[f"{part}_{order}"] = getattr(count_CA, part)
        return arrays

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._share_A = state["share_A"].astype(np.float64)
        self._counts = []
        for order in range(1, self.config.order + 1):
            context_C = state[f"context_{order}"].astype(np.int64)
            parts = tuple(state[f"{part}_{order}"] for part in ("data", "indices", "indptr"))
            count_CA = sp.csr_array(parts, shape=(len(context_C), len(self._share_A)))
            self._counts.append((context_C, count_CA))
        return self
