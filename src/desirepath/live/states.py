# SPDX-License-Identifier: Apache-2.0
"""What every user did until this moment, in memory: the log as it was packed, and each event since.

An event costs 22 bytes and no object: rows are chained backwards from a user's newest. Histories come out in
the order in which sequences are packed, by the same function. It knows indexes, not models.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.events.rows import order_rows
from desirepath.sequences import Sequences

FIRST_CAPACITY = 1 << 12
AT_ONCE = 20_000
NEVER_US = np.iinfo(np.int64).min


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

    def __init__(
        self,
        base: Sequences | None = None,
        *,
        item_ix: NDArray[np.int32] | None = None,
        action_ix: NDArray[np.int16] | None = None,
    ) -> None:
        """Begin with the packed log, which stays on disk.

        Args:
            base: the packed log.
            item_ix: the catalogue's index of each item of the log; None where the log's own hold.
            action_ix: likewise of each action.
        """
        self._base = base
        self._base_item, self._base_action = item_ix, action_ix
        self._n_base = 0 if base is None else len(base.users.ids)
        self._user: dict[str, int] = {}
        for first in range(0, self._n_base, AT_ONCE):
            # In pieces, so that threads that answer meanwhile wait for no more than one.
            assert base is not None
            ids = base.users.ids.slice(first, AT_ONCE).to_list()
            self._user.update(zip(ids, range(first, first + len(ids)), strict=True))
        self._head = np.full(max(self._n_base, FIRST_CAPACITY), -1, dtype=np.int64)
        self._erased: dict[int, int] = {}
        self._n = 0
        self._item = np.zeros(FIRST_CAPACITY, dtype=np.int32)
        self._action = np.zeros(FIRST_CAPACITY, dtype=np.int16)
        self._time = np.zeros(FIRST_CAPACITY, dtype=np.int64)
        self._previous = np.zeros(FIRST_CAPACITY, dtype=np.int64)
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
        columns = list(zip(*events, strict=True))
        if columns:
            self.extend(*columns)

    def extend(
        self,
        user_ids: Sequence[str],
        item_ix: Sequence[int] | NDArray[np.integer],
        action_ix: Sequence[int] | NDArray[np.integer],
        time_us: Sequence[int] | NDArray[np.integer],
    ) -> None:
        """Take in events as columns, in the order in which they were kept.

        Cost: one look into a dictionary an event.
        """
        n = len(user_ids)
        with self._lock:
            take, known = self._user.setdefault, self._user
            user = np.fromiter((take(name, len(known)) for name in user_ids), np.int64, n)
            self._head = _grown(self._head, len(known), -1)
            first, last = self._n, self._n + n
            self._item, self._action = _grown(self._item, last), _grown(self._action, last)
            self._time, self._previous = _grown(self._time, last), _grown(self._previous, last)
            self._item[first:last], self._action[first:last] = item_ix, action_ix
            self._time[first:last] = time_us
            _link(user, self._head, self._previous, first)
            self._n = last

    def erase(self, user_id: str, before_us: int | None = None) -> int:
        """Count nothing that a user did before a moment, whenever it comes; he may begin anew.

        Args:
            user_id: who; one who is not known yet is remembered as erased.
            before_us: the moment, microseconds since 1970 UTC; None for now, or just after the last event
                that is known of him, if a clock went ahead.

        Returns:
            The moment, to be kept and given again when states are made anew.
        """
        with self._lock:
            user = self._user.setdefault(user_id, len(self._user))
            self._head = _grown(self._head, len(self._user), -1)
            if before_us is None:
                before_us = 1 + max(time.time_ns() // 1000, self._last_us(user))
            self._erased[user] = max(before_us, self._erased.get(user, before_us))
            rows, _ = _walk(self._head[user : user + 1], self._previous)
            if not len(rows) or self._time[rows].max() < before_us:
                self._head[user] = -1
            return before_us

    def _last_us(self, user: int) -> int:
        rows, _ = _walk(self._head[user : user + 1], self._previous)
        last = int(self._time[rows].max(initial=0))
        if self._base is not None and user < self._n_base:
            stop = int(self._base.offsets[user + 1])
            if stop > self._base.offsets[user]:
                last = max(last, micros(self._base.time_s[stop - 1 : stop]).item())
        return last

    def become(self, other: UserStates) -> None:
        """Take over what another has, in one step; it must not be used any more."""
        with self._lock:
            vars(self).update({name: value for name, value in vars(other).items() if name != "_lock"})

    def histories(self, user_ids: Sequence[str | None]) -> Histories:
        """Everything these users did, in the order by time in which the log is packed; None did nothing."""
        with self._lock:
            users = np.array([self._user.get(u, -1) if u is not None else -1 for u in user_ids], np.int64)
            heads = np.where(users >= 0, self._head[np.maximum(users, 0)], -1)
            rows, owner = _walk(heads, self._previous)
            live = Live(owner, self._item[rows], self._action[rows], self._time[rows])
            base, n_base = self._base, self._n_base
            item_of, action_of = self._base_item, self._base_action
            erased = [self._erased.get(user, NEVER_US) for user in users.tolist()] if self._erased else None
        base_row = np.where(users < n_base, users, -1)
        return merged(base_row, Base(base, item_of, action_of), live, erased)


class Base(NamedTuple):
    """The packed log under some states."""

    sequences: Sequences | None
    item_ix: NDArray[np.int32] | None
    """The catalogue's index of each item of the log; None where the log's own hold."""
    action_ix: NDArray[np.int16] | None


class Live(NamedTuple):
    """Events since the log was packed, by user, each user's in the order in which they were kept."""

    owner: NDArray[np.int64]
    """(N,) which of the users that were asked for; never decreases."""
    item_ix: NDArray[np.int32]
    action_ix: NDArray[np.int16]
    time_us: NDArray[np.int64]


