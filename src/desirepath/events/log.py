# SPDX-License-Identifier: Apache-2.0
"""The event log on disk: append-only Parquet, taken in piece by piece, whole after any accident.

    events/
      manifest.json            what counts; replaced in one step at the end of an intake
      000001/part-0000.parquet rows of the first intake, by user, then time, then file
      000001/user_id.parquet   ids that this intake brought, in order of first appearance
      000001-e1/...            what the first erasure left of a file of that intake, in its place
      pending/                 an intake under way, or the rest of one that was cut

It knows canonical raw logs and cleaned rows. Sequences are built from it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import DataError, WorkspaceError
from desirepath.events.cleaning import RULES, CleaningConfig
from desirepath.events.ids import IdTable
from desirepath.events.intake import Before, Intake, Progress, silent
from desirepath.events.manifest import IngestReport, Manifest
from desirepath.events.parts import Group, Part, read_groups, write_part
from desirepath.events.raw import RawLog
from desirepath.events.rejects import Rejects
from desirepath.events.repeats import hash_ids
from desirepath.events.rows import Rows
from desirepath.schema import ACTION, EVENT, EVENT_ID, ITEM, REQUIRED, USER

LISTS = (USER, ITEM, ACTION)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EventLog:
    """All events that were taken in, in the order user, time, file within each intake."""

    def __init__(self, folder: Path) -> None:
        """The log in `folder`, which need not exist yet.

        Raises:
            WorkspaceError: the manifest is damaged, of a newer format, or names files that are gone.
        """
        self.folder = folder
        self.manifest = Manifest.load(folder)
        gone = [part.file for part in self.manifest.parts if not (folder / part.file).exists()]
        gone += [name for name in self.manifest.id_files if not (folder / name).exists()]
        if gone:
            raise WorkspaceError(
                f"The event log {folder} lacks {len(gone)} of its files, such as {gone[0]}. "
                "Restore them from a backup, or remove the folder and ingest again."
            )

    def __len__(self) -> int:
        """The number of events."""
        return self.manifest.rows

    def ids(self, column: str) -> pl.Series:
        """All ids of "user_id", "item_id" or "action", in order of first appearance over all intakes."""
        files = [self.folder / name for name in self.manifest.id_files if Path(name).stem == column]
        pieces = [pl.read_parquet(path).get_column("id") for path in files]
        return pl.concat(pieces) if pieces else pl.Series("id", [], dtype=pl.String)

    def scan(self) -> pl.LazyFrame:
        """All events as a lazy table with outside ids; columns that an intake lacked are null there."""
        schema = {name: EVENT.get(name, pl.String()) for name in self.manifest.columns}
        if not schema:
            return pl.LazyFrame(schema=REQUIRED)
        by_columns: dict[tuple[str, ...], list[Path]] = {}
        for part in self.manifest.parts:
            by_columns.setdefault(part.columns, []).append(self.folder / part.file)
        tables = [pl.scan_parquet(paths).select(columns) for columns, paths in by_columns.items()]
        return pl.concat(tables, how="diagonal") if len(tables) > 1 else tables[0]

    def append(
        self,
        raw: RawLog,
        cleaning: CleaningConfig | None = None,
        *,
        rejects: str | Path | None = None,
        on_progress: Progress = silent,
    ) -> IngestReport:
        """Take in a raw log; whatever happens, the log is afterwards as it was, or has all of it.

        Content that the log has (told by the fingerprints of its files) is not read again. Rows equal
        to rows of the log, or with an event id of the log, are not added.

        Args:
            raw: what was read.
            cleaning: the rules; all at their defaults when None.
            rejects: a .parquet or .csv file for the rows that were removed.
            on_progress: called with the step's title, the share done and a note.

        Raises:
            WorkspaceError: the disk is full, or another process writes to the log.
            DataError: the raw log breaks a rule, or its times are relative and the log's are not.

        Cost: two passes over the rows; memory for one batch, the lists of ids, and about 1 GiB at most.
        """
        started = time.monotonic()
        understanding = raw.understanding
        names = tuple(file.name for file in understanding.files)
        fingerprints = tuple(file.fingerprint for file in understanding.files if file.fingerprint)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.alone():
            self.manifest = Manifest.load(self.folder)
            if fingerprints and self.manifest.known(fingerprints) == set(fingerprints):
                return IngestReport(
                    number=0, names=names, fingerprints=fingerprints, rows_read=0, rows_kept=0
                )
            self._check_clock(understanding.time.is_relative or understanding.ordered_by_file)
            shown = Rejects(Path(rejects) if rejects else None)
            with disk_errors(self.folder), self._pending() as pending:
                try:
                    taken = _Taking(self, raw, cleaning or CleaningConfig(), pending, shown)
                    report, manifest = taken.run(names, fingerprints, started, on_progress)
                    shown.finish()
                except BaseException:
                    shown.abandon()
                    raise
                self._commit(pending, report, manifest)
            return report

    def _check_clock(self, is_relative: bool) -> None:
        if any(ingest.is_relative != is_relative for ingest in self.manifest.ingests):
            raise DataError(
                "All files of a log must have true times, or all relative ones; this one differs from what "
                f"{self.folder} holds. Keep it in a workspace of its own."
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the log alone for writing.

        Raises:
            WorkspaceError: another process writes to it.
        """
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkspaceError(
                    f"Another process is writing to {self.folder}. Wait for it, or stop it."
                ) from None
            yield

    @contextmanager
    def _pending(self) -> Iterator[Path]:
        pending = self.folder / "pending"
        shutil.rmtree(pending, ignore_errors=True)
        (pending / "log").mkdir(parents=True)
        (pending / "spill").mkdir()
        try:
            yield pending
        finally:
            shutil.rmtree(pending, ignore_errors=True)

    def _commit(self, pending: Path, report: IngestReport, manifest: Manifest) -> None:
        place = self.folder / f"{report.number:06d}"
        shutil.rmtree(place, ignore_errors=True)  # left by an intake that was cut before its last step
        for path in (pending / "log").iterdir():
            make_durable(path)
        (pending / "log").replace(place)
        make_durable(place)
        make_durable(self.folder)
        manifest.save(self.folder)
        make_durable(self.folder)
        self.manifest = manifest

    def rows_between(self, users: tuple[int, int], moments: tuple[int, int]) -> Iterator[tuple[Part, Path]]:
        """Parts that may have rows of these users (first, stop) within these moments (first, last)."""
        for part in self.manifest.parts:
            in_time = part.first_us <= moments[1] and part.last_us >= moments[0]
            if in_time and part.groups[0].first_user < users[1] and part.groups[-1].last_user >= users[0]:
                yield part, self.folder / part.file


