# SPDX-License-Identifier: Apache-2.0
"""What policy knows of items: a table aligned by item index, and the arrays made of it once and kept.

It does not know users, scores or scenarios. Whoever keeps the catalogue makes a new one when items change.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, ShapeError, nearest
from desirepath.recommend.codes import Codes, encode
from desirepath.recommend.comparison import kind_of
from desirepath.recommend.expressions import parse
from desirepath.schema import FIRST, ITEM
from desirepath.sequences import Vocabulary

TITLE = "title"
CATEGORIES = "categories"
CREATED = "created_at"
LANGUAGE = "language"
MAX_KEPT_BYTES = 256 * 2**20
"""Arrays kept for later calls; the ones longest unused go first."""

T = TypeVar("T")
Key = tuple[str, str] | tuple[str, str, tuple[str, ...]]
"""What is kept, the column or expression it is made of, and values."""


class ItemAttributes:
    """A table of items that does not change, with what policy asks of it kept as arrays.

    Row i tells of item index i; rows 0 (padding) and 1 (unknown) are null, and no filter passes them.
    Known columns are `item_id`, `title`, `categories` (a list), `created_at` and `language`; any other
    may be there, and a nested column `labels` with a field `brand` becomes `labels.brand`.

    >>> items = pl.DataFrame({"item_id": ["a", "b"], "price": [5.0, 50.0]})
    >>> attributes = ItemAttributes.aligned(items, Vocabulary(["b", "a"]))
    >>> attributes.mask("price < 20").tolist()
    [False, False, False, True]
    """

    def __init__(
        self, table: pl.DataFrame, *, hidden: NDArray[np.bool_] | None = None, version: int = 0
    ) -> None:
        """Take a table whose rows are aligned by item index.

        Args:
            table: V rows; the first two are null throughout (this is not looked up again).
            hidden: (V,) items that may not be shown, such as those out of stock; none when None.
            version: counts the changes of the catalogue, for whoever keeps answers made from it.

        Raises:
            ShapeError: the table has fewer than two rows, or `hidden` another length.
            DataError: `created_at` is no moment, or `categories` no list of text.
        """
        if table.height < FIRST:
            raise ShapeError(
                f"A table of items must have rows for padding and unknown; it has {table.height}."
            )
        if hidden is not None and hidden.shape != (table.height,):
            raise ShapeError(f"hidden must have shape ({table.height},); got {hidden.shape}.")
        self.table = _plain(table)
        self.version = version
        self.hidden: NDArray[np.bool_] = (
            np.zeros(table.height, dtype=np.bool_) if hidden is None else hidden.astype(np.bool_)
        )
        self.hidden[:FIRST] = True
        self.hidden.flags.writeable = False
        self.any_hidden = bool(self.hidden[FIRST:].any())
        self.visible = ~self.hidden
        self.visible.flags.writeable = False
        self._kept: OrderedDict[Key, tuple[int, Any]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    @classmethod
    def aligned(
        cls,
        items: pl.DataFrame,
        vocabulary: Vocabulary,
        *,
        hidden: Iterable[str] = (),
        split: Mapping[str, str] | None = None,
        version: int = 0,
    ) -> ItemAttributes:
        """Attributes of a vocabulary's items, from a table in any order with a column `item_id`.

        Args:
            items: one row an item; of several with one id the last counts, and ids that the vocabulary
                does not know are left out.
            vocabulary: says which index each item has.
            hidden: ids of items that may not be shown.
            split: text columns that hold lists, and what parts their values: {"genres": "|"}.
            version: see above.
        """
        if ITEM not in items.columns:
            raise DataError(f"A table of items must have a column '{ITEM}'. {nearest(ITEM, items.columns)}")
        rows = items.with_columns(pl.col(ITEM).cast(pl.String)).unique(ITEM, keep="last")
        rows = rows.with_columns(
            pl.col(name)
            .str.split(mark)
            .list.eval(pl.element().str.strip_chars().replace("", None).drop_nulls())
            for name, mark in (split or {}).items()
        )
        reserved = pl.Series(ITEM, [None] * vocabulary.reserved, dtype=pl.String)
        ids = pl.DataFrame({ITEM: pl.concat([reserved, vocabulary.ids.alias(ITEM)])})
        table = ids.join(rows, on=ITEM, how="left", maintain_order="left")
        unseen = np.zeros(table.height, dtype=np.bool_)
        unseen[vocabulary.encode(list(hidden))] = True
        return cls(table, hidden=unseen, version=version)

    @classmethod
    def unknown(cls, n_items: int) -> ItemAttributes:
        """Attributes of a catalogue of which nothing is known; `n_items` counts the two reserved rows."""
        return cls(pl.DataFrame({ITEM: pl.Series([None] * n_items, dtype=pl.String)}))

    def __len__(self) -> int:
        """V, the number of item indexes, the two reserved ones included."""
        return self.table.height

    def keep(self, key: Key, make: Callable[[], T]) -> T:
        """What `make` gives, from an earlier call with the same key where it is still kept.

        Several threads may ask at once; two may then make the same thing, and one of them is kept.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return cast(T, self._kept[key][1])
        made = make()
        size = _size(made)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = (size, made)
                self._kept_bytes += size
            while self._kept_bytes > MAX_KEPT_BYTES and len(self._kept) > 1:
                _, (gone, _) = self._kept.popitem(last=False)
                self._kept_bytes -= gone
        return made

    def check(self, expression: str) -> None:
        """Raise ConfigError unless the expression can be asked of these columns; costs no pass over them."""
        parse(expression).compile(self.table.schema)

    def mask(self, expression: str) -> NDArray[np.bool_]:
        """(V,) the items for which the expression is known to be true; read-only, and kept.

        Cost: the first call reads the columns that the expression names, later ones nothing.

        Raises:
            ConfigError: see `expressions.parse` and `Expression.compile`.
        """
        return self.keep(("mask", expression), lambda: self._evaluate(expression))

    def _evaluate(self, expression: str) -> NDArray[np.bool_]:
        mask = np.zeros(len(self), dtype=np.bool_)
        # Without the reserved rows, so that `brand is missing` does not pass them.
        mask[FIRST:] = _passing(self.table.lazy().slice(FIRST), expression)
        mask.flags.writeable = False
        return mask

    def codes(self, column: str) -> Codes:
        """The values of a column as numbers, for counting them; kept.

        Raises:
            ConfigError: there is no such column, or it holds what cannot be counted.
        """
        self.require(column)
        return self.keep(("codes", column), lambda: encode(self.table.get_column(column)))

    def with_any(self, column: str, values: Sequence[str]) -> NDArray[np.bool_]:
        """(V,) items that bear at least one of the values in a text or list column; read-only, and kept."""
        return self.keep(("with", column, tuple(values)), lambda: self._bearing(column, values))

    def _bearing(self, column: str, values: Sequence[str]) -> NDArray[np.bool_]:
        codes = self.codes(column)
        wanted = codes.values.cast(pl.String).is_in(list(values)).to_numpy()
        bearing = np.zeros(len(self), dtype=np.bool_)
        place = np.repeat(np.arange(len(self)), np.diff(codes.offsets))
        bearing[place[wanted[codes.code]]] = True
        bearing.flags.writeable = False
        return bearing

    def without_any(self, column: str, values: Sequence[str]) -> NDArray[np.bool_]:
        """(V,) items whose column is known and bears none of the values; read-only, and kept."""
        return self.keep(("without", column, tuple(values)), lambda: self._lacking(column, values))

    def _lacking(self, column: str, values: Sequence[str]) -> NDArray[np.bool_]:
        bearing = self._bearing(column, values)
        lacking: NDArray[np.bool_] = ~bearing & self.table.get_column(column).is_not_null().to_numpy()
        lacking[:FIRST] = False
        lacking.flags.writeable = False
        return lacking

    def created_s(self) -> NDArray[np.float64]:
        """(V,) when each item was made, in seconds since 1970; NaN where that is not known."""
        return self.keep(("created", CREATED), self._created)

    def _created(self) -> NDArray[np.float64]:
        if CREATED not in self.table.columns:
            return np.full(len(self), np.nan)
        moments = self.table.get_column(CREATED).dt.epoch("us").cast(pl.Float64) / 1e6
        return moments.fill_null(np.nan).to_numpy()

    def newest(self) -> NDArray[np.int64]:
        """Items whose moment of creation is known, the newest first; kept. See `Candidates.leading`."""
        return self.keep(("newest", CREATED), self._newest)

    def _newest(self) -> NDArray[np.int64]:
        created_s = self.created_s()
        known = FIRST + np.flatnonzero(~np.isnan(created_s[FIRST:]))
        return known[np.argsort(-created_s[known], kind="stable")]

    def find(self, item_ids: tuple[str, ...]) -> NDArray[np.int64]:
        """(n,) the index of each id, -1 for ids that are not in the table; kept.

        Cost: one pass over the ids the first time. Whoever has a dictionary of ids had better use it.
        """
        return self.keep(("find", ITEM, item_ids), lambda: self._find(item_ids))

    def _find(self, item_ids: tuple[str, ...]) -> NDArray[np.int64]:
        if ITEM not in self.table.columns:
            return np.full(len(item_ids), -1, dtype=np.int64)
        found = (
            self.table.lazy()
            .select(ITEM)
            .with_row_index("ix")
            .filter(pl.col(ITEM).is_in(list(item_ids)))
            .collect()
        )
        index = dict(found.select(ITEM, "ix").iter_rows())
        return np.array([index.get(name, -1) for name in item_ids], dtype=np.int64)

    def replaced(
        self, item_ix: NDArray[np.integer], rows: pl.DataFrame, *, hidden: NDArray[np.bool_] | None = None
    ) -> ItemAttributes:
        """The next version, in which some rows are others and further rows may follow the last.

        What was kept is brought up to date here rather than by the next request: masks at the changed rows
        alone, the rest only where a column that it reads has changed.

        Args:
            item_ix: (n,) distinct indexes of the rows; those from `len(self)` on must continue without a gap.
            rows: n rows. Columns that they lack become null; ones that are new are null elsewhere.
            hidden: (V,) of the new version; as before, and shown for further rows, when None.

        Raises:
            ShapeError: the indexes and the rows do not fit.

        Cost: a copy of the table, about half a second for a million rows of six columns; next to nothing
        where only `hidden` changes.
        """
        size = int(max(len(self), item_ix.max(initial=-1) + 1))
        further = np.sort(item_ix[item_ix >= len(self)])
        if len(item_ix) != rows.height or len(np.unique(item_ix)) != len(item_ix):
            raise ShapeError(
                f"item_ix must be {rows.height} distinct indexes, one a row; got {len(item_ix)}."
            )
        is_reserved = len(item_ix) > 0 and item_ix.min() < FIRST
        if is_reserved or not np.array_equal(further, np.arange(len(self), size)):
            raise ShapeError(f"Rows must be from {FIRST} on, and follow {len(self) - 1} without a gap.")
        table = self.table
        if len(item_ix):
            order = np.arange(size)
            order[item_ix] = len(self) + np.arange(len(item_ix))
            table = pl.concat([table, _plain(rows)], how="diagonal_relaxed")[order]
        if hidden is None:
            hidden = np.concatenate([self.hidden, np.zeros(size - len(self), dtype=np.bool_)])
        found = ItemAttributes(table, hidden=hidden, version=self.version + 1)
        if found.table.schema == self.table.schema:
            found._take_over(self, item_ix)
        return found

    def _take_over(self, before: ItemAttributes, item_ix: NDArray[np.integer]) -> None:
        """Keep what `before` kept, brought up to date with the rows that differ."""
        rows = self.table[item_ix]
        grown = len(self) > len(before)
        old = before.table[item_ix[item_ix < len(before)]]
        same = {
            name
            for name in self.table.columns
            if not grown and old.get_column(name).equals(rows.get_column(name), null_equal=True)
        }
        with before._lock:
            kept = list(before._kept.items())
        for key, (_, made) in kept:
            if key[0] == "mask":
                mask = np.zeros(len(self), dtype=np.bool_)
                mask[: len(before)] = made
                mask[item_ix] = _passing(rows.lazy(), key[1])
                mask.flags.writeable = False
                self.keep(key, partial(_same, mask))
            elif key[1] in same:
                self.keep(key, partial(_same, made))
            else:
                self._remake(key)

    def warm(self, before: ItemAttributes) -> None:
        """Make at once all that `before` was asked for, so that no request waits for it after a change.

        Cost: a pass over the columns for each; see `replaced` for what costs less.
        """
        with before._lock:
            kept = list(before._kept)
        for key in kept:
            # What cannot be asked any more, such as of a column that went, is told to whoever asks.
            with contextlib.suppress(ConfigError):
                self._remake(key)

    def _remake(self, key: Key) -> None:
        """Ask again what a key of `keep` stands for."""
        match key:
            case ("mask", expression):
                self.mask(expression)
            case ("codes", column):
                self.codes(column)
            case ("with", column, values):
                self.with_any(column, values)
            case ("without", column, values):
                self.without_any(column, values)
            case ("find", _, item_ids):
                self.find(item_ids)
            case ("created", _):
                self.created_s()
            case ("newest", _):
                self.newest()

    def require(self, column: str) -> None:
        """Raise ConfigError unless there is such a column."""
        if column not in self.table.columns:
            raise ConfigError(f"Items have no column '{column}'. {nearest(column, self.table.columns)}")


