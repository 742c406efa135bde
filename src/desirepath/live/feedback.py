# SPDX-License-Identifier: Apache-2.0
"""What users did to items, one row a (kind, user, item): a view of the events, for clients that think so.

The events stay what they are, with order and repeats; this table is made from them when somebody reads it:
those of the packed log once, those of the live store whenever there are new ones. A row may also be set or
removed by hand; then the events before that moment count no more in it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    MetaData,
    String,
    Table,
    Text,
    and_,
    case,
    delete,
    false,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement

from desirepath.events.log import EventLog
from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.store import LiveStore
from desirepath.live.tables import ID_LENGTH, PACKED, STORE_ID, events, marks, users
from desirepath.schema import ACTION, ITEM, TIME, USER, VALUE

FOLDED = "feedback_seq"
"""Mark of the last live event that the table knows."""
PARTS = "feedback_parts"
"""Mark of the parts of the packed log: how many rows of each are in the table, ALL when all are."""
ALL = -1
AT_ONCE = 10_000
"""Events or rows of one write, so that events that come in need not wait long."""
KIND, REPEAT = "feedback_type", "feedback_repeat"
"""Keys of an event's further values: the kind that stands in the view, and whether it is left out there."""

metadata = MetaData()

feedback = Table(
    "feedback",
    metadata,
    Column("user_id", String(ID_LENGTH), primary_key=True),
    Column("item_id", String(ID_LENGTH), primary_key=True),
    Column("kind", String(128), primary_key=True),
    Column("value", Float, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("comment", Text),
    Column("labels", JSON),
    Column("is_mark", Boolean, nullable=False),
    Column("is_whole", Boolean, nullable=False),
    Column("is_removed", Boolean, nullable=False),
    Index("feedback_by_item", "item_id"),
    Index("feedback_by_kind", "kind", "user_id", "item_id"),
)
"""`is_mark`: it was shown, not done. `is_whole`: older events no longer count in it."""

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
        store.write(self._begin).result()
        self.is_laid_out = not self._waiting()

    def _begin(self, connection: Connection) -> None:
        """The table and its marks; parts that were packed from events that the table knows are done."""
        metadata.create_all(connection)
        gone = select(users.c.user_id).where(
            users.c.user_id == feedback.c.user_id, feedback.c.time_us < users.c.erased_us
        )
        connection.execute(delete(feedback).where(gone.exists()))
        seq, parts = _mark(connection, FOLDED), _mark(connection, PARTS)
        if seq is None:
            _set(connection, FOLDED, int(_mark(connection, PACKED) or 0))
        known = dict(parts or {})
        packed = _packed(self._log, str(_mark(connection, STORE_ID)))
        for part in self._log.manifest.parts:
            span = packed.get(part.file.partition("/")[0])
            if part.file in known or seq is None or span is None:
                known.setdefault(part.file, 0)
            elif span[0] <= seq:
                known[part.file] = ALL
            else:  # packed before this table saw them; the live store may have removed them since
                known[part.file] = 0
                _set(connection, FOLDED, max(int(_mark(connection, FOLDED)), span[1]))
        _set(connection, PARTS, known)

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
                rows = _collapsed(pl.read_parquet(self._log.folder / file))
                for first in range(done, max(rows.height, 1), AT_ONCE):
                    self._store.write(_Laying(rows, file, first)).result()
            self.is_laid_out = True
        finally:
            self._laying.release()
        return True

    def catch_up(self) -> None:
        """Take in what the live store has since the last time."""
        while self._store.write(lambda connection: _fold(connection, AT_ONCE)).result():
            pass

    def put(self, rows: Sequence[FeedbackRow]) -> Future[None]:
        """Set rows as they are; the events before count in them no more."""
        unique = {row.key: row for row in rows}

        def work(connection: Connection) -> None:
            _fold(connection)
            for row in unique.values():
                connection.execute(delete(feedback).where(_is(row.key)))
            if unique:
                connection.execute(feedback.insert(), [_values(row) for row in unique.values()])

        return self._store.write(work)

    def remove(self, user_id: str | None, item_id: str | None, kind: str | None = None) -> Future[int]:
        """Take away the rows of a user, an item or both, of one kind or all; how many there were."""

        def work(connection: Connection) -> int:
            _fold(connection)
            chosen = and_(*_chosen(user_id, item_id, kind))
            n = connection.execute(select(func.count()).select_from(feedback).where(chosen)).scalar_one()
            gone = {"is_removed": True, "is_whole": True, "comment": None, "labels": None, "value": 0.0}
            connection.execute(update(feedback).where(chosen).values(**gone))
            return int(n)

        return self._store.write(work)

    def erase(self, user_id: str) -> Future[None]:
        """Forget a user, so that nothing of him stays on disk."""

        def work(connection: Connection) -> None:
            _fold(connection)
            connection.execute(delete(feedback).where(feedback.c.user_id == user_id))

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

    def marked(self, user_id: str, now_us: int) -> list[str]:
        """Items that were marked as shown to a user, until a moment."""

        def work(connection: Connection) -> list[str]:
            chosen = select(feedback.c.item_id).where(
                *_chosen(user_id, None, None), feedback.c.is_mark.is_(True), feedback.c.time_us <= now_us
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
        for mark in ingest.fingerprints:
            span = re.fullmatch(rf"live:{re.escape(store_id)}:(\d+)-(\d+)", mark)
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


def _mark(connection: Connection, name: str) -> Any:
    return connection.execute(select(marks.c.value).where(marks.c.name == name)).scalar()


def _set(connection: Connection, name: str, value: Any) -> None:
    if not connection.execute(marks.update().where(marks.c.name == name).values(value=value)).rowcount:
        connection.execute(marks.insert().values(name=name, value=value))


def _insert(connection: Connection) -> Any:
    dialect = {"sqlite": sqlite, "postgresql": postgresql}[connection.dialect.name]
    return dialect.insert(feedback)


def _fold(connection: Connection, most: int | None = None) -> bool:
    """Take in the live events after the mark, `most` at once; whether there are more."""
    seq = int(_mark(connection, FOLDED) or 0)
    last = int(connection.execute(select(func.max(events.c.seq))).scalar() or 0)
    stop = last if most is None else min(last, seq + most)
    if stop <= seq:
        return False
    kind = events.c.more[KIND].as_string()
    named = func.coalesce(kind, events.c.action)
    is_seen = case((kind.is_not(None), 1), else_=0)
    grouped = (
        select(
            events.c.user_id,
            events.c.item_id,
            named.label("kind"),
            func.sum(func.coalesce(events.c.value, 0.0)).label("value"),
            func.min(events.c.time_us).label("time_us"),
            func.max(events.c.time_us).label("updated_us"),
            func.max(events.c.seq).label("last"),
            func.min(is_seen).label("is_mark"),
        )
        .where(
            events.c.seq > seq,
            events.c.seq <= stop,
            events.c.more[REPEAT].as_string().is_(None),
            or_(kind.is_not(None), events.c.action.not_in(NOT_BEHAVIOUR)),
        )
        .group_by(events.c.user_id, events.c.item_id, named)
        .subquery()
    )
    latest = events.alias("latest")
    source = select(
        grouped.c.user_id,
        grouped.c.item_id,
        grouped.c.kind,
        grouped.c.value,
        grouped.c.time_us,
        grouped.c.updated_us,
        latest.c.more["comment"].as_string(),
        latest.c.more["labels"],
        grouped.c.is_mark == 1,
        false(),
        false(),
    ).join_from(grouped, latest, latest.c.seq == grouped.c.last)
    names = [column.name for column in feedback.columns]
    statement = _insert(connection).from_select(names, source.where(latest.c.seq > seq))
    new, old = statement.excluded, feedback.c
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id", "item_id", "kind"],
            set_={
                "value": case((old.is_removed, new.value), else_=old.value + new.value),
                "time_us": case(
                    (or_(old.is_removed, new.time_us < old.time_us), new.time_us), else_=old.time_us
                ),
                "updated_us": case(
                    (or_(old.is_removed, new.updated_us > old.updated_us), new.updated_us),
                    else_=old.updated_us,
                ),
                "comment": new.comment,
                "labels": new.labels,
                "is_mark": and_(new.is_mark, or_(old.is_removed, old.is_mark)),
                "is_removed": false(),
            },
        )
    )
    _set(connection, FOLDED, stop)
    return stop < last


