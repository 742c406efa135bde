# SPDX-License-Identifier: Apache-2.0
"""User states shared by several server processes: the packed log in each, what came since in Redis.

Redis is a copy of the end of the store and never the truth: it is filled from the store in the order of its
numbers, each event once, by whichever process comes first, and made again where it was emptied.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray
from sqlalchemy import select

from desirepath.errors import ConfigError, WorkspaceError
from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.replay import erasures
from desirepath.live.states import NEVER_US, Base, Event, Histories, Live, merged, micros
from desirepath.live.store import LiveStore
from desirepath.live.tables import events
from desirepath.sequences import Sequences

Take = Callable[[str], int]
PUSHED_AT_ONCE = 1000
LEASE_S = 10.0
"""How long who fills Redis may be silent before another takes over."""
WAIT_S = 300.0
"""How long others wait for it to be filled."""

EVENT = np.dtype([("seq", "<i8"), ("time_us", "<i8"), ("item", "<i4"), ("action", "<i2")])
"""One event in Redis; items and actions by the number in the list of names that all processes share."""

# Adds events if the end is where the caller thinks it is, gives numbers to names that are new, and moves the
# end: all or nothing, so that of several processes with the same events one adds them. Answers 1 when done,
# 0 when another was there first, -1 when nothing is there.
_PUSH = """
local p, at = ARGV[1], redis.call('HGET', ARGV[1] .. 'meta', 'seq')
if not at then return -1 end
if at ~= ARGV[2] then return 0 end
local known = {items = {}, actions = {}}
local function number(kind, name)
  local n = known[kind][name] or redis.call('HGET', p .. kind .. ':numbers', name)
  if not n then
    n = redis.call('RPUSH', p .. kind .. ':names', name) - 1
    redis.call('HSET', p .. kind .. ':numbers', name, n)
  end
  known[kind][name] = tonumber(n)
  return known[kind][name]
end
for i = 4, #ARGV, 6 do
  local item, action = number('items', ARGV[i + 1]), number('actions', ARGV[i + 2])
  local packed = struct.pack('<i8i8i4i2', tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), item, action)
  redis.call('APPEND', p .. 'of:' .. ARGV[i], packed)
  if ARGV[i + 5] == '1' then redis.call('SADD', p .. 'new', ARGV[i]) end
