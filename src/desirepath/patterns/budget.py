# SPDX-License-Identifier: Apache-2.0
"""Pieces of a search shared out to threads under a budget of patterns, memory and seconds.

It knows no kernel: a piece is a number, and what a thread does with it is a function that watches the gauge.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numba.core.event import Event, Listener, install_listener
from numpy.typing import NDArray

from desirepath.patterns.gauge import (
    INTERRUPTED,
    MOST_BYTES,
    MOST_PATTERNS,
    RUNNING,
    STOP,
    TOO_LARGE,
    TOO_LONG,
    TOO_MANY,
)

T = TypeVar("T")
LEAST_WAIT_S = 0.05
ADVICE = "raise min_support, set max_length, ask for closed patterns, or raise the budget"


def share_out(
    work: Callable[[int, int], T],
    order: list[int],
    gauge: NDArray[np.int64],
    n_threads: int,
    max_seconds: float,
) -> list[T | None]:
    """What `work(piece, worker)` returned for each piece, taken up in this order.

    None stands for pieces that were never begun, because the gauge said stop. Kernels run without the
    interpreter's lock; this thread only waits, so that time runs out and Ctrl-C works. Time in which a kernel
    is compiled, as at the first call on a machine, does not count.
    """
    done: list[T | None] = [None] * len(order)
    queue = iter(order)  # next() of a list's iterator is atomic
    failures: list[BaseException] = []

    def run(worker: int) -> None:
        try:
            for piece in queue:
                if gauge[STOP] != RUNNING:
                    return
                done[piece] = work(piece, worker)
        except BaseException as error:  # handed to the caller's thread below
            failures.append(error)
            gauge[STOP] = INTERRUPTED

    threads = [threading.Thread(target=run, args=(worker,), daemon=True) for worker in range(n_threads)]
    clock = _Clock()
    try:
        with install_listener("numba:compile", clock):
            for thread in threads:
                thread.start()
            for thread in threads:
                while max_seconds and thread.is_alive() and gauge[STOP] == RUNNING:
                    left = max_seconds - clock.seconds
                    thread.join(max(left, LEAST_WAIT_S))
                    if thread.is_alive() and clock.seconds >= max_seconds and gauge[STOP] == RUNNING:
                        gauge[STOP] = TOO_LONG
                thread.join()
    except BaseException:
        gauge[STOP] = INTERRUPTED
        raise
    if failures:
        raise failures[0]
    return done


class _Clock(Listener):
    """Seconds since it was made, less those in which numba compiled; compiling holds a lock of its own."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._depth = 0
        self._paused_at = 0.0
        self._paused = 0.0

    def on_start(self, event: Event) -> None:
        """A kernel begins to be compiled, perhaps within another."""
        if self._depth == 0:
            self._paused_at = time.monotonic()
        self._depth += 1

    def on_end(self, event: Event) -> None:
        """It is compiled."""
        self._depth -= 1
        if self._depth == 0:
            self._paused += time.monotonic() - self._paused_at

    @property
    def seconds(self) -> float:
        """The time that counts."""
        now = self._paused_at if self._depth else time.monotonic()
        return now - self._began - self._paused


def stopped_by(gauge: NDArray[np.int64], max_seconds: float) -> str:
    """In words which budget ended the search and what to do; empty when none did."""
    reasons = {
        TOO_MANY: f"max_patterns = {int(gauge[MOST_PATTERNS]):,}",
        TOO_LARGE: f"max_memory_mib = {int(gauge[MOST_BYTES]) >> 20:,}",
        TOO_LONG: f"max_seconds = {max_seconds:g}",
    }
    reason = reasons.get(int(gauge[STOP]))
    return f"stopped by {reason}: {ADVICE}" if reason else ""
