# SPDX-License-Identifier: Apache-2.0
"""A whole marketplace, in memory or written to a folder, with the truth beside it.

Shards are made one after the other, the next one while the last is being written, so memory does
not grow with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from desirepath.simulate.files import Sheet, checked_format
from desirepath.simulate.flaws import Layout, lay_out
from desirepath.simulate.robots import MEAN_EVENTS
from desirepath.simulate.settings import MarketplaceConfig
from desirepath.simulate.shard import Shard, simulate_shard
from desirepath.simulate.tables import event_table
from desirepath.simulate.visits import ROBOT
from desirepath.simulate.world import SHARD_EVENTS, World, draw_world

PILOT = 2**31
"""Shard number of the pilot, which no shard of a log has."""


def paced_world(config: MarketplaceConfig) -> World:
    """The world of a configuration, its pace set so that about `n_events` rows come out.

    How many events follow from a visit has no short formula (cascades, companions, returns), so a
    pilot of up to 4,000 users is simulated twice and the number of visits scaled.
    """
    rows = config.n_events / config.users / (1 + config.duplicate_share + config.dirty_share)
    wanted = max(1.0, rows - config.robot_share * MEAN_EVENTS)
    n_pilot = int(min(4_000, max(200, SHARD_EVENTS // max(1.0, rows))))
    visits = max(0.2, wanted / 6)
    for _ in range(2):
        pilot = simulate_shard(draw_world(config, visits), PILOT, 0, n_pilot)
        visits *= wanted * n_pilot / np.count_nonzero(pilot.events["origin"] != ROBOT)
    return draw_world(config, visits)


def shards(world: World) -> Iterator[tuple[Shard, Layout]]:
    """The shards of a marketplace in order, one made ahead in a second thread."""

    def make(number: int) -> tuple[Shard, Layout]:
        first = number * world.shard_users
        shard = simulate_shard(world, number, first, min(world.shard_users, world.config.users - first))
        return shard, lay_out(world.config, number, shard.events["origin"] != ROBOT)

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, 0)
        for number in range(world.n_shards):
            done = ahead.result()
            if number + 1 < world.n_shards:
                ahead = pool.submit(make, number + 1)
            yield done


def write(
    config: MarketplaceConfig,
    folder: Path | str,
    format: str = "parquet",
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Simulate a marketplace and write it."""
    folder = Path(folder)
    checked_format(format)
    folder.mkdir(parents=True, exist_ok=True)
    world = paced_world(config)
    items = pa.array(world.catalogue.names, pa.large_string())
    first_event = 0
    with Sheet(folder, "events", format) as events, Sheet(folder, "items", format) as item_sheet:
        item_sheet.append(world.catalogue.table)
        for shard, layout in shards(world):
            events.append(event_table(world, shard, layout, first_event, items))
            first_event += len(layout.row)
            if on_progress is not None:
                on_progress(first_event, config.n_events)
