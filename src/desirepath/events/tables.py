# SPDX-License-Identifier: Apache-2.0
"""Reads every source into tables: files with the same columns become one, in the order they were given.

Text goes through a spool; Parquet stays where it lies and is only scanned. Roles are not its business.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.exceptions import PanicException, PolarsError

from desirepath.errors import DataError
from desirepath.events import delimited, encoding, lines, sql
from desirepath.events.dialect import sniff
from desirepath.events.encoding import Encoding, NotUtf8
from desirepath.events.files import (
    Archive,
    Damaged,
    Source,
    chunks,
    compression,
    discover,
    fingerprint,
    readable,
    stored_bytes,
)
from desirepath.events.raw import ColumnChoice, FileUnderstanding
from desirepath.events.spool import SAMPLE_ROWS, Complaints, Scratch, Spool

HEAD = 2**18
"""Bytes from which a dialect is told."""
BROKEN = (PolarsError, PanicException, UnicodeDecodeError)
"""What comes of a Parquet file whose inside is damaged; polars panics at some bytes, and lets bad text by."""
FILE_HEAD_ROWS = 64
"""Rows kept of each file, by which files with another time unit are told."""
SMALL_PARQUET = 8 * 2**20
"""Bytes up to which a Parquet file is read through once by Arrow before polars scans it."""
ACCESS_HINTS = {
    "item_id": ("path", "a web access log; the page is the item"),
    "action": ("method", "a web access log; the method of the request"),
    "time": ("time", "a web access log; the moment of the request"),
    "query": ("query", "a web access log; what follows the '?'"),
    "source": ("referrer", "a web access log; where the visitor came from"),
    "device": ("user_agent", "a web access log; the browser"),
}
SEQUENCE_HINTS = {
    "user_id": ("user", "the first number of each line"),
    "item_id": ("item", "the numbers of each line, in order"),
}
LINE_HINTS = {
    "user_id": ("line", "each line is a sequence of its own, numbered from 1"),
    "item_id": ("item", "the numbers of each line, in order"),
}


@dataclass(slots=True)
class Table:
    """Rows of one or several files with the same columns."""

    columns: tuple[str, ...]
    spool: Spool | None = None
    paths: list[Path] = field(default_factory=list)
    """Parquet files, when there is no spool."""
    files: list[FileUnderstanding] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    heads: list[pl.DataFrame] = field(default_factory=list)
    """The first rows of each file."""
    hints: dict[str, tuple[str, str]] = field(default_factory=dict)
    found: bool = True
    """Whether every file was found in a folder or archive, rather than named."""

    @property
    def name(self) -> str:
        """The first file, and how many more."""
        more = len(self.files) - 1
        return self.files[0].name + (f" and {more:,} more" if more else "")

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    def lazy(self, first: int = 0, last: int | None = None) -> pl.LazyFrame:
        """The rows of files first..last (exclusive), in order."""
        last = len(self.files) if last is None else last
        if self.spool is None:
            return pl.scan_parquet(self.paths[first:last])
        everything = self.spool.lazy()
        if (first, last) == (0, len(self.files)):
            return everything
        before = sum(file.rows for file in self.files[:first])
        return everything.slice(before, sum(file.rows for file in self.files[first:last]))

    def sample(self) -> pl.DataFrame:
        """Some rows, spread over the whole table."""
        if self.spool is not None:
            return self.spool.sample
        slices, size = 16, SAMPLE_ROWS // 16
        lazy, rows = self.lazy(), self.rows
        if rows <= SAMPLE_ROWS:
            return lazy.collect()
        step = rows // slices
        return pl.concat(pl.collect_all([lazy.slice(i * step, size) for i in range(slices)]))


@dataclass(slots=True)
class Reading:
    """Everything that came out of the sources."""

    tables: list[Table] = field(default_factory=list)
    complaints: Complaints = field(default_factory=Complaints)
    notes: list[str] = field(default_factory=list)
    keeps: list[object] = field(default_factory=list)
    header_only: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    set_aside: list[tuple[str, DataError]] = field(default_factory=list)
    fingerprints: dict[Path, str] = field(default_factory=dict)
    n_files: int = 0
    watch: Callable[[float], None] | None = None
    """Called with the share of the source at hand that has been read."""

    def add(self, columns: tuple[str, ...], source: Source, file: FileUnderstanding) -> Table:
        """The table for these columns, with this file counted in."""
        kind = file.format == "parquet"
        table = next((t for t in self.tables if t.columns == columns and (t.spool is None) == kind), None)
        if table is None:
            table = Table(columns=columns, spool=None if kind else Spool())
            self.tables.append(table)
        table.files.append(file)
        table.stems.append(source.stem)
        table.found = table.found and source.found
        return table


def read_tables(
    sources: Sequence[str | Path], choice: ColumnChoice, on_progress: Callable[[float], None] | None = None
) -> Reading:
    """All rows of all sources, as tables of like columns.

    Files found in a folder or archive that are no tables are set aside with a note; named files must be.
    Raises: ConfigError for sources that do not exist; DataError for those that cannot be read.

    Args:
        sources: Paths, folders, patterns and database URLs.
        choice: What the caller says of their dialects.
        on_progress: Called with the share of all bytes that has been read, 0 to 1.
    """
    reading = Reading()
    archive = Archive()
    try:
        found = list(_in_turn(sources))
        sizes = [0 if isinstance(source, str) else stored_bytes(source, archive) for source in found]
        done, total = 0, max(sum(sizes), 1)
        for source, size in zip(found, sizes, strict=True):
            reading.n_files += 1
            if on_progress:
                on_progress(done / total)
                reading.watch = partial(_tell, on_progress, done / total, size / total)
            done += size
            if isinstance(source, str):
                _read_sql(source, reading, choice)
                continue
            try:
                _read_source(source, archive, reading, choice)
            except Damaged:
                raise
            except DataError as error:
                if not source.found:
                    raise
                reading.set_aside.append((source.name, error))
    finally:
        archive.close()
    _conclude(reading)
    if on_progress:
        on_progress(1.0)
    return reading


def _tell(on_progress: Callable[[float], None], before: float, weight: float, share: float) -> None:
    on_progress(before + weight * share)


def _in_turn(sources: Sequence[str | Path]) -> Iterator[Source | str]:
    """Database URLs as they are, paths as the files behind them."""
    if isinstance(sources, str | Path):
        sources = [sources]
    if not sources:
        discover(sources)
    seen: set[tuple[Path, str]] = set()
    for source in sources:
        if isinstance(source, str) and sql.is_url(source):
            yield source
            continue
        for found in discover([source]):
            key = (found.path.resolve(), found.member)
            if key not in seen:
                seen.add(key)
                yield found


def _conclude(reading: Reading) -> None:
    """Turn what was met on the way into notes, and raise when nothing is left."""
    n = reading.n_files
    if not any(table.rows for table in reading.tables):
        if reading.set_aside:
            raise reading.set_aside[0][1]
        names = ", ".join((reading.header_only + reading.empty)[:3])
        what = "only a header" if reading.header_only else "nothing"
        raise DataError(f"A log must hold events; {names} holds {what}. Check how it was written.")
    for met, what in ((reading.header_only, "only a header"), (reading.empty, "nothing in it")):
        if met:
            verb = "has" if len(met) == 1 else "have"
            reading.notes.append(f"{len(met)} of {n} files {verb} {what}: {', '.join(met[:3])}.")
    for name, error in reading.set_aside[:20]:
        reading.notes.append(f"Set aside: {error}" if name in str(error) else f"Set aside: {name}: {error}")
    reading.tables = [table for table in reading.tables if table.rows]


def _read_source(source: Source, archive: Archive, reading: Reading, choice: ColumnChoice) -> None:
    packed, head = compression(source, archive)
    if not head:
        reading.empty.append(source.name)
        if not source.found and reading.n_files == 1:
            raise DataError(f"{source.name} must hold events; the file is empty.")
        return
    if head.startswith(b"SQLite format 3"):
        if packed:
            raise DataError(f"{source.name} is a packed SQLite database. Unpack it first.")
        _read_sql(f"sqlite:///{source.path}", reading, choice, source)
        return
    mark = _mark(source, reading)
    if head.startswith(b"PAR1"):
        _read_parquet(source, archive, packed, mark, reading)
    else:
        _read_text(source, archive, packed, mark, reading, choice)


def _mark(source: Source, reading: Reading) -> str:
    """The fingerprint of a source; that of an archive's member is made from the archive's and its name."""
    if source.path not in reading.fingerprints:
        reading.fingerprints[source.path] = fingerprint(source.path)
    mark = reading.fingerprints[source.path]
    return hashlib.sha256(f"{mark}:{source.member}".encode()).hexdigest() if source.member else mark


def _read_sql(url: str, reading: Reading, choice: ColumnChoice, source: Source | None = None) -> None:
    spool, name, driver = sql.read(url, choice.query, choice.table)
    columns = tuple(spool.sample.columns)
    file = FileUnderstanding(
        name=name, format="sql", dialect=driver, encoding="", compression="", rows=spool.rows, fingerprint=""
    )
    table = reading.add(columns, source or Source(path=Path(name)), file)
    _append(table, spool)


def _append(table: Table, spool: Spool) -> None:
    assert table.spool is not None
    if table.rows == spool.rows:  # the first rows of this table: take the spool as it is
        table.spool = spool
    else:
        table.spool.absorb(spool)
    table.heads.append(spool.sample.head(FILE_HEAD_ROWS))


def _read_parquet(source: Source, archive: Archive, packed: str, mark: str, reading: Reading) -> None:
    path = source.path
    if packed:
        folder = Scratch()
        reading.keeps.append(folder)
        path = folder.path / "member.parquet"
        with readable(source.name), path.open("wb") as out:
            for chunk in chunks(source, archive, packed):
                out.write(chunk)
    try:
        rows = _checked(path)
        scan = pl.scan_parquet(path)
        schema = scan.collect_schema()
        head = scan.head(FILE_HEAD_ROWS).collect()
    except (pa.ArrowException, *BROKEN, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else repr(error)
        raise Damaged(f"{source.name} must be a whole Parquet file; it cannot be read: {first}") from error
    file = FileUnderstanding(
        name=source.name,
        format="parquet",
        dialect="",
        encoding="",
        compression=packed,
        rows=rows,
        fingerprint=mark,
    )
    if not rows:
        reading.header_only.append(source.name)
    # Files whose types differ are scanned apart, so that no cast is forced on ids.
    same = next(
        (t for t in reading.tables if t.spool is None and t.heads and t.heads[0].schema == schema), None
    )
    if same is None:
        same = Table(columns=tuple(schema.names()))
        reading.tables.append(same)
    same.files.append(file)
    same.stems.append(source.stem)
    same.found = same.found and source.found
    same.paths.append(path)
    same.heads.append(head)


def _checked(path: Path) -> int:
    """The rows of a Parquet file after Arrow has looked at it: all of a small one, the start of a large one.

    Arrow refuses damaged files with an error where polars may panic or ask for impossible memory.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        rows = int(file.metadata.num_rows)
        size = path.stat().st_size
        for at in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(at)
            for k in range(group.num_columns):
                chunk = group.column(k)
                start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
                if start < 4 or chunk.total_compressed_size < 0 or start + chunk.total_compressed_size > size:
                    raise pa.ArrowInvalid(f"row group {at}, column {k} points outside the file")
        if size <= SMALL_PARQUET:
            found = sum(batch.num_rows for batch in file.iter_batches())
            if found != rows:
                raise pa.ArrowInvalid(f"the footer promises {rows:,} rows, the pages hold {found:,}")
        else:
            next(file.iter_batches(batch_size=FILE_HEAD_ROWS), None)
    return rows


