# SPDX-License-Identifier: Apache-2.0
"""Portraits as plain data, and the word for an id that is not there.

It knows values of any kind and no portraits.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

from desirepath.errors import DataError, nearest

MOST_COMPARED = 5_000
"""Ids among which the nearest is looked for: comparing texts is slow."""


def plain(value: Any) -> Any:
    """The value as JSON knows it: tables become lists of rows, times ISO text."""
    if isinstance(value, pl.DataFrame):
        return [plain(row) for row in value.to_dicts()]
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float) and value != value:
        return None
    return value


def close_id(name: str, ids: pl.Series) -> str:
    """A hint with the nearest of these ids: among those that share its longest known beginning."""
    for length in range(len(name), 0, -1):
        alike = ids.filter(ids.str.starts_with(name[:length]))
        if len(alike):
            return nearest(name, alike.head(MOST_COMPARED).to_list())
    return nearest(name, ids.head(MOST_COMPARED).to_list())


def missing(kind: str, name: str, hint: str, as_of: datetime) -> DataError:
    """The error of a portrait whose subject has no events."""
    return DataError(
        f"A portrait needs an event before {as_of.isoformat()}; the {kind} '{name}' has none. {hint}"
    )
