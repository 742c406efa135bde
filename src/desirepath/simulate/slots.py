# SPDX-License-Identifier: Apache-2.0
"""The recommendation slots of an item's page: who may be shown, with what chance, and who is clicked.

A page of category c has four slots; slot p draws one of eight candidates of its own with a logged
propensity, so the propensities of a slot sum to 1 and no item stands twice on a page. The policy
knows only the category of the page; the true click chances are known here and written as truth.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.schema import ITEM
from desirepath.simulate.catalogue import Catalogue
from desirepath.simulate.chance import generator
from desirepath.simulate.segments import N_CATEGORIES, N_PER_DEPARTMENT, N_SEGMENTS, SEGMENTS
from desirepath.simulate.settings import MarketplaceConfig
from desirepath.simulate.words import CATEGORIES

N_SLOTS: Final = 4
N_CANDIDATES: Final = 8

SHOW_SHARE = 0.10
"""Share of walked views whose page shows the slots."""

EXPLORE = 0.2
"""Share of the logging policy that is uniform, so that no propensity is below 0.2 / 8 = 0.025."""

EXAMINED = (0.60, 0.42, 0.30, 0.20)
"""Chance that a slot is looked at, by position."""

AWAY = 0.35
"""Appeal of an item to a segment that is not at home in its department, relative to home."""


class Slots(NamedTuple):
    """The logging policy as arrays: c page category, p slot, m candidate."""

    candidates: NDArray[np.int32]
    """Items, (c, p, m)."""
    propensity: NDArray[np.float64]
    """Chance that candidate m stands in slot p of a page of category c; sums to 1 over m."""
    running: NDArray[np.float64]
    """Running sums of `propensity`."""
    click: NDArray[np.float64]
    """Chance of a click once shown, by segment: (segments, c, p, m)."""


def draw_slots(config: MarketplaceConfig, catalogue: Catalogue) -> Slots:
    """The policy of a marketplace: softmax of a random score, mixed with a uniform share.

    `propensity = 0.8 * softmax(1.2 z) + 0.2 / 8`, z standard normal; the chance of a click is
    `examined(p) * quality * (1 at home, 0.35 away)` with quality even between 0.05 and 0.45.
    """
    rng, shelves = generator(config.seed, 5), catalogue.shelves
    candidates = np.empty((N_CATEGORIES, N_SLOTS, N_CANDIDATES), np.int32)
    for page in range(N_CATEGORIES):
        first = page - page % N_PER_DEPARTMENT
        shelf = np.arange(catalogue.starts[first], catalogue.starts[first + N_PER_DEPARTMENT])
        shelf = shelf[shelves["created_us"][shelf] < config.start_us]
        chosen = rng.choice(shelf, size=N_SLOTS * N_CANDIDATES, replace=False)
        candidates[page] = chosen.reshape(N_SLOTS, N_CANDIDATES)
    score = np.exp(1.2 * rng.standard_normal(candidates.shape))
    propensity = (1 - EXPLORE) * score / score.sum(axis=-1, keepdims=True) + EXPLORE / N_CANDIDATES
    running = np.cumsum(propensity, axis=-1)
    running[..., -1] = 1.0
    quality = rng.uniform(0.05, 0.45, len(shelves))[candidates]
    department = shelves["category"][candidates] // N_PER_DEPARTMENT
    home = department[None] == np.arange(N_SEGMENTS)[:, None, None, None]
    click = np.where(home, 1.0, AWAY) * quality * np.array(EXAMINED)[None, None, :, None]
    return Slots(candidates=candidates, propensity=propensity, running=running, click=click)


def slots_truth(slots: Slots, names: list[str]) -> pl.DataFrame:
    """The policy as a table: page category, position, item, propensity and the click chance by segment."""
    pages = np.repeat([entry.name for entry in CATEGORIES], N_SLOTS * N_CANDIDATES)
    positions = np.tile(np.repeat(np.arange(1, N_SLOTS + 1), N_CANDIDATES), N_CATEGORIES)
    items = np.array(names, dtype=object)[slots.candidates.ravel()]
    columns = {
        "page_category": pages.tolist(),
        "position": positions,
        ITEM: items.tolist(),
        "propensity": slots.propensity.ravel(),
    }
    for segment, click in zip(SEGMENTS, slots.click, strict=True):
        columns[f"click: {segment.name}"] = click.ravel()
    return pl.DataFrame(columns, schema_overrides={"position": pl.Int32})
