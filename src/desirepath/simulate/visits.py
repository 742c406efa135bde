# SPDX-License-Identifier: Apache-2.0
"""What happens in a visit: the compiled walk through search, views, likes, cart and purchase.

It is handed the beginnings of visits (rows of ROOT) and fills a `Trail`; who comes when, and what a
purchase causes later or in others, is decided outside.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from desirepath.simulate.chance import drawn, exponential, start_stream, uniform
from desirepath.simulate.scene import BY_WISH, DETOUR, ON_RING, Scene, onward_item, segment_of, wished_item
from desirepath.simulate.slots import N_SLOTS, SHOW_SHARE
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

ORGANIC: Final = 0
PLANTED: Final = 1
ROBOT: Final = 2
"""How an event came about: in a visit, by a planted pattern, by a robot."""

COME: Final = 0
LOOK: Final = 1
GIVE_BACK: Final = 2
BUY: Final = 3
"""Kinds of beginnings: of oneself; with a view of a known item; with a return; straight to a purchase."""

SEARCH_FIRST = 0.35
"""Share of the visits made of oneself that begin with a search; the others begin with a view."""

OWN_WAY = 0.85
"""Share of visits in which a user goes along rings in the user's own direction."""

EVENT: Final = np.dtype(
    [
        ("time_us", "i8"),  # microseconds since 1970
        ("parent", "i8"),  # the event that caused this one, or -1
        ("value", "f8"),  # price of a purchase or return, seconds of dwell of a view, else NaN
        ("user", "i4"),  # index in the shard
        ("item", "i4"),
        ("visit", "i4"),
        ("page", "i4"),  # the page whose slot was clicked, or -1
        ("action", "i1"),
        ("source", "i1"),
        ("step", "i1"),  # how the item was found, a code of STEPS
        ("position", "i1"),  # the slot that was clicked, first = 1, or 0
        ("origin", "i1"),  # ORGANIC, PLANTED or ROBOT
        ("mobile", "i1"),  # 1 from a telephone
    ],
    align=True,
)
"""An event as walks write it: whole rows, since that is one cache line where columns are a dozen."""

ROOT: Final = np.dtype(
    [
        ("time_us", "i8"),
        ("parent", "i8"),  # event of the shard that caused the visit, or -1
        ("user", "i4"),
        ("item", "i4"),  # -1 if it is to be wished
        ("kind", "i1"),  # COME, LOOK, GIVE_BACK or BUY
        ("source", "i1"),
    ],
    align=True,
)
"""The beginning of a visit."""


class Trail(NamedTuple):
    """What walks left: events, and the pages that were shown with their slots."""

    events: NDArray[np.void]
    """Rows of EVENT."""
    page_event: NDArray[np.int64]
    """The view on whose page the slots were shown."""
    page_choice: NDArray[np.int8]
    """Candidate shown in each slot: (pages, slots)."""
    page_clicked: NDArray[np.bool_]
    """Which of them were clicked: (pages, slots)."""


def walk(scene: Scene, roots: NDArray[np.void], key: np.uint64) -> Trail:
    """Let all visits happen.

    Args:
        scene: what walks read.
        roots: rows of ROOT, one a visit.
        key: of the random streams; stream r belongs to root r.

    Returns:
        The trail; `parent` counts from this trail's first event, except that a visit's first event
        holds its root's parent as `-2 - parent`.
    """
    room, pages = 7 * len(roots) + 1_000, len(roots) // 2 + 1_000
    while True:
        trail = Trail(
            events=np.empty(room, EVENT),
            page_event=np.empty(pages, np.int64),
            page_choice=np.empty((pages, N_SLOTS), np.int8),
            page_clicked=np.empty((pages, N_SLOTS), np.bool_),
        )
        n_events, n_pages = _walk(scene, roots, trail, key)
        if n_events >= 0:
            return Trail(
                trail.events[:n_events],
                trail.page_event[:n_pages],
                trail.page_choice[:n_pages],
                trail.page_clicked[:n_pages],
            )
        room, pages = 2 * room, 2 * pages


