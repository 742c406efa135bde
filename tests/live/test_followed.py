# SPDX-License-Identifier: Apache-2.0
"""Two processes of one workspace count the same, whichever of them an event came to."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from stored import row

import worlds
from desirepath.live.actions import IMPRESSION
from desirepath.live.followed import Followed
from desirepath.live.project import Project
from desirepath.live.store import LiveStore
from desirepath.models.markov import Markov
from desirepath.recommend.versions import Version
from desirepath.workspace import Workspace

NOW_US = 1_900_000_000_000_000


def project_of(workspace: Workspace, redis: str) -> Project:
    sequences = worlds.cycle(n_users=9)
    version = Version(
        name="v",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={},
    )
    return Project("default", workspace, sequences, version, redis=redis)


@pytest.fixture
def pair(tmp_path, redis_url):
    workspace = Workspace.create(tmp_path / "workspace")
    both = [project_of(workspace, redis_url) for _ in range(2)]
    yield both
    for project in both:
        project.close()


def counted(project: Project, item_id: str) -> dict[str, float]:
    """What a process knows of an item, besides histories."""
    memory = project.memory
    ix = memory.catalogue.take(item_id)
    exposure = memory.exposure.counts()
    bought = memory.actions.take("buy")
    return {
        "trending": memory.trending.shares(len(memory.catalogue))[ix],
        "popular": memory.popular.shares(len(memory.catalogue))[ix],
        "bought": memory.worth.shares(np.array([ix]), [bought])[0, 0],
        "shown": exposure.impressions[ix],
        "clicked": exposure.clicks[ix],
    }


def test_what_one_process_keeps_the_other_counts(pair):
    first, second = pair
    before = counted(second, "3")
    served = {"recommendation_id": "r", "time_us": NOW_US}
    first.store.keep([row(f"s{n}", f"w{n}", "3", action=IMPRESSION, **served) for n in range(5)]).result()
    first.store.keep([row(f"b{n}", f"w{n}", "3", action="buy", **served) for n in range(3)]).result()
    first.store.keep([row("new", "w", "unheard of", time_us=NOW_US)]).result()
    assert counted(second, "3") == before
    second.follow()
    here, there = counted(first, "3"), counted(second, "3")
    assert here == pytest.approx(there)
    assert there["trending"] > before["trending"]
    assert (there["shown"], there["clicked"]) == (5, 3)
    assert there["bought"] > before["bought"] == 0
    assert counted(second, "unheard of")["popular"] == pytest.approx(counted(first, "unheard of")["popular"])


def test_nothing_is_counted_twice_whoever_keeps_and_looks(pair):
    """Both keep at the same time while both look for what the other one kept."""
    ends = threading.Event()

    def look(project):
        while not ends.is_set():
            project.follow()

    lookers = [threading.Thread(target=look, args=(project,)) for project in pair]
    for thread in lookers:
        thread.start()
    kept = [
        project.store.keep([row(f"{who}-{n}", f"w{n}", "3", action=IMPRESSION, time_us=NOW_US)])
        for n in range(60)
        for who, project in enumerate(pair)
    ]
    for one in kept:
        one.result()
    ends.set()
    for thread in lookers:
        thread.join()
    for project in pair:
        project.follow()
        assert counted(project, "3")["shown"] == 120
    third = project_of(pair[0].workspace, "")
    try:
        assert counted(third, "3")["shown"] == 120
    finally:
        third.close()


def test_who_follows_learns_each_event_once_and_in_order(url):
    store, other = LiveStore(url), LiveStore(url)
    try:
        store.keep([row(str(n)) for n in range(3)]).result()
        learned: list[int] = []
        followed = Followed(store, lambda rows: learned.extend(one["seq"] for one in rows), 1)
        assert followed.catch_up() == 2
        assert followed.catch_up() == 0
        other.keep([row(str(n)) for n in range(2, 6)]).result()
        assert followed.catch_up() == 3
        assert learned == [event["seq"] for event in store.events_after(1)]
    finally:
        store.close()
        other.close()
