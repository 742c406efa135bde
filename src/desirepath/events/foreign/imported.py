# SPDX-License-Identifier: Apache-2.0
"""What an importer hands over: a raw log, tables of items and users, shown lists, and what was wrong.

It knows no foreign format; each reader fills it, and the flow takes it to the intake and the workspace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from desirepath.errors import DataError
from desirepath.events.masking import mask
from desirepath.events.raw import (
    ColumnUnderstanding,
    FileUnderstanding,
    RawLog,
    TimeUnderstanding,
    Understanding,
)
from desirepath.events.spool import Complaints, Spool
from desirepath.schema import EVENT, REQUIRED, TIME

SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Everything that came out of another system's files."""

    format: str
    """Key of FORMATS."""
    log: RawLog | None
    """The events; None where the files hold only items or users."""
    items: pl.DataFrame | None = None
    """item_id first, then what is known of it; one row an id."""
    users: pl.DataFrame | None = None
    """user_id first, then what is known of them; one row an id."""
    shown: pl.LazyFrame | None = None
    """impression_id, position (first = 1), item_id, user_id, time and score of lists that were shown."""
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know of the import, beside the log's own notes."""
    damage: tuple[str, ...] = ()
    """Where a file is cut or broken, and what of it is whole; empty for sound files."""
    keeps: tuple[object, ...] = field(default=())
    """What must stay alive while `shown` is used."""


@dataclass(slots=True)
class Gathered:
    """Events on their way into a raw log, with the columns that turned out to hold anything."""

    sources: Mapping[str, str]
    """Column to its name in the foreign format."""
    spool: Spool = field(default_factory=Spool)
    complaints: Complaints = field(default_factory=Complaints)
    filled: dict[str, None] = field(default_factory=dict)

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows with the required columns, typed, and any others; those become text."""
        texts = [pl.col(name).cast(EVENT.get(name, pl.String()), strict=False) for name in frame.columns]
        frame = frame.with_columns(texts)
        has = frame.select(pl.all().is_not_null().any()).row(0) if frame.height else ()
        names = [name for name, some in zip(frame.columns, has, strict=False) if some or name in REQUIRED]
        self.filled.update(dict.fromkeys(names))
        self.spool.append(frame.select(names))

    def log(self, files: Sequence[FileUnderstanding], notes: Iterable[str], clock: tuple[str, str]) -> RawLog:
        """The raw log of all that was added.

        Args:
            files: what was read.
            notes: for the reader of the log.
            clock: the unit of the times, and why it is that.

        Raises:
            DataError: there is no event, or none has a time.
        """
        names = ", ".join(file.name for file in files)
        if not self.spool.rows:
            raise DataError(f"A log must hold events; {names} holds none that can be read.")
        lazy = self.spool.lazy().select(list(self.filled))
        return raw_log(lazy, self.spool.sample, self, (files, tuple(notes), clock))


def raw_log(
    lazy: pl.LazyFrame,
    sample: pl.DataFrame,
    gathered: Gathered,
    told: tuple[Sequence[FileUnderstanding], tuple[str, ...], tuple[str, str]],
) -> RawLog:
    """A raw log of canonical rows, with what is understood of their columns and times."""
    files, notes, (unit, why) = told
    low, high = (
        lazy.select(pl.col(TIME).min().alias("low"), pl.col(TIME).max().alias("high"))
        .collect(engine="streaming")
        .row(0)
    )
    if low is None:
        raise DataError(
            f"Events must have times; none of those in {', '.join(file.name for file in files)} has one."
        )
    columns = tuple(
        _column(name, gathered.sources.get(name, name), sample) for name in lazy.collect_schema().names()
    )
    source = gathered.sources.get(TIME, TIME)
    return RawLog(
        lazy=lazy,
        understanding=Understanding(
            columns=columns,
            time=TimeUnderstanding(source=source, unit=unit, reason=why, first=low, last=high),
            files=tuple(files),
            notes=notes,
        ),
        problems=dict(gathered.complaints.counts),
        unreadable=gathered.complaints.frame,
        keeps=(gathered,),
    )


def _column(name: str, source: str, sample: pl.DataFrame) -> ColumnUnderstanding:
    values = sample.get_column(name) if name in sample.columns else pl.Series([], dtype=pl.String)
    some = values.drop_nulls().head(200).unique(maintain_order=True)[:SAMPLES]
    return ColumnUnderstanding(
        source=source,
        role=name if name in EVENT else None,
        reason="the format says so" if name in EVENT else "carried under its own name",
        confidence=1.0,
        dtype="moment" if name == TIME else "float" if values.dtype == pl.Float64 else "text",
        null_share=round(values.null_count() / max(len(values), 1), 6),
        samples=tuple(mask(str(value)) for value in some),
        n_unique=values.n_unique(),
    )


def keyed(frames: Sequence[pl.DataFrame], key: str) -> pl.DataFrame | None:
    """Tables as one, one row an id, the last that was met; rows without an id are left out."""
    if not frames:
        return None
    table = pl.concat(frames, how="diagonal_relaxed")
    rows = table.filter(pl.col(key).is_not_null() & (pl.col(key) != ""))
    rows = rows.unique(key, keep="last", maintain_order=True)
    full = rows.select(pl.all().is_not_null().any()).row(0) if rows.height else ()
    names = [name for name, some in zip(rows.columns, full, strict=False) if some or name == key]
    return rows.select(key, *(name for name in names if name != key)) if rows.height else None
