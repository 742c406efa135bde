# SPDX-License-Identifier: Apache-2.0
"""What the packed log does not say of every (user, item, kind): a table, and what keeps it up with the store.

Live events are added to its rows; rows that were set or taken away by hand stand for all that came before.
It decides nothing about when.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    Index,
    MetaData,
    String,
    Table,
    Text,
    and_,
    case,
    collate,
    delete,
    false,
    func,
    inspect,
    or_,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite

from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.tables import ID_LENGTH, events, marks, users

FOLDED = "feedback_seq"
"""Mark of the last live event that the table knows."""
PARTS = "feedback_parts"
"""Mark of the parts of the packed log, and whether the events of each are in the table."""
AT_ONCE = 10_000
"""Events of one write, so that events that come in need not wait long."""
CONTEXT = "context"
"""Key of an event's further values under which the following stand; the packed log keeps it."""
KIND, REPEAT = "feedback_type", "feedback_repeat"
"""The kind that stands in the view of what was only shown, and whether an event is left out there."""


def _id(length: int) -> String:
    """Text that every database orders by its bytes."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


metadata = MetaData()

feedback = Table(
    "feedback",
    metadata,
    Column("user_id", _id(ID_LENGTH), primary_key=True),
    Column("item_id", _id(ID_LENGTH), primary_key=True),
    Column("kind", _id(128), primary_key=True),
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
    Index("feedback_marks", "user_id", sqlite_where=text("is_mark = 1"), postgresql_where=text("is_mark")),
)
"""`is_mark`: it was shown, not done. `is_whole`: the packed log no longer counts in it."""

gone_items = Table("feedback_gone_items", metadata, Column("item_id", _id(ID_LENGTH), primary_key=True))
"""Items whose feedback in the packed log counts no more."""


def mark(connection: Connection, name: str) -> Any:
    """The value of a mark; None where it was never set."""
    return connection.execute(select(marks.c.value).where(marks.c.name == name)).scalar()


def set_mark(connection: Connection, name: str, value: Any) -> None:
    """Set a mark within the caller's transaction."""
    if not connection.execute(marks.update().where(marks.c.name == name).values(value=value)).rowcount:
        connection.execute(marks.insert().values(name=name, value=value))


def by_bytes(column: ColumnElement[str], dialect: str) -> ColumnElement[str]:
    """A column of text that is ordered and compared by its bytes."""
    return type_coerce(collate(column, "C"), String) if dialect == "postgresql" else column


def _insert(connection: Connection) -> Any:
    dialect = {"sqlite": sqlite, "postgresql": postgresql}[connection.dialect.name]
    return dialect.insert(feedback)


def fold(connection: Connection, most: int | None = None) -> bool:
    """Take in the live events after the mark, `most` at once; whether there are more."""
    seq = int(mark(connection, FOLDED) or 0)
    last = int(connection.execute(select(func.max(events.c.seq))).scalar() or 0)
    stop = last if most is None else min(last, seq + most)
    if stop <= seq:
        return False
    kind = events.c.more[(CONTEXT, KIND)].as_string()
    named = func.coalesce(kind, events.c.action)
    is_erased = select(users.c.user_id).where(
        users.c.user_id == events.c.user_id, events.c.time_us < users.c.erased_us
    )
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
            events.c.more[(CONTEXT, REPEAT)].as_string().is_(None),
            ~is_erased.exists(),
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
        latest.c.more[(CONTEXT, "comment")].as_string(),
        latest.c.more[(CONTEXT, "labels")],
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
    set_mark(connection, FOLDED, stop)
    return stop < last


def erase_user(connection: Connection, user_id: str) -> None:
    """Forget a user within the caller's transaction, where there is a table at all."""
    if inspect(connection).has_table(feedback.name):
        connection.execute(delete(feedback).where(feedback.c.user_id == user_id))
