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
from desirepath.patterns.machine_code import compiling

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
    ends = max_seconds + _clock_s()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while max_seconds and thread.is_alive() and gauge[STOP] == RUNNING:
                thread.join(max(ends - _clock_s(), LEAST_WAIT_S))
                if thread.is_alive() and _clock_s() >= ends and gauge[STOP] == RUNNING:
                    gauge[STOP] = TOO_LONG
            thread.join()
    except BaseException:
        gauge[STOP] = INTERRUPTED
        raise
    if failures:
        raise failures[0]
    return done


def _clock_s() -> float:
    """A clock that stands while kernels are compiled."""
    return time.monotonic() - compiling.seconds


def stopped_by(gauge: NDArray[np.int64], max_seconds: float) -> str:
    """In words which budget ended the search and what to do; empty when none did."""
    reasons = {
        TOO_MANY: f"max_patterns = {int(gauge[MOST_PATTERNS]):,}",
        TOO_LARGE: f"max_memory_mib = {int(gauge[MOST_BYTES]) >> 20:,}",
        TOO_LONG: f"max_seconds = {max_seconds:g}",
    }
    reason = reasons.get(int(gauge[STOP]))
    return f"stopped by {reason}: {ADVICE}" if reason else ""
