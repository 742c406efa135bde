# SPDX-License-Identifier: Apache-2.0
"""Turns the bytes of a text file into UTF-8 in whole lines, whatever it was written in.

UTF-8 is believed until a byte contradicts it; then the whole file is looked at, so that one late
accent in a latin-1 file is enough. It knows nothing of columns.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from desirepath.errors import ConfigError, DataError

LONGEST_LINE = 64 * 2**20
"""Bytes without a line end after which a file is not taken for text."""

BOMS: dict[bytes, str] = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CP1252_HOLES = frozenset(b"\x81\x8d\x8f\x90\x9d")


class NotUtf8(ValueError):
    """A file believed to be UTF-8 is not; the caller looks again with `legacy`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The codec of a text file and how that was told."""

    codec: str
    """Python codec name."""
    reason: str
    """Why, in words for a person."""
    errors: str = "strict"
    """"replace" for a UTF-8 file with a few damaged bytes."""


def named(codec: str) -> Encoding:
    """The encoding that the caller asked for.

    Raises: ConfigError for a name that Python does not know.
    """
    try:
        found = codecs.lookup(codec)
        if not found._is_text_encoding:
            raise LookupError
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"encoding must be a codec that Python knows, such as utf-8, cp1252 or gb18030; got '{codec}'."
        ) from error
    return Encoding(codec=found.name, reason="as asked for")


def first_guess(head: bytes) -> Encoding:
    """The encoding by the first bytes: a byte order mark, the zeros of UTF-16, else UTF-8."""
    for bom, codec in BOMS.items():
        if head.startswith(bom):
            return Encoding(codec=codec, reason="byte order mark")
    even, odd = head[0:300:2].count(0), head[1:300:2].count(0)
    half = max(len(head[:300]) // 2, 1)
    if half >= 4 and max(even, odd) > 0.7 * half and min(even, odd) < 0.1 * half:
        return Encoding(codec="utf-16-le" if odd > even else "utf-16-be", reason="every other byte is zero")
    return Encoding(codec="utf-8", reason="valid UTF-8 throughout")


def legacy(chunks: Iterable[bytes]) -> Encoding:
    """The encoding of a file that is not valid UTF-8, from all of its bytes.

    UTF-8 with damage where valid characters outnumber bad bytes twenty to one; else cp1252, or latin-1
    where cp1252 has no letter for a byte. Both keep distinct ids distinct.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    bad = good = 0
    seen: set[int] = set()
    for chunk in chunks:
        if chunk.isascii() and not decoder.getstate()[0]:
            continue
        high = re.sub(rb"[\x00-\x7f]+", b"", chunk)
        seen.update(high)
        text = decoder.decode(chunk)
        bad += text.count("�")
        good += len(re.sub(r"[\x00-\x7f�]+", "", text))
    if good > 20 * bad:
        return Encoding(
            codec="utf-8", reason=f"UTF-8 with {bad:,} damaged bytes, shown as �", errors="replace"
        )
    controls = {byte for byte in seen if byte < 0xA0}
    if controls & CP1252_HOLES:
        return Encoding(codec="latin-1", reason=f"not UTF-8 ({bad:,} bytes), and holds bytes cp1252 lacks")
    if controls:
        return Encoding(codec="cp1252", reason=f"not UTF-8 ({bad:,} bytes), and holds Windows punctuation")
    return Encoding(codec="latin-1", reason=f"not UTF-8 ({bad:,} bytes)")


def decoded(chunks: Iterable[bytes], encoding: Encoding, name: str) -> Iterator[bytes]:
    """The same text as UTF-8 without a byte order mark.

    Raises: NotUtf8 at the first byte that contradicts UTF-8; DataError for another codec.
    """
    utf8 = encoding.codec in ("utf-8", "utf-8-sig") and encoding.errors == "strict"
    decoder = codecs.getincrementaldecoder(encoding.codec)(encoding.errors)
    first = True
    try:
        for chunk in chunks:
            if utf8 and chunk.isascii() and not decoder.getstate()[0] and not first:
                yield chunk
                continue
            first = False
            yield decoder.decode(chunk).encode("utf-8", "replace")
        yield decoder.decode(b"", final=True).encode("utf-8", "replace")
    except UnicodeDecodeError as error:
        if encoding.codec == "utf-8":
            raise NotUtf8(str(error)) from error
        raise DataError(
            f"{name} must be text in {encoding.codec} ({encoding.reason}), but it is not: {error}. "
            "Pass --encoding with the right one."
        ) from error


def whole_lines(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The same bytes cut only after line ends (the last line gets one).

    Raises: DataError when no line ends within `LONGEST_LINE` bytes.
    """
    rest: list[bytes] = []
    size = 0
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            block = b"".join([*rest, chunk[:end]])
            yield block
            rest, size = [], 0
        rest.append(chunk[end:])
        size += len(chunk) - end
        if size > LONGEST_LINE:
            raise DataError(f"{name} must have lines; it has none in {size:,} bytes. Is it a log at all?")
    last = b"".join(rest)
    if last:
        yield last + b"\n"


class LineStream(io.RawIOBase):
    """Blocks of lines as a file that a parser can read from."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from the next block and return how many bytes came."""
        while not len(self._block):
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._block = memoryview(block)
        n = min(len(buffer), len(self._block))
        buffer[:n] = self._block[:n]
        self._block = self._block[n:]
        return n
