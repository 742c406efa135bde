# SPDX-License-Identifier: Apache-2.0
"""Markov chains of any order that back off to shorter contexts, by interpolated Kneser-Ney smoothing.

`BackoffChain` reads flat arrays of symbols, whatever they stand for; `MarkovBackoff` is the same chain over
items, as a model beside the others. Both know order, but neither times nor what a symbol is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, ShapeError
from desirepath.models.base import NEVER
from desirepath.models.counts import fitted
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences

CHUNK_CELLS = 1 << 25
"""Probabilities that `top` holds at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffConfig:
    """How far the chain looks back, and what it counts in shorter contexts."""

    order: int = 3
    """Symbols of the longest context, 1 to 16."""
    lower: Literal["continuation", "raw"] = "raw"
    """What shorter contexts count: "raw" how often a symbol follows (absolute discounting), "continuation"
    after how many different longer contexts it does (Kneser-Ney proper)."""

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 16:
            raise ConfigError(f"order must lie between 1 and 16; got {self.order}.")
        if self.lower not in ("continuation", "raw"):
            raise ConfigError(f"lower must be 'continuation' or 'raw'; got '{self.lower}'.")


class _Level(NamedTuple):
    """The contexts of one length: each is a context of the level before and one older symbol."""

    code: NDArray[np.int64]
    """(C,) ascending: number of the shorter context * n_symbols + the symbol before it."""
    start: NDArray[np.int64]
    """(C + 1,) where the followers of each context begin."""
    symbol: NDArray[np.int32]
    """(F,) followers of each context, ascending."""
    gain: NDArray[np.float64]
    """(F,) discounted share of each follower."""
    spare: NDArray[np.float64]
    """(C,) the share left to the shorter context."""


