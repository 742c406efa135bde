# SPDX-License-Identifier: Apache-2.0
"""Lays the packed log out as a ledger: events of one user, item and action become one row.

It goes over the log once, some users at a time, in numbers rather than texts, so that memory holds a
million events however long the log is. It decides neither when, nor which parts.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.events.ids import IdTable
from desirepath.events.log import LISTS, EventLog
from desirepath.events.parts import Part, read_groups
from desirepath.events.rows import Rows
from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.folding import CONTEXT, REPEAT
from desirepath.live.ledger import COLUMNS, HEADER, NOTES, Places
from desirepath.live.states import NEVER_US
from desirepath.schema import ACTION, ITEM, USER, VALUE
from desirepath.workspace import fingerprint

FORMAT = 1
FOLDER = "feedback"
"""Where ledgers lie, beside the events."""
MAKING, LEFT_AFTER_S = ".making", 3600.0
"""What is being made, and for how long at most before it counts as left behind, seconds."""
AT_ONCE = 2**20
"""Events that are laid out at once, some 500 bytes of memory each; a user's are never parted."""
FURTHER = (VALUE, "updated", "comment", "labels", CONTEXT)
NOTE = {"row": pl.Int64, "comment": pl.String, "labels": pl.String, "in_context": pl.Boolean}


def is_laid_out(log: EventLog, files: Collection[str]) -> bool:
    """Whether the ledger of some parts of a log is on disk already."""
    return (_place(log, files) / HEADER).exists()


def _place(log: EventLog, files: Collection[str]) -> Path:
    parts = [(part.file, part.rows) for part in log.manifest.parts if part.file in files]
    # A ledger has the ids of all users; after an erasure it must not.
    return log.folder.with_name(FOLDER) / fingerprint(FORMAT, log.manifest.erasures, parts)


def lay_out(log: EventLog, files: Collection[str]) -> Path:
    """The folder of the ledger of some parts of a log, made now where it is not there yet.

    Older ledgers are removed; who has one mapped keeps it. A cut leaves nothing that counts.

    Cost: one reading of seven columns, a sort of numbers, and 38 bytes a row written.
    """
    parts = [part for part in log.manifest.parts if part.file in files]
    place = _place(log, files)
    if not (place / HEADER).exists():
        making = place.with_name(f"{uuid.uuid4().hex}{MAKING}")
        making.mkdir(parents=True)
        try:
            _Laying(log, parts, making).run()
            try:
                making.replace(place)
            except OSError:  # another process may have made the same meanwhile
                if not (place / HEADER).exists():
                    raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    for old in place.parent.iterdir():
        is_left = old.suffix != MAKING or time.time() - old.stat().st_mtime > LEFT_AFTER_S
        if old != place and is_left:
            shutil.rmtree(old, ignore_errors=True)
    return place


