# SPDX-License-Identifier: Apache-2.0
"""All that a policy might have shown: for each place, every item and the chance that it stood there.

A list tells the chance of what it shows; here are those of all else, from the same candidates and rules. It
asks no model and keeps nothing but what was noted last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from desirepath.recommend.arrangement import choose, lay_out
from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.filters import rules
from desirepath.recommend.policy import Policy
from desirepath.recommend.pool import Pool
from desirepath.recommend.scenario import ExplorationConfig
from desirepath.recommend.slate import Candidates, Counts, Request, Slate
from desirepath.recommend.terms import Terms

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """N pairs of a place and an item that may stand in it; those of one place sum to 1."""

    place: Ints
    """(N,) 1 is first."""
    item_ix: Ints
    """(N,)"""
    chance: Floats
    """(N,) above 0."""


class NotedPolicy(Policy):
    """A policy that notes, for the list it made last, what else it might have shown.

    >>> from desirepath.recommend.scenario import ScenarioConfig
    >>> import polars as pl
    >>> from desirepath.sequences import Vocabulary
    >>> table = pl.DataFrame({"item_id": ["a", "b", "c"]})
    >>> items = ItemAttributes.aligned(table, Vocabulary(["a", "b", "c"]))
    >>> offered = Candidates(source="model", item_ix=np.array([2, 3, 4]), score=np.array([3.0, 2.0, 1.0]))
    >>> policy = NotedPolicy(ScenarioConfig(k=1, exploration=ExplorationConfig(method="epsilon", share=0.1)))
    >>> shown = policy.arrange(offered, items, None, Request(seed=1), now_s=0.0)
    >>> policy.noted.item_ix.tolist(), policy.noted.chance.tolist()
    ([2, 3, 4], [0.9, 0.05, 0.05])
    """

    noted = Chances(place=np.zeros(0, np.int64), item_ix=np.zeros(0, np.int64), chance=np.zeros(0))
    """Of the list that `arrange` gave last."""

    def arrange(
        self,
        candidates: Candidates | Iterable[Candidates],
        attributes: ItemAttributes,
        item_vectors: NDArray[np.floating] | None,
        request: Request,
        now_s: float,
    ) -> Slate:
        """As `Policy.arrange`.     Cost: twice as much."""
        taken: list[Candidates] = []

        def told() -> Iterator[Candidates]:
            for part in (candidates,) if isinstance(candidates, Candidates) else candidates:
                taken.append(part)
                yield part

        slate = super().arrange(told(), attributes, item_vectors, request, now_s)
        terms = self._terms(request, now_s)
        pool = Pool(taken, attributes, rules(attributes, terms), terms)
        self.noted = _chances(pool, attributes, item_vectors, terms)
        return slate


def _chances(
    pool: Pool, attributes: ItemAttributes, item_vectors: NDArray[np.floating] | None, terms: Terms
) -> Chances:
    chosen = choose(pool, attributes, item_vectors, terms)
    own = lay_out(pool, chosen, replace(terms, exploration=ExplorationConfig()))
    config, place = terms.exploration, np.arange(len(own)) + 1
    is_pinned = np.array([any(one.kind == "pin" for one in applied) for applied in own.applied], np.bool_)
    open_ = np.flatnonzero(~is_pinned) if len(own) else np.zeros(0, np.int64)
    if config.slots:
        open_ = open_[np.isin(open_ + 1, config.slots)]
    elif config.method == "thompson":
        open_ = open_[-1:]
    others = chosen.caps.room(chosen.alone[~np.isin(pool.item_ix[chosen.alone], own.item_ix)], config.pool)
    chance = np.ones(len(own))
    if config.method == "none" or not len(open_):
        return Chances(place=place, item_ix=own.item_ix.astype(np.int64), chance=chance)
    drawn_ix = pool.item_ix[others].astype(np.int64)
    if config.method == "epsilon":
        m = max(len(others), len(open_))
        chance[open_] = 1.0 - config.share * len(others) / m
        drawn = np.full((len(open_), len(others)), config.share / m)
    else:
        share = _shares(own.item_ix[open_], drawn_ix, terms)
        chance[open_] = share[:, : len(open_)].diagonal()
        drawn_ix, drawn = np.concatenate([own.item_ix[open_], drawn_ix]), share.copy()
        np.fill_diagonal(drawn, 0.0)
    found = Chances(
        place=np.concatenate([place, np.repeat(place[open_], len(drawn_ix))]),
        item_ix=np.concatenate([own.item_ix, np.tile(drawn_ix, len(open_))]),
        chance=np.concatenate([chance, drawn.ravel()]),
    )
    is_there = found.chance > 0
    return Chances(
        place=found.place[is_there], item_ix=found.item_ix[is_there], chance=found.chance[is_there]
    )


def _shares(own_ix: Ints, others_ix: Ints, terms: Terms) -> Floats:
    """(S, S + N) share of simulated lists in which each item has each open place, drawn as by `thompson`."""
    config, item_ix = terms.exploration, np.concatenate([own_ix, others_ix])
    counts = terms.request.counts or Counts(impressions=np.zeros(1, np.int64), clicks=np.zeros(1, np.int64))
    clicks, impressions = counts.of(item_ix)
    usual = (clicks.sum() + 1.0) / (impressions.sum() + 20.0)
    a = clicks + usual * config.prior_impressions
    b = impressions - clicks + (1.0 - usual) * config.prior_impressions
    rng = np.random.default_rng(terms.request.seed)
    rates = rng.beta(a, b, size=(config.draws + 1, len(item_ix)))
    best = np.argsort(-rates, axis=1, kind="stable")[:, : len(own_ix)]
    return np.stack([np.bincount(row, minlength=len(item_ix)) for row in best.T]) / len(rates)
