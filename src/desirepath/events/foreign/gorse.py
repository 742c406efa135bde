# SPDX-License-Identifier: Apache-2.0
"""Gorse's data as events, items and users: from its binary dump, or from the JSON lines of its bulk API.

Gorse keeps one row for a (type, user, item); that key becomes the event id, so that a later dump adds only
what is new. It gives an `Imported` and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import polars as pl

from desirepath.events.files import Archive, Source, chunks, compression, fingerprint
from desirepath.events.foreign.dump import Dump, Kind
from desirepath.events.foreign.imported import Gathered, Imported, keyed
from desirepath.events.foreign.labels import as_json, with_columns_of
from desirepath.events.foreign.moments import moments
from desirepath.events.foreign.records import frames, text_blocks
from desirepath.events.raw import FileUnderstanding
from desirepath.schema import ACTION, EVENT_ID, ITEM, TIME, USER, VALUE

SOURCES = {
    USER: "UserId",
    ITEM: "ItemId",
    ACTION: "FeedbackType",
    TIME: "Timestamp",
    VALUE: "Value (a score or a count)",
    EVENT_ID: "FeedbackType, UserId and ItemId",
    "updated": "Updated",
    "comment": "Comment",
    "labels": "Labels",
}
SCHEMAS: dict[Kind, dict[str, pl.DataType]] = {
    "users": {"UserId": pl.String(), "Labels": pl.String(), "Comment": pl.String()},
    "items": {
        "ItemId": pl.String(),
        "IsHidden": pl.Boolean(),
        "Categories": pl.List(pl.String()),
        "Timestamp": pl.String(),
        "Labels": pl.String(),
        "Comment": pl.String(),
    },
    "feedback": {
        "FeedbackType": pl.String(),
        "UserId": pl.String(),
        "ItemId": pl.String(),
        "Value": pl.Float64(),
        "Timestamp": pl.String(),
        "Updated": pl.String(),
        "Labels": pl.String(),
        "Comment": pl.String(),
    },
}
"""Keys of the objects of the bulk API."""
RENAMED = {"IsHidden": "is_hidden", "ItemId": ITEM, "UserId": USER, "FeedbackType": ACTION, "Value": VALUE}
CREATED = "created_at"
COLLAPSED = (
    "Gorse keeps one row for a (feedback type, user, item): repeats and their order were lost before this "
    "import. The first moment is the event's time; the last, where it differs, is in 'updated'."
)


@dataclass(slots=True)
class _Taken:
    """Rows of the three kinds, as they come."""

    events: Gathered = field(default_factory=lambda: Gathered(SOURCES))
    users: list[pl.DataFrame] = field(default_factory=list)
    items: list[pl.DataFrame] = field(default_factory=list)
    has_values: bool = False

    def take(self, kind: Kind, frame: pl.DataFrame) -> None:
        """Take rows whose columns have our names already."""
        if not frame.height:
            return
        if "labels" in frame.columns:
            frame = frame.with_columns(as_json(frame.get_column("labels")).alias("labels"))
        if "comment" in frame.columns:
            frame = frame.with_columns(pl.col("comment").replace("", None))
        if kind == "feedback":
            self._feedback(frame)
        else:
            (self.users if kind == "users" else self.items).append(frame)

    def _feedback(self, frame: pl.DataFrame) -> None:
        self.has_values |= VALUE in frame.columns and bool((frame.get_column(VALUE) != 0).any())
        key = pl.format("{}/{}/{}", ACTION, USER, ITEM).alias(EVENT_ID)
        changes = [key]
        if "updated" in frame.columns:
            later = pl.when(pl.col("updated") > pl.col(TIME)).then(pl.col("updated"))
            changes.append(later.dt.to_string("iso:strict").alias("updated"))
        frame = frame.with_columns(changes)
        if "labels" in frame.columns and frame.get_column("labels").null_count() < frame.height:
            frame = with_columns_of(frame, "labels")
        self.events.add(frame)

    def imported(self, format: str, files: list[FileUnderstanding], damage: list[str]) -> Imported:
        log = None
        if self.events.spool.rows or not (self.users or self.items):
            if not self.has_values:  # Gorse writes 0 where nobody gave a value
                self.events.filled.pop(VALUE, None)
            clock = ("moment", "the format says so: a moment in UTC")
            log = self.events.log(files, (COLLAPSED,), clock)
        users, items = keyed(self.users, USER), keyed(self.items, ITEM)
        return Imported(
            format=format,
            log=log,
            users=None if users is None else with_columns_of(users, "labels") if "labels" in users else users,
            items=None if items is None else _titled(items),
            files=tuple(file.name for file in files),
            damage=tuple(damage),
        )


def _titled(items: pl.DataFrame) -> pl.DataFrame:
    """Items with labels opened, categories as "a|b", and a title: a label of that name, or the comment."""
    if "labels" in items.columns:
        items = with_columns_of(items, "labels")
    if "is_hidden" in items.columns:
        items = items.with_columns(pl.col("is_hidden").fill_null(value=False))
    if "categories" in items.columns:
        joined = pl.col("categories").list.join("|", ignore_nulls=True).replace("", None)
        items = items.with_columns(joined)
    if "title" in items.columns or "comment" not in items.columns:
        return items
    return items.with_columns(pl.col("comment").alias("title"))


Watch = Callable[[float], None]


def read_gorse_dump(sources: list[Source], watch: Watch) -> Imported:
    """Users, items and feedback of binary dumps, packed or not."""
    taken, files, damage = _Taken(), [], []
    archive = Archive()
    try:
        for source, share in _in_turn(sources, watch):
            packed, _ = compression(source, archive)
            dump = Dump(source.name, taken.take, taken.events.complaints)
            dump.read(chunks(source, archive, packed, share))
            if dump.damage:
                damage.append(f"{dump.damage} Whole before it: {dump.whole}.")
            files.append(_file(source, "gorse dump", packed, sum(dump.counts.values())))
    finally:
        archive.close()
    return taken.imported("gorse", files, damage)


def read_gorse_lines(sources: list[Source], kinds: list[Kind], watch: Watch) -> Imported:
    """Users, items and feedback of the bulk API's JSON lines; `kinds` says which file is which."""
    taken, files = _Taken(), []
    archive = Archive()
    try:
        for (source, share), kind in zip(_in_turn(sources, watch), kinds, strict=True):
            packed, _ = compression(source, archive)
            rows, blocks = 0, text_blocks(source, archive, packed, share)
            schema = SCHEMAS[kind]
            for frame in frames(blocks, schema, ("Labels",), source.name, taken.events.complaints):
                rows += frame.height
                taken.take(kind, _renamed(frame))
            files.append(_file(source, "gorse jsonl", packed, rows))
    finally:
        archive.close()
    return taken.imported("gorse-jsonl", files, [])


def _renamed(frame: pl.DataFrame) -> pl.DataFrame:
    is_feedback = "FeedbackType" in frame.columns
    names = {name: RENAMED.get(name, name.lower()) for name in frame.columns}
    if "Timestamp" in names:
        names["Timestamp"] = TIME if is_feedback else CREATED
    frame = frame.rename(names)
    times = [name for name in (TIME, CREATED, "updated") if name in frame.columns]
    return frame.with_columns(moments(name) for name in times)


def _in_turn(sources: list[Source], watch: Watch) -> Iterator[tuple[Source, Watch]]:
    for at, source in enumerate(sources):
        yield source, lambda share, at=at: watch((at + share) / len(sources))  # type: ignore[misc]


def _file(source: Source, format: str, packed: str, rows: int) -> FileUnderstanding:
    return FileUnderstanding(
        name=source.name,
        format=format,
        dialect="",
        encoding="",
        compression=packed,
        rows=rows,
        fingerprint=fingerprint(source.path),
    )
