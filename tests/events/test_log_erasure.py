# SPDX-License-Identifier: Apache-2.0
"""Users who leave the event log, against a plain filter of its rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desirepath.errors import WorkspaceError
from desirepath.events import erasure
from desirepath.events.erasure import Erased, erase_users, sweep
from desirepath.events.log import EventLog
from desirepath.events.manifest import Manifest
from desirepath.events.raw import canonical_log
from desirepath.sequences.build import build_sequences

BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
NEVER = 2**62


def us(minute: int) -> int:
    return round((BEGIN + timedelta(minutes=minute)).timestamp() * 1e6)


def taken_in(folder: Path, intakes: list[list[tuple[str, int]]]) -> EventLog:
    """A log of intakes of (user, minute); every row says in a further column what it is."""
    log = EventLog(folder)
    for k, rows in enumerate(intakes):
        frame = pl.DataFrame(
            {
                "user_id": [user for user, _ in rows],
                "item_id": [f"i{(minute + k) % 7}" for _, minute in rows],
                "action": ["view" if minute % 3 else "buy" for _, minute in rows],
                "time": [BEGIN + timedelta(minutes=minute) for _, minute in rows],
                "query": [f"{k} {user} {minute}" for user, minute in rows],
            },
            schema_overrides={"time": pl.Datetime("us", "UTC")},
        )
        log.append(canonical_log(frame))
    return log


def content(log: EventLog) -> pl.DataFrame:
    return log.scan().collect()


def held(folder: Path, user: str) -> list[str]:
    """Files of a log that hold a user's id in any column."""
    found = []
    for path in sorted(folder.rglob("*.parquet")):
        frame = pl.read_parquet(path)
        if any(user in str(value) for column in frame for value in column.to_list()):
            found.append(str(path.relative_to(folder)))
    return found


THREE = [[("ann", 1), ("bob", 2), ("ann", 9)], [("bob", 20), ("cyd", 21)], [("ann", 30), ("cyd", 33)]]


def test_who_leaves_is_in_no_file_and_all_else_stays(tmp_path):
    log = taken_in(tmp_path / "log", THREE)
    before, files = content(log), {part.file for part in log.manifest.parts}
    done = erase_users(log, {"bob": NEVER, "nobody": NEVER})
    assert done == Erased(rows=2, users=1, parts=2)
    assert content(log).equals(before.filter(pl.col("user_id") != "bob"))
    assert log.ids("user_id").to_list() == ["ann", "cyd"]
    assert sweep(log) == 3  # two parts and the list of ids that had him
    assert held(tmp_path / "log", "bob") == []
    assert {part.file for part in log.manifest.parts} & files == {"000003/part-0000.parquet"}
    again = EventLog(tmp_path / "log")
    assert content(again).equals(content(log))
    assert [ingest.rows_kept for ingest in again.manifest.ingests] == [2, 1, 2]
    assert erase_users(again, {"bob": NEVER}) == Erased()
    assert again.manifest.erasures == 1


def test_what_comes_after_the_moment_stays_and_so_does_the_place(tmp_path):
    log = taken_in(tmp_path / "log", THREE)
    done = erase_users(log, {"ann": us(30)})
    assert (done.rows, done.users) == (2, 0)
    assert log.ids("user_id").to_list() == ["ann", "bob", "cyd"]
    assert content(log).filter(pl.col("user_id") == "ann")["query"].to_list() == ["2 ann 30"]


def test_a_log_without_them_is_not_touched(tmp_path):
    log = taken_in(tmp_path / "log", THREE)
    before = (tmp_path / "log" / "manifest.json").read_bytes()
    assert erase_users(log, {"nobody": NEVER}) == Erased()
    assert erase_users(log, {"ann": us(0)}) == Erased()
    assert erase_users(log, {}) == Erased()
    assert (tmp_path / "log" / "manifest.json").read_bytes() == before
    assert sweep(log) == 0


