# SPDX-License-Identifier: Apache-2.0
"""Tells what the values of a time column mean, with the reason.

It looks at a sample of values and at the column's name; nothing is assumed that is not said. It
gives a clock and never reads a file.
"""

from __future__ import annotations

import re
from dataclasses import replace

import polars as pl

from desirepath.errors import ConfigError, DataError, nearest
from desirepath.events.clock import SECOND, Clock, parsed, spoken
from desirepath.events.masking import NULLS, mask
from desirepath.events.names import plain

UNITS_US: dict[str, float] = {
    "ns": 1e-3,
    "us": 1.0,
    "ms": 1e3,
    "s": 1e6,
    "minutes": 60e6,
    "hours": 3600e6,
    "days": 86400e6,
    "weeks": 7 * 86400e6,
}
"""Microseconds of each unit."""
EARLIEST_S, LATEST_S = 473_385_600.0, 4_102_444_800.0
"""1985 and 2100: where the bulk of an epoch time must lie to be believed."""
DIGITS: tuple[tuple[int, str, str, str], ...] = (
    (8, "yyyymmdd", r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", "%Y%m%d"),
    (
        14,
        "yyyymmddHHMMSS",
        r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])([01]\d|2[0-3])([0-5]\d){2}",
        "%Y%m%d%H%M%S",
    ),
    (12, "yyyymmddHHMM", r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])([01]\d|2[0-3])[0-5]\d", "%Y%m%d%H%M"),
    (12, "yymmddHHMMSS", r"\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])([01]\d|2[0-3])([0-5]\d){2}", "%y%m%d%H%M%S"),
    (10, "yyyymmddHH", r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])([01]\d|2[0-3])", "%Y%m%d%H"),
)
"""Length, name, pattern and format of moments written as digits only."""

_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_FIXED = (
    "%+",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y%m%dT%H%M%S",
    "%Y%m%dT%H%M%S%#z",
    "%Y-%m-%d %H:%M:%S GMT",
    "%d/%b/%Y:%H:%M:%S %z",
    "%a %b %d %H:%M:%S %z %Y",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%m %d, %Y",
    "%Y年%m月%d日",
    "%Y年%m月%d日 %H:%M:%S",
    *(
        f"{day}{clock}"
        for day in ("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y", "%b %d %Y")
        for clock in _CLOCKS
    ),
)
_TWINS = tuple(
    (f"%d{sep}%m{sep}{year}{clock}", f"%m{sep}%d{sep}{year}{clock}")
    for year in ("%Y", "%y")
    for sep in ("/", "-", ".")
    for clock in _CLOCKS
)
"""Formats that differ only in whether the day or the month comes first."""


def understand(values: pl.Series, name: str, unit: str | None = None) -> Clock:
    """The clock of a column, from a sample of its values.

    Raises: DataError when the values are no moments; ConfigError for a unit that is not known.

    Args:
        values: A sample, as it lies in the file; nulls and null markers are passed over.
        name: Name of the column, which may state a unit.
        unit: What the caller says: a unit, or a strftime pattern.
    """
    if values.dtype.is_temporal():
        zone = getattr(values.dtype, "time_zone", None)
        kind = "moments" if isinstance(values.dtype, pl.Datetime) else str(values.dtype).lower()
        relative = isinstance(values.dtype, pl.Time | pl.Duration)
        reason = f"the column holds {kind}" + ("" if zone or relative else " without a zone, taken as UTC")
        return Clock(unit=kind, reason=reason, confidence=1.0, is_relative=relative)
    present = values.drop_nulls()
    if values.dtype == pl.String():
        present = present.filter(~present.str.strip_chars().is_in(NULLS)).str.strip_chars()
    if unit is not None:
        return _as_asked(present, unit)
    if present.is_empty():
        raise DataError(f"The time column '{name}' must hold moments; every sampled value is empty.")
    numbers = present.cast(pl.Float64, strict=False)
    numbers = numbers.filter(numbers.is_finite() & numbers.is_not_null())
    if len(numbers) >= 0.9 * len(present):
        return _numeric(present, numbers, name)
    if values.dtype == pl.String():
        found = _textual(present)
        if found:
            return found
    shapes = ", ".join(f"'{mask(str(value))}'" for value in present.head(3))
    raise DataError(
        f"The time column '{name}' must hold moments in a form that is known; values look like {shapes}. "
        "Pass --time-unit with a unit or a strftime pattern, --time with another column, "
        "or --time none to take the order of the file."
    )


