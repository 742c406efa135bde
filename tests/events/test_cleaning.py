# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, DataError, WorkspaceError
from desirepath.events import canonical_log
from desirepath.events.cleaning import RULES, CleaningConfig, unescape
from desirepath.events.log import EventLog
from desirepath.events.rarity import find_core
from desirepath.events.repeats import exact_repeats, hash_ids, later_of_same
from desirepath.events.robots import RATE, REGULAR, find_robots
from desirepath.events.rows import Rows

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def raw(rows: list[tuple], *extra: str, **sources: str):
    """A raw log of (user, item, action, time, ...); `sources` renames columns as the file had them."""
    names = ["user_id", "item_id", "action", "time", *extra]
    types = {"time": pl.Datetime("us", "UTC"), "value": pl.Float64, "position": pl.Int32}
    frame = pl.DataFrame(
        rows, schema={name: types.get(name, pl.String) for name in names}, orient="row", strict=False
    )
    log = canonical_log(frame)
    columns = tuple(replace(c, source=sources.get(c.source, c.source)) for c in log.understanding.columns)
    return replace(log, understanding=replace(log.understanding, columns=columns))


def clean(tmp_path, log, **options):
    """(report, kept events in order of time, rejects) of one intake with these rules."""
    rejects = tmp_path / "rejects.parquet"
    kept = EventLog(tmp_path / "log")
    report = kept.append(log, CleaningConfig(**options), rejects=rejects)
    shown = pl.read_parquet(rejects)
    assert report.rows_read == report.rows_kept + sum(report.removed.values())
    assert shown.height == sum(report.removed.values())
    assert dict(shown["reason"].value_counts().iter_rows()) == report.removed
    assert set(report.removed) <= set(RULES)
    return report, kept.scan().sort("time", maintain_order=True).collect(), shown


def test_exact_duplicates_go_and_repeated_behaviour_stays(tmp_path):
    row = ("u", "a", "view", at(0))
    report, kept, shown = clean(
        tmp_path, raw([row, row, ("u", "a", "view", at(1)), ("u", "a", "buy", at(0)), row, ("v", *row[1:])])
    )
    assert report.removed == {"exact_duplicate": 2}
    assert kept.height == 4
    assert shown["row"].to_list() == [1, 4]


def test_exact_means_every_column_and_null_equals_null(tmp_path):
    rows = [("u", "a", "view", at(0), None), ("u", "a", "view", at(0), "x"), ("u", "a", "view", at(0), None)]
    report, kept, shown = clean(tmp_path, raw(rows, "page"))
    assert report.removed == {"exact_duplicate": 1}
    assert sorted(kept["page"].to_list(), key=str) == [None, "x"]
    assert shown["row"].to_list() == [2]


def test_exact_duplicates_can_stay(tmp_path):
    report, kept, _ = clean(tmp_path, raw([("u", "a", "view", at(0))] * 3), exact_duplicates=False)
    assert (report.removed, kept.height) == ({}, 3)


def test_an_event_id_counts_once(tmp_path):
    rows = [
        ("u", "a", "view", at(0), "e1"),
        ("u", "b", "view", at(1), "e2"),
        ("v", "b", "view", at(2), "e1"),
        ("v", "c", "view", at(3), None),
        ("v", "d", "view", at(4), None),
        ("u", "a", "view", at(0), "e1"),
    ]
    report, kept, shown = clean(tmp_path, raw(rows, "event_id"))
    assert report.removed == {"exact_duplicate": 1, "duplicate_event_id": 1}
    assert kept["item_id"].to_list() == ["a", "b", "c", "d"]
    assert shown.sort("row").select("row", "reason").rows() == [
        (2, "duplicate_event_id"),
        (5, "exact_duplicate"),
    ]


def test_keys_and_times_must_be_there(tmp_path):
    rows = [
        (None, "a", "view", at(0)),
        ("", "a", "view", at(0)),
        ("u", None, "view", at(0)),
        ("u", "", "view", at(0)),
        ("u", "a", "view", None),
        ("u", "a", None, at(0)),
        ("NA", "NULL", "view", at(1)),
        (" ", "0", "view", at(2)),
    ]
    report, kept, shown = clean(tmp_path, raw(rows))
    assert report.removed == {"missing_user": 2, "missing_item": 2, "missing_time": 1}
    assert kept["user_id"].to_list() == ["u", "NA", " "]
    assert kept["action"].to_list() == ["event", "view", "view"]
    assert shown["row"].to_list() == [0, 1, 2, 3, 4]


