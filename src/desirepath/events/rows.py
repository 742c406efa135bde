# SPDX-License-Identifier: Apache-2.0
"""Coded events in memory, and the one order in which they are kept: by user, then time, then file.

It knows dense indexes only, neither outside ids nor files. The intake and the builder of the
sequences both order their rows here, so that tied times come out the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

SHORT = 48
"""Rows of a user up to which insertion beats merging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """N events as indexes, and whatever else they carry."""

    user_ix: NDArray[np.int32]
    """(N,) position of the user in the log's list of users."""
    item_ix: NDArray[np.int32]
    """(N,) position of the item in the log's list of items."""
    action_ix: NDArray[np.int16]
    """(N,) position of the action in the log's list of actions."""
    time_us: NDArray[np.int64]
    """(N,) microseconds since 1970 UTC."""
    extra: pl.DataFrame = field(default_factory=pl.DataFrame)
    """(N, ...) further columns; no columns at all where a log has only the required ones."""

    def __len__(self) -> int:
        return len(self.user_ix)

    def take(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> Rows:
        """The rows at these positions, or where a mask is true."""
        if chosen.dtype == np.bool_:
            chosen = np.flatnonzero(chosen)
        return Rows(
            user_ix=self.user_ix[chosen],
            item_ix=self.item_ix[chosen],
            action_ix=self.action_ix[chosen],
            time_us=self.time_us[chosen],
            extra=self.extra[chosen] if self.extra.width else self.extra,
        )

    def slice(self, start: int, stop: int) -> Rows:
        """The rows start:stop, without a copy."""
        return Rows(
            user_ix=self.user_ix[start:stop],
            item_ix=self.item_ix[start:stop],
            action_ix=self.action_ix[start:stop],
            time_us=self.time_us[start:stop],
            extra=self.extra[start:stop] if self.extra.width else self.extra,
        )

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        """Several pieces one after the other; a column that a piece lacks is null there."""
        return Rows(
            user_ix=np.concatenate([part.user_ix for part in parts]),
            item_ix=np.concatenate([part.item_ix for part in parts]),
            action_ix=np.concatenate([part.action_ix for part in parts]),
            time_us=np.concatenate([part.time_us for part in parts]),
            extra=stacked([(part.extra, len(part)) for part in parts]),
        )

    @staticmethod
    def none() -> Rows:
        """No rows at all."""
        return Rows(
            user_ix=np.zeros(0, np.int32),
            item_ix=np.zeros(0, np.int32),
            action_ix=np.zeros(0, np.int16),
            time_us=np.zeros(0, np.int64),
        )

    def ordered(self) -> Rows:
        """The rows by user, then time; rows with the same user and time keep their order.

        Cost: a counting sort over users, then a pass over each user; rows that lie in order of time
        are only checked.
        """
        if not len(self) or is_ordered(self.user_ix, self.time_us):
            return self
        return self.take(order_rows(self.user_ix, self.time_us))


def stacked(frames: Sequence[tuple[pl.DataFrame, int]]) -> pl.DataFrame:
    """Tables one below the other, each with its number of rows; a column that one lacks is null there.

    A table without columns knows no rows of its own, which is why they are given.
    """
    schema = next((frame.schema for frame, _ in frames if frame.width), None)
    if schema is None:
        return pl.DataFrame()
    whole = [frame if frame.width else _nulls(schema, n) for frame, n in frames]
    return pl.concat(whole, how="diagonal", rechunk=True)


def _nulls(schema: pl.Schema, n: int) -> pl.DataFrame:
    return pl.select(pl.repeat(None, n, dtype=dtype).alias(name) for name, dtype in schema.items())


def order_rows(user_ix: NDArray[np.integer], time: NDArray[np.integer | np.floating]) -> NDArray[np.int64]:
    """The positions that put rows in the order by user, then time, then file.

    Shapes: (N,) and (N,) to (N,).     Cost: O(N + users spanned), plus sorting where times go back.

    >>> order_rows(np.array([1, 0, 1, 1]), np.array([5, 9, 3, 5])).tolist()
    [1, 2, 0, 3]
    """
    if not len(user_ix):
        return np.zeros(0, np.int64)
    first = int(user_ix.min())
    order: NDArray[np.int64] = _order(user_ix, time, first, int(user_ix.max()) - first + 1)
    return order


def user_offsets(user_ix: NDArray[np.integer]) -> NDArray[np.int64]:
    """(S + 1,) where each stretch of one user begins in rows that lie by user.

    >>> user_offsets(np.array([4, 4, 7])).tolist()
    [0, 2, 3]
    """
    if not len(user_ix):
        return np.zeros(1, np.int64)
    starts = np.flatnonzero(np.diff(user_ix)) + 1
    return np.concatenate([[0], starts, [len(user_ix)]]).astype(np.int64)


@numba.njit(nogil=True, cache=True)
def is_ordered(user_ix, time):  # type: ignore[no-untyped-def]
    """Whether rows lie by user, then time, already."""
    for row in range(1, len(user_ix)):
        if user_ix[row] < user_ix[row - 1] or (
            user_ix[row] == user_ix[row - 1] and time[row] < time[row - 1]
        ):
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _order(user_ix, time, first, n_users):  # type: ignore[no-untyped-def]
    ends = np.zeros(n_users + 1, np.int64)
    for row in range(len(user_ix)):
        ends[user_ix[row] - first + 1] += 1
    for user in range(n_users):
        ends[user + 1] += ends[user]
    order = np.empty(len(user_ix), np.int64)
    for row in range(len(user_ix)):
        user = user_ix[row] - first
        order[ends[user]] = row
        ends[user] += 1
    start = 0
    for user in range(n_users):
        stop = ends[user]
        for place in range(start + 1, stop):
            if time[order[place]] < time[order[place - 1]]:
                _sort_stretch(order, time, start, stop)
                break
        start = stop
    return order


@numba.njit(nogil=True, cache=True)
def _sort_stretch(order, time, start, stop):  # type: ignore[no-untyped-def]
    """Sort order[start:stop] by time, stably."""
    if stop - start > SHORT:
        rows = order[start:stop].copy()
        order[start:stop] = rows[np.argsort(time[rows], kind="mergesort")]
        return
    for place in range(start + 1, stop):
        row = order[place]
        moment = time[row]
        back = place
        while back > start and time[order[back - 1]] > moment:
            order[back] = order[back - 1]
            back -= 1
        order[back] = row
