# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError, DataError
from desirepath.features import DwellConfig, SessionConfig, dwell, dwell_by, sessions
from desirepath.features.sessions import marked, session_columns

START = datetime(2024, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=20)


def by_hand(log: pl.DataFrame, by: str, gap_s: float) -> list[list[dict[str, Any]]]:
    """Sessions as lists of events, found one event at a time."""
    rows = [r for r in log.iter_rows(named=True) if r["time"] < AS_OF]
    key = (lambda r: (r["user_id"], r["session_id"] or "")) if by == "id" else (lambda r: (r["user_id"],))
    found: list[list[dict[str, Any]]] = []
    for group, events in groupby(sorted(rows, key=lambda r: (*key(r), r["time"])), key):
        told = by == "id" and group[1] != ""
        run: list[dict[str, Any]] = []
        for event in events:
            if run and not told and (event["time"] - run[-1]["time"]).total_seconds() > gap_s:
                found.append(run)
                run = []
            run.append(event)
        found.append(run)
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["id", "gap"])
def test_sessions_equal_those_found_by_hand(
    random_log: Callable[[int], pl.DataFrame], seed: int, by: str
) -> None:
    log = random_log(seed)
    config = SessionConfig(session_gap_s=1200, by=by)
    expected = by_hand(log, by, 1200)
    got = sessions(log, AS_OF, config).collect()
    want = sorted(
        (s[0]["user_id"], s[0]["time"], s[-1]["time"], len(s), (s[-1]["time"] - s[0]["time"]).total_seconds())
        for s in expected
    )
    assert sorted(got.rows()) == want
    told = marked(log, AS_OF, config).group_by("user_id").agg(session_columns()).collect()
    for user, n, per, seconds in told.rows():
        mine = [s for s in expected if s[0]["user_id"] == user]
        assert n == len(mine)
        assert per == pytest.approx(np.mean([len(s) for s in mine]))
        assert seconds == pytest.approx(
            np.mean([(s[-1]["time"] - s[0]["time"]).total_seconds() for s in mine])
        )


@pytest.mark.parametrize("seed", range(2))
def test_dwell_is_the_pause_to_the_next_event(random_log: Callable[[int], pl.DataFrame], seed: int) -> None:
    log = random_log(seed)
    expected: dict[str, list[float]] = {}
    for session in by_hand(log, "gap", 1800):
        for event, after in pairwise(session):
            seconds = (after["time"] - event["time"]).total_seconds()
            expected.setdefault(event["user_id"], []).append(min(seconds, 600))
    got = dwell_by(log, AS_OF, DwellConfig(cap_s=600), SessionConfig(by="gap")).collect()
    assert got["n_dwells"].sum() == sum(map(len, expected.values())) > 0
    for row in got.iter_rows(named=True):
        mine = expected.get(row["user_id"], [])
        assert row["n_dwells"] == len(mine)
        assert row["dwell_s_total"] == pytest.approx(sum(mine))
        if mine:
            assert row["dwell_s_mean"] == pytest.approx(np.mean(mine))
            assert row["dwell_s_median"] == pytest.approx(np.median(mine))


def test_dwell_from_a_column_is_capped_and_negative_is_unknown() -> None:
    log = pl.DataFrame(
        {"user_id": ["u"] * 4, "item_id": ["i"] * 4, "time": [START] * 4, "seconds": [5, -1, 99, None]}
    )
    got = dwell(log, AS_OF, DwellConfig(column="seconds", cap_s=60)).collect()
    assert got["dwell_s"].to_list() == [5, None, 60, None]
    with pytest.raises(DataError, match="second"):
        dwell(log, AS_OF, DwellConfig(column="second"))


def test_auto_follows_the_session_id_where_there_is_one(random_log: Callable[[int], pl.DataFrame]) -> None:
    log = random_log(0)
    auto, by_id = (sessions(log, AS_OF, SessionConfig(by=by)).collect().height for by in ("auto", "id"))
    assert auto == by_id
    without = log.drop("session_id")
    assert (
        sessions(without, AS_OF).collect().height
        == sessions(log, AS_OF, SessionConfig(by="gap")).collect().height
    )


def test_bad_session_options_are_told() -> None:
    with pytest.raises(ConfigError, match="session_gap_s"):
        SessionConfig(session_gap_s=0)
    with pytest.raises(ConfigError, match="by must be"):
        SessionConfig(by="day")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cap_s"):
        DwellConfig(cap_s=-1)
    log = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "time": [START]})
    with pytest.raises(DataError, match="session_id"):
        sessions(log, AS_OF, SessionConfig(by="id"))


@pytest.mark.data
def test_deskdrop_has_its_sessions(deskdrop: pl.DataFrame) -> None:
    end = datetime(2018, 1, 1, tzinfo=UTC)
    found = sessions(deskdrop, end).collect()
    assert found["n_events"].sum() == 72_312
    assert found.height == deskdrop.select("user_id", "session_id").n_unique()
