# SPDX-License-Identifier: Apache-2.0
"""Whoever is erased is in no file of the workspace, whatever is cut on the way, and may come again anew."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import insert, select
from stored import row

from desirepath import flows
from desirepath.events import erasure as log_erasure
from desirepath.events.log import EventLog
from desirepath.events.manifest import Manifest
from desirepath.events.raw import canonical_log
from desirepath.flows.serving import open_projects
from desirepath.live import compaction, erasure
from desirepath.live.archive import FOLDER, Archive, read_lists
from desirepath.live.compaction import CompactionConfig, compact
from desirepath.live.project import Project
from desirepath.live.replay import erasures
from desirepath.live.store import LiveStore, now_us
from desirepath.live.tables import erasures as remembered
from desirepath.live.tables import events, impressions, users
from desirepath.live.upkeep import Upkeep, UpkeepConfig
from desirepath.models.markov import Markov
from desirepath.profiles import Segments
from desirepath.recommend.versions import Version
from desirepath.sequences.current import open_sequences
from desirepath.serving.options import ServeConfig
from desirepath.workspace import Workspace

WHO, OTHER = "zoë-erased-77", "uma-stays-78"


def held(folder: Path, who: str) -> list[str]:
    """Every file below a folder that holds an id, in any column of a table or among the bytes of the rest."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
            if any(who in str(column.to_list()) for column in table):
                found.append(str(path.relative_to(folder)))
        elif path.is_file() and who.encode() in path.read_bytes():
            found.append(str(path.relative_to(folder)))
    return found


def ingested(folder: Path, names: list[str]) -> Workspace:
    """A workspace whose log has a ring of 12 items, walked by these users."""
    workspace = Workspace.create(folder)
    began = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
    rows = [
        (name, f"{(k + n) % 12}", began + 3600.0 * n + k) for k, name in enumerate(names) for n in range(9)
    ]
    frame = pl.DataFrame(
        {
            "user_id": [user for user, _, _ in rows],
            "item_id": [item for _, item, _ in rows],
            "action": ["view"] * len(rows),
            "time": pl.from_epoch(
                pl.Series([round(1e6 * moment) for *_, moment in rows]), "us"
            ).dt.replace_time_zone("UTC"),
        }
    )
    EventLog(workspace.events).append(canonical_log(frame))
    return workspace


def opened(workspace: Workspace, url: str | None = None) -> Project:
    sequences = open_sequences(workspace)
    version = Version(
        name="ring",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={},
    )
    table = workspace.table("users")
    known = pl.read_parquet(table) if table.exists() else None
    return Project("default", workspace, sequences, version, user_table=known, url=url)


NAMES = [*(f"u{n}" for n in range(8)), WHO, OTHER]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = ingested(tmp_path / "shop", NAMES)
    pl.DataFrame({"user_id": NAMES, "age": range(len(NAMES))}).write_parquet(workspace.table("users"))
    lists = {"user_id": NAMES, "item_id": ["1"] * len(NAMES), "rank": [1] * len(NAMES)}
    pl.DataFrame(lists).write_parquet(workspace.recommendations)
    workspace.report.write_text(f'<table><tr><td dir="auto" rowspan="5">{WHO}</td></tr></table>')
    (workspace.folder / "feedback" / "1").mkdir(parents=True)
    (workspace.folder / "feedback" / "1" / "users.arrow").write_bytes(WHO.encode())
    return workspace


def lived(project: Project, who: str, first: int = 0) -> None:
    """Somebody does this and that, is shown a list, and says what he thinks of it."""
    now = now_us()
    rows = [
        row(f"{who}{first + n}", who, str(n), now + n, received_us=now, session_id=f"s {who}")
        for n in range(5)
    ]
    rows.append(row(f"{who}{first} i", who, "3", now, action="impression", recommendation_id=f"r {first}"))
    rows.append(row(f"{who}{first} r", who, "(list)", now, action="satisfaction", value=1.0))
    project.keep(rows).result()
    listed = {
        "recommendation_id": f"{who} {first}",
        "time_us": now,
        "user_id": who,
        "session_id": f"s {who}",
        "scenario": "default",
        "model_version": "m",
        "slate": [["1", 1.0, 0.5]],
    }
    project.store.write(lambda c: c.execute(impressions.insert(), [listed])).result()
    project.records.put_users([(who, {"city": f"{who}ville"})]).result()


def n_events(project: Project, who: str) -> int:
    return int(project.states.histories([who]).offsets[-1])


