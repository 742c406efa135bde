# SPDX-License-Identifier: Apache-2.0
"""The two-way map between outside ids (text) and dense indexes.

An index, once given, never changes: later ids are appended. It knows nothing of events.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import DataError
from desirepath.schema import FIRST, UNKNOWN

if TYPE_CHECKING:
    from desirepath.events.ids import IdTable

RESERVED_LABELS = ("<padding>", "<unknown>")


class Vocabulary:
    """Ids and their indexes; item and action vocabularies keep 0 for padding and 1 for the unknown.

    >>> items = Vocabulary(["a", "b"])
    >>> len(items), items.encode(["b", "zzz"]).tolist(), items.decode([2, 3]).to_list()
    (4, [3, 1], ['a', 'b'])
    """

    def __init__(self, ids: Iterable[str] | pl.Series, *, reserved: int = FIRST) -> None:
        """Make a vocabulary in the order of `ids`.

        Args:
            ids: distinct ids, text, without null.
            reserved: how many indexes stand before the first id: 2 (padding, unknown) or 0.

        Raises:
            DataError: an id is null or comes twice.
        """
        series = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
        self.ids: pl.Series = series.cast(pl.String).alias("id")
        self.reserved = reserved
        if self.ids.null_count():
            raise DataError(f"Ids must not be null; {self.ids.null_count()} are. Drop those rows first.")

    @cached_property
    def _index(self) -> dict[str, int]:
        index = {name: ix for ix, name in enumerate(self.ids.to_list(), start=self.reserved)}
        if len(index) != len(self.ids):
            raise DataError(
                f"Ids must be distinct; {len(self.ids) - len(index)} of {len(self.ids)} come again."
            )
        return index

    @cached_property
    def _table(self) -> IdTable:
        # Here rather than above: its kernels take a second to load, which `import desirepath` spares.
        from desirepath.events.ids import IdTable

        table = IdTable(self.ids)
        if len(table) != len(self.ids):
            raise DataError(
                f"Ids must be distinct; {len(self.ids) - len(table)} of {len(self.ids)} come again."
            )
        return table

    def __len__(self) -> int:
        """The number of indexes, the reserved ones included."""
        return self.reserved + len(self.ids)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Vocabulary) and self.reserved == other.reserved and self.ids.equals(other.ids)
        )

    __hash__ = None  # type: ignore[assignment]  # compared by content

    def index(self, name: str) -> int | None:
        """The index of one id, or None when it is not known. O(1) after the first call."""
        return self._index.get(name)

    def encode(self, names: pl.Series | Iterable[str]) -> NDArray[np.int64]:
        """The index of each id; what is not known becomes 1 (or -1 without reserved indexes).

        Shapes: (N,) ids to (N,) int64.     Cost: O(V) once, then one visit of memory an id.
        """
        series = names if isinstance(names, pl.Series) else pl.Series(list(names), dtype=pl.String)
        position = self._table.find(series.cast(pl.String)).astype(np.int64)
        return np.where(position >= 0, position + self.reserved, UNKNOWN if self.reserved else -1)

    def decode(self, index: NDArray[np.integer] | Iterable[int]) -> pl.Series:
        """The id of each index; the reserved ones read "<padding>" and "<unknown>"."""
        ix = np.asarray(index if isinstance(index, np.ndarray) else list(index), dtype=np.int64)
        labels = pl.Series("id", RESERVED_LABELS[: self.reserved], dtype=pl.String)
        return pl.concat([labels, self.ids]).gather(pl.Series(ix))

    def extended(self, names: pl.Series) -> Vocabulary:
        """This vocabulary with the unseen of `names` appended, in their order of first appearance."""
        fresh = names.cast(pl.String).alias("id").drop_nulls().unique(maintain_order=True)
        fresh = fresh.filter(pl.Series(self._table.find(fresh) < 0))
        return Vocabulary(pl.concat([self.ids, fresh]), reserved=self.reserved)
