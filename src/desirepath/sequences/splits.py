# SPDX-License-Identifier: Apache-2.0
"""Cuts sequences into what may be learned from, what choices are made on, and what is asked at the end.

It knows packed rows and moments, no models. Its input is a `Sequences`, its output a `Split` whose
queries point into that same `Sequences`; `leaks` checks the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, TooLittleData, nearest
from desirepath.sequences.packed import Sequences
from desirepath.sequences.queries import Queries, ranges

Targets = Literal["last", "successive", "days"]
Validation = Literal["users", "time", "last", "none"]
ColdUsers = Literal["with_history", "drop", "keep"]
Protocol = Literal["temporal", "leave_one_out", "users"]

DAY_S = 86_400.0
MOST_VALIDATION_USERS = 1024
ASKS = {
    "successive": "every event after it, given all before that event",
    "last": "each user's last event after it, given all before that event",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One log in three parts: rows to train on, and the queries of validation and test."""

    sequences: Sequences
    """The whole log; the queries point into it."""
    train: Sequences
    """What a model may learn from while choices are still made."""
    validation: Queries
    test: Queries
    full: Sequences
    """Train and validation rows together: for a last fit once every choice is made, before the test."""
    protocol: Protocol
    cut_s: float | None
    """Temporal protocol: first moment of the test, seconds since 1970 UTC; no row of `full` reaches it."""
    validation_cut_s: float | None
    """First moment of validation where validation is cut by time."""
    description: str
    """The protocol in one sentence, to be printed beside every figure."""
    counts: dict[str, int]
    """Users, rows and queries of each part, and how many were left out and why."""


def split_temporal(
    sequences: Sequences,
    quantile: float = 0.9,
    targets: Targets = "successive",
    days: float = 7.0,
    validation: Validation = "users",
    validation_size: int | None = None,
    cold_users: ColdUsers = "with_history",
    seed: int = 0,
) -> Split:
    """One moment for all users: learn before it, ask after it.

    The cut is the first event time after the `quantile` of all event times, so that events tied
    with the quantile stay together in training; where nothing comes after them, they all go to the
    test instead. A row before the cut is `time_s < cut_s`. Within a user, tied times keep the order
    of the file.

    Args:
        sequences: the whole log.
        quantile: share of events before the cut, in (0, 1).
        targets: "successive" asks for every event after the cut, given everything before that event
            (`now_s` is the target's own time: the request's moment is known, as it is in serving);
            "last" asks only for each user's last event; "days" stands at the cut and asks for the
            set of items of the next `days` days (`now_s` is the cut).
        days: length of the window for targets="days".
        validation: "users" takes random users wholly out of training and asks for their last event
            before the cut; "time" cuts the training period once more at the same quantile and asks
            like the test does; "last" holds back each user's last event before the cut; "none".
        validation_size: users to hold out for "users"; default a tenth of the users with two events
            before the cut, at most 1024. For "time" and "last": at most so many queries, drawn at
            random; default all.
        cold_users: users without an event before the cut: "with_history" asks them as soon as they
            have some event behind them (with targets="days" they never have), "drop" never, "keep"
            always, even with an empty history.
        seed: draws the validation users or queries.

    Raises:
        ConfigError: an option is outside its range.
        TooLittleData: all events happen at one moment, or no event can be asked for.

    Source: Gusak et al., Time to Split, RecSys 2025. Changed: users with one event are trained on.
    """
    _check_options(quantile, targets, days, validation, validation_size, cold_users)
    rng = np.random.default_rng(seed)
    cut_s = _cut(np.asarray(sequences.time_s), quantile)
    full = sequences.select(np.asarray(sequences.time_s) < cut_s)
    n_before, share = full.lengths, full.n_events / sequences.n_events
    test, left_out = _after(sequences, n_before, cut_s, np.inf, targets, days, cold_users)
    if len(test) == 0:
        raise TooLittleData(
            f"The test needs an event from {_when(cut_s)} on whose user has a history; none of {left_out} "
            f"targets has. Lower quantile={quantile}, or pass cold_users='keep'."
        )
    validation_cut_s = _cut(full.time_s, quantile) if validation == "time" else None
    if validation == "users":
        train, asked = _hold_users(sequences, full, validation_size, rng)
    elif validation == "last":
        train, asked = _hold_last(sequences, n_before)
    elif validation_cut_s is not None:
        train = full.select(np.asarray(full.time_s) < validation_cut_s)
        asked, _ = _after(sequences, train.lengths, validation_cut_s, cut_s, targets, days, cold_users)
    else:
        train, asked = full, _no_queries(sequences)
    asked = _sample(asked, validation_size, rng)
    asks = f"the set of items of the next {days:g} days" if targets == "days" else ASKS[targets]
    n_cold = int((n_before[test.user_ix] == 0).sum())
    more = {"test_queries_warm": len(test) - n_cold, "test_queries_cold": n_cold}
    return Split(
        sequences=sequences,
        train=train,
        validation=asked,
        test=test,
        full=full,
        protocol="temporal",
        cut_s=cut_s,
        validation_cut_s=validation_cut_s,
        description=f"Global temporal split at {_when(cut_s)} (quantile {quantile:g}, {share:.1%} of "
        f"events before); test asks for {asks}; validation: {validation}.",
        counts=_count(sequences, train, asked, test) | more | {"test_targets_without_history": left_out},
    )


