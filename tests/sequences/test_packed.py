# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import DataError, ShapeError
from desirepath.sequences import Sequences, Vocabulary
from desirepath.sequences.packed import FORMAT, HEADER

histories = st.lists(st.lists(st.sampled_from("abcdé"), max_size=6), max_size=6)


def with_context(sequences: Sequences) -> Sequences:
    n = sequences.n_events
    return Sequences(
        **{name: getattr(sequences, name) for name in ("offsets", "item_ix", "action_ix", "time_s")},
        users=sequences.users,
        items=sequences.items,
        actions=sequences.actions,
        context={"value": np.linspace(0, 1, n, dtype=np.float32), "device": np.full(n, 2, np.int16)},
        labels={"device": Vocabulary(["phone"])},
    )


def assert_same(left: Sequences, right: Sequences) -> None:
    for name in ("offsets", "item_ix", "action_ix", "time_s"):
        a, b = getattr(left, name), getattr(right, name)
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert (left.users, left.items, left.actions) == (right.users, right.items, right.actions)
    assert dict(left.labels) == dict(right.labels)
    assert set(left.context) == set(right.context)
    for name, column in left.context.items():
        np.testing.assert_array_equal(column, right.context[name])


@settings(max_examples=40, deadline=None)
@given(lists=histories)
def test_saved_and_opened_is_the_same(tmp_path_factory, lists):
    folder = tmp_path_factory.mktemp("packed")
    sequences = with_context(Sequences.from_lists(lists))
    sequences.save(folder)
    assert_same(Sequences.load(folder), sequences)
    assert not list(folder.glob("*.part"))


def test_opening_maps_rather_than_loads(tmp_path):
    Sequences.from_lists([["a", "b"]]).save(tmp_path)
    opened = Sequences.load(tmp_path)
    assert isinstance(opened.item_ix, np.memmap)
    assert isinstance(opened.time_s, np.memmap)


def test_saving_over_open_maps_leaves_them_valid(tmp_path):
    Sequences.from_lists([["a", "b", "c"]]).save(tmp_path)
    opened = Sequences.load(tmp_path)
    Sequences.from_lists([["z"]]).save(tmp_path)
    assert opened.to_frame()["item_id"].to_list() == ["a", "b", "c"]
    assert Sequences.load(tmp_path).to_frame()["item_id"].to_list() == ["z"]


def test_a_cut_write_leaves_the_old(tmp_path, monkeypatch):
    Sequences.from_lists([["a", "b"]]).save(tmp_path)

    def cut(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", cut)
        with pytest.raises(OSError, match="No space"):
            Sequences.from_lists([["z"]]).save(tmp_path)
    assert Sequences.load(tmp_path).to_frame()["item_id"].to_list() == ["a", "b"]
    assert not list(tmp_path.glob("*.part"))


def test_what_is_no_sequences_is_said(tmp_path):
    with pytest.raises(DataError, match="holds no sequences"):
        Sequences.load(tmp_path)
    Sequences.from_lists([["a"]]).save(tmp_path)
    header = json.loads((tmp_path / HEADER).read_text())
    (tmp_path / HEADER).write_text(json.dumps({**header, "format": FORMAT + 1}))
    with pytest.raises(DataError, match="Upgrade"):
        Sequences.load(tmp_path)


@settings(max_examples=60, deadline=None)
@given(lists=histories, data=st.data())
def test_selecting_rows_equals_filtering_the_table(lists, data):
    sequences = with_context(Sequences.from_lists(lists))
    n = sequences.n_events
    rows = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_)
    chosen = sequences.select(rows)
    assert chosen.to_frame().equals(sequences.to_frame().filter(pl.Series(rows, dtype=pl.Boolean)))
    assert chosen.n_users == sequences.n_users
    np.testing.assert_array_equal(np.bincount(chosen.user_ix, minlength=chosen.n_users), chosen.lengths)


def test_one_action_alone():
    sequences = Sequences.from_lists([["a", "b"]])
    assert sequences.with_action("event").n_events == 2
    with pytest.raises(DataError, match="Known: \\['event'\\]"):
        sequences.with_action("buy")


def test_shapes_are_checked():
    good = Sequences.from_lists([["a", "b"]])
    whole = {
        name: getattr(good, name)
        for name in ("offsets", "item_ix", "action_ix", "time_s", "users", "items", "actions")
    }
    for name, wrong in (
        ("time_s", np.zeros(1)),
        ("action_ix", np.zeros(3, np.int16)),
        ("offsets", np.array([0, 1])),
        ("offsets", np.array([0, 1, 2])),
        ("context", {"value": np.zeros(5, np.float32)}),
    ):
        with pytest.raises(ShapeError):
            Sequences(**{**whole, name: wrong})
    with pytest.raises(ShapeError, match="rows must have shape"):
        good.select(np.array([True]))
