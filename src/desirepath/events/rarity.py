# SPDX-License-Identifier: Apache-2.0
"""The k-core of a log: what stays when rare users and rare items are removed until none is left.

It knows pairs of indexes only. Source: Batagelj and Zaversnik, "An O(m) Algorithm for Cores
Decomposition of Networks" (2003), on the bipartite graph of users and items, an event an edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numba
import numpy as np
from numpy.typing import NDArray

Pairs = Iterable[tuple[NDArray[np.int32], NDArray[np.int32]]]


def find_core(
    pairs: Callable[[], Pairs], n_users: int, n_items: int, min_user_events: int, min_item_events: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which users and which items stay in the core, the largest log in which none is rare.

    Every pass recounts the events whose user and item both still stand, until nothing more falls;
    the core is unique, so that the order of the passes does not matter.

    Args:
        pairs: gives (user_ix, item_ix) of all events, in pieces, as often as it is called.
        n_users: number of users.
        n_items: number of items.
        min_user_events: events that a user must keep.
        min_item_events: events that an item must keep.

    Shapes: (n_users,) bool and (n_items,) bool.     Cost: O(N) a pass; real logs take 3 to 30.

    >>> events = np.array([0, 0, 1, 1, 2], np.int32), np.array([0, 1, 0, 1, 1], np.int32)
    >>> users, items = find_core(lambda: [events], 3, 2, 2, 2)
    >>> users.tolist(), items.tolist()
    ([True, True, False], [True, True])
    """
    users, items = np.ones(n_users, np.bool_), np.ones(n_items, np.bool_)
    while True:
        of_user, of_item = np.zeros(n_users, np.int64), np.zeros(n_items, np.int64)
        for user_ix, item_ix in pairs():
            _count(user_ix, item_ix, users, items, of_user, of_item)
        keep_users, keep_items = users & (of_user >= min_user_events), items & (of_item >= min_item_events)
        if np.array_equal(keep_users, users) and np.array_equal(keep_items, items):
            return users, items
        users, items = keep_users, keep_items


@numba.njit(nogil=True, cache=True)
def _count(user_ix, item_ix, users, items, of_user, of_item):  # type: ignore[no-untyped-def]
    for row in range(len(user_ix)):
        if users[user_ix[row]] and items[item_ix[row]]:
            of_user[user_ix[row]] += 1
            of_item[item_ix[row]] += 1
