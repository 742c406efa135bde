# SPDX-License-Identifier: Apache-2.0
"""Tables written piece by piece into one file, Parquet or CSV, which appears only when it is whole."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO, Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from desirepath.errors import ConfigError, nearest

FORMATS = ("parquet", "csv")

DICTIONARY_BYTES = 16 * 2**20
"""Pages of ids stay dictionary-encoded up to this size; the usual 1 MiB is too small for 100,000 items."""


def checked_format(name: str) -> str:
    """The name of a known file format.

    Raises:
        ConfigError: for another.
    """
    if name not in FORMATS:
        raise ConfigError(
            f"'format' must be one of {', '.join(FORMATS)}, but is {name!r}. {nearest(name, FORMATS)}"
        )
    return name


class Sheet:
    """One file that grows by tables of the same columns; use it as a context."""

    def __init__(self, folder: Path, name: str, format: str) -> None:
        self.path = folder / f"{name}.{checked_format(format)}"
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._format = format
        self._writer: pq.ParquetWriter | None = None
        self._text: IO[bytes] | None = None

    def append(self, piece: pa.Table | pl.DataFrame) -> None:
        """Add rows; the first piece fixes the columns.

        Args:
            piece: an Arrow table, or a frame.
        """
        if self._format == "csv":
            frame = piece if isinstance(piece, pl.DataFrame) else _frame(piece)
            header = self._text is None
            if self._text is None:
                self._text = self._partial.open("wb")
            frame.write_csv(self._text, include_header=header, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
            return
        table = (
            piece.to_arrow(compat_level=pl.CompatLevel.oldest()) if isinstance(piece, pl.DataFrame) else piece
        )
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._partial,
                table.schema,
                compression="zstd",
                compression_level=1,
                store_schema=False,
                dictionary_pagesize_limit=DICTIONARY_BYTES,
                use_dictionary=[
                    field.name for field in table.schema if pa.types.is_dictionary(field.type)
                ] or False,
            )  # fmt: skip
        self._writer.write_table(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file and give it its name; after an error nothing stays."""
        if self._writer is not None:
            self._writer.close()
        if self._text is not None:
            self._text.close()
        if kind is not None:
            self._partial.unlink(missing_ok=True)
        elif self._partial.exists():
            self._partial.replace(self.path)


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(pl.selectors.categorical().cast(pl.String))
