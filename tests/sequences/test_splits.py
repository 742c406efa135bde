# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, LeakError, TooLittleData
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.leaks import check_leaks, check_queries
from desirepath.sequences.splits import split_leave_one_out, split_temporal, split_users


def world(histories: list[list[tuple[str, float]]]) -> Sequences:
    """Sequences of (item, second) pairs."""
    plain = Sequences.from_lists([[item for item, _ in history] for history in histories])
    times = np.array([moment for history in histories for _, moment in history], dtype=np.float64)
    return replace(plain, time_s=times)


def asked(queries: Queries) -> list[tuple[int, list[str], float, set[str]]]:
    """Each query as (user, history, now, targets), read the slow way."""
    items = queries.sequences.items
    out = []
    for q in range(len(queries)):
        history = queries.sequences.item_ix[queries.start[q] : queries.stop[q]]
        targets = queries.target_item_ix[queries.target_offsets[q] : queries.target_offsets[q + 1]]
        out.append(
            (
                int(queries.user_ix[q]),
                items.decode(history).to_list(),
                float(queries.now_s[q]),
                set(items.decode(targets).to_list()),
            )
        )
    return out


DAY = 86_400.0
SMALL = world(
    [
        [("a", 0), ("b", 1 * DAY), ("c", 8 * DAY), ("a", 9 * DAY)],
        [("b", 2 * DAY), ("c", 3 * DAY)],
        [("d", 8 * DAY), ("a", 9 * DAY), ("d", 30 * DAY)],  # begins after the cut
        [("a", 4 * DAY), ("e", 5 * DAY), ("b", 20 * DAY)],
    ]
)
# Twelve events; the 0.5 quantile lies between 5 and 8 days, so the cut is at 8 days.


def test_successive_asks_for_every_later_event_with_all_before_it():
    split = split_temporal(SMALL, 0.5, validation="none")
    assert split.cut_s == 8 * DAY
    assert asked(split.test) == [
        (0, ["a", "b"], 8 * DAY, {"c"}),
        (0, ["a", "b", "c"], 9 * DAY, {"a"}),
        (2, ["d"], 9 * DAY, {"a"}),
        (2, ["d", "a"], 30 * DAY, {"d"}),
        (3, ["a", "e"], 20 * DAY, {"b"}),
    ]
    assert split.train.to_frame().get_column("item_id").to_list() == ["a", "b", "b", "c", "a", "e"]
    assert split.counts["test_targets_without_history"] == 1
    assert (split.counts["test_queries_warm"], split.counts["test_queries_cold"]) == (3, 2)
    assert split.counts["test_targets_unseen_in_train"] == 1  # d
    assert "1970-01-09 00:00:00 UTC" in split.description


def test_last_asks_once_a_user():
    split = split_temporal(SMALL, 0.5, targets="last", validation="none")
    assert asked(split.test) == [
        (0, ["a", "b", "c"], 9 * DAY, {"a"}),
        (2, ["d", "a"], 30 * DAY, {"d"}),
        (3, ["a", "e"], 20 * DAY, {"b"}),
    ]


def test_days_stands_at_the_cut_and_asks_for_the_set_of_the_window():
    split = split_temporal(SMALL, 0.5, targets="days", days=7, validation="none")
    assert asked(split.test) == [(0, ["a", "b"], 8 * DAY, {"c", "a"})]
    assert split.counts["test_targets_without_history"] == 2
    wide = split_temporal(SMALL, 0.5, targets="days", days=30, validation="none", cold_users="keep")
    assert asked(wide.test) == [
        (0, ["a", "b"], 8 * DAY, {"c", "a"}),
        (2, [], 8 * DAY, {"d", "a"}),
        (3, ["a", "e"], 8 * DAY, {"b"}),
    ]


def test_cold_users_are_dropped_or_kept_on_request():
    dropped = split_temporal(SMALL, 0.5, validation="none", cold_users="drop")
    assert set(dropped.test.user_ix.tolist()) == {0, 3}
    assert dropped.counts["test_targets_without_history"] == 3
    kept = split_temporal(SMALL, 0.5, validation="none", cold_users="keep")
    assert asked(kept.test)[2] == (2, [], 8 * DAY, {"d"})
    assert kept.counts["test_targets_without_history"] == 0


def test_ties_with_the_quantile_stay_in_training():
    tied = world([[("a", 0), ("b", 5), ("c", 5)], [("a", 5), ("b", 5), ("c", 6)]])
    split = split_temporal(tied, 0.5, validation="none")
    assert split.cut_s == 6
    assert split.train.n_events == 5


def test_when_nothing_follows_the_quantile_its_ties_are_the_test():
    tied = world([[("a", 0), ("b", 1), ("c", 5)], [("a", 5), ("b", 5), ("c", 5)]])
    split = split_temporal(tied, 0.9, validation="none")
    assert split.cut_s == 5
    assert asked(split.test)[0] == (0, ["a", "b"], 5.0, {"c"})


