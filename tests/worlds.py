# SPDX-License-Identifier: Apache-2.0
"""Tiny logs whose right answer is known, shared by the tests of every room.

Item "i" has index FIRST + i, so that an answer can be computed as well as looked up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences, Vocabulary

DAY_S = 86_400.0


def packed(
    item_NL: NDArray[np.integer],
    n_items: int,
    *,
    time_NL: NDArray[np.floating] | None = None,
    action_NL: NDArray[np.integer] | None = None,
    actions: tuple[str, ...] = ("event",),
) -> Sequences:
    """N users with L events each; items and actions counted from 0, times in seconds (one an hour)."""
    n_users, length = item_NL.shape
    if time_NL is None:
        time_NL = np.broadcast_to(np.arange(length) * 3600.0, item_NL.shape)
    if action_NL is None:
        action_NL = np.zeros_like(item_NL)
    return Sequences(
        offsets=np.arange(n_users + 1, dtype=np.int64) * length,
        item_ix=(item_NL + FIRST).astype(np.int32).ravel(),
        action_ix=(action_NL + FIRST).astype(np.int16).ravel(),
        time_s=np.ascontiguousarray(time_NL, dtype=np.float64).ravel(),
        users=Vocabulary([f"u{u}" for u in range(n_users)], reserved=0),
        items=Vocabulary([str(i) for i in range(n_items)]),
        actions=Vocabulary(list(actions)),
    )


def cycle(n_users: int = 60, n_items: int = 12, length: int = 15, seed: int = 0) -> Sequences:
    """Everybody walks round a ring: the next item is always the last one + 1. Only order tells it."""
    start = np.random.default_rng(seed).integers(n_items, size=(n_users, 1))
    return packed((start + np.arange(length)) % n_items, n_items)


def after_cycle(world: Sequences) -> NDArray[np.int32]:
    """(n_users,) what truly comes after everything known of each user of `cycle`."""
    last = world.item_ix[world.offsets[1:] - 1] - FIRST
    return ((last + 1) % world.n_items + FIRST).astype(np.int32)


def two_tribes(n_users: int = 60, n_items: int = 20, length: int = 6, seed: int = 0) -> Sequences:
    """Even users take distinct items of the lower half, odd users of the upper half, in no order."""
    half = n_items // 2
    order = np.random.default_rng(seed).random((n_users, half)).argsort(axis=1)[:, :length]
    return packed(order + half * (np.arange(n_users) % 2)[:, None], n_items)


def checkerboard(size: int = 16) -> Sequences:
    """User u has all items of his own parity but the one he stands on: item u is what he lacks.

    Whoever sees who shares items with whom ranks item u first among what user u has not had.
    """
    user, item = np.indices((size, size))
    wanted = ((user + item) % 2 == 0) & (user != item)
    return packed(item[wanted].reshape(size, -1), size)


def drift(n_users: int = 80, n_items: int = 20, length: int = 10, seed: int = 0) -> Sequences:
    """Fashion moves: for 90 days the lower half of the items, for the last 5 only the upper half.

    All-time counts point to the lower half; whatever weighs the recent more points to the upper.
    """
    rng = np.random.default_rng(seed)
    half, recent = n_items // 2, length // 4
    old = rng.integers(half, size=(n_users, length - recent))
    new = rng.integers(half, n_items, size=(n_users, recent))
    days = np.concatenate(
        [rng.uniform(0, 90, (n_users, length - recent)), rng.uniform(91, 96, (n_users, recent))], axis=1
    )
    return packed(np.concatenate([old, new], axis=1), n_items, time_NL=np.sort(days, axis=1) * DAY_S)


def leave_last(world: Sequences) -> tuple[Sequences, Queries]:
    """Training without each user's last event, and the questions whose targets they are."""
    last = world.offsets[1:] - 1
    rows = np.ones(world.n_events, dtype=bool)
    rows[last] = False
    queries = Queries(
        sequences=world,
        user_ix=np.arange(world.n_users),
        start=np.asarray(world.offsets[:-1]),
        stop=last,
        now_s=world.time_s[last],
        target_offsets=np.arange(world.n_users + 1),
        target_item_ix=world.item_ix[last],
        target_action_ix=world.action_ix[last],
    )
    return world.select(rows), queries
