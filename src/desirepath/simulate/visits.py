# SPDX-License-Identifier: Apache-2.0
"""What happens in a visit: the compiled walk through search, views, likes, cart and purchase.

It is handed the beginnings of visits (`Roots`) and fills a `Trail`; who comes when, and what a
purchase causes later or in others, is decided outside.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from desirepath.simulate.catalogue import Shelves
from desirepath.simulate.chance import drawn, exponential, start_stream, uniform
from desirepath.simulate.population import Habits
from desirepath.simulate.segments import column, interest_weights
from desirepath.simulate.settings import MarketplaceConfig
from desirepath.simulate.slots import N_SLOTS, SHOW_SHARE, Slots
from desirepath.simulate.triggers import (
    BROWSE,
    CART,
    CART_PURCHASE_S,
    CLICK_S,
    FROM_SEARCH,
    LIKE,
    LIKE_SHARE,
    LIKE_SHARE_S,
    PAGE,
    PURCHASE,
    RECOMMENDATION,
    RETURN,
    RETURN_SEARCH,
    RETURN_SEARCH_S,
    SEARCH,
    SEARCH_SEARCH,
    SEARCH_SEARCH_S,
    SEARCH_VIEW,
    SEARCH_VIEW_S,
    SHARE,
    VIEW,
    VIEW_CART_S,
    VIEW_LIKE_S,
    VIEW_SEARCH,
    VIEW_SEARCH_S,
    VIEW_VIEW,
    VIEW_VIEW_S,
)  # fmt: skip

COME: Final = 0
LOOK: Final = 1
GIVE_BACK: Final = 2
BUY: Final = 3
"""Kinds of beginnings: of oneself; with a view of a known item; with a return; straight to a purchase."""

SEARCH_FIRST = 0.35
"""Share of the visits made of oneself that begin with a search; the others begin with a view."""

FAVOURITE = 0.15
"""Share of wishes that go to the user's favourite category, whatever the segment's interest."""

NEW_ARRIVAL = 0.08
"""Share of wishes that go to an item newly arrived in the last tenth of the days, once there is one."""

RING, SHELF, CHAIN = 0.60, 0.15, 0.15
"""How a walk goes on: along the ring of the category, anywhere on the shelf, along the category chain;
else to a new wish."""

ON_RING: Final = 1
ON_SHELF: Final = 2
ON_CHAIN: Final = 3
BY_WISH: Final = 4
STEPS: Final = ("", "ring", "shelf", "chain", "wish")
"""How the item of a view was found, by code."""


class Roots(NamedTuple):
    """Beginnings of visits; one visit each."""

    user: NDArray[np.int32]
    """User, as index in the shard."""
    time_us: NDArray[np.int64]
    """Moment, microseconds since 1970."""
    kind: NDArray[np.int8]
    """COME, LOOK, GIVE_BACK or BUY."""
    item: NDArray[np.int32]
    """Item, or -1 if it is to be wished."""
    parent: NDArray[np.int64]
    """Event of the shard that caused the visit, or -1."""
    source: NDArray[np.int8]
    """Code of the source."""


class Trail(NamedTuple):
    """Events and shown pages in the order in which they were made; events first, pages from `page_event` on."""

    item: NDArray[np.int32]
    action: NDArray[np.int8]
    time_us: NDArray[np.int64]
    visit: NDArray[np.int32]
    """Index of the root."""
    parent: NDArray[np.int64]
    """Event that caused this one, or -1."""
    source: NDArray[np.int8]
    step: NDArray[np.int8]
    """How the item was found, a code of STEPS."""
    value: NDArray[np.float64]
    """Price of a purchase or return, seconds of dwell of a view, else NaN."""
    page: NDArray[np.int32]
    """The page whose slot was clicked, or -1."""
    position: NDArray[np.int8]
    """The slot that was clicked, first = 1, or 0."""
    page_event: NDArray[np.int64]
    """The view on whose page the slots were shown."""
    page_choice: NDArray[np.int8]
    """Candidate shown in each slot: (pages, slots)."""
    page_clicked: NDArray[np.bool_]
    """Which of them were clicked: (pages, slots)."""


class Scene(NamedTuple):
    """All that a walk reads."""

    shelves: Shelves
    newest: NDArray[np.int32]
    """Cold items by the moment they come."""
    slots: Slots
    habits: Habits
    interest: NDArray[np.float64]
    """Running sums of the segments' interests: (2, segments, categories), first and last day."""
    like: NDArray[np.float64]
    cart: NDArray[np.float64]
    buy: NDArray[np.float64]
    start_us: int
    end_us: int


