# SPDX-License-Identifier: Apache-2.0
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.events.cleaning import CleaningConfig
from desirepath.events.log import EventLog
from desirepath.events.raw import canonical_log
from desirepath.live.states import Event, UserStates
from desirepath.schema import TIME_DTYPE
from desirepath.sequences.build import build_sequences, pack_events

MOMENT_US = 1_700_000_000_123_457
ALL_KEPT = CleaningConfig(exact_duplicates=False, robots=False)
# Few users, items and moments, so that tied and late times, and users of one event, are frequent.
happened = st.tuples(
    st.sampled_from("uvwxyz"),
    st.sampled_from("abcdefgh"),
    st.sampled_from(["view", "buy", "like"]),
    st.integers(0, 5),
)
logs = st.lists(happened, min_size=1, max_size=60)


def table(log):
    """Events in the order in which they arrived, as a canonical table."""
    users, items, actions, times = zip(*log, strict=True)
    moments = pl.Series([MOMENT_US + time for time in times], dtype=pl.Int64).cast(TIME_DTYPE)
    return pl.DataFrame({"user_id": users, "item_id": items, "action": actions, "time": moments})


class Codes:
    """Indexes of the catalogue: those of the base, then in the order in which names come."""

    def __init__(self, names=()):
        self.names = ["", "", *names]

    def take(self, name):
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)


def live(states, items, actions, log, at_once=7):
    for first in range(0, len(log), at_once):
        states.append(
            Event(user, items.take(item), actions.take(action), MOMENT_US + time)
            for user, item, action, time in log[first : first + at_once]
        )


def told(histories, items, actions):
    """Each row of histories with outside names."""
    return [
        [
            (items.names[item], actions.names[action], time)
            for item, action, time in zip(
                histories.item_ix[first:stop].tolist(),
                histories.action_ix[first:stop].tolist(),
                histories.time_s[first:stop].tolist(),
                strict=True,
            )
        ]
        for first, stop in zip(histories.offsets[:-1].tolist(), histories.offsets[1:].tolist(), strict=True)
    ]


def trained_on(sequences):
    """The same of packed sequences, by user."""
    rows = zip(
        sequences.users.decode(sequences.user_ix).to_list(),
        sequences.items.decode(sequences.item_ix).to_list(),
        sequences.actions.decode(sequences.action_ix).to_list(),
        sequences.time_s.tolist(),
        strict=True,
    )
    found = {}
    for user, item, action, time in rows:
        found.setdefault(user, []).append((item, action, time))
    return found


def states_after(log, n_packed):
    """States whose base are the first events, packed, and which saw the others come."""
    base = pack_events(table(log[:n_packed])) if n_packed else None
    items = Codes(base.items.ids.to_list() if base else ())
    actions = Codes(base.actions.ids.to_list() if base else ())
    states = UserStates(base)
    live(states, items, actions, log[n_packed:])
    return states, items, actions


@given(log=logs, n_packed=st.integers(0, 60))
@settings(max_examples=80, deadline=None)
def test_serving_sees_what_training_sees(log, n_packed):
    """Wherever the log was packed, histories are event by event those of the whole log, packed."""
    states, items, actions = states_after(log, min(n_packed, len(log)))
    expected = trained_on(pack_events(table(log)))
    users = [*expected, "nobody", None]
    assert told(states.histories(users), items, actions) == [*expected.values(), [], []]
    assert set(states.user_ids()) == set(expected)
    assert len(states) == len(expected)


@given(log=logs, n_packed=st.integers(0, 60))
@settings(max_examples=6, deadline=None)
def test_serving_sees_what_the_event_log_keeps(log, n_packed):
    """The same against the log on disk, taken in twice and built anew."""
    n_packed = min(n_packed, len(log))
    states, items, actions = states_after(log, n_packed)
    with tempfile.TemporaryDirectory() as folder:
        kept = EventLog(Path(folder) / "events")
        for part in (log[:n_packed], log[n_packed:]):
            if part:
                kept.append(canonical_log(table(part)), ALL_KEPT)
        expected = trained_on(build_sequences(kept, Path(folder) / "sequences"))
    assert told(states.histories(list(expected)), items, actions) == list(expected.values())


