# SPDX-License-Identifier: Apache-2.0
"""One marketplace for all tests of the room, and its log after an independent cleaning."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from desirepath.simulate import Marketplace, MarketplaceConfig, simulate

CONFIG = MarketplaceConfig(n_events=240_000, n_users=5_000, n_items=800, seed=20)


@pytest.fixture(scope="session")
def market() -> Marketplace:
    return simulate(CONFIG)


@pytest.fixture(scope="session")
def clean(market: Marketplace) -> pl.DataFrame:
    """The log of people, cleaned by rules that know nothing of how it was soiled (robots by the list)."""
    users = market.truth.table("users")
    first, after = datetime(2025, 1, 6, tzinfo=UTC), datetime(2025, 3, 7, tzinfo=UTC)
    log = market.events.drop_nulls(["user_id", "item_id", "time"])
    log = log.filter(pl.col("time").is_between(first, after, closed="left"))
    log = log.filter(pl.col("value").is_null() | (pl.col("value") >= 0))
    log = log.unique(maintain_order=True).unique("event_id", keep="first", maintain_order=True)
    return log.join(users.filter("robot").select("user_id"), on="user_id", how="anti").sort(
        "time", maintain_order=True
    )


@pytest.fixture(scope="session")
def linked(market: Marketplace, clean: pl.DataFrame) -> pl.DataFrame:
    """Clean events with what the truth says of each and of its user; `now` is the segment at the moment."""
    users = market.truth.table("users").select("user_id", "segment", "segment_after", "switched_at", "buyer")
    moved = pl.col("switched_at").is_not_null() & (pl.col("time") >= pl.col("switched_at"))
    return (
        clean.join(market.truth.table("events"), on="event_id", how="left", maintain_order="left")
        .join(users, on="user_id", how="left", maintain_order="left")
        .with_columns(pl.when(moved).then("segment_after").otherwise("segment").alias("now"))
    )
