"""The ledger of versions: promotion, the way back, two processes at once, and cuts at every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from desirepath.errors import WorkspaceError
from desirepath.models.popularity import Popularity
from desirepath.recommend import registry as module
from desirepath.recommend.registry import Registry
from desirepath.recommend.versions import Version, save_version
from desirepath.sequences import Queries, Sequences
from desirepath.workspace import Workspace

LOG = Sequences.from_lists([["a", "b", "a"], ["a", "c"]])


def version(name: str, **made: object) -> Version:
    return Version(
        name=name,
        model=Popularity().fit(LOG),
        items=LOG.items,
        calibration=None,
        exclude_seen=True,
        made={"trained_until_s": 2.0, "validation": {"popularity": 0.25}, **made},
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop")


@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    save_version(workspace.run("final"), version("20260101T000000-popularity"))
    return Registry(workspace)


def test_what_run_leaves_answers_at_once(registry: Registry) -> None:
    assert registry.current() == "20260101T000000-popularity"
    assert registry.candidate() is None
    assert registry.previous() is None
    opened = registry.open("20260101T000000-popularity")
    asked = Queries.latest(LOG, np.array([0]))
    np.testing.assert_array_equal(opened.model.scores(asked), Popularity().fit(LOG).scores(asked))
    row = registry.versions().row(0, named=True)
    assert (row["state"], row["model"], row["validation"]) == ("current", "popularity", 0.25)
    assert row["made_at"].isoformat() == "2026-01-01T00:00:00+00:00"


def test_a_second_opening_changes_nothing(registry: Registry) -> None:
    before = registry.path.read_bytes()
    Registry(registry.workspace)
    assert registry.path.read_bytes() == before


def test_a_new_run_answers_and_can_be_taken_back(registry: Registry) -> None:
    save_version(registry.workspace.run("final"), version("20260202T000000-popularity"))
    again = Registry(registry.workspace)
    assert again.current() == "20260202T000000-popularity"
    assert again.rollback() == "20260101T000000-popularity"
    assert Registry(registry.workspace).current() == "20260101T000000-popularity"  # not taken in again


def test_an_empty_workspace_has_no_versions(workspace: Workspace) -> None:
    registry = Registry(workspace)
    assert registry.current() is None
    assert registry.versions().height == 0
    assert not registry.path.exists()
    with pytest.raises(WorkspaceError, match="no earlier version"):
        registry.rollback()


def test_promotion_and_the_way_back(registry: Registry) -> None:
    first = registry.current()
    for name in ("b", "c"):
        registry.add(version(name), candidate=True)
        assert registry.candidate() == name
        registry.promote(name, "better")
        assert registry.candidate() is None
    assert registry.current() == "c"
    assert registry.rollback("odd lists") == "b"
    assert registry.rollback() == first
    with pytest.raises(WorkspaceError, match="no earlier version"):
        registry.rollback()
    registry.add(version("d"))
    registry.promote("d", "better still")
    assert registry.rollback() == first
    what = [line["what"] for line in registry.ledger().history]
    assert what == [
        *("promote", "add", "promote", "add", "promote", "rollback", "rollback", "add", "promote", "rollback")
    ]
    states = dict(registry.versions().select("name", "state").iter_rows())
    assert states == {first: "current", "b": "rejected", "c": "rejected", "d": "rejected"}


def test_a_rejected_candidate_can_still_be_promoted_by_hand(registry: Registry) -> None:
    registry.add(version("b"), candidate=True)
    registry.reject("b", "worse by 0.1")
    assert registry.candidate() is None
    assert registry.ledger().rejected == {"b": "worse by 0.1"}
    registry.promote("b", "I know better")
    assert registry.current() == "b"
    assert registry.ledger().rejected == {}


def test_names_are_checked(registry: Registry) -> None:
    registry.add(version("20260303T000000-popularity"))
    with pytest.raises(WorkspaceError, match="Did you mean '20260303T000000-popularity'"):
        registry.promote("20260303T000000-popularty", "typo")
    with pytest.raises(WorkspaceError, match="must be new"):
        registry.add(version("20260303T000000-popularity"))
    with pytest.raises(WorkspaceError, match="current version already"):
        registry.promote("20260101T000000-popularity", "again")
    with pytest.raises(WorkspaceError, match="no version"):
        registry.open("nobody")


def test_old_versions_go_but_never_those_in_use(registry: Registry) -> None:
    first = registry.current()
    for name in "bcdef":
        registry.add(version(name))
    registry.add(version("g"), candidate=True)
    registry.promote("d", "good")
    assert registry.retire(keep=2) == ["b", "c", "e"]
    left = {path.name for path in registry.workspace.run("versions").iterdir()}
    assert left == {first, "d", "f", "g"}
    assert registry.rollback() == first
    with pytest.raises(WorkspaceError, match="At least 1"):
        registry.retire(keep=0)


def test_the_table_tells_the_gate(registry: Registry) -> None:
    gate = {"verdict": "not worse", "difference": 0.01, "low": -0.002, "high": 0.022}
    registry.add(version("b", gate=gate, made_at="2026-05-01T10:00:00+00:00"))
    row = registry.versions().row(0, named=True)
    assert {key: row[key] for key in gate} == gate
    assert row["made_at"].hour == 10


def test_a_damaged_version_hides_no_other(registry: Registry) -> None:
    registry.add(version("b"))
    (registry.folder("b") / "version.json").unlink()
    states = dict(registry.versions().select("name", "state").iter_rows())
    assert states == {"20260101T000000-popularity": "current", "b": "damaged"}
    with pytest.raises(WorkspaceError, match="holds no trained model"):
        registry.open("b")


def test_the_history_does_not_grow_for_ever(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINES", 3)
    for name in "bcdef":
        registry.add(version(name))
    assert [line["name"] for line in registry.ledger().history] == ["d", "e", "f"]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": "x"}'])
def test_a_damaged_ledger_is_named(registry: Registry, text: str) -> None:
    registry.path.write_text(text)
    with pytest.raises(WorkspaceError, match="is damaged"):
        registry.current()


def test_a_newer_ledger_is_refused(registry: Registry) -> None:
    registry.path.write_text(json.dumps({"format": 99}))
    with pytest.raises(WorkspaceError, match="Upgrade desirepath"):
        registry.current()


def test_a_cut_at_any_step_leaves_the_old_or_the_new(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename and every sync is made to fail in turn; the next process must find a whole registry."""

    class Cut(Exception):
        pass

    def failing(real, countdown):
        def call(*args, **kwargs):
            countdown[0] -= 1
            if countdown[0] < 0:
                raise Cut
            return real(*args, **kwargs)

        return call

    first, cuts = registry.current(), 0
    for n in range(40):
        name = f"v{n}"
        with monkeypatch.context() as patched:
            countdown = [n]
            patched.setattr(Path, "replace", failing(Path.replace, countdown))
            patched.setattr(os, "fsync", failing(lambda handle: None, countdown))
            try:
                registry.add(version(name), candidate=True)
                registry.promote(name, "test")
            except Cut:
                cuts += 1
        after = Registry(registry.workspace)
        ledger = after.ledger()
        assert all(after.open(known) for known in ledger.known[-3:])
        assert ledger.current in (first, name)
        if name in ledger.known:
            assert name in (ledger.current, ledger.candidate)
        else:
            after.add(version(name))  # what was left behind does not stand in the way
        if ledger.current == name:
            after.rollback()
            if n > 8:
                break
    assert cuts > 5


def test_two_at_once_lose_nothing(registry: Registry) -> None:
    """A lock of the file system holds between threads as between processes: each opens the file anew."""
    registry.add(version("b"))

    def change(who: str) -> None:
        own = Registry(registry.workspace)
        for _ in range(10):
            own.reject("b", who)

    threads = [threading.Thread(target=change, args=(who,)) for who in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reasons = [line["reason"] for line in registry.ledger().history if line["what"] == "reject"]
    assert sorted(reasons) == ["one"] * 10 + ["two"] * 10


@pytest.mark.slow
def test_two_processes_lose_nothing(registry: Registry) -> None:
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from desirepath.recommend.registry import Registry
        from desirepath.workspace import Workspace
        registry = Registry(Workspace(Path(sys.argv[1])))
        for _ in range(20):
            registry.reject("b", sys.argv[2])
    """)
    registry.add(version("b"))
    arguments = [sys.executable, "-c", code, str(registry.workspace.folder)]
    both = [subprocess.Popen([*arguments, who]) for who in ("one", "two")]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    reasons = [line["reason"] for line in registry.ledger().history if line["what"] == "reject"]
    assert sorted(reasons) == ["one"] * 20 + ["two"] * 20
