# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError
from desirepath.features import RhythmConfig, before, hour_weekday_counts, rhythm

START = datetime(2024, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=20)


# New York moves its clocks on 10 March 2024, inside the random logs.
@pytest.mark.parametrize("tz", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("strength", [0.0, 10.0])
def test_rhythm_equals_counting_by_hand(
    random_log: Callable[[int], pl.DataFrame], tz: str, strength: float
) -> None:
    log = random_log(1)
    rows = [
        (r["user_id"], r["time"].astimezone(ZoneInfo(tz)))
        for r in log.iter_rows(named=True)
        if r["time"] < AS_OF
    ]
    crowd_hours = Counter(t.hour for _, t in rows)
    crowd_days = Counter(t.isoweekday() for _, t in rows)
    table = rhythm(log, AS_OF, RhythmConfig(tz=tz, strength=strength)).collect()
    assert set(table["user_id"]) == {u for u, _ in rows}
    for got in table.iter_rows(named=True):
        mine = [t for u, t in rows if u == got["user_id"]]
        hours = np.array(
            [
                (sum(t.hour == h for t in mine) + strength * crowd_hours[h] / len(rows))
                / (len(mine) + strength)
                for h in range(24)
            ]
        )
        days = [
            (sum(t.isoweekday() == d for t in mine) + strength * crowd_days[d] / len(rows))
            / (len(mine) + strength)
            for d in range(1, 8)
        ]
        assert [got[f"hour_{h:02d}"] for h in range(24)] == pytest.approx(hours.tolist())
        assert [got[f"weekday_{d}"] for d in range(1, 8)] == pytest.approx(days)
        assert sum(days) == pytest.approx(1)
        assert got["weekend_share"] == pytest.approx(days[5] + days[6])
        positive = hours[hours > 0]
        assert got["hour_entropy_bits"] == pytest.approx(-(positive * np.log2(positive)).sum())


def test_the_grid_has_every_hour_of_the_week(random_log: Callable[[int], pl.DataFrame]) -> None:
    log = random_log(2)
    grid = hour_weekday_counts(before(log, AS_OF), "Asia/Kolkata")
    rows = [t.astimezone(ZoneInfo("Asia/Kolkata")) for t in log["time"] if t < AS_OF]
    expected = Counter((t.isoweekday(), t.hour) for t in rows)
    assert grid.rows() == [(d, h, expected[d, h]) for d in range(1, 8) for h in range(24)]


def test_bad_rhythm_options_are_told() -> None:
    with pytest.raises(ConfigError, match="IANA"):
        RhythmConfig(tz="Mars/Olympus")
    with pytest.raises(ConfigError, match="strength"):
        RhythmConfig(strength=-1)
