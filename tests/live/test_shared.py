# SPDX-License-Identifier: Apache-2.0
"""Instances of shared states stand for processes: each has its own store, connection and indexes."""

import itertools
import threading
import time

import numpy as np
import polars as pl
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import free_port
from stored import row

import worlds
from desirepath.errors import ConfigError, WorkspaceError
from desirepath.live.actions import IMPRESSION
from desirepath.live.project import Project
from desirepath.live.replay import replay
from desirepath.live.shared import SharedStates
from desirepath.live.states import UserStates
from desirepath.live.store import LiveStore
from desirepath.live.tables import events, users
from desirepath.models.markov import Markov
from desirepath.recommend.versions import Version
from desirepath.schema import TIME_DTYPE
from desirepath.sequences import Vocabulary
from desirepath.sequences.build import pack_events
from desirepath.workspace import Workspace


class Codes:
    """Indexes in the order in which one process saw the names."""

    def __init__(self, names=()):
        self.words = Vocabulary(names)

    def take(self, name):
        if name not in self.words:
            self.words = self.words.extended(pl.Series([name]))
        return self.words.index(name)


class Process:
    """What one server process has."""

    def __init__(self, url, redis_url, base=None, names=()):
        self.items, self.actions = Codes(names), Codes()
        self.store = LiveStore(url, on_kept=lambda rows: self.states.append([]))
        self.states = SharedStates(redis_url, self.store, base, self.items.take, self.actions.take)

    def keep(self, *rows):
        return self.store.keep(rows).result()

    def told(self, *user_ids):
        histories = self.states.histories(user_ids)
        items = self.items.words.decode(histories.item_ix).to_list()
        actions = self.actions.words.decode(histories.action_ix).to_list()
        events = list(zip(items, actions, histories.time_s.tolist(), strict=True))
        cuts = histories.offsets.tolist()
        return [events[first:stop] for first, stop in itertools.pairwise(cuts)]

    def close(self):
        self.states.close()
        self.store.close()


@pytest.fixture
def open_process(tmp_path, redis_url):
    url = f"sqlite:///{tmp_path / 'live.db'}"
    opened = []

    def open_one(*more, **named):
        opened.append(Process(url, redis_url, *more, **named))
        return opened[-1]

    yield open_one
    for process in opened:
        process.close()


def packed(log):
    columns = list(zip(*log, strict=True))
    moments = pl.Series(columns[3], dtype=pl.Int64).cast(TIME_DTYPE)
    names = dict(zip(("user_id", "item_id", "action"), columns, strict=False))
    return pack_events(pl.DataFrame({**names, "time": moments}))


def test_one_keeps_and_the_other_answers(open_process):
    """Though they number items otherwise, and the second was there before."""
    one, other = open_process(names=["x", "a"]), open_process(names=["b"])
    one.keep(row("1", "u", "a", 5), row("2", "v", "b", 6), row("3", "u", "用", 3))
    assert other.told("u", None, "v", "nobody") == [
        [("用", "view", 3e-6), ("a", "view", 5e-6)],
        [],
        [("b", "view", 6e-6)],
        [],
    ]
    other.keep(row("4", "u", "b", 9), row("1", "u", "a", 5))
    assert one.told("u")[0][-1] == ("b", "view", 9e-6)
    assert one.told("u") == other.told("u")
    assert (len(one.states), one.states.n_live) == (2, 4)
    assert "u" in other.states
    assert "nobody" not in other.states
    assert None not in other.states
    assert set(other.states.user_ids()) == {"u", "v"}
    third = open_process()
    assert third.told("u") == one.told("u")
    assert third.states.n_live == 4


def test_what_was_shown_is_no_history(open_process):
    one = open_process()
    one.keep(row("1", action=IMPRESSION), row("2", item_id="b"), row("3", action=IMPRESSION))
    assert one.told("u") == [[("b", "view", 1e-6)]]


def test_an_event_that_a_killed_process_left_in_the_store_is_found(open_process):
    """It died between the commit and Redis; the next write of any process brings it in, in order."""
    one = open_process()
    one.store.on_kept = None
    one.keep(row("1", "u", "a", 5))
    other = open_process()
    assert other.told("u") == [[("a", "view", 5e-6)]]
    one.keep(row("2", "u", "b", 5))
    other.keep(row("3", "v", "c", 5))
    assert other.told("u") == [[("a", "view", 5e-6), ("b", "view", 5e-6)]]
    assert other.states.n_live == 3


