# SPDX-License-Identifier: Apache-2.0
"""A clock: how the values of one time column are read as moments, as a polars expression.

It is made by `times`, which tells what the values mean; it knows nothing of names or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from desirepath.schema import TIME_DTYPE

SECOND = 1_000_000
"""Microseconds of a second."""
YEAR_1_US, YEAR_9999_US = -62_135_596_800 * SECOND, 253_402_300_799 * SECOND

LETTERS = {
    "%Y": "yyyy",
    "%y": "yy",
    "%m": "mm",
    "%d": "dd",
    "%b": "Mon",
    "%a": "Day",
    "%H": "HH",
    "%I": "hh",
    "%M": "MM",
    "%S": "SS",
    "%p": "AM",
    "%.f": ".ffffff",
    "%#z": "+HHMM",
    "%z": "+HHMM",
}


def spoken(pattern: str) -> str:
    """A strftime pattern for a person.

    >>> spoken("%d/%b/%Y:%H:%M:%S %z"), spoken("%+")
    ('dd/Mon/yyyy:HH:MM:SS +HHMM', 'ISO 8601 with offset')
    """
    whole = {"%+": "ISO 8601 with offset", "%H:%M:%S": "time of day"}
    if pattern in whole:
        return whole[pattern]
    for code, letters in LETTERS.items():
        pattern = pattern.replace(code, letters)
    return pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How one time column is read."""

    unit: str
    """What a value is: s, ms, ..., or a format."""
    reason: str
    """Why, in words for a person."""
    confidence: float
    """0 to 1."""
    scale_us: float = 0.0
    """Microseconds of one unit, for numbers."""
    whole: bool = True
    """Whether the numbers are whole."""
    origin_us: int = 0
    """Microseconds from 1970 to the unit's zero."""
    formats: tuple[str, ...] = ()
    """Formats to try in turn, for texts."""
    is_relative: bool = False
    """Counted from an origin that the log does not state."""

    def moments(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """The column as moments, null where it holds none that this clock can read."""
        if dtype.is_temporal():
            return _native(column, dtype)
        if self.scale_us:
            return self._numbers(column, dtype)
        text = column.cast(pl.String).str.strip_chars()
        tries = [parsed(text, pattern) for pattern in self.formats]
        return (tries[0] if len(tries) == 1 else pl.coalesce(tries)).cast(TIME_DTYPE)

    def _numbers(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        if dtype == pl.String():
            column = column.str.strip_chars()
        inexact = (column.cast(pl.Float64, strict=False) * self.scale_us).round().cast(pl.Int64, strict=False)
        micros = inexact
        if self.whole:
            number = column.cast(pl.Int64, strict=False)
            if self.scale_us < 1:
                micros = number // round(1 / self.scale_us)
            else:
                limit = int(YEAR_9999_US / self.scale_us)
                micros = pl.when(number.is_between(-limit, limit)).then(number * int(self.scale_us))
            if dtype == pl.String():  # a stray "1500000000.5" among whole numbers
                micros = pl.coalesce(micros, inexact)
        micros = micros + self.origin_us if self.origin_us else micros
        return pl.when(micros.is_between(YEAR_1_US, YEAR_9999_US)).then(micros).cast(TIME_DTYPE)


def _native(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return column.dt.convert_time_zone("UTC").cast(TIME_DTYPE)
    if isinstance(dtype, pl.Time | pl.Duration):
        return column.cast(pl.Duration("us")).cast(pl.Int64).cast(TIME_DTYPE)
    return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def parsed(text: pl.Expr, pattern: str) -> pl.Expr:
    """Texts of one form as moments, null where they have another; without a zone they count as UTC."""
    if pattern == "%H:%M:%S":
        return (text.str.to_time(pattern, strict=False).cast(pl.Int64) // 1000).cast(TIME_DTYPE)
    if "%Y%m%d" in pattern or "%y%m%d" in pattern:  # digits only; a float's ".0" is cut
        text = text.str.strip_suffix(".0")
    if pattern == "%Y%m%d%H":  # the parser wants minutes
        text, pattern = text + "00", "%Y%m%d%H%M"
    return text.str.to_datetime(pattern, strict=False, time_unit="us", time_zone="UTC")