@dataclass(slots=True)
class _Laying:
    """One laying out of one log."""

    log: EventLog
    parts: list[Part]
    folder: Path
    notes: list[pl.DataFrame] = field(default_factory=list)
    n_rows: int = 0

    def run(self) -> None:
        ids = {column: self.log.ids(column) for column in LISTS}
        rank = {column: _rank(ids[column]) for column in LISTS}
        known = {column: IdTable(ids[column]) for column in LISTS}
        n_of_user = np.zeros(len(ids[USER]), np.int64)
        n_of_item = np.zeros(len(ids[ITEM]), np.int64)
        with _Files(self.folder) as files:
            for users in self._stretches():
                rows = self._read(users, known)
                if not len(rows):
                    continue
                laid = _collapsed(rows, rank, users[0], ids[ACTION])
                files.write(laid.columns)
                n_of_user += np.bincount(laid.user, minlength=len(n_of_user))
                n_of_item += np.bincount(laid.columns["item"], minlength=len(n_of_item))
                if laid.notes.height:
                    self.notes.append(laid.notes.with_columns(pl.col("row") + self.n_rows))
                self.n_rows += len(laid.user)
        first_of_item = np.concatenate([[0], np.cumsum(n_of_item)])
        np.concatenate([[0], np.cumsum(n_of_user)]).tofile(self.folder / "first_of_user")
        first_of_item.tofile(self.folder / "first_of_item")
        np.argsort(rank[USER]).tofile(self.folder / "users_by_id")
        self._by_item(first_of_item[:-1].copy())
        for name, column in (("users", USER), ("items", ITEM), ("kinds", ACTION)):
            words = ids[column] if column == USER else ids[column].sort()
            pl.DataFrame({"id": words}).write_ipc(self.folder / f"{name}.arrow", compression="uncompressed")
        notes = pl.concat(self.notes) if self.notes else pl.DataFrame(schema=NOTE)
        notes.rechunk().write_ipc(self.folder / NOTES, compression="uncompressed")
        (self.folder / HEADER).write_text(json.dumps({"rows": self.n_rows}), encoding="utf-8")
        for path in self.folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Users (first, stop) whose events are about `AT_ONCE`; they begin where a row group does."""
        groups = sorted((group.first_user, group.rows) for part in self.parts for group in part.groups)
        begins, waiting = 0, 0
        for first_user, rows in groups:
            if waiting and waiting + rows > AT_ONCE and first_user > begins:
                yield begins, first_user
                begins, waiting = first_user, 0
            waiting += rows
        yield begins, self.log.manifest.n_users

    def _read(self, users: tuple[int, int], known: Mapping[str, IdTable]) -> Rows:
        """All events of some users in the order in which the log took them in."""
        encoders = {column: table.encode for column, table in known.items()}
        found = []
        for part in self.parts:
            for rows in read_groups(self.log.folder / part.file, part, encoders, FURTHER, users):
                found.append(rows.take((rows.user_ix >= users[0]) & (rows.user_ix < users[1])))
        return Rows.joined(found) if found else Rows.none()

    def _by_item(self, free: Places) -> None:
        """The rows of each item, by counting; `free` is where the next row of each goes."""
        path = self.folder / "of_item"
        path.touch()
        if not self.n_rows:
            return
        items = np.memmap(self.folder / "item", COLUMNS["item"], "r", shape=(self.n_rows,))
        places = np.memmap(path, "<i8", "w+", shape=(self.n_rows,))
        for start in range(0, self.n_rows, AT_ONCE):
            item = items[start : start + AT_ONCE]
            order = np.argsort(item, kind="stable")
            n = np.bincount(item, minlength=len(free))
            before = np.cumsum(n) - n
            places[np.repeat(free - before, n) + np.arange(len(item))] = order + start
            free += n
        places.flush()


class _Files:
    """One file a column, written to its end."""

    def __init__(self, folder: Path) -> None:
        self._open = {name: (folder / name).open("wb") for name in COLUMNS}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.close()

    def write(self, columns: Mapping[str, NDArray[np.generic]]) -> None:
        for name, dtype in COLUMNS.items():
            columns[name].astype(dtype, copy=False).tofile(self._open[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Laid:
    """Rows of some users, by key."""

    user: NDArray[np.int32]
    columns: Mapping[str, NDArray[np.generic]]
    notes: pl.DataFrame


def _rank(ids: pl.Series) -> NDArray[np.int64]:
    """The place of each id in the order of their bytes."""
    return ids.rank("ordinal").to_numpy().astype(np.int64) - 1 if len(ids) else np.zeros(0, np.int64)


def _collapsed(
    rows: Rows, rank: Mapping[str, NDArray[np.int64]], first_user: int, actions: pl.Series
) -> _Laid:
    """Events of some users as one row a key, in the order of user, item and kind."""
    keeps = ~actions.is_in(sorted(NOT_BEHAVIOUR)).to_numpy()[rows.action_ix]
    if CONTEXT in rows.extra.columns:
        repeat = rows.extra.get_column(CONTEXT).str.json_path_match(f"$.{REPEAT}")
        keeps &= repeat.is_null().to_numpy()
    if not keeps.all():
        rows = rows.take(keeps)
    key = (rows.user_ix - np.int64(first_user)) * len(rank[ITEM]) + rank[ITEM][rows.item_ix]
    key = key * len(rank[ACTION]) + rank[ACTION][rows.action_ix]
    order = np.argsort(key, kind="stable")
    key = key[order]
    is_first = np.ones(len(key), np.bool_)
    is_first[1:] = key[1:] != key[:-1]
    starts = np.flatnonzero(is_first)
    if not len(starts):
        empty = {name: np.zeros(0, dtype) for name, dtype in COLUMNS.items()}
        return _Laid(user=np.zeros(0, np.int32), columns=empty, notes=pl.DataFrame(schema=NOTE))
    columns = {
        "item": rank[ITEM][rows.item_ix[order[starts]]],
        "kind": rank[ACTION][rows.action_ix[order[starts]]],
        "value": np.add.reduceat(_value(rows)[order], starts),
        "time_us": np.minimum.reduceat(rows.time_us[order], starts),
        "updated_us": np.maximum.reduceat(_updated(rows)[order], starts),
    }
    notes = _notes(rows.extra, order, np.cumsum(is_first) - 1)
    return _Laid(user=rows.user_ix[order[starts]], columns=columns, notes=notes)


def _value(rows: Rows) -> NDArray[np.float64]:
    if VALUE not in rows.extra.columns:
        return np.zeros(len(rows))
    return rows.extra.get_column(VALUE).cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()


def _updated(rows: Rows) -> NDArray[np.int64]:
    """The last moment of each event: its own, or a later one that it tells."""
    if "updated" not in rows.extra.columns:
        return rows.time_us
    said = rows.extra.get_column("updated")
    told = np.flatnonzero(said.is_not_null().to_numpy())
    moment = said[told].str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC").dt.epoch("us")
    latest = rows.time_us.copy()
    latest[told] = np.maximum(latest[told], moment.fill_null(NEVER_US).to_numpy())
    return latest


def _notes(extra: pl.DataFrame, order: Places, row: Places) -> pl.DataFrame:
    """What was said last to each row, by events in some order, of which each belongs to a row."""
    nothing = pl.lit(None, pl.String)
    own = {name: pl.col(name) if name in extra.columns else nothing for name in ("comment", "labels")}
    context = pl.col(CONTEXT) if CONTEXT in extra.columns else nothing
    has_labels = context.str.json_path_match("$.labels").is_not_null()
    if not {"comment", "labels", CONTEXT} & set(extra.columns):
        return pl.DataFrame(schema=NOTE)
    said = extra.select(
        comment=pl.coalesce(own["comment"], context.str.json_path_match("$.comment")),
        labels=pl.coalesce(own["labels"], pl.when(has_labels).then(context)),
        in_context=own["labels"].is_null() & has_labels,
    )
    is_noted = (said["comment"].is_not_null() | said["labels"].is_not_null()).to_numpy()[order]
    told = said[order[is_noted]].with_columns(pl.Series("row", row[is_noted]))
    latest = pl.col("labels").is_not_null()
    notes: pl.DataFrame = (
        told.lazy()
        .group_by("row")
        .agg(
            pl.col("comment").drop_nulls().last(),
            pl.col("labels").drop_nulls().last(),
            pl.col("in_context").filter(latest).last(),
        )
        .sort("row")
        .select(pl.col(name).cast(dtype) for name, dtype in NOTE.items())
        .collect()
    )
    return notes
