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
    def shard_users(self) -> int:
        """Users of a shard: all shards but the last have as many."""
        config = self.config
        return min(config.users, max(200, SHARD_EVENTS * config.users // config.n_events))

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.config.users // self.shard_users)


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
