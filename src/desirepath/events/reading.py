# SPDX-License-Identifier: Apache-2.0
"""From sources to a raw log: tables are read, their roles told, and canonical columns laid over them.

It decides which tables of a folder are events. Nothing is removed and nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from desirepath.errors import ConfigError, DataError
from desirepath.events.canonical import canonical, clock_runs, in_file_order, laid_over
from desirepath.events.clock import SECOND, Clock
from desirepath.events.inference import Guess, Role, infer, joined
from desirepath.events.masking import mask
from desirepath.events.raw import (
    ColumnChoice,
    ColumnUnderstanding,
    RawLog,
    TimeUnderstanding,
    Understanding,
    canonical_log,
)
from desirepath.events.tables import BROKEN, Table, read_tables
from desirepath.schema import ACTION, DEFAULT_ACTION, ITEM, REQUIRED, TIME, USER

SAMPLES = 3
"""Values of each column that are shown, masked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A table and what it was taken for."""

    table: Table
    sample: pl.DataFrame
    guess: Guess

    @property
    def quality(self) -> float:
        """How much it looks like a log: sure keys, a time, and users who come back."""
        roles = self.guess.roles
        keys = min((roles[role].confidence if role in roles else 0.0) for role in (USER, ITEM))
        back = 1.0
        if USER in roles:
            users = joined(self.sample, roles[USER]).drop_nulls()
            if len(users) > 50 and users.n_unique() > 0.99 * len(users):
                back = 0.25
        return (keys + (0.75 if self.guess.clock else 0.0)) * back


def read_events(
    sources: str | Path | pl.DataFrame | pl.LazyFrame | Sequence[str | Path],
    *,
    overrides: ColumnChoice | None = None,
    show_samples: bool = False,
    must_be_usable: bool = True,
    on_progress: Callable[[float], None] | None = None,
) -> RawLog:
    r"""The events of files, folders, patterns or databases, with every column understood and nothing removed.

    Args:
        sources: A path, a folder, a glob pattern, a database URL, several of them, or a polars table.
        overrides: What the caller says of columns, units and dialects; the rest is inferred.
        show_samples: Whether `understanding` holds real values rather than their shapes.
        must_be_usable: Whether a log without users or items is an error; `inspect` looks at such logs too.
        on_progress: Called with the share of the sources' bytes that has been read, 0 to 1.

    Raises: ConfigError for a source, column or option that does not exist; DataError for what cannot be read.
    Cost: text is read once (beyond a few hundred MiB through temporary Parquet); Parquet is only sampled.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "log.csv")
    ...     _ = path.write_text("user_id,item_id,timestamp\n007,a,1500000000\n007,b,1500000060\n")
    ...     log = read_events(path)
    >>> log.lazy.collect()["user_id"].to_list()
    ['007', '007']
    >>> log.understanding.time.unit
    's'
    """
    choice = overrides or ColumnChoice()
    if isinstance(sources, pl.DataFrame | pl.LazyFrame):
        return _from_frame(sources, choice, show_samples)
    named = [sources] if isinstance(sources, str | Path) else list(sources)
    reading = read_tables(named, choice, on_progress)
    try:
        candidates, notes = _logs(reading.tables, choice)
        for candidate in candidates:
            lack = lacking(candidate.guess, candidate.table.name, candidate.sample.columns)
            if lack and must_be_usable:
                raise DataError(lack)
            notes += [lack] if lack else []
        several = len(candidates) > 1
        runs = [clock_runs(candidate.table, candidate.guess, choice) for candidate in candidates]
        parts = [
            canonical(c.table, c.guess, run, c.table.stems[0] if several else DEFAULT_ACTION)
            for c, run in zip(candidates, runs, strict=True)
        ]
        lazy = parts[0] if not several else pl.concat(parts, how="diagonal")
        if all(candidate.guess.clock is None for candidate in candidates):
            lazy = in_file_order(lazy)
        clocks = [clock for run in runs for _, _, clock in run if clock]
        understanding = _understanding(candidates, lazy, clocks, show_samples, (*reading.notes, *notes))
    except BROKEN as error:
        raise DataError(
            f"{named[0]} must be readable to its end; polars says: {first_line(error)}"
        ) from error
    return RawLog(
        lazy=lazy,
        understanding=understanding,
        problems=dict(reading.complaints.counts),
        unreadable=reading.complaints.frame,
        keeps=(*reading.keeps, *(candidate.table for candidate in candidates)),
    )


def first_line(error: BaseException) -> str:
    """The first line of a library's message."""
    text = str(error)
    return text.splitlines()[0] if text else repr(error)