# Trap: numba's cache on disk looks at the time of this file alone. After a change to the numbers in triggers
# or scene, or to a function called from there, touch this file; the tests of the laws fail until then.
@njit(cache=True, nogil=True)
def _walk(scene: Any, roots: Any, trail: Any, key: Any) -> Any:
    """Fill the trail; returns its events and pages, or (-1, -1) when it has too little room."""
    state = np.empty(1, np.uint64)
    n, n_pages = np.int64(0), np.int64(0)
    for visit in range(len(roots)):
        # A visit of more events has no chance to occur: its chain is geometric with mean 4.
        if n + 600 > len(trail.events) or n_pages + 100 > len(trail.page_event):
            return np.int64(-1), np.int64(-1)
        start_stream(state, key, visit)
        n, n_pages = _visit(scene, roots[visit], trail, state, (np.int64(visit), n, n_pages))
    return n, n_pages


@njit(cache=True, nogil=True)
def _emit(events: Any, n: Any, before: Any, event: Any) -> Any:
    """Write event `n`: `before` = (user, visit, parent), `event` = (item, action, time, source, value)."""
    row = events[n]
    row.user, row.visit, row.parent = before
    row.item, row.action, row.time_us, row.source, row.value = event
    row.step, row.page, row.position, row.origin, row.mobile = 0, -1, 0, ORGANIC, 0
    return n + 1


@njit(cache=True, nogil=True)
def _later(state: Any, time_us: Any, mean_s: float) -> Any:
    """A moment after an exponential delay; at least a millisecond later, so that causes come first."""
    return time_us + 1_000 + np.int64(exponential(state) * mean_s * 1e6)


@njit(cache=True, nogil=True)
def _dwell(state: Any) -> Any:
    """Seconds of dwell, to a tenth: gamma with shape 2 and mean 30."""
    return np.floor(150.0 * (exponential(state) + exponential(state))) / 10.0


@njit(cache=True, nogil=True)
def _like(scene: Any, events: Any, state: Any, at: Any) -> Any:
    """A like of the view `at` = (view, n, segment), perhaps shared; the dwell doubles."""
    view, n, segment = at
    if uniform(state) >= scene.rates[segment, 0]:
        return n
    events[view].value *= 2.0
    item, user, visit = np.int64(events[view].item), np.int64(events[view].user), np.int64(events[view].visit)
    time_us = _later(state, events[view].time_us, VIEW_LIKE_S)
    shared_us = _later(state, time_us, LIKE_SHARE_S)
    if time_us < scene.end_us:
        n = _emit(events, n, (user, visit, view), (item, LIKE, time_us, PAGE, np.nan))
        if uniform(state) < LIKE_SHARE and shared_us < scene.end_us:
            n = _emit(events, n, (user, visit, n - 1), (item, SHARE, shared_us, PAGE, np.nan))
    return n


@njit(cache=True, nogil=True)
def _page(scene: Any, trail: Any, state: Any, at: Any) -> Any:
    """The slots shown on the page of the view `at` = (view, n, n_pages, segment), and their clicks."""
    view, n, n_pages, segment = at
    events, slots = trail.events, scene.slots
    context = scene.shelves[events[view].item].category
    user, visit = np.int64(events[view].user), np.int64(events[view].visit)
    trail.page_event[n_pages] = view
    for slot in range(N_SLOTS):
        choice = drawn(state, slots.running[context, slot])
        clicked = uniform(state) < slots.click[segment, context, slot, choice]
        time_us = _later(state, events[view].time_us, CLICK_S)
        trail.page_choice[n_pages, slot] = choice
        trail.page_clicked[n_pages, slot] = clicked and time_us < scene.end_us
        if trail.page_clicked[n_pages, slot]:
            item = np.int64(slots.candidates[context, slot, choice])
            event = (item, VIEW, time_us, RECOMMENDATION, _dwell(state))
            n = _emit(events, n, (user, visit, view), event)
            events[n - 1].page = n_pages
            events[n - 1].position = slot + 1
            n = _like(scene, events, state, (n - 1, n, segment))
    return n, n_pages + 1


