# SPDX-License-Identifier: Apache-2.0
"""Several processes that write, and one that reads on from the last number it saw."""

import threading
import time
from functools import partial

from crashes import Keeper, Line, Sender
from servers import free_port
from sqlalchemy import insert
from stored import row

from desirepath.live.database import writing
from desirepath.live.store import LiveStore
from desirepath.live.tables import events


def test_a_number_is_never_seen_before_a_lower_one(url):
    """While one process has numbered an event and not yet committed it, another waits with its own."""
    slow, quick = LiveStore(url), LiveStore(url)
    with writing(slow.engine).begin() as connection:
        connection.execute(insert(events), row("slow"))
        later = quick.keep([row("quick")])
        time.sleep(0.2)
        assert not later.done()
        assert quick.events_after(0) == []
    assert later.result(10).fresh[0]["event_id"] == "quick"
    assert [kept["event_id"] for kept in quick.events_after(0)] == ["slow", "quick"]
    slow.close()
    quick.close()


def test_who_follows_the_numbers_misses_nothing(database):
    """Three processes write, with repeats that burn numbers, while a fourth follows."""
    stop = threading.Event()
    keepers = [Keeper(database, free_port()) for _ in range(3)]
    follower = LiveStore(database)
    for keeper in keepers:
        keeper.begin()
    senders = [Sender(n, partial(Line, keepers[n % 3].port), 1 if n % 2 else 50, stop) for n in range(6)]
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    seen = []

    def follow():
        while rows := follower.events_after(seen[-1]["seq"] if seen else 0, 100):
            seen.extend(rows)

    for thread in threads:
        thread.start()
    ends = time.monotonic() + 60
    while len(seen) < 600 and time.monotonic() < ends:
        follow()
    stop.set()
    for thread in threads:
        thread.join()
    follow()
    followed = [kept["event_id"] for kept in seen]
    follower.close()
    for keeper in keepers:
        keeper.kill()
        keeper.close()
    assert sorted(followed) == sorted(event for sender in senders for event in sender.acknowledged)
    assert len({event.partition("-")[0] for event in followed}) == 6
