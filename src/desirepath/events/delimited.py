# SPDX-License-Identifier: Apache-2.0
"""Reads delimited text block by block into text columns, and counts the rows that do not fit.

The parsing is Arrow's. This file knows how to feed it any delimiter, what to do when a stray quote
swallows lines, and nothing of roles or files.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Iterable, Iterator

import polars as pl
import pyarrow as pa
import pyarrow.csv as pc

from desirepath.errors import DataError
from desirepath.events.dialect import Dialect
from desirepath.events.encoding import LineStream
from desirepath.events.spool import Complaints, Spool

BLOCK = 8 * 2**20
LARGEST_BLOCK = 2**28
UNIT_SEPARATOR = b"\x1f"
"""Stands for a delimiter of several characters while Arrow parses."""


class _Swallowed(ValueError):
    """A quote that nobody closed took whole lines into one field."""


def read(
    blocks: Callable[[], Iterable[bytes]], dialect: Dialect, name: str
) -> tuple[Spool, Complaints, Dialect]:
    """All rows of a delimited text, those that do not fit, and the dialect that was used in the end.

    Where reading quotes as quotes loses lines, they are read as plain text if that loses fewer.
    Raises: DataError when most rows do not fit.

    Args:
        blocks: Opens the text anew and gives its blocks of whole lines in UTF-8.
        dialect: How the text is laid out.
        name: What the file is called in messages.
    """
    try:
        spool, complaints = _attempt(blocks, dialect, name)
        lost = sum(complaints.frame["text"].str.count_matches("\n") + 1) if complaints.total else 0
    except _Swallowed:
        spool, complaints, lost = Spool(), Complaints(), -1
    if dialect.quoted and lost and (lost < 0 or lost > complaints.total):
        plain = dataclasses.replace(dialect, quoted=False)
        other, others = _attempt(blocks, plain, name)
        if lost < 0 or others.total < lost:
            spool, complaints, dialect = other, others, plain
    if complaints.total > spool.rows and complaints.total > 1:
        wrong = max(complaints.counts, key=lambda reason: complaints.counts[reason])
        raise DataError(
            f"Most rows of {name} must have the {len(dialect.names)} fields of its first line; "
            f"{complaints.total:,} of {complaints.total + spool.rows:,} have {wrong} "
            f"({dialect.words}). Pass --delimiter or --no-header if that was misread."
        )
    return spool, complaints, dialect


def _attempt(blocks: Callable[[], Iterable[bytes]], dialect: Dialect, name: str) -> tuple[Spool, Complaints]:
    size = BLOCK
    while True:
        spool, complaints = Spool(), Complaints()
        try:
            for frame in _frames(blocks(), dialect, name, size, complaints):
                spool.append(frame)
            return spool, complaints
        except pa.ArrowInvalid as error:
            if "straddling" in str(error) and size < LARGEST_BLOCK:
                size *= 8
                continue
            if dialect.quoted:
                raise _Swallowed(str(error)) from error
            raise DataError(
                f"{name} must be rows of fields; Arrow says: {str(error).splitlines()[0]}"
            ) from error


def _frames(
    blocks: Iterable[bytes], dialect: Dialect, name: str, size: int, complaints: Complaints
) -> Iterator[pl.DataFrame]:
    wanted = len(dialect.names)
    long = len(dialect.delimiter.encode()) > 1

    def unfit(row: pc.InvalidRow) -> str:
        reason = "too few fields" if row.actual_columns < wanted else "too many fields"
        text = row.text.replace("\x1f", dialect.delimiter) if long else row.text
        line = None if row.number is None else row.number + dialect.skip_lines
        complaints.add(name, line, reason, text)
        return "skip"

    quotes_seen = False

    def watched() -> Iterator[bytes]:
        nonlocal quotes_seen
        for block in _body(blocks, dialect):
            quotes_seen = quotes_seen or b'"' in block
            yield block

    body = watched()
    first = next(body, None)
    if first is None:
        return
    stream = io.BufferedReader(LineStream(_chain(first, body)), 2**20)
    reader = pc.open_csv(
        stream,
        read_options=pc.ReadOptions(block_size=size, use_threads=False, column_names=list(dialect.names)),
        parse_options=pc.ParseOptions(
            delimiter=UNIT_SEPARATOR.decode() if long else dialect.delimiter,
            quote_char='"' if dialect.quoted else False,
            newlines_in_values=dialect.quoted,
            invalid_row_handler=unfit,
        ),
        convert_options=pc.ConvertOptions(
            column_types=dict.fromkeys(dialect.names, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )
    for batch in reader:
        frame = pl.DataFrame(pl.from_arrow(batch))
        if dialect.spaced:
            frame = frame.with_columns(pl.all().str.strip_prefix(" ").replace("", None))
        if long and dialect.quoted:
            frame = frame.with_columns(pl.all().str.replace_all("\x1f", dialect.delimiter, literal=True))
        if dialect.quoted and quotes_seen:
            _refuse_swallowed(frame, dialect)
        yield frame


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _body(blocks: Iterable[bytes], dialect: Dialect) -> Iterator[bytes]:
    """Blocks without the lines before the first event, rewritten so that Arrow can part the fields."""
    to_skip = dialect.skip_lines
    delimiter = dialect.delimiter.encode()
    for block in blocks:
        start = 0
        while to_skip and start < len(block):
            start = block.find(b"\n", start) + 1 or len(block)
            to_skip -= 1
        block = block[start:] if start else block
        if dialect.runs:
            block = re.sub(rb" +", b" ", re.sub(rb"(?m)^ +| +(?=\r?$)", b"", block))
        if dialect.spaced:
            block = block.replace(delimiter + b' "', delimiter + b'"')
        if len(delimiter) > 1:
            block = block.replace(delimiter, UNIT_SEPARATOR)
        if block.strip(b"\r\n"):
            yield block


def _refuse_swallowed(frame: pl.DataFrame, dialect: Dialect) -> None:
    """Raise when quoted fields hold lines that look like rows of their own."""
    if len(dialect.names) < 3:
        return
    many = frame.select(pl.all().str.contains("\n", literal=True).any()).row(0)
    for column in (c for c, has in zip(frame.columns, many, strict=True) if has):
        lines = frame[column].drop_nulls()
        lines = lines.filter(lines.str.contains("\n", literal=True)).str.split("\n").explode()
        rows = (lines.str.count_matches(dialect.delimiter, literal=True) == len(dialect.names) - 1).sum()
        if rows > max(2, 0.5 * len(lines)):
            raise _Swallowed(column)
