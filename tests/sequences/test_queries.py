# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ShapeError
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.queries import ranges

lists = st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), min_size=1, max_size=6)


def queries_of(histories: list[list[str]], cuts: list[int], targets: list[int]) -> Queries:
    """One query a user: the first `cut` events are seen, the next `targets` are to come."""
    sequences = Sequences.from_lists(histories)
    first = sequences.offsets[:-1]
    cut = np.minimum(cuts, sequences.lengths)
    n = np.minimum(targets, sequences.lengths - cut)
    stop = first + cut
    return Queries(
        sequences=sequences,
        user_ix=np.arange(len(histories)),
        start=first,
        stop=stop,
        now_s=np.zeros(len(histories)),
        target_offsets=np.concatenate([[0], np.cumsum(n)]),
        target_item_ix=sequences.item_ix[ranges(stop, stop + n)],
        target_action_ix=sequences.action_ix[ranges(stop, stop + n)],
    )


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=12))
def test_ranges_equal_a_loop(pairs):
    start = np.array([low for low, _ in pairs], np.int64)
    stop = start + np.array([n for _, n in pairs], np.int64)
    expected = [row for low, n in pairs for row in range(low, low + n)]
    assert ranges(start, stop).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(histories=lists, max_len=st.integers(1, 9), data=st.data())
def test_windows_equal_slices(histories, max_len, data):
    cuts = data.draw(st.lists(st.integers(0, 8), min_size=len(histories), max_size=len(histories)))
    queries = queries_of(histories, cuts, [1] * len(histories))
    item_BL, length_B = queries.windows(max_len)
    for row, history in enumerate(histories):
        seen = queries.sequences.items.encode(history[: cuts[row]])[-max_len:].tolist()
        assert length_B[row] == len(seen)
        assert item_BL[row].tolist() == seen + [0] * (item_BL.shape[1] - len(seen))
    assert item_BL.shape[1] == max(1, int(length_B.max()))


@settings(max_examples=60, deadline=None)
@given(histories=lists, data=st.data())
def test_chosen_queries_keep_their_targets(histories, data):
    n = len(histories)
    cuts, targets = (data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)) for _ in range(2))
    queries = queries_of(histories, cuts, targets)
    chosen = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=5)), np.int64)
    some = queries[chosen]
    assert len(some) == len(chosen)
    for row, query in enumerate(chosen):
        low, high = queries.target_offsets[query : query + 2]
        mine = slice(int(some.target_offsets[row]), int(some.target_offsets[row + 1]))
        assert some.target_item_ix[mine].tolist() == queries.target_item_ix[low:high].tolist()
        assert some.target_action_ix[mine].tolist() == queries.target_action_ix[low:high].tolist()
        assert (some.start[row], some.stop[row]) == (queries.start[query], queries.stop[query])


def test_history_matrix_counts_or_marks():
    queries = queries_of([["a", "b", "a"], []], [3, 0], [0, 0])
    assert queries.history_matrix(binary=False).toarray().tolist() == [[0, 0, 2, 1], [0, 0, 0, 0]]
    assert queries.history_matrix().toarray().tolist() == [[0, 0, 1, 1], [0, 0, 0, 0]]


def test_one_target_each():
    assert queries_of([["a", "b"], ["b", "a"]], [1, 1], [1, 1]).single_target.tolist() == [3, 2]
    for wrong in ([1, 0], [2, 1]):
        with pytest.raises(ShapeError, match="exactly one"):
            _ = queries_of([["a", "b", "a"], ["b", "a"]], [1, 1], wrong).single_target


def test_latest_asks_after_everything():
    sequences = Sequences.from_lists([["a", "b", "c"], [], ["b"]])
    queries = Queries.latest(sequences, np.array([2, 0, 1]))
    assert queries.lengths.tolist() == [1, 3, 0]
    assert queries.now_s.tolist() == [0.0, 2.0, 0.0]
    assert Queries.latest(sequences, np.array([0]), now_s=9.0).now_s.tolist() == [9.0]
    assert len(queries.target_item_ix) == 0


def test_lengths_must_agree():
    queries = queries_of([["a", "b"]], [1], [1])
    parts = {name: getattr(queries, name) for name in ("sequences", "user_ix", "start", "stop", "now_s")}
    with pytest.raises(ShapeError, match="target_offsets"):
        Queries(**parts, target_offsets=np.zeros(1, np.int64), target_item_ix=np.zeros(0, np.int32))
    with pytest.raises(ShapeError, match="stop must have"):
        Queries(
            **{**parts, "stop": np.zeros(2, np.int64)},
            target_offsets=np.zeros(2, np.int64),
            target_item_ix=np.zeros(0, np.int32),
        )
