# SPDX-License-Identifier: Apache-2.0
"""How many events of which action came in each second of the last hour, and how long answers took.

Called by the threads that write and answer, it costs a microsecond an event and memory for an hour only.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

HOUR_S = 3600
N_ANSWERS = 1000
"""Latest answers whose times are kept."""


class Pulse:
    """Counts by second and action, and the latest events themselves."""

    def __init__(self, n_latest: int = 50) -> None:
        """Begin with nothing; keep the `n_latest` newest events."""
        self._seconds: deque[tuple[int, Counter[str]]] = deque()
        self._lock = threading.Lock()
        self.latest: deque[Mapping[str, Any]] = deque(maxlen=n_latest)
        self._answers_ms: deque[float] = deque(maxlen=N_ANSWERS)
        self.n_events = 0
        """Events since the server started."""
        self.since_s = time.time()

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count fresh events; fits `Project.listeners`."""
        second = int(time.time())
        with self._lock:
            if not self._seconds or self._seconds[-1][0] != second:
                self._seconds.append((second, Counter()))
            self._seconds[-1][1].update(row["action"] for row in rows)
            while self._seconds and self._seconds[0][0] < second - HOUR_S:
                self._seconds.popleft()
            self.latest.extend(rows[-(self.latest.maxlen or 0) :])
            self.n_events += len(rows)

    def per_minute(
        self, n_minutes: int = 30, now_s: float | None = None
    ) -> tuple[list[int], dict[str, list[int]]]:
        """The beginnings of the last minutes in seconds since 1970, and for each action its counts.

        The last entry is the minute that is not over yet.
        """
        last = int(time.time() if now_s is None else now_s) // 60
        minutes = list(range(last - n_minutes + 1, last + 1))
        counts: dict[str, list[int]] = {}
        with self._lock:
            seconds = [(second, Counter(found)) for second, found in self._seconds]
        for second, found in seconds:
            place = second // 60 - minutes[0]
            if 0 <= place < n_minutes:
                for action, n in found.items():
                    counts.setdefault(action, [0] * n_minutes)[place] += n
        return [60 * minute for minute in minutes], counts

    def asked(self, _: object, reply: Future[Any]) -> None:
        """Time an answer; fits `Project.watchers`."""
        began = time.perf_counter()
        reply.add_done_callback(lambda _: self._answers_ms.append(1e3 * (time.perf_counter() - began)))

    def latency_ms(self) -> tuple[float, float, int] | None:
        """Median and 99th percentile of the latest answers, and of how many; None before the first."""
        times = sorted(self._answers_ms)
        if not times:
            return None
        n = len(times)
        return times[n // 2], times[min(n - 1, int(0.99 * n))], n

    def rate(self, seconds: int = 60, now_s: float | None = None) -> int:
        """Events in the last `seconds`."""
        first = int(time.time() if now_s is None else now_s) - seconds
        with self._lock:
            return sum(found.total() for second, found in self._seconds if second > first)
