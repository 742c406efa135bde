# SPDX-License-Identifier: Apache-2.0
"""Makes user states again from the packed log and what the store has since, at the start or while serving.

Whatever is made so equals what was there before: the log says up to which event it goes, and the store has
the rest in the order in which it was kept. It knows no models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.states import UserStates
from desirepath.live.store import LiveStore
from desirepath.live.tables import events, users
from desirepath.sequences import Sequences, Vocabulary

READ_AT_ONCE = 20_000
Take = Callable[[str], int]
"""Gives the index of an id, a new one where it is new."""


def tail(connection: Connection, after: int) -> Iterator[list[tuple[str, str, str, int]]]:
    """What users did since an event, in the order in which it was kept: user, item, action, time_us.

    Args:
        connection: for reading.
        after: number of the last event that is known, such as `packed_until` gives.
    """
    columns = [events.c.user_id, events.c.item_id, events.c.action, events.c.time_us]
    chosen = select(*columns).where(events.c.seq > after, events.c.action.not_in(NOT_BEHAVIOUR))
    # An option of the statement: with one of the connection, PostgreSQL is asked for a cursor of a savepoint.
    chosen = chosen.order_by(events.c.seq).execution_options(yield_per=READ_AT_ONCE)
    found = connection.execute(chosen)
    for part in found.partitions():
        yield [(row[0], row[1], row[2], row[3]) for row in part]


def erasures(connection: Connection) -> list[tuple[str, int]]:
    """Users who were erased, and the moment (microseconds) before which nothing of theirs counts."""
    chosen = select(users.c.user_id, users.c.erased_us).where(users.c.erased_us.is_not(None))
    return [(row[0], row[1]) for row in connection.execute(chosen)]


def replay(connection: Connection, states: UserStates, after: int, item: Take, action: Take) -> None:
    """Take into states that stand on the packed log what the store has beyond it.

    Args:
        connection: for reading.
        states: with nothing but the packed log.
        after: the last event that the log has.
        item: the catalogue's index of an item.
        action: likewise of an action.
    """
    for user_id, before_us in erasures(connection):
        states.erase(user_id, before_us)
    for part in tail(connection, after):
        user_ids, item_ids, names, time_us = zip(*part, strict=True)
        states.extend(user_ids, [item(name) for name in item_ids], [action(name) for name in names], time_us)


def rebase(
    store: LiveStore, states: UserStates, base: Sequences, until: int, item: Take, action: Take
) -> Future[None]:
    """Let states that are being served stand on a newly packed log; histories stay as they are.

    The dictionary of users is made in this thread; the writing thread then adds what came since and exchanges
    the states between two commits, so that no event is missed or counted twice.

    Args:
        store: where the events since then are.
        states: what is exchanged.
        base: the packed log, which may number items and actions otherwise than the catalogue.
        until: the last event that it has, from `packed_until`.
        item: the catalogue's index of an item.
        action: likewise of an action.
    """
    fresh = UserStates(
        base,
        item_ix=_codes(base.items, item).astype(np.int32),
        action_ix=_codes(base.actions, action).astype(np.int16),
    )

    def work(connection: Connection) -> None:
        replay(connection, fresh, until, item, action)
        states.become(fresh)

    return store.write(work, alone=True)


def _codes(words: Vocabulary, take: Take) -> NDArray[np.int64]:
    return np.array([*range(words.reserved), *map(take, words.ids.to_list())], np.int64)
