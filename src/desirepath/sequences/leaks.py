# SPDX-License-Identifier: Apache-2.0
"""Proves that nothing in a split looks into the future, or fails loudly.

It trusts nothing that `splits` says of itself: every check reads the packed rows. It knows no models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import LeakError
from desirepath.sequences.packed import Sequences
from desirepath.sequences.queries import Queries, ranges
from desirepath.sequences.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakReport:
    """What a passed leak check still has to say."""

    queries_before_training_ends: float
    """Share of test queries asked before the last training event: 0 for the temporal protocol."""
    later_training_events: float
    """Mean share of training events at or after the moment of a test query: the known leak of
    leave-one-out and of folds over users."""

    @property
    def sentence(self) -> str:
        """The report in one sentence, to be printed beside the figures."""
        if not self.queries_before_training_ends:
            return "No training event is as late as a test query."
        return (
            f"{self.queries_before_training_ends:.1%} of test queries are asked before training ends; "
            f"on average {self.later_training_events:.1%} of training events are from the future of a query."
        )


def check_leaks(split: Split) -> LeakReport:
    """The remaining, known leak of a split that is otherwise sound.

    Checks that no training row reaches the cut (temporal), that the last fit's rows do not either,
    and what `check_queries` checks, for validation and test against the rows trained on before them.

    Raises:
        LeakError: a check fails; the message names the row or query.
    """
    for name, rows in (("train", split.train), ("full", split.full)):
        if split.cut_s is not None:
            _before("training" if name == "train" else "last fit", rows, split.cut_s)
    if split.validation_cut_s is not None:
        _before("training", split.train, split.validation_cut_s)
    check_queries(split.train, split.validation, name="validation")
    check_queries(split.train, split.test, name="test")
    check_queries(split.full, split.test, name="test, after the last fit")
    return time_leak(split.train, split.test)


def check_queries(train: Sequences, queries: Queries, *, name: str = "test") -> None:
    """Nothing, if no query can see its own answer; else an error.

    Every history must lie within its user's rows, hold nothing later than `now_s`, and end before
    its targets; what is trained on of a user must be the beginning of that user's rows and end
    where the query's history ends or before.

    Cost: a few passes over the rows of `train` and the queries.

    Raises:
        LeakError: one of these does not hold.
    """
    rows = queries.sequences
    user, start, stop = queries.user_ix, queries.start, queries.stop
    _all(
        (start >= rows.offsets[user]) & (stop <= rows.offsets[user + 1]) & (start <= stop),
        f"The history of a {name} query must be rows of its own user",
    )
    if rows.n_events:
        latest_s = np.where(stop > start, rows.time_s[np.maximum(stop - 1, 0)], -np.inf)
        _all(latest_s <= queries.now_s, f"The history of a {name} query must not be later than its now_s")
    _all(_targets_follow(queries), f"The targets of a {name} query must come after its history")
    if train.n_users != rows.n_users:
        raise LeakError(
            f"Training and {name} queries must have the same users; {train.n_users} and {rows.n_users} came."
        )
    trained = train.lengths
    _all(
        rows.offsets[user] + trained[user] <= stop,
        f"Training must end where the history of a {name} query ends, or before",
    )
    asked = np.zeros(rows.n_users, dtype=np.bool_)
    asked[user] = True
    mine = np.flatnonzero(asked & (trained > 0))
    learned = ranges(train.offsets[mine], train.offsets[mine] + trained[mine])
    expected = ranges(rows.offsets[mine], rows.offsets[mine] + trained[mine])
    same = (train.item_ix[learned] == rows.item_ix[expected]) & (
        train.time_s[learned] == rows.time_s[expected]
    )
    _all(same, f"Training rows of users asked in {name} must be the beginning of their sequences")


def time_leak(train: Sequences, queries: Queries) -> LeakReport:
    """How far training reaches beyond the moments of the queries; nothing is raised."""
    if not train.n_events or not len(queries):
        return LeakReport(queries_before_training_ends=0.0, later_training_events=0.0)
    moments = np.sort(np.asarray(train.time_s))
    earlier = np.searchsorted(moments, queries.now_s, side="left")
    return LeakReport(
        queries_before_training_ends=float((earlier < len(moments)).mean()),
        later_training_events=float(1.0 - earlier.mean() / len(moments)),
    )


def _before(name: str, rows: Sequences, cut_s: float) -> None:
    late = np.flatnonzero(np.asarray(rows.time_s) >= cut_s)
    if len(late):
        raise LeakError(
            f"Rows of {name} must be earlier than the cut at {cut_s:.6f} s; {len(late)} are not, "
            f"the first is row {late[0]} at {rows.time_s[late[0]]:.6f} s. Select the rows anew."
        )


def _all(holds: NDArray[np.bool_], rule: str) -> None:
    if not holds.all():
        wrong = np.flatnonzero(~holds)
        raise LeakError(
            f"{rule}; {len(wrong)} of {len(holds)} break this, the first is number {wrong[0]}. "
            "Build the queries with desirepath.sequences.splits."
        )


def _targets_follow(queries: Queries) -> NDArray[np.bool_]:
    """(T,) whether each target is found among its user's rows from the end of the history on."""
    rows = queries.sequences
    query = np.repeat(np.arange(len(queries)), np.diff(queries.target_offsets))
    found = np.zeros(len(query), dtype=np.bool_)
    if not len(query) or not rows.n_events:
        return found
    user, stop = queries.user_ix[query], queries.stop[query]
    inside = stop < rows.offsets[user + 1]
    found[inside] = rows.item_ix[stop[inside]] == queries.target_item_ix[inside]
    # What is not the very next row is looked for further on: only window targets come here.
    rest = np.flatnonzero(~found)
    asked = np.unique(query[rest])
    end = rows.offsets[queries.user_ix[asked] + 1]
    later = ranges(queries.stop[asked], end)
    width = len(rows.items)
    held = np.repeat(asked, end - queries.stop[asked]) * width + rows.item_ix[later]
    found[rest] = np.isin(query[rest] * width + queries.target_item_ix[rest], held)
    return found
