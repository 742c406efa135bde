# SPDX-License-Identifier: Apache-2.0
"""Events folded into one row a (user, item, kind): the table, and the statements that keep it up.

What is packed and what is live are added by the same rules, in any order. It decides nothing about when.
"""

from __future__ import annotations

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
    inspect,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.tables import ID_LENGTH, events, marks, users
from desirepath.schema import ACTION, ITEM, TIME, USER, VALUE

FOLDED = "feedback_seq"
"""Mark of the last live event that the table knows."""
PARTS = "feedback_parts"
"""Mark of the parts of the packed log: how many rows of each are in the table, ALL when all are."""
ALL = -1
AT_ONCE = 10_000
"""Events or rows of one write, so that events that come in need not wait long."""
CONTEXT = "context"
"""Key of an event's further values under which the following stand; the packed log keeps it."""
KIND, REPEAT = "feedback_type", "feedback_repeat"
"""The kind that stands in the view of what was only shown, and whether an event is left out there."""

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
    Index("feedback_marks", "user_id", sqlite_where=text("is_mark = 1"), postgresql_where=text("is_mark")),
)
"""`is_mark`: it was shown, not done. `is_whole`: older events no longer count in it."""


def mark(connection: Connection, name: str) -> Any:
    """The value of a mark; None where it was never set."""
    return connection.execute(select(marks.c.value).where(marks.c.name == name)).scalar()


def set_mark(connection: Connection, name: str, value: Any) -> None:
    """Set a mark within the caller's transaction."""
    if not connection.execute(marks.update().where(marks.c.name == name).values(value=value)).rowcount:
        connection.execute(marks.insert().values(name=name, value=value))


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


@dataclass(frozen=True, slots=True)
class Laying:
    """Lays out some rows of one part of the packed log, and notes how far it came."""

    rows: pl.DataFrame
    file: str
    first: int

    def __call__(self, connection: Connection) -> None:
        """Do it, within the caller's transaction."""
        part = self.rows.slice(self.first, AT_ONCE)
        if part.height:
            self._lay(connection, part)
        done = self.first + part.height
        known = dict(mark(connection, PARTS))
        known[self.file] = ALL if done >= self.rows.height else done
        set_mark(connection, PARTS, known)

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
        erase_erased(connection, part.get_column("user_id").unique().to_list())


def collapsed(log: pl.DataFrame) -> pl.DataFrame:
    """Events of the packed log, one row a user, item and action, as rows of the table."""
    moment = pl.col(TIME).dt.epoch("us")
    updated = moment
    if "updated" in log.columns:
        said = pl.col("updated").str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
        updated = pl.max_horizontal(moment, said.dt.epoch("us"))
    said_in = pl.col(CONTEXT) if CONTEXT in log.columns else pl.lit(None, pl.String)
    texts = []
    for name in ("comment", "labels"):
        own = [pl.col(name)] if name in log.columns else []
        told = pl.coalesce(*own, said_in.str.json_path_match(f"$.{name}"))
        texts.append(told.drop_nulls().last().alias(name))
    value = pl.col(VALUE).fill_nan(0.0).sum() if VALUE in log.columns else pl.lit(0.0)
    return (
        log.lazy()
        .filter(~pl.col(ACTION).is_in(sorted(NOT_BEHAVIOUR)))
        .filter(said_in.str.json_path_match(f"$.{REPEAT}").is_null())
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


def erase_user(connection: Connection, user_id: str) -> None:
    """Forget a user within the caller's transaction, where there is a table at all."""
    if inspect(connection).has_table(feedback.name):
        connection.execute(delete(feedback).where(feedback.c.user_id == user_id))


def erase_erased(connection: Connection, user_ids: list[str] | None = None) -> None:
    """Take out what users did before they were erased; of some users, or of all."""
    gone = select(users.c.user_id).where(
        users.c.user_id == feedback.c.user_id, feedback.c.time_us < users.c.erased_us
    )
    some = [] if user_ids is None else [feedback.c.user_id.in_(user_ids)]
    if connection.execute(select(users.c.user_id).where(users.c.erased_us.is_not(None)).limit(1)).first():
        connection.execute(delete(feedback).where(gone.exists(), *some))
