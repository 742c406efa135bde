# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath import events
from desirepath.errors import DataError
from desirepath.events import canonical_log, parts
from desirepath.events.cleaning import CleaningConfig
from desirepath.events.log import EventLog
from desirepath.sequences import Sequences, build
from desirepath.sequences.build import build_sequences, pack_events

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEEP_ALL = CleaningConfig(exact_duplicates=False, robots=False, cancellations=False)


def frame_of(rows: list[tuple], *extra: str) -> pl.DataFrame:
    """Events of (user, item, action, second, ...)."""
    types = {"value": pl.Float64}
    schema = {"user_id": pl.String, "item_id": pl.String, "action": pl.String, "time": pl.Int64}
    frame = pl.DataFrame(
        rows, schema=schema | {name: types.get(name, pl.String) for name in extra}, orient="row"
    )
    start = int(NOON.timestamp() * 1e6)
    return frame.with_columns((pl.col("time") * 1_000_000 + start).cast(pl.Datetime("us", "UTC")))


def built(folder: Path, *frames: pl.DataFrame, **options) -> Sequences:
    log = EventLog(folder / "events")
    for frame in frames:
        log.append(canonical_log(frame), KEEP_ALL)
    return build_sequences(log, folder / "sequences", **options)


def test_a_small_log_by_hand(tmp_path):
    rows = [("b", "x", "view", 5), ("a", "y", "buy", 9), ("b", "z", "view", 1), ("b", "x", "buy", 1)]
    sequences = built(tmp_path, frame_of(rows))
    assert sequences.users.ids.to_list() == ["b", "a"]
    assert sequences.items.ids.to_list() == ["x", "y", "z"]
    assert sequences.offsets.tolist() == [0, 3, 4]
    assert sequences.item_ix.tolist() == [4, 2, 2, 3]
    assert sequences.action_ix.tolist() == [2, 3, 2, 3]
    assert (sequences.time_s - NOON.timestamp()).tolist() == [1, 1, 5, 9]
    assert isinstance(sequences.item_ix, np.memmap)
    assert not sequences.context


def test_tied_times_keep_the_order_of_the_file(tmp_path):
    names = [f"{n}" for n in np.random.default_rng(0).permutation(500)]
    rows = [(f"u{n % 2}", name, "view", 7) for n, name in enumerate(names)]
    sequences = built(tmp_path, frame_of(rows))
    assert sequences.to_frame()["item_id"].to_list() == names[0::2] + names[1::2]


def test_ties_across_files_keep_the_order_of_intake(tmp_path):
    first, second = ([("u", f"{file}{n}", "view", 7) for n in range(3)] for file in "ab")
    sequences = built(tmp_path, frame_of(second), frame_of(first))
    assert sequences.to_frame()["item_id"].to_list() == ["b0", "b1", "b2", "a0", "a1", "a2"]


users = st.sampled_from(["u", "v", "ü", "名"])
event = st.tuples(users, st.sampled_from("abcde"), st.sampled_from(["view", "buy"]), st.integers(0, 6))


@settings(max_examples=25, deadline=None)
@given(files=st.lists(st.lists(event, max_size=40), min_size=1, max_size=3).filter(any))
def test_sequences_equal_a_plain_sort(tmp_path_factory, files):
    frames = [frame_of(rows) for rows in files]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "STRETCH_ROWS", 16)
        patch.setattr(parts, "GROUP_ROWS", 8)
        sequences = built(tmp_path_factory.mktemp("log"), *frames)
    check_against_sort(sequences, pl.concat(frames))


def check_against_sort(sequences: Sequences, everything: pl.DataFrame) -> None:
    """The oracle: users in order of first appearance, a stable sort by time, groups."""
    expected = {
        user[0]: group.sort("time", maintain_order=True).select("item_id", "action", "time").rows()
        for user, group in everything.group_by("user_id", maintain_order=True)
    }
    got = sequences.to_frame()
    assert sequences.users.ids.to_list() == list(expected)
    assert sequences.items.ids.to_list() == everything["item_id"].unique(maintain_order=True).to_list()
    assert sequences.actions.ids.to_list() == everything["action"].unique(maintain_order=True).to_list()
    for user, (name, rows) in enumerate(expected.items()):
        mine = got[int(sequences.offsets[user]) : int(sequences.offsets[user + 1])]
        assert mine["user_id"].unique().to_list() == [name]
        assert mine.select("item_id", "action", "time").rows() == rows


