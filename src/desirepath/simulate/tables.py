# SPDX-License-Identifier: Apache-2.0
"""Shards as Arrow tables: the log as a shop would have written it, and what was shown on its pages.

Ids are dictionary-encoded here and plain text in the files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from desirepath.schema import ACTION, EVENT_ID, ITEM, SESSION, TIME, USER, VALUE
from desirepath.simulate.campaign import TREATED_SHARE
from desirepath.simulate.chance import scattered
from desirepath.simulate.flaws import (
    BAD_TIME,
    BAD_TIMES,
    CLEAN,
    FAR_TIME,
    FAR_TIMES_US,
    NEGATIVE,
    NO_ITEM,
    NO_USER,
    REPEATED_ID,
    Layout,
)  # fmt: skip
from desirepath.simulate.patterns import TEMPLATES
from desirepath.simulate.scene import STEPS
from desirepath.simulate.segments import SEGMENTS
from desirepath.simulate.settings import MarketplaceConfig
from desirepath.simulate.shard import Shard
from desirepath.simulate.slots import N_SLOTS
from desirepath.simulate.triggers import ACTIONS, CAMPAIGN, PURCHASE, SOCIAL, SOURCES
from desirepath.simulate.visits import PLANTED, ROBOT
from desirepath.simulate.words import AGE_BANDS, CATEGORIES, COUNTRIES
from desirepath.simulate.world import World

OWN, TRIGGERED, BY_FRIEND, BY_CAMPAIGN, BY_PATTERN, BY_ROBOT = range(6)
CAUSES = ("own", "trigger", "friend", "campaign", "pattern", "robot")
"""How an event came about, as the truth says it."""

TIMESTAMP = pa.timestamp("us", tz="UTC")


def numbered(
    prefix: str, numbers: NDArray[np.integer], width: int, present: NDArray[np.bool_] | None = None
) -> pa.StringArray:
    """Ids such as "u0001234": the prefix and `width` digits; null where not present.

    Shapes: numbers (n,), each below 10 ** width; present (n,) if given.
    """
    kept = numbers if present is None else numbers[present]
    size = len(prefix) + width
    text = np.empty((len(kept), size), np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
    _digits(kept.astype(np.int64), text, len(prefix))
    if present is None:
        offsets = np.arange(len(numbers) + 1, dtype=np.int64) * size
        return pa.LargeStringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(text))
    offsets = np.concatenate([[0], np.cumsum(present, dtype=np.int64)]) * size
    valid = pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.LargeStringArray.from_buffers(
        len(numbers), pa.py_buffer(offsets), pa.py_buffer(text), valid, int(len(numbers) - len(kept))
    )


@njit(cache=True, nogil=True)
def _digits(numbers: NDArray[np.int64], text: NDArray[np.uint8], first: int) -> None:
    """Write the decimal digits of each number into its row, from column `first`, with leading zeros."""
    for row in range(numbers.shape[0]):
        rest = numbers[row]
        for column in range(text.shape[1] - 1, first - 1, -1):
            text[row, column] = 48 + rest % 10
            rest //= 10


def user_names(config: MarketplaceConfig, first: int, n: int) -> pa.LargeStringArray:
    """The outside ids of the users `first` to `first + n`."""
    width = max(7, len(str(config.users - 1)))
    return numbered("u", scattered(np.arange(first, first + n), config.users, config.seed), width)


def coded(codes: NDArray[Any], words: Any, present: NDArray[np.bool_] | None = None) -> pa.DictionaryArray:
    """A column of words given by code; null where not present."""
    dictionary = words if isinstance(words, pa.Array) else pa.array(words, pa.large_string())
    mask = None if present is None else ~present
    indices = pa.array(codes.astype(np.int32, copy=False), mask=mask)
    return pa.DictionaryArray.from_arrays(indices, dictionary, safe=False)


def moments(time_us: NDArray[np.int64], present: NDArray[np.bool_] | None = None) -> pa.Array:
    """A column of UTC times from microseconds since 1970; null where not present."""
    return (
        pa.array(time_us, mask=None if present is None else ~present).cast(pa.timestamp("us")).view(TIMESTAMP)
    )


def event_table(world: World, shard: Shard, layout: Layout, first_event: int, items: pa.Array) -> pa.Table:
    """The log of a shard, flaws included, in the order of the file.

    Args:
        world: configuration.
        shard: what happened.
        layout: the rows of the file.
        first_event: number of the shard's first event id; sessions and pages, which are fewer than
            events, count from it too.
        items: outside ids of the items.
    """
    row, flaw = layout.row, layout.flaw
    people = shard.people
    names = user_names(world.config, people.first, len(people))
    user, time_us = shard.events["user"][row], shard.events["time_us"][row]
    far = flaw == FAR_TIME
    time_us[far] = np.array(FAR_TIMES_US)[(layout.pick[far] * len(FAR_TIMES_US)).astype(np.int64)]
    again = flaw == REPEATED_ID
    time_us[again] += 1_000_000 + (layout.pick[again] * 4e6).astype(np.int64)
    action = shard.events["action"][row]
    negative = flaw == NEGATIVE
    action[negative] = PURCHASE
    item = shard.events["item"][row]
    columns: dict[str, Any] = {
        USER: coded(user, names, flaw != NO_USER),
        ITEM: coded(item, items, flaw != NO_ITEM),
        ACTION: coded(action, ACTIONS),
        TIME: moments(time_us, flaw != BAD_TIME),
    }
    if world.config.lean:
        return pa.table(columns)
    value = shard.events["value"][row]
    value[negative] = -world.catalogue.shelves["price"][item[negative]]
    page = shard.events["page"][row]
    clicked = page >= 0
    return pa.table(
        {
            EVENT_ID: numbered("e", layout.number + first_event, 10),
            **columns,
            SESSION: numbered("s", shard.events["visit"][row] + first_event, 10),
            VALUE: pa.array(value, mask=np.isnan(value)),
            "device": coded(shard.events["mobile"][row], ("desktop", "mobile")),
            "country": coded(people.country[user], [code for code, _ in COUNTRIES]),
            "position": pa.array(shard.events["position"][row].astype(np.int32), mask=~clicked),
            "impression_id": numbered("p", page + first_event, 10, clicked),
            "source": coded(shard.events["source"][row], SOURCES),
        }
    )


def exposure_table(world: World, shard: Shard, first_event: int, items: pa.Array) -> pa.Table:
    """What was shown: one row a slot, with its propensity and whether it was clicked."""
    n_pages = len(shard.page_event)
    page = np.repeat(np.arange(n_pages), N_SLOTS)
    slot = np.tile(np.arange(N_SLOTS), n_pages)
    view = shard.page_event[page]
    context = world.catalogue.shelves["category"][shard.events["item"][view]]
    choice = shard.page_choice.ravel()
    names = user_names(world.config, shard.people.first, len(shard.people))
    return pa.table(
        {
            "impression_id": numbered("p", page + first_event, 10),
            USER: coded(shard.events["user"][view], names),
            TIME: moments(shard.events["time_us"][view]),
            "page_category": coded(context, [entry.name for entry in CATEGORIES]),
            "position": pa.array((slot + 1).astype(np.int32)),
            ITEM: coded(world.slots.candidates[context, slot, choice], items),
            "propensity": pa.array(world.slots.propensity[context, slot, choice]),
            "clicked": pa.array(shard.page_clicked.ravel()),
        }
    )


def csv_events(table: pa.Table, layout: Layout) -> pl.DataFrame:
    """The log as text: ISO times, and something unreadable where a time is broken."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    garbage = np.array(BAD_TIMES, dtype=object)[(layout.pick * len(BAD_TIMES)).astype(np.int64)]
    broken = pl.Series(garbage.tolist(), dtype=pl.String)
    return frame.with_columns(
        pl.when(pl.col(TIME).is_null())
        .then(broken)
        .otherwise(pl.col(TIME).dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ"))
        .alias(TIME),
        pl.selectors.categorical().cast(pl.String),
    )


def user_table(world: World, shard: Shard) -> pa.Table:
    """What the shop knows of its users."""
    people = shard.people
    return pa.table(
        {
            USER: user_names(world.config, people.first, len(people)),
            "age_band": coded(people.age_band, [band for band, _ in AGE_BANDS]),
            "country": coded(people.country, [code for code, _ in COUNTRIES]),
            "device": coded(people.mobile, ("desktop", "mobile")),
            "signup_at": moments(people.signup_us),
        }
    )


def campaign_table(world: World, shard: Shard) -> pa.Table:
    """Who took part in the campaign, who got the message, and the logged propensity of getting it."""
    campaign, people = shard.campaign, shard.people
    who = np.flatnonzero(campaign.eligible)
    return pa.table(
        {
            USER: user_names(world.config, people.first, len(people)).take(pa.array(who)),
            "treated": pa.array(campaign.treated[who]),
            "propensity": pa.array(np.full(len(who), TREATED_SHARE)),
            "sent_at": moments(np.full(len(who), campaign.sent_us)),
        }
    )


def social_table(world: World, shard: Shard) -> pa.Table:
    """Who follows whom, with the probability that only the truth tells."""
    graph, names = shard.graph, user_names(world.config, shard.people.first, len(shard.people))
    return pa.table(
        {
            USER: coded(graph.user, names),
            "friend_id": coded(graph.friend, names),
            "probability": pa.array(graph.chance),
        }
    )


def user_truth(world: World, shard: Shard) -> pa.Table:
    """What only the simulator knows of the users."""
    people, campaign = shard.people, shard.campaign
    habits = people.habits
    segments = [segment.name for segment in SEGMENTS]
    person = ~people.robot
    return pa.table(
        {
            USER: user_names(world.config, people.first, len(people)),
            "segment": coded(habits["segment"], segments, person),
            "segment_after": coded(habits["segment_after"], segments, person),
            "switched_at": moments(habits["switch_us"], habits["segment"] != habits["segment_after"]),
            "favourite_category": coded(habits["favourite"], [entry.name for entry in CATEGORIES], person),
            "way": pa.array(habits["way"]),
            "activity": pa.array(people.activity),
            "robot": pa.array(people.robot),
            "cold": pa.array(people.cold),
            "buyer": pa.array(shard.bought, mask=people.robot),
            "treated": pa.array(campaign.treated, mask=~campaign.eligible),
            "buys_without": pa.array(campaign.without, mask=~campaign.eligible),
            "buys_with": pa.array(campaign.with_it, mask=~campaign.eligible),
        }
    )


def event_truth(shard: Shard, layout: Layout, first_event: int) -> pa.Table:
    """Of every clean event: how it came about, and which event caused it."""
    events = shard.events
    own = np.empty(len(events), np.int64)
    rows = layout.flaw == CLEAN
    own[layout.row[rows]] = layout.number[rows] + first_event
    parent, source, origin = events["parent"], events["source"], events["origin"]
    cause = np.where(parent >= 0, TRIGGERED, OWN)
    cause[source == SOCIAL] = BY_FRIEND
    cause[source == CAMPAIGN] = BY_CAMPAIGN
    cause[origin == PLANTED] = BY_PATTERN
    cause[origin == ROBOT] = BY_ROBOT
    return pa.table(
        {
            EVENT_ID: numbered("e", own, 10),
            "cause": coded(cause, CAUSES),
            "parent_event_id": numbered("e", own[parent], 10, parent >= 0),
            "step": coded(events["step"], STEPS, events["step"] > 0),
        }
    )


def planting_truth(world: World, shard: Shard) -> pa.Table:
    """Which pattern was planted in whom."""
    names = user_names(world.config, shard.people.first, len(shard.people))
    return pa.table(
        {
            "pattern": coded(shard.planted.pattern, [template.name for template in TEMPLATES]),
            USER: coded(shard.planted.who, names),
        }
    )