def set_scene(config: MarketplaceConfig, shelves: Shelves, slots: Slots, habits: Habits) -> Scene:
    """Gather what the walks of a shard read."""
    cold = np.flatnonzero(shelves.created_us >= config.start_us)
    interest = np.cumsum(np.stack(interest_weights()), axis=2)
    interest[:, :, -1] = 1.0
    return Scene(
        shelves=shelves,
        newest=cold[np.argsort(shelves.created_us[cold], kind="stable")].astype(np.int32),
        slots=slots,
        habits=habits,
        interest=interest,
        like=column("like"),
        cart=column("cart"),
        buy=column("buy"),
        start_us=config.start_us,
        end_us=config.end_us,
    )


def empty_trail(n_events: int, n_pages: int) -> Trail:
    """A trail with room for so many events and pages, unfilled."""
    return Trail(
        item=np.empty(n_events, np.int32),
        action=np.empty(n_events, np.int8),
        time_us=np.empty(n_events, np.int64),
        visit=np.empty(n_events, np.int32),
        parent=np.empty(n_events, np.int64),
        source=np.empty(n_events, np.int8),
        step=np.empty(n_events, np.int8),
        value=np.empty(n_events, np.float64),
        page=np.empty(n_events, np.int32),
        position=np.empty(n_events, np.int8),
        page_event=np.empty(n_pages, np.int64),
        page_choice=np.empty((n_pages, N_SLOTS), np.int8),
        page_clicked=np.empty((n_pages, N_SLOTS), np.bool_),
    )


def walk(scene: Scene, roots: Roots, key: np.uint64) -> Trail:
    """Let all visits happen.

    Args:
        scene: what walks read.
        roots: the beginnings; parents among them are kept as they are.
        key: of the random streams; stream r belongs to root r.

    Returns:
        The trail; `parent` counts from this trail's first event, except that a visit's first event
        holds its root's parent as `-2 - parent`.
    """
    room, pages = 8 * len(roots.user) + 64, len(roots.user) + 64
    while True:
        trail = empty_trail(room, pages)
        n_events, n_pages = _walk(scene, roots, trail, key)
        if n_events >= 0:
            cut = [field[:n_events] for field in trail[:10]] + [field[:n_pages] for field in trail[10:]]
            return Trail(*cut)
        room, pages = 2 * room, 2 * pages


@njit(cache=True, nogil=True)
def _walk(scene: Scene, roots: Roots, trail: Trail, key: Any) -> tuple[int, int]:
    """Fill the trail; (-1, -1) when it has too little room."""
    state = np.empty(1, np.uint64)
    n, n_pages = 0, 0
    for visit in range(roots.user.shape[0]):
        start_stream(state, key, visit)
        n, n_pages = _visit(scene, roots, trail, state, (visit, n, n_pages))
        if n < 0:
            return -1, -1
    return n, n_pages


@njit(cache=True, nogil=True)
def _emit(trail: Trail, n: int, visit: int, event: Any) -> int:
    """Write event `n`: (item, action, time, parent, source, step, value)."""
    trail.item[n] = event[0]
    trail.action[n] = event[1]
    trail.time_us[n] = event[2]
    trail.visit[n] = visit
    trail.parent[n] = event[3]
    trail.source[n] = event[4]
    trail.step[n] = event[5]
    trail.value[n] = event[6]
    trail.page[n] = -1
    trail.position[n] = 0
    return n + 1


@njit(cache=True, nogil=True)
def _later(state: NDArray[np.uint64], time_us: int, mean_s: float) -> int:
    """A moment after an exponential delay; at least a millisecond later, so that causes come first."""
    return time_us + 1_000 + np.int64(exponential(state) * mean_s * 1e6)


@njit(cache=True, nogil=True)
def _popular(shelves: Shelves, state: NDArray[np.uint64], category: int, time_us: int) -> int:
    """An item of the category that exists, by popularity."""
    for _ in range(16):
        u = uniform(state)
        low, high = shelves.starts[category], shelves.starts[category + 1] - 1
        while low < high:
            middle = (low + high) // 2
            if shelves.popularity[middle] > u:
                high = middle
            else:
                low = middle + 1
        if shelves.created_us[low] <= time_us:
            return low
    return shelves.starts[category]