@given(log=logs, n_packed=st.integers(0, 60), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_packing_again_changes_nothing(log, n_packed, seed):
    """States on a new base, whose items and actions are numbered otherwise, tell the same."""
    n_packed = min(n_packed, len(log))
    states, items, actions = states_after(log, n_packed)
    users = sorted({event[0] for event in log})
    before = told(states.histories(users), items, actions)
    order = np.random.default_rng(seed).permutation(len(log))
    shuffled = pack_events(table([log[n] for n in order]))  # only for the order of its names
    n_new = n_packed + (len(log) - n_packed) // 2
    base = pack_events(table(log[:n_new]), like=shuffled) if n_new else None
    fresh = UserStates(
        base,
        item_ix=np.array([0, 1, *map(items.take, shuffled.items.ids.to_list())], np.int32),
        action_ix=np.array([0, 1, *map(actions.take, shuffled.actions.ids.to_list())], np.int16),
    )
    live(fresh, items, actions, log[n_new:])
    states.become(fresh)
    assert told(states.histories(users), items, actions) == before
    live(states, items, actions, [("u", "a", "view", 9)])
    assert told(states.histories(["u"]), items, actions)[0][-1][0] == "a"


@given(log=logs, n_packed=st.integers(0, 60), moment=st.none() | st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_what_was_erased_counts_no_more(log, n_packed, moment):
    states, items, actions = states_after(log, min(n_packed, len(log)))
    expected = trained_on(pack_events(table(log)))
    given_us = None if moment is None else MOMENT_US + moment
    before_us = states.erase("u", given_us)
    assert before_us == given_us or given_us is None
    left = [event for event in expected.get("u", []) if round(event[2] * 1e6) >= before_us]
    assert told(states.histories(["u"]), items, actions) == [left]
    assert told(states.histories(["v"]), items, actions) == [expected.get("v", [])]
    later = (before_us - MOMENT_US) + 1
    live(states, items, actions, [("u", "a", "view", -1), ("u", "b", "view", later)])
    # He begins anew; what comes late is left out.
    again = told(states.histories(["u"]), items, actions)[0]
    assert sorted(again) == sorted([*left, ("b", "view", (before_us + 1) / 1e6)])


def test_erasing_holds_for_a_clock_that_went_ahead():
    ahead = 2_000_000_000_000_000
    base = pack_events(table([("u", "a", "view", ahead - MOMENT_US)]))
    for states in (UserStates(base), UserStates()):
        states.append([Event("u", 2, 2, ahead + 5)] if len(states) == 0 else [])
        before_us = states.erase("u")
        assert before_us > ahead
        assert states.histories(["u"]).offsets.tolist() == [0, 0]
        again = UserStates(base)  # made anew with the moment that was kept
        again.erase("u", before_us)
        assert again.histories(["u"]).offsets.tolist() == [0, 0]


def test_growth_keeps_everything():
    """Far beyond the first room, many users and one of many events."""
    rng = np.random.default_rng(7)
    states, n = UserStates(), 60_000
    names = [f"u{ix}" for ix in rng.integers(0, 20_000, n)]
    names[::10] = ["busy"] * len(names[::10])
    item_ix, time_us = rng.integers(2, 2**31, n, dtype=np.int64), rng.integers(0, 2**52, n)
    for first in range(0, n, 999):
        part = slice(first, first + 999)
        states.extend(names[part], item_ix[part], np.full(len(names[part]), 2), time_us[part])
    assert states.n_live == n
    assert len(states) == len(set(names))
    frame = pl.DataFrame({"name": names, "item": item_ix, "time": time_us}).sort(
        "name", "time", maintain_order=True
    )
    asked = frame["name"].unique(maintain_order=True).to_list()
    histories = states.histories(asked)
    assert histories.item_ix.tolist() == frame["item"].to_list()
    np.testing.assert_array_equal(histories.time_s, frame["time"].to_numpy() / 1e6)
    assert np.diff(histories.offsets).tolist() == frame["name"].rle().struct.field("len").to_list()
    assert states.n_bytes < 2.5 * (n * 22 + 20_000 * 8)


def test_nothing_is_no_trouble():
    states = UserStates()
    states.append([])
    assert states.histories([]).offsets.tolist() == [0]
    assert "u" not in states
    states.append([Event("u", 2, 2, 1)])
    assert "u" in states
    with pytest.raises(ValueError, match="zip"):
        states.append([("u", 2), ("u", 2, 2, 1)])
