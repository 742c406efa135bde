# SPDX-License-Identifier: Apache-2.0
"""What was said of items and users, and who follows whom: tables that are changed, not appended to.

Every change is on disk first, then in memory, then acknowledged; one that fails leaves both as they were. It
knows no events.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from sqlalchemy import Connection, Table, or_, select

from desirepath.errors import DataError
from desirepath.live.catalogue import Catalogue
from desirepath.live.store import LiveStore, now_us
from desirepath.live.tables import items, ties, users
from desirepath.recommend.recommender import nearest_id
from desirepath.schema import ITEM, USER

Change = Literal["created", "replaced"]


@dataclass(frozen=True, slots=True)
class Tie:
    """`source` follows `target`, as strongly as `weight` says."""

    source: str
    target: str
    weight: float = 1.0


class Records:
    """Items, users and ties of one project."""

    def __init__(
        self, store: LiveStore, catalogue: Catalogue, user_table: pl.DataFrame | None = None
    ) -> None:
        """Speak for `store`; `user_table` is what was known of users before, by user_id."""
        self._store, self._catalogue = store, catalogue
        self.user_table = user_table
        """What was known of users before the store, without who was erased since."""
        self.n_changes_of_ties = 0
        """Grows with every change of ties, for what is computed from all of them."""

    def put_items(self, rows: Sequence[tuple[str, Mapping[str, Any], bool]]) -> Future[list[Change]]:
        """Say what items are; replaces all that was said of them before.

        Args:
            rows: item id, attributes, and whether it is hidden.
        """

        def work(connection: Connection) -> list[Change]:
            changes: list[Change] = []
            for item_id, attributes, is_hidden in rows:
                changes.append("created" if self._item(connection, item_id) is None else "replaced")
                values = {"attributes": dict(attributes), "is_hidden": is_hidden, "is_deleted": False}
                _put(connection, items, {"item_id": item_id}, values)
            return changes

        def learn(_: list[Change]) -> None:
            for item_id, attributes, is_hidden in rows:
                self._catalogue.put(item_id, attributes, is_hidden=is_hidden)

        return self._store.write(work, then=learn)

    def patch_item(
        self, item_id: str, changes: Mapping[str, Any], *, is_hidden: bool | None = None
    ) -> Future[dict[str, Any]]:
        """Change some attributes of an item; null takes one away. Gives what it is now.

        Raises:
            DataError: in the future, where the item is not known.
        """

        def work(connection: Connection) -> dict[str, Any]:
            old, was_hidden = self._known_item(connection, item_id)
            hidden = was_hidden if is_hidden is None else is_hidden
            now = {name: value for name, value in {**old, **changes}.items() if value is not None}
            values = {"attributes": now, "is_hidden": hidden, "is_deleted": False}
            _put(connection, items, {"item_id": item_id}, values)
            return {"item_id": item_id, "attributes": now, "is_hidden": hidden}

        def learn(now: dict[str, Any]) -> None:
            self._catalogue.put(item_id, now["attributes"], is_hidden=now["is_hidden"])

        return self._store.write(work, then=learn)

    def delete_item(self, item_id: str) -> Future[None]:
        """Never show an item again, and forget what it is; what people did to it stays in the log.

        Raises:
            DataError: in the future, where the item is not known.
        """

        def work(connection: Connection) -> None:
            self._known_item(connection, item_id)
            values = {"attributes": {}, "is_hidden": True, "is_deleted": True}
            _put(connection, items, {"item_id": item_id}, values)

        def learn(_: None) -> None:
            self._catalogue.put(item_id, {}, is_hidden=True)

        return self._store.write(work, then=learn)

    def item(self, item_id: str) -> dict[str, Any]:
        """What is known of an item.

        Raises:
            DataError: nothing is; the message names the nearest id.
        """
        ix = self._catalogue.index(item_id)
        if ix is None:
            raise self._unknown(item_id)
        return {
            "item_id": item_id,
            "attributes": self._catalogue.attributes(item_id),
            "is_hidden": bool(self._catalogue.hidden[ix]),
        }

    def put_users(self, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Future[list[Change]]:
        """Say what users are; replaces all that was said of them before."""

        def work(connection: Connection) -> list[Change]:
            changes: list[Change] = []
            for user_id, attributes in rows:
                changes.append("created" if self._user(connection, user_id) is None else "replaced")
                _put(
                    connection,
                    users,
                    {"user_id": user_id},
                    {"attributes": dict(attributes), "is_deleted": False},
                )
            return changes

        return self._store.write(work)

    def patch_user(self, user_id: str, changes: Mapping[str, Any]) -> Future[dict[str, Any] | None]:
        """Change some attributes of a user; null takes one away. None where nothing was said of him."""

        def work(connection: Connection) -> dict[str, Any] | None:
            old = self._user(connection, user_id)
            if old is None:
                return None
            now = {name: value for name, value in {**old, **changes}.items() if value is not None}
            _put(connection, users, {"user_id": user_id}, {"attributes": now, "is_deleted": False})
            return now

        return self._store.write(work)

    def user(self, user_id: str) -> dict[str, Any] | None:
        """What was said of a user; None where nothing was."""
        found: dict[str, Any] | None = self._store.read(lambda connection: self._user(connection, user_id))
        return found

    def users(self, first: str, n: int) -> list[dict[str, Any]]:
        """Up to n users that something was said of, in the order of their ids, after `first`."""

        def work(connection: Connection) -> list[dict[str, Any]]:
            chosen = select(users.c.user_id, users.c.attributes).where(
                users.c.user_id > first, users.c.is_deleted.is_(False)
            )
            found = connection.execute(chosen.order_by(users.c.user_id).limit(n))
            return [{"user_id": user_id, "attributes": attributes} for user_id, attributes in found]

        rows: list[dict[str, Any]] = self._store.read(work)
        return rows

    def put_ties(self, rows: Sequence[Tie]) -> Future[None]:
        """Keep who follows whom; a tie that was there takes the new weight."""

        def work(connection: Connection) -> None:
            for tie in rows:
                key = {"source": tie.source, "target": tie.target}
                _put(connection, ties, key, {"weight": tie.weight})

        return self._store.write(work, then=self._count_ties)

    def cut_tie(self, source: str, target: str) -> Future[bool]:
        """Forget that `source` follows `target`; whether he did."""

        def work(connection: Connection) -> bool:
            gone = connection.execute(ties.delete().where(ties.c.source == source, ties.c.target == target))
            return bool(gone.rowcount)

        return self._store.write(work, then=self._count_ties)

    def ties(self) -> pl.DataFrame:
        """All ties: source, target, weight."""
        found = self._store.read(
            lambda connection: connection.execute(select(ties.c.source, ties.c.target, ties.c.weight)).all()
        )
        schema = {"source": pl.String, "target": pl.String, "weight": pl.Float64}
        return pl.DataFrame([tuple(row) for row in found], schema=schema, orient="row")

    def forget_user(self, connection: Connection, user_id: str, before_us: int) -> None:
        """Erase what was said of a user and his ties, within the caller's transaction; then call `forgot`.

        Nothing that he did before `before_us` counts any more, wherever it comes from.
        """
        values = {"attributes": {}, "is_deleted": True, "erased_us": before_us}
        _put(connection, users, {"user_id": user_id}, values)
        connection.execute(ties.delete().where(or_(ties.c.source == user_id, ties.c.target == user_id)))

    def forgot(self, user_ids: Collection[str]) -> None:
        """Let go of what memory holds of users who were erased."""
        self.n_changes_of_ties += 1
        if self.user_table is not None:
            goes = pl.col(USER).cast(pl.String).is_in(list(user_ids)).fill_null(False)
            self.user_table = self.user_table.filter(~goes)

    def _count_ties(self, _: Any) -> None:
        self.n_changes_of_ties += 1

    def _known_item(self, connection: Connection, item_id: str) -> tuple[dict[str, Any], bool]:
        """Attributes of an item and whether it is hidden, with what this transaction changed.

        Raises:
            DataError: nothing is known of it.
        """
        known = self._item(connection, item_id)
        if known is None:
            raise self._unknown(item_id)
        return known

    def _item(self, connection: Connection, item_id: str) -> tuple[dict[str, Any], bool] | None:
        row = connection.execute(
            select(items.c.attributes, items.c.is_hidden, items.c.is_deleted).where(
                items.c.item_id == item_id
            )
        ).one_or_none()
        if row is not None:
            return dict(row.attributes), bool(row.is_hidden or row.is_deleted)
        ix = self._catalogue.index(item_id)
        if ix is None:
            return None
        return self._catalogue.attributes(item_id), bool(self._catalogue.hidden[ix])

    def _unknown(self, item_id: str) -> DataError:
        known = pl.Series(self._catalogue.ids[2:], dtype=pl.String)
        return DataError(f"Item '{item_id[:80]}' is not known. {nearest_id(item_id[:80], known)}")

    def _user(self, connection: Connection, user_id: str) -> dict[str, Any] | None:
        row = connection.execute(
            select(users.c.attributes, users.c.is_deleted).where(users.c.user_id == user_id)
        ).one_or_none()
        if row is not None:
            return None if row.is_deleted else dict(row.attributes)
        if self.user_table is None:
            return None
        found = self.user_table.filter(pl.col(USER) == user_id)
        if not len(found):
            return None
        return {name: value for name, value in found.row(0, named=True).items() if name not in (USER, ITEM)}


def _put(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Update the row with this key, or insert it."""
    values = {**values, "updated_us": now_us()}
    same = [table.c[name] == value for name, value in key.items()]
    if not connection.execute(table.update().where(*same).values(**values)).rowcount:
        connection.execute(table.insert().values(**key, **values))
