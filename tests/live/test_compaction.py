# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import func, select
from stored import row

from desirepath.errors import ConfigError, DataError, WorkspaceError
from desirepath.events.log import EventLog
from desirepath.events.manifest import Manifest
from desirepath.events.raw import canonical_log
from desirepath.live import compaction
from desirepath.live.archive import FOLDER, Archive, read_feedback, read_lists
from desirepath.live.compaction import CompactionConfig, compact, packed_until, resume, stand_on
from desirepath.live.replay import replay
from desirepath.live.states import UserStates
from desirepath.live.store import LiveStore, now_us
from desirepath.live.tables import PACKED, events, impressions, requests, users
from desirepath.schema import TIME_DTYPE
from desirepath.sequences import Vocabulary
from desirepath.sequences.build import build_sequences
from desirepath.workspace import Workspace

NOW = now_us()
KEEP = CompactionConfig()
DROP = CompactionConfig(keep_days=0)


class Codes:
    def __init__(self):
        self.words = Vocabulary([])

    def take(self, name):
        if name not in self.words:
            self.words = self.words.extended(pl.Series([name]))
        return self.words.index(name)


def happened(first, n, seed=0):
    """Random events, some of them no behaviour, with tied and late times, as a day of serving brings them."""
    chance = random.Random(seed)
    return [
        row(
            f"e{k}",
            f"u{chance.randint(0, 6)}",
            f"i{chance.randint(0, 20)}",
            NOW - chance.randint(0, 9) * 1_000_000,
            received_us=NOW - (first + n - k),
            action=chance.choice(["view", "view", "buy", "impression", "satisfaction"]),
            value=chance.choice([None, 1.5]),
            recommendation_id=chance.choice([None, "r1"]),
            more=chance.choice([None, {"query": "tea & <b>", "lat": 1.25, "context": {"place": ["home"]}}]),
        )
        for k in range(first, first + n)
    ]


def served(first, n):
    return [
        {
            "recommendation_id": f"r{k}",
            "time_us": NOW - 100 + k,
            "user_id": None,
            "scenario": "default",
            "model_version": "m",
            "slate": [["a", 1.0, 0.5]],
        }
        for k in range(first, first + n)
    ]


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace.create(tmp_path / "shop")
    moments = pl.Series([NOW - 10_000_000, NOW - 5_000_000], dtype=pl.Int64).cast(TIME_DTYPE)
    log = {"user_id": ["u1", "old"], "item_id": ["i3", "i1"], "action": ["view", "buy"], "time": moments}
    EventLog(workspace.events).append(canonical_log(pl.DataFrame(log)))
    return workspace


@pytest.fixture
def store(workspace):
    store = LiveStore(f"sqlite:///{workspace.folder / 'live.db'}")
    yield store
    store.close()


