# SPDX-License-Identifier: Apache-2.0
"""What the packed log says of every (user, item, kind): one row each, as columns on disk that are mapped.

Rows lie by user as the log numbers them, then by item and kind in the order of their bytes. It comes from
`laying`, and knows neither the live store nor what was set or taken away by hand since.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

COLUMNS = {"item": "<i4", "kind": "<i2", "value": "<f8", "time_us": "<i8", "updated_us": "<i8"}
"""Columns of N rows each; items and kinds by their place in the order of their bytes."""
HEADER, NOTES = "ledger.json", "notes.arrow"
AT_FIRST = 256
"""Users that are looked through for rows of one kind at first; then twice as many, and so on."""

Key = tuple[str, str, str]
"""user_id, item_id, kind."""
Places = NDArray[np.int64]
"""Numbers of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRow:
    """All that a user did to an item in one way."""

    user_id: str
    item_id: str
    kind: str
    value: float = 0.0
    """Sum over the events."""
    time_us: int
    """The first, microseconds since 1970 UTC."""
    updated_us: int
    """The last."""
    comment: str | None = None
    labels: Any = None
    is_mark: bool = False
    """It was shown, or will be, rather than done."""

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.user_id, self.item_id, self.kind


class Ledger:
    """The rows of one folder.

    Cost: what is asked is read from the mapped files; in memory are the ids of items, and 16 bytes a user.
    """

    def __init__(self, folder: Path) -> None:
        """Open what `lay_out` left in `folder`."""
        self.n_rows = int(json.loads((folder / HEADER).read_text(encoding="utf-8"))["rows"])
        self._column = {name: _mapped(folder / name, dtype, self.n_rows) for name, dtype in COLUMNS.items()}
        self._of_item = _mapped(folder / "of_item", "<i8", self.n_rows)
        self._users, self._items, self._kinds = (
            pl.read_ipc(folder / f"{name}.arrow").get_column("id") for name in ("users", "items", "kinds")
        )
        self._first = np.fromfile(folder / "first_of_user", "<i8")
        self._item_first = np.fromfile(folder / "first_of_item", "<i8")
        self._by_id = np.fromfile(folder / "users_by_id", "<i8")
        self._notes = pl.read_ipc(folder / NOTES)

    def of(self, user_id: str | None, item_id: str | None, kind: str | None) -> Places:
        """Rows of a user, an item or both, of one kind or all.

        Cost: reads the rows of that user, or else of that item.
        """
        if user_id is not None:
            user = self._user(user_id)
            places = np.zeros(0, np.int64) if user is None else np.arange(*self._first[user : user + 2])
        else:
            item = _place(self._items, item_id or "")
            places = np.zeros(0, np.int64)
            if item is not None:
                places = np.sort(self._of_item[slice(*self._item_first[item : item + 2])])
        for name, said, known in (("item", item_id, self._items), ("kind", kind, self._kinds)):
            if said is not None:
                places = places[self._column[name][places] == _place_or_none(known, said)]
        return places

    def after(self, key: Key | None, n: int, kind: str | None = None) -> Places:
        """Up to n rows in the order of their keys, after one of them, of one kind or all."""
        wanted = None if kind is None else _place_or_none(self._kinds, kind)
        found, n_found, size = [], 0, AT_FIRST
        at = 0 if key is None else _left(len(self._by_id), lambda i: self._id(i), key[0])
        if key is not None and at < len(self._by_id) and self._id(at) == key[0]:
            places = self._kind(self.of(key[0], None, None), wanted)
            rest = [place for place, row in zip(places, self.rows(places), strict=True) if row.key > key]
            found.append(np.array(rest, np.int64))
            n_found, at = len(rest), at + 1
        while n_found < n and at < len(self._by_id):
            users = self._by_id[at : at + size]
            places = self._kind(_ranges(self._first[users], self._first[users + 1]), wanted)
            found.append(places)
            n_found, at, size = n_found + len(places), at + size, 2 * size
        return np.concatenate(found)[:n] if found else np.zeros(0, np.int64)

    def rows(self, places: Places) -> list[FeedbackRow]:
        """What the rows with these numbers say."""
        user = np.searchsorted(self._first, places, side="right") - 1
        item, kind, value, time_us, updated_us = (self._column[name][places] for name in COLUMNS)
        notes = self._noted(places)
        told = zip(
            self._users.gather(pl.Series(user)),
            self._items.gather(pl.Series(item)),
            self._kinds.gather(pl.Series(kind)),
            value.tolist(),
            time_us.tolist(),
            updated_us.tolist(),
            strict=True,
        )
        found = []
        for i, (user_id, item_id, kind_name, total, first_us, last_us) in enumerate(told):
            comment, labels = notes.get(i, (None, None))
            one = FeedbackRow(
                user_id=user_id,
                item_id=item_id,
                kind=kind_name,
                value=total,
                time_us=first_us,
                updated_us=last_us,
                comment=comment,
                labels=labels,
            )
            found.append(one)
        return found

    def _noted(self, places: Places) -> dict[int, tuple[str | None, Any]]:
        """Comment and labels of those of some rows that have any, by their place among these."""
        rows = self._notes["row"].to_numpy()
        if not len(rows):
            return {}
        at = np.minimum(np.searchsorted(rows, places), len(rows) - 1)
        is_noted = rows[at] == places
        found = {}
        notes = self._notes[at[is_noted]].iter_rows()
        for i, (_, comment, text, in_context) in zip(np.flatnonzero(is_noted).tolist(), notes, strict=True):
            said = None if text is None else orjson.loads(text)
            found[i] = comment, said["labels"] if said and in_context else said
        return found

    def _kind(self, places: Places, wanted: int | None) -> Places:
        return places if wanted is None else places[self._column["kind"][places] == wanted]

    def _id(self, at: int) -> str:
        return str(self._users[int(self._by_id[at])])

    def _user(self, user_id: str) -> int | None:
        at = _left(len(self._by_id), self._id, user_id)
        return int(self._by_id[at]) if at < len(self._by_id) and self._id(at) == user_id else None


def _mapped(path: Path, dtype: str, n: int) -> NDArray[Any]:
    return np.memmap(path, dtype, "r", shape=(n,)) if n else np.zeros(0, dtype)


def _ranges(first: Places, stop: Places) -> Places:
    """All numbers from each first up to its stop, one range after the other."""
    n = stop - first
    return np.repeat(stop - np.cumsum(n), n) + np.arange(int(n.sum()))


def _left(n: int, value: Callable[[int], str], wanted: str) -> int:
    return bisect.bisect_left(range(n), wanted, key=value)


def _place(words: pl.Series, wanted: str) -> int | None:
    at = _left(len(words), lambda i: str(words[i]), wanted)
    return at if at < len(words) and words[at] == wanted else None


def _place_or_none(words: pl.Series, wanted: str) -> int:
    """The place of a word; -1, which no row has, where it is not there."""
    at = _place(words, wanted)
    return -1 if at is None else at
