# SPDX-License-Identifier: Apache-2.0
"""Finding users and items by what is typed, among millions.

Ids are columns of text that are searched as a whole; what came since is added before each search.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

import polars as pl

from desirepath.live.states import UserStates
from desirepath.schema import FIRST, ITEM

if TYPE_CHECKING:
    from desirepath.live.project import Project

MOST_FOUND = 12
MANY_NEW = 2000
"""New items from which the whole table is read."""
TRIES = 5


class Directory:
    """Users and items of one project by name."""

    def __init__(self, project: Project) -> None:
        """Look at `project`; nothing is read yet."""
        self._project = project
        self._lock = threading.Lock()
        self._users = pl.Series("id", [], dtype=pl.String)
        self._items = pl.DataFrame(schema={"id": pl.String, "title": pl.String, "text": pl.String})

    def users(self) -> pl.Series:
        """Ids of all users, in the order in which they were first seen."""
        states = self._project.states
        with self._lock:
            if len(states) > len(self._users):
                # Those whom processes share come in no order of their own.
                first = len(self._users) if isinstance(states, UserStates) else 0
                fresh = _steady(lambda: list(islice(states.user_ids(), first, None)))
                both = pl.concat([self._users, pl.Series("id", fresh, dtype=pl.String)])
                self._users = both if first else both.unique(maintain_order=True)
            return self._users

    def find_users(self, text: str, k: int = MOST_FOUND) -> list[str]:
        """Users whose id holds `text`: that very id first, then those that begin with it."""
        users = self.users()
        gone = [user_id for user_id in list(self._project.erased) if not self._project.knows(user_id)]
        if gone:
            users = users.filter(~users.is_in(gone))
        if not text:
            return users.head(k).to_list()
        lower = text.lower()
        found = users.filter(users.str.to_lowercase().str.contains(lower, literal=True))
        table = pl.DataFrame({"id": found}).with_columns(
            exact=pl.col("id") != text,
            begins=~pl.col("id").str.to_lowercase().str.starts_with(lower),
            length=pl.col("id").str.len_chars(),
        )
        best = table.top_k(k, by=["exact", "begins", "length", "id"], reverse=[True] * 4)
        return best.sort("exact", "begins", "length", "id")["id"].to_list()

    def items(self) -> pl.DataFrame:
        """id, title (null for none), and the text that is searched: id and titles of any language."""
        catalogue = self._project.catalogue
        with self._lock:
            first, n = FIRST + len(self._items), len(catalogue)
            if n > first:
                # The whole table costs the same however many are new; one by one is cheaper for a few.
                told = catalogue.frame()[first:n] if n - first > MANY_NEW else self._told(first, n)
                titles = [name for name in told.columns if name == "title" or name.startswith("title_")]
                text = pl.concat_str(pl.col(ITEM, *titles).cast(pl.String), separator=" ", ignore_nulls=True)
                title = pl.col("title").cast(pl.String) if "title" in titles else pl.lit(None, pl.String)
                fresh = told.select(
                    pl.col(ITEM).alias("id"), title.alias("title"), text.str.to_lowercase().alias("text")
                )
                self._items = pl.concat([self._items, fresh])
            return self._items

    def _told(self, first: int, n: int) -> pl.DataFrame:
        """Ids and titles of the items with these indexes."""
        catalogue = self._project.catalogue
        rows = []
        for name in catalogue.ids[first:n]:
            known = catalogue.attributes(name)
            rows.append({ITEM: name, **{key: known[key] for key in known if key.startswith("title")}})
        return pl.DataFrame(rows, infer_schema_length=None, strict=False)

    def find_items(self, text: str, k: int = MOST_FOUND) -> list[tuple[str, str]]:
        """Items whose id or title holds all words of `text`: id and title, those that begin with it first."""
        found = self.items()
        lower = text.lower()
        for word in lower.split():
            found = found.filter(pl.col("text").str.contains(word, literal=True))
        if lower:
            title = pl.col("title").fill_null(pl.col("id")).str.to_lowercase()
            found = found.with_columns(begins=~title.str.starts_with(lower), length=title.str.len_chars())
            found = found.top_k(k, by=["begins", "length", "id"], reverse=[True] * 3).sort(
                "begins", "length", "id"
            )
        return [(name, title or name) for name, title in found.head(k).select("id", "title").iter_rows()]


def _steady(read: Callable[[], list[str]]) -> list[str]:
    """The result of reading what another thread may add to; read again where it just did."""
    for _ in range(TRIES):
        try:
            return read()
        except RuntimeError:  # a dictionary that grew while it was read
            continue
    return read()
