# SPDX-License-Identifier: Apache-2.0
"""Texts as moments, for formats that allow several ways of writing them side by side.

It knows ISO 8601 and its looser relatives and whole numbers since 1970; unlike `times`, it judges each
value by itself, since writers of such files mix them.
"""

from __future__ import annotations

import polars as pl

from desirepath.events.clock import parsed
from desirepath.schema import TIME_DTYPE

FORMATS = (
    "%+",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
    "%a, %d %b %Y %H:%M:%S %z",
)
DIGITS = {"s": (1, 11), "ms": (12, 14), "us": (15, 17), "ns": (18, 19)}
"""Lengths of whole numbers since 1970, by unit."""
PER_SECOND = {"s": 1_000_000, "ms": 1000, "us": 1}


def moments(column: str, unit: str | None = None) -> pl.Expr:
    """A column of texts as moments in UTC, null where none can be read and in the year 1 (Go's "never").

    Args:
        column: its name, which it keeps.
        unit: s, ms or us, which whole numbers count; None tells it by their length.
    """
    text = pl.col(column).str.strip_chars()
    text = text.str.replace(r" ([+-]\d{4}) [A-Z]{3,4}$", "$1").str.replace(r" UTC$", "Z")
    tries = [parsed(text, pattern) for pattern in FORMATS]
    number = text.str.extract(r"^(-?\d{1,19})(?:\.0*)?$", 1).cast(pl.Int64, strict=False)
    if unit is not None:
        scale = PER_SECOND[unit]
        limit = 253_402_300_799_000_000 // scale
        micros: pl.Expr = pl.when(number.is_between(-limit, limit)).then(number * scale)
    else:
        length = text.str.extract(r"^-?(\d{1,19})(?:\.0*)?$", 1).str.len_chars()
        micros = pl.coalesce(
            pl.when(length.is_between(*DIGITS["s"])).then(number * 1_000_000),
            pl.when(length.is_between(*DIGITS["ms"])).then(number * 1000),
            pl.when(length.is_between(*DIGITS["us"])).then(number),
            pl.when(length.is_between(*DIGITS["ns"])).then(number // 1000),
        )
    found = pl.coalesce(micros.cast(TIME_DTYPE), *tries)
    return pl.when(found.dt.year() > 1).then(found).alias(column)
