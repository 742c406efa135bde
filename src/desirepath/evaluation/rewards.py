# SPDX-License-Identifier: Apache-2.0
"""What an item is likely to bring where it is looked at, learned from what was shown to other people.

It knows items as numbers. Predictions only lessen the noise of a doubly robust estimate; they need not be
right.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def expected_rewards(
    rows: pl.DataFrame, asked: pl.DataFrame, reward: str, n_folds: int, prior: float
) -> tuple[Floats, Floats]:
    """(N,) and (M,) what N shown and M asked items bring where they are looked at, from other users' rows.

    What the item itself brought, drawn to the mean over all by as much as `prior` looks.

    Args:
        rows: shown, with columns u (0 to the number of users less 1), item_ix, look (the probability that the
            place is looked at, or what it is in proportion to) and the reward.
        asked: with columns u and item_ix.
        reward: which column.
        n_folds: users are dealt to so many parts; what is said of one is learned from the rest.
        prior: above 0.
    """
    unit, others_unit = rows["u"].to_numpy(), asked["u"].to_numpy()
    fold = (
        np.random.default_rng(0).permutation(1 + int(max(unit.max(), others_unit.max(initial=0)))) % n_folds
    )
    item, which = rows["item_ix"].to_numpy(), asked["item_ix"].to_numpy()
    r, look = rows[reward].to_numpy(), rows["look"].to_numpy()
    n_items = 1 + int(max(item.max(), which.max(initial=0)))
    said, expected = np.zeros(len(r)), np.zeros(len(which))
    for number in range(n_folds):
        mine, theirs = fold[unit] == number, fold[others_unit] == number
        total, looks = r[~mine].sum(), look[~mine].sum()
        mean = total / looks if looks else 0.0
        own, looked = (np.bincount(item[~mine], x[~mine], n_items) for x in (r, look))
        # Each item's own mean, and the mean of all as if from `prior` looks more.
        worth = (own + prior * mean) / (looked + prior)
        said[mine], expected[theirs] = worth[item[mine]], worth[which[theirs]]
    return said, expected