def turnover(sequences: Sequences, quantile: float = 0.9) -> float:
    """Share of the events after the `quantile` of all event times whose item had no event before it.

    Cost: two passes over the events.

    >>> log = Sequences.from_lists([["a", "b", "a", "c"]])
    >>> turnover(log, 0.5)
    0.5
    """
    time_s = np.asarray(sequences.time_s)
    late = time_s >= _cut(time_s, quantile)
    old = np.zeros(len(sequences.items), bool)
    old[sequences.item_ix[~late]] = True
    return float(np.mean(~old[sequences.item_ix[late]]))


def split_leave_one_out(sequences: Sequences) -> Split:
    """Each user's last event is the test, the one before it validation, the rest training.

    Users with fewer than three events are only trained on. The academic yardstick (SASRec, Kang &
    McAuley 2018, section IV-A): it leaks time across users, since training holds other users'
    events from after a target; `leaks.check_leaks` reports how many.

    Raises:
        TooLittleData: no user has three events.

    >>> split = split_leave_one_out(Sequences.from_lists([["a", "b", "c", "d"], ["a"]]))
    >>> split.train.to_frame().get_column("item_id").to_list()
    ['a', 'b', 'a']
    >>> split.sequences.items.decode(split.test.single_target).to_list()
    ['d']
    """
    lengths = sequences.lengths
    user = np.flatnonzero(lengths >= 3)
    if len(user) == 0:
        raise TooLittleData(
            f"Leave-one-out needs a user with 3 events; the longest of {sequences.n_users} has "
            f"{int(lengths.max(initial=0))}."
        )
    last = sequences.offsets[user + 1] - 1
    keep = np.ones(sequences.n_events, dtype=np.bool_)
    keep[last] = False
    full = sequences.select(keep)
    keep[last - 1] = False
    train, asked, test = (
        sequences.select(keep),
        _ask(sequences, user, last - 1),
        _ask(sequences, user, last),
    )
    return Split(
        sequences=sequences,
        train=train,
        validation=asked,
        test=test,
        full=full,
        protocol="leave_one_out",
        cut_s=None,
        validation_cut_s=None,
        description=(
            "Leave-one-out: test asks for each user's last event, validation for the one before; "
            "training holds other users' later events."
        ),
        counts=_count(sequences, train, asked, test) | {"users_too_short": int((lengths < 3).sum())},
    )


