# SPDX-License-Identifier: Apache-2.0
"""How attention falls from place to place of a list, from clicks on items that chance had put there.

It knows rows with a place and what came of them. Only what chance moved counts: items that stand first
because they are good tell nothing of places.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.optimize import minimize_scalar


class Decay(NamedTuple):
    """An item in place k is looked at with a probability that falls as k to the power of -`value`."""

    value: float
    error: float
    """Standard error."""
    n: float
    """Clicks on items that might have stood elsewhere."""


def decay_of(clicked: pl.DataFrame, chances: pl.DataFrame, prior: tuple[float, float]) -> Decay:
    """The decay under which clicks are likeliest to lie where they lie.

    Of a clicked item that stood in place k with the chance mu(k), the probability that it was there is
    mu(k) k^-d / sum_j mu(j) j^-d, whatever the item is worth: so that worth drops out.

    Args:
        clicked: a row a click, with columns list, place and item_ix; and `clicks`, how many.
        chances: columns list, place, item_ix, chance.
        prior: mean and standard deviation of what is believed before any click.

    Source: the power law is that of Joachims, Swaminathan and Schnabel, "Unbiased Learning-to-Rank with
    Biased Feedback" (WSDM 2017); the likelihood is that of a conditional logit, as in matched studies.
    """
    there = clicked.with_row_index("row").join(
        chances.rename({"place": "could", "chance": "mu"}),
        on=["list", "item_ix"],
        how="inner",
        maintain_order="left",
    )
    there = there.filter(pl.len().over("row") > 1)
    mean, spread = prior
    if not there.height:
        return Decay(mean, spread, 0.0)
    first = there.select(pl.col("row").rle_id())["row"].to_numpy()
    log_could, mu = np.log(there["could"].to_numpy()), there["mu"].to_numpy()
    one = there.unique("row", keep="first", maintain_order=True)
    log_place, times = np.log(one["place"].to_numpy()), one["clicks"].to_numpy()
    n = len(one)

    def surprise(d: float) -> float:
        whole = np.bincount(first, mu * np.exp(-d * log_could), n)
        return float((times * (d * log_place + np.log(whole))).sum() + (d - mean) ** 2 / (2 * spread**2))

    value = float(minimize_scalar(surprise, bounds=(-1.0, 4.0), method="bounded").x)
    part = mu * np.exp(-value * log_could)
    whole = np.bincount(first, part, n)
    moment = np.bincount(first, part * log_could, n) / whole
    variance = np.bincount(first, part * log_could**2, n) / whole - moment**2
    return Decay(value, float((times @ variance + spread**-2) ** -0.5), float(times.sum()))
