# SPDX-License-Identifier: Apache-2.0
"""From what models offer to what is shown: filters, boosts, pins, caps, diversity, exploration and fallback.

Separate from the model, and without any state of its own: the same candidates, items, request and moment
give the same list. It reads no files and asks no model; whoever calls brings candidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, nearest
from desirepath.recommend.arrangement import choose, lay_out
from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.filters import allowed, counted, first_failing, rules
from desirepath.recommend.pool import Pool
from desirepath.recommend.scenario import ScenarioConfig
from desirepath.recommend.slate import MODEL, Candidates, Request, Slate
from desirepath.recommend.terms import Terms
from desirepath.schema import FIRST


class Policy:
    """The rules of one scenario, ready to be applied to requests.

    >>> import polars as pl
    >>> from desirepath.sequences import Vocabulary
    >>> table = pl.DataFrame({"item_id": ["a", "b", "c"], "price": [5.0, 50.0, 8.0]})
    >>> items = ItemAttributes.aligned(table, Vocabulary(["a", "b", "c"]))
    >>> offered = Candidates(source="model", item_ix=np.array([2, 3, 4]), score=np.array([3.0, 2.0, 1.0]))
    >>> policy = Policy(ScenarioConfig(filter="price < 20", k=2))
    >>> slate = policy.arrange(offered, items, None, Request(), now_s=0.0)
    >>> slate.item_ix.tolist(), dict(slate.n_filtered)
    ([2, 4], {'scenario filter': 1})
    """

    def __init__(self, scenario: ScenarioConfig, *, exclude_seen: bool = True) -> None:
        """Take a scenario; `exclude_seen` holds where neither it nor the request says otherwise."""
        self.scenario = scenario
        self.exclude_seen = exclude_seen

    @property
    def chain(self) -> tuple[str, ...]:
        """The sources in the order in which they are asked, the model first."""
        return (MODEL, *self.scenario.fallback)

    def n_candidates(self, request: Request) -> int:
        """How many of the model's best `arrange` wants to choose from."""
        return max(self.scenario.n_candidates, request.k or self.scenario.k)

    def check(self, attributes: ItemAttributes, actions: Sequence[str] | None = None) -> None:
        """Raise ConfigError unless the scenario can be carried out with these items and predicted actions.

        Ask this before a scenario goes live; `arrange` notes what it must do without.
        """
        self.scenario.check(attributes.table.schema)
        for column in self.scenario.caps:
            attributes.codes(column)
        for action in self.scenario.values if actions is not None else ():
            if action not in (actions or ()):
                raise ConfigError(
                    f"values: no action '{action}' is predicted. {nearest(action, actions or ())}"
                )

    def allowed(
        self, attributes: ItemAttributes, request: Request, *, now_s: float = math.nan
    ) -> NDArray[np.bool_] | None:
        """(V,) the items that may be shown, to be asked before the model's best are found; None for all.

        It may be kept for later calls: read it, never write to it. `now_s`, seconds since 1970, is
        needed for an age limit only.
        Pins that are forced may stand outside it. Cost: one pass over V bytes a rule.

        Raises:
            ConfigError: an expression, a column or an index of the request is wrong.
        """
        return allowed(attributes, rules(attributes, self._terms(request, now_s)))

    def count_filtered(
        self, attributes: ItemAttributes, request: Request, *, now_s: float = math.nan
    ) -> dict[str, int]:
        """How many items of the whole catalogue each rule leaves out, counted by the first; for previews.

        Cost: a few passes over the catalogue.
        """
        found = rules(attributes, self._terms(request, now_s))
        failing = first_failing(found, np.arange(FIRST, len(attributes), dtype=np.int64))
        return counted([rule.name for rule in found], failing)

    def _terms(self, request: Request, now_s: float) -> Terms:
        return Terms.of(self.scenario, request, self.exclude_seen, now_s)

    def arrange(
        self,
        candidates: Candidates | Iterable[Candidates],
        attributes: ItemAttributes,
        item_vectors: NDArray[np.floating] | None,
        request: Request,
        now_s: float,
    ) -> Slate:
        """The list to show.

        Args:
            candidates: what the sources offer, the preferred one first. A generator is asked for the next
                source only while the list is short, so that fallbacks cost nothing until they are needed.
                An item of a later source never comes before one of an earlier source, save by a pin or by
                chance.
            attributes: of all items.
            item_vectors: (V, D) or fewer rows, for likeness; None, and rows of zeros or beyond the last,
                for items of which only labels are known.
            request: what this call asks.
            now_s: the moment, in seconds since 1970.

        Raises:
            ConfigError: an option or expression of the request is wrong.
            ShapeError: a candidate is not an item of `attributes`.

        Cost: O(N + k N) for N candidates, with diversity O(k P (D + k)) more for its pool of P.
        """
        terms = self._terms(request, now_s)
        found = rules(attributes, terms)
        offered = iter((candidates,) if isinstance(candidates, Candidates) else candidates)
        taken: list[Candidates] = []
        while True:
            more = _next(offered, taken)
            pool = Pool(taken, attributes, found, terms)
            if more and len(pool.order) + len(pool.pins) < terms.k:
                continue
            chosen = choose(pool, attributes, item_vectors, terms)
            if not more or len(chosen.free) + len(pool.pins) >= terms.k:
                return lay_out(pool, chosen, terms)


def _next(offered: Iterator[Candidates], taken: list[Candidates]) -> bool:
    """Take one more source; False when there is none."""
    part = next(offered, None)
    if part is not None:
        taken.append(part)
    return part is not None
