# SPDX-License-Identifier: Apache-2.0
"""Reads texts whose lines are records of their own: JSON lines, web access logs, and lists of items.

Each reader takes blocks of whole lines in UTF-8 and gives a spool of text columns beside the lines
that could not be read. It opens no files and knows no roles.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator

import polars as pl
from polars.exceptions import PolarsError

from desirepath.errors import DataError
from desirepath.events import access_log
from desirepath.events.spool import Complaints, Spool

Blocks = Callable[[], Iterable[bytes]]
"""Opens a text anew and gives its blocks of whole lines."""

SEQUENCE_USER = "user"
LINE_USER = "line"
SEQUENCE_ITEM = "item"


def _numbered(blocks: Blocks) -> Iterator[tuple[int, pl.Series]]:
    """The lines of each block, with the number of lines before the block."""
    before = 0
    for block in blocks():
        lines = block.decode("utf-8").replace("\r\n", "\n").split("\n")[:-1]
        yield before, pl.Series("text", lines, dtype=pl.String())
        before += len(lines)


def read_access_log(blocks: Blocks, name: str) -> tuple[Spool, Complaints]:
    """Requests of a web server, one a row, with the columns of `access_log.FIELDS`."""
    spool, complaints = Spool(), Complaints()
    for before, lines in _numbered(blocks):
        frame, bad = access_log.parse(lines)
        spool.append(frame)
        blank = lines.str.strip_chars() == ""
        for at in (bad & ~blank).arg_true():
            complaints.add(name, before + at + 1, access_log.REASON, lines[at])
    return spool, complaints


def read_sequences(blocks: Blocks, name: str) -> tuple[Spool, Complaints, str]:
    """One row an item of lines such as "user item item" or SPMF's "item -1 item -1 -2", and the layout.

    The first number of each line is its user when no two lines share it; else every line is a
    sequence of its own, numbered from 1. SPMF's itemsets keep their number in "itemset".

    Raises: DataError when no line holds an item.
    """
    firsts = [first for block in blocks() for first in re.findall(rb"(?m)^[ \t]*(-?\d+)[ \t]+\S", block)]
    n_lines = sum(len(re.findall(rb"(?m)^[ \t]*\S", block)) for block in blocks())
    spmf = any(re.search(rb"(?m)(^|\s)-[12]\s*$", block) or b" -1 " in block for block in blocks())
    has_user = not spmf and len(firsts) > 1 and len(set(firsts)) == len(firsts) >= 0.99 * n_lines
    spool = Spool()
    for before, lines in _numbered(blocks):
        tokens = (
            lines.to_frame()
            .with_row_index(LINE_USER, offset=before + 1)
            .filter(~pl.col("text").str.contains(r"^\s*([@#%].*)?$"))
            .with_columns(pl.col("text").str.extract_all(r"\S+"))
            .filter(pl.col("text").list.len() > 0)
        )
        if has_user:
            tokens = tokens.select(
                pl.col("text").list.first().alias(SEQUENCE_USER),
                pl.col("text").list.slice(1).alias(SEQUENCE_ITEM),
            )
        else:
            tokens = tokens.select(pl.col(LINE_USER).cast(pl.String), pl.col("text").alias(SEQUENCE_ITEM))
        items = tokens.explode(SEQUENCE_ITEM).drop_nulls()
        if spmf:
            ends = (pl.col(SEQUENCE_ITEM) == "-1").cast(pl.Int32)
            items = items.with_columns((ends.cum_sum().over(LINE_USER) + 1).cast(pl.String).alias("itemset"))
            items = items.filter(~pl.col(SEQUENCE_ITEM).is_in(["-1", "-2"]))
        spool.append(items)
    if not spool.rows:
        raise DataError(f"{name} must hold sequences of items; no line holds one.")
    words = "SPMF, a line a sequence" if spmf else "user and its items" if has_user else "a line a sequence"
    return spool, Complaints(), words


def read_jsonl(blocks: Blocks, name: str) -> tuple[Spool, Complaints]:
    """JSON lines: one column a key, as text with every digit kept; objects inside are opened one level.

    Lists and deeper objects stay as JSON text. A line that is no JSON object is complained of.
    Raises: DataError when no line is one.
    """
    spool, complaints = Spool(), Complaints()
    before = 0
    for block in blocks():
        try:
            spool.append(_json_frame(block))
        except (PolarsError, ValueError):
            good = _whole_objects(block, before, name, complaints)
            if good:
                spool.append(_json_frame(good))
        before += block.count(b"\n")
    if not spool.rows and complaints.total:
        raise DataError(f"{name} must have one JSON object a line; none of its {before:,} lines is one.")
    return spool, complaints


def _whole_objects(block: bytes, before: int, name: str, complaints: Complaints) -> bytes:
    """The lines of a refused block that are JSON objects; only such a block is looked at line by line."""
    objects: list[tuple[int, bytes]] = []
    for number, line in enumerate(block.split(b"\n"), start=before + 1):
        if not line.strip():
            continue
        try:
            if not isinstance(json.loads(line), dict):
                raise ValueError("no object")
            objects.append((number, line))
        except (ValueError, RecursionError):
            complaints.add(name, number, "not a JSON object", line.decode("utf-8", "replace"))
    good = _accepted(objects, name, complaints)
    return b"\n".join([*good, b""]) if good else b""


def _accepted(objects: list[tuple[int, bytes]], name: str, complaints: Complaints) -> list[bytes]:
    """Those lines that polars takes too, found by halving."""
    if not objects:
        return []
    try:
        _json_frame(b"\n".join([*(line for _, line in objects), b""]))
        return [line for _, line in objects]
    except (PolarsError, ValueError):
        if len(objects) == 1:
            number, line = objects[0]
            complaints.add(name, number, "not a JSON object", line.decode("utf-8", "replace"))
            return []
    half = len(objects) // 2
    return _accepted(objects[:half], name, complaints) + _accepted(objects[half:], name, complaints)


def _json_frame(block: bytes) -> pl.DataFrame:
    """A block of JSON lines as text columns."""
    try:
        found = pl.read_ndjson(io.BytesIO(block), infer_schema_length=None).schema
    except PolarsError:  # keys of clashing kinds; the plain parser tells only their names
        keys: dict[str, None] = {}
        for line in block.split(b"\n"):
            if line.strip():
                keys.update(dict.fromkeys(json.loads(line)))
        found = pl.Schema(dict.fromkeys(keys, pl.String()))
    wanted: dict[str, pl.DataType] = {}
    for key, kind in found.items():
        if isinstance(kind, pl.Struct) and kind.fields:
            wanted[key] = pl.Struct({field.name: pl.String() for field in kind.fields})
        else:
            wanted[key] = pl.String()
    if not wanted:
        return pl.DataFrame()
    frame = pl.read_ndjson(io.BytesIO(block), schema=wanted)
    columns: dict[str, pl.Series] = {}
    for key in frame.columns:
        series = frame[key]
        parts = series.struct.unnest() if isinstance(series.dtype, pl.Struct) else series.to_frame()
        for part in parts.columns:
            path = f"{key}.{part}" if isinstance(series.dtype, pl.Struct) else key
            while path in columns:
                path += "_2"
            columns[path] = parts[part].replace("", None)
    return pl.DataFrame(columns)


def read_json(blocks: Blocks, name: str) -> tuple[Spool, Complaints]:
    """A JSON array of objects, as JSON lines; the whole of it passes through memory.

    Raises: DataError when it is no array of objects.
    """
    try:
        values = json.loads(b"".join(blocks()))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} must be a JSON array of objects; it is not valid JSON: {error}.") from error
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError(f"{name} must be a JSON array of objects, or one object a line.")
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    return read_jsonl(lambda: [text.encode("utf-8", "replace")] if text else [], name)
