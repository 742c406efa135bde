# SPDX-License-Identifier: Apache-2.0
"""The nouns of an answer: what is asked for, the candidates that sources offer, and the list that is shown.

Plain arrays of item indexes. It knows neither models nor rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ShapeError
from desirepath.recommend.scenario import BoostConfig, PinConfig
from desirepath.schema import FIRST

NO_ITEMS: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
MODEL = "model"
PIN = "pin"

Kind = Literal["boost", "pin", "cap", "diversity", "exploration", "freshness", "value", "fallback", "filter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How often each item was shown and clicked; arrays may be shorter than the catalogue."""

    impressions: NDArray[np.int64]
    """(V,) at least `clicks`."""
    clicks: NDArray[np.int64]
    """(V,)"""

    def __post_init__(self) -> None:
        """Check that both speak of the same items."""
        if self.impressions.shape != self.clicks.shape:
            raise ShapeError(
                f"impressions and clicks must have one shape; got {self.impressions.shape} "
                f"and {self.clicks.shape}."
            )

    def of(self, item_ix: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(clicks, impressions) of these items; 0 for items beyond the arrays."""
        known = item_ix < len(self.clicks)
        at = np.where(known, item_ix, 0)
        clicks = np.where(known, self.clicks[at], 0).astype(np.float64)
        impressions = np.where(known, self.impressions[at], 0).astype(np.float64)
        # A click may be counted before its impression arrives.
        return clicks, np.maximum(impressions, clicks)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one call asks beyond its scenario: filters are added to the scenario's, numbers replace them."""

    k: int | None = None
    """Length of the list."""
    filter: str = ""
    """A further condition on items."""
    seen_ix: NDArray[np.integer] = field(default_factory=lambda: NO_ITEMS)
    """Items of the user's history, in any order."""
    exclude_seen: bool | None = None
    """Whether to leave those out; as the scenario says when None."""
    blocked_ix: NDArray[np.integer] = field(default_factory=lambda: NO_ITEMS)
    """Items that this user or call must not be shown."""
    blocked_categories: tuple[str, ...] = ()
    """Items that bear any of these categories must not be shown."""
    categories: tuple[str, ...] = ()
    """Items must bear all of these categories."""
    allowed_ix: NDArray[np.integer] | None = None
    """Only these items may be shown; any when None."""
    languages: tuple[str, ...] = ()
    """Show only items in one of these languages; replaces the scenario's."""
    boosts: tuple[BoostConfig, ...] = ()
    """Added to the scenario's."""
    pins: tuple[PinConfig, ...] = ()
    """Added to the scenario's; where both claim a place or an item, the request's pin stays."""
    caps: Mapping[str, int] = field(default_factory=dict)
    """Added to the scenario's; replaces its cap of the same column."""
    values: Mapping[str, float] | None = None
    """Replaces the scenario's."""
    diversity: float | None = None
    """Replaces the scenario's, 0 to 1."""
    explore: bool = True
    """False shows the list without exploration, for previews."""
    counts: Counts | None = None
    """What is known of clicks, for Thompson sampling."""
    seed: int = 0
    """The same request with the same seed has the same answer; 0 or above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Items that one source offers, best first."""

    source: str
    """Such as "model", "similar", "trending", "popular" or "latest"."""
    item_ix: NDArray[np.integer]
    """(N,) distinct; 0 and 1 are passed over."""
    score: NDArray[np.floating]
    """(N,) the source's own, falling; taken for log-odds where no probability is known."""
    probability: NDArray[np.floating] | None = None
    """(N,) that the item is the next one, NaN where that is not known."""
    actions: tuple[str, ...] = ()
    """(A,) names of the predicted actions."""
    action_probability: NDArray[np.floating] | None = None
    """(N, A) that the user, shown the item, does the action; NaN where that is not known."""
    reason: str = ""
    """Why this source has few items or none, in a few words, such as "the user is unknown"."""

    def __post_init__(self) -> None:
        """Check the shapes."""
        n_items = len(self.item_ix)
        shapes: dict[str, tuple[NDArray[np.floating] | None, tuple[int, ...]]] = {
            "score": (self.score, (n_items,)),
            "probability": (self.probability, (n_items,)),
            "action_probability": (self.action_probability, (n_items, len(self.actions))),
        }
        for name, (array, shape) in shapes.items():
            if array is not None and array.shape != shape:
                raise ShapeError(f"{name} of '{self.source}' must have shape {shape}; got {array.shape}.")

    @classmethod
    def best(
        cls, source: str, values: NDArray[np.floating], n: int, allowed: NDArray[np.bool_] | None = None
    ) -> Candidates:
        """The n items of the highest values, such as (V,) counts or moments of creation; NaN offers nothing.

        >>> Candidates.best("popular", np.array([9.0, 9.0, 1.0, 5.0, 3.0]), 2).item_ix.tolist()
        [3, 4]

        Equal values are ordered by index. Cost: one pass over the values.
        """
        usable = np.isfinite(values)
        usable[:FIRST] = False
        if allowed is not None:
            usable &= allowed
        found = np.flatnonzero(usable)
        if len(found) > n:
            # Everything from the n-th best value on, so that ties fall alike however they lie in memory.
            least = np.partition(values[found], len(found) - n)[len(found) - n]
            found = found[values[found] >= least]
        found = found[np.argsort(-values[found], kind="stable")][:n]
        return cls(source=source, item_ix=found, score=values[found].astype(np.float64))

    @classmethod
    def leading(
        cls,
        source: str,
        order: NDArray[np.integer],
        values: NDArray[np.floating],
        n: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Candidates:
        """The first n allowed items of an order that was made before, such as `ItemAttributes.newest`.

        >>> order, values = np.array([4, 2, 3]), np.array([0.0, 0.0, 5.0, 1.0, 9.0])
        >>> mask = np.array([False, False, False, True, True])
        >>> Candidates.leading("latest", order, values, 2, mask).item_ix.tolist()
        [4, 3]

        Cost: as far into the order as n allowed items reach, rather than a pass over all values as `best`.
        """
        found, n_found, start, size = [order[:0]], 0, 0, 4 * n
        while n_found < n and start < len(order):
            part = order[start : start + size]
            found.append(part if allowed is None else part[allowed[part]])
            n_found += len(found[-1])
            start, size = start + size, 2 * size
        item_ix = np.concatenate(found)[:n]
        return cls(source=source, item_ix=item_ix, score=values[item_ix].astype(np.float64))


class Applied(NamedTuple):
    """One thing that a rule did to one item of a list."""

    kind: Kind
    """Which rule."""
    rule: str
    """Its expression, column, method, source or place."""
    amount: float
    """boost and freshness: added to the log-odds. value: the weighted sum of actions. pin: the place. cap:
    better items left out before this one. diversity: places gained, negative for lost. exploration: 1.
    fallback: how many sources came before. filter: 1, a rule that a forced pin would not have passed."""


@dataclass(frozen=True, kw_only=True)
class Slate:
    """A list that is shown, best first, of K items."""

    item_ix: NDArray[np.int64]
    """(K,)"""
    score: NDArray[np.float64]
    """(K,) the source's own score; NaN for a pinned item that no source offered."""
    value: NDArray[np.float64]
    """(K,) what the list is ordered by before diversity and chance: log-odds with boosts, or worth."""
    probability: NDArray[np.float64]
    """(K,) as it came with the candidates, untouched by boosts; NaN where it is not known."""
    propensity: NDArray[np.float64]
    """(K,) probability that this item stood in this place, over the draws of exploration; 1 without any."""
    source: tuple[str, ...]
    """(K,) who offered the item."""
    applied: tuple[tuple[Applied, ...], ...]
    """(K,) what the rules did to each item."""
    n_filtered: Mapping[str, int]
    """Candidates left out, by the first rule that did not pass them."""
    n_candidates: int
    """Candidates looked at, repeats between sources counted once."""
    fallback: str | None
    """The first source other than the first of the chain that the list had to take items from; else None."""
    fallback_reason: str | None
    """Why, in a sentence; None without a fallback."""
    notes: tuple[str, ...]
    """What could not be done, such as a pin whose item is unknown."""

    def __len__(self) -> int:
        return len(self.item_ix)

    @cached_property
    def reasons(self) -> list[list[dict[str, str | float]]]:
        """What the rules did to each item, as plain values that JSON can hold."""
        return [[dict(one._asdict()) for one in item] for item in self.applied]


def merged(candidates: Sequence[Candidates]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(item_ix, tier), both (N,), of all sources in their order; an item stays with the first that offers it.

    Returned beside them in `tier`: the place of the source in `candidates`.
    """
    item_ix = np.concatenate([NO_ITEMS, *(part.item_ix for part in candidates)]).astype(np.int64)
    tier = np.repeat(np.arange(len(candidates)), [len(part.item_ix) for part in candidates])
    return item_ix, tier
