# SPDX-License-Identifier: Apache-2.0
"""How far stated probabilities can be believed: Brier score, log loss, ECE and the reliability table.

It knows probabilities and outcomes of 0 and 1 only, wherever they come from.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, ShapeError

Bins = Literal["width", "count"]


def brier(probability: NDArray[np.floating], outcome: NDArray[Any]) -> float:
    """Mean squared distance of probability and outcome: 0 is perfect, 0.25 is a coin.

    Source: Brier 1950, the form for two classes.

    >>> brier(np.array([1.0, 0.5]), np.array([1, 0]))
    0.125
    """
    p, y = _checked(probability, outcome)
    return float(((p - y) ** 2).mean())


def log_loss(probability: NDArray[np.floating], outcome: NDArray[Any]) -> float:
    """Mean of -log of the probability that was given to what happened, in nats; infinite after a sure error.

    >>> round(log_loss(np.array([0.5, 0.5]), np.array([1, 0])), 4)
    0.6931
    """
    p, y = _checked(probability, outcome)
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(y > 0, p, 1.0 - p)).mean())


def ece(
    probability: NDArray[np.floating], outcome: NDArray[Any], n_bins: int = 15, bins: Bins = "width"
) -> float:
    """Expected calibration error: mean gap between stated and observed frequency over bins, by their size.

    Formula: sum over bins of n_b / n * |mean outcome - mean probability|. Source: Naeini et al. 2015,
    Guo et al. 2017 (15 bins of equal width). With rare events nearly all probabilities fall into one
    narrow bin: then bins="count", which puts equally many into each, tells more.

    >>> round(ece(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1, 1, 0, 1])), 4)  # (0.1 * 2 + 0.4 * 2) / 4
    0.25
    """
    table = reliability(probability, outcome, n_bins, bins)
    gap = np.abs(table["observed"].to_numpy() - table["stated"].to_numpy())
    return float(np.average(gap, weights=table["n"].to_numpy()))


def reliability(
    probability: NDArray[np.floating], outcome: NDArray[Any], n_bins: int = 15, bins: Bins = "width"
) -> pl.DataFrame:
    """One row a bin that is not empty: low, high, n, stated (mean probability), observed (mean outcome).

    Args:
        probability: (N,) in [0, 1].
        outcome: (N,) 0 or 1, or bool.
        n_bins: number of bins, at least 1.
        bins: "width": equal widths of [0, 1], the right edge inside; "count": equally many in each,
            equal probabilities kept together.

    Raises:
        ConfigError, ShapeError, DataError: an option or a value is outside its range.
    """
    p, y = _checked(probability, outcome)
    if n_bins < 1:
        raise ConfigError(f"n_bins must be at least 1; got {n_bins}.")
    if bins == "width":
        edges = np.linspace(0.0, 1.0, n_bins + 1)
    elif bins == "count":
        edges = np.unique(np.quantile(p, np.linspace(0.0, 1.0, n_bins + 1)))
        edges = np.unique(np.concatenate([[0.0], edges[1:-1], [1.0]]))
    else:
        raise ConfigError(f"bins must be 'width' or 'count'; got '{bins}'.")
    place = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, len(edges) - 2)
    n = np.bincount(place, minlength=len(edges) - 1)
    kept = np.flatnonzero(n)
    return pl.DataFrame(
        {
            "low": edges[kept],
            "high": edges[kept + 1],
            "n": n[kept],
            "stated": np.bincount(place, weights=p, minlength=len(n))[kept] / n[kept],
            "observed": np.bincount(place, weights=y, minlength=len(n))[kept] / n[kept],
        }
    )


def _checked(
    probability: NDArray[np.floating], outcome: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise ShapeError(f"Need one probability an outcome, at least one; got {p.shape} and {y.shape}.")
    if not ((p >= 0) & (p <= 1)).all():
        wrong = np.flatnonzero(~((p >= 0) & (p <= 1)))
        raise DataError(
            f"Probabilities must lie in [0, 1]; number {wrong[0]} of {len(wrong)} is {p[wrong[0]]}."
        )
    if not ((y == 0) | (y == 1)).all():
        raise DataError("Outcomes must be 0 or 1; binarise them first.")
    return p, y
