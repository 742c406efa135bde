# SPDX-License-Identifier: Apache-2.0
"""The values of a column as numbers, so that items can be counted by author or category without text.

It knows one column at a time; `attributes` keeps what is made here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.recommend.comparison import kind_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """The values of one column as numbers; an item has none, one or (in a list column) several."""

    offsets: NDArray[np.int64]
    """(V + 1,) the values of item i are code[offsets[i]:offsets[i + 1]]; a missing item has none."""
    code: NDArray[np.int32]
    values: pl.Series
    """What each code stands for, sorted."""

    def of(self, item_ix: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """(place in item_ix, code) of all values of these items, both (T,)."""
        start = self.offsets[item_ix]
        lengths = self.offsets[item_ix + 1] - start
        place = np.repeat(np.arange(len(item_ix)), lengths)
        first = np.repeat(start - (np.cumsum(lengths) - lengths), lengths)
        return place, self.code[first + np.arange(len(place))]


def encode(series: pl.Series) -> Codes:
    """The codes of a column of texts, numbers, truth values, moments, or lists of texts or numbers.

    >>> encode(pl.Series("author", ["b", None, "a"])).code.tolist()
    [1, 0]

    Raises:
        ConfigError: it holds something else.
    """
    series = series.cast(pl.String) if series.dtype == pl.Null else series
    kind = kind_of(series.dtype)
    if kind == "nothing":
        raise ConfigError(
            f"'{series.name}' must hold texts, numbers or lists of them; it holds {series.dtype}."
        )
    lengths = pl.Series(np.ones(len(series), dtype=np.uint32))
    flat = series
    if kind.startswith("list of "):
        series = series.cast(pl.List(pl.String if kind == "list of text" else pl.Float64))
        lengths = series.list.len().fill_null(0)
        flat = series.filter(lengths > 0).explode()
    elif kind == "text":
        flat = series.cast(pl.String)
    flat = flat.fill_nan(None) if flat.dtype.is_float() else flat
    values = flat.drop_nulls().unique().sort()
    dense = pl.DataFrame({"value": values}).with_row_index("code")
    joined = pl.DataFrame({"value": flat}).join(dense, on="value", how="left", maintain_order="left")
    code = joined.get_column("code").cast(pl.Int32).fill_null(-1).to_numpy()
    edges = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths.to_numpy(), dtype=np.int64)])
    known = np.concatenate([np.zeros(1, np.int64), np.cumsum(code >= 0, dtype=np.int64)])
    return Codes(offsets=known[edges], code=code[code >= 0], values=values)
