# SPDX-License-Identifier: Apache-2.0
"""What a user wants at a moment and where a walk goes on: the compiled choice of items.

It reads the catalogue, the segments' drifting interests and the users' habits; what is done with
the item is the business of `visits`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from desirepath.simulate.catalogue import Catalogue
from desirepath.simulate.chance import drawn, uniform
from desirepath.simulate.segments import SEGMENTS, interest_weights
from desirepath.simulate.settings import MarketplaceConfig
from desirepath.simulate.slots import Slots

FAVOURITE = 0.15
"""Share of wishes that go to the user's favourite category, whatever the segment's interest."""

NEW_ARRIVAL = 0.08
"""Share of wishes that go to an item newly arrived in the last tenth of the days, once there is one."""

RING, SHELF, CHAIN = 0.70, 0.10, 0.10
"""How a walk goes on: along the ring of its thread, anywhere on the shelf, along the category chain; else
to a new wish."""

DETOUR = 0.6
"""Share of the steps off the ring that leave the thread where it is: the next step along the ring goes on
from the item before the detour."""

ON_RING: Final = 1
ON_SHELF: Final = 2
ON_CHAIN: Final = 3
BY_WISH: Final = 4
STEPS: Final = ("", "ring", "shelf", "chain", "wish")
"""How the item of a view was found, by code."""


class Scene(NamedTuple):
    """All that a walk reads."""

    shelves: NDArray[np.void]
    """Rows of `catalogue.SHELVED`, one an item."""
    starts: NDArray[np.int64]
    """First item of each category, and the end."""
    chain: NDArray[np.float64]
    """Running sums of the category chain."""
    newest: NDArray[np.int32]
    """Cold items by the moment they come."""
    slots: Slots
    """The logging policy."""
    habits: NDArray[np.void]
    """Rows of `population.HABIT`, one a user."""
    interest: NDArray[np.float64]
    """Running sums of the segments' interests: (2, segments, categories), first and last day."""
    rates: NDArray[np.float64]
    """Chances of a like, a cart and a purchase: (segments, 3)."""
    start_us: int
    """First moment of the log."""
    end_us: int
    """First moment after it."""


def set_scene(
    config: MarketplaceConfig, catalogue: Catalogue, slots: Slots, habits: NDArray[np.void]
) -> Scene:
    """Gather what the walks of a shard read."""
    created = catalogue.shelves["created_us"]
    cold = np.flatnonzero(created >= config.start_us)
    interest = np.cumsum(np.stack(interest_weights()), axis=2)
    interest[:, :, -1] = 1.0
    return Scene(
        shelves=catalogue.shelves,
        starts=catalogue.starts,
        chain=catalogue.chain,
        newest=cold[np.argsort(created[cold], kind="stable")].astype(np.int32),
        slots=slots,
        habits=habits,
        interest=interest,
        rates=np.array([[segment.like, segment.cart, segment.buy] for segment in SEGMENTS]),
        start_us=config.start_us,
        end_us=config.end_us,
    )


@njit(cache=True, nogil=True)
def segment_of(habits: Any, user: Any, time_us: Any) -> Any:
    """The user's segment at that moment."""
    habit = habits[user]
    return np.int64(habit.segment if time_us < habit.switch_us else habit.segment_after)


@njit(cache=True, nogil=True)
def popular_item(scene: Any, state: Any, category: Any, time_us: Any) -> Any:
    """An item of the category that exists, by popularity."""
    for _ in range(16):
        u = uniform(state)
        low, high = scene.starts[category], scene.starts[category + 1] - 1
        while low < high:
            middle = (low + high) // 2
            if scene.shelves[middle].running > u:
                high = middle
            else:
                low = middle + 1
        if scene.shelves[low].created_us <= time_us:
            return np.int64(low)
    return np.int64(scene.starts[category])


@njit(cache=True, nogil=True)
def wished_item(scene: Any, state: Any, user: Any, time_us: Any) -> Any:
    """An item that the user wants at that moment."""
    newest = scene.newest
    if len(newest) and scene.shelves[newest[0]].created_us <= time_us and uniform(state) < NEW_ARRIVAL:
        low, high = 1, len(newest)
        while low < high:
            middle = (low + high) // 2
            if scene.shelves[newest[middle]].created_us <= time_us:
                low = middle + 1
            else:
                high = middle
        return np.int64(newest[int(uniform(state) * low)])
    category: Any = np.int64(scene.habits[user].favourite)
    if uniform(state) >= FAVOURITE:
        gone = (time_us - scene.start_us) / (scene.end_us - scene.start_us)
        last = 1 if uniform(state) < gone else 0
        category = drawn(state, scene.interest[last, segment_of(scene.habits, user, time_us)])
    return popular_item(scene, state, category, time_us)


@njit(cache=True, nogil=True)
def onward_item(scene: Any, state: Any, user: Any, here: Any) -> Any:
    """The item that a walk goes to from `here` = (item, thread, direction, time), and how it was found."""
    item, thread, direction, time_us = here
    u = uniform(state)
    category = np.int64(scene.shelves[item].category)
    if u < RING:
        while True:
            place = scene.shelves[thread]
            thread = np.int64(place.ring_next if direction > 0 else place.ring_prev)
            if scene.shelves[thread].created_us <= time_us:
                return thread, ON_RING
    if u < RING + SHELF:
        return popular_item(scene, state, category, time_us), ON_SHELF
    if u < RING + SHELF + CHAIN:
        return popular_item(scene, state, drawn(state, scene.chain[category]), time_us), ON_CHAIN
    return wished_item(scene, state, user, time_us), BY_WISH