def _passing(table: pl.LazyFrame, expression: str) -> NDArray[np.bool_]:
    """(rows,) whether each row is known to satisfy the expression."""
    condition = parse(expression).compile(table.collect_schema())
    passed = table.select(condition.fill_null(False).alias("passed")).collect().get_column("passed")
    return passed.to_numpy()


def _plain(table: pl.DataFrame) -> pl.DataFrame:
    """Nested columns opened, moments as moments of UTC, categories as lists of text."""
    while nested := [name for name, kind in table.schema.items() if isinstance(kind, pl.Struct)]:
        table = table.unnest(nested, separator=".")
    if table.schema.get(ITEM, pl.String) != pl.String:
        table = table.with_columns(pl.col(ITEM).cast(pl.String))
    if CREATED in table.columns:
        kind = table.schema[CREATED]
        if kind == pl.Null or isinstance(kind, pl.Date | pl.Datetime):
            zoned = isinstance(kind, pl.Datetime) and kind.time_zone is not None
            moment = pl.col(CREATED).cast(pl.Datetime("us", "UTC" if zoned else None))
            table = table.with_columns(moment if zoned else moment.dt.replace_time_zone("UTC"))
        else:
            raise DataError(
                f"'{CREATED}' must hold dates or moments; it holds {kind}. Parse it before, for instance "
                f"with pl.col('{CREATED}').str.to_datetime(time_zone='UTC')."
            )
    if CATEGORIES in table.columns:
        kind = table.schema[CATEGORIES]
        if kind == pl.Null:
            table = table.with_columns(pl.col(CATEGORIES).cast(pl.List(pl.String)))
        elif kind_of(kind) != "list of text":
            raise DataError(f"'{CATEGORIES}' must hold lists of text; it holds {kind}. Split it before.")
    return table


def _same(made: T) -> T:
    return made


def _size(made: object) -> int:
    """Bytes of an array or of the arrays of a `Codes`; a little for anything else."""
    if isinstance(made, np.ndarray):
        return int(made.nbytes)
    if isinstance(made, Codes):
        return int(made.offsets.nbytes + made.code.nbytes + made.values.estimated_size())
    return 1024