def split_users(sequences: Sequences, k: int = 5, seed: int = 0) -> list[Split]:
    """K folds over users: each fold's users are unseen in training and asked for their last event.

    Fold i is the test, fold i + 1 (cyclic) validation, the others training. Users with one event
    can be trained on but not asked.

    Args:
        sequences: the whole log.
        k: number of folds, at least 3.
        seed: shuffles the users.

    Raises:
        ConfigError: k is below 3.
        TooLittleData: there are fewer than k users with two events.
    """
    if k < 3:
        raise ConfigError(f"k must be at least 3 (test, validation and training folds); got {k}.")
    lengths = sequences.lengths
    able = np.flatnonzero(lengths >= 2)
    if len(able) < k:
        raise TooLittleData(f"{k} folds need {k} users with 2 events; there are {len(able)}.")
    fold = np.full(sequences.n_users, -1, dtype=np.int64)
    rng = np.random.default_rng(seed)
    fold[rng.permutation(able)] = np.arange(len(able)) % k
    single = np.flatnonzero((fold < 0) & (lengths > 0))
    fold[rng.permutation(single)] = np.arange(len(single)) % k
    splits = []
    for i in range(k):
        in_test, in_validation = fold == i, fold == (i + 1) % k
        train = sequences.select(np.repeat(~in_test & ~in_validation, lengths))
        asked, test = (
            _ask(sequences, user, sequences.offsets[user + 1] - 1)
            for user in (np.flatnonzero(part & (lengths >= 2)) for part in (in_validation, in_test))
        )
        splits.append(
            Split(
                sequences=sequences,
                train=train,
                validation=asked,
                test=test,
                full=sequences.select(np.repeat(~in_test, lengths)),
                protocol="users",
                cut_s=None,
                validation_cut_s=None,
                description=(
                    f"Fold {i + 1} of {k} over users: test asks unseen users for their last event; "
                    "training holds other users' later events."
                ),
                counts=_count(sequences, train, asked, test),
            )
        )
    return splits


def _check_options(
    quantile: float,
    targets: str,
    days: float,
    validation: str,
    validation_size: int | None,
    cold_users: str,
) -> None:
    if not 0.0 < quantile < 1.0:
        raise ConfigError(f"quantile must lie between 0 and 1, both excluded; got {quantile}.")
    _known("targets", targets, get_args(Targets))
    _known("validation", validation, get_args(Validation))
    _known("cold_users", cold_users, get_args(ColdUsers))
    if targets == "days" and not days > 0:
        raise ConfigError(f"days must be positive; got {days}.")
    if validation_size is not None and validation_size < 1:
        raise ConfigError(f"validation_size must be at least 1; got {validation_size}.")


def _known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be one of {known}; got '{value}'. {nearest(value, known)}")


