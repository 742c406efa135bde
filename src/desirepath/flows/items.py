# SPDX-License-Identifier: Apache-2.0
"""What is known of a workspace's items beside their events."""

from __future__ import annotations

import polars as pl

from desirepath.schema import ITEM
from desirepath.workspace import Workspace

CATEGORY_WORDS = ("category", "genre", "department", "section", "type", "kind", "brand", "tag")
"""Parts of column names that tell what sort of thing an item is, the more telling first."""
MOST_CATEGORIES = 200
"""Different labels above which a column no longer sorts items into sorts."""


def items_table(workspace: Workspace) -> pl.DataFrame | None:
    """The items' table, if one was given."""
    path = workspace.table("items")
    return pl.read_parquet(path) if path.exists() else None


def titles_of(workspace: Workspace) -> dict[str, str]:
    """Item id to title, where a table of items with titles was given."""
    table = items_table(workspace)
    if table is None or "title" not in table.columns:
        return {}
    return dict(table.select(ITEM, "title").drop_nulls().iter_rows())


def category_column(items: pl.DataFrame | None) -> str | None:
    """The column of the items' table that tells what sort of thing an item is, if one does."""
    if items is None:
        return None
    texts = [name for name in items.columns if name != ITEM and items.schema[name] == pl.String]
    for word in CATEGORY_WORDS:
        for name in texts:
            if word in name.lower() and 2 <= items[name].n_unique() <= MOST_CATEGORIES:
                return name
    return None
