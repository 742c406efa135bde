# SPDX-License-Identifier: Apache-2.0
"""The view of feedback must say what a plain walk over the events says, on both databases, in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import row

from desirepath.events import canonical_log
from desirepath.events.log import EventLog
from desirepath.live.feedback import Feedback
from desirepath.live.folding import CONTEXT, FOLDED, KIND, PARTS, REPEAT
from desirepath.live.ledger import FeedbackRow
from desirepath.live.store import LiveStore
from desirepath.live.tables import users

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def keep(store: LiveStore, *rows) -> None:
    store.keep(list(rows)).result()


def log_of(folder, events) -> EventLog:
    """A packed log of (user, item, action, seconds, value)."""
    log = EventLog(folder)
    if events:
        names = ["user_id", "item_id", "action", "time", "value"]
        rows = [(u, i, a, datetime.fromtimestamp(86_400 * 8000 + s, UTC), v) for u, i, a, s, v in events]
        table = pl.DataFrame(rows, schema=names, orient="row")
        log.append(canonical_log(table))
    return log


@pytest.fixture
def store(url):
    store = LiveStore(url)
    yield store
    store.close()


def said(view: Feedback) -> dict[tuple[str, str, str], tuple[float, int, int]]:
    view.lay_out()
    view.catch_up()
    rows, after = [], None
    while page := view.page(after, 3):
        rows += page
        after = page[-1].key
    assert [r.key for r in rows] == sorted({r.key for r in rows})
    return {r.key: (r.value, r.time_us, r.updated_us) for r in rows}


def test_packed_and_live_events_are_one_row(store, tmp_path):
    events = [("u", "a", "view", 5, 1.0), ("u", "a", "view", 9, 2.0), ("v", "a", "buy", 7, None)]
    packed = 86_400 * 8000 * 1_000_000
    view = Feedback(store, log_of(tmp_path / "log", events))
    keep(
        store,
        row("1", "u", "a", packed + 1_000_000, value=4.0, more={CONTEXT: {"comment": "c", "labels": [1]}}),
        row("2", "u", "b", 7, action="impression", more={CONTEXT: {KIND: "seen"}}),
        row("3", "u", "c", 7, action="impression"),
        row("4", "u", "d", 7, more={CONTEXT: {REPEAT: "yes"}}),
    )
    assert said(view) == {
        ("u", "a", "view"): (7.0, packed + 1_000_000, packed + 9_000_000),
        ("u", "b", "seen"): (0.0, 7, 7),
        ("v", "a", "buy"): (0.0, packed + 7_000_000, packed + 7_000_000),
    }
    assert view.of("u", "a")[0].comment == "c"
    assert view.of("u", "a")[0].labels == [1]
    assert view.marked("u", 7) == ["b"]
    assert view.marked("u", 6) == []
    again = Feedback(store, EventLog(tmp_path / "log"))
    assert again.is_laid_out
    assert said(again) == said(view)


def test_rows_can_be_set_and_taken_away_before_the_log_is_laid_out(store, tmp_path):
    events = [("u", "a", "view", 5, 1.0), ("u", "b", "view", 5, 1.0)]
    view = Feedback(store, log_of(tmp_path / "log", events))
    view.put(
        [FeedbackRow(user_id="u", item_id="a", kind="view", value=9.0, time_us=3, updated_us=4)]
    ).result()
    view.lay_out()
    assert view.of("u", "a")[0].value == 9.0
    assert view.remove("u", "b").result() == 1
    assert view.of("u", "b") == []
    keep(store, row("1", "u", "b", 50, value=2.0), row("2", "u", "a", 60, value=1.0))
    assert {r.key: r.value for r in (said(view), view.of("u"))[1]} == {
        ("u", "a", "view"): 10.0,
        ("u", "b", "view"): 2.0,
    }


def test_an_erased_user_does_not_come_back_from_the_log(store, tmp_path):
    log = log_of(tmp_path / "log", [("u", "a", "view", 5, 1.0), ("v", "a", "view", 5, 1.0)])
    values = {"attributes": {}, "is_deleted": True, "updated_us": 1, "erased_us": 10**18}
    store.write(lambda c: c.execute(users.insert().values(user_id="u", **values))).result()
    view = Feedback(store, log)
    keep(store, row("1", "v", "a", 9))
    assert {key[0] for key in said(view)} == {"v"}


def test_an_item_that_was_removed_begins_anew(store, tmp_path):
    log = log_of(
        tmp_path / "log", [("u", "a", "view", 5, 1.0), ("v", "a", "view", 5, 1.0), ("v", "b", "view", 5, 1.0)]
    )
    view = Feedback(store, log)
    keep(store, row("1", "w", "a", 9, value=3.0))
    view.remove_item("a").result()
    view.remove_item("a").result()
    assert set(said(view)) == {("v", "b", "view")}
    assert view.of(None, "a") == []
    keep(store, row("2", "u", "a", 11, value=2.0))
    assert {r.key: r.value for r in (said(view), view.of(None, "a"))[1]} == {("u", "a", "view"): 2.0}


def test_pages_pass_by_what_was_taken_away(store, tmp_path):
    log = log_of(tmp_path / "log", [(f"u{n}", "a", "view", 5, 1.0) for n in range(9)])
    view = Feedback(store, log)
    view.lay_out()
    for n in (0, 1, 2, 3, 5, 8):
        assert view.remove(f"u{n}", "a").result() == 1
        assert view.remove(f"u{n}", "a").result() == 0
    keep(store, row("1", "u55", "a", 9))
    assert [key[0] for key in said(view)] == ["u4", "u55", "u6", "u7"]
    assert [r.user_id for r in view.page(None, 2, "view")] == ["u4", "u55"]
    assert view.page(None, 2, "buy") == []


def test_a_log_that_changes_is_followed(store, tmp_path):
    log = log_of(tmp_path / "log", [("u", "a", "view", 5, 1.0)])
    view = Feedback(store, log)
    assert set(said(view)) == {("u", "a", "view")}
    log_of(tmp_path / "log", [("v", "a", "view", 5, 1.0)])
    view.follow()
    assert not view.is_laid_out
    assert set(said(view)) == {("u", "a", "view"), ("v", "a", "view")}
    # What is left of a part from which users were taken out stands under another name.
    log = EventLog(tmp_path / "log")
    gone, kept = log.manifest.parts
    place = log.folder / "000002-e1"
    (log.folder / "000002").rename(place)
    kept = replace(kept, file=kept.file.replace("000002", place.name))
    files = tuple(name.replace("000002", place.name) for name in log.manifest.id_files)
    replace(log.manifest, parts=(kept,), id_files=files).save(log.folder)
    view.catch_up()
    assert set(said(view)) == {("v", "a", "view")}
    assert set(store.mark(PARTS)) == {gone.file, "000002/part-0000.parquet"}


def test_what_was_packed_from_the_store_is_not_counted_again(store, tmp_path):
    view = Feedback(store, EventLog(tmp_path / "log"))
    keep(store, row("1", "u", "a", 86_400 * 8000 * 1_000_000, value=1.0))
    before = said(view)
    log = log_of(tmp_path / "log", [("u", "a", "view", 0, 1.0)])
    ingest = log.manifest.ingests[0]
    log.manifest = _with(log.manifest, ingest, f"live:{store.store_id}:1-1")
    log.manifest.save(log.folder)
    assert said(Feedback(store, EventLog(tmp_path / "log"))) == before
    store.write(lambda c: c.exec_driver_sql("DELETE FROM feedback")).result()
    log.manifest = _with(log.manifest, log.manifest.ingests[0], f"live:{store.store_id}:5-9")
    log.manifest.save(log.folder)
    store.write(lambda c: c.exec_driver_sql("DELETE FROM marks WHERE name = 'feedback_parts'")).result()
    assert said(Feedback(store, EventLog(tmp_path / "log"))) == before
    assert store.mark(FOLDED) == 9


def _with(manifest, ingest, fingerprint):
    return replace(manifest, ingests=(replace(ingest, fingerprints=(fingerprint,)),))


ids = st.sampled_from(["u", "v", "é"])
steps = st.one_of(
    st.tuples(
        st.just("post"), ids, ids, st.sampled_from(["view", "buy"]), st.integers(0, 50), st.integers(0, 5)
    ),
    st.tuples(
        st.just("put"), ids, ids, st.sampled_from(["view", "buy"]), st.integers(0, 50), st.integers(0, 5)
    ),
    st.tuples(st.just("remove"), ids, ids, st.sampled_from(["view", "buy", None])),
    st.tuples(st.just("lay out")),
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.lists(
        st.tuples(ids, ids, st.sampled_from(["view", "buy"]), st.integers(0, 9), st.integers(0, 5)),
        max_size=8,
    ),
    walked=st.lists(steps, max_size=12),
)
def test_any_walk_ends_where_a_plain_one_does(tmp_path_factory, base, walked):
    folder = tmp_path_factory.mktemp("walk")
    base = list(dict.fromkeys(base))
    packed_us = 86_400 * 8000 * 1_000_000
    log = log_of(folder / "log", [(u, i, a, s, float(v)) for u, i, a, s, v in base])
    store = LiveStore(f"sqlite:///{folder / 'live.db'}")
    try:
        view = Feedback(store, log)
        plain: dict[tuple[str, str, str], tuple[float, int, int]] = {}

        def add(key, value, at):
            old = plain.get(key)
            plain[key] = (
                (float(value), at, at) if old is None else (old[0] + value, min(old[1], at), max(old[2], at))
            )

        for u, i, a, s, v in base:
            add((u, i, a), v, packed_us + s * 1_000_000)
        for n, (what, *more) in enumerate(walked):
            if what == "lay out":
                view.lay_out()
                continue
            user, item, kind, *rest = more
            if what == "remove":
                view.lay_out()
                gone = [k for k in plain if k[:2] == (user, item) and kind in (None, k[2])]
                assert view.remove(user, item, kind).result() == len(gone)
                for key in gone:
                    del plain[key]
                continue
            at, value = rest
            keep(store, row(str(n), user, item, at, action=kind, value=float(value)))
            if what == "post":
                add((user, item, kind), value, at)
            else:
                one = FeedbackRow(
                    user_id=user, item_id=item, kind=kind, value=value, time_us=at, updated_us=at
                )
                view.put([one]).result()
                plain[user, item, kind] = (float(value), at, at)
        assert said(view) == plain
    finally:
        store.close()
