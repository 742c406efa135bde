# SPDX-License-Identifier: Apache-2.0
"""What users did to items, one row a (user, item, kind): a view of the events, for clients that think so.

The events stay what they are, with order and repeats; this table is made from them when somebody reads it:
those of the packed log once, those of the live store whenever there are new ones. A row may also be set or
removed by hand; then the events before that moment count no more in it.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, and_, delete, func, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from desirepath.events.log import EventLog
from desirepath.live.compaction import packed_until
from desirepath.live.folding import (
    ALL,
    AT_ONCE,
    FOLDED,
    PARTS,
    Laying,
    collapsed,
    erase_erased,
    feedback,
    fold,
    mark,
    metadata,
    set_mark,
)
from desirepath.live.store import Busy, LiveStore, Row
from desirepath.live.tables import STORE_ID

LOOK_EVERY_S = 1.0
LATEST_S = 3600.0
"""Seconds after which events are taken in even if nobody reads; they must not leave the store before."""

Key = tuple[str, str, str]
"""user_id, item_id, kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRow:
    """All that a user did to an item in one way."""

    user_id: str
    item_id: str
    kind: str
    value: float = 0.0
    """Sum over the events."""
    time_us: int
    """The first, microseconds since 1970 UTC."""
    updated_us: int
    """The last."""
    comment: str | None = None
    labels: Any = None
    is_mark: bool = False
    """It was shown, or will be, rather than done."""

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.user_id, self.item_id, self.kind


