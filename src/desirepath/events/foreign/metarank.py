# SPDX-License-Identifier: Apache-2.0
"""Metarank's events (item, user, ranking, interaction, one JSON object a line) as events and tables.

An interaction's `ranking` names the list it came from: user, session, context and position are taken from
there where the interaction does not say them. The lists themselves are handed over apart from the events,
since showing is not doing. Source: docs.metarank.ai, "Supported events".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from desirepath.errors import DataError
from desirepath.events.files import Archive, Source, compression, fingerprint
from desirepath.events.foreign.imported import Gathered, Imported, raw_log
from desirepath.events.foreign.labels import MAX_COLUMNS
from desirepath.events.foreign.moments import moments
from desirepath.events.foreign.records import REASON, frames, text_blocks
from desirepath.events.raw import FileUnderstanding, RawLog
from desirepath.events.spool import SAMPLE_ROWS, Scratch, Spool
from desirepath.schema import ACTION, EVENT, EVENT_ID, ITEM, REQUIRED, SESSION, TIME, USER

SCHEMA: dict[str, pl.DataType] = {
    "event": pl.String(),
    "id": pl.String(),
    "timestamp": pl.String(),
    "user": pl.String(),
    "session": pl.String(),
    "item": pl.String(),
    "type": pl.String(),
    "ranking": pl.String(),
    "tenant": pl.String(),
    "fields": pl.List(pl.Struct({"name": pl.String(), "value": pl.String()})),
    "items": pl.List(pl.Struct({"id": pl.String(), "relevancy": pl.String(), "label": pl.String()})),
}
SOURCES = {
    USER: "user",
    ITEM: "item",
    ACTION: "type",
    TIME: "timestamp",
    SESSION: "session",
    EVENT_ID: "id, type and item",
    "impression_id": "ranking",
    "position": "place in the ranking's items",
}
OWN = {*REQUIRED, EVENT_ID, SESSION, "impression_id", "position", "tenant"}
"""Columns that a field of the same name does not fill."""


@dataclass(slots=True)
class _Events:
    """Rows of each kind of event, as they come."""

    interactions: Spool = field(default_factory=Spool)
    rankings: Spool = field(default_factory=Spool)
    shown: Spool = field(default_factory=Spool)
    known: dict[str, Spool] = field(default_factory=lambda: {"item": Spool(), "user": Spool()})
    """item and user events: id, time, field and value, one row a field."""

    def take(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Take the events of a block; those of no known kind are given back."""
        frame = frame.with_columns(moments("timestamp", "ms").alias(TIME)).drop("timestamp")
        kinds = {str(k[0]): part for k, part in frame.partition_by("event", as_dict=True).items()}
        for kind, spool in self.known.items():
            if kind in kinds:
                spool.append(_known(kinds.pop(kind), kind))
        if "interaction" in kinds:
            self.interactions.append(_with_fields(_interactions(kinds.pop("interaction"))))
        if "ranking" in kinds:
            rankings = kinds.pop("ranking")
            self.shown.append(_shown(rankings))
            head = rankings.select(
                pl.col("id").alias("impression_id"), USER_COLUMN, SESSION_COLUMN, TIME, "fields"
            )
            self.rankings.append(_with_fields(head))
        return pl.concat(kinds.values()) if kinds else frame.clear()


USER_COLUMN, SESSION_COLUMN = pl.col("user").alias(USER), pl.col("session").alias(SESSION)


def read_metarank(sources: list[Source], watch: Callable[[float], None]) -> Imported:
    """Interactions as events, rankings as shown lists, item and user events as tables.

    Raises: DataError when a file has no line of this format, or there is no interaction, item or user.
    """
    events, gathered = _Events(), Gathered(SOURCES)
    files = [_read(source, events, gathered, watch, at / len(sources)) for at, source in enumerate(sources)]
    folder = Scratch()
    items, users = (_latest(events.known[kind], kind) for kind in ("item", "user"))
    log, shown = None, None
    notes: list[str] = []
    if events.shown.rows:
        shown = _lists(events)
    if events.interactions.rows:
        joined = _joined(events)
        joined.sink_parquet(folder.path / "interactions.parquet", compression="lz4", maintain_order=True)
        lazy = pl.scan_parquet(folder.path / "interactions.parquet")
        log, notes = _log(lazy, gathered, files, folder)
    if log is None and items is None and users is None:
        names = ", ".join(file.name for file in files)
        raise DataError(f"A Metarank file must hold interactions, items or users; {names} holds none.")
    return Imported(
        format="metarank",
        log=log,
        items=items,
        users=users,
        shown=shown,
        files=tuple(file.name for file in files),
        notes=tuple(notes),
        keeps=(events, folder),
    )


