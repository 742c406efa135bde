# SPDX-License-Identifier: Apache-2.0
"""Reads JSON lines whose keys are known, block by block, with nested values kept as exact JSON text.

It knows no format; `gorse` and `metarank` say which keys there are. Lines that are no such object are
complained of, and all others are read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from desirepath.errors import DataError
from desirepath.events import encoding
from desirepath.events.files import Archive, Source, chunks
from desirepath.events.spool import Complaints

REASON = "not an object of this format"
Mend = Callable[[dict[str, Any]], None]


def text_blocks(
    source: Source, archive: Archive, packed: str, watch: Callable[[float], None]
) -> Iterable[bytes]:
    """Whole lines of a text in UTF-8, some MiB at a time."""
    told = encoding.first_guess(next(iter(chunks(source, archive, packed)), b"")[: 2**18])
    decoded = encoding.decoded(chunks(source, archive, packed, watch), told, source.name)
    return encoding.whole_lines(decoded, source.name)


def frames(
    blocks: Iterable[bytes],
    schema: Mapping[str, pl.DataType],
    nested: tuple[str, ...],
    name: str,
    complaints: Complaints,
    mend: Mend | None = None,
) -> Iterator[pl.DataFrame]:
    r"""The objects of each block as a table of this schema; keys that an object lacks are null.

    Args:
        blocks: whole lines in UTF-8.
        schema: the keys; a nested value under a key of text becomes its JSON.
        nested: keys whose values may be nested.
        name: of the file, for complaints.
        complaints: takes the lines that are no such object.
        mend: turns nested values of one object into texts, in place of what `nested` names.

    Raises: DataError when not one line is such an object.

    >>> made = frames([b'{"id": 1, "labels": {"a": "x\\\\y"}}\n'], {"id": pl.String(), "labels": pl.String()},
    ...               ("labels",), "file", Complaints())
    >>> next(made).row(0)
    ('1', '{"a": "x\\\\y"}')
    """
    before, good = 0, 0
    for block in blocks:
        lines = pl.Series("line", block.decode("utf-8").split("\n")[:-1], dtype=pl.String).str.strip_chars()
        number = pl.Series("number", range(before + 1, before + 1 + len(lines)), dtype=pl.Int64)
        before += len(lines)
        told = pl.DataFrame([number, lines]).filter(pl.col("line") != "")
        frame = _read(told, schema, mend or partial(_texted, nested), (name, complaints))
        good += frame.height
        if frame.height:
            yield frame
    if not good and complaints.total:
        raise DataError(
            f"{name} must have one JSON object of its format a line; none of {before:,} lines is."
        )


def _read(
    told: pl.DataFrame, schema: Mapping[str, pl.DataType], mend: Mend, where: tuple[str, Complaints]
) -> pl.DataFrame:
    """The lines as a table; when polars refuses them, halves of them, down to the line that it refuses."""
    if not told.height:
        return pl.DataFrame(schema=schema)
    try:
        return _parsed(told.get_column("line"), schema, mend)
    except (PolarsError, ValueError, RecursionError):
        if told.height == 1:
            number, line = told.row(0)
            where[1].add(where[0], number, REASON, line)
            return pl.DataFrame(schema=schema)
    half = told.height // 2
    return pl.concat([_read(part, schema, mend, where) for part in (told.head(half), told.slice(half))])


def _parsed(lines: pl.Series, schema: Mapping[str, pl.DataType], mend: Mend) -> pl.DataFrame:
    """Polars writes nested values back without their escapes, so that lines with any are mended first."""
    escaped = lines.str.contains("\\", literal=True)
    if escaped.any():
        mended = [_mended(line, mend) for line in lines.filter(escaped).to_list()]
        lines = lines.scatter(escaped.arg_true(), pl.Series(mended))
    text = io.BytesIO(lines.str.join("\n").item().encode() + b"\n")
    frame = pl.read_ndjson(text, schema=dict(schema))
    if frame.height != len(lines):
        raise ValueError("a line holds several objects")
    return frame


def _mended(line: str, mend: Mend) -> str:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("no object")
    mend(found)
    return json.dumps(found, ensure_ascii=False)


def _texted(keys: tuple[str, ...], found: dict[str, Any]) -> None:
    for key in keys:
        if isinstance(found.get(key), dict | list):
            found[key] = json.dumps(found[key], ensure_ascii=False)
