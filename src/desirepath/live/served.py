# SPDX-License-Identifier: Apache-2.0
"""Served lists on their way into the store, a tenth of a second's worth at a time.

An event must be on disk before it is acknowledged; a list need not, and one commit for each would make every
answer wait for the processor. A crash may lose the lists of the last tenth of a second, never an event.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future

from desirepath.live.store import Busy, LiveStore, Row
from desirepath.live.tables import impressions

FLUSH_EVERY_S = 0.1
MOST_WAITING = 20_000


class ServedLists:
    """Keeps served lists, soon."""

    def __init__(self, store: LiveStore) -> None:
        """Write into `store`."""
        self._store = store
        self._rows: list[Row] = []
        self._lock = threading.Lock()
        self._some, self._ends = threading.Event(), threading.Event()
        self.n_lost = 0
        """Lists that were left out because the store had too much to write."""
        self._thread = threading.Thread(target=self._run, name="served-lists", daemon=True)
        self._thread.start()

    def add(self, row: Row) -> None:
        """Keep a list within a tenth of a second; never waits."""
        with self._lock:
            if len(self._rows) >= MOST_WAITING:
                self.n_lost += 1
                return
            self._rows.append(row)
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Write what waits now, and wait until it is on disk."""
        written = self.send()
        if written is not None:
            written.result()

    def close(self) -> None:
        """Write what waits, and end."""
        self._ends.set()
        self._some.set()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._ends.is_set():
            self._some.wait()
            self._ends.wait(FLUSH_EVERY_S)
            self._some.clear()
            self.send()

    def send(self) -> Future[None] | None:
        """Hand what waits to the store now, before whatever is handed to it later; None if nothing waits."""
        with self._lock:
            rows, self._rows = self._rows, []
        if not rows:
            return None
        try:
            return self._store.add(impressions, rows)
        except Busy:
            with self._lock:
                self.n_lost += len(rows)
            return None
