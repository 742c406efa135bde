# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, TooLittleData
from desirepath.sequences import Queries, Sequences, Vocabulary
from desirepath.sequences.batch import Batches, cut_windows

histories = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def world(lengths: list[int]) -> Sequences:
    """Every event is an item of its own, so that each can be told from all others."""
    number = iter(range(10**6))
    return Sequences.from_lists([[str(next(number)) for _ in range(length)] for length in lengths])


def epoch(sequences: Sequences, **options):
    settings = {"max_len": 5, "batch_size": 4, "seed": 0} | options
    return list(Batches(sequences, **settings).epoch(0))


@settings(max_examples=60, deadline=None)
@given(lengths=histories, max_len=st.integers(1, 9), overlap=st.integers(0, 8), batch_size=st.integers(1, 7))
def test_every_event_but_the_first_is_a_target_once(lengths, max_len, overlap, batch_size):
    overlap = min(overlap, max_len - 1)
    sequences = world(lengths)
    if max(lengths) < 2:
        with pytest.raises(TooLittleData, match="at least two events"):
            Batches(sequences, max_len=max_len, batch_size=batch_size, seed=3, overlap=overlap)
        return
    batches = Batches(sequences, max_len=max_len, batch_size=batch_size, seed=3, overlap=overlap)
    targets = Counter()
    for batch in batches.epoch(1):
        targets.update(batch.target_item_T.tolist())
        # The target of a cell is the event after it.
        rows = batch.row_BL.ravel()[batch.target_cell_T]
        np.testing.assert_array_equal(sequences.item_ix[rows + 1], batch.target_item_T)
    firsts = sequences.item_ix[sequences.offsets[:-1][sequences.lengths > 0]].tolist()
    assert targets == Counter(set(sequences.item_ix.tolist()) - set(firsts))
    assert batches.n_targets == sum(targets.values())


@settings(max_examples=60, deadline=None)
@given(lengths=histories, max_len=st.integers(1, 9), overlap=st.integers(0, 8))
def test_a_cell_sees_what_a_query_at_its_moment_sees(lengths, max_len, overlap):
    """Event by event: training reads the same items at the same places as serving."""
    overlap = min(overlap, max_len - 1)
    sequences = world([*lengths, 2])
    windows = cut_windows(sequences, max_len, overlap=overlap)
    seen = 0
    for batch in epoch(sequences, max_len=max_len, overlap=overlap):
        for line in range(len(batch.row_BL)):
            for window in range(batch.window_BL[line].max() + 1):
                columns = np.flatnonzero(batch.window_BL[line] == window)
                rows = batch.row_BL[line, columns]
                w = int(np.flatnonzero(windows.stop == rows[-1] + 1)[0])
                assert (windows.start[w], windows.stop[w]) == (rows[0], rows[-1] + 1)
                query = Queries(
                    sequences=sequences,
                    user_ix=np.zeros(1, np.int64),
                    start=windows.start[w : w + 1],
                    stop=windows.stop[w : w + 1],
                    now_s=np.zeros(1),
                    target_offsets=np.zeros(2, np.int64),
                    target_item_ix=np.zeros(0, np.int32),
                )
                item_BL, length_B = query.windows(max_len)
                np.testing.assert_array_equal(batch.item_BL[line, columns], item_BL[0, : length_B[0]])
                np.testing.assert_array_equal(batch.position_BL[line, columns], np.arange(length_B[0]))
                seen += 1
    assert seen == len(windows)


def test_the_last_window_is_the_query_after_all_but_the_last_event():
    sequences = world([3, 17, 6])
    windows = cut_windows(sequences, 5)
    last = np.flatnonzero(np.isin(windows.stop, sequences.offsets[1:] - 1))
    whole = Queries.latest(sequences, np.arange(3))
    items, length = Queries(
        sequences=sequences,
        user_ix=whole.user_ix,
        start=whole.start,
        stop=whole.stop - 1,
        now_s=whole.now_s,
        target_offsets=whole.target_offsets,
        target_item_ix=whole.target_item_ix,
    ).windows(5)
    for q, w in enumerate(last):
        mine = sequences.item_ix[windows.start[w] : windows.stop[w]]
        np.testing.assert_array_equal(mine, items[q, : length[q]])


