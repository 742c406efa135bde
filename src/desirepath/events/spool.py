# SPDX-License-Identifier: Apache-2.0
"""Keeps what was read from text as one table: in memory while it is small, else in temporary Parquet.

It knows no formats and no roles. Rows stay in the order in which they came; the temporary files
live as long as the spool.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

import polars as pl

from desirepath.errors import DataError

BUDGET = 384 * 2**20
"""Bytes of text kept in memory by one spool before it goes to disk."""
PART = 128 * 2**20
"""Bytes of one temporary Parquet file before compression."""
SAMPLE_ROWS = 20_000
"""A spool's sample holds between this many rows and twice as many."""
UNREADABLE_ROWS = 1_000_000
"""Rows that could not be read of which the text is kept; the rest are counted only."""
UNREADABLE_CHARS = 2000
"""Characters kept of each."""
UNREADABLE_SCHEMA = {"file": pl.String(), "line": pl.Int64(), "reason": pl.String(), "text": pl.String()}


class Scratch:
    """A temporary folder that is removed with this object, or when the program ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="desirepath-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Spool:
    """A growing table of text columns."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []
        self._folder: Scratch | None = None
        self._parts: list[tuple[Path, tuple[str, ...]]] = []
        self._bytes = 0
        self._samples: list[pl.DataFrame] = []
        self._stride = 1
        self.rows = 0

    def append(self, frame: pl.DataFrame) -> None:
        """Add rows at the end; columns may differ from those before.

        Raises: DataError when the temporary folder is full.
        """
        if not frame.height:
            return
        start = -self.rows % self._stride
        self._samples.append(frame.slice(start).gather_every(self._stride))
        if sum(sample.height for sample in self._samples) > 2 * SAMPLE_ROWS:
            self._samples = [_joined(self._samples).gather_every(2)]
            self._stride *= 2
        self.rows += frame.height
        self._frames.append(frame)
        self._bytes += int(frame.estimated_size())
        if self._bytes > (PART if self._folder else BUDGET):
            self._flush()

    def _flush(self) -> None:
        if self._folder is None:
            self._folder = Scratch()
        frames, self._frames, self._bytes = self._frames, [], 0
        runs: list[list[pl.DataFrame]] = []
        for frame in frames:
            if not runs or runs[-1][0].columns != frame.columns:
                runs.append([])
            runs[-1].append(frame)
        for run in runs:
            path = self._folder.path / f"{len(self._parts):06d}.parquet"
            try:
                pl.concat(run).write_parquet(path, compression="lz4", row_group_size=2**18)
            except OSError as error:
                raise DataError(
                    f"The temporary folder {self._folder.path} must have room for what is read; {error}. "
                    "Free some space, or point TMPDIR at a larger disk."
                ) from error
            self._parts.append((path, tuple(run[0].columns)))

    @property
    def sample(self) -> pl.DataFrame:
        """Some `SAMPLE_ROWS` rows, evenly spread over all."""
        return _joined(self._samples)

    def lazy(self) -> pl.LazyFrame:
        """All rows in order, as a scan that streams."""
        runs: list[tuple[tuple[str, ...], list[Path]]] = []
        for path, columns in self._parts:
            if not runs or runs[-1][0] != columns:
                runs.append((columns, []))
            runs[-1][1].append(path)
        scans = [pl.scan_parquet(paths) for _, paths in runs]
        if self._frames:
            scans.append(_joined(self._frames).lazy())
        if not scans:
            return pl.LazyFrame()
        return scans[0] if len(scans) == 1 else pl.concat(scans, how="diagonal")

    def absorb(self, other: Spool) -> None:
        """Add another spool's rows at the end; the other is spent."""
        for path, _ in other._parts:
            self.append(pl.read_parquet(path))
        for frame in other._frames:
            self.append(frame)


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    if not frames:
        return pl.DataFrame()
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal", rechunk=False)


class Complaints:
    """Rows that could not be read, counted by reason; the first of them are kept."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._rows: list[tuple[str, int | None, str, str]] = []
        self._frames: list[pl.DataFrame] = []
        self._kept = 0

    def add(self, file: str, line: int | None, reason: str, text: str) -> None:
        """Count one row."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if self._kept < UNREADABLE_ROWS:
            self._kept += 1
            self._rows.append((file, line, reason, text[:UNREADABLE_CHARS]))
            if len(self._rows) == 50_000:
                self._pack()

    def _pack(self) -> None:
        self._frames.append(pl.DataFrame(self._rows, schema=UNREADABLE_SCHEMA, orient="row"))
        self._rows = []

    def absorb(self, other: Complaints) -> None:
        """Add another's."""
        for reason, n in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + n
        self._pack()
        self._frames.append(other.frame.head(UNREADABLE_ROWS - self._kept))
        self._kept += self._frames[-1].height

    @property
    def total(self) -> int:
        """Rows complained of."""
        return sum(self.counts.values())

    @property
    def frame(self) -> pl.DataFrame:
        """The kept rows: file, line, reason, text."""
        self._pack()
        self._frames = [pl.concat(self._frames)]
        return self._frames[0]