@pytest.mark.parametrize("is_packed", [False, True])
def test_who_is_erased_is_in_no_file_after_the_next_packing(workspace: Workspace, is_packed: bool) -> None:
    project = opened(workspace)
    for who in (WHO, OTHER):
        lived(project, who)
    if is_packed:
        project.repack()
        lived(project, WHO, 50)
    elsewhere = {path for path in held(workspace.folder, OTHER) if "live.db" not in path}
    assert project.forget(WHO).result()["events"] == (12 if is_packed else 7)
    assert n_events(project, WHO) == 0
    assert not project.knows(WHO)
    assert WHO not in project.directory.find_users("")
    assert WHO not in [
        one["user_id"] for one in project.neighbours.users(OTHER, 50, project.actions.vocabulary)
    ]
    assert project.records.user(WHO) is None
    done = project.repack()
    assert (done.erased_users, done.is_settled) == (1, True)
    assert held(workspace.folder, WHO) == []
    # Everybody else is where he was.
    assert {path for path in held(workspace.folder, OTHER) if "live.db" not in path} >= {
        path for path in elsewhere if "events" not in path and "impressions" not in path
    }
    assert n_events(project, OTHER) == 14
    assert not project.erased
    assert not project.knows(WHO)
    assert WHO not in project.directory.find_users("")
    assert project.records.user(WHO) is None
    assert not workspace.report.exists()
    project.close()
    assert held(workspace.folder, WHO) == []
    project = opened(workspace)
    assert n_events(project, WHO) == 0
    assert n_events(project, OTHER) == 14
    project.close()


def test_he_may_come_again_and_what_was_before_does_not(workspace: Workspace) -> None:
    project = opened(workspace)
    lived(project, WHO)
    early = now_us() - 1
    project.forget(WHO).result()
    late = project.keep([row("late", WHO, "5", early)]).result()
    assert (late.fresh, late.known) == ([], ["late"])
    time.sleep(0.001)
    assert len(project.keep([row("anew", WHO, "6", now_us())]).result().fresh) == 1
    project.records.put_users([(WHO, {"city": "here"})]).result()
    assert n_events(project, WHO) == 1
    assert project.knows(WHO)
    project.repack()
    assert n_events(project, WHO) == 1
    assert project.records.user(WHO) == {"city": "here"}
    log = EventLog(workspace.events).scan().filter(pl.col("user_id") == WHO).collect()
    assert log["event_id"].to_list() == ["anew"]
    # The id is gone from the list of those to erase, and still nothing of before is taken.
    assert project.store.read(erasures) == []
    assert project.keep([row("later", WHO, "5", early)]).result().fresh == []
    project.close()
    project = opened(workspace)
    assert n_events(project, WHO) == 1
    assert project.keep([row("latest", WHO, "5", early)]).result().fresh == []
    project.repack()
    assert project.store.read(lambda c: len(c.execute(select(remembered)).all())) == 1
    project.compaction = CompactionConfig(refuse_days=0)
    project.repack()
    assert project.store.read(lambda c: c.execute(select(remembered)).all()) == []
    assert len(project.keep([row("free", WHO, "5", early)]).result().fresh) == 1
    project.close()


def test_a_file_does_not_bring_him_back(workspace: Workspace) -> None:
    project = opened(workspace)
    project.forget(WHO).result()
    project.repack()
    project.close()
    log = EventLog(workspace.events)
    again = EventLog(ingested(workspace.folder.with_name("dump"), [WHO, "newcomer"]).events).scan().collect()
    log.append(canonical_log(again.with_columns(pl.lit("again").alias("query"))))
    assert WHO in log.ids("user_id")
    project = opened(workspace)
    done = project.repack()
    assert (done.erased_users, done.erased_events) == (1, 9)
    assert held(workspace.folder, WHO) == []
    assert "newcomer" in EventLog(workspace.events).ids("user_id")
    assert project.repack().erased_users == 0
    project.close()


def test_a_log_restored_from_a_backup_is_rid_of_him_again(workspace: Workspace) -> None:
    backup = workspace.folder.with_name("backup")
    shutil.copytree(workspace.events, backup)
    project = opened(workspace)
    project.forget(WHO).result()
    project.repack()
    project.close()
    shutil.rmtree(workspace.events)
    shutil.copytree(backup, workspace.events)
    project = opened(workspace)
    assert project.repack().erased_events == 9
    assert held(workspace.folder, WHO) == []
    assert project.repack().erased_events == 0
    project.close()


class Cut(Exception):
    """The process ends here."""