def test_tied_times_within_a_user_keep_the_order_of_the_file():
    tied = world([[("a", 0), ("z", 5), ("b", 5), ("y", 5)]])
    split = split_temporal(tied, 0.2, validation="none")
    assert [(h, t) for _, h, _, t in asked(split.test)] == [
        (["a"], {"z"}),
        (["a", "z"], {"b"}),
        (["a", "z", "b"], {"y"}),
    ]


def test_time_validation_asks_like_the_test_inside_training():
    split = split_temporal(SMALL, 0.5, validation="time")
    # Of the six training events the 0.5 quantile lies between 2 and 3 days.
    assert split.validation_cut_s == 3 * DAY
    assert asked(split.validation) == [
        (1, ["b"], 3 * DAY, {"c"}),
        (3, ["a"], 5 * DAY, {"e"}),
    ]
    assert split.train.n_events == 3
    assert split.full.n_events == 6
    check_leaks(split)


def test_last_validation_holds_back_the_last_training_event():
    split = split_temporal(SMALL, 0.5, validation="last")
    assert [(u, h, t) for u, h, _, t in asked(split.validation)] == [
        (0, ["a"], {"b"}),
        (1, ["b"], {"c"}),
        (3, ["a"], {"e"}),
    ]
    assert split.train.lengths.tolist() == [1, 1, 0, 1]
    check_leaks(split)


def test_user_validation_takes_users_wholly_out_of_training():
    split = split_temporal(SMALL, 0.5, validation="users", validation_size=1, seed=3)
    held = int(split.validation.user_ix[0])
    assert split.train.lengths[held] == 0
    assert split.full.lengths[held] == 2
    assert len(split.validation) == 1
    check_leaks(split)
    with pytest.raises(TooLittleData, match="Holding out 3 users"):
        split_temporal(SMALL, 0.5, validation="users", validation_size=3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantile": 1.0}, "between 0 and 1"),
        ({"targets": "frist"}, "targets must be one of"),
        ({"validation": "user"}, "Did you mean 'users'"),
        ({"cold_users": "no"}, "cold_users must be"),
        ({"targets": "days", "days": 0}, "days must be positive"),
        ({"validation_size": 0}, "at least 1"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        split_temporal(SMALL, **options)


def test_a_log_that_cannot_be_split_says_why():
    with pytest.raises(TooLittleData, match="two moments"):
        split_temporal(world([[("a", 7), ("b", 7)]]))
    with pytest.raises(TooLittleData, match="there are none"):
        split_temporal(world([[]]))
    with pytest.raises(TooLittleData, match="cold_users='keep'"):
        split_temporal(world([[("a", 0)], [("b", 1)]]), validation="none")
    with pytest.raises(TooLittleData, match="3 events; the longest of 2 has 2"):
        split_leave_one_out(world([[("a", 0), ("b", 1)], [("b", 1)]]))
    with pytest.raises(TooLittleData, match="5 folds need 5"):
        split_users(SMALL, k=5)
    with pytest.raises(ConfigError, match="at least 3"):
        split_users(SMALL, k=2)


def test_leave_one_out():
    split = split_leave_one_out(SMALL)
    assert asked(split.test)[0] == (0, ["a", "b", "c"], 9 * DAY, {"a"})
    assert asked(split.validation)[0] == (0, ["a", "b"], 8 * DAY, {"c"})
    assert split.train.lengths.tolist() == [2, 2, 1, 1]
    assert split.counts["users_too_short"] == 1
    report = check_leaks(split)
    # Training: 0, 1, 2, 3, 8 and 4 days; only the question of user 0 at 9 days, of user 2 at 30 and
    # of user 3 at 20 come after all of them.
    assert report.queries_before_training_ends == 0.0
    assert report.sentence == "No training event is as late as a test query."


def test_leave_one_out_reports_its_known_leak():
    late = world([[("a", 0), ("b", 1), ("c", 2)], [("a", 10), ("b", 11), ("c", 12)]])
    report = check_leaks(split_leave_one_out(late))
    assert report.queries_before_training_ends == 0.5
    assert report.later_training_events == pytest.approx(0.25)  # one of two rows, for one of two queries
    assert "50.0% of test queries" in report.sentence


def test_folds_over_users_ask_everyone_once_and_never_train_on_the_asked():
    many = world([[(f"i{u % 7}", u), (f"i{u % 5}", u + 1), ("x", u + 2)] for u in range(23)] + [[("x", 0)]])
    folds = split_users(many, k=4, seed=1)
    users = np.concatenate([fold.test.user_ix for fold in folds])
    assert sorted(users.tolist()) == list(range(23))
    for fold in folds:
        assert not fold.train.lengths[fold.test.user_ix].any()
        assert not fold.train.lengths[fold.validation.user_ix].any()
        assert not fold.full.lengths[fold.test.user_ix].any()
        check_leaks(fold)
    assert [f.test.user_ix.tolist() for f in split_users(many, k=4, seed=1)] == [
        f.test.user_ix.tolist() for f in folds
    ]


logs = st.lists(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12)), max_size=8).map(
        lambda rows: sorted(rows, key=lambda row: row[1])
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(
    log=logs,
    quantile=st.floats(0.05, 0.95),
    targets=st.sampled_from(["last", "successive", "days"]),
    validation=st.sampled_from(["users", "time", "last", "none"]),
    cold=st.sampled_from(["with_history", "drop", "keep"]),
)
def test_every_temporal_split_passes_the_leak_check_and_agrees_with_a_plain_loop(
    log, quantile, targets, validation, cold
):
    sequences = world(log)
    try:
        split = split_temporal(
            sequences, quantile, targets, 3 / 86_400, validation, validation_size=1, cold_users=cold
        )
    except TooLittleData:
        return
    report = check_leaks(split)
    assert report.later_training_events == 0.0
    cut = split.cut_s
    expected = []
    for user, rows in enumerate(log):
        before = [item for item, moment in rows if moment < cut]
        after = [(item, moment) for item, moment in rows if moment >= cut]
        window = {item for item, moment in after if moment < cut + 3}
        if targets == "days":
            found = [(user, before, cut, window)] if window else []
        else:
            found = [
                (user, [item for item, _ in rows[:n]], float(rows[n][1]), {rows[n][0]})
                for n in range(len(before), len(rows))
            ]
            found = found[-1:] if targets == "last" else found
        if cold == "drop":
            found = found if before else []
        elif cold == "with_history":
            found = [query for query in found if query[1]]
        expected += found
    assert asked(split.test) == expected


def leak(name: str):
    """A sound split made unsound in one way."""
    split = split_temporal(SMALL, 0.5, validation="last")
    test = split.test
    if name == "history holds the target":
        return replace(split, test=replace(test, stop=test.stop + 1, now_s=test.now_s + 99 * DAY))
    if name == "now is before the history":
        return replace(split, test=replace(test, now_s=test.now_s - 20 * DAY))
    if name == "a training row after the cut":
        return replace(split, train=SMALL)
    if name == "the last fit after the cut":
        return replace(split, full=SMALL)
    if name == "training on the validation target":
        return replace(split, train=split.full)
    if name == "another user's rows":
        return replace(split, test=replace(test, start=test.start * 0))
    shuffled = replace(split.train, item_ix=split.train.item_ix + 1)
    return replace(split, train=shuffled)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("history holds the target", "must come after its history"),
        ("now is before the history", "later than its now_s"),
        ("a training row after the cut", "Rows of training must be earlier"),
        ("the last fit after the cut", "Rows of last fit must be earlier"),
        ("training on the validation target", "Training must end where the history of a validation"),
        ("another user's rows", "rows of its own user"),
        ("other rows than the log's", "the beginning of their sequences"),
    ],
)
def test_leaks_fail_loudly(name, words):
    with pytest.raises(LeakError, match=words):
        check_leaks(leak(name))


