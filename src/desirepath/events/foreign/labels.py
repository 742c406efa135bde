# SPDX-License-Identifier: Apache-2.0
"""Opens labels: JSON values of any shape become columns, while the JSON itself stays beside them.

It knows one column of JSON texts, not where it came from. Texts, numbers, truth values and lists of texts
become columns, "a.b" for what lies deeper; lists of numbers (vectors) and lists of objects stay in the JSON.
"""

from __future__ import annotations

import io
import json

import polars as pl
from polars.exceptions import PolarsError

MAX_COLUMNS = 100
"""Columns that labels are opened into; further keys stay in the JSON."""
SEPARATOR = "|"
"""Between the texts of a list, as the item tables of the rest of the package have them."""


def opened(texts: pl.Series) -> pl.DataFrame:
    """The keys of JSON objects as columns, one row a text; other texts and null give empty rows.

    >>> opened(pl.Series(['{"colour": "red", "size": {"cm": 3}}', None, '["a"]'])).to_dicts()[0]
    {'colour': 'red', 'size.cm': 3}
    """
    is_object = texts.str.strip_chars().str.starts_with("{").fill_null(value=False)
    if not is_object.any():
        return pl.DataFrame(height=len(texts))
    lines = pl.select(pl.when(is_object).then(texts).otherwise(pl.lit("{}")).alias("")).to_series()
    lines = lines.str.replace_all("[\r\n]", " ")
    columns = _columns("", _objects(lines))
    kept = dict(list(columns.items())[:MAX_COLUMNS])
    return pl.DataFrame(list(kept.values())) if kept else pl.DataFrame(height=len(texts))


def with_columns_of(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """A table with the keys of its JSON column as further columns, under names that it does not have yet.

    >>> with_columns_of(pl.DataFrame({"id": ["a"], "labels": ['{"id": 7}']}), "labels").columns
    ['id', 'labels', 'labels.id']
    """
    new = opened(frame.get_column(column))
    names = {name: name if name not in frame.columns else f"{column}.{name}" for name in new.columns}
    fresh = [new.get_column(name).alias(to) for name, to in names.items() if to not in frame.columns]
    return frame.with_columns(fresh)


def as_json(texts: pl.Series) -> pl.Series:
    r"""Values as JSON texts: "" is no value, and a bare word is a text.

    "&" is written as JSON's \u0026, so that no later cleaning of HTML entities breaks the JSON.

    >>> as_json(pl.Series(["red", "", "[1]", "2.5"])).to_list()
    ['"red"', None, '[1]', '2.5']
    """
    present = texts.set(texts.str.strip_chars().is_in(["", "null"]), None)
    present = present.str.replace_all("&", "\\u0026", literal=True)
    bare = ~present.str.contains(r'^\s*([\[{"]|-?\d+(\.\d+)?([eE][+-]?\d+)?\s*$|(true|false)\s*$)')
    if not bare.fill_null(value=False).any():
        return present
    words = present.filter(bare.fill_null(value=False)).unique()
    return present.replace(
        words, pl.Series([json.dumps(word, ensure_ascii=False) for word in words.to_list()])
    )


def _objects(lines: pl.Series) -> pl.DataFrame:
    """Lines of JSON objects as a table; what polars cannot bring under one type becomes text."""
    text = io.BytesIO(lines.str.join("\n").item().encode() + b"\n")
    try:
        return pl.read_ndjson(text, infer_schema_length=None)
    except PolarsError:
        return _clashing(lines)


def _clashing(lines: pl.Series) -> pl.DataFrame:
    """The same where a key has values of unlike shapes, or a line is no JSON: scalars as text, the rest null.

    Only labels that polars refuses come here; they are looked at one by one.
    """
    rows: list[dict[str, str | None]] = []
    for line in lines.to_list():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = {}
        rows.append({str(key): _word(value) for key, value in found.items()})
    names = {key: pl.String() for row in rows for key in row}
    return pl.DataFrame(rows, schema=names) if names else pl.DataFrame(height=len(rows))


def _word(value: object) -> str | None:
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return SEPARATOR.join(value)
    if value is None or isinstance(value, list | dict):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _columns(path: str, table: pl.DataFrame) -> dict[str, pl.Series]:
    """Every scalar of a table of structs by its path; lists of texts are joined."""
    found: dict[str, pl.Series] = {}
    for name, kind in table.schema.items():
        series, here = table.get_column(name), f"{path}.{name}" if path else name
        if isinstance(kind, pl.Struct):
            found |= _columns(here, series.struct.unnest())
        elif kind == pl.List(pl.String):
            found[here] = series.list.join(SEPARATOR, ignore_nulls=True).alias(here)
        elif not isinstance(kind, pl.List) and kind != pl.Null:
            found[here] = series.alias(here)
    return found
