# SPDX-License-Identifier: Apache-2.0
"""All items known now: those of the log and those that came since, what each is, and which may be shown.

An item's index, once given, stays. It knows neither users nor models.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import DesirepathError
from desirepath.recommend.attributes import CATEGORIES, CREATED, TITLE, ItemAttributes
from desirepath.recommend.slate import NO_ITEMS
from desirepath.schema import FIRST, ITEM, UNKNOWN
from desirepath.sequences import Vocabulary

HIDDEN = "is_hidden"
"""Column of the table of items that says which may not be shown at first."""
SMALL = 20_000
"""Items up to which a changed catalogue is laid out within a request; it takes a few milliseconds."""


class Catalogue:
    """Items by index, with the attributes that the table of items and later updates gave them."""

    def __init__(self, items: Vocabulary, table: pl.DataFrame | None = None) -> None:
        """Begin with the items of the log, in its order, and the table of items if there is one."""
        self.ids: list[str] = ["", "", *items.ids.to_list()]
        self._index = {name: ix for ix, name in enumerate(self.ids[FIRST:], start=FIRST)}
        self._hidden = np.zeros(_room(len(self.ids)), dtype=np.bool_)
        self._hidden[:FIRST] = True
        self._attributes: dict[int, dict[str, Any]] = {}
        self.version = 0
        self._lock = threading.Lock()
        self._table = table
        self._titles: dict[str, str] = {}
        if table is not None and TITLE in table.columns:
            known = table.select(pl.col(ITEM).cast(pl.String), pl.col(TITLE).cast(pl.String)).drop_nulls()
            self._titles = dict(known.iter_rows())
        self._view: ItemAttributes | None = None
        self._is_laying_out = False
        self._kinds: dict[str, pl.DataType] = {}
        self.problem: str | None = None
        """Why the items cannot be laid out for policy as they are now; None where they are."""
        self._texts: tuple[int, pl.Series, pl.Series] | None = None
        if table is not None:
            for name in table[ITEM].to_list():
                self._take(name)
            if table.schema.get(HIDDEN) == pl.Boolean:
                self._hidden[self.indexes(table.filter(pl.col(HIDDEN))[ITEM])] = True

    def __len__(self) -> int:
        """The number of indexes, padding and unknown included."""
        return len(self.ids)

    def index(self, item_id: str) -> int | None:
        """The index of an item, or None where it is not known."""
        return self._index.get(item_id)

    def indexes(self, item_ids: Iterable[str]) -> NDArray[np.int32]:
        """(N,) the index of each item; 1 where it is not known."""
        return np.array([self._index.get(name, UNKNOWN) for name in item_ids], dtype=np.int32)

    def take(self, item_id: str) -> int:
        """The index of an item, given to it now if it is new."""
        ix = self._index.get(item_id)
        if ix is not None:
            return ix
        with self._lock:
            return self._take(item_id)

    def _take(self, item_id: str) -> int:
        ix = self._index.get(item_id)
        if ix is None:
            ix = len(self.ids)
            if ix >= len(self._hidden):
                self._hidden = np.concatenate([self._hidden, np.zeros(len(self._hidden), dtype=np.bool_)])
            self.ids.append(item_id)
            self._index[item_id] = ix
            self.version += 1
        return ix

    def put(self, item_id: str, attributes: Mapping[str, Any], *, is_hidden: bool) -> None:
        """What an item is from now on; replaces all that was said of it."""
        ix = self.take(item_id)
        with self._lock:
            self._attributes[ix] = dict(attributes)
            self._hidden[ix] = is_hidden
            if (title := attributes.get(TITLE)) is None:
                self._titles.pop(item_id, None)
            else:
                self._titles[item_id] = str(title)
            self.version += 1

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """(V,) who must not be shown: hidden or deleted items, padding and unknown."""
        return self._hidden[: len(self.ids)]

    def attributes(self, item_id: str) -> dict[str, Any]:
        """What is known of an item; empty where nothing is."""
        ix = self._index.get(item_id)
        if ix is None:
            return {}
        if ix in self._attributes:
            return self._attributes[ix]
        row = self._rows.get(item_id)
        if row is None or self._table is None:
            return {}
        values = self._table.row(row, named=True)
        return {name: value for name, value in values.items() if name != ITEM and not _is_missing(value)}

    def search(self, text: str, n: int, first: int = 0) -> tuple[list[str], int | None]:
        """Up to n items whose id or title has `text` in it, whatever the case, and where to go on.

        Args:
            text: what to look for; everything without it.
            n: items wanted.
            first: where to begin, as an earlier search gave it.
        """
        names, texts = self._searched()
        if text:
            hits = texts.str.contains(text.lower(), literal=True).fill_null(value=False).to_numpy()
            found = np.flatnonzero(hits[first:]) + first
        else:
            found = np.arange(first, len(names))
        shown = names.gather(found[:n]).to_list()
        return shown, int(found[n]) if len(found) > n else None

    def _searched(self) -> tuple[pl.Series, pl.Series]:
        """All ids, and each with its title in small letters; made anew when the catalogue has changed."""
        version = self.version
        if self._texts is None or self._texts[0] != version:
            frame = self.frame().slice(FIRST)
            title = pl.col("title").cast(pl.String) if "title" in frame.columns else pl.lit("")
            text = pl.concat_str(ITEM, title.fill_null(""), separator="\n").str.to_lowercase()
            self._texts = (version, frame[ITEM], frame.select(text.alias("text")).to_series())
        return self._texts[1], self._texts[2]

    def title(self, item_id: str) -> str | None:
        """The title of an item, where it has one."""
        return self._titles.get(item_id)

    def policy_view(self) -> ItemAttributes:
        """The items as policy sees them; of a large catalogue, as they were when it was last laid out.

        A small catalogue is laid out anew whenever it changed; a large one beside the requests, at once after
        a change. Who is hidden is not waited for: `hidden` tells it as of now.
        """
        kept = self._view
        if kept is not None and kept.version == self.version:
            return kept
        if kept is None or len(self.ids) <= SMALL:
            return self._lay_out()
        with self._lock:
            if not self._is_laying_out:
                self._is_laying_out = True
                threading.Thread(target=self._lay_out, name="catalogue", daemon=True).start()
        return kept

    def hidden_since(self, view: ItemAttributes) -> NDArray[np.int64]:
        """Items hidden since `view` was laid out; those shown again wait for the next layout."""
        if view.version == self.version:
            return NO_ITEMS
        return np.flatnonzero(self.hidden[: len(view)] & ~view.hidden)

    def _lay_out(self) -> ItemAttributes:
        """Lay the items out anew; where that fails, the layout before goes on, and `problem` says why."""
        version = self.version
        try:
            frame = self._steady(self.frame())
            view = ItemAttributes(frame, hidden=self._hidden[: frame.height].copy(), version=version)
            if self._view is not None:
                view.warm(self._view)
        except (DesirepathError, pl.exceptions.PolarsError) as error:
            if self._view is None:
                raise
            self.problem = f"The items cannot be laid out since the last change: {error}"
            return self._view
        finally:
            self._is_laying_out = False
        self.problem = None
        self._view = view
        return view

    def _steady(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Every column with the kind that it had before.

        A rule must not fail for everybody because the last item with a price went, or because one came whose
        price is a word: what has another kind is missing to rules.
        """
        columns = []
        for name, kind in self._kinds.items():
            now = frame.schema.get(name, pl.Null())
            if now == kind or (now.is_numeric() and kind.is_numeric()):
                continue
            known = pl.col(name) if name in frame.columns else pl.lit(None)
            castable = not (now.is_nested() or kind.is_nested() or now.is_temporal() or kind.is_temporal())
            columns.append((known.cast(kind, strict=False) if castable else pl.lit(None, kind)).alias(name))
        frame = frame.with_columns(columns)
        self._kinds |= {name: kind for name, kind in frame.schema.items() if kind != pl.Null}
        return frame

    @property
    def _rows(self) -> dict[str, int]:
        if not hasattr(self, "_row_of"):
            ids = [] if self._table is None else self._table[ITEM].to_list()
            self._row_of: dict[str, int] = {name: row for row, name in enumerate(ids)}
        return self._row_of

    def frame(self) -> pl.DataFrame:
        """Attributes of all items as one table, rows by index; the first two are empty.

        Cost: a join over the catalogue; made anew only by who sees another `version`.
        """
        with self._lock:
            ids, changed = list(self.ids), dict(self._attributes)
        whole = pl.DataFrame({ITEM: [None, None, *ids[FIRST:]]}, schema={ITEM: pl.String})
        if self._table is not None:
            whole = whole.join(
                self._table.unique(ITEM, keep="last"), on=ITEM, how="left", maintain_order="left"
            )
        whole = _typed(whole)
        if not changed:
            return whole
        fresh = _typed(_rows([{**row, ITEM: ids[ix]} for ix, row in changed.items()]))
        stays = np.ones(len(ids), dtype=np.bool_)
        stays[list(changed)] = False
        kept = pl.lit(pl.Series(stays))
        blank = whole.select(
            ITEM, *(pl.when(kept).then(pl.col(name)).alias(name) for name in whole.columns if name != ITEM)
        )
        both = [name for name in fresh.columns if name != ITEM and name in blank.columns]
        joined = blank.join(fresh, on=ITEM, how="left", maintain_order="left", suffix=" now")
        merged = [_either(joined, name) for name in both]
        return joined.with_columns(merged).drop([f"{name} now" for name in both])