@njit(cache=True, nogil=True)
def _wish(scene: Scene, state: NDArray[np.uint64], user: int, time_us: int) -> int:
    """An item that the user wants at that moment."""
    newest, created = scene.newest, scene.shelves.created_us
    if newest.shape[0] and created[newest[0]] <= time_us and uniform(state) < NEW_ARRIVAL:
        low, high = 1, newest.shape[0]
        while low < high:
            middle = (low + high) // 2
            if created[newest[middle]] <= time_us:
                low = middle + 1
            else:
                high = middle
        return newest[int(uniform(state) * low)]
    habits = scene.habits
    category = int(habits.favourite[user])
    if uniform(state) >= FAVOURITE:
        segment = habits.segment[user] if time_us < habits.switch_us[user] else habits.segment_after[user]
        gone = (time_us - scene.start_us) / (scene.end_us - scene.start_us)
        last = 1 if uniform(state) < gone else 0
        category = drawn(state, scene.interest[last, segment])
    return _popular(scene.shelves, state, category, time_us)


@njit(cache=True, nogil=True)
def _onward(scene: Scene, state: NDArray[np.uint64], user: int, here: Any) -> tuple[int, int]:
    """The item that a walk goes to from `here` = (item, direction, time), and how it was found."""
    item, direction, time_us = here
    shelves = scene.shelves
    u = uniform(state)
    if u < RING:
        ring = shelves.ring_next if direction > 0 else shelves.ring_prev
        onward = ring[item]
        while shelves.created_us[onward] > time_us:
            onward = ring[onward]
        return onward, ON_RING
    if u < RING + SHELF:
        return _popular(shelves, state, shelves.category[item], time_us), ON_SHELF
    if u < RING + SHELF + CHAIN:
        category = drawn(state, shelves.chain[shelves.category[item]])
        return _popular(shelves, state, category, time_us), ON_CHAIN
    return _wish(scene, state, user, time_us), BY_WISH


@njit(cache=True, nogil=True)
def _dwell(state: NDArray[np.uint64]) -> float:
    """Seconds of dwell, a tenth exact: gamma with shape 2 and mean 30."""
    return round(150.0 * (exponential(state) + exponential(state))) / 10.0


@njit(cache=True, nogil=True)
def _like(scene: Scene, trail: Trail, state: NDArray[np.uint64], at: Any) -> int:
    """A like of the view `at` = (view, n, visit, segment), perhaps shared; the dwell doubles."""
    view, n, visit, segment = at
    if uniform(state) >= scene.like[segment]:
        return n
    item = trail.item[view]
    time_us = _later(state, trail.time_us[view], VIEW_LIKE_S)
    trail.value[view] *= 2.0
    if time_us >= scene.end_us:
        return n
    n = _emit(trail, n, visit, (item, LIKE, time_us, view, PAGE, 0, np.nan))
    if uniform(state) < LIKE_SHARE:
        shared_us = _later(state, time_us, LIKE_SHARE_S)
        if shared_us < scene.end_us:
            n = _emit(trail, n, visit, (item, SHARE, shared_us, n - 1, PAGE, 0, np.nan))
    return n


@njit(cache=True, nogil=True)
def _page(scene: Scene, trail: Trail, state: NDArray[np.uint64], at: Any) -> tuple[int, int]:
    """The slots shown on the page of the view `at` = (view, n, n_pages, visit, segment), and their clicks."""
    view, n, n_pages, visit, segment = at
    slots, context = scene.slots, scene.shelves.category[trail.item[view]]
    trail.page_event[n_pages] = view
    for slot in range(N_SLOTS):
        choice = drawn(state, slots.running[context, slot])
        clicked = uniform(state) < slots.click[segment, context, slot, choice]
        trail.page_choice[n_pages, slot] = choice
        trail.page_clicked[n_pages, slot] = False
        if clicked:
            time_us = _later(state, trail.time_us[view], CLICK_S)
            if time_us < scene.end_us:
                item = slots.candidates[context, slot, choice]
                n = _emit(trail, n, visit, (item, VIEW, time_us, view, RECOMMENDATION, 0, _dwell(state)))
                trail.page[n - 1] = n_pages
                trail.position[n - 1] = slot + 1
                trail.page_clicked[n_pages, slot] = True
                n = _like(scene, trail, state, (n - 1, n, visit, segment))
    return n, n_pages + 1


