# SPDX-License-Identifier: Apache-2.0
"""A raw log as it was read: canonical columns, nothing removed, and how each of them was understood.

It knows no file formats and no cleaning rules. It is made by `reading.read_events`; cleaning, the
event log and the inspection take it from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from desirepath.errors import DataError
from desirepath.schema import EVENT, REQUIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChoice:
    """What the caller says about a log; whatever is left at None is inferred and shown.

    A role takes the name of a column, "a+b" for a composite id, or "none" for a role that must stay empty.
    """

    user: str | None = None
    """Column of the user ids."""
    item: str | None = None
    """Column of the item ids."""
    time: str | None = None
    """Column of the moment; "none" takes the events in the order of the file."""
    action: str | None = None
    """Column of the action."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Further canonical columns by name, such as {"session_id": "visit", "value": "price"}."""
    time_unit: str | None = None
    """s, ms, us, ns, minutes, hours, days, weeks, iso, yyyymmdd, excel, or a pattern such as "%d/%m/%Y"."""
    delimiter: str | None = None
    """Text between two fields; "tab" and "space" may be written out."""
    header: bool | None = None
    """Whether the first line names the columns."""
    encoding: str | None = None
    """A Python codec name, such as "gb18030"."""
    query: str | None = None
    """SQL to read when a source is a database URL."""
    table: str | None = None
    """Table to read when a source is a database URL that holds several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnUnderstanding:
    """One column of the source and what it was taken for."""

    source: str
    """Name in the file ("column_2" where the file has no header; "a+b" for a composite)."""
    role: str | None
    """Canonical column that it fills; None when it is carried under its own name."""
    reason: str
    """Why, in words for a person."""
    confidence: float
    """0 to 1; 1 is the caller's own word."""
    dtype: str
    """Kind of its values: integer, float, text, category, moment, boolean, empty."""
    null_share: float
    """Share of sampled rows without a value, 0 to 1."""
    samples: tuple[str, ...]
    """Some values; masked to their shape (letters a, digits 9) unless asked for otherwise."""
    n_unique: int = 0
    """Distinct values among the sampled rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeUnderstanding:
    """How the moments of a log were read."""

    source: str
    """Column or columns they came from; "" when the order of the file stands for time."""
    unit: str
    """s, ms, us, ns, float s, minutes, hours, days, ISO 8601, yyyymmdd, ... or "file order"."""
    reason: str
    """Why this unit, in words for a person."""
    first: datetime | None = None
    """Earliest moment seen while reading, UTC."""
    last: datetime | None = None
    """Latest moment seen while reading, UTC."""
    is_relative: bool = False
    """Counted from an origin the log does not state, shown as 1970-01-01; calendar windows do not apply."""
    resolution_s: float = 0.0
    """Seconds between two readings of the clock, such as 86400 for day grain; 0 when not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUnderstanding:
    """One file, archive member or table that was read."""

    name: str
    """Path as given, with "archive.zip:member" for a member."""
    format: str
    """delimited, jsonl, json, parquet, access log, sequences, sql."""
    dialect: str
    """Delimiter, quoting and header in words."""
    encoding: str
    """Codec of its text; "" for binary formats."""
    compression: str
    """gz, zst, zip, bz2, xz or ""."""
    rows: int
    """Rows read; -1 where they were not counted (Parquet is counted from its footer)."""
    fingerprint: str = ""
    """Identity of the content (SHA-256 of the stored bytes, hex), so that the same file twice can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Understanding:
    """What was understood of a log, with a reason for each choice."""

    columns: tuple[ColumnUnderstanding, ...]
    time: TimeUnderstanding
    files: tuple[FileUnderstanding, ...]
    notes: tuple[str, ...] = ()
    """Whatever the reader of the log should know: assumptions, defaults, things left out."""
    missing: tuple[str, ...] = ()
    """Required canonical columns that could not be found; empty for a log that can be used."""

    @property
    def ordered_by_file(self) -> bool:
        """Whether the log has no time, so that the order of its rows stands for it."""
        return self.time.unit == "file order"

    def source_of(self, role: str) -> str | None:
        """Name in the file of the column that fills a canonical column."""
        return next((column.source for column in self.columns if column.role == role), None)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON; moments become ISO 8601 text."""
        plain: dict[str, Any] = asdict(self)
        for key in ("first", "last"):
            moment = plain["time"][key]
            plain["time"][key] = moment.isoformat() if moment else None
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLog:
    """Events in the order of their files, with canonical columns and nothing removed.

    `lazy` has user_id, item_id, action (String) and time (Datetime us, UTC), the optional canonical
    columns that were found, and every further column as String under its own name. Keys and times
    that are absent or cannot be read are null. It may be collected with the streaming engine, any
    number of times, for as long as this object lives (it owns the temporary files behind it).
    """

    lazy: pl.LazyFrame
    understanding: Understanding
    problems: dict[str, int] = field(default_factory=dict)
    """Rows that could not be read at all, by reason, such as {"ragged line": 3}; they are not in `lazy`."""
    unreadable: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema={"file": pl.String(), "line": pl.Int64(), "reason": pl.String(), "text": pl.String()}
        )
    )
    """The rows behind `problems` (at most a million): file, line (null where unknown), reason, text."""
    keeps: tuple[object, ...] = ()
    """What must stay alive while `lazy` is used, such as temporary files."""


def canonical_log(frame: pl.LazyFrame | pl.DataFrame, name: str = "table") -> RawLog:
    """A table that has the canonical columns already, as a raw log.

    Raises: DataError when a required column is missing.

    >>> from datetime import UTC, datetime
    >>> moment = datetime(2026, 1, 1, tzinfo=UTC)
    >>> log = canonical_log(pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "action": ["view"],
    ...                                   "time": [moment]}))
    >>> log.lazy.collect_schema().names()
    ['user_id', 'item_id', 'action', 'time']
    """
    lazy = frame.lazy()
    names = lazy.collect_schema().names()
    missing = [role for role in REQUIRED if role not in names]
    if missing:
        raise DataError(
            f"A canonical table must have {', '.join(REQUIRED)}; '{name}' lacks {', '.join(missing)}. "
            "Read it with read_events to have its columns inferred."
        )
    columns = tuple(
        ColumnUnderstanding(
            source=column,
            role=column if column in EVENT else None,
            reason="the name is canonical" if column in EVENT else "carried under its own name",
            confidence=1.0,
            dtype=str(EVENT.get(column, "text")),
            null_share=0.0,
            samples=(),
        )
        for column in names
    )
    understanding = Understanding(
        columns=columns,
        time=TimeUnderstanding(source="time", unit="moment", reason="the column holds moments"),
        files=(),
    )
    return RawLog(
        lazy=lazy.with_columns(
            pl.col(column).cast(EVENT.get(column, pl.String()), strict=False) for column in names
        ),
        understanding=understanding,
    )