def _either(frame: pl.DataFrame, name: str) -> pl.Expr:
    """The newer value of a column where there is one; of unlike types, both as text."""
    old, new = frame.schema[name], frame.schema[f"{name} now"]
    if old == new or (old.is_numeric() and new.is_numeric()):
        return pl.coalesce(pl.col(f"{name} now"), pl.col(name)).alias(name)
    if old.is_nested() or new.is_nested():
        return pl.col(f"{name} now").alias(name)
    return pl.coalesce(pl.col(f"{name} now").cast(pl.String), pl.col(name).cast(pl.String)).alias(name)


def _rows(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of any keys as a table; a column whose values have no common type becomes text, as JSON."""
    try:
        return pl.DataFrame(rows, infer_schema_length=None)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        names = dict.fromkeys(name for row in rows for name in row)
        return pl.DataFrame([_column(name, [row.get(name) for row in rows]) for name in names])


def _column(name: str, values: list[Any]) -> pl.Series:
    try:
        return pl.DataFrame([{name: value} for value in values], infer_schema_length=None)[name]
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        texts = [v if v is None or isinstance(v, str) else json.dumps(v, default=str) for v in values]
        return pl.Series(name, texts, dtype=pl.String)


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    """Moments and lists where a table has only their texts: created_at, and categories parted by bars."""
    changes = []
    if frame.schema.get(CREATED) == pl.String:
        moment = pl.col(CREATED).str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
        changes.append(moment)
    elif CREATED in frame.columns and frame.schema[CREATED].is_numeric():
        changes.append(pl.from_epoch(pl.col(CREATED).cast(pl.Int64), "s").dt.replace_time_zone("UTC"))
    if frame.schema.get(CATEGORIES) == pl.String:
        changes.append(pl.col(CATEGORIES).str.split("|"))
    return frame.with_columns(changes)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _room(n: int) -> int:
    return 1 << max(10, n.bit_length())
