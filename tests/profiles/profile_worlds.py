# SPDX-License-Identifier: Apache-2.0
"""A small world with three planted kinds of users, for the tests of profiles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

START = datetime(2025, 3, 3, tzinfo=UTC)  # a Monday
AS_OF = START + timedelta(days=28)
KINDS = ("tea", "bread", "cheese")
HOURS = (7, 13, 21)


def planted(n_users: int = 90, seed: int = 0, n_events: int = 30) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and items: user u is of kind u % 3, meets items of it at its hour in nine of ten events."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(n_users), n_events)
    kind = user % 3
    stray = rng.random(len(user)) < 0.1
    category = np.where(stray, rng.integers(0, 3, len(user)), kind)
    item = category * 10 + rng.integers(0, 10, len(user))
    hour = np.where(rng.random(len(user)) < 0.1, rng.integers(0, 24, len(user)), np.take(HOURS, kind))
    minutes = rng.integers(0, 28, len(user)) * 1440 + hour * 60 + rng.integers(0, 60, len(user))
    action = np.where(rng.random(len(user)) < np.take([0.1, 0.2, 0.5], kind), "buy", "view")
    events = pl.DataFrame(
        {
            "user_id": [f"u{u:03d}" for u in user],
            "item_id": [f"i{i:02d}" for i in item],
            "action": action,
            "time": [START + timedelta(minutes=int(m)) for m in minutes],
            "value": np.where(action == "buy", 1.0 + item, np.nan),
            "device": np.where(kind == 0, "phone", "desk"),
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    ).with_columns(pl.col("value").fill_nan(None))
    items = pl.DataFrame(
        {
            "item_id": [f"i{i:02d}" for i in range(30)],
            "title": [f"{KINDS[i // 10]} no. {i}" for i in range(30)],
            "category": [KINDS[i // 10] for i in range(30)],
            "price": [1.0 + i for i in range(30)],
        }
    )
    return events.sort("user_id", "time"), items


def with_future(events: pl.DataFrame) -> pl.DataFrame:
    """The log with a loud future: at and after AS_OF everybody meets one item, and new users come."""
    users = [*events["user_id"].unique().sort().to_list(), "zz1", "zz2"]
    later = pl.DataFrame(
        {
            "user_id": users * 20,
            "item_id": ["i29"] * (20 * len(users)),
            "action": ["shout"] * (20 * len(users)),
            "time": [AS_OF + timedelta(minutes=n // 3) for n in range(20 * len(users))],
            "value": [1e6] * (20 * len(users)),
            "device": ["watch"] * (20 * len(users)),
        },
        schema=events.schema,
    )
    return pl.concat([events, later])
