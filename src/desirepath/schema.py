# SPDX-License-Identifier: Apache-2.0
"""The nouns of an event log: its columns, their types and units.

Every floor above names columns through this file. It knows nothing of files or models.
"""

from __future__ import annotations

from typing import Final

import polars as pl

USER: Final = "user_id"
ITEM: Final = "item_id"
ACTION: Final = "action"
TIME: Final = "time"
EVENT_ID: Final = "event_id"
SESSION: Final = "session_id"
VALUE: Final = "value"

TIME_DTYPE: Final = pl.Datetime("us", "UTC")
"""Moments are UTC with microseconds."""

REQUIRED: Final[dict[str, pl.DataType]] = {
    USER: pl.String(),
    ITEM: pl.String(),
    ACTION: pl.String(),
    TIME: TIME_DTYPE,
}
"""What every event has. Ids are text: leading zeros, "NA" and 64-bit numbers survive."""

OPTIONAL: Final[dict[str, pl.DataType]] = {
    EVENT_ID: pl.String(),
    SESSION: pl.String(),
    VALUE: pl.Float64(),  # rating, quantity, amount or seconds of dwell, as the log means it
    "query": pl.String(),
    "device": pl.String(),
    "country": pl.String(),
    "region": pl.String(),
    "lat": pl.Float64(),  # degrees north
    "lon": pl.Float64(),  # degrees east
    "position": pl.Int32(),  # rank in a shown list, first = 1
    "impression_id": pl.String(),
    "source": pl.String(),
}
"""What an event may have; any further column of a log keeps its own name and is carried as text."""

EVENT: Final[dict[str, pl.DataType]] = REQUIRED | OPTIONAL

DEFAULT_ACTION: Final = "event"
"""The action of a log that names none."""

PADDING: Final = 0
"""Index of the padding entry in every vocabulary."""

UNKNOWN: Final = 1
"""Index of the entry for anything unseen when the vocabulary was made."""

FIRST: Final = 2
"""Index of the first real entry of a vocabulary."""