def test_training_on_the_test_of_leave_one_out_fails():
    split = split_leave_one_out(SMALL)
    with pytest.raises(LeakError, match="Training must end"):
        check_queries(SMALL, split.test)
    others = world([[("a", 0)]])
    with pytest.raises(LeakError, match="the same users"):
        check_queries(others, split.test)


@pytest.mark.data
def test_ml1m_successive_split_has_the_published_shape(shared_data: Path):
    """Time to Split counts about 1,180 warm users with the last target on ML-1M at quantile 0.9."""
    frame = pl.read_csv(shared_data / "movielens-1m-sequences" / "interactions.csv.gz")
    user, item, time = frame.columns[:3]
    frame = frame.sort(user, time, maintain_order=True)
    lengths = frame.group_by(user, maintain_order=True).len().get_column("len").to_numpy().astype(np.int64)
    base = Sequences.from_lists([[]])
    items = base.items.extended(frame.get_column(item).cast(pl.String))
    users = type(items)(frame.get_column(user).unique(maintain_order=True).cast(pl.String), reserved=0)
    sequences = Sequences(
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        item_ix=items.encode(frame.get_column(item).cast(pl.String)).astype(np.int32),
        action_ix=np.full(len(frame), 2, np.int16),
        time_s=frame.get_column(time).cast(pl.Float64).to_numpy(),
        users=users,
        items=items,
        actions=base.actions,
    )
    split = split_temporal(sequences, 0.9, targets="last", cold_users="drop")
    assert check_leaks(split).later_training_events == 0.0
    assert 1150 <= split.counts["test_queries"] <= 1210
    successive = split_temporal(sequences, 0.9)
    assert (
        abs(
            successive.counts["train_events"]
            + (successive.full.n_events - successive.train.n_events)
            - 0.9 * sequences.n_events
        )
        < 50
    )