def _from_frame(frame: pl.DataFrame | pl.LazyFrame, choice: ColumnChoice, show_samples: bool) -> RawLog:
    """A table that lies in memory, or is scanned by the caller."""
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    if all(schema.get(name) == kind for name, kind in REQUIRED.items()) and choice == ColumnChoice():
        return canonical_log(lazy)
    sample = lazy.head(20_000).collect()
    if not sample.height:
        raise DataError("A log must hold events; the table has no rows.")
    guess = infer(sample, choice)
    lack = lacking(guess, "the table", sample.columns)
    if lack:
        raise DataError(lack)
    table = Table(columns=tuple(sample.columns))
    candidate = _Candidate(table=table, sample=sample, guess=guess)
    lazy = laid_over(lazy, guess, schema, DEFAULT_ACTION, guess.clock)
    lazy = lazy if guess.clock else in_file_order(lazy)
    clocks = [guess.clock] if guess.clock else []
    return RawLog(lazy=lazy, understanding=_understanding([candidate], lazy, clocks, show_samples, ()))


def _logs(tables: list[Table], choice: ColumnChoice) -> tuple[list[_Candidate], list[str]]:
    """The tables that are events, and notes on those that are not.

    Raises: DataError when several unlike tables of a folder could be the events.
    """
    candidates: list[_Candidate] = []
    notes: list[str] = []
    refused: list[ConfigError | DataError] = []
    for table in tables:
        sample = table.sample()
        try:
            if len(sample.columns) < 2:
                file = table.files[0]
                raise DataError(
                    f"{table.name} must have columns for users and items; only one was found "
                    f"({file.dialect or file.format}). Pass --delimiter if it was misread."
                )
            candidates.append(
                _Candidate(table=table, sample=sample, guess=infer(sample, choice, table.hints))
            )
        except (ConfigError, DataError) as error:
            if len(tables) == 1 or not table.found:
                raise
            refused.append(error)
            notes.append(f"Left out: {table.name}: {error}")
    if not candidates:
        raise refused[0]
    found = [c for c in candidates if c.table.found]
    if len(found) > 1:
        best = max(c.quality for c in candidates)
        for candidate in found:
            poor = candidate.quality < best - 0.5 or candidate.guess.missing
            if poor and len(candidates) > 1:
                candidates.remove(candidate)
                notes.append(f"Left out: {candidate.table.name}: it is no log beside the others.")
        unlike = [c.table.name for c in candidates if c.table.found]
        if len({c.table.columns for c in candidates if c.table.found}) > 1:
            raise DataError(
                f"One kind of log must be read at a time; {', '.join(unlike[:6])} could each be the events. "
                "Name the files that you mean; several that are named are put together."
            )
    return candidates, notes


def lacking(guess: Guess, name: str, columns: list[str]) -> str:
    """What must be said to the owner of a table without users or items; "" when it has both."""
    for role in guess.missing:
        word = "user" if role == USER else "item"
        alike = [c for c in columns if word in c.lower()][:3]
        several = f", or --{word} {'+'.join(alike)} if these identify one together" if len(alike) > 1 else ""
        some = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
        return (
            f"A log must say which {word} each event belongs to; none of the {len(columns)} columns "
            f"of {name} looks like {'a user' if word == 'user' else 'an item'} ({some}). "
            f"Pass --{word} COLUMN{several}."
        )
    return ""