@njit(cache=True, nogil=True)
def _shop(scene: Any, events: Any, state: Any, at: Any) -> Any:
    """Cart and purchase of the item viewed `at` = (view, n, chance of a cart, of a purchase)."""
    view, n, cart, buy = at
    if uniform(state) >= cart:
        return n
    item, user, visit = np.int64(events[view].item), np.int64(events[view].user), np.int64(events[view].visit)
    time_us = _later(state, events[view].time_us, VIEW_CART_S)
    bought_us = _later(state, time_us, CART_PURCHASE_S)
    if time_us < scene.end_us:
        n = _emit(events, n, (user, visit, view), (item, CART, time_us, PAGE, np.nan))
        if uniform(state) < buy and bought_us < scene.end_us:
            price = scene.shelves[item].price
            n = _emit(events, n, (user, visit, n - 1), (item, PURCHASE, bought_us, PAGE, price))
    return n


@njit(cache=True, nogil=True)
def _continued(scene: Any, state: Any, user: Any, at: Any) -> Any:
    """What follows the event `at` = (action, item, thread, direction, time) on the walk.

    Returns:
        (action, item, time, source, step); the action is -1 when the walk ends.
    """
    action, item, thread, direction, time_us = at
    u = uniform(state)
    if action == VIEW and u < VIEW_VIEW:
        time_us = _later(state, time_us, VIEW_VIEW_S)
        item, step = onward_item(scene, state, user, (item, thread, direction, time_us))
        return VIEW, item, time_us, BROWSE, step
    if action == SEARCH and u < SEARCH_VIEW:
        return VIEW, item, _later(state, time_us, SEARCH_VIEW_S), FROM_SEARCH, 0
    mean_s = 0.0
    if action == VIEW and u < VIEW_VIEW + VIEW_SEARCH:
        mean_s = VIEW_SEARCH_S
    elif action == SEARCH and u < SEARCH_VIEW + SEARCH_SEARCH:
        mean_s = SEARCH_SEARCH_S
    elif action == RETURN and u < RETURN_SEARCH:
        mean_s = RETURN_SEARCH_S
    if mean_s == 0.0:
        return -1, item, time_us, PAGE, 0
    time_us = _later(state, time_us, mean_s)
    return SEARCH, wished_item(scene, state, user, time_us), time_us, PAGE, BY_WISH


@njit(cache=True, nogil=True)
def _visit(scene: Any, root: Any, trail: Any, state: Any, at: Any) -> Any:
    """One visit from its root on; `at` = (visit, n, n_pages)."""
    visit, n, n_pages = at
    events = trail.events
    user, time_us = np.int64(root.user), np.int64(root.time_us)
    segment = segment_of(scene.habits, user, time_us)
    item, source, step = np.int64(root.item), np.int64(root.source), 0
    if item < 0:
        item, step = wished_item(scene, state, user, time_us), BY_WISH
    action, value = VIEW, np.nan
    if root.kind == COME and uniform(state) < SEARCH_FIRST:
        action = SEARCH
    elif root.kind == GIVE_BACK:
        action, value = RETURN, scene.shelves[item].price
    direction = scene.habits[user].way * (1 if uniform(state) < OWN_WAY else -1)
    cause, thread = np.int64(-2 - root.parent), item
    # Reservoir of one: the k-th view takes the place with chance 1/k, so each is equally likely at the end.
    n_views, chosen = 0, np.int64(-1)
    while action >= 0 and time_us < scene.end_us:
        here = n
        n = _emit(events, n, (user, visit, cause), (item, action, time_us, source, value))
        events[here].step = step
        cause, value = here, np.nan
        if action == VIEW:
            events[here].value = _dwell(state)
            n_views += 1
            if uniform(state) * n_views < 1.0:
                chosen = here
            if root.kind == BUY:
                return _shop(scene, events, state, (here, n, 1.0, 1.0)), n_pages
            n = _like(scene, events, state, (here, n, segment))
            if uniform(state) < SHOW_SHARE:
                n, n_pages = _page(scene, trail, state, (here, n, n_pages, segment))
        action, item, time_us, source, step = _continued(
            scene, state, user, (action, item, thread, direction, time_us)
        )
        if source != BROWSE or step == ON_RING or uniform(state) >= DETOUR:
            thread = item
    if n_views > 0:
        n = _shop(scene, events, state, (chosen, n, scene.rates[segment, 1], scene.rates[segment, 2]))
    return n, n_pages