@njit(cache=True, nogil=True)
def _shop(scene: Scene, trail: Trail, state: NDArray[np.uint64], at: Any) -> int:
    """Cart and purchase of the viewed item `at` = (view, n, visit, chance of a cart, of a purchase)."""
    view, n, visit, cart, buy = at
    if uniform(state) >= cart:
        return n
    item = trail.item[view]
    time_us = _later(state, trail.time_us[view], VIEW_CART_S)
    if time_us >= scene.end_us:
        return n
    n = _emit(trail, n, visit, (item, CART, time_us, view, PAGE, 0, np.nan))
    if uniform(state) < buy:
        bought_us = _later(state, time_us, CART_PURCHASE_S)
        if bought_us < scene.end_us:
            price = scene.shelves.price[item]
            n = _emit(trail, n, visit, (item, PURCHASE, bought_us, n - 1, PAGE, 0, price))
    return n


@njit(cache=True, nogil=True)
def _visit(scene: Scene, roots: Roots, trail: Trail, state: NDArray[np.uint64], at: Any) -> tuple[int, int]:
    """One visit from its root on; (-1, -1) when the trail has too little room."""
    visit, n, n_pages = at
    user, time_us, kind = roots.user[visit], roots.time_us[visit], roots.kind[visit]
    habits = scene.habits
    segment = habits.segment[user] if time_us < habits.switch_us[user] else habits.segment_after[user]
    item, source = roots.item[visit], roots.source[visit]
    cause = -2 - roots.parent[visit]
    action, step, value = VIEW, 0, np.nan
    if item < 0:
        item, step = _wish(scene, state, user, time_us), BY_WISH
    if kind == COME:
        if uniform(state) < SEARCH_FIRST:
            action = SEARCH
    elif kind == GIVE_BACK:
        action, value = RETURN, scene.shelves.price[item]
    direction = 1 if uniform(state) < 0.5 else -1
    # Reservoir of one: the k-th view takes the place with chance 1/k, so each is equally likely at the end.
    n_views, chosen = 0, -1
    while True:
        # A step of the walk writes at most 2 + 3 * slots events and one page; a purchase writes two.
        if n + 32 > trail.item.shape[0] or n_pages + 2 > trail.page_event.shape[0]:
            return -1, -1
        if action == VIEW:
            value = _dwell(state)
        here = n
        n = _emit(trail, n, visit, (item, action, time_us, cause, source, step, value))
        cause, value = here, np.nan
        if action == VIEW:
            n_views += 1
            if uniform(state) * n_views < 1.0:
                chosen = here
            if kind == BUY:
                break
            n = _like(scene, trail, state, (here, n, visit, segment))
            if uniform(state) < SHOW_SHARE:
                n, n_pages = _page(scene, trail, state, (here, n, n_pages, visit, segment))
        u = uniform(state)
        if action == VIEW and u < VIEW_VIEW:
            time_us, source = _later(state, time_us, VIEW_VIEW_S), BROWSE
            item, step = _onward(scene, state, user, (item, direction, time_us))
        elif action == VIEW and u < VIEW_VIEW + VIEW_SEARCH:
            time_us, action, source = _later(state, time_us, VIEW_SEARCH_S), SEARCH, PAGE
            item, step = _wish(scene, state, user, time_us), BY_WISH
        elif action == SEARCH and u < SEARCH_VIEW:
            time_us, action, source, step = _later(state, time_us, SEARCH_VIEW_S), VIEW, FROM_SEARCH, 0
        elif action == SEARCH and u < SEARCH_VIEW + SEARCH_SEARCH:
            time_us, source = _later(state, time_us, SEARCH_SEARCH_S), PAGE
            item, step = _wish(scene, state, user, time_us), BY_WISH
        elif action == RETURN and u < RETURN_SEARCH:
            time_us, action, source = _later(state, time_us, RETURN_SEARCH_S), SEARCH, PAGE
            item, step = _wish(scene, state, user, time_us), BY_WISH
        else:
            break
        if time_us >= scene.end_us:
            break
    if n_views > 0:
        forced = kind == BUY
        cart, buy = (1.0, 1.0) if forced else (scene.cart[segment], scene.buy[segment])
        n = _shop(scene, trail, state, (chosen, n, visit, cart, buy))
    return n, n_pages