def _read(
    source: Source, events: _Events, gathered: Gathered, watch: Callable[[float], None], done: float
) -> FileUnderstanding:
    archive = Archive()
    rows = 0
    try:
        packed, _ = compression(source, archive)
        blocks = text_blocks(source, archive, packed, lambda share: watch(max(done, share)))
        for frame in frames(blocks, SCHEMA, (), source.name, gathered.complaints, _texted):
            rows += frame.height
            for line in events.take(frame).rows(named=True):
                gathered.complaints.add(source.name, None, REASON, json.dumps(line, default=str))
    finally:
        archive.close()
    return FileUnderstanding(
        name=source.name,
        format="metarank jsonl",
        dialect="",
        encoding="utf-8",
        compression=packed,
        rows=rows,
        fingerprint=fingerprint(source.path),
    )


def _texted(found: dict[str, Any]) -> None:
    """Lists among the values of fields as JSON text."""
    for entry in found.get("fields") or []:
        if isinstance(entry, dict) and isinstance(entry.get("value"), list | dict):
            entry["value"] = json.dumps(entry["value"], ensure_ascii=False)


def _interactions(frame: pl.DataFrame) -> pl.DataFrame:
    key = pl.concat_str("id", ACTION, ITEM, separator="/", ignore_nulls=True)
    return (
        frame.select(
            USER_COLUMN,
            pl.col("item").alias(ITEM),
            pl.col("type").alias(ACTION),
            TIME,
            SESSION_COLUMN,
            pl.col("ranking").alias("impression_id"),
            "tenant",
            "fields",
            "id",
        )
        .with_columns(pl.when(pl.col("id").is_not_null()).then(key).alias(EVENT_ID))
        .drop("id")
    )


def _shown(rankings: pl.DataFrame) -> pl.DataFrame:
    rows = rankings.select(pl.col("id").alias("impression_id"), "items").explode("items").drop_nulls("items")
    unnested = rows.unnest("items").rename({"id": ITEM})
    place = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("impression_id").alias("position")
    score = pl.col("relevancy").cast(pl.Float64, strict=False).alias("score")
    label = pl.col("label").cast(pl.Float64, strict=False)
    return unnested.select("impression_id", place, ITEM, score, label).drop_nulls("impression_id")


def _known(frame: pl.DataFrame, kind: str) -> pl.DataFrame:
    """One row a field of item or user events; events without fields keep a row without a name."""
    some = pl.when(pl.col("fields").list.len() > 0).then(pl.col("fields")).alias("fields")
    rows = frame.select(pl.col(kind).alias("key"), TIME, some).explode("fields").unnest("fields")
    return rows.filter(pl.col("key").is_not_null())


def _latest(spool: Spool, kind: str) -> pl.DataFrame | None:
    """The table of items or users: of each field the latest value, in time and then in the file."""
    if not spool.rows:
        return None
    last = (
        spool.lazy()
        .group_by("key", "name", maintain_order=True)
        .agg(pl.col("value").sort_by(TIME, maintain_order=True).last())
        .collect(engine="streaming")
    )
    wide = _wide(last.rename({"key": f"{kind}_id"}), f"{kind}_id")
    rest = wide.columns[1:]
    return wide.with_columns(_typed(wide.get_column(name)) for name in rest)


