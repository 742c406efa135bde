# SPDX-License-Identifier: Apache-2.0
"""Rows that should not be in a log: copies of clean rows, exact or broken, each with one flaw.

Flaws are added, never made out of a clean row: whoever removes every flawed row has the clean log
back to the row.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.simulate.chance import generator
from desirepath.simulate.settings import MarketplaceConfig

CLEAN: Final = 0
DUPLICATE: Final = 1
REPEATED_ID: Final = 2
NO_USER: Final = 3
NO_ITEM: Final = 4
BAD_TIME: Final = 5
FAR_TIME: Final = 6
NEGATIVE: Final = 7

FLAWS: Final = (
    "clean", "exact_duplicate", "repeated_event_id", "missing_user", "missing_item", "bad_time",
    "time_outside", "negative_value",
)  # fmt: skip
"""Names of the flaws by code."""

LATE_ROWS = 300
"""A copy stands up to so many rows after its original."""

BAD_TIMES = ("", "not a time", "0000-00-00 00:00:00", "31/31/2025", "yesterday")
"""What a CSV file holds where a time cannot be read; a Parquet file holds null."""

FAR_TIMES_US = (0, 4_086_979_200_000_000)
"""1970-01-01 and 2099-07-06: a clock that was never set, and one that was set wrongly."""


class Layout(NamedTuple):
    """How the rows of a shard stand in the file."""

    row: NDArray[np.int64]
    """Clean row that each row of the file is or copies."""
    flaw: NDArray[np.int8]
    """Code of its flaw, 0 for the clean row itself."""
    number: NDArray[np.int64]
    """Number of its event id within the shard; copies of the kinds 1 and 2 share their original's."""
    pick: NDArray[np.float64]
    """A number in [0, 1) for each row, for whatever the flaw has to choose."""


def lay_out(config: MarketplaceConfig, shard: int, copied: NDArray[np.bool_]) -> Layout:
    """Add the flawed copies to the rows of a shard.

    Args:
        config: shares of duplicates and dirty rows; a lean log has no flaws in columns it lacks.
        shard: number of the shard.
        copied: which clean rows may be copied (all but those of robots).

    Returns:
        The layout of `len(copied)` clean rows and their copies.
    """
    rng = generator(config.seed, 14, shard)
    n = len(copied)
    eligible = np.flatnonzero(copied)
    n_same, n_dirty = round(config.duplicate_share * n), round(config.dirty_share * n)
    chosen = rng.choice(eligible, size=min(len(eligible), n_same + n_dirty), replace=False)
    kinds = [NO_USER, NO_ITEM, BAD_TIME, FAR_TIME]
    if not config.lean:
        kinds += [NEGATIVE, REPEATED_ID]
    flaws = np.full(len(chosen), DUPLICATE, np.int8)
    flaws[n_same:] = np.resize(np.array(kinds, np.int8), max(0, len(chosen) - n_same))
    place = np.minimum(chosen + 1 + rng.integers(0, LATE_ROWS, len(chosen)), n)
    order = np.argsort(place, kind="stable")
    chosen, flaws, place = chosen[order], flaws[order], place[order]
    row = np.insert(np.arange(n), place, chosen)
    flaw = np.insert(np.zeros(n, np.int8), place, flaws)
    own = (flaw != DUPLICATE) & (flaw != REPEATED_ID)
    number = np.cumsum(own) - 1
    original = np.empty(n, np.int64)
    original[row[flaw == CLEAN]] = number[flaw == CLEAN]
    number = np.where(own, number, original[row])
    return Layout(row=row, flaw=flaw, number=number, pick=rng.random(len(row)))
