# SPDX-License-Identifier: Apache-2.0
"""Popularity: the same list for everybody, counted over all time, with decay, or over the last days.

The rows that every other model must beat. The score is the log of an item's smoothed share, so that
its softmax is the share itself. It does not know whom it recommends to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.models.counts import DAY_S, fitted, item_counts, log_share, repeated
from desirepath.sequences import Queries, Sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class PopularityConfig:
    """How events are weighed before they are counted."""

    half_life_days: float | None = None
    """An event this many days before the end of training counts half; None counts all alike."""
    window_days: float | None = None
    """Only events of the last so many days of training count; None takes all."""
    smoothing: float = 1.0
    """Pseudo-count of every item, > 0; keeps unseen items rankable."""

    def __post_init__(self) -> None:
        for name in ("half_life_days", "window_days", "smoothing"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0; got {value}. Leave it out for the default.")


class Popularity:
    """Items by how often they came, all time alike unless the configuration says otherwise.

    Decay needs no "now": between two moments of asking, exponential weights all shrink by one factor,
    which changes neither the order nor the shares.

    >>> train = Sequences.from_lists([["a", "b"], ["b"]])
    >>> model = Popularity().fit(train)
    >>> float(model.scores(Queries.latest(train, np.array([0])))[0].argmax())
    3.0
    """

    name: ClassVar[str] = "popularity"

    def __init__(self, config: PopularityConfig | None = None) -> None:
        """Take the options; without them all events count alike."""
        self.config = config or self.default()
        self._score_V: NDArray[np.float32] | None = None

    @classmethod
    def default(cls) -> PopularityConfig:
        """The options of this row of the table."""
        return PopularityConfig()

    def fit(self, train: Sequences) -> Self:
        """Count the items of `train`.     Cost: one pass over the events."""
        weight: NDArray[np.float64] | None = None
        config = self.config
        if train.n_events and (config.half_life_days is not None or config.window_days is not None):
            age_days = (np.max(train.time_s) - train.time_s) / DAY_S
            weight = np.ones(train.n_events)
            if config.half_life_days is not None:
                weight = np.exp2(-age_days / config.half_life_days)
            if config.window_days is not None:
                weight = weight * (age_days < config.window_days)
        self._score_V = log_share(item_counts(train, weight), config.smoothing)
        return self

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """(B, V) log of each item's share, the same in every row.

        Raises:
            NotFittedError: before `fit`.
        """
        return repeated(fitted(self._score_V, self.name), len(queries))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The scores of the items."""
        return {"score_V": fitted(self._score_V, self.name)}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._score_V = state["score_V"].astype(np.float32)
        return self


class DecayedPopularity(Popularity):
    """Popularity in which an event counts half after a week."""

    name: ClassVar[str] = "popularity-decayed"

    @classmethod
    def default(cls) -> PopularityConfig:
        """A half-life of 7 days."""
        return PopularityConfig(half_life_days=7.0)


class RecentPopularity(Popularity):
    """Popularity over the last week of training; strong when what is asked for is the next days."""

    name: ClassVar[str] = "popularity-7d"

    @classmethod
    def default(cls) -> PopularityConfig:
        """A window of 7 days."""
        return PopularityConfig(window_days=7.0)