def fill(store, first, n, seed=0):
    store.keep(happened(first, n, seed)).result()
    store.write(lambda c: c.execute(impressions.insert(), served(first, n // 3))).result()


def packed(workspace):
    log = EventLog(workspace.events).scan().collect()
    return Counter(log["event_id"].drop_nulls() if "event_id" in log.columns else ())


def rebuilt(workspace, store, items, actions):
    """States as a server that starts now has them."""
    base = build_sequences(EventLog(workspace.events), workspace.sequences)
    until = packed_until(EventLog(workspace.events).manifest, store.store_id, base.n_events)
    states = UserStates(
        base,
        item_ix=pl.Series([0, 1, *map(items.take, base.items.ids)], dtype=pl.Int32).to_numpy(),
        action_ix=pl.Series([0, 1, *map(actions.take, base.actions.ids)], dtype=pl.Int16).to_numpy(),
    )
    store.read(lambda connection: replay(connection, states, until, items.take, actions.take))
    return states


def forget(store, user_id, before_us):
    gone = {"user_id": user_id, "attributes": {}, "is_deleted": True, "updated_us": 1, "erased_us": before_us}

    def work(connection):
        connection.execute(events.delete().where(events.c.user_id == user_id))
        connection.execute(users.insert().values(**gone))
        store.refusals.put(connection, user_id, before_us, now_us())

    store.write(work, alone=True, then=lambda _: store.refusals.learn(user_id, before_us)).result()


USERS = ["old", *(f"u{k}" for k in range(7)), "nobody"]


def told(states):
    return [column.tolist() for column in states.histories(USERS)]


def everything(workspace, store):
    """All event ids and lists, in the store and packed."""
    feedback, lists = read_feedback(workspace.folder / FOLDER), read_lists(workspace.folder / FOLDER)
    return {
        "behaviour": packed(workspace),
        "feedback": Counter() if feedback is None else Counter(feedback.collect()["event_id"]),
        "lists": Counter() if lists is None else Counter(lists.collect()["recommendation_id"]),
        "in the store": {kept["event_id"] for kept in store.events_after(0)},
    }


def expected(n, seed=0):
    is_feedback = {e["event_id"]: e["action"] in ("impression", "satisfaction") for e in happened(0, n, seed)}
    return {
        "behaviour": Counter(name for name, feedback in is_feedback.items() if not feedback),
        "feedback": Counter(name for name, feedback in is_feedback.items() if feedback),
        "lists": Counter(f"r{k}" for k in range(n // 3)),
        "in the store": set(is_feedback),
    }


def test_behaviour_joins_the_log_and_the_rest_lies_beside_it(workspace, url):
    store = LiveStore(url)
    fill(store, 0, 60)
    done = compact(workspace, store, KEEP)
    assert everything(workspace, store) == expected(60)
    assert (done.behaviour + done.feedback, done.lists, done.removed, done.until) == (60, 20, 0, 60)
    assert store.mark(PACKED) == 60
    log = EventLog(workspace.events).scan().collect()
    assert set(log["action"]) == {"view", "buy"}
    kept = {e["event_id"]: e for e in happened(0, 60)}
    for event in log.filter(pl.col("event_id").is_not_null()).iter_rows(named=True):
        sent = kept[event["event_id"]]
        more = sent["more"] or {}
        assert (event["user_id"], event["item_id"], event["value"]) == (
            sent["user_id"],
            sent["item_id"],
            sent["value"],
        )
        assert (event["query"], event["lat"]) == (more.get("query"), more.get("lat"))
        assert json.loads(event["context"] or "null") == more.get("context")
        assert event["recommendation_id"] == sent["recommendation_id"]
    assert compact(workspace, store, DROP).removed == 80
    store.close()


def test_replay_after_packing_equals_what_was_in_memory(workspace, store):
    """At every stage a new start tells what a server that never stopped tells."""
    items, actions = Codes(), Codes()
    fill(store, 0, 50, seed=1)
    lived = rebuilt(workspace, store, items, actions)
    for stage in range(4):
        compact(workspace, store, DROP if stage % 2 else KEEP)
        assert told(rebuilt(workspace, store, items, actions)) == told(lived)
        fresh = [e for e in happened(50 + 20 * stage, 20, stage) if e["action"] in ("view", "buy")]
        store.keep(fresh).result()
        lived.extend(
            [e["user_id"] for e in fresh],
            [items.take(e["item_id"]) for e in fresh],
            [actions.take(e["action"]) for e in fresh],
            [e["time_us"] for e in fresh],
        )
        if stage == 2:
            before_us = lived.erase("u1")
            forget(store, "u1", before_us)
        assert told(rebuilt(workspace, store, items, actions)) == told(lived)
    assert len(told(lived)[1]) > 50


def test_a_server_changes_to_the_packed_log_while_events_come(workspace, store):
    items, actions = Codes(), Codes()
    fill(store, 0, 40)
    served_now = rebuilt(workspace, store, items, actions)
    compact(workspace, store, DROP)
    store.keep([row("late", "u9", "new", NOW)]).result()
    base = build_sequences(EventLog(workspace.events), workspace.sequences)
    before, n_live = told(served_now), served_now.n_live
    assert stand_on(workspace, store, served_now, base, items.take, actions.take) == 40
    assert told(served_now) == before
    assert n_live > served_now.n_live == 1
    assert "u9" in served_now


def test_an_old_base_is_served_with_all_that_came_since(workspace, store):
    """Sequences that were opened before another process packed: their length says where they end."""
    fill(store, 0, 30)
    compact(workspace, store, KEEP)
    base = build_sequences(EventLog(workspace.events), workspace.sequences)
    fill(store, 30, 30)
    compact(workspace, store, KEEP)
    manifest = EventLog(workspace.events).manifest
    assert packed_until(manifest, store.store_id, base.n_events) == 30
    assert packed_until(manifest, store.store_id, 2) == 0
    assert packed_until(manifest, store.store_id) == 60
    assert packed_until(manifest, "0" * 32) == 0
    with pytest.raises(DataError, match="never had 7 events"):
        packed_until(manifest, store.store_id, 7)


def test_a_store_restored_from_a_backup_loses_no_new_event(workspace, url):
    """Its numbers would be given again, and what has a number that is packed would pass for packed."""
    old = happened(0, 20)
    store = LiveStore(url)
    store.keep(old[:5]).result()
    name = store.store_id
    store.keep(old[5:]).result()
    store.write(lambda c: c.execute(impressions.insert(), served(0, 9))).result()
    compact(workspace, store, KEEP)
    base = build_sequences(EventLog(workspace.events), workspace.sequences)

    def go_back(connection):
        connection.execute(events.delete().where(events.c.seq > 5))
        connection.execute(impressions.delete())
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("UPDATE sqlite_sequence SET seq = 5 WHERE name = 'events'")
            connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = 'recommendations'")
        else:
            connection.exec_driver_sql("ALTER SEQUENCE events_seq_seq RESTART WITH 6")

    for again in (False, True):
        store.write(go_back).result()
        store.close()
        store = LiveStore(url)
        assert store.store_id == name
        assert resume(workspace, store, base) == 20
        assert store.keep([row(f"new {again}")]).result().fresh[0]["seq"] == 21 + again
        store.write(lambda c, k=100 + again: c.execute(impressions.insert(), served(k, 1))).result()
        done = compact(workspace, store, KEEP)
        assert (done.behaviour, done.lists) == (1, 1)
    store.close()


def test_what_is_packed_and_old_leaves_the_store(workspace, store, monkeypatch):
    monkeypatch.setattr(compaction, "REMOVED_AT_ONCE", 7)
    fill(store, 0, 30)
    store.write(
        lambda c: c.execute(
            requests.insert(),
            [
                {"key": key, "digest": "d", "status": 200, "reply": {}, "time_us": moment}
                for key, moment in (("old", NOW - 2 * compaction.DAY_US), ("new", NOW))
            ],
        )
    ).result()
    old = row("old", received_us=NOW - 8 * compaction.DAY_US)
    store.keep([old]).result()
    assert compact(workspace, store, KEEP).removed == 0  # the first of the store are young
    assert store.read(lambda c: c.execute(select(requests.c.key)).scalars().all()) == ["new"]
    done = compact(workspace, store, DROP)
    assert done.removed == 41
    assert store.events_after(0) == []
    assert store.read(lambda c: c.execute(select(func.count()).select_from(impressions)).scalar()) == 0
    assert store.keep([row("next")]).result().fresh[0]["seq"] == 32  # numbers are never given twice
    compact(workspace, store, DROP)
    assert sum(packed(workspace).values()) == len(expected(30)["behaviour"]) + 2


class Cut(Exception):
    """The process ends here."""


STEPS = {
    "before anything counts": (Archive, "prepare_feedback"),
    "before files count": (Archive, "settle"),
    "at the manifest": (Manifest, "save"),
    "at the marks": (compaction, "_move_marks"),
}
MORE_STEPS = {
    "at lists": (Archive, "add_lists"),
    "in the log": (EventLog, "_commit"),
    "at the look for the end": (compaction, "packed_until"),
    "before lists": (compaction, "_pack_lists"),
    "at the removal": (compaction, "_remove"),
}


@pytest.mark.parametrize("place", STEPS.values(), ids=STEPS)
def test_a_cut_loses_and_doubles_nothing(workspace, store, monkeypatch, place):
    cut_everywhere(workspace, store, monkeypatch, place)


@pytest.mark.slow
@pytest.mark.parametrize("place", MORE_STEPS.values(), ids=MORE_STEPS)
def test_a_cut_at_other_steps_loses_and_doubles_nothing(workspace, store, monkeypatch, place):
    cut_everywhere(workspace, store, monkeypatch, place)


def cut_everywhere(workspace, store, monkeypatch, place):
    """Cut before and after each step, the first time and the second time that it is reached."""
    thing, name = place
    true = getattr(thing, name)
    total, cuts = 0, 0
    for after in (False, True):
        for nth in range(2):
            fill(store, total, 30)
            total += 30
            calls = []

            def cut(*given, after=after, nth=nth, calls=calls, **named):
                calls.append(1)
                if len(calls) - 1 != nth:
                    return true(*given, **named)
                if after:
                    true(*given, **named)
                raise Cut

            monkeypatch.setattr(thing, name, cut)
            try:
                compact(workspace, store, CompactionConfig(rows_at_once=13))
            except Cut:
                cuts += 1
            monkeypatch.setattr(thing, name, true)
            found = everything(workspace, store)
            assert all(n == 1 for kind in ("behaviour", "feedback", "lists") for n in found[kind].values())
            if nth == 1:
                compact(workspace, store, KEEP)
    assert cuts >= 2
    compact(workspace, store, KEEP)
    found = everything(workspace, store)
    assert {**found, "lists": set(found["lists"])} == {
        "behaviour": sum((expected_part(first) for first in range(0, total, 30)), Counter()),
        "feedback": Counter(found["in the store"]) - found["behaviour"],
        "lists": {f"r{k}" for first in range(0, total, 30) for k in range(first, first + 10)},
        "in the store": {f"e{k}" for k in range(total)},
    }
    assert max(found["lists"].values()) == 1


def expected_part(first):
    return Counter(e["event_id"] for e in happened(first, 30) if e["action"] in ("view", "buy"))


def test_a_killed_compaction_loses_and_doubles_nothing(workspace, store):
    """The same with real deaths at random instants."""
    chance = random.Random(4)
    total, deaths = 0, 0
    words = [sys.executable, str(Path(__file__).with_name("packer.py")), str(workspace.folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as packer:
        for _ in range(3):
            fill(store, total, 60)
            total += 60
            packer.stdin.write("pack\n")
            packer.stdin.flush()
            pid = int(packer.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.6))
            with contextlib.suppress(ProcessLookupError):  # it may be done already
                os.kill(pid, signal.SIGKILL)
            deaths += int(packer.stdout.readline()) == signal.SIGKILL
        packer.stdin.close()
    compact(workspace, store, KEEP)
    found = everything(workspace, store)
    assert deaths
    assert found["in the store"] == {f"e{k}" for k in range(total)}
    assert found["behaviour"] + found["feedback"] == Counter(found["in the store"])
    assert sum(found["lists"].values()) == len(found["lists"]) == 3 * 20


def test_two_at_once_are_refused(workspace, store):
    with workspace.lock(), pytest.raises(WorkspaceError, match="Another desirepath process"):
        compact(workspace, store)


def test_options_are_checked():
    with pytest.raises(ConfigError, match="keep_days must be at least 0"):
        CompactionConfig(keep_days=-1)
    with pytest.raises(ConfigError, match="rows_at_once"):
        CompactionConfig(rows_at_once=0)
