# SPDX-License-Identifier: Apache-2.0
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy import func, select
from stored import row

from desirepath.errors import ConfigError, DataError, WorkspaceError
from desirepath.live.store import Busy, LiveStore
from desirepath.live.tables import events, marks


def ids(store):
    return [kept["event_id"] for kept in store.events_after(0)]


def put_mark(name, value):
    def work(connection):
        connection.execute(marks.insert().values(name=name, value=value))
        return "put"

    return work


@pytest.fixture
def store(url):
    store = LiveStore(url)
    yield store
    store.close()


def test_twice_in_a_batch_counts_once_and_the_first_counts(store):
    kept = store.keep([row("e", item_id="first"), row("f"), row("e", item_id="second")]).result()
    assert [fresh["event_id"] for fresh in kept.fresh] == ["e", "f"]
    assert kept.known == ["e"]
    assert [kept["item_id"] for kept in store.events_after(0)] == ["first", "a"]
    assert [fresh["seq"] for fresh in kept.fresh] == [kept["seq"] for kept in store.events_after(0)]


def test_twice_over_batches_and_restarts_counts_once(url):
    for expected in (["e", "f"], [], []):
        store = LiveStore(url)
        kept = [store.keep([row("e")]).result(), store.keep([row("f"), row("e")]).result()]
        assert [fresh["event_id"] for one in kept for fresh in one.fresh] == expected
        assert ids(store) == ["e", "f"]
        store.close()


def test_everything_an_event_carries_comes_back(store):
    carried = row(
        "é", "用户", "a'; --", 2**52, session_id="s", value=0.1, position=3, more={"context": {"a": [1]}}
    )
    store.keep([carried]).result()
    (found,) = store.events_after(0)
    assert {name: found[name] for name in carried} == carried


def test_what_fails_leaves_the_rest(store):
    """Work that fails loses only its own changes, though it is committed together with others."""
    begun, go = threading.Event(), threading.Event()
    first = store.write(lambda _: begun.set() or go.wait(10))
    begun.wait(10)

    def fail(connection):
        connection.execute(marks.insert().values(name="half", value=1))
        raise KeyError("no")

    waiting = [
        store.keep([row("e")]),
        store.write(fail),
        store.write(put_mark("whole", 1)),
        store.keep([row("f")]),
    ]
    go.set()
    wait([first, *waiting])
    assert isinstance(waiting[1].exception(), KeyError)
    assert waiting[2].result() == "put"
    assert (store.mark("half"), store.mark("whole"), ids(store)) == (None, 1, ["e", "f"])


def test_a_row_that_the_database_refuses_takes_no_other_with_it(store):
    begun, go = threading.Event(), threading.Event()
    store.write(lambda _: begun.set() or go.wait(10))
    begun.wait(10)
    good, bad, also_good = (
        store.keep([row("e")]),
        store.keep([row("f", time_us=None)]),
        store.keep([row("g")]),
    )
    go.set()
    assert [one.result().fresh[0]["event_id"] for one in (good, also_good)] == ["e", "g"]
    assert isinstance(bad.exception(), WorkspaceError)
    assert ids(store) == ["e", "g"]


def test_a_nul_is_refused_by_name(database):
    store = LiveStore(database)
    with pytest.raises(DataError, match="NUL"):
        store.keep([row("e\x00")]).result()
    store.close()


def test_work_alone_sees_all_before_and_nothing_after(store):
    begun, go = threading.Event(), threading.Event()
    store.write(lambda _: begun.set() or go.wait(10))
    begun.wait(10)
    count = select(func.count()).select_from(events)
    before = store.keep([row("e")])
    alone = store.write(lambda connection: connection.execute(count).scalar(), alone=True)
    after = store.keep([row("f")])
    go.set()
    wait([before, after])
    assert alone.result() == 1


def test_too_much_is_refused_and_nothing_of_it_kept(url):
    store = LiveStore(url, most_waiting=3)
    begun, go = threading.Event(), threading.Event()
    store.write(lambda _: begun.set() or go.wait(10))
    begun.wait(10)
    kept = store.keep([row("e"), row("f")])
    with pytest.raises(Busy, match="At most 3 events"):
        store.keep([row("g")])
    go.set()
    kept.result()
    while store.n_waiting:
        pass
    assert len(store.keep([row(str(n)) for n in range(5)]).result().fresh) == 5  # alone, however many
    assert "g" not in ids(store)
    store.close()


def test_close_writes_what_waits(url):
    store = LiveStore(url)
    kept = [store.keep([row(str(n))]) for n in range(500)]
    store.close()
    assert all(one.done() for one in kept)
    with pytest.raises(WorkspaceError, match="closed"):
        store.keep([row("late")])
    store.close()  # again does nothing
    again = LiveStore(url)
    assert len(ids(again)) == 500
    again.close()


def test_the_listener_hears_before_the_writer_and_in_the_order_of_numbers(url):
    heard = []
    store = LiveStore(url, on_kept=heard.extend)
    with ThreadPoolExecutor(8) as pool:

        def send(n):
            (fresh,) = store.keep([row(str(n))]).result().fresh
            return fresh in heard

        assert all(pool.map(send, range(200)))
    store.keep([row("0"), row("199")]).result()
    assert [one["seq"] for one in heard] == sorted({one["seq"] for one in heard})
    assert [one["event_id"] for one in heard] == ids(store)
    store.close()


def test_a_listener_that_fails_is_told_and_the_store_goes_on(url):
    def fail(rows):
        if rows[0]["event_id"] == "e":
            raise KeyError("no")

    store = LiveStore(url, on_kept=fail)
    assert isinstance(store.keep([row("e")]).exception(), KeyError)
    assert store.keep([row("e"), row("f")]).result().known == ["e"]
    store.close()


def test_a_full_disk_is_told_and_harms_nothing(tmp_path):
    store = LiveStore(f"sqlite:///{tmp_path / 'live.db'}")
    store.keep([row("e")]).result()
    store.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 60").scalar()).result()
    refused = store.keep([row(f"{n}", more={"query": "x" * 500}) for n in range(2000)])
    assert "disk is full" in str(refused.exception())
    assert isinstance(refused.exception(), WorkspaceError)
    assert ids(store) == ["e"]
    store.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 100000").scalar()).result()
    assert (
        len(store.keep([row(f"{n}", more={"query": "x" * 500}) for n in range(2000)]).result().fresh) == 2000
    )
    store.close()


def test_two_stores_on_one_database_keep_an_event_once(url):
    stores = [LiveStore(url) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        kept = list(
            pool.map(lambda n: stores[n % 2].keep([row(str(n // 4)), row(f"own {n}")]).result(), range(200))
        )
    fresh = [one["event_id"] for each in kept for one in each.fresh]
    assert (
        sorted(fresh)
        == sorted(ids(stores[0]))
        == sorted({*map(str, range(50)), *(f"own {n}" for n in range(200))})
    )
    assert stores[0].store_id == stores[1].store_id
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://host/shop", "shop", "nosuch://x"]
)
def test_other_databases_are_refused_kindly(url):
    with pytest.raises(ConfigError, match="live store"):
        LiveStore(url)


def test_a_database_that_is_not_there_is_told(tmp_path):
    with pytest.raises(WorkspaceError, match="unable to open"):
        LiveStore(f"sqlite:///{tmp_path / 'no' / 'such.db'}")
    (tmp_path / "text.db").write_text("no database at all, but a text of some length" * 100)
    with pytest.raises(WorkspaceError, match="not a database"):
        LiveStore(f"sqlite:///{tmp_path / 'text.db'}")