STEPS = {
    "a part of the log": (log_erasure, "write_part"),
    "the manifest": (Manifest, "save"),
    "a table": (erasure, "_replace"),
    "the end": (compaction, "end_erasure"),
}
MORE_STEPS = {
    "the rows of the store": (erasure, "_purge"),
    "files of before": (erasure, "sweep"),
    "the archive": (Archive, "erase"),
    "segments": (erasure, "_leave_segments"),
    "the sequences": (erasure, "open_sequences"),
}


@pytest.mark.parametrize("place", STEPS.values(), ids=STEPS)
def test_a_cut_is_made_good_by_the_next_packing(workspace, monkeypatch, place) -> None:
    cut_at(workspace, monkeypatch, place)


@pytest.mark.slow
@pytest.mark.parametrize("place", MORE_STEPS.values(), ids=MORE_STEPS)
def test_a_cut_at_other_steps_is_made_good(workspace, monkeypatch, place) -> None:
    cut_at(workspace, monkeypatch, place)


def cut_at(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]) -> None:
    """Cut before and after each step; every row that is not his is kept once, and his are gone in the end."""
    project = opened(workspace)
    for who in (WHO, OTHER):
        lived(project, who)
    project.repack()
    project.forget(WHO).result()
    project.close()
    thing, name = place
    true = getattr(thing, name)
    kept = EventLog(workspace.events).scan().filter(pl.col("user_id") != WHO).collect()
    store = LiveStore(f"sqlite:///{workspace.folder / 'live.db'}")
    for after in (False, True):

        def cut(*given: Any, after: bool = after, **named: Any) -> Any:
            if after:
                true(*given, **named)
            raise Cut

        monkeypatch.setattr(thing, name, cut)
        with pytest.raises(Cut):
            compact(workspace, store)
        monkeypatch.setattr(thing, name, true)
        if not store.read(erasures):
            break
    compact(workspace, store)
    store.close()
    assert held(workspace.folder, WHO) == []
    assert EventLog(workspace.events).scan().collect().equals(kept)
    assert read_lists(workspace.folder / FOLDER).collect()["user_id"].to_list() == [OTHER]


def test_it_is_done_in_time_without_being_asked(workspace: Workspace) -> None:
    project = opened(workspace)
    project.forget(WHO).result()
    upkeep = Upkeep(project, UpkeepConfig(pack_events=0, pack_hours=0, erase_hours=0))
    upkeep.close()
    upkeep.look()
    upkeep.look()
    assert held(workspace.folder, WHO) == []
    upkeep = Upkeep(project, UpkeepConfig(pack_events=0, pack_hours=0, erase_hours=9))
    upkeep.close()
    upkeep.look()
    project.forget(OTHER).result()
    upkeep.look()
    assert held(workspace.folder, OTHER) != []
    project.close()
    # What a server owed when it was stopped is done when it starts.
    project = opened(workspace)
    upkeep = Upkeep(project, UpkeepConfig(pack_events=0, pack_hours=0, erase_hours=9))
    upkeep.close()
    upkeep.look()
    assert held(workspace.folder, OTHER) == []
    project.close()


def test_another_process_knows_and_keeps_nothing(workspace: Workspace, database: str) -> None:
    """Two servers on one PostgreSQL database: erased through one, unknown to the other at its next look."""
    one, other = opened(workspace, database), opened(workspace, database)
    lived(one, WHO)
    early = now_us() - 1
    one.forget(WHO).result()
    # Before the other looks, it still takes what comes late; the packing drops it.
    other.keep([row("slipped in", WHO, "5", early)]).result()
    other.follow()
    assert n_events(other, WHO) == 0
    assert other.keep([row("late", WHO, "5", early)]).result().fresh == []
    one.repack()
    assert held(workspace.folder, WHO) == []
    other.follow()
    assert not other.erased
    assert n_events(other, WHO) == 0
    assert WHO not in list(other.states.user_ids())
    tables = (events, impressions, users)
    rows = [one.store.read(lambda c, t=t: c.execute(select(t.c.user_id)).scalars().all()) for t in tables]
    assert WHO not in [name for found in rows for name in found]
    one.close()
    other.close()


def test_the_next_packing_waits_for_no_reader(workspace: Workspace) -> None:
    """Somebody who reads the store holds up the cutting of its log, not the erasure, and it is done later."""
    project = opened(workspace)
    lived(project, WHO)
    with project.store.engine.connect() as reader:
        reader.execute(select(events)).fetchone()
        project.forget(WHO).result()
        assert not project.repack().is_settled
    project.settle()
    assert held(workspace.folder, WHO) == []
    project.close()