def test_the_window_of_believable_times(tmp_path):
    now = datetime.now(UTC)
    times = [datetime(1956, 1, 1, tzinfo=UTC), datetime(1990, 1, 1, tzinfo=UTC), now, now + timedelta(days=3)]
    log = raw([("u", str(i), "view", time) for i, time in enumerate(times)])
    report, kept, _ = clean(tmp_path / "a", log) if (tmp_path / "a").mkdir() is None else None
    assert report.removed == {"before_window": 1, "after_window": 1}
    assert kept["item_id"].to_list() == ["1", "2"]
    (tmp_path / "b").mkdir()
    report, kept, _ = clean(tmp_path / "b", log, earliest=None, latest=datetime(2000, 1, 1))
    assert report.removed == {"after_window": 2}
    relative = replace(
        log,
        understanding=replace(log.understanding, time=replace(log.understanding.time, is_relative=True)),
    )
    (tmp_path / "c").mkdir()
    assert clean(tmp_path / "c", relative)[0].removed == {}


def test_returns_and_cancelled_invoices(tmp_path):
    rows = [
        ("u", "a", "buy", at(0), 2.0, "536365"),
        ("u", "b", "buy", at(1), -2.0, "536366"),
        ("u", "c", "buy", at(2), 1.0, "C536367"),
        ("u", "d", "buy", at(3), None, None),
    ]
    (tmp_path / "a").mkdir()
    names = {"value": "Quantity", "session_id": "InvoiceNo"}
    report, kept, _ = clean(tmp_path / "a", raw(rows, "value", "session_id", **names))
    assert report.removed == {"cancellation": 2}
    assert kept["item_id"].to_list() == ["a", "d"]
    # A score may be negative, and a session called C536367 is only a session.
    (tmp_path / "b").mkdir()
    names = {"value": "rating", "session_id": "visit"}
    assert clean(tmp_path / "b", raw(rows, "value", "session_id", **names))[0].removed == {}
    (tmp_path / "c").mkdir()
    assert clean(tmp_path / "c", raw(rows, "value", "session_id"), cancellations=False)[0].removed == {}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("mean", [1.0, 3.0, 8.0, 4.0]),
        ("median", [1.0, 3.0, 8.0, 3.0]),
        ("mode", [1.0, 3.0, 8.0, 1.0]),
        ("constant:7", [1.0, 3.0, 8.0, 7.0]),
    ],
)
def test_gaps_are_filled(tmp_path, strategy, expected):
    rows = [("u", str(i), "view", at(i), value) for i, value in enumerate([1.0, 3.0, 8.0, None])]
    report, kept, _ = clean(tmp_path, raw(rows, "value"), missing={"value": strategy})
    assert kept["value"].to_list() == expected
    assert report.mended == {"filled:value": 1}


def test_gaps_in_text_and_whole_numbers(tmp_path):
    rows = [
        ("u", str(i), "view", at(i), c, p) for i, (c, p) in enumerate([("BR", 1), ("BR", 2), (None, None)])
    ]
    _, kept, _ = clean(
        tmp_path, raw(rows, "country", "position"), missing={"country": "mode", "position": "mean"}
    )
    assert kept["country"].to_list() == ["BR", "BR", "BR"]
    assert kept["position"].to_list() == [1, 2, 2]
    assert kept.schema["position"] == pl.Int32


def test_rows_with_gaps_can_be_dropped(tmp_path):
    rows = [("u", "a", "view", at(0), None), ("u", "b", "view", at(1), "BR")]
    report, kept, _ = clean(tmp_path, raw(rows, "country"), missing={"country": "drop"})
    assert report.removed == {"missing_value": 1}
    assert kept["item_id"].to_list() == ["b"]


@pytest.mark.parametrize(
    ("missing", "error", "match"),
    [
        ({"vlaue": "mean"}, DataError, "Did you mean 'value'"),
        ({"country": "mean"}, DataError, "needs numbers"),
        ({"user_id": "mode"}, ConfigError, "cannot be filled"),
        ({"value": "constant:x"}, ConfigError, "cannot be filled with 'x'"),
    ],
)
def test_what_cannot_be_filled_is_said(tmp_path, missing, error, match):
    log = raw([("u", "a", "view", at(0), 1.0, "BR")], "value", "country")
    with pytest.raises(error, match=match):
        EventLog(tmp_path).append(log, CleaningConfig(missing=missing))


