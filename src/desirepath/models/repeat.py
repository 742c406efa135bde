# SPDX-License-Identifier: Apache-2.0
"""Repeat-last: what a user did last, he does again; then what everybody does.

Strong wherever people return to the same things (music, places, groceries), and useless once seen
items are masked. It knows the history and the items' popularity only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.models.counts import fitted, history_rows, item_counts, log_share, repeated
from desirepath.sequences import Queries, Sequences

UNSEEN = np.float32(-32.0)
"""Added to the log shares of unseen items: below -ln(1 + age) of any history under 10^13 events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatConfig:
    """How the items of a history are ordered."""

    half_life_events: float | None = None
    """None orders by the last occurrence alone; otherwise every occurrence counts, half as much
    after this many further events (> 0), so that habits can outrank the very last step."""
    smoothing: float = 1.0
    """Pseudo-count of every item, > 0, in the popularity of what was not seen."""

    def __post_init__(self) -> None:
        for name in ("half_life_events", "smoothing"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0; got {value}. Leave it out for the default.")


class RepeatLast:
    """The history's own items, latest first, and behind them all others by popularity.

    A seen item whose last occurrence has `age` events after it scores -ln(1 + age): its softmax is the
    power law of recency.

    Source: Anderson, Kumar, Tomkins, Vassilvitskii, "The dynamics of repeat consumption" (WWW 2014),
    section 4: recency, and a power law of it, explains most re-consumption.
    """

    name: ClassVar[str] = "repeat-last"

    def __init__(self, config: RepeatConfig | None = None) -> None:
        """Take the options."""
        self.config = config or RepeatConfig()
        self._unseen_V: NDArray[np.float32] | None = None

    def fit(self, train: Sequences) -> Self:
        """Count the items of `train`, for what stands behind the repeats."""
        self._unseen_V = log_share(item_counts(train), self.config.smoothing) + UNSEEN
        return self

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """(B, V) repeats above all else.     Cost: one pass over the histories.

        Raises:
            NotFittedError: before `fit`.
        """
        unseen_V = fitted(self._unseen_V, self.name)
        out = repeated(unseen_V, len(queries))
        rows, query = history_rows(queries, len(unseen_V))
        item = queries.sequences.item_ix[rows]
        n_known = np.bincount(query, minlength=len(queries))
        age = np.cumsum(n_known)[query] - 1.0 - np.arange(len(rows))
        if self.config.half_life_events is None:
            # Rows ascend, and of repeated indexes numpy keeps the last value: the latest occurrence.
            out[query, item] = -np.log1p(age)
        else:
            cell, place = np.unique(query * len(unseen_V) + item, return_inverse=True)
            weight = np.bincount(place, weights=np.exp2(-age / self.config.half_life_events))
            tiny = np.exp(np.float64(UNSEEN) + 1.0)
            out.reshape(-1)[cell] = np.log(np.maximum(weight, tiny))
        return out

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The scores of unseen items."""
        return {"unseen_V": fitted(self._unseen_V, self.name)}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._unseen_V = state["unseen_V"].astype(np.float32)
        return self