def test_a_second_file_keeps_every_index(tmp_path):
    first = frame_of([("b", "x", "view", 5), ("a", "y", "buy", 9)])
    second = frame_of([("c", "w", "like", 1), ("a", "x", "view", 2), ("b", "y", "view", 99)])
    before = built(tmp_path, first)
    old = before.to_frame(), before.item_ix[:].tolist()
    after = built(tmp_path, second)
    assert after.users.ids.to_list() == ["b", "a", "c"]
    assert after.items.ids.to_list() == ["x", "y", "w"]
    assert after.actions.ids.to_list() == ["view", "buy", "like"]
    assert after.to_frame()["item_id"].to_list() == ["x", "y", "x", "y", "w"]
    # A map of the old files stays as it was.
    assert before.to_frame().equals(old[0])
    assert before.item_ix.tolist() == old[1]


@pytest.mark.parametrize("stretch_rows", [3, 2**20])
def test_previous_vocabularies_are_taken_over(tmp_path, stretch_rows, monkeypatch):
    monkeypatch.setattr(build, "STRETCH_ROWS", stretch_rows)
    rows = [
        (u, i, "view", n % 4) for n, (u, i) in enumerate(["ax", "by", "cz", "az", "by", "dx", "ax", "bw"])
    ]
    frame = frame_of([(*row, device) for row, device in zip(rows, "pqpqrrpp", strict=True)], "device")
    elsewhere = Sequences.from_lists({"d": ["z", "old"], "gone": ["y"], "b": ["z"]})
    plain = built(tmp_path / "plain", frame)
    taken = built(tmp_path / "taken", frame, previous=elsewhere)
    assert taken.users.ids.to_list() == ["d", "gone", "b", "a", "c"]
    assert taken.items.ids.to_list() == ["z", "old", "y", "x", "w"]
    assert taken.lengths.tolist() == [1, 0, 3, 3, 1]
    by_user = [
        frame.sort("user_id", maintain_order=True).rows() for frame in (plain.to_frame(), taken.to_frame())
    ]
    assert by_user[0] == by_user[1]


def test_context_of_a_log(tmp_path):
    rows = [
        ("u", "a", "view", 1, "s9", 2.5, "phone"),
        ("u", "b", "view", 2, "s1", None, None),
        ("u", "c", "view", 3, "s9", 1.0, "tv"),
        ("u", "d", "view", 4, None, 1.0, "phone"),
        ("v", "a", "view", 1, "s1", -1.0, "tv"),
    ]
    sequences = built(tmp_path, frame_of(rows, "session_id", "value", "device"))
    assert sequences.context["session_ix"].tolist() == [0, 1, 0, -1, 0]
    np.testing.assert_array_equal(sequences.context["value"], np.array([2.5, np.nan, 1, 1, -1], np.float32))
    assert sequences.context["device"].tolist() == [2, 1, 3, 2, 3]
    assert sequences.labels["device"].ids.to_list() == ["phone", "tv"]
    assert {name: column.dtype for name, column in sequences.context.items()} == {
        "session_ix": np.int32,
        "value": np.float32,
        "device": np.int16,
    }
    assert sequences.to_frame()["device"].to_list() == ["phone", "<unknown>", "tv", "phone", "tv"]


def test_context_that_only_some_files_have(tmp_path):
    first = frame_of([("u", "a", "view", 1)])
    second = frame_of([("u", "b", "view", 2, "s", 4.0, "BR")], "session_id", "value", "country")
    sequences = built(tmp_path, first, second)
    assert sequences.context["session_ix"].tolist() == [-1, 0]
    assert sequences.context["value"].tolist()[1] == 4.0
    assert np.isnan(sequences.context["value"][0])
    assert sequences.context["country"].tolist() == [1, 2]