def merged(row: NDArray[np.int64], base: Base, live: Live, erased: Sequence[int] | None) -> Histories:
    """Whole histories, in the order by time in which the log is packed; tied times as they came.

    Args:
        row: (B,) each user's row in the packed log; -1 for none.
        base: the packed log.
        live: what they did since.
        erased: (B,) moments in microseconds before which nothing counts; None where nobody was erased.
    """
    log = base.sequences
    codes = (_code(base.item_ix), _code(base.action_ix))
    live = Live(*map(_read_only, live))
    if log is None:
        row, packed = np.full(len(row), -1), _NO_LOG
    else:
        packed = Packed(*map(_read_only, (log.offsets, log.item_ix, log.action_ix, log.time_s)))
    since = _NO_TIME if erased is None else np.array(erased, np.int64)
    offsets, item, action, time_us, is_in_order = _joined(row, packed, codes, live, since)
    if not is_in_order:
        order = order_rows(np.repeat(np.arange(len(row)), np.diff(offsets)), time_us)
        item, action, time_us = item[order], action[order], time_us[order]
    return Histories(offsets, item, action, time_us / 1e6)


class Packed(NamedTuple):
    """The arrays of a packed log; see `Sequences`."""

    offsets: NDArray[np.int64]
    item_ix: NDArray[np.int32]
    action_ix: NDArray[np.int16]
    time_s: NDArray[np.float64]


def _read_only(array: Any) -> NDArray[Any]:
    """A plain view: compiled code is then made once, whether or not the log is mapped from a file."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


_NO_LOG = Packed(*(_read_only(np.zeros(1, kind)) for kind in (np.int64, np.int32, np.int16, np.float64)))
_NO_TIME = np.zeros(0, np.int64)


def _code(of: NDArray[np.integer] | None) -> NDArray[np.int32]:
    return _read_only(np.zeros(0, np.int32) if of is None else of.astype(np.int32, copy=False))


@numba.njit(cache=True, nogil=True)
def _joined(row: Any, packed: Any, codes: Any, live: Any, since: Any) -> Any:
    """What the log has of each user, then what came since: offsets, items, actions, times in microseconds.

    The last that is returned says whether everybody's times ascend already. One compiled pass, for its
    thirty steps in NumPy take five times as long.

    Args:
        row: (B,) rows of the log; -1 for none.
        packed: the log.
        codes: the catalogue's index of each item and each action of the log; of length 0 where its own hold.
        live: see `Live`.
        since: (B,) earliest moments that count; of length 0 where all do.
    """
    item_of, action_of = codes
    most = len(live.owner)
    for b in range(len(row)):
        if row[b] >= 0:
            most += packed.offsets[row[b] + 1] - packed.offsets[row[b]]
    offsets = np.zeros(len(row) + 1, np.int64)
    item, action = np.empty(most, np.int32), np.empty(most, np.int16)
    time_us = np.empty(most, np.int64)
    n, next_live, is_in_order = 0, 0, True
    for b in range(len(row)):
        first = n
        earliest = since[b] if len(since) else NEVER_US
        if row[b] >= 0:
            for k in range(packed.offsets[row[b]], packed.offsets[row[b] + 1]):
                moment = np.int64(np.rint(packed.time_s[k] * 1e6))
                if moment >= earliest:
                    old_item, old_action = packed.item_ix[k], packed.action_ix[k]
                    item[n] = item_of[old_item] if len(item_of) else old_item
                    action[n] = action_of[old_action] if len(action_of) else old_action
                    time_us[n] = moment
                    n += 1
        while next_live < len(live.owner) and live.owner[next_live] == b:
            if live.time_us[next_live] >= earliest:
                item[n], action[n] = live.item_ix[next_live], live.action_ix[next_live]
                time_us[n] = live.time_us[next_live]
                n += 1
            next_live += 1
        for k in range(first + 1, n):
            is_in_order &= time_us[k] >= time_us[k - 1]
        offsets[b + 1] = n
    return offsets, item[:n], action[:n], time_us[:n], is_in_order


def micros(time_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Seconds as whole microseconds."""
    return np.rint(time_s * 1e6).astype(np.int64)


def _grown(array: NDArray[Any], n: int, fill: int = 0) -> NDArray[Any]:
    """The array with room for n; a quarter more than before where it must grow, in place if it can be."""
    old = len(array)
    if n > old:
        # Views of it must not live outside the lock: its memory may move.
        array.resize(max(n, old + old // 4), refcheck=False)
        if fill:
            array[old:] = fill
    return array


@numba.njit(cache=True, nogil=True)
def _link(user: Any, head: Any, previous: Any, first: Any) -> None:
    """Put rows first, first + 1 ... at the ends of their users' chains."""
    for k in range(len(user)):
        previous[first + k] = head[user[k]]
        head[user[k]] = first + k


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


def compile_kernels() -> None:
    """Compile what histories with late events take, so that no request waits for it."""
    states = UserStates()
    states.append([Event("late", 2, 2, 5), Event("late", 3, 2, 3)])
    states.histories(["late"])
