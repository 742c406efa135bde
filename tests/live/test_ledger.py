# SPDX-License-Identifier: Apache-2.0
"""A ledger of a log must say what grouping its events by hand says, however the log came about."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desirepath.events import canonical_log, read_events
from desirepath.events.log import EventLog
from desirepath.live import laying, ledger
from desirepath.live.compaction import KEEP_ALL
from desirepath.live.laying import is_laid_out, lay_out
from desirepath.live.ledger import FeedbackRow, Ledger

BEGIN_S = 86_400 * 8000


def moment(second: int) -> datetime:
    return datetime.fromtimestamp(BEGIN_S + second, UTC)


def intake(log: EventLog, rows: list[dict]) -> None:
    """Take events in, as (user, item, action, second, ...) with further columns."""
    told = [{**row, "time": moment(row["time"])} for row in rows]
    log.append(canonical_log(pl.DataFrame(told, infer_schema_length=None)), KEEP_ALL)


def event(user: str, item: str, action: str, second: int, **more) -> dict:
    return {"user_id": user, "item_id": item, "action": action, "time": second, **more}


def laid(log: EventLog) -> Ledger:
    return Ledger(lay_out(log, {part.file for part in log.manifest.parts}))


def everything(book: Ledger, kind: str | None = None, n: int = 2) -> list[FeedbackRow]:
    rows, key = [], None
    while len(places := book.after(key, n, kind)):
        rows += book.rows(places)
        key = rows[-1].key
    return rows


ids = st.sampled_from(["b", "a", "ü", "10", "9", "Z"])
events = st.lists(
    st.tuples(
        ids, ids, st.sampled_from(["view", "buy", "impression"]), st.integers(0, 30), st.integers(0, 4)
    ),
    max_size=12,
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(intakes=st.lists(events, min_size=1, max_size=3))
def test_a_ledger_says_what_grouping_by_hand_says(tmp_path_factory, monkeypatch, intakes):
    monkeypatch.setattr(laying, "AT_ONCE", 3)
    monkeypatch.setattr(ledger, "AT_FIRST", 1)
    log = EventLog(tmp_path_factory.mktemp("any") / "events")
    plain: dict[tuple[str, str, str], list] = {}
    for rows in intakes:
        if not rows:
            continue
        intake(log, [event(u, i, a, s, value=float(v)) for u, i, a, s, v in rows])
        # An intake leaves out rows that the log has already.
        for u, i, a, s, v in rows:
            if a != "impression":
                plain.setdefault((u, i, a), []).append((v, s))
    kept = log.scan().collect()
    counted = kept.filter(pl.col("action") != "impression").group_by("user_id", "item_id", "action").len()
    assert set(counted.drop("len").rows()) == set(plain)
    book = laid(log)
    sums = (
        {
            (u, i, a): (v, first, last)
            for u, i, a, v, first, last in kept.filter(pl.col("action") != "impression")
            .group_by("user_id", "item_id", "action")
            .agg(
                pl.col("value").sum(),
                pl.col("time").min().alias("first"),
                pl.col("time").max().alias("last"),
            )
            .rows()
        }
        if plain
        else {}
    )
    rows = everything(book)
    assert [row.key for row in rows] == sorted(plain, key=lambda key: [part.encode() for part in key])
    for row in rows:
        value, first, last = sums[row.key]
        assert row.value == value
        assert (row.time_us, row.updated_us) == (first.timestamp() * 1e6, last.timestamp() * 1e6)
    for kind in ("view", "buy", "none"):
        assert [r.key for r in everything(book, kind)] == [r.key for r in rows if r.kind == kind]
    for name in ("a", "ü", "nobody"):
        of_user = book.rows(book.of(name, None, None))
        assert {r.key for r in of_user} == {key for key in plain if key[0] == name}
        of_item = book.rows(book.of(None, name, "view"))
        assert {r.key for r in of_item} == {key for key in plain if key[1:] == (name, "view")}
        assert {r.key for r in book.rows(book.of(name, "a", None))} == {
            key for key in plain if key[:2] == (name, "a")
        }


@pytest.mark.parametrize("labels", [{"a": [1]}, ["x", None], "[not a list", "5", 5, False])
def test_what_was_said_last_stands_whatever_it_is(tmp_path, labels):
    log = EventLog(tmp_path / "events")
    told = json.dumps({"labels": labels, "comment": "later"})
    intake(
        log,
        [
            event("u", "a", "view", 1, context=json.dumps({"labels": "first", "comment": "first"})),
            event("u", "a", "view", 2, context=told),
            event("u", "a", "view", 3, context=None),
            event("u", "b", "view", 3, context=json.dumps({"feedback_repeat": "yes"})),
            event("u", "c", "view", 3, context="{}"),
        ],
    )
    intake(log, [event("v", "a", "view", 4, labels='{"own": 1}', comment="own", updated=None)])
    intake(log, [event("v", "a", "view", 5, updated=moment(9).isoformat())])
    rows = {row.key[:2]: row for row in everything(laid(log))}
    assert set(rows) == {("u", "a"), ("u", "c"), ("v", "a")}
    assert (rows["u", "a"].comment, rows["u", "a"].labels) == ("later", labels)
    assert (rows["u", "c"].comment, rows["u", "c"].labels) == (None, None)
    assert (rows["v", "a"].comment, rows["v", "a"].labels) == ("own", {"own": 1})
    assert rows["v", "a"].updated_us == moment(9).timestamp() * 1e6


def test_a_ledger_is_made_once_and_what_is_left_of_others_goes(tmp_path, monkeypatch):
    log = EventLog(tmp_path / "events")
    intake(log, [event("u", "a", "view", 1)])
    files = {part.file for part in log.manifest.parts}
    assert not is_laid_out(log, files)
    place = lay_out(log, files)
    book = Ledger(place)
    (tmp_path / "feedback" / "old").mkdir()
    cut = tmp_path / "feedback" / "cut.making"
    cut.mkdir()
    monkeypatch.setattr(laying, "_Laying", None)
    assert lay_out(log, files) == place
    assert {path.name for path in place.parent.iterdir()} == {place.name, "cut.making"}
    os.utime(cut, (0, 0))
    lay_out(log, files)
    assert not cut.exists()
    shutil.rmtree(tmp_path / "feedback")
    assert not is_laid_out(log, files)
    assert [row.key for row in everything(book)] == [("u", "a", "view")]


def test_a_ledger_of_nothing_is_empty(tmp_path):
    log = EventLog(tmp_path / "events")
    book = Ledger(lay_out(log, set()))
    assert everything(book) == []
    assert len(book.of("u", None, None)) == len(book.of(None, "a", "view")) == 0
    intake(log, [event("u", "a", "impression", 1)])
    assert everything(laid(log)) == []


@pytest.mark.data
def test_real_events_are_grouped_as_polars_groups_them(tmp_path, shared_data):
    log = EventLog(tmp_path / "events")
    log.append(read_events(shared_data / "deskdrop-interactions" / "users_interactions.csv.zip"))
    book = laid(log)
    rows = everything(book, n=5000)
    expected = (
        log.scan()
        .group_by("user_id", "item_id", "action")
        .agg(pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
        .sort("user_id", "item_id", "action")
        .with_columns(pl.col("first", "last").dt.epoch("us"))
        .collect()
    )
    assert [(*row.key, row.time_us, row.updated_us) for row in rows] == expected.rows()
    item = expected["item_id"].mode()[0]
    assert len(book.of(None, item, None)) == (expected["item_id"] == item).sum()
