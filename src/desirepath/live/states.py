# SPDX-License-Identifier: Apache-2.0
"""What every user did until this moment, in memory: the log as it was packed, and each event since.

An event costs 22 bytes and no object: rows are chained backwards from a user's newest. Histories come out in
the order in which sequences are packed, by the same function. It knows indexes, not models.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.events.rows import is_ordered, order_rows
from desirepath.sequences import Sequences
from desirepath.sequences.queries import ranges

FIRST_CAPACITY = 1 << 12


class Event(NamedTuple):
    """One event in the codes of the live side."""

    user_id: str
    item_ix: int
    action_ix: int
    time_us: int


class Histories(NamedTuple):
    """The events of B users, one after the other, each oldest first."""

    offsets: NDArray[np.int64]
    """(B + 1,)"""
    item_ix: NDArray[np.int32]
    """(N,) index into the catalogue."""
    action_ix: NDArray[np.int16]
    time_s: NDArray[np.float64]


class UserStates:
    """All users' histories; appended to by one thread, read by any."""

    def __init__(self, base: Sequences | None = None) -> None:
        """Begin with the packed log, which stays on disk; its items are the first of the catalogue."""
        self._base = base
        ids = base.users.ids.to_list() if base is not None else []
        self._user: dict[str, int] = {name: ix for ix, name in enumerate(ids)}
        self._n_base = len(ids)
        self._head = np.full(max(len(ids), FIRST_CAPACITY), -1, dtype=np.int64)
        self._erased: set[int] = set()
        self._n = 0
        self._item = np.empty(FIRST_CAPACITY, dtype=np.int32)
        self._action = np.empty(FIRST_CAPACITY, dtype=np.int16)
        self._time = np.empty(FIRST_CAPACITY, dtype=np.int64)
        self._previous = np.empty(FIRST_CAPACITY, dtype=np.int64)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Users that are known."""
        return len(self._user)

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._user

    @property
    def n_live(self) -> int:
        """Events since the log was packed."""
        return self._n

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays in memory, the packed log on disk and the dictionary of users left out."""
        return sum(a.nbytes for a in (self._head, self._item, self._action, self._time, self._previous))

    def user_ids(self) -> Iterable[str]:
        """All users, in the order in which they were first seen."""
        return self._user.keys()

    def append(self, events: Iterable[Event]) -> None:
        """Take in events, in the order in which they were kept."""
        with self._lock:
            for user_id, item_ix, action_ix, time_us in events:
                user = self._user.setdefault(user_id, len(self._user))
                if user >= len(self._head):
                    self._head = _grown(self._head, -1)
                row = self._n
                if row == len(self._item):
                    self._item, self._action = _grown(self._item), _grown(self._action)
                    self._time, self._previous = _grown(self._time), _grown(self._previous)
                self._item[row], self._action[row], self._time[row] = item_ix, action_ix, time_us
                self._previous[row] = self._head[user]
                self._head[user] = row
                self._n = row + 1

    def erase(self, user_id: str) -> None:
        """Forget what a user did; he may begin anew."""
        with self._lock:
            user = self._user.get(user_id)
            if user is not None:
                self._head[user] = -1
                self._erased.add(user)

    def histories(self, user_ids: Sequence[str | None]) -> Histories:
        """Everything these users did, in the order by time in which the log is packed; None did nothing."""
        n = len(user_ids)
        with self._lock:
            users = np.array([self._user.get(u, -1) if u is not None else -1 for u in user_ids], np.int64)
            heads = np.where(users >= 0, self._head[np.maximum(users, 0)], -1)
            rows, owner = _walk(heads, self._previous)
            item, action, time_us = self._item[rows], self._action[rows], self._time[rows]
        based = [0 <= user < self._n_base and user not in self._erased for user in users.tolist()]
        if self._base is not None and any(based):
            of_base = np.where(based, users, 0)
            start = np.asarray(self._base.offsets[of_base])
            stop = np.where(based, self._base.offsets[of_base + 1], start)
            old = ranges(start, stop)
            owner = np.concatenate([np.repeat(np.arange(n), stop - start), owner])
            item = np.concatenate([self._base.item_ix[old], item])
            action = np.concatenate([self._base.action_ix[old], action])
            old_us = np.rint(self._base.time_s[old] * 1e6).astype(np.int64)
            time_us = np.concatenate([old_us, time_us])
        if not is_ordered(owner, time_us):
            order = order_rows(owner, time_us)
            owner, item, action, time_us = owner[order], item[order], action[order], time_us[order]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owner, minlength=n))])
        return Histories(offsets, item, action, time_us / 1e6)


def _grown(array: NDArray[Any], fill: int = 0) -> NDArray[Any]:
    """Twice as large an array with the same beginning."""
    larger = np.full(2 * len(array), fill, dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@numba.njit(cache=True, nogil=True)
def _walk(heads: Any, previous: Any) -> Any:
    """Rows of each chain, oldest first, one chain after the other, and whose each is."""
    n = 0
    for head in heads:
        while head >= 0:
            n += 1
            head = previous[head]
    rows, owner = np.empty(n, np.int64), np.empty(n, np.int64)
    first = 0
    for user, head in enumerate(heads):
        length = 0
        row = head
        while row >= 0:
            length += 1
            row = previous[row]
        row = head
        for place in range(first + length - 1, first - 1, -1):
            rows[place], owner[place] = row, user
            row = previous[row]
        first += length
    return rows, owner