def test_entities_become_characters_but_ids_stay(tmp_path):
    rows = [
        ("a&amp;b", "x&lt;y", "view &amp; like", at(0), "caf&eacute; &#128512; R&D"),
        ("a&b", "x&lt;y", "view", at(1), None),
    ]
    report, kept, _ = clean(tmp_path, raw(rows, "query"))
    assert kept["user_id"].to_list() == ["a&amp;b", "a&b"]
    assert kept["item_id"].unique().to_list() == ["x&lt;y"]
    assert kept["action"].to_list() == ["view & like", "view"]
    assert kept["query"].to_list() == ["café 😀 R&D", None]
    assert report.mended == {"html_entities:action": 1, "html_entities:query": 1}


def test_unknown_entities_stay():
    text = pl.Series(["&nosuch; &amp", "&amp;amp;", "a&b;c"])
    assert unescape(text).to_list() == ["&nosuch; &amp", "&amp;", "a&b;c"]


def bursts(user: str, gaps_s: np.ndarray) -> list[tuple]:
    moments = np.cumsum(gaps_s)
    return [(user, str(i % 7), "view", NOON + timedelta(seconds=float(s))) for i, s in enumerate(moments)]


def test_robots_are_told_by_rate_and_by_regularity(tmp_path):
    rng = np.random.default_rng(0)
    people = bursts("person", rng.exponential(60.0, 300).round(3))
    fast = bursts("fast", rng.exponential(20.0, 2500).round(3))
    clock = bursts("clock", 60.0 + rng.uniform(-1, 1, 60).round(3))
    report, kept, _ = clean(tmp_path, raw(people + fast + clock))
    assert report.removed == {"robot_rate": 2500, "robot_regularity": 60}
    assert kept["user_id"].unique().to_list() == ["person"]
    assert (report.n_users, report.n_items) == (1, 7)


def test_robots_can_stay(tmp_path):
    log = raw(bursts("clock", np.full(60, 60.5)))
    assert clean(tmp_path, log, robots=False)[1].height == 60


def flags(gaps_s, resolution_s=1e-3, max_events_a_day=2000):
    time = np.cumsum(np.asarray(gaps_s) * 1e6).astype(np.int64)
    return find_robots(
        time,
        np.array([0, len(time)]),
        max_events_a_day=max_events_a_day,
        min_regular_gaps=30,
        resolution_us=int(resolution_s * 1e6),
    )[0]


def test_thresholds_of_robots():
    day = 86400.0
    assert flags(np.full(30, 10.0)) == 0  # 29 gaps after the first event
    assert flags(np.full(31, 10.0)) == REGULAR
    assert flags(np.full(100, day)) == 0  # every day is a person's habit
    assert flags(np.full(100, 60.0), resolution_s=60) == 0  # a coarse clock makes gaps equal
    assert flags(np.tile([10.0, 0.0, 0.0], 40)) == REGULAR  # several events at a moment are one visit
    assert flags(np.where(np.arange(100) % 4, 10.0, 700.0)) == 0  # three quarters are not enough
    assert flags(np.full(12, day / 10), max_events_a_day=10) == 0  # exactly ten within any 24 hours
    assert flags(np.full(12, day / 10 - 1), max_events_a_day=10) == RATE


def brute_core(pairs, least_user, least_item):
    pairs = list(pairs)
    while True:
        users = [u for u, _ in pairs]
        items = [i for _, i in pairs]
        kept = [(u, i) for u, i in pairs if users.count(u) >= least_user and items.count(i) >= least_item]
        if kept == pairs:
            return kept
        pairs = kept


@settings(max_examples=150, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=60),
    least=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_core_equals_brute_force(pairs, least):
    user = np.array([u for u, _ in pairs], np.int32)
    item = np.array([i for _, i in pairs], np.int32)
    cut = len(pairs) // 2
    users, items = find_core(lambda: [(user[:cut], item[:cut]), (user[cut:], item[cut:])], 8, 8, *least)
    assert [(u, i) for u, i in pairs if users[u] and items[i]] == brute_core(pairs, *least)


