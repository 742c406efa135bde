# SPDX-License-Identifier: Apache-2.0
"""All users that a project knows: those of the log, those of the table, and those that came since.

Pages go by id, in the order of its bytes, whatever the database's own order is. It knows no HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import polars as pl
from sqlalchemy import Connection, String, collate, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from desirepath.live.project import Project
from desirepath.live.store import LiveStore
from desirepath.live.tables import users
from desirepath.schema import USER

MET_S = 5.0
"""How long a user who was found is not asked for again, seconds."""
AT_ONCE = 500
"""Ids in one question to the database."""


class Directory:
    """The users of one project."""

    def __init__(self, project: Project, base: pl.Series) -> None:
        """Begin with the ids of the log; those of the table of users are added."""
        self._project, self._store = project, project.store
        self._met: set[str] = set()
        self._met_until_s = 0.0
        self._begin(base)

    def _begin(self, base: pl.Series) -> None:
        self._ground, place = self._project.base, self._project.workspace.table("users")
        self._table = pl.scan_parquet(place) if place.exists() else None
        if self._table is not None:
            ids = self._table.select(pl.col(USER).cast(pl.String)).collect()[USER]
            base = pl.concat([base.alias(USER), ids])
        self._ids = base.drop_nulls().unique().sort()

    @property
    def _base(self) -> pl.Series:
        """Ids of the log and of the table; those of a log that was packed anew, where it was."""
        if self._project.base is not self._ground:
            self._begin(self._project.base.users.ids)
        return self._ids

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
        deleted = self._deleted(asked)
        new = [name for name in asked if deleted.get(name, not self._is_base(name))]
        self._met.update(asked)
        return new

    def forget(self, user_id: str) -> None:
        """Ask the database again for a user who was deleted."""
        self._met.discard(user_id)

    def get(self, user_id: str) -> dict[str, Any] | None:
        """What is known of a user; None where there is none."""
        if self._deleted([user_id]).get(user_id, not self._is_base(user_id)):
            return None
        known = self._project.records.user(user_id)
        return self._tabled([user_id]).get(user_id, {}) if known is None else known

    def page(self, after: str, n: int) -> tuple[list[tuple[str, dict[str, Any]]], str]:
        """Up to n users in the order of their ids, and the cursor of the next page ("" at the end)."""
        found: list[tuple[str, dict[str, Any]]] = []
        while len(found) <= n:
            place = int(self._base.search_sorted(after, side="right")) if after else 0
            base = self._base.slice(place, n + 1).to_list()
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
        if self._table is None or not user_ids:
            return {}
        rows = self._table.filter(pl.col(USER).is_in(user_ids)).collect()
        return {str(row.pop(USER)): row for row in rows.to_dicts()}

    def _is_base(self, user_id: str) -> bool:
        place = int(self._base.search_sorted(user_id))
        return place < len(self._base) and self._base[place] == user_id

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
        return told

    def _after(self, after: str, n: int) -> dict[str, dict[str, Any]]:
        column = _by_bytes(self._store)

        def work(connection: Connection) -> dict[str, dict[str, Any]]:
            chosen = select(users.c.user_id, users.c.attributes).where(column > after).order_by(column)
            return {name: dict(known or {}) for name, known in connection.execute(chosen.limit(n))}

        told: dict[str, dict[str, Any]] = self._store.read(work)
        return told


def _by_bytes(store: LiveStore) -> ColumnElement[str]:
    """The ids as a column that is ordered by bytes."""
    if store.engine.dialect.name == "postgresql":
        return type_coerce(collate(users.c.user_id, "C"), String)
    return users.c.user_id