def _when(moment_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(moment_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):  # a counter in place of a clock can run past the calendar
        return f"second {moment_s:g}"


def _cut(time_s: NDArray[np.float64], quantile: float) -> float:
    """The first event time after the quantile, or the last event time where there is none."""
    if len(time_s) == 0:
        raise TooLittleData("A temporal split needs events; there are none.")
    middle = float(np.quantile(time_s, quantile))
    later = time_s[time_s > middle]
    cut_s = float(later.min()) if len(later) else float(time_s.max())
    if not (time_s < cut_s).any():
        raise TooLittleData(
            f"A temporal split needs two moments; all {len(time_s)} events are at {_when(cut_s)}. "
            "Use leave-one-out, or give a time column."
        )
    return cut_s


def _ask(sequences: Sequences, user: NDArray[np.int64], row: NDArray[np.int64]) -> Queries:
    """One query a target row: everything of its user before it, at its own time."""
    return Queries(
        sequences=sequences,
        user_ix=np.asarray(user, dtype=np.int64),
        start=np.asarray(sequences.offsets[user]),
        stop=row,
        now_s=np.asarray(sequences.time_s[row]),
        target_offsets=np.arange(len(row) + 1, dtype=np.int64),
        target_item_ix=np.asarray(sequences.item_ix[row]),
        target_action_ix=np.asarray(sequences.action_ix[row]),
    )


def _no_queries(sequences: Sequences) -> Queries:
    none = np.zeros(0, dtype=np.int64)
    return _ask(sequences, none, none)


def _after(
    sequences: Sequences,
    n_before: NDArray[np.int64],
    cut_s: float,
    end_s: float,
    targets: Targets,
    days: float,
    cold_users: ColdUsers,
) -> tuple[Queries, int]:
    """The queries whose targets lie in [cut_s, end_s), and how many targets were left out as cold."""
    first = sequences.offsets[:-1] + n_before
    if targets == "days":
        end_s = min(end_s, cut_s + days * DAY_S)
    if np.isinf(end_s):
        until = np.asarray(sequences.offsets[1:])
    else:
        until = sequences.offsets[:-1] + sequences.select(np.asarray(sequences.time_s) < end_s).lengths
    if targets == "successive":
        row = ranges(first, until)
        user = np.repeat(np.arange(sequences.n_users), until - first)
    else:
        user = np.flatnonzero(until > first)
        row = until[user] - 1 if targets == "last" else first[user]
    if cold_users == "drop":
        kept = n_before[user] > 0
    elif cold_users == "with_history":
        kept = row > sequences.offsets[user]
    else:
        kept = np.ones(len(row), dtype=np.bool_)
    left_out = int((~kept).sum() if targets != "days" else (until - first)[user[~kept]].sum())
    user, row = user[kept], row[kept]
    if targets == "days":
        return _ask_window(sequences, user, first, until, cut_s), left_out
    return _ask(sequences, user, row), left_out


def _ask_window(
    sequences: Sequences,
    user: NDArray[np.int64],
    first: NDArray[np.int64],
    until: NDArray[np.int64],
    cut_s: float,
) -> Queries:
    """One query a user at the cut; its targets are the distinct items of rows first:until, as they came."""
    rows = ranges(first[user], until[user])
    query = np.repeat(np.arange(len(user)), until[user] - first[user])
    pair = query * len(sequences.items) + sequences.item_ix[rows]
    _, at = np.unique(pair, return_index=True)  # the first row of each pair: np.unique sorts stably
    at.sort()
    return Queries(
        sequences=sequences,
        user_ix=user,
        start=np.asarray(sequences.offsets[user]),
        stop=first[user],
        now_s=np.full(len(user), cut_s),
        target_offsets=np.concatenate(
            [np.zeros(1, np.int64), np.cumsum(np.bincount(query[at], minlength=len(user)))]
        ),
        target_item_ix=np.asarray(sequences.item_ix[rows[at]]),
        target_action_ix=np.asarray(sequences.action_ix[rows[at]]),
    )


def _hold_users(
    sequences: Sequences, full: Sequences, size: int | None, rng: np.random.Generator
) -> tuple[Sequences, Queries]:
    """Training without the held-out users, and the query for the last event before the cut of each."""
    lengths = full.lengths
    able = np.flatnonzero(lengths >= 2)
    wanted = min(MOST_VALIDATION_USERS, max(1, len(able) // 10)) if size is None else size
    if wanted >= len(able):
        raise TooLittleData(
            f"Holding out {wanted} users for validation needs more users with 2 events before the cut; "
            f"there are {len(able)}. Pass validation='last', or a smaller validation_size."
        )
    user = np.sort(rng.choice(able, size=wanted, replace=False))
    held = np.zeros(full.n_users, dtype=np.bool_)
    held[user] = True
    train = full.select(np.repeat(~held, lengths))
    return train, _ask(sequences, user, sequences.offsets[user] + lengths[user] - 1)


def _hold_last(sequences: Sequences, n_before: NDArray[np.int64]) -> tuple[Sequences, Queries]:
    """Training without each user's last event before the cut, and the queries for those events."""
    user = np.flatnonzero(n_before >= 2)
    if len(user) == 0:
        raise TooLittleData("Validation by last event needs a user with 2 events before the cut.")
    kept = n_before.copy()
    kept[user] -= 1
    rows = np.zeros(sequences.n_events, dtype=np.bool_)
    rows[ranges(sequences.offsets[:-1], sequences.offsets[:-1] + kept)] = True
    return sequences.select(rows), _ask(sequences, user, sequences.offsets[user] + kept[user])


def _sample(queries: Queries, size: int | None, rng: np.random.Generator) -> Queries:
    if size is None or size >= len(queries):
        return queries
    return queries[np.sort(rng.choice(len(queries), size=size, replace=False))]


def _count(sequences: Sequences, train: Sequences, validation: Queries, test: Queries) -> dict[str, int]:
    seen = np.zeros(len(sequences.items), dtype=np.bool_)
    seen[train.item_ix] = True
    return {
        "users": sequences.n_users,
        "events": sequences.n_events,
        "train_events": train.n_events,
        "train_users": int((train.lengths > 0).sum()),
        "validation_queries": len(validation),
        "test_queries": len(test),
        "test_users": len(np.unique(test.user_ix)),
        "test_targets": len(test.target_item_ix),
        "test_targets_unseen_in_train": int((~seen[test.target_item_ix]).sum()),
    }
