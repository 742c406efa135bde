# SPDX-License-Identifier: Apache-2.0
"""Hard filters: which items may be shown at all, over a whole catalogue or over a few candidates.

Every rule must pass; what is not known never passes. It orders nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.recommend.attributes import CATEGORIES, LANGUAGE, ItemAttributes
from desirepath.recommend.terms import Terms
from desirepath.schema import FIRST

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason for which an item is left out; one of the fields after the name is given."""

    name: str
    """What counts are kept under."""
    passing: NDArray[np.bool_] | None = None
    """(V,) items that pass."""
    without: NDArray[np.integer] | None = None
    """Items that do not pass."""
    only: NDArray[np.integer] | None = None
    """The only items that pass."""

    def passes(self, item_ix: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,) whether each of these items passes; the cost does not grow with the catalogue."""
        if self.passing is not None:
            return self.passing[item_ix]
        if self.without is not None:
            return ~_among(item_ix, self.without)
        return _among(item_ix, self.only if self.only is not None else item_ix[:0])


def _among(item_ix: NDArray[np.int64], listed: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(N,) whether each item is listed: `numpy.isin` without what it does for arrays of other kinds."""
    if not len(listed):
        return np.zeros(len(item_ix), dtype=np.bool_)
    known = np.sort(listed)
    at = np.searchsorted(known, item_ix)
    at[at == len(known)] = 0
    found: NDArray[np.bool_] = known[at] == item_ix
    return found


def rules(attributes: ItemAttributes, terms: Terms) -> list[Rule]:
    """The rules that a scenario and a request make, in the order in which they are counted.

    Cost: nothing that grows with the catalogue once the masks are kept, save for an age limit.

    Raises:
        ConfigError: an expression is wrong, or a column that a rule needs is not there.
    """
    scenario, request = terms.scenario, terms.request
    found = []
    if attributes.any_hidden:
        found.append(Rule("hidden", passing=attributes.visible))
    if scenario.filter:
        found.append(Rule("scenario filter", passing=attributes.mask(scenario.filter)))
    if request.filter:
        found.append(Rule("request filter", passing=attributes.mask(request.filter)))
    if languages := request.languages or scenario.languages:
        found.append(Rule("language", passing=attributes.with_any(LANGUAGE, languages)))
    if scenario.max_age_days is not None:
        if math.isnan(terms.now_s):
            raise ConfigError("max_age_days needs to know the moment; pass now_s.")
        since_s = terms.now_s - scenario.max_age_days * DAY_S
        # NaN, an unknown age, compares as false.
        found.append(Rule("age", passing=attributes.created_s() >= since_s))
    for category in request.categories:
        found.append(Rule("category", passing=attributes.with_any(CATEGORIES, (category,))))
    if request.blocked_categories:
        # A block must hold for items whose categories are not known, too.
        unblocked = attributes.without_any(CATEGORIES, request.blocked_categories)
        found.append(Rule("blocked category", passing=unblocked))
    if request.allowed_ix is not None:
        found.append(Rule("allow-list", only=_within(request.allowed_ix, attributes, "allowed_ix")))
    if len(request.blocked_ix):
        found.append(Rule("blocked", without=_within(request.blocked_ix, attributes, "blocked_ix")))
    if terms.exclude_seen and len(request.seen_ix):
        found.append(Rule("seen", without=_within(request.seen_ix, attributes, "seen_ix")))
    return found


def _within(item_ix: NDArray[np.integer], attributes: ItemAttributes, name: str) -> NDArray[np.integer]:
    if len(item_ix) and not 0 <= item_ix.min() <= item_ix.max() < len(attributes):
        raise ConfigError(
            f"{name} must hold item indexes below {len(attributes)}; got {item_ix.min()} to {item_ix.max()}."
        )
    return item_ix


def allowed(attributes: ItemAttributes, found: Sequence[Rule]) -> NDArray[np.bool_] | None:
    """(V,) the items that pass all rules, the reserved ones not among them; None when there is no rule.

    What it returns may be kept by `attributes`: read it, never write to it. Cost: one pass over V bytes a
    rule.
    """
    if not found:
        return None
    if len(found) == 1 and found[0].passing is not None:
        return found[0].passing
    # What only the scenario says is the same for every request, and joined once.
    passing = np.ones(len(attributes), dtype=np.bool_)
    passing[:FIRST] = False
    for rule in found:
        if rule.passing is not None:
            passing &= rule.passing
        elif rule.only is not None:
            listed = np.zeros_like(passing)
            listed[rule.only] = True
            passing &= listed
    for rule in found:
        if rule.without is not None:
            passing[rule.without] = False
    return passing


def first_failing(found: Sequence[Rule], item_ix: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the place of the first rule that each item does not pass, -1 for items that pass all."""
    failing = np.full(len(item_ix), -1, dtype=np.int64)
    for place in range(len(found) - 1, -1, -1):
        failing[~found[place].passes(item_ix)] = place
    return failing


def counted(names: Sequence[str], failing: NDArray[np.int64]) -> dict[str, int]:
    """How many items fail first by each rule, those of rules with one name together; none of 0."""
    counts = np.bincount(failing + 1, minlength=len(names) + 1)[1:].tolist()
    found: dict[str, int] = {}
    for name, n in zip(names, counts, strict=True):
        if n:
            found[name] = found.get(name, 0) + n
    return found
