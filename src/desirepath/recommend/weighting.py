# SPDX-License-Identifier: Apache-2.0
"""What candidates are worth: log-odds moved by boosts and age, or a weighted sum of predicted actions.

It knows candidates and attributes; which of them may be shown, and where, is said elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.filters import DAY_S
from desirepath.recommend.scenario import BoostConfig
from desirepath.recommend.slate import Candidates

Floats = NDArray[np.float64]
LEAST, MOST = 1e-30, 1.0 - 1e-12
"""Probabilities are held between these before their log-odds are taken."""
FARTHEST = 500.0
"""Most that boosts and age together move log-odds; beyond it floats would tie."""


@dataclass(frozen=True, slots=True)
class Shift:
    """What one rule adds to the log-odds of each of N candidates."""

    kind: Literal["boost", "freshness"]
    rule: str
    amount: Floats
    """(N,)"""


def relevance(part: Candidates) -> Floats:
    """(N,) the log-odds of each item, never rising along the source's own order.

    From its probability where that is known for all; else the odds fall as one over the rank (Zipf's law),
    since scores of different sources share no scale. Calibration may put two neighbours the other way
    round; the source's order stands, and the log-odds are levelled down to it.
    """
    n_items = len(part.item_ix)
    if part.probability is None or np.isnan(part.probability).any():
        zipf: Floats = -np.log(np.arange(1, n_items + 1, dtype=np.float64))
        return zipf
    held = np.clip(part.probability.astype(np.float64), LEAST, MOST)
    levelled: Floats = np.minimum.accumulate(np.log(held) - np.log1p(-held))
    return levelled


def shifts(
    item_ix: NDArray[np.int64],
    attributes: ItemAttributes,
    boosts: Sequence[BoostConfig],
    half_life_days: float | None,
    now_s: float,
) -> list[Shift]:
    """What boosts and age add to the log-odds of N items.

    Age halves the odds with every half-life. An item of unknown age counts as the oldest of the candidates;
    one from the future as new.
    """
    found = [
        Shift("boost", boost.filter, np.where(attributes.mask(boost.filter)[item_ix], boost.log_odds, 0.0))
        for boost in boosts
    ]
    if half_life_days is not None and len(item_ix):
        age_days = np.maximum(now_s - attributes.created_s()[item_ix], 0.0) / DAY_S
        known = ~np.isnan(age_days)
        oldest = float(age_days[known].max()) if known.any() else 0.0
        aged = np.where(known, age_days, oldest)
        found.append(
            Shift("freshness", f"half-life {half_life_days:g} days", -math.log(2.0) / half_life_days * aged)
        )
    return found


def worth(part: Candidates, values: Mapping[str, float], added: Floats) -> Floats | None:
    """(N,) sum over actions of weight x probability; None where the source predicts none of the actions.

    `added` moves the log-odds of each action towards its weight: up where the weight is positive and down
    where it is negative, so that a boost never lowers an item. An unknown probability adds nothing.
    """
    known = [action for action in part.actions if values.get(action)]
    if part.action_probability is None or not known:
        return None
    column = [part.actions.index(action) for action in known]
    weight_A = np.array([values[action] for action in known])
    p_NA = part.action_probability[:, column].astype(np.float64)
    if added.any():
        held = np.clip(p_NA, LEAST, MOST)
        moved = np.log(held) - np.log1p(-held) + np.sign(weight_A) * added[:, None]
        p_NA = 1.0 / (1.0 + np.exp(-moved))
    total: Floats = np.nan_to_num(p_NA, nan=0.0) @ weight_A
    return total