def test_redis_that_was_emptied_is_filled_from_the_store(open_process, redis_url):
    one, other = open_process(), open_process()
    one.keep(*(row(str(n), f"u{n % 5}", f"i{n % 7}", n) for n in range(2500)))
    asked = [*(f"u{n}" for n in range(5)), "w"]
    before = one.told(*asked)
    redis.Redis.from_url(redis_url).flushall()
    assert other.told(*asked) == before
    assert one.told(*asked) == before
    redis.Redis.from_url(redis_url).flushall()
    one.keep(row("new", "w", "a", 1))
    assert other.told("w") == [[("a", "view", 1e-6)]]
    assert other.told(*asked)[:5] == before[:5]
    assert one.states.n_live == 2501


def test_several_that_find_redis_empty_fill_it_once(open_process, redis_url):
    processes = [open_process() for _ in range(4)]
    processes[0].keep(*(row(str(n), f"u{n % 5}", f"i{n % 7}", n) for n in range(1500)))
    before = processes[0].told("u1")
    redis.Redis.from_url(redis_url).flushall()
    found = []
    threads = [threading.Thread(target=lambda p=p: found.append(p.told("u1"))) for p in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [before] * 4
    assert processes[0].states.n_live == 1500


def test_many_that_write_at_once_count_each_event_once(open_process):
    processes = [open_process() for _ in range(3)]

    def send(process, number):
        for n in range(60):
            process.keep(row(f"{number}-{n}", f"u{n % 3}", f"i{n}", 1), row(f"all-{n}", "all", "a", n))

    threads = [threading.Thread(target=send, args=(p, n)) for n, p in enumerate(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [process.told("u0", "u1", "u2", "all") for process in processes]
    assert told[0] == told[1] == told[2]
    assert [len(events) for events in told[0]] == [60, 60, 60, 60]
    # Tied times come in the order in which they were kept, in every process.
    kept = [e for e in processes[0].store.events_after(0) if e["user_id"] == "u1"]
    assert [event[0] for event in told[0][1]] == [e["item_id"] for e in kept]


happened = st.tuples(
    st.sampled_from("uvwx"), st.sampled_from("abcd"), st.sampled_from(["view", "buy"]), st.integers(1, 5)
)


@given(log=st.lists(happened, min_size=1, max_size=40), n_packed=st.integers(0, 40))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shared_states_tell_what_states_in_memory_tell(redis_url, tmp_path, log, n_packed):
    url = f"sqlite:///{tmp_path / f'{time.monotonic_ns()}.db'}"
    n_packed = min(n_packed, len(log))
    base = (packed(log[:n_packed]), n_packed) if n_packed else None
    process = Process(url, redis_url, base)
    rows = [
        row(str(n), user, item, moment, action=action) for n, (user, item, action, moment) in enumerate(log)
    ]
    process.keep(*rows[: len(rows) // 2])
    process.keep(*rows[len(rows) // 2 :])
    items, actions = process.items.take, process.actions.take
    own = (
        [None, None]
        if base is None
        else [[0, 1, *map(items, base[0].items.ids)], [0, 1, *map(actions, base[0].actions.ids)]]
    )
    states = UserStates(
        base[0] if base else None,
        item_ix=None if base is None else np.array(own[0], np.int32),
        action_ix=None if base is None else np.array(own[1], np.int16),
    )
    process.store.read(lambda connection: replay(connection, states, n_packed, items, actions))
    asked = ["u", "v", "w", "x", "nobody"]
    shared, memory = process.states.histories(asked), states.histories(asked)
    for one, other in zip(shared, memory, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(process.states) == len(states)
    process.close()


def test_packing_again_changes_no_history_and_frees_redis(open_process):
    log = [(f"u{n % 3}", f"i{n % 4}", "view", n) for n in range(1, 31)]
    one, other = open_process(), open_process()
    one.keep(*(row(str(n), user, item, moment) for n, (user, item, _, moment) in enumerate(log)))
    asked = ["u0", "u1", "u2"]
    before = one.told(*asked)
    one.states.stand_on(packed(log[:10]), 10)
    assert one.told(*asked) == other.told(*asked) == before
    other.states.stand_on(packed(log[:10]), 10)
    assert one.states.n_live == 30  # another may stand on no log yet
    one.states.stand_on(packed(log[:20]), 20)
    assert one.states.n_live == 20  # all had the time until now to stand on the one before
    assert one.told(*asked) == other.told(*asked) == before
    assert one.states.trim(20) == 10
    assert one.told(*asked) == before
    assert len(one.states) == 3
    with pytest.raises(WorkspaceError, match="must go to event 20"):
        other.told("u0")
    other.states.stand_on(packed(log[:20]), 20)
    assert other.told(*asked) == before


def test_who_was_erased_is_so_in_every_process(open_process, redis_url):
    base = packed([("u", "a", "view", 1), ("u", "a", "view", 2_500_000_000_000_000)])
    one, other = open_process((base, 0)), open_process((base, 0))
    one.keep(row("1", "u", "b", 7), row("2", "v", "b", 7))
    before_us = one.states.erase("u")
    assert before_us == 2_500_000_000_000_001
    gone = {"user_id": "u", "attributes": {}, "is_deleted": True, "updated_us": 1, "erased_us": before_us}

    def forget(connection):
        connection.execute(events.delete().where(events.c.user_id == "u"))
        connection.execute(users.insert().values(**gone))

    one.store.write(forget, alone=True).result()
    assert other.told("u", "v") == [[], [("b", "view", 7e-6)]]
    redis.Redis.from_url(redis_url).flushall()
    assert other.told("u", "v") == [[], [("b", "view", 7e-6)]]
    one.keep(row("3", "u", "c", before_us + 5))
    assert [event[0] for event in other.told("u")[0]] == ["c"]


def test_who_left_all_files_leaves_redis_too(open_process, redis_url):
    """By the second packing after it, when every process has had time to stand on a log without him."""
    log = [("gone", "a", "view", 1), ("stays", "a", "view", 2)]
    one = open_process((packed(log), 0))
    one.keep(row("1", "gone", "b", 7), row("2", "stays", "b", 8))
    before_us = one.states.erase("gone")
    gone = {"user_id": "gone", "attributes": {}, "is_deleted": True, "updated_us": 1, "erased_us": before_us}
    one.store.write(lambda c: c.execute(users.insert().values(**gone))).result()
    one.keep(row("3", "gone", "c", before_us + 5))
    server = redis.Redis.from_url(redis_url)

    def named():
        moments = server.hgetall(f"desirepath:{{{one.store.store_id}}}:erased")
        return b"gone" in moments

    one.states.stand_on(packed(log), 0)
    one.states.stand_on(packed(log), 0)
    assert named()  # his rows are in the log still
    one.store.write(lambda c: c.execute(users.delete())).result()
    rid = packed(log[1:])
    one.states.stand_on(rid, 0)
    assert named()
    assert [event[0] for event in one.told("gone")[0]] == ["c"]
    one.states.stand_on(rid, 0)
    assert not named()
    assert [event[0] for event in one.told("gone")[0]] == ["c"]  # who came again is who he is now
    assert one.states.n_live == 2
    assert [event[0] for event in one.told("stays")[0]] == ["a", "b"]


def test_a_server_that_is_away_or_forgets_is_refused(open_process, redis_url, tmp_path):
    one = open_process()
    server = redis.Redis.from_url(redis_url)
    server.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigError, match="allkeys-lru"):
            SharedStates(redis_url, one.store, None, one.items.take, one.actions.take)
    finally:
        server.config_set("maxmemory-policy", "noeviction")
    with pytest.raises(WorkspaceError, match="must answer"):
        SharedStates(f"redis://127.0.0.1:{free_port()}", one.store, None, one.items.take, one.actions.take)
    with pytest.raises(ConfigError, match="redis://"):
        SharedStates("http://x", one.store, None, one.items.take, one.actions.take)


def test_users_whom_processes_share_are_listed_once(tmp_path, redis_url):
    sequences = worlds.cycle(n_users=3)
    version = Version(
        name="v",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={},
    )
    project = Project("default", Workspace.create(tmp_path / "w"), sequences, version, redis=redis_url)
    try:
        for n in range(0, 900, 30):
            project.store.keep([row(f"e{k}", f"fresh{k}") for k in range(n, n + 30)]).result()
            assert len(project.directory.users()) == n + 33
        listed = project.directory.users()
        assert listed.n_unique() == len(listed)
        assert set(listed) == {f"u{n}" for n in range(3)} | {f"fresh{n}" for n in range(900)}
    finally:
        project.close()
