# SPDX-License-Identifier: Apache-2.0
"""Amazon Personalize's CSV data sets (interactions, items, users) as events and tables.

The CSV itself is read as any log is; this file knows Personalize's headings and what an IMPRESSION means.
Lists that were shown are handed over apart from the events, since showing is not doing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import polars as pl

from desirepath.errors import DataError
from desirepath.events.attributes import read_table
from desirepath.events.files import Source
from desirepath.events.foreign.detection import head, heading
from desirepath.events.foreign.imported import Imported, keyed
from desirepath.events.foreign.moments import moments
from desirepath.events.raw import ColumnChoice, RawLog
from desirepath.events.reading import read_events
from desirepath.schema import ITEM, TIME, USER

ROLES = {"SESSION_ID": "session_id", "EVENT_ID": "event_id", "EVENT_VALUE": "value"}
SHOWN = "IMPRESSION"
SHOWN_ID = "RECOMMENDATION_ID"


def read_personalize(files: Mapping[str, list[Source]], watch: Callable[[float], None]) -> Imported:
    """Interactions, items and users; `files` names those of each kind."""
    members = [source.name for sources in files.values() for source in sources if source.member]
    if members:
        raise DataError(
            f"Personalize's files must lie outside archives; {members[0]} does not. Unpack it first."
        )
    items = [read_table(source.path, "items", key=ITEM.upper()) for source in files.get("items", [])]
    users = [read_table(source.path, "users", key=USER.upper()) for source in files.get("users", [])]
    sources = files.get("interactions", [])
    log, shown = None, None
    if sources:
        log = read_events([s.path for s in sources], overrides=_choice(sources), on_progress=watch)
        if SHOWN in log.lazy.collect_schema():
            log, shown = _apart(log)
    return Imported(
        format="personalize",
        log=log,
        items=keyed([_lowered(table) for table in items], ITEM),
        users=keyed([_lowered(table) for table in users], USER),
        shown=shown,
        files=tuple(source.name for sources in files.values() for source in sources),
        keeps=(log,),
    )


def _lowered(table: pl.DataFrame) -> pl.DataFrame:
    """The table under names in lower case, with the moment of an item's creation as its timestamp."""
    table = table.rename({name: name.lower() for name in table.columns})
    if "creation_timestamp" not in table.columns or "created_at" in table.columns:
        return table
    table = table.rename({"creation_timestamp": "created_at"}).cast({"created_at": pl.String})
    return table.with_columns(moments("created_at", "s"))


def _choice(sources: list[Source]) -> ColumnChoice:
    """Personalize's reserved headings by role; further columns are inferred or kept as they are."""
    names = _headings(sources)
    others = {role: name for name, role in ROLES.items() if name in names}
    others["impression_id"] = SHOWN_ID if SHOWN_ID in names else "none"
    return ColumnChoice(
        user="USER_ID",
        item="ITEM_ID",
        time="TIMESTAMP",
        action="EVENT_TYPE" if "EVENT_TYPE" in names else "none",
        others=others,
        time_unit="s",
    )


def _headings(sources: list[Source]) -> set[str]:
    """Headings that every file has."""
    found = [heading(head(source).decode("utf-8-sig", "replace")) for source in sources]
    return set.intersection(*found)


def _apart(log: RawLog) -> tuple[RawLog, pl.LazyFrame]:
    """The log with ids and positions in place of its lists, and the lists."""
    has = pl.col(SHOWN).is_not_null() & (pl.col(SHOWN) != "")
    made = pl.when(has).then(pl.format("{}@{}", USER, pl.col(TIME).dt.epoch("us")))
    known = [pl.col("impression_id")] if "impression_id" in log.lazy.collect_schema() else []
    lazy = log.lazy.with_columns(pl.coalesce(*known, made).alias("impression_id"))
    listed = pl.col(SHOWN).str.split("|")
    shown = (
        lazy.filter(has)
        .select(
            "impression_id",
            pl.int_ranges(1, listed.list.len() + 1, dtype=pl.Int32).alias("position"),
            listed.alias(ITEM),
            USER,
            TIME,
        )
        .explode("position", ITEM)
        .unique(["impression_id", "position"], keep="first", maintain_order=True)
    )
    before = pl.format("|{}|", SHOWN).str.splitn(pl.format("|{}|", ITEM), 2).struct
    place = pl.when(before.field("field_1").is_not_null()).then(
        before.field("field_0").str.count_matches("|", literal=True).cast(pl.Int32) + 1
    )
    return replace(log, lazy=lazy.with_columns(place.alias("position")).drop(SHOWN)), shown