def test_rare_users_and_items_go_together(tmp_path):
    #      u and v share a and b twice; w has c once; x has a and c, and falls when c does.
    rows = [(u, i, "view", at(n)) for n, (u, i) in enumerate(["ua", "ub", "va", "vb", "wc", "xa", "xc"])]
    report, kept, shown = clean(tmp_path, raw([tuple(r) for r in rows]), min_user_events=2, min_item_events=2)
    assert sorted(set(zip(kept["user_id"], kept["item_id"], strict=True))) == [
        ("u", "a"),
        ("u", "b"),
        ("v", "a"),
        ("v", "b"),
    ]
    assert report.removed == {"rare_user": 3}
    assert (report.n_users, report.n_items) == (2, 2)
    assert sorted(shown["user_id"].to_list()) == ["w", "x", "x"]


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.sampled_from([None, "x", "y"])),
        max_size=80,
    ),
    coarse=st.booleans(),
)
def test_exact_repeats_equal_polars(rows, coarse):
    frame = pl.DataFrame(
        rows, schema={"u": pl.Int32, "i": pl.Int32, "t": pl.Int64, "extra": pl.String}, orient="row"
    )
    if coarse:  # long ties take the other road
        frame = frame.with_columns(t=pl.lit(0, pl.Int64), u=pl.lit(0, pl.Int32))
    frame = frame.sort("u", "t", maintain_order=True)
    coded = Rows(
        user_ix=frame["u"].to_numpy(),
        item_ix=frame["i"].to_numpy(),
        action_ix=np.zeros(frame.height, np.int16),
        time_us=frame["t"].to_numpy(),
        extra=frame.select("extra"),
    )
    assert (
        exact_repeats(coded).tolist()
        == (~frame.select(pl.struct(pl.all()).is_first_distinct()).to_series()).to_list()
    )


@settings(max_examples=50, deadline=None)
@given(ids=st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "é", "😀" * 20, ""])), max_size=40))
def test_repeated_ids_equal_a_set(ids):
    seen, expected = set(), []
    for row, name in enumerate(ids):
        if name is not None and name in seen:
            expected.append(row)
        seen.add(name)
    assert later_of_same(hash_ids(pl.Series(ids, dtype=pl.String))).tolist() == expected


def test_rejects_as_csv(tmp_path):
    log = raw([(None, 'a, "b"', "view", at(0), "x"), ("u", "a", "view", at(1), "y")], "page")
    EventLog(tmp_path / "log").append(log, rejects=tmp_path / "bad.csv")
    shown = pl.read_csv(tmp_path / "bad.csv")
    assert shown.columns == ["reason", "row", "user_id", "item_id", "action", "time", "page"]
    assert shown.row(0)[:4] == ("missing_user", 0, None, 'a, "b"')
    assert list(tmp_path.glob("*.part")) == []


def test_rejects_without_any_row_have_the_columns(tmp_path):
    log = raw([("u", "a", "view", at(1), "y")], "page")
    EventLog(tmp_path / "log").append(log, rejects=tmp_path / "bad.parquet")
    assert pl.read_parquet(tmp_path / "bad.parquet").shape == (0, 7)


@pytest.mark.parametrize("name", ["bad.xlsx", "none/bad.csv"])
def test_rejects_need_a_place_that_can_be(tmp_path, name):
    with pytest.raises(ConfigError, match="rejected rows"):
        EventLog(tmp_path / "log").append(raw([("u", "a", "view", at(1))]), rejects=tmp_path / name)


def test_rejects_on_a_full_disk(tmp_path):
    full = tmp_path / "bad.csv"
    (tmp_path / "bad.csv.part").symlink_to("/dev/full")
    log = raw([(None, "a" * 50, "view", at(0))] * 2000)
    with pytest.raises(WorkspaceError):
        EventLog(tmp_path / "log").append(log, rejects=full)
    assert not full.exists()
    assert len(EventLog(tmp_path / "log")) == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_events_a_day": 0}, "at least 1"),
        ({"min_regular_gaps": 1}, "at least 3"),
        ({"min_user_events": 0}, "at least 1"),
        ({"missing": {"value": "meen"}}, "Did you mean 'mean'"),
        ({"earliest": NOON, "latest": NOON}, "before 'latest'"),
    ],
)
def test_settings_are_checked(options, match):
    with pytest.raises(ConfigError, match=match):
        CleaningConfig(**options)
