# SPDX-License-Identifier: Apache-2.0
"""What the searching threads tell each other: a stop sign, and how much each has found and holds.

It knows integers alone; `budget` turns the stop sign into words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.patterns.kernels import inner

# Entries of a gauge; from WORKERS on, two for each worker: patterns found and bytes held.
STOP, MOST_PATTERNS, MOST_BYTES, WORKERS = range(4)
# Values of the stop sign.
RUNNING, TOO_MANY, TOO_LARGE, TOO_LONG, INTERRUPTED = range(5)


def new_gauge(most_patterns: int, most_bytes: int, n_workers: int) -> NDArray[np.int64]:
    """A gauge that says to run on."""
    gauge = np.zeros(WORKERS + 2 * n_workers, np.int64)
    gauge[MOST_PATTERNS], gauge[MOST_BYTES] = most_patterns, most_bytes
    return gauge


@inner
def check_found(gauge: NDArray[np.int64], worker: int, more: int) -> None:
    """Count patterns found by this worker; raise the stop sign when all together found too many."""
    gauge[WORKERS + 2 * worker] += more
    found = 0
    for i in range(WORKERS, len(gauge), 2):
        found += gauge[i]
    if found > gauge[MOST_PATTERNS] and gauge[STOP] == RUNNING:
        gauge[STOP] = TOO_MANY


@inner
def may_hold(gauge: NDArray[np.int64], worker: int, more_bytes: int) -> bool:
    """Whether this worker may hold so many bytes more; if not, the stop sign is raised."""
    held = more_bytes
    for i in range(WORKERS + 1, len(gauge), 2):
        held += gauge[i]
    if held > gauge[MOST_BYTES]:
        if gauge[STOP] == RUNNING:
            gauge[STOP] = TOO_LARGE
        return False
    gauge[WORKERS + 1 + 2 * worker] += more_bytes
    return True
