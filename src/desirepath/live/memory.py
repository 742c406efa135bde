# SPDX-License-Identifier: Apache-2.0
"""Everything that answers read besides the model, kept up with every event: histories, items, counts.

It is made of the packed log and learns rows of the live store. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from desirepath.live.actions import NOT_BEHAVIOUR, Actions
from desirepath.live.catalogue import Catalogue
from desirepath.live.context import ContextLift
from desirepath.live.exposure import Exposure
from desirepath.live.shared import SharedStates
from desirepath.live.states import Event, UserStates
from desirepath.live.trending import Trending
from desirepath.live.worth import Worth
from desirepath.sequences import Sequences

ALL_TIME_DAYS = 36_500.0


class Memory:
    """What is known now."""

    def __init__(self, sequences: Sequences, table: pl.DataFrame | None = None) -> None:
        """Begin with the packed log and the table of items, if there is one."""
        self.catalogue = Catalogue(sequences.items, table)
        self.actions = Actions(sequences.actions.ids.to_list())
        self.states: UserStates | SharedStates = UserStates(sequences)
        self.popular = Trending(ALL_TIME_DAYS, sequences)
        self.trending = Trending(base=sequences, prior=self.popular)
        self.worth = Worth(sequences)
        self.exposure = Exposure()
        self.context = ContextLift(sequences)

    def learn(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in events of the store, in the order in which they were kept."""
        learned = []
        for row in rows:
            action, served = row["action"], row.get("recommendation_id") is not None
            if action in NOT_BEHAVIOUR:
                known = self.catalogue.index(row["item_id"])
                if known is not None:
                    self.exposure.add(known, action, is_served=served)
                continue
            item_ix, action_ix = self.catalogue.take(row["item_id"]), self.actions.take(action)
            learned.append(Event(row["user_id"], item_ix, action_ix, row["time_us"]))
            self.trending.add(item_ix, row["time_us"] / 1e6)
            self.popular.add(item_ix, row["time_us"] / 1e6)
            self.worth.add(item_ix, action_ix)
            if served:
                self.exposure.add(item_ix, action, is_served=True)
        self.states.append(learned)