def _read_text(
    source: Source, archive: Archive, packed: str, mark: str, reading: Reading, choice: ColumnChoice
) -> None:
    def raw() -> Iterable[bytes]:
        return chunks(source, archive, packed, reading.watch)

    first = next(iter(raw()), b"")[:HEAD]
    told = encoding.named(choice.encoding) if choice.encoding else encoding.first_guess(first)
    try:
        _read_encoded(source, raw, first, told, reading, choice, (packed, mark))
    except NotUtf8:
        _read_encoded(source, raw, first, encoding.legacy(raw()), reading, choice, (packed, mark))


def _read_encoded(
    source: Source,
    raw: Callable[[], Iterable[bytes]],
    first: bytes,
    told: Encoding,
    reading: Reading,
    choice: ColumnChoice,
    origin: tuple[str, str],
) -> None:
    """Read a text whose encoding is known; NotUtf8 when it is not what it was told to be."""
    name = source.name
    text = codecs.getincrementaldecoder(told.codec)("replace").decode(first, final=len(first) < HEAD)
    old_mac = "\n" not in text and "\r" in text

    def blocks() -> Iterable[bytes]:
        decoded = encoding.decoded(raw(), told, name)
        if old_mac:
            decoded = (chunk.replace(b"\r", b"\n") for chunk in decoded)
        return encoding.whole_lines(decoded, name)

    text = text.replace("\r", "\n") if old_mac else text
    if len(first) == HEAD and "\n" in text:
        text = text[: text.rfind("\n") + 1]
    headers = [table.columns for table in reading.tables]
    dialect = sniff(text, name, delimiter=choice.delimiter, header=choice.header, headers=headers)
    words, hints = dialect.words, {}
    if dialect.kind == "delimited":
        spool, complaints, dialect = delimited.read(blocks, dialect, name)
        words = dialect.words
    elif dialect.kind == "access log":
        spool, complaints = lines.read_access_log(blocks, name)
        hints = _access_hints(spool)
    elif dialect.kind == "sequences":
        spool, complaints, words = lines.read_sequences(blocks, name)
        hints = SEQUENCE_HINTS if "user" in words else LINE_HINTS
    else:
        reader = lines.read_jsonl if dialect.kind == "jsonl" else lines.read_json
        spool, complaints = reader(blocks, name)
    reading.complaints.absorb(complaints)
    packed, mark = origin
    file = FileUnderstanding(
        name=name,
        format=dialect.kind,
        dialect=words,
        encoding=told.codec
        if told.codec == "utf-8" and told.errors == "strict"
        else f"{told.codec}: {told.reason}",
        compression=packed,
        rows=spool.rows,
        fingerprint=mark,
    )
    columns = dialect.names if dialect.kind == "delimited" else tuple(spool.sample.columns)
    if not spool.rows:
        reading.header_only.append(name)
    if dialect.kind in ("jsonl", "json"):  # optional keys differ from file to file
        columns = ("json lines",)
    table = reading.add(columns, source, file)
    table.hints.update(hints)
    _append(table, spool)


def _access_hints(spool: Spool) -> dict[str, tuple[str, str]]:
    named = (
        "authuser" in spool.sample.columns and spool.sample["authuser"].null_count() < spool.sample.height / 2
    )
    who = (
        ("authuser", "a web access log; the name given at login")
        if named
        else ("host", "a web access log; the address")
    )
    return {"user_id": who, **ACCESS_HINTS}