def test_overlap_gives_every_later_target_at_least_so_much_context():
    sequences = world([23, 4])
    windows = cut_windows(sequences, 6, overlap=4)
    later = windows.start > np.repeat(sequences.offsets[:-1], [len(windows) - 1, 1])
    assert later.any()
    assert (windows.counted - windows.start)[later].min() >= 4
    np.testing.assert_array_equal(windows.stop - windows.counted, np.where(later, 2, windows.lengths))


def test_rows_hold_no_cell_twice_and_padding_is_marked():
    batches = epoch(world([9, 2, 3, 4, 5, 2, 2, 30]), max_len=6, batch_size=8)
    for batch in batches:
        filled = batch.row_BL >= 0
        assert len(set(batch.row_BL[filled].tolist())) == filled.sum()
        assert ((batch.item_BL > 0) == filled).all()
        assert ((batch.window_BL >= 0) == filled).all()
        assert batch.padding == pytest.approx(1 - filled.mean())


def test_seed_and_epoch_fix_the_order_and_skip_goes_on():
    sequences = world([6] * 40)
    batches = Batches(sequences, max_len=5, batch_size=8, seed=1)
    first = [b.item_BL for b in batches.epoch(0)]
    again = [b.item_BL for b in Batches(sequences, max_len=5, batch_size=8, seed=1).epoch(0)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    rest = [b.item_BL for b in batches.epoch(0, skip=3)]
    assert len(batches) == len(first) == 5
    assert all(np.array_equal(a, b) for a, b in zip(first[3:], rest, strict=True))
    other_epoch = [b.item_BL for b in batches.epoch(1)]
    other_seed = [b.item_BL for b in Batches(sequences, max_len=5, batch_size=8, seed=2).epoch(0)]
    assert not np.array_equal(np.concatenate(first), np.concatenate(other_epoch))
    assert not np.array_equal(np.concatenate(first), np.concatenate(other_seed))


def test_unknown_items_are_passed_over():
    sequences = Sequences.from_lists([["a", "b", "c"]])
    item_ix = sequences.item_ix.copy()
    item_ix[1] = 1
    sequences = Sequences(
        **{
            name: getattr(sequences, name)
            for name in ("offsets", "action_ix", "time_s", "users", "items", "actions")
        },
        item_ix=item_ix,
    )
    (batch,) = epoch(sequences)
    assert batch.item_BL.tolist() == [[2]]
    assert batch.target_item_T.tolist() == [4]
    assert batch.target_cell_T.tolist() == [0]


@pytest.mark.parametrize("overlap", [-1, 5])
def test_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(ConfigError, match="overlap must be from 0 to max_len - 1 = 4"):
        cut_windows(world([3]), 5, overlap=overlap)


def padding(sequences: Sequences, **options) -> float:
    batches = list(Batches(sequences, seed=0, **options).epoch(0))
    return 1 - sum((b.row_BL >= 0).sum() for b in batches) / sum(b.row_BL.size for b in batches)


@pytest.mark.data
def test_padding_on_beauty(shared_data):
    lines = (shared_data / "leave-one-out-sequences" / "Beauty.txt").read_text().splitlines()
    sequences = Sequences.from_lists([line.split()[1:-2] for line in lines])
    batches = Batches(sequences, max_len=50, batch_size=512, seed=0)
    assert batches.n_targets == 131_413
    assert padding(sequences, max_len=50, batch_size=512) < 0.03


@pytest.mark.data
@pytest.mark.parametrize("max_len", [50, 128, 200])
def test_padding_on_movielens(shared_data, max_len):
    log = pl.read_csv(shared_data / "movielens-1m-sequences" / "interactions.csv.gz")
    users = log.group_by("user_id", maintain_order=True).len()
    offsets = np.concatenate([[0], np.cumsum(users["len"].to_numpy())]).astype(np.int64)
    items = Vocabulary(log["movie_id"].cast(pl.String).unique(maintain_order=True))
    sequences = Sequences(
        offsets=offsets,
        item_ix=items.encode(log["movie_id"].cast(pl.String)).astype(np.int32),
        action_ix=np.full(len(log), 2, np.int16),
        time_s=np.zeros(len(log)),
        users=Vocabulary(users["user_id"].cast(pl.String), reserved=0),
        items=items,
        actions=Vocabulary(["event"]),
    )
    assert padding(sequences, max_len=max_len, batch_size=256) < 0.10
