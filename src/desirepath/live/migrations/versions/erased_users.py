# SPDX-License-Identifier: Apache-2.0
"""Who was erased is remembered by a keyed hash, so that late events are refused after the id is gone."""

from __future__ import annotations

import hashlib
import secrets

import sqlalchemy as sa
from alembic import op

revision = "erased_users"
down_revision = "followed_items"


def upgrade() -> None:
    """Make the table and the key, and hash who was erased before."""
    op.create_table(
        "erasures",
        sa.Column("who", sa.String(64), primary_key=True),
        sa.Column("before_us", sa.BigInteger, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False, index=True),
    )
    op.create_index(
        "users_to_erase",
        "users",
        ["erased_us"],
        sqlite_where=sa.text("erased_us IS NOT NULL"),
        postgresql_where=sa.text("erased_us IS NOT NULL"),
    )
    key = secrets.token_hex(32)
    marks = sa.table("marks", sa.column("name", sa.String), sa.column("value", sa.JSON))
    op.bulk_insert(marks, [{"name": "erasure_key", "value": key}])
    users = sa.table("users", *(sa.column(name) for name in ("user_id", "erased_us", "updated_us")))
    chosen = sa.select(users.c.user_id, users.c.erased_us, users.c.updated_us)
    found = op.get_bind().execute(chosen.where(users.c.erased_us.is_not(None))).all()
    erasures = sa.table("erasures", *(sa.column(name) for name in ("who", "before_us", "updated_us")))
    if found:
        op.bulk_insert(
            erasures,
            [
                {
                    "who": hashlib.blake2b(
                        user_id.encode(), key=bytes.fromhex(key), digest_size=16
                    ).hexdigest(),
                    "before_us": before_us,
                    "updated_us": updated_us,
                }
                for user_id, before_us, updated_us in found
            ],
        )