def test_the_log_goes_on_after_everybody_left(tmp_path):
    log = taken_in(tmp_path / "log", THREE)
    done = erase_users(log, dict.fromkeys(("ann", "bob", "cyd"), NEVER))
    assert (done.users, len(log), log.manifest.parts) == (3, 0, ())
    sweep(log)
    assert held(tmp_path / "log", "ann") == []
    report = log.append(canonical_log(content(taken_in(tmp_path / "other", [[("bob", 50), ("dan", 51)]]))))
    assert (report.number, report.new_users) == (4, 2)
    assert log.ids("user_id").to_list() == ["bob", "dan"]
    assert build_sequences(log, tmp_path / "sequences").n_events == 2


def test_another_writer_is_not_disturbed(tmp_path):
    log = taken_in(tmp_path / "log", THREE)
    with EventLog(tmp_path / "log").alone():
        for work in (lambda: erase_users(log, {"ann": NEVER}), lambda: sweep(log)):
            with pytest.raises(WorkspaceError, match="Another process"):
                work()


class Cut(Exception):
    """The process ends here."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("place", [(erasure, "write_part"), (erasure, "make_durable"), (Manifest, "save")])
def test_a_cut_leaves_the_log_as_it_was_or_without_them(tmp_path, monkeypatch, place, after):
    log = taken_in(tmp_path / "log", THREE)
    whole = content(log)
    thing, name = place
    true, calls = getattr(thing, name), []

    def cut(*given, **named):
        calls.append(1)
        if len(calls) == 2 or thing is Manifest:
            if after:
                true(*given, **named)
            raise Cut
        return true(*given, **named)

    monkeypatch.setattr(thing, name, cut)
    with pytest.raises(Cut):
        erase_users(log, {"ann": NEVER})
    monkeypatch.setattr(thing, name, true)
    again = EventLog(tmp_path / "log")
    is_done = thing is Manifest and after
    assert content(again).equals(whole.filter(pl.col("user_id") != "ann") if is_done else whole)
    erase_users(again, {"ann": NEVER})
    sweep(again)
    assert held(tmp_path / "log", "ann") == []
    assert content(again).equals(whole.filter(pl.col("user_id") != "ann"))


rows = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 40)), min_size=1, max_size=12, unique=True
)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(rows, min_size=1, max_size=4),
    st.lists(st.dictionaries(st.sampled_from("abcdefz"), st.integers(0, 45)), min_size=1, max_size=3),
)
def test_any_erasures_equal_a_filter(tmp_path_factory, intakes, erasures):
    folder = tmp_path_factory.mktemp("world")
    log = taken_in(folder / "log", intakes)
    wanted = content(log)
    for before in erasures:
        moments = {user: us(minute) for user, minute in before.items()}
        done = erase_users(log, moments)
        cut = pl.col("user_id").replace_strict(moments, default=us(0) - 1, return_dtype=pl.Int64)
        left = wanted.filter(pl.col("time").dt.epoch("us") >= cut)
        assert done.rows == wanted.height - left.height
        wanted = left
        sweep(log)
        assert content(log).equals(wanted) if wanted.height else not len(log)
        assert set(log.ids("user_id")) == set(wanted["user_id"])
        manifest = log.manifest
        assert sum(ingest.rows_kept for ingest in manifest.ingests) == len(log) == wanted.height
        places = {name: place for place, name in enumerate(log.ids("user_id"))}
        for part in manifest.parts:
            own = pl.read_parquet(log.folder / part.file)["user_id"]
            assert (places[own[0]], places[own[-1]]) == (
                part.groups[0].first_user,
                part.groups[-1].last_user,
            )
    if len(log):
        packed = build_sequences(log, folder / "sequences").to_frame()
        assert packed.height == wanted.height
        assert sorted(packed["user_id"].unique()) == sorted(wanted["user_id"].unique())
