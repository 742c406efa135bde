# SPDX-License-Identifier: Apache-2.0
"""What users did to items, one row a (user, item, kind): a view of the events, for clients that think so.

The events stay what they are, with order and repeats. What the packed log has is read from a ledger of it,
what came since from a table of the live store; a row may also be set or removed by hand, and then the events
before that moment count no more in it.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import Column, Connection, CursorResult, delete, func, select, tuple_

from desirepath.events.erasure import origin
from desirepath.events.log import EventLog
from desirepath.events.manifest import NAME
from desirepath.live.compaction import packed_until
from desirepath.live.folding import (
    AT_ONCE,
    FOLDED,
    PARTS,
    by_bytes,
    feedback,
    fold,
    gone_items,
    mark,
    metadata,
    set_mark,
)
from desirepath.live.laying import is_laid_out, lay_out
from desirepath.live.ledger import FeedbackRow, Key, Ledger
from desirepath.live.states import NEVER_US
from desirepath.live.store import Busy, LiveStore, Row
from desirepath.live.tables import STORE_ID, events, users
from desirepath.workspace import stamp

LOOK_EVERY_S = 1.0
LATEST_S = 3600.0
"""Seconds after which events are taken in even if nobody reads; they must not leave the store before."""
ASKED_AT_ONCE = 10_000
"""Ids in one question to the database."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A row of the table, and what it says of the packed log."""

    row: FeedbackRow
    is_whole: bool
    is_removed: bool


