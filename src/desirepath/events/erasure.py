# SPDX-License-Identifier: Apache-2.0
"""Takes users out of the event log: the files that hold their rows are written again without them.

What is written anew gets a folder of its own, and counts once the manifest names it; so a cut leaves the log
as it was, or without them. It knows ids and moments, not why somebody is to go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.events.ids import IdTable
from desirepath.events.log import LISTS, EventLog, disk_errors, make_durable, renumbered
from desirepath.events.manifest import Manifest
from desirepath.events.parts import Part, read_groups, write_part
from desirepath.events.rows import Rows
from desirepath.schema import REQUIRED, TIME, USER

FOLDER = re.compile(r"(?P<ingest>\d{6})(-e\d+)?")
"""A folder of an intake, or of what an erasure left of its files."""
BEFORE = "before_us"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What one erasure took out of a log."""

    rows: int = 0
    """Events."""
    users: int = 0
    """Users of whom nothing is left."""
    parts: int = 0
    """Files of rows that were written again, or dropped."""


def erase_users(log: EventLog, before_us: Mapping[str, int]) -> Erased:
    """Take out what some users did before a moment each; who has no row left leaves the list of users too.

    Every other row stays where it is, and every other user, item and action keeps its place in the order of
    the ids. The files of before stay on disk, named by nothing, until `sweep`.

    Args:
        log: is brought up to what is on disk.
        before_us: user to moment, microseconds since 1970 UTC; rows from it on stay.

    Raises:
        WorkspaceError: another process writes to the log, or the disk is full; the log is as it was then.

    Cost: the users of each part that may hold one of them are looked at; what holds one is written again, a
    part at a time in memory. A log without them costs a look at the list of ids.
    """
    with log.alone():
        log.manifest = Manifest.load(log.folder)
        users = log.ids(USER)
        known = pl.DataFrame({USER: list(before_us), BEFORE: list(before_us.values())}).with_columns(
            pl.col(USER).cast(pl.String), pl.col(BEFORE).cast(pl.Int64)
        )
        known = known.join(users.to_frame(USER).with_row_index("user_ix"), on=USER)
        if not known.height:
            return Erased()
        with disk_errors(log.folder):
            return _Erasing(log, users, known).run()


def sweep(log: EventLog) -> int:
    """Remove files that the log does not name: what an erasure replaced, or one that was cut left behind.

    Raises:
        WorkspaceError: another process writes to the log.
    """
    with log.alone():
        log.manifest = Manifest.load(log.folder)
        named = {part.file for part in log.manifest.parts} | set(log.manifest.id_files)
        n = 0
        for place in log.folder.iterdir():
            if not (place.is_dir() and FOLDER.fullmatch(place.name)):
                continue
            for path in place.iterdir():
                if f"{place.name}/{path.name}" not in named:
                    path.unlink()
                    n += 1
            if not any(place.iterdir()):
                place.rmdir()
        if n:
            make_durable(log.folder)
        return n


def origin(file: str) -> str:
    """The name that a part had when it was taken in, whatever was taken out of it since.

    >>> origin("000007-e2/part-0000.parquet"), origin("000007/part-0000.parquet")
    ('000007/part-0000.parquet', '000007/part-0000.parquet')
    """
    folder, _, name = file.partition("/")
    found = FOLDER.fullmatch(folder)
    return file if found is None else f"{found['ingest']}/{name}"


