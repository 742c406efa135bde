# SPDX-License-Identifier: Apache-2.0
"""Finds the files behind paths, folders, globs and archives, and opens each as plain bytes.

Compression is told by the first bytes, never by the suffix. It knows nothing of what the bytes mean;
a damaged or forbidden file becomes a `DataError` here, so that no library's exception leaks out.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import hashlib
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import pyarrow as pa

from desirepath.errors import ConfigError, DataError, nearest

CHUNK = 8 * 2**20
"""Bytes read at once."""

TEXT_SUFFIXES = ("csv", "tsv", "tab", "txt", "psv", "dat", "data", "inter", "user", "item", "log", "seq")
DATA_SUFFIXES = frozenset(
    [*TEXT_SUFFIXES, "jsonl", "ndjson", "json", "parquet", "pq", "sqlite", "sqlite3", "db"]
)
PACKED_SUFFIXES = frozenset(["gz", "zst", "bz2", "xz", "zip"])
NOT_DATA = re.compile(
    r"readme|license|licence|copying|changelog|notice|requirements|_success|_metadata|manifest", re.I
)
FOREIGN: dict[bytes, str] = {
    b"%PDF": "a PDF document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"\x7fELF": "a program",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"MATLAB": "a MATLAB file",
    b"ARROW1": "an Arrow file: write it as Parquet",
    b"Obj\x01": "an Avro file: write it as Parquet",
    b"ORC": "an ORC file: write it as Parquet",
    b"\xd0\xcf\x11\xe0": "an old Office document: export it as CSV",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"RDX": "an R file: export it as CSV",
    b"\x80\x04\x95": "a Python pickle, which is never opened: export it as CSV or Parquet",
}
"""First bytes of files that are not logs, and what to tell their owner."""

MAGIC: dict[bytes, str] = {
    b"\x1f\x8b": "gz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
}


class Damaged(DataError):
    """A file that is cut short, broken or closed to us; it is never set aside in silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, or one member of a zip archive, that may hold events."""

    path: Path
    member: str = ""
    """Name inside the archive; empty for a plain file."""
    found: bool = False
    """True when it was found in a folder or archive rather than named; such a file may be set aside."""

    @property
    def name(self) -> str:
        """How it is called in messages: the path, with ":member" for a part of an archive."""
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def stem(self) -> str:
        """Its bare name without suffixes, such as "clicks" for clicks.csv.gz."""
        return PurePosixPath(self.member or self.path.name).name.split(".")[0]


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key under which file_2 comes before file_10.

    >>> sorted(["h10.csv", "h9.csv"], key=natural)
    ['h9.csv', 'h10.csv']
    """
    return [
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
    ]


