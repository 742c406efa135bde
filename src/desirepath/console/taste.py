# SPDX-License-Identifier: Apache-2.0
"""What someone likes and does next, from the history in memory, so that it moves with every event.

Interests weigh an event by how many came after it, not by the clock: a log that ended years ago still has
tastes. It reads the live side; portraits with dates come from `profiles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple

import polars as pl

from desirepath.errors import TooLittleData
from desirepath.features import InterestConfig, interests
from desirepath.live.answer import Ask
from desirepath.live.project import Project
from desirepath.live.states import Histories
from desirepath.profiles.attributes import label_attributes
from desirepath.schema import ACTION, FIRST, ITEM, TIME, USER
from desirepath.sequences import Sequences

LONG_EVENTS, SHORT_EVENTS = 60.0, 8.0
"""Events after which an event weighs half."""
MOST_EVENTS = 600
"""Latest events that interests look at; older ones weigh less than a thousandth."""
MOST_ITEMS = 100_000
"""Items that are looked at to tell which attributes are labels."""
_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)


class Event(NamedTuple):
    """One event of a timeline."""

    item_id: str
    title: str
    """Its id where it has none."""
    action: str
    time_s: float


@dataclass(frozen=True, slots=True)
class Interest:
    """A label of an attribute and its share of someone's attention."""

    attribute: str
    label: str
    share: float
    """Long-term, 0 to 1."""
    recent: float
    """Short-term, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Foresight:
    """What comes next."""

    actions: list[tuple[str, float]]
    """The likeliest actions with their probabilities."""
    median_s: float | None
    """Seconds until the next event; None where it cannot be told."""
    low_s: float | None
    high_s: float | None
    """Of an interval that holds it in 80 of 100 cases."""
    within: Mapping[str, float]
    """"1h", "1d", "7d": probability of an event by then."""


class Taste:
    """Histories, interests and next actions of the users of one project."""

    def __init__(self, project: Project) -> None:
        """Look at `project`; nothing is computed yet."""
        self._project = project

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Columns of the items' table whose labels are interests; empty where there are none."""
        table = self._project.catalogue.frame()[FIRST:]
        return label_attributes(table.head(MOST_ITEMS))

    @cached_property
    def sequences(self) -> Sequences:
        """The packed log, mapped from disk."""
        return Sequences.load(self._project.workspace.sequences)

    def history(self, user_id: str | None) -> Histories:
        """Everything that someone did, oldest first."""
        return self._project.states.histories([user_id])

    def title(self, item_id: str, language: str = "en") -> str:
        """The title of an item, in that language where it has one; its id where it has none."""
        known = self._project.catalogue.attributes(item_id)
        return str(known.get(f"title_{language}") or known.get("title") or item_id)

    def timeline(self, history: Histories, n: int, language: str = "en") -> list[Event]:
        """The latest n events, newest first."""
        catalogue = self._project.catalogue
        actions = self._project.actions.vocabulary.decode(history.action_ix[-n:])
        found = []
        for item_ix, action, time_s in zip(
            history.item_ix[-n:].tolist(), actions.to_list(), history.time_s[-n:].tolist(), strict=True
        ):
            item_id = catalogue.ids[item_ix]
            found.append(Event(item_id, self.title(item_id, language), action, time_s))
        return found[::-1]

    def labels(self, item_id: str, language: str = "en") -> list[str]:
        """The labels of an item in the first attribute that has any."""
        known = self._project.catalogue.attributes(item_id)
        for attribute in self.attributes:
            value = known.get(f"{attribute}_{language}") or known.get(attribute)
            if isinstance(value, str) and value.strip():
                return [label.strip() for label in value.split("|") if label.strip()]
            if isinstance(value, list | tuple) and value:
                return [str(label) for label in value]
        return []

    def interests(self, history: Histories, k: int = 8) -> list[Interest]:
        """The k strongest interests of each attribute, strongest first."""
        item_ix = history.item_ix[-MOST_EVENTS:]
        item_ix = item_ix[item_ix >= FIRST].tolist()
        if not len(item_ix) or not self.attributes:
            return []
        # One day an event: half-lives in days are half-lives in events.
        days = [_MOMENT - timedelta(days=back) for back in range(len(item_ix), 0, -1)]
        catalogue = self._project.catalogue
        ids = [catalogue.ids[ix] for ix in item_ix]
        own = pl.DataFrame({USER: "-", ITEM: ids, ACTION: "-", TIME: days}, strict=False)
        known = {name: catalogue.attributes(name) for name in set(ids)}
        found = []
        for attribute in self.attributes:
            values = [known[name].get(attribute) for name in known]
            met = pl.DataFrame({ITEM: list(known), attribute: values}, strict=False)
            config = InterestConfig(
                attribute=attribute, half_life_days=LONG_EVENTS, short_half_life_days=SHORT_EVENTS
            )
            told = interests(own, met, _MOMENT, config).sort("share_long", "label", descending=[True, False])
            found += [
                Interest(attribute, row["label"], row["share_long"], row["share_short"])
                for row in told.head(k).collect().iter_rows(named=True)
            ]
        return found

    def foresight(self, user_id: str | None, k: int = 8) -> Foresight | None:
        """What someone does next, and when; None where the log cannot tell."""
        try:
            said = self._project.insight.predict(Ask(user_id=user_id), k)
        except TooLittleData:
            return None
        return Foresight(
            actions=[(row["action"], row["probability"]) for row in said["actions"]],
            median_s=said["expected_s"]["median"],
            low_s=said["expected_s"]["low"],
            high_s=said["expected_s"]["high"],
            within={name: value for name, value in said["within"].items() if value is not None},
        )
