# SPDX-License-Identifier: Apache-2.0
"""Shards as Arrow tables: the log as a shop would have written it, and what was shown on its pages.

Ids are dictionary-encoded here and plain text in the files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from desirepath.schema import ACTION, EVENT_ID, ITEM, SESSION, TIME, USER, VALUE
from desirepath.simulate.chance import scattered
from desirepath.simulate.flaws import (
    BAD_TIME,
    FAR_TIME,
    FAR_TIMES_US,
    NEGATIVE,
    NO_ITEM,
    NO_USER,
    REPEATED_ID,
    Layout,
)
from desirepath.simulate.settings import MarketplaceConfig
from desirepath.simulate.shard import Shard
from desirepath.simulate.slots import N_SLOTS
from desirepath.simulate.triggers import ACTIONS, PURCHASE, SOURCES
from desirepath.simulate.words import CATEGORIES, COUNTRIES
from desirepath.simulate.world import World

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


def coded(
    codes: NDArray[np.integer], words: Any, present: NDArray[np.bool_] | None = None
) -> pa.DictionaryArray:
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
        first_event: number of the shard's first event id.
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
    first_page = page_base(shard, first_event)
    return pa.table(
        {
            EVENT_ID: numbered("e", layout.number + first_event, 10),
            **columns,
            SESSION: numbered("s", shard.events["visit"][row] + first_event, 10),
            VALUE: pa.array(value, mask=np.isnan(value)),
            "device": coded(shard.events["mobile"][row], ("desktop", "mobile")),
            "country": coded(people.country[user], [code for code, _ in COUNTRIES]),
            "position": pa.array(shard.events["position"][row].astype(np.int32), mask=~clicked),
            "impression_id": numbered("p", page + first_page, 10, clicked),
            "source": coded(shard.events["source"][row], SOURCES),
        }
    )


def page_base(shard: Shard, first_event: int) -> int:
    """Number of the shard's first page; pages are fewer than events, so they may share the numbers."""
    return first_event


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
            "impression_id": numbered("p", page + page_base(shard, first_event), 10),
            USER: coded(shard.events["user"][view], names),
            TIME: moments(shard.events["time_us"][view]),
            "page_category": coded(context, [entry.name for entry in CATEGORIES]),
            "position": pa.array((slot + 1).astype(np.int32)),
            ITEM: coded(world.slots.candidates[context, slot, choice], items),
            "propensity": pa.array(world.slots.propensity[context, slot, choice]),
            "clicked": pa.array(shard.page_clicked.ravel()),
        }
    )
