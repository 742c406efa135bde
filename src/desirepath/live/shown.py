# SPDX-License-Identifier: Apache-2.0
"""What was shown since a moment, and what people did with it: from the live store, and from what was packed.

Rows come out as the tables that `outcomes.attribute` takes, each once, wherever it lies by now. It judges
nothing, and holds no row as an object.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from sqlalchemy import Text, cast, select

from desirepath.events.log import EventLog
from desirepath.live.archive import FOLDER, read_feedback, read_lists
from desirepath.live.replay import erasures
from desirepath.live.store import LiveStore
from desirepath.live.tables import events, impressions
from desirepath.schema import EVENT_ID, TIME, TIME_DTYPE, USER, VALUE
from desirepath.workspace import Workspace

WHOLE_LIST = "(list)"
"""Stands for the item in a rating of a whole list."""
LIST, TEAM = "recommendation_id", "team"
LISTS: dict[str, Any] = {
    LIST: pl.String,
    "time_us": pl.Int64,
    USER: pl.String,
    "scenario": pl.String,
    "variant": pl.String,
    "fallback": pl.String,
    "slate": pl.String,
}
SAID: dict[str, Any] = {
    EVENT_ID: pl.String,
    LIST: pl.String,
    "item_id": pl.String,
    "action": pl.String,
    VALUE: pl.Float64,
    "time_us": pl.Int64,
}
_MOMENT = pl.col("time_us").cast(TIME_DTYPE).alias(TIME)


def served_since(store: LiveStore, workspace: Workspace, since_us: int, most: int) -> pl.DataFrame:
    """One row a listed item of the latest lists, up to `most` of them.

    Columns: those of `outcomes.SERVED`, and team (int64: which of two mixed lists chose the item; null for
    none). Lists of who was erased are left out, also those that still lie in files.

    Cost: two readings of what was served since then, and one parsing of its JSON.
    """
    recent = [impressions.c[name] for name in LISTS if name != "slate"]
    chosen = (
        select(*recent, cast(impressions.c.slate, Text).label("slate"))
        .where(impressions.c.time_us >= since_us)
        .order_by(impressions.c.seq.desc())
        .limit(most)
    )
    lists = store.table(chosen, LISTS)
    packed = read_lists(workspace.folder / FOLDER)
    if packed is not None:
        older = _since(packed, since_us).select(*LISTS).collect(engine="streaming")
        lists = pl.concat([lists, older.join(lists, on=LIST, how="anti").unique(LIST)])
    gone = dict(store.read(erasures))
    if gone:
        before = pl.col(USER).replace_strict(gone, default=None, return_dtype=pl.Int64)
        lists = lists.filter((pl.col("time_us") >= before).fill_null(True))
    lists = lists.top_k(most, by="time_us") if lists.height > most else lists
    slates = lists.with_columns(pl.col("slate").str.json_decode(pl.List(pl.List(pl.String))))
    length = pl.col("slate").list.len()
    rows = (
        slates.filter(length > 0)
        .with_columns(pl.int_ranges(1, length + 1, dtype=pl.Int32).alias("position"))
        .explode("slate", "position")
    )
    item = pl.col("slate").list
    return rows.select(
        LIST,
        _MOMENT,
        USER,
        "scenario",
        "variant",
        "fallback",
        item.get(0).alias("item_id"),
        "position",
        item.get(1, null_on_oob=True).cast(pl.Float64).alias("propensity"),
        item.get(4, null_on_oob=True).cast(pl.Int64).alias(TEAM),
    )


def said_since(store: LiveStore, workspace: Workspace, since_us: int) -> pl.DataFrame:
    """One row an event that names a list: the columns of `outcomes.FEEDBACK`, in the order of time.

    Cost: reads what the store has, `impressions/`, and those parts of the log that go beyond the moment.
    """
    chosen = (
        select(*(events.c[name] for name in SAID))
        .where(events.c.recommendation_id.is_not(None), events.c.time_us >= since_us)
        .order_by(events.c.seq)
    )
    said = store.table(chosen, SAID)
    tables = [_since(table, since_us) for table in _packed(workspace, since_us)]
    if tables:
        older = pl.concat([_said(table) for table in tables]).collect(engine="streaming")
        said = pl.concat([older.join(said, on=EVENT_ID, how="anti"), said])
    said = said.sort("time_us", maintain_order=True)
    is_list = pl.col("item_id") == WHOLE_LIST
    return said.select(
        LIST, pl.when(~is_list).then(pl.col("item_id")).alias("item_id"), "action", _MOMENT, VALUE
    )


def _packed(workspace: Workspace, since_us: int) -> list[pl.LazyFrame]:
    """What was packed of it: impressions and ratings, and parts of the log whose rows may name lists."""
    found = read_feedback(workspace.folder / FOLDER)
    log = EventLog(workspace.events)
    parts = [part for part in log.manifest.parts if part.last_us >= since_us and LIST in part.columns]
    named = [pl.scan_parquet(log.folder / part.file) for part in parts]
    return named if found is None else [found, *named]


def _since(table: pl.LazyFrame, since_us: int) -> pl.LazyFrame:
    since = pl.lit(since_us).cast(TIME_DTYPE)
    return table.filter(pl.col(TIME) >= since).with_columns(pl.col(TIME).dt.epoch("us").alias("time_us"))


def _said(table: pl.LazyFrame) -> pl.LazyFrame:
    """Events that name a list; a column that a part of the log lacks is null."""
    known = table.collect_schema().names()
    columns = [
        pl.col(name) if name in known else pl.lit(None, dtype).alias(name) for name, dtype in SAID.items()
    ]
    return table.filter(pl.col(LIST).is_not_null()).select(columns)
