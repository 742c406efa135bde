# SPDX-License-Identifier: Apache-2.0
"""The durable store: what was acknowledged survives, and what comes twice counts once.

One thread writes. It takes all writes that wait, commits them together, tells its listener what was
kept, and only then lets their callers know; so an answer that follows an acknowledgement knows the event.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from desirepath.errors import DataError, DesirepathError
from desirepath.live.tables import events, metadata

Row = dict[str, Any]
MOST_WAITING = 50_000
"""Rows that may wait to be written; more are refused, so that nothing waits without end."""
MOST_AT_ONCE = 20_000
"""Rows in one commit."""


class Busy(DesirepathError):
    """The store has more to write than it can take; nothing was kept, and the caller may try again."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of some events."""

    fresh: list[Row]
    """Kept now, in the order in which they came, each with its `seq`."""
    known: list[str]
    """Ids of events that were kept before, or came twice in one batch."""


@dataclass(slots=True)
class _Write:
    rows: Sequence[Row]
    """Events to keep; empty where `work` is something else."""
    work: Callable[[Connection], Any] | None
    done: Future[Any]


class LiveStore:
    """Events, items, users, served lists and marks in one database.

    Reading is done on connections of the caller's thread; writing only through `keep` and `write`.
    """

    def __init__(
        self,
        url: str,
        *,
        most_waiting: int = MOST_WAITING,
        on_kept: Callable[[list[Row]], None] | None = None,
    ) -> None:
        """Open the database at `url`, and bring its tables to this version.

        Args:
            url: such as "sqlite:////var/shop/live.db" or "postgresql+psycopg://host/shop".
            most_waiting: rows that may wait to be written.
            on_kept: called in the writing thread with the fresh rows of a commit, before their writers know.
        """
        self.url = make_url(url)
        self.engine = _engine(url)
        self.on_kept = on_kept
        self._most_waiting = most_waiting
        self._n_waiting = 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._closed = False
        metadata.create_all(self.engine)
        self._thread = threading.Thread(target=self._run, name="live-store", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Rows that wait to be written."""
        return self._n_waiting

    def keep(self, rows: Sequence[Row]) -> Future[Kept]:
        """Keep events; the future ends once they are on disk.

        Args:
            rows: one mapping an event, with the columns of `tables.events` but `seq`.

        Raises:
            Busy: too much waits already; nothing of `rows` is kept.
        """
        with self._lock:
            if self._n_waiting + len(rows) > self._most_waiting:
                raise Busy(
                    f"At most {self._most_waiting} events may wait to be written; {self._n_waiting} do. "
                    "Send them again in a moment, with the same event_id."
                )
            self._n_waiting += len(rows)
        return self._put(_Write(rows, None, Future()))

    def write(self, work: Callable[[Connection], Any]) -> Future[Any]:
        """Do something else in the writing thread, in a savepoint of its own; the future has its result."""
        return self._put(_Write((), work, Future()))

    def read(self, work: Callable[[Connection], Any]) -> Any:
        """The result of `work` on a connection for reading, in this thread."""
        with self.engine.connect() as connection:
            return work(connection)

    def close(self) -> None:
        """Write what waits, and end."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            self.engine.dispose()

    def _put(self, write: _Write) -> Future[Any]:
        if self._closed:
            raise DataError("The live store is closed; nothing can be written any more.")
        self._queue.put(write)
        return write.done

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group, ends = [first], False
            n = len(first.rows)
            while n < MOST_AT_ONCE:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    ends = True
                    break
                group.append(following)
                n += len(following.rows)
            self._commit(group)
            with self._lock:
                self._n_waiting -= n
            if ends:
                return

    def _commit(self, group: list[_Write]) -> None:
        """Write a group in one transaction; an error of the database itself fails them all."""
        try:
            with self.engine.begin() as connection:
                kept = self._insert(connection, [row for write in group for row in write.rows])
                results = [self._result(connection, write, kept) for write in group]
        except Exception as error:
            for write in group:
                write.done.set_exception(error)
            return
        fresh = [row for result in results if isinstance(result, Kept) for row in result.fresh]
        try:
            if fresh and self.on_kept is not None:
                self.on_kept(fresh)
        finally:
            for write, result in zip(group, results, strict=True):
                if isinstance(result, _Failed):
                    write.done.set_exception(result.error)
                else:
                    write.done.set_result(result)

    def _result(self, connection: Connection, write: _Write, seqs: dict[str, int]) -> Any:
        if write.work is None:
            fresh, known = [], []
            for row in write.rows:
                # The first of several events with one id is the one that was kept.
                seq = seqs.pop(row["event_id"], None)
                if seq is None:
                    known.append(row["event_id"])
                else:
                    fresh.append({**row, "seq": seq})
            return Kept(fresh, known)
        try:
            with connection.begin_nested():
                return write.work(connection)
        except Exception as error:
            return _Failed(error)

    def _insert(self, connection: Connection, rows: list[Row]) -> dict[str, int]:
        """Insert what is new; event id to number."""
        if not rows:
            return {}
        dialect = {"sqlite": sqlite, "postgresql": postgresql}[connection.dialect.name]
        unique = list({row["event_id"]: row for row in reversed(rows)}.values())[::-1]
        statement = dialect.insert(events).on_conflict_do_nothing(index_elements=["event_id"])
        found = connection.execute(statement.returning(events.c.event_id, events.c.seq), unique)
        return {event_id: seq for event_id, seq in found}


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise DataError(
            f"The live store must be SQLite or PostgreSQL; got '{kind}'. Give a URL that begins with "
            "sqlite:/// or postgresql+psycopg://."
        )
    try:
        if kind == "postgresql":
            return create_engine(url, pool_pre_ping=True)
        memory = parsed.database in (None, "", ":memory:")
        engine = create_engine(
            url,
            connect_args={"check_same_thread": False, "timeout": 30.0},
            **({"poolclass": StaticPool} if memory else {}),
        )
    except OperationalError as error:
        raise DataError(f"The live store at {parsed!r} cannot be opened: {error.orig}.") from error

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so, savepoints included
        connection.execute("PRAGMA journal_mode=WAL")
        # Every commit is on disk before it is acknowledged, whatever happens to the machine.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA busy_timeout=30000")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def now_us() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000