def _as_asked(present: pl.Series, unit: str) -> Clock:
    if "%" in unit:
        if _share(present, unit) == 0.0:
            shapes = ", ".join(f"'{mask(str(value))}'" for value in present.head(3))
            raise DataError(f"time_unit '{unit}' must fit the time column; it fits none of: {shapes}.")
        return Clock(unit=unit, reason="as asked for", confidence=1.0, formats=(unit,))
    word = {"second": "s", "seconds": "s", "sec": "s", "float s": "s", "millis": "ms", "micros": "us"}.get(
        unit, unit
    )
    word = word if word in UNITS_US or f"{word}s" not in UNITS_US else f"{word}s"
    numbers = present.cast(pl.Float64, strict=False)
    whole = bool((numbers == numbers.round()).all()) and _plain_digits(present)
    if word in UNITS_US:
        median = numbers.median()
        center = (median if isinstance(median, float) else 0.0) * UNITS_US[word] / SECOND
        return Clock(
            unit=word,
            reason="as asked for",
            confidence=1.0,
            scale_us=UNITS_US[word],
            whole=whole,
            is_relative=not EARLIEST_S <= center <= LATEST_S,
        )
    if word == "excel":
        return Clock(
            unit="days since 1899-12-30",
            reason="as asked for",
            confidence=1.0,
            scale_us=UNITS_US["days"],
            whole=whole,
            origin_us=-25569 * 86400 * SECOND,
        )
    if word == "iso":
        found = _textual(present)
        if found:
            return replace(found, reason="as asked for", confidence=1.0)
    for _, digits, _, pattern in DIGITS:
        if word.lower() == digits.lower():
            return Clock(unit=digits, reason="as asked for", confidence=1.0, formats=(pattern,))
    known = [*UNITS_US, "iso", "excel", *(digits for _, digits, _, _ in DIGITS)]
    hint = nearest(unit, known)
    raise ConfigError(
        f"time_unit must be a strftime pattern or one of {', '.join(known)}; got '{unit}'. {hint}"
    )


def _plain_digits(present: pl.Series) -> bool:
    """Whether whole numbers are written without a point or an exponent, so that they can be read as such."""
    return present.dtype != pl.String() or bool(present.str.contains(r"^[+-]?\d+$").all())


def _numeric(present: pl.Series, numbers: pl.Series, name: str) -> Clock:
    whole = bool((numbers == numbers.round()).all())
    as_text = numbers.round().cast(pl.Int64, strict=False).cast(pl.String).drop_nulls()
    if whole:
        digits = _digit_moment(as_text)
        if digits:
            return digits
    exact = whole and (present.dtype.is_integer() or _plain_digits(present)) and not present.dtype.is_float()
    for unit in ("s", "ms", "us", "ns"):
        seconds = numbers * (UNITS_US[unit] / SECOND)
        share = seconds.is_between(EARLIEST_S, LATEST_S).mean()
        if isinstance(share, float) and share >= 0.8:
            years = dict.fromkeys(_year(seconds.quantile(q, "nearest")) for q in (0.01, 0.99))
            name = unit if exact else f"float {unit}"
            return Clock(
                unit=name,
                reason=f"read as {name} since 1970 they fall in {' to '.join(years)}",
                confidence=0.95,
                scale_us=UNITS_US[unit],
                whole=exact,
            )
    return _relative(numbers, name, exact)


def _year(seconds: float | None) -> str:
    return str(pl.Series([int((seconds or 0.0) * SECOND)]).cast(pl.Datetime("us")).dt.year()[0])


def _digit_moment(text: pl.Series) -> Clock | None:
    lengths = text.str.len_chars()
    for length, digits, pattern, form in DIGITS:
        if (lengths == length).mean() != 1.0:
            continue
        if length == 10 and str(text.min()) < "1985":
            continue
        fits = text.str.contains(f"^{pattern}$").mean()
        few = text.n_unique() < 20
        if isinstance(fits, float) and fits >= (0.999 if length > 8 else 0.98):
            return Clock(
                unit=digits,
                reason=f"every value has {length} digits that make a date",
                confidence=0.6 if few and length in (10, 12) else 0.95,
                formats=(form,),
            )
    return None


