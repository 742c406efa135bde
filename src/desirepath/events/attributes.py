# SPDX-License-Identifier: Apache-2.0
"""Reads a table of items or users: one row an id, and what is known of it.

Files are read as events are; only the choice of the key differs. Numbers become numbers where every
value is one, all else stays text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import polars as pl

from desirepath.errors import ConfigError, DataError, nearest
from desirepath.events.inference import profile
from desirepath.events.masking import NULLS
from desirepath.events.names import plain, strength
from desirepath.events.raw import ColumnChoice
from desirepath.events.tables import BROKEN, read_tables
from desirepath.schema import ITEM, USER

KINDS = {"items": ITEM, "users": USER}


def read_table(
    path: str | Path,
    kind: Literal["items", "users"],
    *,
    key: str | None = None,
    overrides: ColumnChoice | None = None,
) -> pl.DataFrame:
    """What is known of items or users, one row an id: item_id or user_id first, then the attributes.

    A repeated id keeps its first row. Columns without a name keep "column_2" and so on, save that
    the first column of mostly distinct words in a table of items is called "title".

    Args:
        path: A file of any format that events may have.
        kind: "items" or "users".
        key: Column of the ids; None to infer it.
        overrides: Delimiter, header and encoding, where the inference errs.

    Raises: ConfigError for a key that does not exist; DataError when no column could be the key.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind must be 'items' or 'users'; got '{kind}'. {nearest(kind, KINDS)}")
    reading = read_tables([path], overrides or ColumnChoice())
    if len(reading.tables) != 1:
        names = ", ".join(table.name for table in reading.tables[:5])
        raise DataError(f"A table of {kind} must be one table; {path} holds {len(reading.tables)}: {names}.")
    try:
        return _keyed(reading.tables[0].lazy().collect(), kind, key, str(path))
    except BROKEN as error:
        raise DataError(f"{path} must be readable to its end; polars says: {str(error)[:200]}") from error


def _keyed(frame: pl.DataFrame, kind: str, key: str | None, path: str) -> pl.DataFrame:
    """The table with its key first and its attributes typed."""
    role = KINDS[kind]
    chosen = _key(frame, role, key, path)
    nameless = [c for c in frame.columns if re.fullmatch(r"unnamed_\d+", c) and c != chosen]
    others = [name for name in frame.columns if name != chosen and name not in nameless]
    rest = frame.select(_attribute(frame[name]) for name in others)
    taken = {role: f"{role}_given"}
    nameless_text = (n for n in others if re.fullmatch(r"column_\d+", n) and _is_title(frame[n]))
    title = next(nameless_text, None) if kind == "items" else None
    if title:
        taken[title] = "title"
    rest = rest.rename({name: taken[name] for name in rest.columns if name in taken})
    keyed = rest.insert_column(0, frame[chosen].cast(pl.String).alias(role))
    return keyed.filter(pl.col(role).is_not_null()).unique(role, keep="first", maintain_order=True)


def _key(frame: pl.DataFrame, role: str, key: str | None, path: str) -> str:
    """The column of the ids: the one asked for, else the best named among those without repetitions."""
    if key is not None:
        if key not in frame.columns:
            raise ConfigError(
                f"The key must be a column of {path}; there is no '{key}'. {nearest(key, frame.columns)}"
            )
        return key
    best, best_score = "", 0.0
    for at, name in enumerate(frame.columns):
        p = profile(frame[name])
        if p.kind in ("empty", "nested", "moment", "boolean") or p.unique_share < 0.5:
            continue
        named = max(strength(name, role), 0.9 if plain(name) in ("id", "key") else 0.0)
        if re.fullmatch(r"column_\d+", name) and at == 0:
            named = 0.5
        score = named * p.unique_share
        if p.counts_up and name.startswith("unnamed_"):
            score = 0.05
        if score > best_score:
            best, best_score = name, score
    if not best:
        raise DataError(
            f"A table of {'items' if role == ITEM else 'users'} must have a column of distinct ids; none of "
            f"{', '.join(frame.columns[:12])} in {path} is one. Name it."
        )
    return best


def _is_title(values: pl.Series) -> bool:
    p = profile(values)
    return p.kind == "text" and p.unique_share > 0.8


def _attribute(values: pl.Series) -> pl.Series:
    """A column as numbers where all of its values are, without those of leading zeros."""
    if values.dtype != pl.String():
        return values
    marked = values.set(values.is_in(NULLS), None)
    present = marked.drop_nulls().str.strip_chars()
    if present.is_empty() or present.str.contains(r"^[+-]?0\d").any():
        return values
    for dtype in (pl.Int64(), pl.Float64()):
        if present.cast(dtype, strict=False).null_count() == 0:
            return marked.str.strip_chars().cast(dtype)
    return values