end
redis.call('HSET', p .. 'meta', 'seq', ARGV[3])
redis.call('HINCRBY', p .. 'meta', 'n', (#ARGV - 3) / 6)
return 1
"""
# Takes the events up to a number from the front of some users' events.
_TRIM = """
local p, until_seq, size, gone = ARGV[1], tonumber(ARGV[2]), struct.size('<i8i8i4i2'), 0
for i = 3, #ARGV do
  local key = p .. 'of:' .. ARGV[i]
  local all = redis.call('GET', key) or ''
  local first = 1
  while first < #all and struct.unpack('<i8', all, first) <= until_seq do first = first + size end
  gone = gone + (first - 1) / size
  if first > #all then redis.call('DEL', key)
  elseif first > 1 then redis.call('SET', key, string.sub(all, first)) end
end
if gone > 0 then redis.call('HINCRBY', p .. 'meta', 'n', -gone) end
return gone
"""
# Takes what some users did before a moment each, and the moments too: nobody needs them any more.
_LET_GO = """
local p, size, gone = ARGV[1], struct.size('<i8i8i4i2'), 0
for i = 2, #ARGV, 2 do
  local key, kept = p .. 'of:' .. ARGV[i], {}
  local all = redis.call('GET', key) or ''
  for first = 1, #all, size do
    local _, moment = struct.unpack('<i8i8', all, first)
    if moment >= tonumber(ARGV[i + 1]) then kept[#kept + 1] = string.sub(all, first, first + size - 1)
    else gone = gone + 1 end
  end
  if #kept > 0 then redis.call('SET', key, table.concat(kept))
  else redis.call('DEL', key) redis.call('SREM', p .. 'new', ARGV[i]) end
  redis.call('HDEL', p .. 'erased', ARGV[i])
end
if gone > 0 then redis.call('HINCRBY', p .. 'meta', 'n', -gone) end
return gone
"""


class _Names:
    """The catalogue's indexes of the names that all processes share, as far as they were read."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self.ix = np.zeros(0, np.int64)

    def learn(self, first: int, names: Sequence[bytes]) -> None:
        """Take in the names from a number on; those that another thread took in already are passed by."""
        names = names[len(self.ix) - first :]
        if names:
            fresh = np.array([self._take(name.decode()) for name in names], np.int64)
            self.ix = np.concatenate([self.ix, fresh])


class SharedStates:
    """All users' histories, over all processes that share a store and a Redis server.

    It reads as `UserStates` does. What any process acknowledged is in the next history that any one reads.
    """

    def __init__(
        self,
        url: str,
        store: LiveStore,
        base: tuple[Sequences, int] | None,
        item: Take,
        action: Take,
    ) -> None:
        """Join the processes of this store, and fill Redis if nobody has.

        Args:
            url: of the Redis server, such as "redis://127.0.0.1:6379/0".
            store: where events are kept.
            base: the packed log, and the last event of the store that it has; None where nothing is packed.
            item: the catalogue's index of an item, given now where it is new; called by any thread.
            action: likewise of an action.

        Raises:
            ConfigError: the URL is none of a Redis server, or the server drops what it has when it is full.
            WorkspaceError: the server cannot be reached.
        """
        self._store, self._item, self._action = store, item, action
        self._prefix = f"desirepath:{{{store.store_id}}}:"  # braces: on one node of a cluster
        try:
            self._redis: Any = redis.Redis.from_url(url, socket_timeout=30.0)
        except ValueError:
            raise ConfigError("Redis must have a URL such as redis://127.0.0.1:6379/0.") from None
        self._push = self._redis.register_script(_PUSH)
        self._trim = self._redis.register_script(_TRIM)
        self._let_go = self._redis.register_script(_LET_GO)
        self._leaving: set[bytes] = set()
        self._names: tuple[bytes, _Names, _Names] = (b"", _Names(item), _Names(action))
        self._lock = threading.Lock()
        self._ground = (Base(None, None, None), 0)
        with self._reached():
            self._refuse_eviction()
        if base is not None:
            self.stand_on(*base)
        self.sync()

    def stand_on(self, base: Sequences, until: int) -> None:
        """Read from a newly packed log from now on; histories stay as they are.

        What the log before this one had already leaves Redis: every process has had the time between two
        packings to change to that one. A process that still stands on an older one is refused from then on.

        Args:
            base: the packed log, which may number items and actions as it likes.
            until: the last event of the store that it has, from `packed_until`.
        """
        item_ix = np.array([0, 1, *map(self._item, base.items.ids.to_list())], np.int32)
        action_ix = np.array([0, 1, *map(self._action, base.actions.ids.to_list())], np.int16)
        base.users.index("")  # makes its dictionary here rather than in a request
        before = self._ground[1]
        self._ground = (Base(base, item_ix, action_ix), until)
        if 0 < before < until:
            self.trim(before)
        self._let_go_of_erased()

    def _let_go_of_erased(self) -> None:
        """Take from Redis who left all files by the packing before this one; see `stand_on`."""
        waiting = {user_id.encode() for user_id in dict(self._store.read(erasures))}
        with self._reached():
            gone = {
                name: int(before)
                for name, before in self._redis.hscan_iter(self._prefix + "erased", count=1000)
                if name not in waiting
            }
            leaves = [part for name in gone.keys() & self._leaving for part in (name, gone[name])]
            if leaves:
                self._let_go(args=[self._prefix, *leaves])
        self._leaving = gone.keys() - self._leaving

    def __len__(self) -> int:
        """Users that are known."""
        with self._reached():
            new = int(self._redis.scard(self._prefix + "new"))
        return new + (0 if self._log is None else self._log.n_users)

    def __contains__(self, user_id: object) -> bool:
        if not isinstance(user_id, str):
            return False
        if self._row(user_id) >= 0:
            return True
        with self._reached():
            return bool(self._redis.exists(self._events(user_id)))

    @property
    def n_live(self) -> int:
        """Events in Redis."""
        with self._reached():
            return int(self._redis.hget(self._prefix + "meta", "n") or 0)

    @property
    def n_bytes(self) -> int:
        """Bytes of the events in Redis, its own overhead left out."""
        return self.n_live * EVENT.itemsize

    def user_ids(self) -> Iterator[str]:
        """All users: those of the packed log in its order, then those who came since in none."""
        if self._log is not None:
            yield from self._log.users.ids.to_list()
        with self._reached():
            for name in self._redis.sscan_iter(self._prefix + "new", count=1000):
                yield name.decode()

    def append(self, events: Iterable[Event]) -> None:
        """Bring Redis up to the store, where these events are; they themselves need not be looked at."""
        self.sync()

    def sync(self) -> None:
        """Bring Redis up to the store; what was acknowledged before this call is there after it."""
        with self._reached():
            while True:
                seq = self._meta()
                if seq is None:
                    self._fill()
                elif not self._push_after(seq):
                    return

    def erase(self, user_id: str, before_us: int | None = None) -> int:
        """Count nothing that a user did before a moment, whenever it comes, in all processes.

        Args:
            user_id: who.
            before_us: the moment; None for now, or just after the last event that is known of him.

        Returns:
            The moment, to be kept in the store.
        """
        if before_us is None:
            known = self.histories([user_id])
            before_us = 1 + max(time.time_ns() // 1000, int(micros(known.time_s).max(initial=0)))
        with self._reached():
            self._redis.hset(self._prefix + "erased", user_id, before_us)
        return before_us

    def trim(self, until: int) -> int:
        """Drop events that every process has in its packed log by now; how many they were.

        A process that stands on an older log is refused from then on.
        """
        gone = 0
        with self._reached():
            self._redis.hset(self._prefix + "meta", "first", until)
            start = len(self._prefix) + len("of:")
            batch: list[bytes] = []
            for key in self._redis.scan_iter(self._events("*"), count=1000):
                batch.append(key[start:])
                if len(batch) == PUSHED_AT_ONCE:
                    gone += int(self._trim(args=[self._prefix, until, *batch]))
                    batch = []
            if batch:
                gone += int(self._trim(args=[self._prefix, until, *batch]))
            for name in self._redis.sscan_iter(self._prefix + "new", count=1000):
                if self._row(name.decode()) >= 0:
                    self._redis.srem(self._prefix + "new", name)
        return gone

    def close(self) -> None:
        """Leave the server."""
        self._redis.close()

    def histories(self, user_ids: Sequence[str | None]) -> Histories:
        """Everything these users did, in the order by time in which the log is packed; None did nothing.

        Cost: one round trip to the server for all of them.
        """
        with self._reached():
            while True:
                found = self._read(user_ids)
                if found is not None:
                    break
                self.sync()
        base, until, tails, cuts, items, actions = found
        counts = np.array([len(tail) // EVENT.itemsize for tail in tails], np.int64)
        rows = np.frombuffer(b"".join(tails), EVENT)
        owner = np.repeat(np.arange(len(user_ids)), counts)
        if len(rows):
            fresh = rows["seq"] > until
            rows, owner = rows[fresh], owner[fresh]
        live = Live(
            owner,
            items[rows["item"]].astype(np.int32),
            actions[rows["action"]].astype(np.int16),
            rows["time_us"].astype(np.int64),
        )
        log = base.sequences
        row = np.array([-1 if u is None or log is None else self._row(u, log) for u in user_ids], np.int64)
        erased = [NEVER_US if cut is None else int(cut) for cut in cuts]
        return merged(row, base, live, erased)

    def _read(
        self, user_ids: Sequence[str | None]
    ) -> tuple[Base, int, list[bytes], list[bytes | None], NDArray[np.int64], NDArray[np.int64]] | None:
        """What Redis has of these users; None where it was emptied."""
        base, until = self._ground
        generation, items, actions = self._names
        n_items, n_actions = len(items.ix), len(actions.ix)
        asked = [user for user in user_ids if user is not None]
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(self._prefix + "meta", "generation", "ready", "first")
        for user in asked:
            pipe.get(self._events(user))
        if asked:
            pipe.hmget(self._prefix + "erased", asked)
        # After the events, so that it has the names of all of them.
        pipe.lrange(self._prefix + "items:names", n_items, -1)
        pipe.lrange(self._prefix + "actions:names", n_actions, -1)
        meta, *answers = pipe.execute()
        if meta[0] is None or meta[1] is None:
            return None
        if until < int(meta[2]):
            raise WorkspaceError(
                f"The packed log must go to event {int(meta[2])} of the store at least, where shared states "
                f"begin; it goes to {until}. Open the workspace again."
            )
        if meta[0] != generation:
            self._names = (meta[0], _Names(self._item), _Names(self._action))
            return self._read(user_ids)
        with self._lock:
            items.learn(n_items, answers[-2])
            actions.learn(n_actions, answers[-1])
        tails = iter(answers[: len(asked)])
        cuts = iter(answers[len(asked)] if asked else ())
        return (
            base,
            until,
            [b"" if user is None else next(tails) or b"" for user in user_ids],
            [None if user is None else next(cuts) for user in user_ids],
            items.ix,
            actions.ix,
        )

    def _push_after(self, seq: int) -> bool:
        """Add the next events of the store; whether there were any."""
        columns = [events.c.user_id, events.c.item_id, events.c.action, events.c.seq, events.c.time_us]
        chosen = select(*columns).where(events.c.seq > seq).order_by(events.c.seq).limit(PUSHED_AT_ONCE)
        rows = self._store.read(lambda connection: connection.execute(chosen).all())
        if rows:
            given: list[Any] = [self._prefix, seq, rows[-1].seq]
            for user_id, item_id, action, number, time_us in rows:
                if action not in NOT_BEHAVIOUR:
                    given += (user_id, item_id, action, number, time_us, int(self._row(user_id) < 0))
            self._push(args=given)  # where another was first, or Redis was emptied, the next look tells
        return bool(rows)

    def _meta(self) -> int | None:
        """The last event in Redis; None where it must be filled first."""
        seq, ready = self._redis.hmget(self._prefix + "meta", "seq", "ready")
        return None if seq is None or ready is None else int(seq)

    def _fill(self) -> None:
        """Make Redis from the store, or wait while another does."""
        mine, lease = uuid.uuid4().hex, self._prefix + "lease"
        ends = time.monotonic() + WAIT_S
        while not self._redis.set(lease, mine, nx=True, px=round(LEASE_S * 1000)):
            if self._meta() is not None:
                return
            if time.monotonic() > ends:
                raise WorkspaceError("Another process has been filling Redis for too long. Stop it.")
            time.sleep(0.02)
        if self._meta() is None:
            rest = [key for key in self._redis.scan_iter(self._prefix + "*", count=1000)]
            rest.remove(lease.encode())
            for first in range(0, len(rest), PUSHED_AT_ONCE):
                self._redis.unlink(*rest[first : first + PUSHED_AT_ONCE])
            seq = self._ground[1]
            meta = {"generation": mine, "first": seq, "seq": seq}
            erased = dict(self._store.read(erasures))
            if erased:
                self._redis.hset(self._prefix + "erased", mapping=erased)
            self._redis.hset(self._prefix + "meta", mapping=meta)
            while self._push_after(seq):
                seq = int(self._redis.hget(self._prefix + "meta", "seq") or 0)
                self._redis.pexpire(lease, round(LEASE_S * 1000))
            self._redis.hset(self._prefix + "meta", "ready", 1)
        self._redis.delete(lease)

    def _row(self, user_id: str, log: Sequences | None = None) -> int:
        log = log or self._log
        row = None if log is None else log.users.index(user_id)
        return -1 if row is None else row

    @property
    def _log(self) -> Sequences | None:
        return self._ground[0].sequences

    def _events(self, user_id: str) -> str:
        return f"{self._prefix}of:{user_id}"

    def _refuse_eviction(self) -> None:
        try:
            policy = self._redis.config_get("maxmemory-policy").get("maxmemory-policy", "")
        except redis.ResponseError:  # hosted servers often keep their settings to themselves
            return
        if str(policy).startswith("allkeys"):
            raise ConfigError(
                f"Redis must not drop what it has when it is full; its maxmemory-policy is '{policy}'. Set "
                "noeviction, or a volatile one."
            )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise WorkspaceError(
                f"The Redis server of shared states must answer; it did not ({type(error).__name__}). "
                "Events that were acknowledged are in the store; start the server again."
            ) from error
