# SPDX-License-Identifier: Apache-2.0
"""All users that a project knows by id: who did something, who stands in the table, who was told of since.

Pages go by id, in the order of its bytes, whatever the database's own order is. It knows no HTTP.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import polars as pl
from sqlalchemy import Connection, select

from desirepath.live.folding import by_bytes
from desirepath.live.tables import users
from desirepath.schema import USER

if TYPE_CHECKING:
    from desirepath.live.directory import Directory
    from desirepath.live.project import Project

MET_S = 5.0
"""How long a user who was found is not asked for again, seconds."""
AT_ONCE = 500
"""Ids in one question to the database."""
MANY_NEW = 20_000
"""New users from which all are ordered again."""


class Roster:
    """The users of one project, found and listed by id."""

    def __init__(self, project: Project) -> None:
        """Look at `project`; nothing is read yet."""
        self._project, self._store = project, project.store
        self._lock = threading.Lock()
        self._made_of: tuple[Directory, pl.DataFrame | None] | None = None
        self._ordered = self._fresh = pl.Series(USER, [], dtype=pl.String)
        self._n_ordered = 0
        self._met: set[str] = set()
        self._met_until_s = 0.0

    def _known(self) -> tuple[pl.Series, pl.Series]:
        """Ids of who did something or stands in the table, in order: most of them, and who came since."""
        directory, table = self._project.directory, self._project.records.user_table
        met = directory.users()
        with self._lock:
            is_other = self._made_of is None or any(
                now is not was for now, was in zip((directory, table), self._made_of, strict=True)
            )
            if is_other or len(met) > self._n_ordered + MANY_NEW:
                said = [] if table is None else [table.get_column(USER).cast(pl.String).rename("id")]
                whole = pl.concat([met.rename("id"), *said]).drop_nulls()
                self._ordered, self._n_ordered = whole.unique().sort(), len(met)
                self._made_of = directory, table
            if len(met) != self._n_ordered + len(self._fresh):
                self._fresh = met[self._n_ordered :].sort()
            return self._ordered, self._fresh

    def knows(self, user_ids: Iterable[str]) -> bool:
        """Whether all of these are known without asking the database; what others erase is noticed soon."""
        now = time.monotonic()
        if now > self._met_until_s:
            self._met.clear()
            self._met_until_s = now + MET_S
        return self._met.issuperset(user_ids)

    def unknown(self, user_ids: Iterable[str]) -> list[str]:
        """Those of some ids that are not known, or were deleted."""
        asked = [name for name in dict.fromkeys(user_ids) if name not in self._met]
        deleted, based = self._deleted(asked), self._based(asked)
        new = [name for name in asked if deleted.get(name, name not in based)]
        self._met.update(asked)
        return new

    def forget(self, user_id: str) -> None:
        """Ask the database again for a user who was deleted."""
        self._met.discard(user_id)

    def get(self, user_id: str) -> dict[str, Any] | None:
        """What is known of a user; None where there is none."""
        if self._deleted([user_id]).get(user_id, not self._based([user_id])):
            return None
        known = self._project.records.user(user_id)
        return self._tabled([user_id]).get(user_id, {}) if known is None else known

    def page(self, after: str, n: int) -> tuple[list[tuple[str, dict[str, Any]]], str]:
        """Up to n users in the order of their ids, and the cursor of the next page ("" at the end)."""
        found: list[tuple[str, dict[str, Any]]] = []
        while len(found) <= n:
            base = []
            for ids in self._known():
                place = int(ids.search_sorted(after, side="right")) if after else 0
                base += ids.slice(place, n + 1).to_list()
            live = self._after(after, n + 1)
            names = sorted({*base, *live}, key=lambda name: name.encode("utf-8", "surrogatepass"))[: n + 1]
            if not names:
                break
            deleted = self._deleted(names)
            known = self._tabled([name for name in names if name not in live]) | live
            found += [(name, known.get(name, {})) for name in names if not deleted.get(name, False)]
            after = names[-1]
            if len(names) <= n:
                break
        return found[:n], found[n - 1][0] if len(found) > n else ""

    def _tabled(self, user_ids: list[str]) -> dict[str, dict[str, Any]]:
        """What the table of users says of some."""
        table = self._project.records.user_table
        if table is None or not user_ids:
            return {}
        rows = table.filter(pl.col(USER).cast(pl.String).is_in(user_ids))
        return {str(row.pop(USER)): row for row in rows.to_dicts()}

    def _based(self, user_ids: list[str]) -> set[str]:
        """Those of some who did something or stand in the table."""
        found = {name for name in user_ids if self._project.knows(name)}
        table = self._project.records.user_table
        if table is not None and len(found) < len(user_ids):
            said = table.get_column(USER).cast(pl.String)
            found.update(said.filter(said.is_in(user_ids)))
        return found

    def _deleted(self, user_ids: list[str]) -> dict[str, bool]:
        """Whether each was deleted, of those who have a row in the store."""

        def work(connection: Connection) -> dict[str, bool]:
            found: dict[str, bool] = {}
            for first in range(0, len(user_ids), AT_ONCE):
                part = user_ids[first : first + AT_ONCE]
                chosen = select(users.c.user_id, users.c.is_deleted).where(users.c.user_id.in_(part))
                found |= {name: bool(gone) for name, gone in connection.execute(chosen)}
            return found

        told: dict[str, bool] = self._store.read(work) if user_ids else {}
        # Of who has just left all files, the log that answers stand on may still have the id.
        return {name: True for name in user_ids if name in self._project.erased} | told

    def _after(self, after: str, n: int) -> dict[str, dict[str, Any]]:
        def work(connection: Connection) -> dict[str, dict[str, Any]]:
            column = by_bytes(users.c.user_id, connection.dialect.name)
            chosen = select(users.c.user_id, users.c.attributes).where(column > after).order_by(column)
            return {name: dict(known or {}) for name, known in connection.execute(chosen.limit(n))}

        told: dict[str, dict[str, Any]] = self._store.read(work)
        return told
