# SPDX-License-Identifier: Apache-2.0
"""Items get an index by the moment of their last change, by which other processes follow them."""

from __future__ import annotations

from alembic import op

revision = "followed_items"
down_revision = "numbered_lists"


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_items_updated_us", "items", ["updated_us"])
