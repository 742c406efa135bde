# SPDX-License-Identifier: Apache-2.0
"""Columns on a common scale, learned from one table and laid on another, so that nothing leaks.

It knows tables of numbers only. What was learned is plain data and can be kept beside a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, TooLittleData, nearest
from desirepath.features.moment import require

Method = Literal["minmax", "zscore", "log1p", "percentile"]
N_QUANTILES = 1001


@dataclass(frozen=True, slots=True, kw_only=True)
class Normaliser:
    """A scale for some columns, as `fit` learned it."""

    method: Method
    """minmax: (x - min) / (max - min), beyond 0..1 outside the fitted range. zscore: (x - mean) / sd,
    population sd. log1p: sign(x) ln(1 + |x|), nothing learned. percentile: the share of fitted rows
    below x, ties at their middle, by linear interpolation between 1001 quantiles, in 0..1."""
    learned: Mapping[str, tuple[float, ...]]
    """By column: (min, max), (mean, sd), () or the quantiles."""

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigError(
                f"Unknown method '{self.method}'. {nearest(str(self.method), get_args(Method))}"
            )

    @staticmethod
    def fit(
        table: pl.DataFrame | pl.LazyFrame, columns: Sequence[str], method: Method = "zscore"
    ) -> Normaliser:
        """A normaliser of `columns` learned from `table`; nulls are passed over.

        Raises:
            DataError: a column is absent, not numeric, or holds NaN or infinity.
            TooLittleData: a column has no value at all.
        """
        frame = table.lazy()
        require(frame, *columns)
        schema = frame.collect_schema()
        for name in columns:
            if not schema[name].is_numeric():
                raise DataError(f"Only numbers can be normalised; column '{name}' is {schema[name]}.")
        blank = Normaliser(method=method, learned={})
        if method == "log1p":
            return Normaliser(method=method, learned={name: () for name in columns})
        data = frame.select(pl.col(name).cast(pl.Float64) for name in columns).collect(engine="streaming")
        return Normaliser(
            method=method, learned={name: blank._learn(data.get_column(name)) for name in columns}
        )

    def _learn(self, column: pl.Series) -> tuple[float, ...]:
        values = column.drop_nulls().to_numpy()
        if not len(values):
            raise TooLittleData(f"Column '{column.name}' has no value to learn a scale from. Leave it out.")
        if not np.isfinite(values).all():
            raise DataError(
                f"Column '{column.name}' must be finite; it holds NaN or infinity. Use null for unknown."
            )
        if self.method == "minmax":
            return float(values.min()), float(values.max())
        if self.method == "zscore":
            return float(values.mean()), float(values.std())
        # Knots are values that occur, so that ties stay ties; interpolated quantiles miss them by an ulp.
        ranks = np.linspace(0, len(values) - 1, min(N_QUANTILES, max(len(values), 2)))
        return tuple(float(v) for v in np.sort(values)[np.rint(ranks).astype(np.int64)])

    def expressions(self) -> list[pl.Expr]:
        """One expression a column, under the column's own name; a column that never varied becomes 0."""
        return [self._expression(name, learned) for name, learned in self.learned.items()]

    def _expression(self, name: str, learned: tuple[float, ...]) -> pl.Expr:
        x = pl.col(name).cast(pl.Float64)
        if self.method == "log1p":
            return (x.sign() * x.abs().log1p()).alias(name)
        if self.method == "percentile":
            knots = np.array(learned)

            def place(column: pl.Series) -> pl.Series:
                return pl.Series(column.name, _percentile(column.to_numpy(), knots)).fill_nan(None)

            return x.map_batches(place, return_dtype=pl.Float64).alias(name)
        low, high = learned
        width = high - low if self.method == "minmax" else high
        if width == 0:
            # Null stays null: x - x is 0 where there is a value.
            return (x - x).alias(name)
        return ((x - low) / width).alias(name)

    def apply(self, table: pl.DataFrame) -> pl.DataFrame:
        """The table with the learned columns on their scale, the others as they are; nulls stay null."""
        require(table.lazy(), *self.learned)
        return table.with_columns(self.expressions())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` makes the same normaliser of it."""
        return {"method": self.method, "learned": {name: list(v) for name, v in self.learned.items()}}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Normaliser:
        """What `to_dict` gave."""
        return Normaliser(
            method=data["method"], learned={name: tuple(v) for name, v in data["learned"].items()}
        )


def _percentile(values: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place of each value among the quantiles, 0 to 1; NaN stays NaN.

    np.interp takes the last of equal knots; the mirrored call takes the first; their mean is the middle.
    """
    grid = np.linspace(0, 1, len(knots))
    last = np.interp(values, knots, grid)
    first = 1 - np.interp(-values, -knots[::-1], grid)
    return np.asarray(0.5 * (last + first))
