# SPDX-License-Identifier: Apache-2.0
"""What was shown and how it was taken, as Parquet beside the event log: served lists, impressions, ratings.

    impressions/
      feedback-STORE-000000000001-000000000500.parquet   events of one store from number 1 to 500
      lists-STORE-000000000001-000000000080.parquet      lists that it served

It is no behaviour, and no model reads it as such. A file counts under its final name only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from desirepath.schema import TIME, USER

NAME = re.compile(r"(?P<kind>feedback|lists)-(?P<store>[0-9a-f]+)-(?P<first>\d+)-(?P<last>\d+)\.parquet")
PENDING = ".pending"
FOLDER = "impressions"
"""Where it lies in a workspace."""


class Archive:
    """The files of one store in one folder; written by one process at a time."""

    def __init__(self, folder: Path, store_id: str) -> None:
        """The archive in `folder`, which need not exist yet."""
        self.folder, self.store_id = folder, store_id

    def prepare_feedback(self, rows: pl.DataFrame, first: int, last: int) -> None:
        """Write feedback that will count once its events are in the event log, when `settle` is told so."""
        if rows.height:
            self._write(rows, self._path("feedback", first, last).with_suffix(f".parquet{PENDING}"))

    def settle(self, until: int) -> None:
        """Let feedback count up to an event, and remove what was prepared beyond it and never came to be."""
        for path in self.folder.glob(f"*{PENDING}"):
            final = path.with_suffix("")
            found = NAME.fullmatch(final.name)
            if found is None or found["store"] != self.store_id:
                continue
            if int(found["last"]) <= until:
                path.replace(final)
            else:
                path.unlink()
        if self.folder.exists():
            _sync(self.folder)

    def add_lists(self, rows: pl.DataFrame, first: int, last: int) -> None:
        """Write served lists; they count at once."""
        path = self._path("lists", first, last)
        part = path.with_suffix(".parquet.part")
        self._write(rows, part)
        part.replace(path)
        _sync(self.folder)

    def erase(self, before_us: Mapping[str, int]) -> int:
        """Take out what some users were shown and said before a moment each; how many rows it was.

        Files of all stores are looked at, each is replaced in one step, and an empty one keeps its name: that
        tells how far it goes.

        Args:
            before_us: user to moment, microseconds since 1970 UTC.
        """
        for path in self.folder.glob("*.part"):
            path.unlink()  # of a cut
        before = pl.LazyFrame(
            {USER: list(before_us), "before": list(before_us.values())},
            schema={USER: pl.String, "before": pl.Int64},
        )
        total = 0
        for path in sorted(self.folder.glob("*.parquet")):
            found = pl.scan_parquet(path).join(before, on=USER, how="left", maintain_order="left")
            goes = (pl.col(TIME).dt.epoch("us") < pl.col("before")).fill_null(False)
            n = int(found.select(goes.sum()).collect().item())
            if n:
                part = path.with_suffix(".parquet.part")
                self._write(found.filter(~goes).drop("before").collect(), part)
                part.replace(path)
                total += n
        if total:
            _sync(self.folder)
        return total

    def lists_until(self) -> int:
        """The last served list of the store that is here; 0 where none is."""
        found = [NAME.fullmatch(path.name) for path in self.folder.glob("lists-*.parquet")]
        return max((int(f["last"]) for f in found if f and f["store"] == self.store_id), default=0)

    def _path(self, kind: str, first: int, last: int) -> Path:
        return self.folder / f"{kind}-{self.store_id}-{first:012d}-{last:012d}.parquet"

    def _write(self, rows: pl.DataFrame, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            rows.write_parquet(file)
            file.flush()
            os.fsync(file.fileno())


def read_feedback(folder: Path) -> pl.LazyFrame | None:
    """Impressions and ratings, packed from whichever store; None where there are none."""
    return _scan(folder, "feedback")


def read_lists(folder: Path) -> pl.LazyFrame | None:
    """Served lists; `slate` is JSON, as the live store has it. None where there are none."""
    return _scan(folder, "lists")


def _scan(folder: Path, kind: str) -> pl.LazyFrame | None:
    paths = sorted(folder.glob(f"{kind}-*.parquet"))
    return pl.concat([pl.scan_parquet(path) for path in paths], how="vertical") if paths else None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
