# SPDX-License-Identifier: Apache-2.0
"""Who was erased, known by keyed hashes of ids alone, so that what comes late of them is not taken again.

It holds no id: who has the database can try whether an id is among them, and learns nothing else. It decides
about rows; the store asks it before it keeps any.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, select

from desirepath.live.tables import ERASURE_KEY, erasures, marks

Row = dict[str, Any]
CLOCKS_APART_US = 10_000_000
"""How far clocks of server machines may differ, microseconds."""


class Refusals:
    """Erased users and their moments, as far as this process knows; read by any thread."""

    def __init__(self) -> None:
        """Begin with nobody; see `follow`."""
        self._key = b""
        self._before: dict[str, int] = {}
        self._seen_us = 0

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._before)

    def who(self, user_id: str) -> str:
        """What stands for a user.

        BLAKE2b with a key of 256 bits (RFC 7693, section 2.9), shortened to 128 bits.
        """
        return hashlib.blake2b(user_id.encode("utf-8"), key=self._key, digest_size=16).hexdigest()

    def before_us(self, user_id: str) -> int | None:
        """The moment before which nothing of a user is taken; None for one who was not erased of late."""
        return self._before.get(self.who(user_id)) if self._before else None

    def kept(self, rows: list[Row]) -> list[Row]:
        """Those of some events that may be kept.

        Cost: a hash each (1 us) while anybody is remembered, nothing otherwise.
        """
        if not self._before:
            return rows
        known, who = self._before, self.who
        return [row for row in rows if row["time_us"] >= known.get(who(row["user_id"]), row["time_us"])]

    def put(self, connection: Connection, user_id: str, before_us: int, now_us: int) -> None:
        """Write down that a user is erased, within the caller's transaction; see `learn`."""
        row = {"before_us": before_us, "updated_us": now_us}
        who = self.who(user_id)
        if not connection.execute(erasures.update().where(erasures.c.who == who).values(row)).rowcount:
            connection.execute(erasures.insert().values(who=who, **row))

    def learn(self, user_id: str, before_us: int) -> None:
        """Refuse what a user did before a moment from now on."""
        self._before[self.who(user_id)] = before_us

    def follow(self, connection: Connection) -> None:
        """Take in what other processes wrote down; the key too, at the first time."""
        if not self._key:
            chosen = select(marks.c.value).where(marks.c.name == ERASURE_KEY)
            self._key = bytes.fromhex(str(connection.execute(chosen).scalar_one()))
        fresh = connection.execute(
            select(erasures).where(erasures.c.updated_us > self._seen_us - CLOCKS_APART_US)
        )
        for row in fresh.mappings():
            self._before[row["who"]] = row["before_us"]
            self._seen_us = max(self._seen_us, row["updated_us"])

    def expire(self, connection: Connection, until_us: int) -> None:
        """Remember nobody who was erased before a moment, within the caller's transaction."""
        connection.execute(erasures.delete().where(erasures.c.updated_us < until_us))

    def reload(self, connection: Connection) -> None:
        """Know just those who stand in the database."""
        found = connection.execute(select(erasures.c.who, erasures.c.before_us))
        self._before = {who: before_us for who, before_us in found}