@dataclass(slots=True)
class _Erasing:
    """One erasure from one log."""

    log: EventLog
    users: pl.Series
    """All users of the log."""
    known: pl.DataFrame
    """Those of them who are to go: user_id, user_ix, before_us."""
    _tables: dict[str, IdTable] = field(default_factory=dict)

    def run(self) -> Erased:
        """Write what changes, and let it count."""
        old = self.log.manifest
        gone, stays = self._looked_at()
        if not gone:
            return Erased()
        number = old.erasures + 1
        leaves = self.known.filter(~pl.col(USER).is_in(list(stays)))["user_ix"].to_numpy()
        is_left = np.ones(len(self.users), np.bool_)
        is_left[leaves] = False
        place = np.cumsum(is_left) - 1
        parts = [part for old_part in old.parts for part in self._kept(old_part, gone, number)]
        id_files, fewer = self._id_files(is_left, number)
        taken: dict[str, int] = {}
        for file, n in gone.items():
            ingest = origin(file).partition("/")[0]
            taken[ingest] = taken.get(ingest, 0) + n
        ingests = tuple(
            replace(
                ingest,
                rows_kept=ingest.rows_kept - taken.get(f"{ingest.number:06d}", 0),
                new_users=ingest.new_users - fewer.get(f"{ingest.number:06d}", 0),
            )
            for ingest in old.ingests
        )
        manifest = replace(
            old,
            ingests=ingests,
            parts=tuple(renumbered(part, place) for part in parts),
            id_files=id_files,
            n_users=old.n_users - len(leaves),
            erasures=number,
        )
        for folder in {Path(part.file).parent for part in parts} | {Path(name).parent for name in id_files}:
            make_durable(self.log.folder / folder)
        make_durable(self.log.folder)
        manifest.save(self.log.folder)
        make_durable(self.log.folder)
        self.log.manifest = manifest
        return Erased(rows=sum(gone.values()), users=len(leaves), parts=len(gone))

    def _looked_at(self) -> tuple[dict[str, int], set[str]]:
        """Rows to go of each part that has some, and users who have rows that stay."""
        places = np.sort(self.known["user_ix"].to_numpy())
        gone: dict[str, int] = {}
        stays: set[str] = set()
        for part in self.log.manifest.parts:
            if not _may_hold(part, places):
                continue
            mine = (
                pl.scan_parquet(self.log.folder / part.file)
                .select(USER, pl.col(TIME).dt.epoch("us"))
                .join(self.known.lazy(), on=USER)
                .select(USER, (pl.col(TIME) < pl.col(BEFORE)).alias("goes"))
                .group_by(USER, "goes")
                .len()
                .collect(engine="streaming")
            )
            n = int(mine.filter("goes")["len"].sum())
            if n:
                gone[part.file] = n
            stays |= set(mine.filter(~pl.col("goes"))[USER])
        return gone, stays

    def _kept(self, part: Part, gone: Mapping[str, int], number: int) -> Iterator[Part]:
        """The part without the rows that go; nothing where none would be left."""
        if part.file not in gone:
            yield part
            return
        if gone[part.file] == part.rows:
            return
        if not self._tables:
            self._tables = {name: IdTable(self.log.ids(name)) for name in LISTS}
        encoders = {name: table.encode for name, table in self._tables.items()}
        further = [name for name in part.columns if name not in REQUIRED]
        rows = Rows.joined(list(read_groups(self.log.folder / part.file, part, encoders, further)))
        before: NDArray[np.int64] = np.full(len(self.users), np.iinfo(np.int64).min)
        before[self.known["user_ix"].to_numpy()] = self.known[BEFORE].to_numpy()
        kept = rows.take(rows.time_us >= before[rows.user_ix])
        file = self._anew(part.file, number)
        ids = {name: table.ids() for name, table in self._tables.items()}
        written = write_part(self.log.folder / file, file, kept, ids)
        make_durable(self.log.folder / file)
        yield written

    def _id_files(self, is_left: NDArray[np.bool_], number: int) -> tuple[tuple[str, ...], dict[str, int]]:
        """The lists of ids without those who leave, and how many fewer users each intake brought."""
        names, fewer, first = [], {}, 0
        for name in self.log.manifest.id_files:
            if Path(name).stem == USER:
                ids = pl.read_parquet(self.log.folder / name).get_column("id")
                own = is_left[first : first + len(ids)]
                first += len(ids)
                if not own.all():
                    fewer[origin(name).partition("/")[0]] = int((~own).sum())
                    name = self._anew(name, number)
                    with (self.log.folder / name).open("wb") as file:
                        pl.DataFrame({"id": ids.filter(pl.Series(own))}).write_parquet(
                            file, compression_level=1
                        )
                    make_durable(self.log.folder / name)
            names.append(name)
        return tuple(names), fewer

    def _anew(self, file: str, number: int) -> str:
        """The name of what takes a file's place; its folder is there."""
        folder, _, name = origin(file).partition("/")
        place = f"{folder}-e{number}"
        (self.log.folder / place).mkdir(exist_ok=True)
        return f"{place}/{name}"


def _may_hold(part: Part, places: NDArray[np.integer]) -> bool:
    """Whether a row group of the part spans one of these users (rising places in the log's list)."""
    first = np.searchsorted(places, [group.first_user for group in part.groups])
    last = np.searchsorted(places, [group.last_user for group in part.groups], side="right")
    return bool((last > first).any())
