# SPDX-License-Identifier: Apache-2.0
"""The durable store: what was acknowledged survives, and what comes twice counts once.

One thread writes. It takes all writes that wait, commits them together, tells its listener what was
kept, and only then lets their callers know; so an answer that follows an acknowledgement knows the event.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, Select, Table, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from desirepath.errors import DesirepathError, WorkspaceError
from desirepath.live.database import WAIT_S, open_database, told, writing
from desirepath.live.refusals import Refusals
from desirepath.live.tables import STORE_ID, events, marks

Row = dict[str, Any]
MOST_WAITING = 50_000
"""Rows that may wait to be written; more are refused, so that nothing waits without end."""
MOST_AT_ONCE = 20_000
"""Rows in one commit."""
READ_AT_ONCE = 20_000
"""Rows of a large answer that are objects at once."""
SETTLE_MS = 250
"""How long writers may be held up to cut the log of changes."""


class Busy(DesirepathError):
    """The store has more to write than it can take; nothing was kept, and the caller may try again."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of some events."""

    fresh: list[Row]
    """Kept now, in the order in which they came, each with its `seq`."""
    known: list[str]
    """Ids of events that were kept before, or came twice in one batch, or are of before an erasure."""


@dataclass(slots=True)
class _Write:
    rows: Sequence[Row]
    """Events to keep; empty where `work` is something else."""
    work: Callable[[Connection], Any] | None
    alone: bool
    done: Future[Any]
    table: Table | None = None
    """Where `rows` belong; None for the table of events."""
    then: Callable[[Any], None] | None = None
    """What is done with the result of `work` once it is on disk."""

    @property
    def weight(self) -> int:
        return max(1, len(self.rows))


