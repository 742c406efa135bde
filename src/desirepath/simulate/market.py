# SPDX-License-Identifier: Apache-2.0
"""A whole marketplace, in memory or written to a folder, with the truth beside it.

Shards are made one after the other, the next one while the last is being written, so memory does
not grow with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from desirepath.simulate.files import Sheet, checked_format
from desirepath.simulate.flaws import Layout, lay_out
from desirepath.simulate.laws import law_tables
from desirepath.simulate.robots import MEAN_EVENTS
from desirepath.simulate.settings import MarketplaceConfig
from desirepath.simulate.shard import Shard, simulate_shard
from desirepath.simulate.tables import (
    campaign_table,
    csv_events,
    event_table,
    event_truth,
    exposure_table,
    planting_truth,
    social_table,
    user_table,
    user_truth,
)  # fmt: skip
from desirepath.simulate.tally import Tally
from desirepath.simulate.truth import Truth, read_truth, save_facts
from desirepath.simulate.visits import ROBOT
from desirepath.simulate.world import SHARD_EVENTS, World, draw_world

PUBLIC = ("events", "items", "users", "social", "exposures", "campaign")
"""The tables that the shop itself would have."""

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
    world = draw_world(config, max(0.2, wanted / 6))
    for _ in range(2):
        pilot = simulate_shard(world, PILOT, 0, n_pilot)
        scale = wanted * n_pilot / np.count_nonzero(pilot.events["origin"] != ROBOT)
        world = replace(world, visits_per_user=world.visits_per_user * scale)
    return world


def shards(world: World) -> Iterator[tuple[Shard, Layout]]:
    """The shards of a marketplace in order, one made ahead in a second thread."""

    def make(number: int) -> tuple[Shard, Layout]:
        first, end = bounds[number : number + 2]
        shard = simulate_shard(world, number, first, end - first)
        return shard, lay_out(world.config, number, shard.events["origin"] != ROBOT)

    bounds = world.bounds
    n_shards = len(bounds) - 1
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, 0)
        for number in range(n_shards):
            done = ahead.result()
            if number + 1 < n_shards:
                ahead = pool.submit(make, number + 1)
            yield done


@dataclass(frozen=True, slots=True, kw_only=True)
class Marketplace:
    """A whole marketplace in memory."""

    events: pl.DataFrame
    """The log, flaws included."""
    items: pl.DataFrame
    """The catalogue."""
    users: pl.DataFrame
    """What the shop knows of its users; empty of rows in a lean marketplace, as the next three."""
    social: pl.DataFrame
    """Who follows whom."""
    exposures: pl.DataFrame
    """What the slots showed, one row a slot."""
    campaign: pl.DataFrame
    """Who was drawn into which arm."""
    truth: Truth
    """What was planted."""


def simulate(config: MarketplaceConfig) -> Marketplace:
    """A marketplace in memory.

    Cost: about 2 s and 0.5 GiB of memory a million events; use `write` for more than a few millions.

    >>> from desirepath.simulate import tiny
    >>> market = simulate(tiny())
    >>> market.users.height, market.items.height
    (2000, 300)
    """
    world = paced_world(config)
    tally = Tally(world)
    pieces: dict[str, list[pl.DataFrame]] = {}
    for _, tables in _tables(world, tally, text=False):
        for name, table in tables.items():
            pieces.setdefault(name, []).append(_frame(table))
    frames = {name: pl.concat(parts) for name, parts in pieces.items()}
    frames["items"] = world.catalogue.table
    known = {name.removeprefix("truth/"): frame for name, frame in frames.items() if "/" in name}
    known |= law_tables(world)
    public = {name: frames.get(name, pl.DataFrame()) for name in PUBLIC}
    truth = Truth(facts=_facts(config, tally), tables={name: frame.lazy() for name, frame in known.items()})
    return Marketplace(**public, truth=truth)


def write(
    config: MarketplaceConfig,
    folder: Path | str,
    format: str = "parquet",
    on_progress: Callable[[int, int], None] | None = None,
) -> Truth:
    """Simulate a marketplace and write it to a folder, the truth beside it.

    Args:
        config: the dials.
        folder: made if need be; files of an earlier marketplace there are replaced.
        format: of the shop's tables, "parquet" or "csv"; the truth is Parquet and JSON always.
        on_progress: called after each shard with the rows written and the rows expected.

    Returns:
        The truth, its tables still in their files. `truth.events` is the log.

    Raises:
        ConfigError: for an unknown format.

    Cost: 2.3 s of processor time a million events on two threads, 1.5 s if lean; memory about 1 GiB whatever
    the size of the log (and 100 bytes an item).
    """
    folder = Path(folder)
    checked_format(format)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    world = paced_world(config)
    tally = Tally(world)
    with ExitStack() as stack:
        sheets: dict[str, Sheet] = {}

        def sheet(name: str) -> Sheet:
            if name not in sheets:
                kind = "parquet" if name.startswith("truth/") else format
                sheets[name] = stack.enter_context(Sheet(folder, name, kind))
            return sheets[name]

        sheet("items").append(world.catalogue.table)
        for name, table in law_tables(world).items():
            sheet(f"truth/{name}").append(table)
        for rows, tables in _tables(world, tally, text=format == "csv"):
            for name, piece in tables.items():
                sheet(name).append(piece)
            if on_progress is not None:
                on_progress(rows, max(rows, config.n_events))
    save_facts(folder, _facts(config, tally), sheets["events"].path)
    return read_truth(folder)


def _tables(
    world: World, tally: Tally, *, text: bool
) -> Iterator[tuple[int, dict[str, pa.Table | pl.DataFrame]]]:
    """Of each shard: rows of the log so far, and its tables by the name of their file."""
    items = pa.array(world.catalogue.names, pa.large_string())
    rows = 0
    for shard, layout in shards(world):
        tally.add(shard, layout)
        log = event_table(world, shard, layout, rows, items)
        tables: dict[str, pa.Table | pl.DataFrame] = {"events": csv_events(log, layout) if text else log}
        if not world.config.lean:
            edges = social_table(world, shard)
            tables |= {
                "users": user_table(world, shard),
                "social": edges.drop_columns("probability"),
                "exposures": exposure_table(world, shard, rows, items),
                "campaign": campaign_table(world, shard),
                "truth/users": user_truth(world, shard),
                "truth/events": event_truth(shard, layout, rows),
                "truth/social": edges,
                "truth/plantings": planting_truth(world, shard),
            }
        rows += len(layout.row)
        yield rows, tables


def _facts(config: MarketplaceConfig, tally: Tally) -> dict[str, Any]:
    return {"config": asdict(config), **tally.facts()}


def _frame(table: pa.Table | pl.DataFrame) -> pl.DataFrame:
    frame = table if isinstance(table, pl.DataFrame) else pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(pl.selectors.categorical().cast(pl.String))
