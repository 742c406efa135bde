# SPDX-License-Identifier: Apache-2.0
"""The tables with which the live store began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "first"
down_revision = None

ID = 512
_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "events",
        sa.Column("seq", _number, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(ID), nullable=False, unique=True),
        sa.Column("user_id", sa.String(ID), nullable=False),
        sa.Column("item_id", sa.String(ID), nullable=False),
        sa.Column("action", sa.String(128), nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("received_us", sa.BigInteger, nullable=False),
        sa.Column("session_id", sa.String(ID)),
        sa.Column("value", sa.Float),
        sa.Column("recommendation_id", sa.String(64), index=True),
        sa.Column("position", sa.Integer),
        sa.Column("more", sa.JSON),
        sa.Index("events_by_user", "user_id", "seq"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "items",
        sa.Column("item_id", sa.String(ID), primary_key=True),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("is_hidden", sa.Boolean, nullable=False),
        sa.Column("is_deleted", sa.Boolean, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(ID), primary_key=True),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("is_deleted", sa.Boolean, nullable=False),
        sa.Column("erased_us", sa.BigInteger),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ties",
        sa.Column("source", sa.String(ID), primary_key=True),
        sa.Column("target", sa.String(ID), primary_key=True),
        sa.Column("weight", sa.Float, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Index("ties_by_target", "target"),
    )
    op.create_table(
        "recommendations",
        sa.Column("recommendation_id", sa.String(64), primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False, index=True),
        sa.Column("user_id", sa.String(ID), index=True),
        sa.Column("session_id", sa.String(ID)),
        sa.Column("scenario", sa.String(128), nullable=False),
        sa.Column("variant", sa.String(128)),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.Column("fallback", sa.Text),
        sa.Column("slate", sa.JSON, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("key", sa.String(ID), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("reply", sa.JSON, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "marks",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
    )