def clean_events(
    raw: RawLog, cleaning: CleaningConfig | None = None, *, rejects: str | Path | None = None
) -> tuple[pl.DataFrame, IngestReport]:
    """The cleaned events of a raw log, in memory, and what was removed; by user, then time, then file.

    For a look or a log that fits into memory; a workspace keeps its log with `EventLog.append`.

    >>> from desirepath.events import canonical_log
    >>> from datetime import datetime, UTC
    >>> rows = {"user_id": ["u", "u", None], "item_id": ["a", "a", "b"], "action": ["view"] * 3,
    ...         "time": [datetime(2026, 5, 1, tzinfo=UTC)] * 3}
    >>> events, report = clean_events(canonical_log(pl.DataFrame(rows)))
    >>> events.height, dict(report.removed)
    (1, {'missing_user': 1, 'exact_duplicate': 1})
    """
    with tempfile.TemporaryDirectory(prefix="desirepath-") as folder:
        log = EventLog(Path(folder))
        report = log.append(raw, cleaning, rejects=rejects)
        return log.scan().collect(), report


def make_durable(path: Path) -> None:
    """See that a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full disk, told as such, whichever library met it first."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        number = getattr(error, "errno", None)
        if number in FULL or "No space left" in str(error) or "File too large" in str(error):
            raise WorkspaceError(
                f"The disk of {folder} is full; the event log is as it was. Free some space (an intake needs "
                "about 30 bytes an event besides the log itself) and run the same command again."
            ) from error
        raise


@dataclass(slots=True)
class _Taking:
    """One intake into one log."""

    log: EventLog
    raw: RawLog
    config: CleaningConfig
    pending: Path
    rejects: Rejects

    def run(
        self, names: tuple[str, ...], fingerprints: tuple[str, ...], started: float, progress: Progress
    ) -> tuple[IngestReport, Manifest]:
        """The report and the manifest as they will be once committed."""
        old = self.log.manifest
        known = {column: self.log.ids(column) for column in LISTS}
        before = Before(ids=known, event_hashes=self._event_hashes, rows=_Earlier(self.log, known))
        intake = Intake(self.raw, self.config, self.pending / "spill", before, self.rejects)
        number = 1 + max((ingest.number for ingest in old.ingests), default=0)
        try:
            intake.read(progress)
            used = {column: np.zeros(len(intake.ids[column]), np.bool_) for column in LISTS}

            def keep(stretch: int, rows: Rows) -> Part | None:
                if not len(rows):
                    return None
                used[USER][rows.user_ix] = used[ITEM][rows.item_ix] = used[ACTION][rows.action_ix] = True
                name = f"part-{stretch:04d}.parquet"
                return write_part(self.pending / "log" / name, f"{number:06d}/{name}", rows, intake.ids)

            parts = [part for part in intake.settle(keep, progress) if part is not None]
        finally:
            intake.close()
        fresh = {column: self._keep_ids(column, intake.ids, known, used[column]) for column in LISTS}
        report = IngestReport(
            number=number,
            names=names,
            fingerprints=fingerprints,
            rows_read=intake.n_read,
            rows_kept=sum(part.rows for part in parts),
            removed={reason: n for reason in RULES if (n := self.rejects.counts[reason])},
            mended=dict(intake.mended),
            n_users=int(used[USER].sum()),
            n_items=int(used[ITEM].sum()),
            new_users=fresh[USER],
            new_items=fresh[ITEM],
            is_relative=self.raw.understanding.time.is_relative or self.raw.understanding.ordered_by_file,
            seconds=time.monotonic() - started,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        place = _places_after(used[USER], len(known[USER]))
        manifest = Manifest(
            ingests=(*old.ingests, report),
            parts=(*old.parts, *(renumbered(part, place) for part in parts)),
            id_files=(*old.id_files, *(f"{number:06d}/{column}.parquet" for column in LISTS)),
            n_users=old.n_users + fresh[USER],
            n_items=old.n_items + fresh[ITEM],
            n_actions=old.n_actions + fresh[ACTION],
        )
        return report, manifest

    def _keep_ids(
        self,
        column: str,
        ids: Mapping[str, pl.Series],
        known: Mapping[str, pl.Series],
        used: NDArray[np.bool_],
    ) -> int:
        """Write the ids that this intake brought and kept; how many they are."""
        n_known = len(known[column])
        fresh = ids[column][n_known:].filter(pl.Series(used[n_known:]))
        with (self.pending / "log" / f"{column}.parquet").open("wb") as file:
            pl.DataFrame({"id": fresh}).write_parquet(file, compression_level=1)
        return len(fresh)

    def _event_hashes(self) -> Iterator[NDArray[np.uint64]]:
        for part in self.log.manifest.parts:
            if EVENT_ID in part.columns:
                path = self.log.folder / part.file
                yield hash_ids(pl.read_parquet(path, columns=[EVENT_ID]).get_column(EVENT_ID))


@dataclass(slots=True)
class _Earlier:
    """The rows that a log has already, asked for by stretch of users."""

    log: EventLog
    known: Mapping[str, pl.Series]
    _tables: dict[str, IdTable] | None = None

    def __call__(self, users: tuple[int, int], moments: tuple[int, int]) -> Rows | None:
        found = []
        for part, path in self.log.rows_between(users, moments):
            if self._tables is None:
                self._tables = {column: IdTable(ids) for column, ids in self.known.items()}
            encoders = {column: table.encode for column, table in self._tables.items()}
            further = [name for name in part.columns if name not in REQUIRED]
            for rows in read_groups(path, part, encoders, further, users):
                mine = (
                    (rows.user_ix >= users[0])
                    & (rows.user_ix < users[1])
                    & (rows.time_us >= moments[0])
                    & (rows.time_us <= moments[1])
                )
                found.append(rows.take(mine))
        return Rows.joined(found) if found else None


def _places_after(used: NDArray[np.bool_], n_known: int) -> NDArray[np.int64]:
    """Each user's place once those who brought no rows are left out; users known before stay."""
    stays = used.copy()
    stays[:n_known] = True
    return np.cumsum(stays) - 1


def renumbered(part: Part, place: NDArray[np.int64]) -> Part:
    """The part once every user has another place in the log's list."""
    groups = (
        Group(rows=g.rows, first_user=int(place[g.first_user]), last_user=int(place[g.last_user]))
        for g in part.groups
    )
    return replace(part, groups=tuple(groups))