def looks_like_data(name: str) -> bool:
    """Whether a file met in a folder or archive is worth opening, judged by its name."""
    path = PurePosixPath(name)
    if path.name.startswith((".", "__MACOSX")) or "__MACOSX" in path.parts or NOT_DATA.match(path.name):
        return False
    words = path.name.lower().split(".")[1:]
    while words and words[-1] in PACKED_SUFFIXES:
        words.pop()
        if not words:
            return True
    return not words or words[-1] in DATA_SUFFIXES or words[-1].isdecimal()


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turns every failure of opening or unpacking `name` into a DataError that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise Damaged(
            f"{name} must be readable, but permission is denied. Check its owner and mode."
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise Damaged(
            f"{name} must be a whole compressed file, but it is cut short or damaged ({error}). "
            "Fetch it again, or repack what can be saved."
        ) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise Damaged(
            f"{name} must be a whole zip archive without a password, but it cannot be unpacked ({error}). "
            "Fetch it again, or unpack it by hand."
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise Damaged(
            f"{name} cannot be read: {str(error).splitlines()[0] if str(error) else error!r}."
        ) from error


def discover(sources: Sequence[str | Path]) -> list[Source]:
    """The files behind paths, folders and globs, archives opened, in natural order within each.

    Raises: ConfigError for a path that does not exist (naming the nearest), DataError for a folder
    or archive without a data file.

    Args:
        sources: Paths of files, of folders (searched to the bottom), or glob patterns.
    """
    if not sources:
        raise ConfigError("At least one file, folder, pattern or database URL must be named; none was.")
    found: list[Source] = []
    for source in sources:
        found += _behind(source)
    unique = list({(item.path.resolve(), item.member): item for item in found}.values())
    return unique


def _behind(source: str | Path) -> list[Source]:
    text, path = str(source), Path(source)
    if "\x00" in text or not text:
        raise ConfigError(f"A path must be a name on this machine; got {text!r}.")
    with readable(text):
        if path.is_file():
            return _members(Source(path=path))
        if path.is_dir():
            return _in_folder(path)
        matches = [Path(m) for m in glob.glob(text, recursive=True)] if glob.has_magic(text) else []
    files = sorted((m for m in matches if m.is_file()), key=lambda p: natural(str(p)))
    if files:
        return [member for file in files for member in _members(Source(path=file, found=True))]
    if glob.has_magic(text):
        raise ConfigError(f"The pattern '{text}' must match a file; it matches none in {Path.cwd()}.")
    if path.exists():
        raise DataError(f"{text} must be a file or a folder; it is a device or a socket.")
    parent = path.parent
    beside = [p.name for p in parent.iterdir()] if parent.is_dir() else []
    hint = nearest(path.name, beside[:200]) if beside else f"The folder {parent} does not exist or is empty."
    raise ConfigError(
        f"'{text}' must be a file, folder, pattern or database URL; nothing is there. {hint[:400]}"
    )


def _in_folder(folder: Path) -> list[Source]:
    files = [
        path
        for path in folder.rglob("*")
        if looks_like_data(str(path.relative_to(folder)))
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    files.sort(key=lambda p: natural(str(p.relative_to(folder))))
    if not files:
        raise DataError(
            f"The folder {folder} must hold a data file (CSV, TSV, JSONL, Parquet, ...); it holds none. "
            "Name a file if it has an unusual suffix."
        )
    return [member for file in files for member in _members(Source(path=file, found=True))]


def _members(source: Source) -> list[Source]:
    """The source itself, or what lies in it when it is a zip archive."""
    with readable(source.name):
        with source.path.open("rb") as file:
            if MAGIC.get(file.read(4)) != "zip":
                return [source]
        with zipfile.ZipFile(source.path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    if any(info.filename == "[Content_Types].xml" for info in infos):
        raise DataError(
            f"{source.name} must be a log; it is a spreadsheet or document. Export the sheet as CSV."
        )
    names = [info.filename for info in infos if looks_like_data(info.filename)]
    names.sort(key=natural)
    if not names:
        raise DataError(
            f"The archive {source.name} must hold a data file; it holds none of {len(infos)} members."
        )
    several = len(names) > 1
    return [Source(path=source.path, member=name, found=source.found or several) for name in names]


@dataclass(slots=True)
class Archive:
    """A zip archive kept open while its members are read, so that its directory is parsed once."""

    path: Path | None = None
    handle: zipfile.ZipFile | None = None

    def directory(self, source: Source) -> zipfile.ZipFile:
        """The archive that a source is a member of."""
        if self.path != source.path or self.handle is None:
            self.close()
            self.handle, self.path = zipfile.ZipFile(source.path), source.path
        return self.handle

    def member(self, source: Source) -> BinaryIO:
        """The bytes of one member."""
        return cast(BinaryIO, self.directory(source).open(source.member))

    def close(self) -> None:
        """Let go of the archive."""
        if self.handle is not None:
            self.handle.close()
        self.handle, self.path = None, None


def compression(source: Source, archive: Archive) -> tuple[str, bytes]:
    """The compression of a source ("" for none, "zip" or "zip+gz" for a member) and its first bytes.

    The bytes are those after unpacking, at most 300.     Raises: DataError when it is empty or no log.
    """
    with readable(source.name):
        with _raw(source, archive) as file:
            kind = MAGIC.get(_magic(file.read(6)), "")
        if kind == "zip":
            raise DataError(f"{source.name} is an archive within an archive. Unpack the outer one first.")
        with unpacked(source, archive, kind) as (plain, _):
            head = plain.read(300)
    if head[257:262] == b"ustar":
        raise DataError(f"{source.name} must be a log; it is a tar archive. Unpack it first.")
    for first, what in FOREIGN.items():
        if head.startswith(first):
            raise DataError(f"{source.name} must be a log; it is {what}.")
    return "+".join(word for word in ("zip" if source.member else "", kind) if word), head


def _magic(head: bytes) -> bytes:
    return next((magic for magic in MAGIC if head.startswith(magic)), b"")


def _raw(source: Source, archive: Archive) -> BinaryIO:
    return archive.member(source) if source.member else cast(BinaryIO, source.path.open("rb"))


@contextmanager
def unpacked(source: Source, archive: Archive, kind: str) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The plain bytes of a source whose inner compression is `kind`, and the packed ones beneath."""
    openers: dict[str, Callable[[BinaryIO], BinaryIO]] = {
        "gz": lambda f: cast(BinaryIO, gzip.GzipFile(fileobj=f)),
        "bz2": lambda f: cast(BinaryIO, bz2.BZ2File(f)),
        "xz": lambda f: cast(BinaryIO, lzma.LZMAFile(f)),  # noqa: SIM115
        "zst": lambda f: cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(f, mode="r"), "zstd")),
    }
    with readable(source.name), _raw(source, archive) as raw:
        if kind not in openers:
            yield raw, raw
            return
        with openers[kind](raw) as file:
            yield file, raw


def chunks(
    source: Source, archive: Archive, packed: str, watch: Callable[[float], None] | None = None
) -> Iterator[bytes]:
    """The plain bytes of a source, `CHUNK` at a time.

    Args:
        source: What to read.
        archive: Where the archive of a member is kept open.
        packed: What `compression` said.
        watch: Called with the share of the source that has been read, 0 to 1.
    """
    with unpacked(source, archive, packed.removeprefix("zip").removeprefix("+")) as (file, raw):
        size = stored_bytes(source, archive) if watch else 1
        while block := file.read(CHUNK):
            if watch and not raw.closed:
                watch(min(1.0, raw.tell() / max(size, 1)))
            yield block


def stored_bytes(source: Source, archive: Archive) -> int:
    """The bytes of a source before its own unpacking, by which its share of the work is told."""
    with readable(source.name):
        if not source.member:
            return source.path.stat().st_size
        return archive.directory(source).getinfo(source.member).file_size


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's stored bytes, in hex; about a second a gigabyte."""
    with readable(str(path)), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
