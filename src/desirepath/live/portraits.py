# SPDX-License-Identifier: Apache-2.0
"""The portrait of a user until this moment: the packed log and every event since, as `profiles` paints it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from desirepath.errors import DataError
from desirepath.live.memory import Memory
from desirepath.profiles import PortraitConfig, Segments, UserPortrait, user_portrait
from desirepath.profiles.classes import user_classes
from desirepath.profiles.portrait import Sources
from desirepath.schema import ACTION, FIRST, ITEM, TIME, TIME_DTYPE, USER


class Portraits:
    """Portraits of one project's users."""

    def __init__(
        self,
        memory: Memory,
        segments: Callable[[], Segments | None],
        user_table: Callable[[], pl.DataFrame | None] = lambda: None,
    ) -> None:
        """Paint from memory; segments and the table of users are fetched when they are needed."""
        self._memory, self._segments, self._users = memory, segments, user_table

    def of(self, user_id: str, config: PortraitConfig | None = None) -> UserPortrait:
        """The portrait of a user as of this moment.

        Scores that rank users against each other are left out: the whole log is not read for one portrait.

        Raises:
            DataError: no event of the user is known.
        """
        config = config or PortraitConfig()
        events = self.events(user_id)
        if not len(events):
            raise DataError(f"User '{user_id[:80]}' has no known events. Send one, or look him up first.")
        last = events[TIME].max()
        assert isinstance(last, datetime)
        as_of = max(datetime.now(UTC), last + timedelta(microseconds=1))
        segments = self._segments()
        catalogue = self._memory.catalogue
        met = catalogue.frame().slice(FIRST).filter(pl.col(ITEM).is_in(events[ITEM].unique().implode()))
        sources = Sources(
            items=met,
            users=self._users(),
            segments=segments if segments is not None and segments.as_of <= as_of else None,
            classes=user_classes(events, as_of, config.classes).collect(),
        )
        portrait = user_portrait(user_id, events, as_of, sources, config)
        alone = {name: value for name, value in portrait.facts.items() if not name.startswith("rfm_")}
        return replace(portrait, facts=alone)

    def events(self, user_id: str) -> pl.DataFrame:
        """What a user did until now: user_id, item_id, action, time."""
        history = self._memory.states.histories([user_id])
        catalogue = self._memory.catalogue
        micros = np.rint(history.time_s * 1e6).astype(np.int64)
        return pl.DataFrame(
            {
                USER: pl.repeat(user_id, len(micros), dtype=pl.String, eager=True),
                ITEM: pl.Series([catalogue.ids[ix] for ix in history.item_ix.tolist()], dtype=pl.String),
                ACTION: self._memory.actions.vocabulary.decode(history.action_ix),
                TIME: pl.Series(micros).cast(TIME_DTYPE),
            }
        )
