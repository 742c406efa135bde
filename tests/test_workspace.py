# SPDX-License-Identifier: Apache-2.0
"""A workspace refuses what it must not touch, and remembers which steps are done."""

from __future__ import annotations

import json

import pytest

from desirepath.errors import WorkspaceError
from desirepath.workspace import FORMAT, HEADER, Workspace, write_atomically


def test_create_then_open(tmp_path):
    made = Workspace.create(tmp_path / "shop")
    assert Workspace.open(tmp_path / "shop").folder == made.folder
    assert Workspace.create(tmp_path / "shop").folder == made.folder


def test_settings_may_lie_there_first(tmp_path):
    (tmp_path / "desirepath.toml").write_text("")
    assert Workspace.create(tmp_path).settings_path.exists()


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(WorkspaceError, match="empty folder"):
        Workspace.create(tmp_path)
    with pytest.raises(WorkspaceError, match="is a file"):
        Workspace.create(tmp_path / "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("header", ["", "[]", '{"format": "one"}', "\x80"])
def test_a_damaged_header(tmp_path, header):
    (tmp_path / HEADER).write_text(header, encoding="latin-1")
    with pytest.raises(WorkspaceError):
        Workspace.open(tmp_path)


def test_a_newer_version(tmp_path):
    (tmp_path / HEADER).write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(WorkspaceError, match="Upgrade"):
        Workspace.create(tmp_path)


def test_no_workspace(tmp_path):
    with pytest.raises(WorkspaceError, match="desirepath run"):
        Workspace.open(tmp_path)


def test_steps(tmp_path):
    workspace = Workspace.create(tmp_path)
    assert not workspace.is_done("ingest", "abc")
    workspace.finish("ingest", "abc", rows=3)
    assert workspace.is_done("ingest", "abc")
    assert not workspace.is_done("ingest", "abd")
    assert workspace.step("ingest") == {"made_from": "abc", "rows": 3}


def test_two_processes_do_not_write_at_once(tmp_path):
    workspace = Workspace.create(tmp_path)
    with (
        workspace.lock(),
        pytest.raises(WorkspaceError, match="Another desirepath process"),
        Workspace.open(tmp_path).lock(),
    ):
        pass
    with workspace.lock():
        pass


def test_a_folder_is_replaced_whole(tmp_path):
    workspace = Workspace.create(tmp_path)
    for content in ("one", "two"):
        made = tmp_path / "made"
        write_atomically(made / "x", content)
        workspace.replace_folder(made, workspace.sequences)
        assert (workspace.sequences / "x").read_text() == content
    assert {p.name for p in tmp_path.iterdir()} == {HEADER, "sequences"}