class Feedback:
    """The view of one project's events."""

    def __init__(self, store: LiveStore, log: EventLog) -> None:
        """Make the table where there is none; the packed log is not laid out yet."""
        self._store, self._log = store, log
        self._laying = threading.Lock()
        self._n_new, self._folded_s = 0, time.monotonic()
        self._has_marks, self._looked_s = False, 0.0
        store.write(self._begin).result()
        self.is_laid_out = not self._waiting()

    def _begin(self, connection: Connection) -> None:
        """The table and its marks; parts that were packed from events that the table knows are done."""
        metadata.create_all(connection)
        erase_erased(connection)
        seq, parts = mark(connection, FOLDED), mark(connection, PARTS)
        if seq is None:
            # The log tells it, and not the mark of what is packed, which is set after the log has it.
            store_id = str(mark(connection, STORE_ID))
            set_mark(connection, FOLDED, packed_until(self._log.manifest, store_id))
        known = dict(parts or {})
        packed = _packed(self._log, str(mark(connection, STORE_ID)))
        for part in self._log.manifest.parts:
            span = packed.get(part.file.partition("/")[0])
            if part.file in known or seq is None or span is None:
                known.setdefault(part.file, 0)
            elif span[0] <= seq:
                known[part.file] = ALL
            else:  # packed before this table saw them; the live store may have removed them since
                known[part.file] = 0
                set_mark(connection, FOLDED, max(int(mark(connection, FOLDED)), span[1]))
        set_mark(connection, PARTS, known)

    def _waiting(self) -> dict[str, int]:
        """Parts of the packed log that the table does not know, and how far it knows them."""
        return {file: n for file, n in (self._store.mark(PARTS) or {}).items() if n != ALL}

    def lay_out(self) -> bool:
        """Put what the packed log has into the table, once; False where another thread is about it.

        Cost: one pass over the parts that the table does not know, about 50,000 rows a second; memory for
        one part.
        """
        if self.is_laid_out:
            return True
        if not self._laying.acquire(blocking=False):
            return False
        try:
            for file, done in self._waiting().items():
                rows = collapsed(pl.read_parquet(self._log.folder / file))
                for first in range(done, max(rows.height, 1), AT_ONCE):
                    self._store.write(Laying(rows, file, first)).result()
            self.is_laid_out = True
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
        """Take in what the live store has since the last time."""
        while self._store.write(lambda connection: fold(connection, AT_ONCE)).result():
            pass

    def put(self, rows: Sequence[FeedbackRow]) -> Future[None]:
        """Set rows as they are; the events before count in them no more."""
        unique = {row.key: row for row in rows}

        def work(connection: Connection) -> None:
            fold(connection)
            for row in unique.values():
                connection.execute(delete(feedback).where(_is(row.key)))
            if unique:
                connection.execute(feedback.insert(), [_values(row) for row in unique.values()])

        return self._store.write(work)

    def remove(self, user_id: str | None, item_id: str | None, kind: str | None = None) -> Future[int]:
        """Take away the rows of a user, an item or both, of one kind or all; how many there were."""

        def work(connection: Connection) -> int:
            fold(connection)
            chosen = and_(*_chosen(user_id, item_id, kind))
            n = connection.execute(select(func.count()).select_from(feedback).where(chosen)).scalar_one()
            gone = {"is_removed": True, "is_whole": True, "comment": None, "labels": None, "value": 0.0}
            connection.execute(update(feedback).where(chosen).values(**gone))
            return int(n)

        return self._store.write(work)

    def of(
        self, user_id: str | None = None, item_id: str | None = None, kind: str | None = None
    ) -> list[FeedbackRow]:
        """The rows of a user, an item or both, by moment and then by key."""
        chosen = select(feedback).where(*_chosen(user_id, item_id, kind))
        ordered = chosen.order_by(feedback.c.time_us, feedback.c.kind, feedback.c.user_id, feedback.c.item_id)
        return self._rows(ordered)

    def page(self, after: Key | None, n: int, kind: str | None = None) -> list[FeedbackRow]:
        """Up to n rows in the order of their keys, after one of them."""
        columns = [feedback.c.user_id, feedback.c.item_id, feedback.c.kind]
        chosen = select(feedback).where(*_chosen(None, None, kind))
        if after is not None:
            chosen = chosen.where(tuple_(*columns) > tuple_(*after))
        return self._rows(chosen.order_by(*columns).limit(n))

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
                *_chosen(user_id, None, None), feedback.c.is_mark, feedback.c.time_us <= now_us
            )
            return list(connection.execute(chosen).scalars())

        found: list[str] = self._store.read(work)
        return found

    def _rows(self, chosen: Any) -> list[FeedbackRow]:
        def work(connection: Connection) -> list[FeedbackRow]:
            return [
                FeedbackRow(
                    user_id=row.user_id,
                    item_id=row.item_id,
                    kind=row.kind,
                    value=row.value,
                    time_us=row.time_us,
                    updated_us=row.updated_us,
                    comment=row.comment,
                    labels=row.labels,
                    is_mark=row.is_mark,
                )
                for row in connection.execute(chosen)
            ]

        found: list[FeedbackRow] = self._store.read(work)
        return found


def _packed(log: EventLog, store_id: str) -> dict[str, tuple[int, int]]:
    """Folders of the log that were packed from a live store, and the first and last event of each."""
    found = {}
    for ingest in log.manifest.ingests:
        for told in ingest.fingerprints:
            span = re.fullmatch(rf"live:{re.escape(store_id)}:(\d+)-(\d+)", told)
            if span is not None:
                found[f"{ingest.number:06d}"] = (int(span[1]), int(span[2]))
    return found


def _chosen(user_id: str | None, item_id: str | None, kind: str | None) -> list[ColumnElement[bool]]:
    named = (("user_id", user_id), ("item_id", item_id), ("kind", kind))
    return [
        feedback.c.is_removed.is_(False),
        *(feedback.c[name] == value for name, value in named if value is not None),
    ]


def _is(key: Key) -> ColumnElement[bool]:
    return and_(feedback.c.user_id == key[0], feedback.c.item_id == key[1], feedback.c.kind == key[2])


def _values(row: FeedbackRow) -> dict[str, Any]:
    return {
        "user_id": row.user_id,
        "item_id": row.item_id,
        "kind": row.kind,
        "value": row.value,
        "time_us": row.time_us,
        "updated_us": row.updated_us,
        "comment": row.comment,
        "labels": row.labels,
        "is_mark": row.is_mark,
        "is_whole": True,
        "is_removed": False,
    }
