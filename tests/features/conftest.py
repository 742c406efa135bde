# SPDX-License-Identifier: Apache-2.0
"""Small random logs, and the real one, for the tests of features."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

START = datetime(2024, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=20)


@pytest.fixture
def random_log() -> Callable[[int], pl.DataFrame]:
    """By seed: 400 events of 12 users in 40 days from START, half of them at or after AS_OF."""

    def make(seed: int) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        n = 400
        # Whole minutes make tied times; one event lies exactly at the moment.
        minutes = rng.integers(0, 40 * 24 * 60, n)
        minutes[::5] = minutes[1::5] + rng.integers(0, 45, len(minutes[::5]))
        minutes[0] = 20 * 24 * 60
        return pl.DataFrame(
            {
                "user_id": [f"u{u}" for u in rng.integers(0, 12, n)],
                "item_id": [f"i{i}" for i in rng.integers(0, 9, n)],
                "action": rng.choice(["view", "like", "buy"], n, p=[0.7, 0.2, 0.1]),
                "time": [START + timedelta(minutes=int(m)) for m in minutes],
                "session_id": [None if s == 0 else f"s{s}" for s in rng.integers(0, 4, n)],
                "value": [
                    None if r < 0.3 else v for r, v in zip(rng.random(n), rng.normal(5, 2, n), strict=True)
                ],
            },
            schema_overrides={"value": pl.Float64, "time": pl.Datetime("us", "UTC"), "session_id": pl.String},
        )

    return make


@pytest.fixture(scope="session")
def deskdrop(shared_data: Path) -> pl.DataFrame:
    """The intranet reader's log in canonical columns."""
    with zipfile.ZipFile(shared_data / "deskdrop-interactions" / "users_interactions.csv.zip") as archive:
        raw = pl.read_csv(io.BytesIO(archive.read(archive.namelist()[0])), infer_schema=False)
    return raw.select(
        pl.col("personId").alias("user_id"),
        pl.col("contentId").alias("item_id"),
        pl.col("eventType").alias("action"),
        pl.from_epoch(pl.col("timestamp").cast(pl.Int64), "s").cast(pl.Datetime("us", "UTC")).alias("time"),
        pl.col("sessionId").alias("session_id"),
        pl.col("userCountry").alias("country"),
    )