def _wide(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """A table with one row a key and a column a name, from rows of key, name and value."""
    keys = rows.select(key).unique(maintain_order=True)
    named = rows.filter(pl.col("name").is_not_null() & (pl.col("name") != key))
    names = named.get_column("name").unique(maintain_order=True).head(MAX_COLUMNS)
    if not len(names):
        return keys
    known = named.filter(pl.col("name").is_in(names.implode()))
    pivoted = known.pivot(on="name", index=key, values="value", aggregate_function="last")
    return keys.join(pivoted, on=key, how="left", maintain_order="left")


def _typed(values: pl.Series) -> pl.Series:
    """Texts as numbers or truth values where all are, and lists of texts as "a|b"."""
    listed = values.str.starts_with("[").fill_null(value=False)
    if listed.any():
        opened = (
            values.set(~listed, None).str.json_decode(pl.List(pl.String)).list.join("|", ignore_nulls=True)
        )
        values = pl.select(pl.when(listed).then(opened).otherwise(values).alias(values.name)).to_series()
    present = values.drop_nulls()
    if len(present) and present.is_in(["true", "false"]).all():
        return values == "true"
    if len(present) and not present.str.contains(r"^[+-]?0\d").any():
        for dtype in (pl.Int64(), pl.Float64()):
            if present.cast(dtype, strict=False).null_count() == 0:
                return values.cast(dtype)
    return values


def _with_fields(frame: pl.DataFrame) -> pl.DataFrame:
    """Events with their fields as columns of text; a name that is taken becomes "fields.NAME"."""
    rows = frame.with_row_index("row")
    wide = _wide(rows.select("row", "fields").explode("fields").unnest("fields"), "row")
    taken = {name: f"fields.{name}" for name in wide.columns[1:] if name in OWN or name in ("row", "fields")}
    wide = wide.rename(taken)
    return rows.drop("fields").join(wide, on="row", how="left", maintain_order="left").drop("row")


def _joined(events: _Events) -> pl.LazyFrame:
    """Interactions, with what their rankings say where they themselves do not."""
    lazy = events.interactions.lazy()
    if events.rankings.rows:
        of_list = events.rankings.lazy().unique("impression_id", keep="first").drop(TIME)
        names = lazy.collect_schema().names()
        both = [name for name in of_list.collect_schema() if name in names and name != "impression_id"]
        lazy = lazy.join(of_list, on="impression_id", how="left", suffix=" of list", maintain_order="left")
        lazy = lazy.with_columns(pl.coalesce(name, f"{name} of list") for name in both)
        lazy = lazy.drop(f"{name} of list" for name in both)
        places = events.shown.lazy().select("impression_id", ITEM, "position")
        places = places.unique(["impression_id", ITEM], keep="first")
        lazy = lazy.join(places, on=["impression_id", ITEM], how="left", maintain_order="left")
    return lazy.with_columns(pl.coalesce(USER, SESSION).alias(USER))


def _lists(events: _Events) -> pl.LazyFrame:
    who = events.rankings.lazy().select("impression_id", pl.coalesce(USER, SESSION).alias(USER), TIME)
    who = who.unique("impression_id", keep="first")
    shown = events.shown.lazy().unique(["impression_id", "position"], keep="first", maintain_order=True)
    return shown.join(who, on="impression_id", how="left", maintain_order="left")


def _log(
    lazy: pl.LazyFrame, gathered: Gathered, files: list[FileUnderstanding], folder: Scratch
) -> tuple[RawLog, list[str]]:
    """The raw log of joined interactions, without the columns that hold nothing."""
    types = {name: EVENT.get(name, pl.String()) for name in lazy.collect_schema()}
    lazy = lazy.with_columns(pl.col(name).cast(kind, strict=False) for name, kind in types.items())
    has = lazy.select(pl.all().is_not_null().any()).collect(engine="streaming").row(0, named=True)
    lazy = lazy.select(name for name in types if has[name] or name in REQUIRED)
    nobody = lazy.select(pl.col(USER).is_null().sum()).collect(engine="streaming").item()
    notes = [f"{nobody:,} interactions name neither a user nor a session."] if nobody else []
    sample = lazy.head(SAMPLE_ROWS).collect()
    clock = ("ms", "the format says so: milliseconds since 1970, or ISO 8601")
    log = raw_log(lazy, sample, gathered, (files, tuple(notes), clock))
    return replace(log, keeps=(gathered, folder)), notes
