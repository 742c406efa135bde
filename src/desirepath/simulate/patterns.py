# SPDX-License-Identifier: Apache-2.0
"""Sequential patterns that are planted into the sequences of known users.

Buyers are the users with at least one purchase in the log, leavers the others. A pattern is planted
with one chance in buyers and another in leavers; how many users hold it in the end, chance
occurrences included, is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from desirepath.simulate.catalogue import Catalogue
from desirepath.simulate.chance import generator
from desirepath.simulate.segments import N_CATEGORIES
from desirepath.simulate.settings import MarketplaceConfig
from desirepath.simulate.triggers import LIKE, SEARCH, VIEW


@dataclass(frozen=True, slots=True)
class Template:
    """The plan of a pattern."""

    name: str
    """How reports call it."""
    actions: tuple[int, ...]
    """Codes of the actions, one a step."""
    buyers: float
    """Share of the buyers it is planted in."""
    leavers: float
    """Share of the leavers it is planted in."""
    gap_s: float
    """Mean gap between steps; a gap is even between half and one and a half of it."""


HOUR: Final = 3_600.0

TEMPLATES = (
    Template("gift hunt", (VIEW, VIEW, LIKE), 0.10, 0.010, 40.0),
    Template("planned purchase", (SEARCH, VIEW, VIEW, VIEW), 0.08, 0.008, 9 * HOUR),
    Template("renovation", (LIKE, VIEW, SEARCH), 0.09, 0.009, 30 * HOUR),
    Template("price shock", (VIEW, VIEW, SEARCH), 0.010, 0.12, 60.0),
    Template("slow goodbye", (LIKE, VIEW, VIEW), 0.012, 0.12, 20 * HOUR),
    Template("everyone's detour", (VIEW, LIKE, VIEW), 0.07, 0.07, 50.0),
)
"""Three that mark buyers, two that mark leavers, one that marks nobody."""


class Plants(NamedTuple):
    """The patterns of a marketplace, padded to the longest."""

    items: NDArray[np.int32]
    """Item of each step, -1 as padding: (patterns, steps)."""
    actions: NDArray[np.int8]
    """Action of each step."""
    lengths: NDArray[np.int64]
    """Steps of each pattern."""


class Planted(NamedTuple):
    """Events of planted patterns, one row an event; events of one planting are neighbours."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    action: NDArray[np.int8]
    time_us: NDArray[np.int64]
    visit: NDArray[np.int64]
    """Number of the planting, from 0; each is a visit of its own."""
    pattern: NDArray[np.int8]
    """Pattern of each planting: (plantings,)."""
    who: NDArray[np.int32]
    """User of each planting: (plantings,)."""


def draw_plants(config: MarketplaceConfig, catalogue: Catalogue) -> Plants:
    """Choose the items: of the middle of the shelves, each in a category of its own within the pattern."""
    rng = generator(config.seed, 8)
    longest = max(len(template.actions) for template in TEMPLATES)
    items = np.full((len(TEMPLATES), longest), -1, np.int32)
    actions = np.zeros((len(TEMPLATES), longest), np.int8)
    taken: set[int] = set()
    for row, template in enumerate(TEMPLATES):
        for step, category in enumerate(rng.choice(N_CATEGORIES, len(template.actions), replace=False)):
            shelf = np.arange(catalogue.starts[category], catalogue.starts[category + 1])
            shelf = shelf[catalogue.shelves["created_us"][shelf] < config.start_us]
            shelf = shelf[len(shelf) // 2 :]
            free = [item for item in shelf[:64].tolist() if item not in taken]
            items[row, step] = rng.choice(free)
            taken.add(int(items[row, step]))
        actions[row, : len(template.actions)] = template.actions
    lengths = np.array([len(template.actions) for template in TEMPLATES])
    return Plants(items=items, actions=actions, lengths=lengths)


def plant(
    config: MarketplaceConfig,
    plants: Plants,
    shard: int,
    present_us: NDArray[np.int64],
    buyer: NDArray[np.bool_],
) -> Planted:
    """Plant the patterns into the users of a shard.

    Args:
        config: calendar and seed.
        plants: the patterns.
        shard: number of the shard.
        present_us: since when each user is there; the end of the log for those who get none (robots).
        buyer: who has at least one purchase.
    """
    rng = generator(config.seed, 9, shard)
    parts, patterns, who, count = [], [], [], 0
    for number, template in enumerate(TEMPLATES):
        length = int(plants.lengths[number])
        span_us = int(1.5e6 * template.gap_s * (length - 1)) + 1
        room = config.end_us - span_us - np.maximum(present_us, config.start_us)
        chance = np.where(buyer, template.buyers, template.leavers)
        users = np.flatnonzero((rng.random(len(buyer)) < chance) & (room > 0)).astype(np.int32)
        first = np.maximum(present_us[users], config.start_us)
        first += (rng.random(len(users)) * room[users]).astype(np.int64)
        gaps = (template.gap_s * 1e6 * rng.uniform(0.5, 1.5, (len(users), length))).astype(np.int64)
        gaps[:, 0] = 0
        times = first[:, None] + np.cumsum(gaps, axis=1)
        parts.append(
            (
                np.repeat(users, length),
                np.tile(plants.items[number, :length], len(users)),
                np.tile(plants.actions[number, :length], len(users)),
                times.ravel(),
                np.repeat(np.arange(count, count + len(users)), length),
            )
        )
        patterns.append(np.full(len(users), number, np.int8))
        who.append(users)
        count += len(users)
    user, item, action, time_us, planting = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Planted(
        user=user, item=item, action=action, time_us=time_us, visit=planting,
        pattern=np.concatenate(patterns), who=np.concatenate(who),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def holders(
    user: NDArray[np.int32], item: NDArray[np.int32], action: NDArray[np.int8], plants: Plants, n_users: int
) -> NDArray[np.bool_]:
    """Which users hold which pattern as a subsequence of (action, item): (users, patterns).

    The events have to be in order of time; users may be mixed. Cost: events times patterns.
    """
    n_patterns = plants.lengths.shape[0]
    reached = np.zeros((n_users, n_patterns), np.int8)
    for row in range(item.shape[0]):
        for pattern in range(n_patterns):
            step = reached[user[row], pattern]
            if (
                step < plants.lengths[pattern]
                and plants.items[pattern, step] == item[row]
                and plants.actions[pattern, step] == action[row]
            ):
                reached[user[row], pattern] = step + 1
    held = np.zeros((n_users, n_patterns), np.bool_)
    for number in range(n_users):
        for pattern in range(n_patterns):
            held[number, pattern] = reached[number, pattern] == plants.lengths[pattern]
    return held
