# SPDX-License-Identifier: Apache-2.0
"""The laws of a marketplace as tables: what no count can tell, but a checker needs.

Interests and their drift, daily and weekly rhythm, the chain of categories, the logging policy.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from desirepath.simulate.catalogue import chain_chances
from desirepath.simulate.segments import SEGMENTS, hour_chances, interest_weights, weekday_weights
from desirepath.simulate.slots import slots_truth
from desirepath.simulate.words import CATEGORIES
from desirepath.simulate.world import World


def law_tables(world: World) -> dict[str, pl.DataFrame]:
    """The tables of laws by name: items, interests, rhythm, chain, slots."""
    categories = [entry.name for entry in CATEGORIES]
    segments = [segment.name for segment in SEGMENTS]
    first, last = interest_weights()
    interests = pl.DataFrame(
        {
            "segment": np.repeat(segments, len(categories)).tolist(),
            "category": categories * len(segments),
            "first_day": first.ravel(),
            "last_day": last.ravel(),
        }
    )
    # The weekday of a visit follows the weights, and the hour follows its own law whatever the weekday.
    weekdays = weekday_weights() / weekday_weights().sum(axis=1, keepdims=True)
    chances = weekdays[:, :, None] * hour_chances()[:, None, :]
    rhythm = pl.DataFrame(
        {
            "segment": np.repeat(segments, 7 * 24).tolist(),
            "weekday": np.tile(np.repeat(np.arange(1, 8, dtype=np.int8), 24), len(segments)),
            "hour": np.tile(np.arange(24, dtype=np.int8), 7 * len(segments)),
            "probability": chances.ravel(),
        }
    )
    chain = pl.DataFrame(
        {
            "category": np.repeat(categories, len(categories)).tolist(),
            "next_category": categories * len(categories),
            "probability": chain_chances().ravel(),
        }
    )
    return {
        "items": world.catalogue.truth,
        "interests": interests,
        "rhythm": rhythm,
        "chain": chain,
        "slots": slots_truth(world.slots, world.catalogue.names),
    }
