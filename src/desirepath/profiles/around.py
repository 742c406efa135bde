# SPDX-License-Identifier: Apache-2.0
"""What people met just before and just after an item.

It reads packed sequences only; the portrait of an item shows its table.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from desirepath.errors import DataError, nearest
from desirepath.sequences import Sequences

SCHEMA = {
    "direction": pl.String,
    "item_id": pl.String,
    "n": pl.Int64,
    "share": pl.Float64,
    "lift": pl.Float64,
}


def around(sequences: Sequences, item_id: str, as_of: datetime, k: int = 5) -> pl.DataFrame:
    """The k items met most just before and just after: direction, item_id, n, share, lift.

    direction is "before" or "after". Events of one item in a row (a view, then a like) are one meeting,
    so an item never follows itself.
    `share` is of all meetings that something precedes (or follows), so that what is not listed is the
    rest; `lift` = n * N / (times the item has a neighbour on that side * times the other has one on its
    side), N the pairs of all items: 1 when the two have nothing to do with each other. Only events
    before `as_of` are seen.

    Raises:
        DataError: the item is not in the sequences.

    Cost: a few passes over the item column.
    """
    ix = sequences.items.index(item_id)
    if ix is None:
        raise DataError(
            f"No event has the item '{item_id}'. {nearest(item_id, sequences.items.ids[:100_000])}"
        )
    item = np.asarray(sequences.item_ix)
    opens = np.zeros(len(item), dtype=bool)
    opens[sequences.offsets[:-1][sequences.lengths > 0]] = True
    starts = opens.copy()
    starts[1:] |= item[1:] != item[:-1]
    met = np.flatnonzero(starts & (np.asarray(sequences.time_s) < as_of.timestamp()))
    seen = item[met]
    pairs = np.flatnonzero(~opens[met[1:]])
    first, second = seen[pairs], seen[pairs + 1]
    size = len(sequences.items)
    tables = []
    for direction, mine, others in (("before", second, first), ("after", first, second)):
        n = np.bincount(others[mine == ix], minlength=size)
        total = int(n.sum())
        best = np.argsort(-n, kind="stable")[:k]
        best = best[n[best] > 0]
        elsewhere = np.bincount(others, minlength=size)[best]
        tables.append(
            pl.DataFrame(
                {
                    "direction": [direction] * len(best),
                    "item_id": sequences.items.decode(best),
                    "n": n[best],
                    "share": n[best] / max(total, 1),
                    "lift": n[best] * len(pairs) / np.maximum(total * elsewhere, 1),
                },
                schema=SCHEMA,
            )
        )
    return pl.concat(tables)
