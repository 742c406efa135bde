# SPDX-License-Identifier: Apache-2.0
"""The items: their latent order, which walks follow, and what a shop writes about them.

Drawn once from the configuration; every shard of users walks through the same catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.schema import ITEM, TIME_DTYPE
from desirepath.simulate.chance import generator, scattered
from desirepath.simulate.segments import N_CATEGORIES, N_PER_DEPARTMENT
from desirepath.simulate.settings import DAY_US, MarketplaceConfig
from desirepath.simulate.words import ADJECTIVES, BRANDS, CATEGORIES

POPULARITY_EXPONENT = 0.9
"""Popularity of the r-th item of a category is proportional to r ** -0.9 (a Zipf law)."""

CHAIN_NEXT, CHAIN_DEPARTMENT = 0.60, 0.30
"""Category chain: to the next category of the department, to any of the department; else anywhere."""

ENTITY_SHARE = 0.05
"""Share of items, besides those of the ampersand brand, whose English title holds an HTML entity."""


SHELVED: Final = np.dtype(
    [
        ("created_us", "i8"),  # when it came into the shop, microseconds since 1970
        ("running", "f8"),  # running sum of popularity within the category; its last item has 1
        ("price", "f8"),  # in the shop's currency, two decimals
        ("category", "i4"),
        ("ring_next", "i4"),  # next item on the ring of the category
        ("ring_prev", "i4"),  # previous item on it
        ("companion", "i4"),  # the accessory that belongs to it
    ],
    align=True,
)
"""An item as walks read it. Items are numbered in shelf order: by category, most popular first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The items of a marketplace."""

    shelves: NDArray[np.void]
    """Rows of SHELVED, one an item."""
    starts: NDArray[np.int64]
    """First item of each category, and the end: (categories + 1,)."""
    chain: NDArray[np.float64]
    """Running sums of the category chain: (categories, categories)."""
    table: pl.DataFrame
    """What the shop publishes, in shelf order: id, texts, category, department, brand, price, created_at."""
    truth: pl.DataFrame
    """What only the simulator knows of each item: neighbours on the ring, companion, popularity, cold."""

    @property
    def names(self) -> list[str]:
        """Outside ids of the items, in shelf order."""
        return self.table[ITEM].to_list()


def chain_chances() -> NDArray[np.float64]:
    """Chance of going from one category to another: shape (categories, categories), rows sum to 1.

    A walk that leaves its category goes with 0.60 to the next category of the department (cyclically),
    with 0.30 to any of its department, otherwise to any category at all.
    """
    table = np.full((N_CATEGORIES, N_CATEGORIES), (1 - CHAIN_NEXT - CHAIN_DEPARTMENT) / N_CATEGORIES)
    for category in range(N_CATEGORIES):
        first = category - category % N_PER_DEPARTMENT
        table[category, first : first + N_PER_DEPARTMENT] += CHAIN_DEPARTMENT / N_PER_DEPARTMENT
        table[category, first + (category + 1) % N_PER_DEPARTMENT] += CHAIN_NEXT
    return table


def item_names(config: MarketplaceConfig) -> list[str]:
    """The outside ids of the items in shelf order, such as "i000412"."""
    n = config.items
    width = max(6, len(str(n - 1)))
    return [f"i{number:0{width}d}" for number in scattered(np.arange(n), n, config.seed).tolist()]


def draw_catalogue(config: MarketplaceConfig) -> Catalogue:
    """Draw the items. Cost: linear in their number."""
    rng = generator(config.seed, 1)
    n = config.items
    sizes = np.full(N_CATEGORIES, n // N_CATEGORIES)
    sizes[: n % N_CATEGORIES] += 1
    starts = np.concatenate([[0], np.cumsum(sizes)])
    category = np.repeat(np.arange(N_CATEGORIES, dtype=np.int32), sizes)
    rank = np.arange(n) - starts[category]
    popularity = (rank + 1.0) ** -POPULARITY_EXPONENT
    popularity /= np.bincount(category, weights=popularity)[category]
    running = np.cumsum(popularity)
    running -= np.concatenate([[0.0], running])[starts[category]]
    running[starts[1:] - 1] = 1.0
    cold = np.zeros(n, dtype=np.bool_)
    # The most popular tenth of a shelf is never cold: a walk always finds something that exists.
    eligible = np.flatnonzero(rank >= np.maximum(5, sizes[category] // 10))
    cold[rng.choice(eligible, size=min(len(eligible), round(config.cold_share * n)), replace=False)] = True
    created = config.start_us - (rng.random(n) * 700 * DAY_US).astype(np.int64)
    late = config.cold_us + (rng.random(n) * 0.5 * (config.end_us - config.cold_us)).astype(np.int64)
    created = np.where(cold, late, created)
    ring_next, ring_prev = np.empty(n, np.int32), np.empty(n, np.int32)
    companion = np.empty(n, np.int32)
    for number in range(N_CATEGORIES):
        order = starts[number] + rng.permutation(sizes[number])
        ring_next[order] = np.roll(order, -1)
        ring_prev[order] = np.roll(order, 1)
        shelf = slice(starts[number], starts[number + 1])
        accessories = number - number % N_PER_DEPARTMENT + N_PER_DEPARTMENT - 1
        old = starts[accessories] + np.flatnonzero(~cold[starts[accessories] : starts[accessories + 1]])
        companion[shelf] = rng.choice(old, size=sizes[number])
    medians = np.array([entry.price for entry in CATEGORIES])
    price = np.round(medians[category] * np.exp(0.35 * rng.standard_normal(n)), 2)
    shelves = np.empty(n, SHELVED)
    shelves["category"], shelves["running"] = category, running
    shelves["ring_next"], shelves["ring_prev"], shelves["companion"] = ring_next, ring_prev, companion
    shelves["created_us"], shelves["price"] = created, price
    names = np.array(item_names(config), dtype=object)
    table, entity = _published(config, shelves, names)
    truth = pl.DataFrame(
        {
            ITEM: names.tolist(),
            "popularity": popularity,
            "ring_next": names[ring_next].tolist(),
            "ring_prev": names[ring_prev].tolist(),
            "companion": names[companion].tolist(),
            "cold": cold,
            "title_has_entity": entity,
        }
    )
    chain = _running_rows(chain_chances())
    return Catalogue(shelves=shelves, starts=starts.astype(np.int64), chain=chain, table=table, truth=truth)


def _published(
    config: MarketplaceConfig, shelves: NDArray[np.void], names: NDArray[np.object_]
) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
    """The public table of items, and which English titles hold an HTML entity."""
    rng = generator(config.seed, 2)
    n = len(names)
    category = shelves["category"]
    noun, adjective = rng.integers(0, 3, n), rng.integers(0, len(ADJECTIVES), n)
    second, brand = rng.integers(0, len(ADJECTIVES), n), rng.integers(0, len(BRANDS), n)
    entity = rng.random(n) < ENTITY_SHARE

    def words(options: list[str], index: NDArray[np.integer]) -> pl.Series:
        return pl.Series(np.array(options, dtype=object)[index].tolist(), dtype=pl.String)

    frame = pl.DataFrame(
        {
            ITEM: names.tolist(),
            "noun": words([word for entry in CATEGORIES for word in entry.nouns], category * 3 + noun),
            "noun_zh": words([word for entry in CATEGORIES for word in entry.nouns_zh], category * 3 + noun),
            "adjective": words([english for english, _ in ADJECTIVES], adjective),
            "adjective_zh": words([chinese for _, chinese in ADJECTIVES], adjective),
            "second": words([english for english, _ in ADJECTIVES], second),
            "second_zh": words([chinese for _, chinese in ADJECTIVES], second),
            "brand": words([english for english, _ in BRANDS], brand),
            "brand_zh": words([chinese for _, chinese in BRANDS], brand),
            "category": words([entry.name for entry in CATEGORIES], category),
            "category_zh": words([entry.name_zh for entry in CATEGORIES], category),
            "department": words([entry.department for entry in CATEGORIES], category),
            "price": shelves["price"],
            "created_at": pl.Series(shelves["created_us"])
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone("UTC"),
            "entity": entity,
        },
        schema_overrides={"created_at": TIME_DTYPE},
    )
    col = pl.col
    title = pl.format("{} {} {}", "brand", "adjective", "noun")
    title = (
        pl.when("entity").then(pl.format("{} &#39;{}&#39; {}", "brand", "adjective", "noun")).otherwise(title)
    )
    title = title.str.replace_all(" & ", " &amp; ", literal=True)
    table = frame.select(
        col(ITEM),
        title.alias("title"),
        pl.format("{}{}{}", "brand_zh", "adjective_zh", "noun_zh").alias("title_zh"),
        pl.format("A {} and {} {} for your {} in our {} department.",
                  "adjective", "second", "noun", "category", "department").alias("description"),
        pl.format("{}又{}的{}，{}系列。", "adjective_zh", "second_zh", "noun_zh", "category_zh")
        .alias("description_zh"),
        "category", "category_zh", "department", "brand", "price", "created_at",
    )  # fmt: skip
    return table, table["title"].str.contains("&(amp|#39);").to_numpy()


def _running_rows(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    running = np.cumsum(chances, axis=1)
    running[:, -1] = 1.0
    return running