def _understanding(
    candidates: list[_Candidate],
    lazy: pl.LazyFrame,
    clocks: list[Clock],
    show_samples: bool,
    notes: tuple[str, ...],
) -> Understanding:
    columns: list[ColumnUnderstanding] = []
    for candidate in candidates:
        known = {(column.source, column.role) for column in columns}
        columns += [c for c in _columns(candidate, show_samples) if (c.source, c.role) not in known]
    own = [note for candidate in candidates for note in candidate.guess.notes]
    if len(candidates) > 1:
        own.append(
            f"{len(candidates)} tables with unlike columns are put together; where one names no action, "
            "the file's name is the action."
        )
    if any(ACTION not in c.guess.roles for c in candidates) and len(candidates) == 1:
        own.append(f"No action column: every event is called '{DEFAULT_ACTION}'.")
    return Understanding(
        columns=tuple(columns),
        time=_time(candidates, lazy, clocks),
        files=tuple(file for candidate in candidates for file in candidate.table.files),
        notes=tuple(dict.fromkeys([*notes, *own])),
        missing=tuple(dict.fromkeys(role for c in candidates for role in c.guess.missing)),
    )


def _columns(candidate: _Candidate, show_samples: bool) -> list[ColumnUnderstanding]:
    """Every column of a table; a column with two roles is told twice."""
    guess, sample = candidate.guess, candidate.sample
    told: list[ColumnUnderstanding] = []
    for name, p in guess.profiles.items():
        mine: list[tuple[str | None, Role | None]] = [
            (role, what) for role, what in guess.roles.items() if name in what.columns
        ]
        values = tuple(
            str(v) for v in sample[name].drop_nulls().head(200).unique(maintain_order=True)[:SAMPLES]
        )
        for role, what in [*mine] or [(None, None)]:
            composite = what is not None and len(what.columns) > 1
            if what is None:
                reason = "left out" if name in guess.left_out else "carried under its own name"
            else:
                reason = f"{what.reason}; part of {what.source}" if composite else what.reason
            told.append(
                ColumnUnderstanding(
                    source=name,
                    role=role,
                    reason=reason,
                    confidence=round(what.confidence, 2) if what else 1.0,
                    dtype=p.kind,
                    null_share=round(p.null_share, 6),
                    samples=values if show_samples else tuple(mask(value) for value in values),
                    n_unique=p.n_unique,
                )
            )
    return told


def _time(candidates: list[_Candidate], lazy: pl.LazyFrame, clocks: list[Clock]) -> TimeUnderstanding:
    """The clock of the log, with its range over all rows."""
    timed = [c for c in candidates if c.guess.clock is not None]
    if not timed:
        return TimeUnderstanding(
            source="",
            unit="file order",
            reason="no column holds moments; the order of the rows stands for time",
        )
    clock, role = clocks[0], timed[0].guess.roles[TIME]
    low, high = (
        lazy.select(pl.col(TIME).min().alias("low"), pl.col(TIME).max().alias("high"))
        .collect(engine="streaming")
        .row(0)
    )
    sampled = laid_over(timed[0].sample.lazy(), timed[0].guess, timed[0].sample.schema, "", clock)
    if low is None:
        raise DataError(
            f"The time column '{role.source}' must hold moments; none can be read as {clock.unit}. "
            "Pass --time-unit, or --time with another column."
        )
    return TimeUnderstanding(
        source=role.source,
        unit=" or ".join(dict.fromkeys(c.unit for c in clocks)),
        reason=f"{role.reason}; {clock.reason}",
        first=low,
        last=high,
        is_relative=any(c.is_relative for c in clocks),
        resolution_s=_grain(sampled.select(TIME).collect()[TIME]),
    )


def _grain(time: pl.Series) -> float:
    """Seconds of the coarsest of day, hour, minute, second, ms, us in which all moments are whole."""
    micros = time.drop_nulls().cast(pl.Int64)
    sizes = (86_400 * SECOND, 3600 * SECOND, 60 * SECOND, SECOND, 1000, 1)
    return next(size for size in sizes if bool((micros % size == 0).all())) / SECOND
