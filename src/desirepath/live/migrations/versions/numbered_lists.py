# SPDX-License-Identifier: Apache-2.0
"""Served lists get numbers, so that they can be packed in order; the store gets a name of its own."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "numbered_lists"
down_revision = "first"

ID = 512
COLUMNS = "recommendation_id, time_us, user_id, session_id, scenario, variant, model_version, fallback, slate"
_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Copy the lists into a table with numbers, oldest first, and name the store."""
    op.create_table(
        "recommendations_numbered",
        sa.Column("seq", _number, primary_key=True, autoincrement=True),
        sa.Column("recommendation_id", sa.String(64), nullable=False, unique=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.String(ID)),
        sa.Column("session_id", sa.String(ID)),
        sa.Column("scenario", sa.String(128), nullable=False),
        sa.Column("variant", sa.String(128)),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.Column("fallback", sa.Text),
        sa.Column("slate", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.execute(
        f"INSERT INTO recommendations_numbered ({COLUMNS}) SELECT {COLUMNS} FROM recommendations "
        "ORDER BY time_us, recommendation_id"
    )
    op.drop_table("recommendations")
    op.rename_table("recommendations_numbered", "recommendations")
    for name in ("time_us", "user_id"):
        op.create_index(f"ix_recommendations_{name}", "recommendations", [name])
    marks = sa.table("marks", sa.column("name", sa.String), sa.column("value", sa.JSON))
    op.bulk_insert(marks, [{"name": "store_id", "value": uuid.uuid4().hex}])