def test_a_store_that_was_erased_from_before_hashes_who_it_was(tmp_path: Path) -> None:
    from desirepath.live import migrations
    from desirepath.live.database import open_database, writing

    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = open_database(url)
    with writing(engine).begin() as connection:
        connection.exec_driver_sql("DROP TABLE erasures")
        connection.exec_driver_sql("DROP INDEX users_to_erase")
        connection.exec_driver_sql("DELETE FROM marks WHERE name = 'erasure_key'")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'followed_items'")
        gone = {"user_id": WHO, "attributes": {}, "is_deleted": True, "erased_us": 500, "updated_us": 9}
        connection.execute(insert(users), gone)
    engine.dispose()
    store = LiveStore(url)
    assert migrations.HEAD == "erased_users"
    assert store.refusals.before_us(WHO) == 500
    assert store.refusals.before_us(OTHER) is None
    assert [
        e["event_id"]
        for e in store.keep([row("a", WHO, time_us=499), row("b", WHO, time_us=500)]).result().fresh
    ] == ["b"]
    store.close()


def test_the_console_lists_who_is_there(workspace: Workspace) -> None:
    pytest.importorskip("nicegui")
    from desirepath.console.people import everybody

    project = opened(workspace)
    for who in (WHO, OTHER):
        lived(project, who)
    project.repack()
    project.keep([row("more", OTHER, "1", now_us())]).result()

    def told() -> dict[str, int]:
        return dict(everybody(project, project.base).select("user_id", "n_events").iter_rows())

    assert told() == {**dict.fromkeys(NAMES, 9), WHO: 14, OTHER: 15}
    project.forget(WHO).result()
    assert WHO not in told()
    project.keep([row("anew", WHO, "1", now_us() + 1)]).result()
    assert told()[WHO] == 1
    project.close()


@pytest.mark.slow
def test_a_killed_packing_leaves_nobody_half_erased(workspace: Workspace) -> None:
    """Deaths at random instants, one erasure each: in the end they are nowhere, and all else is as it was."""
    chance = random.Random(3)
    kept = EventLog(workspace.events).scan().filter(pl.col("user_id").is_in([OTHER, "u7"])).collect()
    gone = [name for name in NAMES if name not in (OTHER, "u7")]
    words = [sys.executable, str(Path(__file__).with_name("packer.py")), str(workspace.folder)]
    deaths = 0
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as packer:
        assert packer.stdin is not None
        assert packer.stdout is not None
        for who in gone:
            project = opened(workspace)
            lived(project, who)
            project.forget(who).result()
            project.close()
            packer.stdin.write("pack\n")
            packer.stdin.flush()
            pid = int(packer.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.8))
            with contextlib.suppress(ProcessLookupError):  # it may be done already
                os.kill(pid, signal.SIGKILL)
            deaths += int(packer.stdout.readline()) == signal.SIGKILL
        packer.stdin.close()
    assert deaths
    store = LiveStore(f"sqlite:///{workspace.folder / 'live.db'}")
    compact(workspace, store)
    assert store.read(erasures) == []
    store.close()
    assert held(workspace.folder, WHO) == []
    assert EventLog(workspace.events).scan().collect().equals(kept)
    assert open_sequences(workspace).n_events == len(kept)


@pytest.mark.slow
def test_a_workspace_that_run_made_holds_him_nowhere(tmp_path: Path) -> None:
    """Everything that a run leaves: the log, lists, segments, mined tables, models, the report."""
    chance = random.Random(1)
    names = [WHO, OTHER, *(f"u{n}" for n in range(58))]
    rows = [
        (name, f"i{(k + turn + chance.randint(0, 1)) % 25}", 1_700_000_000 + 3600 * turn + k)
        for k, name in enumerate(names)
        for turn in range(12)
    ]
    world = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    world.write_csv(tmp_path / "log.csv")
    table = pl.DataFrame({"user_id": world["user_id"].unique()}).with_columns(age=pl.lit(30))
    folder = tmp_path / "shop"
    words = ["recommend.transformer=false", "training.epochs=1"]
    flows.run(flows.Given(sources=[str(tmp_path / "log.csv")]), folder, words)
    table.write_parquet(Workspace(folder).table("users"))
    assert {"segments/members.parquet", "recommendations.parquet", "sequences/users.arrow"} <= set(
        held(folder, WHO)
    )
    project = open_projects([folder], ServeConfig())["default"]
    lived(project, WHO)
    project.forget(WHO).result()
    project.repack()
    assert held(folder, WHO) == []
    assert held(folder, OTHER) != []
    segments = Segments.load(folder / "segments")
    assert len(segments.members) == len(segments.coordinates) == 59
    project.close()
    assert os.path.getsize(folder / "live.db") > 0
    shutil.rmtree(folder)
