# SPDX-License-Identifier: Apache-2.0
"""The rows that cleaning removed, counted by reason, and written out when somebody wants to see them.

It knows no rules, only their names. Files are Parquet or CSV, told by their suffix.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from desirepath.errors import ConfigError, WorkspaceError
from desirepath.schema import EVENT, REQUIRED

ROW = " row"
"""Column of the row numbers within the intake; the space keeps it apart from a log's own columns."""

SUFFIXES = (".parquet", ".csv")


class Rejects:
    """Counts removed rows by reason, and keeps them when a file is given.

    The file has `reason`, `row` (0 for the first row that was read), the canonical and the further
    columns. It appears whole, when `finish` is called; until then it bears the suffix ".part".
    """

    def __init__(self, path: Path | None = None) -> None:
        """Write to `path`, or only count.

        Raises:
            ConfigError: the suffix is neither .parquet nor .csv, or the folder does not exist.
        """
        self.path = path
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._types: dict[str, pl.DataType] = dict(REQUIRED)
        self._writer: Any = None
        if path is None:
            return
        if path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"The file for rejected rows must end in .parquet or .csv; got '{path.name}'.")
        if not path.parent.is_dir():
            raise ConfigError(f"The folder of the file for rejected rows must exist; {path.parent} does not.")
        self._part = path.with_name(path.name + ".part")

    def start(self, schema: pl.Schema, unreadable: pl.DataFrame | None = None) -> None:
        """Set the columns of the file: those of the log that is read.

        Rows that could not be read at all (`RawLog.unreadable`) come first, as source_file, source_line
        and source_text; the reader has counted them.
        """
        self._types |= {name: EVENT.get(name, pl.String()) for name in schema if name != ROW}
        if unreadable is None or not unreadable.height:
            return
        self._types |= {"source_file": pl.String(), "source_line": pl.Int64(), "source_text": pl.String()}
        named = unreadable.rename({name: f"source_{name}" for name in ("file", "line", "text")})
        for (reason,), rows in named.partition_by("reason", as_dict=True, include_key=False).items():
            self._keep(str(reason), rows)

    def add(self, reason: str, rows: pl.DataFrame) -> None:
        """Count these rows, and keep them. Rows may lack columns; those become null."""
        self.count(reason, rows.height)
        self._keep(reason, rows)

    def _keep(self, reason: str, rows: pl.DataFrame) -> None:
        if self.path is None or not rows.height:
            return
        kept = rows.select(
            pl.lit(reason).alias("reason"),
            (pl.col(ROW) if ROW in rows.columns else pl.lit(None)).cast(pl.Int64).alias("row"),
            *(
                (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
                for name, dtype in self._types.items()
            ),
        )
        with self._lock:
            try:
                self._write(kept)
            except OSError as error:
                raise WorkspaceError(
                    f"{self.path} cannot be written: {error}. Choose another place."
                ) from error

    def count(self, reason: str, n: int) -> None:
        """Count rows that are not kept for show."""
        with self._lock:
            self.counts[reason] += n

    def _write(self, rows: pl.DataFrame) -> None:
        assert self.path is not None
        if self.path.suffix.lower() == ".csv":
            first = self._writer is None
            if first:
                self._writer = self._part.open("wb")
            self._writer.write(rows.write_csv(include_header=first).encode())
            return
        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._part, table.schema, compression="zstd")
        self._writer.write_table(table)

    def finish(self) -> None:
        """Close the file and give it its name; without any rejected row it holds the columns only."""
        if self.path is None:
            return
        if self._writer is None:
            self._write(pl.DataFrame(schema={"reason": pl.String, "row": pl.Int64, **self._types}))
        self._writer.close()
        self._part.replace(self.path)

    def abandon(self) -> None:
        """Leave no half-written file after a failure."""
        if self._writer is not None:
            self._writer.close()
        if self.path is not None:
            self._part.unlink(missing_ok=True)
