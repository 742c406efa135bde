# SPDX-License-Identifier: Apache-2.0
"""Items, users and ties: on disk first, then in memory; a change that fails is in neither."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event, select
from stored import row

import worlds
from desirepath.errors import DataError, DesirepathError
from desirepath.live.catalogue import Catalogue
from desirepath.live.project import Project
from desirepath.live.records import Records, Tie
from desirepath.live.store import LiveStore
from desirepath.live.tables import items, ties, users
from desirepath.models.markov import Markov
from desirepath.recommend.versions import Version
from desirepath.sequences import Vocabulary
from desirepath.workspace import Workspace


class NoRoom(OSError):
    """What a full disk says at a commit."""


class Disk:
    """Lets every commit of a store fail while it is full."""

    def __init__(self, store: LiveStore) -> None:
        self.is_full = False
        event.listen(store.engine, "commit", self._commit)

    def _commit(self, _: object) -> None:
        if self.is_full:
            raise NoRoom


@pytest.fixture
def store(url: str) -> Iterator[LiveStore]:
    store = LiveStore(url)
    yield store
    store.close()


@pytest.fixture
def records(store: LiveStore) -> Records:
    return Records(store, Catalogue(Vocabulary(["known"])))


def told(records: Records) -> list[object]:
    """All that memory says."""
    catalogue = records._catalogue
    known = [
        (name, catalogue.attributes(name), bool(catalogue.hidden[catalogue.index(name) or 0]))
        for name in catalogue.ids[2:]
    ]
    return [known, catalogue.version, records.n_changes_of_ties]


def kept(store: LiveStore) -> list[object]:
    """All that the database says."""
    return [
        sorted(map(str, store.read(lambda c, t=table: c.execute(select(t)).all())))
        for table in (items, users, ties)
    ]


def test_a_change_that_is_not_committed_is_not_in_memory(records: Records, store: LiveStore) -> None:
    records.put_items([("known", {"title": "first"}, False), ("new", {}, True)]).result()
    records.put_ties([Tie("a", "b")]).result()
    disk = Disk(store)
    before = told(records), kept(store)
    changes = (
        lambda: records.put_items([("known", {"title": "second"}, True), ("never", {}, False)]),
        lambda: records.patch_item("known", {"price": 3}, is_hidden=True),
        lambda: records.delete_item("known"),
        lambda: records.put_users([("u", {"age": 1})]),
        lambda: records.patch_user("u", {"age": 2}),
        lambda: records.put_ties([Tie("a", "c")]),
        lambda: records.cut_tie("a", "b"),
    )
    for change in changes:
        disk.is_full = True
        with pytest.raises((NoRoom, DesirepathError)):
            change().result()
        disk.is_full = False
        assert (told(records), kept(store)) == before
    for change in changes:
        change().result()
    assert records.item("known") == {"item_id": "known", "attributes": {}, "is_hidden": True}
    assert records.item("never")["is_hidden"] is False
    assert records.user("u") == {"age": 2}
    assert records.ties().rows() == [("a", "c", 1.0)]


def test_changes_that_are_committed_together_see_each_other(records: Records, store: LiveStore) -> None:
    """The second is handed in before the first is in memory."""
    first = store.write(lambda c: c.exec_driver_sql("SELECT 1").scalar(), alone=True)
    done = [
        records.put_items([("new", {"price": 1, "title": "x"}, False)]),
        records.patch_item("new", {"price": 2}),
        records.patch_item("new", {"title": None}, is_hidden=True),
        records.put_items([("new", {"price": 9}, False)]),
        records.patch_item("new", {"city": "Bonn"}),
    ]
    first.result()
    assert done[0].result() == ["created"]
    assert done[2].result() == {"item_id": "new", "attributes": {"price": 2}, "is_hidden": True}
    assert done[3].result() == ["replaced"]
    assert done[4].result()["attributes"] == {"price": 9, "city": "Bonn"}
    assert records.item("new") == {
        "item_id": "new",
        "attributes": {"price": 9, "city": "Bonn"},
        "is_hidden": False,
    }
    with pytest.raises(DataError, match="not known"):
        records.patch_item("nwe", {"price": 1}).result()


def test_an_erasure_that_is_not_committed_changes_nothing(url: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    sequences = worlds.cycle(n_users=4)
    version = Version(
        name="v",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={},
    )
    project = Project("default", Workspace.create(tmp_path / "shop"), sequences, version, url=url)
    try:
        project.keep([row("e", "u1", "3")]).result()
        project.records.put_ties([Tie("u1", "u2")]).result()
        n = int(project.states.histories(["u1"]).offsets[-1])
        disk = Disk(project.store)
        disk.is_full = True
        with pytest.raises((NoRoom, DesirepathError)):
            project.forget("u1").result()
        disk.is_full = False
        assert int(project.states.histories(["u1"]).offsets[-1]) == n
        assert not project.erased
        assert not len(project.store.refusals)
        assert project.records.ties().rows() == [("u1", "u2", 1.0)]
        assert project.forget("u1").result() == {"events": 1, "lists": 0}
        assert int(project.states.histories(["u1"]).offsets[-1]) == 0
        assert project.records.ties().height == 0
    finally:
        project.close()
