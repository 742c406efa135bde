# SPDX-License-Identifier: Apache-2.0
"""What all shards of a marketplace share: catalogue, logging policy, patterns and the pace of visits.

It is drawn once from the configuration and never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from desirepath.simulate.catalogue import Catalogue, draw_catalogue
from desirepath.simulate.patterns import Plants, draw_plants
from desirepath.simulate.settings import MarketplaceConfig
from desirepath.simulate.slots import Slots, draw_slots

SHARD_EVENTS = 1_000_000
"""Rows a shard aims at: what bounds the memory."""

LEAST_USERS = 200
"""Users of a shard at least, so that circles and shares mean something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all shards share."""

    config: MarketplaceConfig
    """The dials."""
    catalogue: Catalogue
    """The items."""
    slots: Slots
    """The logging policy."""
    plants: Plants
    """The patterns."""
    visits_per_user: float
    """Mean number of visits that a user makes of oneself."""

    @property
    def bounds(self) -> list[int]:
        """First user of each shard, and the end: shards of equal size and about SHARD_EVENTS rows."""
        config = self.config
        n_shards = min(-(-config.n_events // SHARD_EVENTS), max(1, config.users // LEAST_USERS))
        return [config.users * shard // n_shards for shard in range(n_shards + 1)]


def draw_world(config: MarketplaceConfig, visits_per_user: float) -> World:
    """The world of a configuration at a given pace of visits."""
    catalogue = draw_catalogue(config)
    return World(
        config=config,
        catalogue=catalogue,
        slots=draw_slots(config, catalogue),
        plants=draw_plants(config, catalogue),
        visits_per_user=visits_per_user,
    )