class LiveStore:
    """Events, items, users, served lists and marks in one database.

    Reading is done on connections of the caller's thread; writing only through `keep` and `write`. Several
    processes may have one store open: their commits take turns, so that the numbers of events (`seq`) become
    visible in rising order, and who reads on from the last number he saw misses none.
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
            url: such as "sqlite:////var/shop/live.db" or "postgresql://host/shop".
            most_waiting: rows that may wait to be written.
            on_kept: called in the writing thread with the fresh rows of a commit, before their writers know.

        Raises:
            ConfigError: the URL names neither an SQLite file nor PostgreSQL.
            WorkspaceError: it cannot be opened, or a newer version of Desirepath wrote it.
        """
        self.engine = open_database(url)
        self.url = make_url(self.engine.url)
        self._writing = writing(self.engine)
        self.on_kept = on_kept
        self._most_waiting = most_waiting
        self._n_waiting = 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._closed = False
        self.store_id: str = self.mark(STORE_ID)
        self.refusals = Refusals()
        self.read(self.refusals.follow)
        self._thread = threading.Thread(target=self._run, name="live-store", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Rows that wait to be written."""
        return self._n_waiting

    @property
    def is_alive(self) -> bool:
        """Whether what is handed in will be written."""
        return self._thread.is_alive() and not self._closed

    def keep(self, rows: Sequence[Row]) -> Future[Kept]:
        """Keep events; the future ends once they are on disk.

        Args:
            rows: one mapping an event, with the columns of `tables.events` but `seq`.

        Raises:
            Busy: too much waits already; nothing of `rows` is kept.
        """
        return self._put(_Write(rows, None, False, Future()))

    def write(
        self,
        work: Callable[[Connection], Any],
        *,
        alone: bool = False,
        then: Callable[[Any], None] | None = None,
    ) -> Future[Any]:
        """Do something else in the writing thread, in a savepoint of its own; the future has its result.

        Args:
            work: called once, or again where a commit failed as a whole and is tried piece by piece; it
                changes the database and nothing else.
            then: is given the result once it is on disk, before anybody else knows and before what was
                handed in later: the place to change memory. Of a commit that failed it hears nothing.
            alone: in a commit of its own, after everything before it and before everything after it; without
                it, events that wait at the same moment may be kept before, whichever came first.

        Raises:
            Busy: too much waits already.
        """
        return self._put(_Write((), work, alone, Future(), then=then))

    def add(self, table: Table, rows: Sequence[Row]) -> Future[None]:
        """Insert rows of another table, in one statement with those that others add at the time.

        Raises:
            Busy: too much waits already.
        """
        return self._put(_Write(rows, None, False, Future(), table))

    def read(self, work: Callable[[Connection], Any]) -> Any:
        """The result of `work` on a connection for reading, in this thread."""
        try:
            with self.engine.connect() as connection:
                return work(connection)
        except DBAPIError as error:
            raise told(error, self.engine) from error

    def table(self, chosen: Select[Any], schema: Mapping[str, Any]) -> pl.DataFrame:
        """The rows of a query as a table, a few thousand at a time.

        Args:
            chosen: what is read.
            schema: its columns, in their order, and their types.
        """

        def work(connection: Connection) -> pl.DataFrame:
            # An option of the statement: one of the connection would outlive it.
            found = connection.execute(chosen.execution_options(yield_per=READ_AT_ONCE))
            parts = [
                pl.DataFrame([tuple(row) for row in part], schema=schema, orient="row")
                for part in found.partitions()
            ]
            return pl.concat(parts) if parts else pl.DataFrame(schema=schema)

        table: pl.DataFrame = self.read(work)
        return table

    def mark(self, name: str) -> Any:
        """The value of a mark; None where it was never set."""
        return self.read(
            lambda connection: connection.execute(select(marks.c.value).where(marks.c.name == name)).scalar()
        )

    def events_after(self, seq: int, n: int = 10_000) -> list[Row]:
        """Up to n events with greater numbers, of whichever process, in the order of their numbers."""

        def work(connection: Connection) -> list[Row]:
            chosen = select(events).where(events.c.seq > seq).order_by(events.c.seq).limit(n)
            return [dict(row) for row in connection.execute(chosen).mappings()]

        rows: list[Row] = self.read(work)
        return rows

    def settle(self) -> bool:
        """See that what was deleted is in no file of an SQLite store any more; whether it is so.

        Rows are overwritten as they are deleted; the log of changes (WAL) that still holds them is put into
        the file and cut. While somebody reads what was there before, it is not done; ask again later.
        PostgreSQL removes them by its own vacuum.
        """
        if self.engine.dialect.name != "sqlite":
            return True
        with self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            try:
                # New writers wait while it waits for readers: not for long.
                raw.execute(f"PRAGMA busy_timeout={SETTLE_MS}")
                busy, *_ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                raw.execute(f"PRAGMA busy_timeout={round(1000 * WAIT_S)}")
        return not busy

    def close(self) -> None:
        """Write what waits, and end."""
        with self._lock:
            was_closed, self._closed = self._closed, True
        if not was_closed:
            self._queue.put(None)
            self._thread.join()
            self.engine.dispose()

    def _put(self, write: _Write) -> Future[Any]:
        with self._lock:
            if self._closed:
                raise WorkspaceError("The live store is closed; nothing can be written any more.")
            if self._n_waiting and self._n_waiting + write.weight > self._most_waiting:
                raise Busy(
                    f"At most {self._most_waiting} events may wait to be written; {self._n_waiting} do. "
                    "Send them again in a moment, with the same event_id."
                )
            self._n_waiting += write.weight
            self._queue.put(write)  # under the lock, so that nothing comes after the end
        return write.done

    def _run(self) -> None:
        held: _Write | None = None
        while True:
            first = self._queue.get() if held is None else held
            if first is None:
                return
            group, held, ends = [first], None, False
            n = first.weight
            while n < MOST_AT_ONCE and not first.alone:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    ends = True
                    break
                if following.alone:
                    held = following
                    break
                group.append(following)
                n += following.weight
            self._commit(group)
            with self._lock:
                self._n_waiting -= n
            if ends:
                return

    def _commit(self, group: list[_Write]) -> None:
        """Write a group in one transaction; where that fails, each write in one of its own."""
        try:
            results = self._results(group)
        except Exception as error:
            if len(group) == 1:
                known = told(error, self.engine) if isinstance(error, DBAPIError) else error
                group[0].done.set_exception(known)
                return
            # What one of them brought may be what the database refuses.
            for write in group:
                self._commit([write])
            return
        fresh = [row for result in results if isinstance(result, Kept) for row in result.fresh]
        if fresh and self.on_kept is not None:
            fresh.sort(key=lambda row: row["seq"])
            try:
                self.on_kept(fresh)
            except Exception as error:
                # On disk, but not in memory: those who wait must not take it for known.
                results = [_Failed(error) if isinstance(r, Kept) and r.fresh else r for r in results]
        for write, result in zip(group, results, strict=True):
            if write.then is not None and not isinstance(result, _Failed):
                try:
                    write.then(result)
                except Exception as error:
                    result = _Failed(error)
            if isinstance(result, _Failed):
                write.done.set_exception(result.error)
            else:
                write.done.set_result(result)

    def _results(self, group: list[_Write]) -> list[Any]:
        with self._writing.begin() as connection:
            seqs = self._insert(
                connection, [row for write in group if write.table is None for row in write.rows]
            )
            for table in {write.table for write in group if write.table is not None}:
                rows = [row for write in group if write.table is table for row in write.rows]
                connection.execute(table.insert(), rows)
            return [self._result(connection, write, seqs) for write in group]

    def _result(self, connection: Connection, write: _Write, seqs: dict[str, int]) -> Any:
        if write.table is not None:
            return None
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
        savepoint = connection.begin_nested()
        try:
            result = write.work(connection)
        except Exception as error:
            savepoint.rollback()
            return _Failed(error)
        savepoint.commit()
        return result

    def _insert(self, connection: Connection, rows: list[Row]) -> dict[str, int]:
        """Insert what is new; event id to number."""
        if not rows:
            return {}
        dialect = {"sqlite": sqlite, "postgresql": postgresql}[connection.dialect.name]
        unique: dict[str, Row] = {}
        for row in self.refusals.kept(rows):
            unique.setdefault(row["event_id"], row)
        statement = dialect.insert(events).on_conflict_do_nothing(index_elements=["event_id"])
        if not unique:
            return {}
        statement = statement.returning(events.c.event_id, events.c.seq)
        return {event_id: seq for event_id, seq in connection.execute(statement, list(unique.values()))}


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


def now_us() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000
