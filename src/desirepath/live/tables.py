# SPDX-License-Identifier: Apache-2.0
"""The tables of the live store, for every database that SQLAlchemy speaks to.

Times are microseconds since 1970 UTC. What has no column of its own is kept as JSON. A change here needs a
revision in `migrations/versions`, for the stores that exist.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

ID_LENGTH = 512
"""Longest id in characters."""

_number = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("seq", _number, primary_key=True, autoincrement=True),
    Column("event_id", String(ID_LENGTH), nullable=False, unique=True),
    Column("user_id", String(ID_LENGTH), nullable=False),
    Column("item_id", String(ID_LENGTH), nullable=False),
    Column("action", String(128), nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Column("session_id", String(ID_LENGTH)),
    Column("value", Float),
    Column("recommendation_id", String(64), index=True),
    Column("position", Integer),
    Column("more", JSON),
    Index("events_by_user", "user_id", "seq"),
    sqlite_autoincrement=True,
)

items = Table(
    "items",
    metadata,
    Column("item_id", String(ID_LENGTH), primary_key=True),
    Column("attributes", JSON, nullable=False),
    Column("is_hidden", Boolean, nullable=False, default=False),
    Column("is_deleted", Boolean, nullable=False, default=False),
    Column("updated_us", BigInteger, nullable=False, index=True),  # other processes follow it
)

users = Table(
    "users",
    metadata,
    Column("user_id", String(ID_LENGTH), primary_key=True),
    Column("attributes", JSON, nullable=False),
    Column("is_deleted", Boolean, nullable=False, default=False),
    Column("erased_us", BigInteger),  # until the files are rid of him: earlier events count no more
    Column("updated_us", BigInteger, nullable=False),
    Index(
        "users_to_erase",
        "erased_us",
        sqlite_where=text("erased_us IS NOT NULL"),
        postgresql_where=text("erased_us IS NOT NULL"),
    ),
)

erasures = Table(
    "erasures",
    metadata,
    Column("who", String(64), primary_key=True),  # a keyed hash of the id
    Column("before_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False, index=True),  # other processes follow it
)

ties = Table(
    "ties",
    metadata,
    Column("source", String(ID_LENGTH), primary_key=True),
    Column("target", String(ID_LENGTH), primary_key=True),
    Column("weight", Float, nullable=False, default=1.0),
    Column("updated_us", BigInteger, nullable=False),
    Index("ties_by_target", "target"),
)

impressions = Table(
    "recommendations",
    metadata,
    Column("seq", _number, primary_key=True, autoincrement=True),
    Column("recommendation_id", String(64), nullable=False, unique=True),
    Column("time_us", BigInteger, nullable=False, index=True),
    Column("user_id", String(ID_LENGTH), index=True),
    Column("session_id", String(ID_LENGTH)),
    Column("scenario", String(128), nullable=False),
    Column("variant", String(128)),
    Column("model_version", String(128), nullable=False),
    Column("fallback", Text),
    Column("slate", JSON, nullable=False),
    sqlite_autoincrement=True,
)

requests = Table(
    "requests",
    metadata,
    Column("key", String(ID_LENGTH), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("reply", JSON, nullable=False),
    Column("time_us", BigInteger, nullable=False, index=True),
)

marks = Table(
    "marks",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("value", JSON, nullable=False),
)

STORE_ID = "store_id"
"""Mark that names the store, so that a log knows which store its events came from."""
PACKED = "packed_seq"
"""Mark of the last event that is part of the packed log."""
PACKED_LISTS = "packed_lists_seq"
"""Mark of the last served list that was written to the workspace."""
ERASURE_KEY = "erasure_key"
"""Mark with the secret under which ids of erased users are hashed."""
ERASURES_LOOKED = "erasures_looked_at"
"""Mark of the last intake of the log that was looked at for erased users who came back by a file, and of how
many erasures the log had then."""
