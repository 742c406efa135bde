# SPDX-License-Identifier: Apache-2.0
"""Robots: users who view one item after the other, too fast and too regularly for a person."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.simulate.chance import generator
from desirepath.simulate.population import Population
from desirepath.simulate.triggers import VIEW
from desirepath.simulate.world import World

BURSTS = (1, 3)
"""A robot comes at least and at most so many times."""

BURST_VIEWS = (80, 200)
"""Views of one burst, least and most."""

PERIODS_S = (0.25, 0.5, 1.0, 2.0)
"""A robot's period: it views an item every so many seconds, to within 5 ms."""

MEAN_EVENTS = (BURSTS[0] + BURSTS[1]) / 2 * (BURST_VIEWS[0] + BURST_VIEWS[1]) / 2
"""Events a robot leaves on average."""


class RobotViews(NamedTuple):
    """Views of robots, one row an event; those of one burst are neighbours."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    action: NDArray[np.int8]
    time_us: NDArray[np.int64]
    visit: NDArray[np.int64]
    """Number of the burst, from 0; each is a visit of its own."""


def robot_views(world: World, people: Population, shard: int) -> RobotViews:
    """What the robots of a shard do: bursts at a constant period over neighbouring items."""
    config = world.config
    rng = generator(config.seed, 13, shard)
    robots = np.flatnonzero(people.robot)
    period_s = rng.choice(PERIODS_S, len(robots))
    bursts = rng.integers(BURSTS[0], BURSTS[1] + 1, len(robots))
    burst_user = np.repeat(robots, bursts)
    burst_period = np.repeat(period_s, bursts)
    length = rng.integers(BURST_VIEWS[0], BURST_VIEWS[1] + 1, len(burst_user))
    last = BURST_VIEWS[1] * max(PERIODS_S) * 1e6
    start = config.start_us + (rng.random(len(burst_user)) * (config.end_us - config.start_us - last)).astype(
        np.int64
    )
    begins = np.cumsum(length) - length
    number = np.arange(length.sum()) - np.repeat(begins, length)
    ticks = number * np.repeat(burst_period, length) * 1e6 + rng.uniform(0, 5_000, len(number))
    time_us = np.repeat(start, length) + ticks.astype(np.int64)
    created = world.catalogue.shelves["created_us"]
    old = np.flatnonzero(created < config.start_us)
    first = rng.integers(0, len(old), len(burst_user))
    return RobotViews(
        user=np.repeat(burst_user, length).astype(np.int32),
        item=old[(np.repeat(first, length) + number) % len(old)].astype(np.int32),
        action=np.full(len(number), VIEW, np.int8),
        time_us=time_us,
        visit=np.repeat(np.arange(len(length)), length),
    )
