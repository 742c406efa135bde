# SPDX-License-Identifier: Apache-2.0
"""Leaves some places of a list to chance, and says how probable each outcome was.

It knows places, a pool of items and counts of clicks. All chance comes from the seed of the request, so that
the same request has the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.recommend.scenario import ExplorationConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What chance made of S places that were open to it."""

    item: NDArray[np.int64]
    """(S,) which item stands in each place, as its place in the pool; -1 where the list's own item stayed."""
    propensity: NDArray[np.float64]
    """(S,) probability, over all seeds, that this very item stood in this place."""


def epsilon(n_slots: int, n_pool: int, share: float, seed: int) -> Drawn:
    """Each place shows, with probability `share`, an item drawn evenly from the pool; no item comes twice.

    The propensities are exact. The pool, made as long as the number of places with blanks that leave the
    list's item where it is, is shuffled and laid along the places; each place then takes what lies there with
    probability `share`. So an item of the pool stands in a given place with probability share / m, where m =
    max(n_pool, n_slots), and the list's own with 1 - share x n_pool / m.

    >>> epsilon(2, 4, 0.2, seed=1).propensity.tolist()
    [0.05, 0.8]
    """
    rng = np.random.default_rng(seed)
    m = max(n_pool, n_slots)
    laid = rng.permutation(m)[:n_slots]
    explores = (rng.random(n_slots) < share) & (laid < n_pool)
    stays = 1.0 - share * n_pool / m if m else 1.0
    return Drawn(
        item=np.where(explores, laid, -1),
        propensity=np.where(explores, share / max(m, 1), stays),
    )


def thompson(
    n_slots: int,
    clicks: NDArray[np.float64],
    impressions: NDArray[np.float64],
    config: ExplorationConfig,
    seed: int,
) -> Drawn:
    """The places show, in order, the items with the highest click rates drawn from what is believed.

    Each item's belief is a Beta distribution: its clicks and impressions upon a prior that counts for
    `prior_impressions` at the click rate of the pool. The first `n_slots` of the pool are the list's own.

    The propensity is the share of `draws` + 1 simulated lists, the shown one among them, in which the item
    stood in that place: off by at most about 1 / sqrt(draws), too high by at most 1 / (draws + 1) on
    average, and never below that, so that a weight of 1 / propensity is at most draws + 1.

    Source: Thompson 1933; Chapelle and Li, An empirical evaluation of Thompson sampling, NeurIPS 2011;
    several plays: Komiyama et al., ICML 2015.
    Cost: draws x pool samples, about 0.1 microseconds each.
    """
    rng = np.random.default_rng(seed)
    # One click in twenty impressions stands in for a pool of which nothing is known.
    usual = (clicks.sum() + 1.0) / (impressions.sum() + 20.0)
    a = clicks + usual * config.prior_impressions
    b = impressions - clicks + (1.0 - usual) * config.prior_impressions
    rates = rng.beta(a, b, size=(config.draws + 1, len(a)))
    if n_slots == 1:
        best = rates.argmax(axis=1)[:, None]
    else:
        best = np.argsort(-rates, axis=1, kind="stable")[:, :n_slots]
    shown = best[0]
    propensity = (best == shown).mean(axis=0)
    own = np.arange(n_slots)
    return Drawn(item=np.where(shown == own, -1, shown), propensity=propensity)