@dataclass(frozen=True, slots=True)
class _Laying:
    """Lays out some rows of one part of the packed log, and notes how far it came."""

    rows: pl.DataFrame
    file: str
    first: int

    def __call__(self, connection: Connection) -> None:
        part = self.rows.slice(self.first, AT_ONCE)
        if part.height:
            self._lay(connection, part)
        done = self.first + part.height
        known = dict(_mark(connection, PARTS))
        known[self.file] = ALL if done >= self.rows.height else done
        _set(connection, PARTS, known)

    def _lay(self, connection: Connection, part: pl.DataFrame) -> None:
        rows = part.to_dicts()
        for row in rows:
            row["labels"] = None if row["labels"] is None else orjson.loads(row["labels"])
        statement = _insert(connection)
        new, old = statement.excluded, feedback.c
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["user_id", "item_id", "kind"],
                set_={
                    "value": old.value + new.value,
                    "time_us": case((new.time_us < old.time_us, new.time_us), else_=old.time_us),
                    "updated_us": case(
                        (new.updated_us > old.updated_us, new.updated_us), else_=old.updated_us
                    ),
                    "comment": func.coalesce(old.comment, new.comment),
                    "is_mark": false(),
                },
                where=old.is_whole.is_(False),
            ),
            rows,
        )
        gone = select(users.c.user_id).where(
            users.c.user_id == feedback.c.user_id, feedback.c.time_us < users.c.erased_us
        )
        who = part.get_column("user_id").unique().to_list()
        erased = select(users.c.user_id).where(users.c.erased_us.is_not(None)).limit(1)
        if connection.execute(erased).first() is not None:
            connection.execute(delete(feedback).where(feedback.c.user_id.in_(who), gone.exists()))


def _collapsed(log: pl.DataFrame) -> pl.DataFrame:
    """Events of the packed log, one row a user, item and action, as rows of the table."""
    moment = pl.col(TIME).dt.epoch("us")
    updated = moment
    if "updated" in log.columns:
        said = pl.col("updated").str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
        updated = pl.max_horizontal(moment, said.dt.epoch("us"))
    texts = [
        (pl.col(name) if name in log.columns else pl.lit(None, pl.String)).drop_nulls().last().alias(name)
        for name in ("comment", "labels")
    ]
    value = pl.col(VALUE).fill_nan(0.0).sum() if VALUE in log.columns else pl.lit(0.0)
    return (
        log.lazy()
        .filter(~pl.col(ACTION).is_in(sorted(NOT_BEHAVIOUR)))
        .group_by(pl.col(USER), pl.col(ITEM), pl.col(ACTION).alias("kind"))
        .agg(
            value.cast(pl.Float64).alias("value"),
            moment.min().alias("time_us"),
            updated.max().alias("updated_us"),
            *texts,
        )
        .with_columns(is_mark=False, is_whole=False, is_removed=False)
        .sort(USER, ITEM, "kind")
        .collect()
    )