class Feedback:
    """The view of one project's events."""

    def __init__(self, store: LiveStore, log: EventLog) -> None:
        """Make the table where there is none; the packed log is not laid out yet."""
        self._store, self._log = store, log
        self._looking, self._laying = threading.Lock(), threading.Lock()
        self._n_new, self._folded_s = 0, time.monotonic()
        self._has_marks, self._looked_s = False, 0.0
        self._stamp: tuple[int, int] | None = None
        self._ledger: Ledger | None = None
        self.is_laid_out = False
        """Whether all that the packed log says can be read."""
        self._stand_on(log)

    def _stand_on(self, log: EventLog) -> None:
        """Bring table and marks up to a log, and read from its ledger if that is on disk."""
        unread = self._store.write(lambda connection: _begin(connection, log)).result()
        self._ground = log, unread
        self.is_laid_out = is_laid_out(log, unread)
        if self.is_laid_out:
            self._ledger = Ledger(lay_out(log, unread))

    def follow(self) -> None:
        """Stand on the log as it is now, where that has changed: packed, ingested into, or rid of users.

        Cost: a look at a file's date; what is new to the ledger must be laid out again.
        """
        with self._looking:
            log, _ = self._ground
            now = stamp(log.folder / NAME)
            if now != self._stamp:
                self._stand_on(EventLog(log.folder))
                self._stamp = now

    def lay_out(self) -> bool:
        """Make what the packed log has readable; False where another thread is about it.

        Cost: nothing where an earlier start left it on disk; else a pass over the log (`laying.lay_out`).
        """
        if self.is_laid_out:
            return True
        if not self._laying.acquire(blocking=False):
            return False
        try:
            while not self.is_laid_out:
                ground = log, unread = self._ground
                ledger = Ledger(lay_out(log, unread))
                with self._looking:
                    if ground is self._ground:  # else the log has changed meanwhile
                        self._ledger, self.is_laid_out = ledger, True
        finally:
            self._laying.release()
        return True

    def heed(self, rows: Sequence[Row]) -> None:
        """Count new events, and take them in now and then; for `Project.listeners`."""
        self._n_new += len(rows)
        if self._n_new >= AT_ONCE or time.monotonic() - self._folded_s > LATEST_S:
            try:
                self._store.write(lambda connection: fold(connection, 2 * AT_ONCE))
            except Busy:
                return  # the next ones ask again
            self._n_new, self._folded_s = 0, time.monotonic()

    def catch_up(self) -> None:
        """Take in what the log and the live store have since the last time."""
        self.follow()

        def is_behind(connection: Connection) -> bool:
            last = connection.execute(select(func.max(events.c.seq))).scalar() or 0
            return int(last) > int(mark(connection, FOLDED))

        while self._store.read(is_behind):
            self._store.write(lambda connection: fold(connection, AT_ONCE)).result()

    def put(self, rows: Sequence[FeedbackRow]) -> Future[None]:
        """Set rows as they are; the events before count in them no more."""
        unique = {row.key: row for row in rows}

        def work(connection: Connection) -> None:
            fold(connection)
            _replace(connection, unique.values(), is_removed=False)

        return self._store.write(work)

    def remove(self, user_id: str, item_id: str, kind: str | None = None) -> Future[int]:
        """Take away the rows of a user and an item, of one kind or all; how many there were."""

        def work(connection: Connection) -> int:
            fold(connection)
            rows = self._found(connection, (user_id, item_id, kind))
            _replace(connection, [_emptied(row) for row in rows], is_removed=True)
            return len(rows)

        return self._store.write(work)

    def remove_item(self, item_id: str) -> Future[None]:
        """Take away all that was done to an item until now."""

        def work(connection: Connection) -> None:
            fold(connection)
            connection.execute(delete(feedback).where(feedback.c.item_id == item_id))
            connection.execute(delete(gone_items).where(gone_items.c.item_id == item_id))
            connection.execute(gone_items.insert().values(item_id=item_id))

        return self._store.write(work)

    def of(
        self, user_id: str | None = None, item_id: str | None = None, kind: str | None = None
    ) -> list[FeedbackRow]:
        """The rows of a user, an item or both, by moment and then by key."""
        rows: list[FeedbackRow] = self._store.read(
            lambda connection: self._found(connection, (user_id, item_id, kind))
        )
        return sorted(rows, key=lambda row: (row.time_us, row.kind, row.user_id, row.item_id))

    def page(self, after: Key | None, n: int, kind: str | None = None) -> list[FeedbackRow]:
        """Up to n rows in the order of their keys, after one of them."""

        def work(connection: Connection) -> list[FeedbackRow]:
            found: list[FeedbackRow] = []
            at = after
            while len(found) < n:
                rows, at = self._next(connection, at, n, kind)
                found += rows
                if at is None:
                    break
            return found[:n]

        rows: list[FeedbackRow] = self._store.read(work)
        return rows

    def _found(
        self, connection: Connection, asked: tuple[str | None, str | None, str | None]
    ) -> list[FeedbackRow]:
        """All rows that a user, an item and a kind choose."""
        names = ("user_id", "item_id", "kind")
        chosen = [
            feedback.c[name] == value for name, value in zip(names, asked, strict=True) if value is not None
        ]
        ledger = self._readable()
        return _merged(
            _standing(connection, ledger.rows(ledger.of(*asked))),
            _held(connection.execute(select(feedback).where(*chosen))),
        )

    def _next(
        self, connection: Connection, after: Key | None, n: int, kind: str | None
    ) -> tuple[list[FeedbackRow], Key | None]:
        """Some rows after a key, and the key up to which these are all; None at the end."""
        dialect = connection.dialect.name
        columns = [by_bytes(feedback.c[name], dialect) for name in ("user_id", "item_id", "kind")]
        chosen = select(feedback).order_by(*columns).limit(n)
        if kind is not None:
            chosen = chosen.where(feedback.c.kind == kind)
        if after is not None:
            chosen = chosen.where(tuple_(*columns) > tuple_(*after))
        table = _held(connection.execute(chosen))
        ledger = self._readable()
        packed = ledger.rows(ledger.after(after, n, kind))
        ends = [rows[-1].key for rows in (packed, [one.row for one in table]) if len(rows) == n]
        until = min(ends, default=None)
        if until is not None:
            packed = [row for row in packed if row.key <= until]
            table = [one for one in table if one.row.key <= until]
        rows = _merged(_standing(connection, packed), table)
        return sorted(rows, key=lambda row: row.key), until

    def _readable(self) -> Ledger:
        assert self._ledger is not None, "lay_out comes first"
        return self._ledger

    def may_have_marks(self) -> bool:
        """Whether it is worth asking for marks; those of another process are noticed within a second."""
        return self._has_marks or time.monotonic() - self._looked_s > LOOK_EVERY_S

    def expect_marks(self) -> None:
        """Look for marks from now on."""
        self._has_marks = True

    def marked(self, user_id: str, now_us: int) -> list[str]:
        """Items that were marked as shown to a user, until a moment."""

        def work(connection: Connection) -> list[str]:
            if not self._has_marks:
                self._looked_s = time.monotonic()
                if connection.execute(select(feedback.c.user_id).where(feedback.c.is_mark).limit(1)).first():
                    self._has_marks = True
            if not self._has_marks:
                return []
            chosen = select(feedback.c.item_id).where(
                feedback.c.user_id == user_id,
                feedback.c.is_mark,
                feedback.c.is_removed.is_(False),
                feedback.c.time_us <= now_us,
            )
            return list(connection.execute(chosen).scalars())

        found: list[str] = self._store.read(work)
        return found


