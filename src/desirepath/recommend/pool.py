# SPDX-License-Identifier: Apache-2.0
"""The candidates of one call with what each is worth and the first rule that each fails.

Made from what sources offer; `arrangement` chooses among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ShapeError
from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.filters import Rule, first_failing
from desirepath.recommend.slate import Candidates, merged
from desirepath.recommend.terms import Terms
from desirepath.recommend.weighting import FARTHEST, relevance, shifts, worth
from desirepath.schema import FIRST

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Pool:
    """The candidates of all sources that were asked, pinned items among them, each with what it is worth."""

    def __init__(
        self,
        taken: Sequence[Candidates],
        attributes: ItemAttributes,
        found: Sequence[Rule],
        terms: Terms,
    ) -> None:
        self.taken, self.found = taken, found
        self.notes: list[str] = []
        item_ix, tier = merged(taken)
        if len(item_ix) and (item_ix.min() < 0 or item_ix.max() >= len(attributes)):
            raise ShapeError(
                f"Candidates must be items below {len(attributes)}; got {item_ix.min()} to {item_ix.max()}. "
                "Give attributes that know the whole catalogue."
            )
        score = np.concatenate([np.zeros(0), *(part.score for part in taken)])
        probability = np.concatenate([np.zeros(0), *(_probability(part) for part in taken)])
        first = _distinct(item_ix)
        half_life_days = terms.scenario.freshness_half_life_days
        self.moved = shifts(item_ix, attributes, terms.boosts, half_life_days, terms.now_s)
        value = self._value(terms, item_ix)
        pinned_ix, forced = self._pinned(attributes, terms)
        absent = np.array([ix for ix in pinned_ix.tolist() if not (item_ix == ix).any()], dtype=np.int64)
        self.source = np.concatenate([first, np.full(len(absent), -1)])
        """(N,) row of each candidate among all that was offered; -1 for pinned items that nobody offered."""
        blank = np.full(len(absent), np.nan)
        self.item_ix = np.concatenate([item_ix[first], absent])
        self.tier = np.concatenate([tier[first], np.full(len(absent), -1)])
        self.score = np.concatenate([score[first], blank])
        self.probability = np.concatenate([probability[first], blank])
        self.value = np.concatenate([value[first], blank])
        self._filter(pinned_ix, forced, terms)

    def _value(self, terms: Terms, item_ix: Ints) -> Floats:
        """(N,) log-odds with boosts and age, or what the predicted actions are worth."""
        added = np.zeros(len(item_ix))
        for shift in self.moved:
            added += shift.amount
        np.clip(added, -FARTHEST, FARTHEST, out=added)
        values, start = [np.zeros(0)], 0
        self.valued: list[bool] = []
        for part in self.taken:
            own = added[start : start + len(part.item_ix)]
            summed = worth(part, terms.values, own) if terms.values else None
            if terms.values and summed is None and len(part.item_ix) and part is self.taken[0]:
                self.notes.append(f"values were not applied: '{part.source}' predicts none of the actions")
            self.valued.append(summed is not None)
            values.append(relevance(part) + own if summed is None else summed)
            start += len(part.item_ix)
        return np.concatenate(values)

    def _pinned(self, attributes: ItemAttributes, terms: Terms) -> tuple[Ints, NDArray[np.bool_]]:
        """Indexes of the pinned items that are known, and which of them are forced."""
        self.places = []
        if not terms.pins:
            return np.zeros(0, np.int64), np.zeros(0, np.bool_)
        found = attributes.find(tuple(pin.item for pin in terms.pins))
        for pin, ix in zip(terms.pins, found.tolist(), strict=True):
            if ix < FIRST:
                self.notes.append(f"pin at {pin.position}: there is no item '{pin.item}'")
        known = found >= FIRST
        self.places = [pin.position for pin, is_known in zip(terms.pins, known, strict=True) if is_known]
        forced = np.array([pin.force for pin in terms.pins], dtype=np.bool_)
        return found[known], forced[known]

    def _filter(self, pinned_ix: Ints, forced: NDArray[np.bool_], terms: Terms) -> None:
        """Find what passes, in order of worth within each source, and where the pinned items are."""
        self.failing = first_failing(self.found, self.item_ix)
        self.names = [rule.name for rule in self.found]
        least = terms.scenario.min_probability
        if least > 0:
            # NaN, an unknown probability, is not below anything.
            unlikely = (self.probability < least) & (self.failing < 0)
            self.failing[unlikely] = len(self.names)
            self.names.append("minimum probability")
        self.pins: dict[int, int] = {}
        """Place in the list (1 is first) to row of the pool."""
        if len(pinned_ix):
            for place, ix, force in zip(self.places, pinned_ix.tolist(), forced.tolist(), strict=True):
                row = int(np.flatnonzero(self.item_ix == ix)[0])
                if force or self.failing[row] < 0:
                    self.pins[place] = row
                else:
                    self.notes.append(
                        f"pin at {place}: the rule '{self.names[self.failing[row]]}' leaves it out"
                    )
        passing = (self.failing < 0) & (self.tier >= 0)
        passing[list(self.pins.values())] = False
        rows_passing = np.flatnonzero(passing)
        by_worth = np.lexsort((-self.value[rows_passing], self.tier[rows_passing]))
        self.order: Ints = rows_passing[by_worth]
        """Rows that may fill the places without a pin, best first."""


def _distinct(item_ix: Ints) -> Ints:
    """Rows of real items, each where it comes first."""
    order = item_ix.argsort(kind="stable")
    ordered = item_ix[order]
    is_first = np.ones(len(item_ix), dtype=np.bool_)
    is_first[order[1:]] = ordered[1:] != ordered[:-1]
    return np.flatnonzero(is_first & (item_ix >= FIRST))


def _probability(part: Candidates) -> Floats:
    if part.probability is None:
        return np.full(len(part.item_ix), np.nan)
    return part.probability.astype(np.float64)