def test_columns_with_too_many_words_stay_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "MAX_WORDS", 2)
    rows = [("u", "a", "view", n, f"d{n}", f"c{n % 2}") for n in range(3)]
    sequences = built(tmp_path, frame_of(rows, "device", "country"))
    assert sorted(sequences.context) == ["country"]


def test_serving_packs_as_the_log_does(tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        (
            f"u{rng.integers(3)}",
            f"i{rng.integers(9)}",
            "view",
            int(rng.integers(20)),
            f"s{rng.integers(4)}",
            "tv",
        )
        for _ in range(60)
    ]
    frame = frame_of(rows, "session_id", "device")
    whole = built(tmp_path, frame)
    for user, name in enumerate(whole.users.ids):
        one = pack_events(frame.filter(pl.col("user_id") == name), like=whole)
        mine = slice(int(whole.offsets[user]), int(whole.offsets[user + 1]))
        assert one.users.ids.to_list() == [name]
        for column in ("item_ix", "action_ix", "time_s"):
            np.testing.assert_array_equal(getattr(one, column), getattr(whole, column)[mine])
        for column in ("session_ix", "device"):
            np.testing.assert_array_equal(one.context[column], whole.context[column][mine])
    unseen = pack_events(frame_of([("new", "nowhere", "shout", 0)]), like=whole)
    assert (unseen.item_ix.tolist(), unseen.action_ix.tolist()) == ([1], [1])
    assert unseen.context["device"].tolist() == [1]


def test_events_at_hand_must_be_whole():
    with pytest.raises(DataError, match="must have the column 'action'"):
        pack_events(frame_of([("u", "a", "view", 1)]).drop("action"))
    with pytest.raises(DataError, match="no gaps"):
        pack_events(frame_of([("u", None, "view", 1)]))


def test_an_empty_log_has_no_sequences(tmp_path):
    with pytest.raises(DataError, match="holds no events"):
        build_sequences(EventLog(tmp_path), tmp_path / "s")


@settings(max_examples=200, deadline=None)
@given(time_us=st.lists(st.integers(-(2**50), 2**32 * 10**6 - 1), min_size=1, max_size=20))
def test_microseconds_survive_until_2106(time_us):
    n = len(time_us)
    frame = pl.DataFrame(
        {
            "user_id": ["u"] * n,
            "item_id": ["i"] * n,
            "action": ["view"] * n,
            "time": pl.Series(time_us).cast(pl.Datetime("us", "UTC")),
        }
    )
    assert pack_events(frame).to_frame()["time"].to_physical().to_list() == sorted(time_us)


@pytest.mark.data
def test_deskdrop(shared_data, tmp_path):
    raw = events.read_events([shared_data / "deskdrop-interactions"])
    log = EventLog(tmp_path / "events")
    log.append(raw)
    sequences = build_sequences(log, tmp_path / "sequences")
    assert (sequences.n_users, sequences.n_items, sequences.n_events) == (1_895, 2_987, 72_301)
    plain = raw.lazy.collect().unique(maintain_order=True)
    check_against_sort(sequences, plain.select("user_id", "item_id", "action", "time"))


@pytest.mark.data
def test_movielens_1m_keeps_the_order_of_the_file(shared_data, tmp_path):
    """77% of its rows share user and time with another: only a stable sort gives the file's order."""
    path = shared_data / "movielens-1m-sequences" / "interactions.csv.gz"
    log = EventLog(tmp_path / "events")
    log.append(events.read_events([path]))
    sequences = build_sequences(log, tmp_path / "sequences")
    plain = pl.read_csv(path, infer_schema=False)
    order = plain["user_id"].unique(maintain_order=True)
    rank = pl.DataFrame({"user_id": order}).with_row_index("rank")
    expected = plain.join(rank, on="user_id", maintain_order="left").sort(
        "rank", pl.col("timestamp").cast(pl.Int64), maintain_order=True
    )
    assert sequences.n_events == 999_611
    assert sequences.to_frame()["item_id"].equals(expected["movie_id"].alias("item_id"))