def _begin(connection: Connection, log: EventLog) -> set[str]:
    """Make the table and bring its marks up to the log; the parts whose events are not in the table."""
    metadata.create_all(connection)
    store_id = str(mark(connection, STORE_ID))
    seq, said = mark(connection, FOLDED), mark(connection, PARTS) or {}
    known = {origin(file): bool(is_in) for file, is_in in said.items()}
    if seq is None:
        # The log tells it, and not the mark of what is packed, which is set after the log has it.
        set_mark(connection, FOLDED, packed_until(log.manifest, store_id))
    packed = _packed(log, store_id)
    for file in [origin(part.file) for part in log.manifest.parts]:
        span = packed.get(file.partition("/")[0])
        if file in known or seq is None or span is None:
            known.setdefault(file, False)
        elif span[0] <= seq:
            known[file] = True
        else:  # packed before this table saw them; the live store may have removed them since
            known[file] = False
            set_mark(connection, FOLDED, max(int(mark(connection, FOLDED)), span[1]))
    set_mark(connection, PARTS, known)
    return {part.file for part in log.manifest.parts if not known[origin(part.file)]}


def _packed(log: EventLog, store_id: str) -> dict[str, tuple[int, int]]:
    """Folders of the log that were packed from a live store, and the first and last event of each."""
    found = {}
    for ingest in log.manifest.ingests:
        for told in ingest.fingerprints:
            span = re.fullmatch(rf"live:{re.escape(store_id)}:(\d+)-(\d+)", told)
            if span is not None:
                found[f"{ingest.number:06d}"] = (int(span[1]), int(span[2]))
    return found


def _held(found: CursorResult[Any]) -> list[_Held]:
    names = [field.name for field in fields(FeedbackRow)]
    return [
        _Held(FeedbackRow(**{name: row[name] for name in names}), row["is_whole"], row["is_removed"])
        for row in found.mappings()
    ]


def _merged(packed: Iterable[FeedbackRow], table: Iterable[_Held]) -> list[FeedbackRow]:
    """What the packed log and the table say together."""
    held = {one.row.key: one for one in table}
    found = []
    for row in packed:
        later = held.get(row.key)
        if later is None:
            found.append(row)
        elif not later.is_whole:
            held[row.key] = replace(later, row=_added(row, later.row))
    return found + [one.row for one in held.values() if not one.is_removed]


def _added(row: FeedbackRow, later: FeedbackRow) -> FeedbackRow:
    return replace(
        later,
        value=row.value + later.value,
        time_us=min(row.time_us, later.time_us),
        updated_us=max(row.updated_us, later.updated_us),
        is_mark=False,
    )


def _standing(connection: Connection, rows: list[FeedbackRow]) -> list[FeedbackRow]:
    """Rows of the packed log without those of erased users and removed items."""
    erased = _asked(connection, {row.user_id for row in rows}, (users.c.user_id, users.c.erased_us))
    gone = _asked(connection, {row.item_id for row in rows}, (gone_items.c.item_id, gone_items.c.item_id))
    return [
        row for row in rows if row.time_us >= erased.get(row.user_id, NEVER_US) and row.item_id not in gone
    ]


def _asked(connection: Connection, names: set[str], columns: tuple[Column[Any], Column[Any]]) -> Any:
    """What a table says of some names, where it says something: name to value."""
    name, value = columns
    listed, told = sorted(names), {}
    for first in range(0, len(listed), ASKED_AT_ONCE):
        some = name.in_(listed[first : first + ASKED_AT_ONCE])
        found = connection.execute(select(name, value).where(some, value.is_not(None)))
        told.update({row[0]: row[1] for row in found})
    return told


def _emptied(row: FeedbackRow) -> FeedbackRow:
    return replace(row, value=0.0, comment=None, labels=None)


def _replace(connection: Connection, rows: Iterable[FeedbackRow], *, is_removed: bool) -> None:
    """Put rows into the table that stand for all that came before."""
    values = [asdict(row) | {"is_whole": True, "is_removed": is_removed} for row in rows]
    for row in values:
        same = [feedback.c[name] == row[name] for name in ("user_id", "item_id", "kind")]
        connection.execute(delete(feedback).where(*same))
    if values:
        connection.execute(feedback.insert(), values)
