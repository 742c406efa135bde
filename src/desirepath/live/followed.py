# SPDX-License-Identifier: Apache-2.0
"""Events of all processes of one store, learned by each of them in the order of their numbers.

Where several processes serve one workspace, none learns what it kept itself right away: it reads on in the
store, where its own events and those of others stand in one order, so that none is counted twice or missed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, select

from desirepath.live.store import LiveStore
from desirepath.live.tables import events

LEARNED = ("user_id", "item_id", "action", "time_us", "recommendation_id", "seq")
"""What memory learns of an event."""
READ_AT_ONCE = 10_000


class Followed:
    """How far one process has learned what is in the store."""

    def __init__(self, store: LiveStore, learn: Callable[[list[dict[str, Any]]], None], seq: int) -> None:
        """Begin after an event.

        Args:
            store: in which the numbers become visible in rising order.
            learn: is given events in that order, by one thread at a time.
            seq: the last event that was learned.
        """
        self._store, self._learn, self._seq = store, learn, seq
        self._lock = threading.Lock()

    def catch_up(self) -> int:
        """Learn everything that was acknowledged before this call; how many events were new.

        Cost: a look at the end of a table's key where there are none.
        """
        n = 0
        with self._lock:
            while rows := self._store.read(self._next):
                self._learn(rows)
                self._seq = rows[-1]["seq"]
                n += len(rows)
        return n

    def _next(self, connection: Connection) -> list[dict[str, Any]]:
        columns = [events.c[name] for name in LEARNED]
        chosen = select(*columns).where(events.c.seq > self._seq).order_by(events.c.seq).limit(READ_AT_ONCE)
        return [dict(row) for row in connection.execute(chosen).mappings()]
