# SPDX-License-Identifier: Apache-2.0
"""Parts of the event log: Parquet files of ordered rows whose ids are kept once a row group.

It knows coded rows and lists of ids; which parts make up a log is the manifest's to say. Any Parquet
reader sees plain text ids; this file reads the codes behind them, which spares hashing each row again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from desirepath.events.rows import Rows
from desirepath.schema import ACTION, ITEM, TIME, USER

GROUP_ROWS = 2**20
"""Rows of a row group: what is read at once when a part is looked into."""
CODED = (USER, ITEM, ACTION)
MANY_DISTINCT = 0.25
"""Share of distinct values above which a further text column is kept without a dictionary."""

Encoder = Callable[[pl.Series], NDArray[np.integer[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One row group of a part."""

    rows: int
    first_user: int
    """Position in the log's list of users of the first row's user."""
    last_user: int
    """The same of the last row's user; rows lie by user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One Parquet file of the log, ordered by user, then time, then file."""

    file: str
    """Path within the log's folder."""
    rows: int
    first_us: int
    """Earliest moment, microseconds since 1970 UTC."""
    last_us: int
    """Latest moment."""
    columns: tuple[str, ...]
    groups: tuple[Group, ...]


def write_part(path: Path, file: str, rows: Rows, ids: Mapping[str, pl.Series]) -> Part:
    """Write ordered rows as one Parquet file, and say what is in it.

    Args:
        path: where to write; the file is made durable.
        file: its name within the log's folder.
        rows: at least one row, ordered.
        ids: USER, ITEM and ACTION to all ids at their positions.
    """
    plain = [
        name
        for name, dtype in rows.extra.schema.items()
        if dtype != pl.String
        or rows.extra[name].head(GROUP_ROWS).n_unique() > MANY_DISTINCT * min(len(rows), GROUP_ROWS)
    ]
    coded = [*CODED, *(name for name in rows.extra.columns if name not in plain)]
    groups: list[Group] = []
    writer: pq.ParquetWriter | None = None
    with path.open("wb") as sink:
        for start in range(0, len(rows), GROUP_ROWS):
            table = _table(rows, slice(start, start + GROUP_ROWS), ids)
            if writer is None:
                writer = pq.ParquetWriter(
                    sink,
                    table.schema,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=coded,
                    dictionary_pagesize_limit=2**30,
                    column_encoding={TIME: "DELTA_BINARY_PACKED"},
                    write_statistics=[USER, TIME],
                    store_schema=False,
                )
            writer.write_table(table, row_group_size=GROUP_ROWS)
            users = rows.user_ix[start : start + GROUP_ROWS]
            groups.append(Group(rows=len(users), first_user=int(users[0]), last_user=int(users[-1])))
        assert writer is not None
        writer.close()
    return Part(
        file=file,
        rows=len(rows),
        first_us=int(rows.time_us.min()),
        last_us=int(rows.time_us.max()),
        columns=(USER, ITEM, ACTION, TIME, *rows.extra.columns),
        groups=tuple(groups),
    )


def _table(rows: Rows, piece: slice, ids: Mapping[str, pl.Series]) -> pa.Table:
    columns = {}
    for name, positions in ((USER, rows.user_ix), (ITEM, rows.item_ix), (ACTION, rows.action_ix)):
        used, local = _compact(positions[piece], len(ids[name]))
        words = ids[name].gather(pl.Series(used)).to_arrow(compat_level=pl.CompatLevel.oldest())
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(local), words.cast(pa.string()))
    columns[TIME] = pa.array(rows.time_us[piece]).cast(pa.timestamp("us", tz="UTC"))
    if rows.extra.width:
        extra = rows.extra[piece].to_arrow(compat_level=pl.CompatLevel.oldest())
        columns |= {name: extra.column(name) for name in rows.extra.columns}
    return pa.table(columns)


@numba.njit(nogil=True, cache=True)
def _compact(positions, n):  # type: ignore[no-untyped-def]
    """The distinct positions, rising, and each row's place among them."""
    place = np.zeros(n, np.int32)
    for position in positions:
        place[position] = 1
    used = np.flatnonzero(place)
    for rank in range(len(used)):
        place[used[rank]] = rank
    local = np.empty(len(positions), np.int32)
    for row in range(len(positions)):
        local[row] = place[positions[row]]
    return used, local


def read_groups(
    path: Path,
    part: Part,
    encoders: Mapping[str, Encoder],
    columns: Collection[str],
    users: tuple[int, int] | None = None,
) -> Iterator[Rows]:
    """The rows of a part, a row group at a time.

    Args:
        path: where the part lies.
        part: what is in it.
        encoders: USER, ITEM and ACTION to what turns ids into positions.
        columns: further columns wanted; those that the part lacks are left out.
        users: positions (first, stop) of the users wanted, in the log's list; row groups without them
            are skipped, other rows within a group are not.
    """
    wanted = [*CODED, TIME, *(name for name in columns if name in part.columns)]
    with pq.ParquetFile(path, read_dictionary=list(CODED)) as file:
        for number, group in enumerate(part.groups):
            if users is not None and (group.last_user < users[0] or group.first_user >= users[1]):
                continue
            table = file.read_row_group(number, columns=wanted)
            further = table.select(wanted[4:])
            yield Rows(
                user_ix=_positions(table.column(USER), encoders[USER]).astype(np.int32, copy=False),
                item_ix=_positions(table.column(ITEM), encoders[ITEM]).astype(np.int32, copy=False),
                action_ix=_positions(table.column(ACTION), encoders[ACTION]).astype(np.int16, copy=False),
                time_us=table.column(TIME).cast(pa.int64()).to_numpy(),
                extra=pl.DataFrame(further) if wanted[4:] else pl.DataFrame(),
            )


def _positions(column: pa.ChunkedArray, encode: Encoder) -> NDArray[np.integer[Any]]:
    pieces = []
    for chunk in column.chunks:
        words = pl.Series(chunk.dictionary, dtype=pl.String)
        pieces.append(encode(words)[chunk.indices.to_numpy()])
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