class BackoffChain:
    """P(next symbol | last k symbols), interpolated with all shorter contexts down to the even chance.

        P_k(w | h) = max(c(h w) - D(c), 0) / c(h) + (sum of the D taken from h) / c(h) * P_{k-1}(w | h')

    with h' the context h without its oldest symbol, P_{-1} = 1 / n_symbols, and discounts D of each order
    for counts of 1, 2 and more. A context that never occurred hands on to h' unchanged. Every answer sums
    to 1, and no symbol has none.

    Source: Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", section
    3 (modified Kneser-Ney, eqs. 23 to 26, interpolated). Changed: the begin of a sequence is no symbol (it
    counts as one more context where different contexts are counted); where fewer than all of n1 to n4 occur,
    or a discount comes out outside its range, D is 0.5.

    >>> chain = BackoffChain(BackoffConfig(order=2)).fit(np.array([0, 4]), np.array([0, 1, 0, 1]), 2)
    >>> chain.probabilities(np.array([0, 1]), np.array([0])).round(3).tolist()
    [[0.125, 0.875]]
    """

    def __init__(self, config: BackoffConfig | None = None) -> None:
        """Take the options."""
        self.config = config or BackoffConfig()
        self._base: NDArray[np.float64] | None = None
        self._levels: list[_Level] = []

    def fit(self, offsets: NDArray[np.integer], symbol_ix: NDArray[np.integer], n_symbols: int) -> Self:
        """Count what follows what.

        Args:
            offsets: (S + 1,) where sequences begin; the last entry is the number of events.
            symbol_ix: (N,) symbols from 0 to n_symbols - 1, oldest first within a sequence.
            n_symbols: number of symbols, 1 or more.

        Raises:
            ShapeError: an array does not fit the others.

        Cost: a sort of the events for each order.
        """
        bounds: NDArray[np.int64] = np.array(offsets, np.int64)
        symbol: NDArray[np.int64] = np.array(symbol_ix, np.int64)
        if n_symbols < 1 or int(bounds[-1]) != len(symbol) or (len(symbol) and symbol.max() >= n_symbols):
            raise ShapeError(
                f"offsets must end at {len(symbol)} and symbols lie below n_symbols = {n_symbols}; offsets "
                f"end at {int(bounds[-1])} and the largest symbol is {symbol.max(initial=-1)}."
            )
        place = np.arange(len(symbol)) - np.repeat(bounds[:-1], np.diff(bounds))
        codes, ngrams = [], []
        # What each event stands after: number of its context of k symbols, -1 where it has fewer.
        context = np.zeros(len(symbol), np.int64)
        for k in range(self.config.order + 1):
            if k:
                rows = np.flatnonzero((context >= 0) & (place >= k))
                code, number = np.unique(context[rows] * n_symbols + symbol[rows - k], return_inverse=True)
                context = np.full(len(symbol), -1, np.int64)
                context[rows] = number
                codes.append(code)
            rows = np.flatnonzero(context >= 0)
            pair, count = np.unique(context[rows] * n_symbols + symbol[rows], return_counts=True)
            ngrams.append((pair, count))
        if self.config.lower == "continuation":
            ngrams = _continued(ngrams, codes, bounds, symbol, n_symbols)
        self._levels = []
        self._base = None
        for k, (pair, count) in enumerate(ngrams):
            code = codes[k - 1] if k else np.zeros(1, np.int64)
            level = _level(code, pair, count, n_symbols)
            if k:
                self._levels.append(level)
            else:
                self._base = np.full(n_symbols, level.spare[0] / n_symbols)
                self._base[level.symbol] += level.gain
        return self

    @property
    def n_symbols(self) -> int:
        """Number of symbols it knows."""
        return len(fitted(self._base, "backoff"))

    def probabilities(
        self, offsets: NDArray[np.integer], symbol_ix: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """(B, n_symbols) probability of each next symbol after B histories; rows sum to 1.

        Args:
            offsets: (B + 1,) where each history begins in `symbol_ix`; histories may be empty.
            symbol_ix: (N,) symbols, oldest first; those below 0 or unknown are passed over.

        Cost: one write of the matrix, and the followers of B contexts for each order.

        Raises:
            NotFittedError: before `fit`.
        """
        base = fitted(self._base, "backoff")
        recent = _recent(
            np.asarray(offsets, np.int64), np.asarray(symbol_ix, np.int64), self.config.order, len(base)
        )
        return self._of_recent(recent)

    def top(
        self, offsets: NDArray[np.integer], symbol_ix: NDArray[np.integer], k: int = 10
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(B, k) the likeliest next symbols, best first, and their probabilities; of equals the lower index.

        Arguments are those of `probabilities`; memory is bounded, whatever B.
        """
        base = fitted(self._base, "backoff")
        k = min(k, len(base))
        recent = _recent(
            np.asarray(offsets, np.int64), np.asarray(symbol_ix, np.int64), self.config.order, len(base)
        )
        symbol_BK = np.empty((len(recent), k), np.int32)
        probability_BK = np.empty((len(recent), k), np.float32)
        step = max(1, CHUNK_CELLS // len(base))
        for first in range(0, len(recent), step):
            some = self._of_recent(recent[first : first + step])
            best = np.argsort(-some, axis=1, kind="stable")[:, :k]
            symbol_BK[first : first + step] = best
            probability_BK[first : first + step] = np.take_along_axis(some, best, axis=1)
        return symbol_BK, probability_BK

    def _of_recent(self, recent: NDArray[np.int64]) -> NDArray[np.float32]:
        """Probabilities after (B, order) last symbols, the newest first, -1 where there is none."""
        base = fitted(self._base, "backoff")
        size = len(base)
        found = np.full((len(recent), self.config.order), -1, np.int64)
        context = np.zeros(len(recent), np.int64)
        for k, level in enumerate(self._levels):
            alive = np.flatnonzero((context >= 0) & (recent[:, k] >= 0))
            code = context[alive] * size + recent[alive, k]
            place = np.searchsorted(level.code, code)
            met = np.append(level.code, -1)[place] == code
            context = np.full(len(recent), -1, np.int64)
            context[alive[met]] = place[met]
            found[:, k] = context
        # Followers are weighed by what all longer contexts leave to theirs.
        weight = np.ones(len(recent))
        shares = np.zeros((len(recent), size), np.float32)
        for k in range(self.config.order - 1, -1, -1):
            level = self._levels[k]
            _add(shares, found[:, k], weight, level.start, level.symbol, level.gain)
            met = found[:, k] >= 0
            weight[met] *= level.spare[found[met, k]]
        shares += weight[:, None].astype(np.float32) * base.astype(np.float32)
        return shares

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The arrays from which `restore` makes the fitted chain again."""
        arrays: dict[str, NDArray[np.generic]] = {"base": fitted(self._base, "backoff")}
        for k, level in enumerate(self._levels, start=1):
            arrays |= {f"{name}_{k}": array for name, array in level._asdict().items()}
        return arrays

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave; the order is that of the options."""
        self._base = state["base"].astype(np.float64)
        self._levels = [
            _Level(
                code=state[f"code_{k}"].astype(np.int64),
                start=state[f"start_{k}"].astype(np.int64),
                symbol=state[f"symbol_{k}"].astype(np.int32),
                gain=state[f"gain_{k}"].astype(np.float64),
                spare=state[f"spare_{k}"].astype(np.float64),
            )
            for k in range(1, self.config.order + 1)
        ]
        return self


class MarkovBackoff:
    """The next item from the last few: ln P of a `BackoffChain` over items.

    A history's unknown items are passed over, in training as in answering.

    >>> train = Sequences.from_lists([["a", "b", "c", "a", "b", "c"]] * 3)
    >>> model = MarkovBackoff().fit(train)
    >>> best = model.scores(Queries.from_items([["a", "b"]], train.items)).argmax()
    >>> train.items.decode([best]).to_list()
    ['c']
    """

    name: ClassVar[str] = "markov-backoff"

    def __init__(self, config: BackoffConfig | None = None) -> None:
        """Take the options."""
        self.config = config or BackoffConfig()
        self._chain: BackoffChain | None = None

    def fit(self, train: Sequences) -> Self:
        """Count which item follows which.     Cost: a sort of the events for each order."""
        item = np.asarray(train.item_ix)
        known = item >= FIRST
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(known, dtype=np.int64)])
        offsets = before[np.asarray(train.offsets)]
        self._chain = BackoffChain(self.config).fit(offsets, item[known] - FIRST, max(1, train.n_items))
        return self

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """(B, V) ln P(item | last items).

        Raises:
            NotFittedError: before `fit`.
        """
        chain = fitted(self._chain, self.name)
        offsets = np.stack([queries.start, queries.stop], axis=1)
        item = np.asarray(queries.sequences.item_ix, np.int64)
        recent = _recent_of(offsets, item - FIRST, self.config.order, chain.n_symbols)
        out = np.full((len(queries), FIRST + chain.n_symbols), NEVER, np.float32)
        np.log(chain._of_recent(recent), out=out[:, FIRST:])
        return out

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The arrays of the chain."""
        return fitted(self._chain, self.name).state()

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._chain = BackoffChain(self.config).restore(state)
        return self


Counts = tuple[NDArray[np.int64], NDArray[np.int64]]


def _continued(
    ngrams: list[Counts],
    codes: list[NDArray[np.int64]],
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int64],
    n_symbols: int,
) -> list[Counts]:
    """Of all but the longest contexts: after how many different longer ones each follower comes.

    Where a sequence begins with the context there is no symbol before it; this counts as one more.
    """
    out = []
    for k, (pair, _) in enumerate(ngrams[:-1]):
        longer, _ = ngrams[k + 1]
        shorter = codes[k][longer // n_symbols] // n_symbols
        distinct = shorter * n_symbols + longer % n_symbols
        count = np.bincount(np.searchsorted(pair, distinct), minlength=len(pair))
        # The events with exactly k before them in their sequence.
        rows = (offsets[:-1] + k)[np.diff(offsets) > k]
        context = np.zeros(len(rows), np.int64)
        for back in range(1, k + 1):
            context = np.searchsorted(codes[back - 1], context * n_symbols + symbol[rows - back])
        begun = np.unique(context * n_symbols + symbol[rows])
        count[np.searchsorted(pair, begun)] += 1
        out.append((pair, count))
    return [*out, ngrams[-1]]


def _level(
    code: NDArray[np.int64], pair: NDArray[np.int64], count: NDArray[np.int64], n_symbols: int
) -> _Level:
    """A level from its n-grams, sorted by context and follower."""
    context = pair // n_symbols
    total = np.bincount(context, weights=count, minlength=len(code))
    taken = np.minimum(_discounts(count)[np.minimum(count, 3)], count)
    start = np.searchsorted(context, np.arange(len(code) + 1))
    spare = np.ones(len(code))
    filled = total > 0
    spare[filled] = np.bincount(context, weights=taken, minlength=len(code))[filled] / total[filled]
    return _Level(
        code=code,
        start=start.astype(np.int64),
        symbol=(pair % n_symbols).astype(np.int32),
        gain=(count - taken) / total[context],
        spare=spare,
    )


def _discounts(count: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken from counts of 0, 1, 2 and more (Chen and Goodman 1999, eq. 26)."""
    n = np.bincount(np.minimum(count, 5), minlength=6).astype(np.float64)
    plain = np.array([0.0, 0.5, 0.5, 0.5])
    if (n[1:5] == 0).any():
        return plain
    y = n[1] / (n[1] + 2 * n[2])
    found = np.array([0.0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]])
    right = (found[1:] > 0) & (found[1:] < [1, 2, 3])
    return found if right.all() else plain


def _recent(
    offsets: NDArray[np.int64], symbol: NDArray[np.int64], order: int, n_symbols: int
) -> NDArray[np.int64]:
    return _recent_of(np.stack([offsets[:-1], offsets[1:]], axis=1), symbol, order, n_symbols)


def _recent_of(
    bounds: NDArray[np.int64], symbol: NDArray[np.int64], order: int, n_symbols: int
) -> NDArray[np.int64]:
    """(B, order) the last known symbols of each history, the newest first, -1 where there is none."""
    recent: NDArray[np.int64] = _walk_back(np.ascontiguousarray(bounds, np.int64), symbol, order, n_symbols)
    return recent


@numba.njit(nogil=True, cache=True)
def _walk_back(bounds, symbol, order, n_symbols):  # type: ignore[no-untyped-def]
    recent = np.full((len(bounds), order), -1, np.int64)
    for b in range(len(bounds)):
        k, row = 0, bounds[b, 1] - 1
        while k < order and row >= bounds[b, 0]:
            if 0 <= symbol[row] < n_symbols:
                recent[b, k] = symbol[row]
                k += 1
            row -= 1
    return recent


@numba.njit(nogil=True, cache=True)
def _add(shares, context, weight, start, symbol, gain):  # type: ignore[no-untyped-def]
    """Add the weighed gains of each row's context to its followers."""
    for b in range(len(context)):
        if context[b] >= 0:
            for f in range(start[context[b]], start[context[b] + 1]):
                shares[b, symbol[f]] += np.float32(weight[b] * gain[f])