def _relative(numbers: pl.Series, name: str, whole: bool) -> Clock:
    word = plain(name)
    stated = {
        "minutes": r"minutes?|mins?",
        "hours": r"hours?|hrs?",
        "days": r"days?",
        "weeks": r"weeks?",
        "ms": r"ms|millis(econds)?",
        "us": r"us|micros(econds)?",
        "s": r"s|secs?|seconds?",
    }
    for unit, pattern in stated.items():
        if re.search(rf"(^|_)({pattern})(_|$)", word):
            why = f"too small for a date; the name says {unit}; origin not stated, 1970-01-01 stands for it"
            return Clock(
                unit=unit, reason=why, confidence=0.8, scale_us=UNITS_US[unit], whole=whole, is_relative=True
            )
    if "date" in word and bool(numbers.is_between(20_000, 73_050).all()):
        return Clock(
            unit="days since 1899-12-30",
            reason="called a date and of the size of a spreadsheet's day numbers",
            confidence=0.5,
            scale_us=UNITS_US["days"],
            whole=whole,
            origin_us=-25569 * 86400 * SECOND,
        )
    return Clock(
        unit="s",
        reason="no unit is stated and no date fits: only their order and distance can be used, "
        "taken as seconds from 1970-01-01; pass --time-unit if you know better",
        confidence=0.3,
        scale_us=UNITS_US["s"],
        whole=whole,
        is_relative=True,
    )


def _share(present: pl.Series, pattern: str) -> float:
    """Share of texts that a format reads as a moment between 1900 and 2200."""
    moments = present.to_frame("t").select(parsed(pl.col("t"), pattern))["t"]
    if pattern == "%H:%M:%S":
        return 1.0 - moments.null_count() / max(len(present), 1)
    return int(moments.dt.year().is_between(1900, 2200).sum()) / max(len(present), 1)


def _textual(present: pl.Series) -> Clock | None:
    """The formats that read the most texts, or None when they read under half."""
    some = present.unique(maintain_order=True).head(3000)
    shares = {pattern: _share(some, pattern) for pattern in _FIXED}
    why = ""
    confidence = 0.95
    for day_first, month_first in _TWINS:
        a, b = _share(some, day_first), _share(some, month_first)
        if max(a, b) < 0.5:
            continue
        if a == b:
            day, month = (_backwards(present, pattern) for pattern in (day_first, month_first))
            winner = day_first if day <= month else month_first
            why = "; day and month could be swapped, this order runs backwards less often"
            confidence = 0.5
        else:
            winner = day_first if a > b else month_first
            why = "; only this order of day and month gives dates"
        shares[winner] = max(a, b)
    shares["%H:%M:%S"] = _share(some, "%H:%M:%S")
    best = max(shares, key=lambda pattern: shares[pattern])
    total = shares[best]
    if total < 0.5:
        return None
    formats = [best]
    if total < 1.0:
        rest = some.filter(some.to_frame("t").select(parsed(pl.col("t"), best).is_null())["t"])
        for pattern in (p for p, share in shares.items() if share and p != best):
            if len(rest) and _share(rest, pattern) > 0.2:
                formats.append(pattern)
                rest = rest.filter(rest.to_frame("t").select(parsed(pl.col("t"), pattern).is_null())["t"])
        total = 1.0 - len(rest) / len(some)
    states_zone = best in ("%+", "%H:%M:%S") or "z" in best or "GMT" in best
    zone = "" if states_zone else ", taken as UTC"
    return Clock(
        unit=" or ".join(spoken(pattern) for pattern in formats),
        reason=f"reads {total:.1%} of the sampled values{zone}{why}",
        confidence=confidence * min(1.0, total),
        formats=tuple(formats),
        is_relative=best == "%H:%M:%S",
    )


def _backwards(present: pl.Series, pattern: str) -> int:
    moments = present.to_frame("t").select(parsed(pl.col("t"), pattern))["t"].drop_nulls()
    return int((moments.diff().cast(pl.Int64) < 0).sum())
