# SPDX-License-Identifier: Apache-2.0
"""Keys from the command line: shown once, listed without what opens anything, rotated and revoked."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from desirepath.cli import app
from desirepath.errors import ConfigError, WorkspaceError
from desirepath.serving.keys import KeyRing
from desirepath.workspace import Workspace


def run(*words):
    return CliRunner().invoke(app, ["keys", *map(str, words)], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path):
    return Workspace.create(tmp_path / "shop").folder


def test_the_life_of_a_key(folder):
    made = json.loads(
        run("create", folder, "--scope", "admin", "--label", "[red]ops", "--expires", 9, "--json").stdout
    )
    token, key_id = made["key"], made["id"]
    ring = KeyRing(folder)
    assert ring.find(token).state == "valid"
    listed = run("list", folder)
    assert key_id in listed.stdout
    assert "[red]ops" in listed.stdout
    for shown in (listed.stdout, run("list", folder, "--json").stdout):
        assert token.split("_", 3)[3] not in shown
        assert "salt" not in shown
    turned = json.loads(run("rotate", folder, key_id, "--overlap", 0, "--json").stdout)
    assert (turned["scope"], turned["label"]) == ("admin", "[red]ops")
    assert ring.find(token).state == "expired"
    assert ring.find(turned["key"]).state == "valid"
    run("revoke", folder, turned["id"])
    assert ring.find(turned["key"]).state == "revoked"
    states = {row["id"]: row["state"] for row in json.loads(run("list", folder, "--json").stdout)["keys"]}
    assert states == {key_id: "expired", turned["id"]: "revoked"}


def test_a_person_is_told_what_to_do_with_it(folder):
    assert "No keys" in run("list", folder).stdout
    shown = run("create", folder).stdout
    token = shown.splitlines()[0]
    assert KeyRing(folder).find(token).key.scope == "read"
    assert "this once" in shown


def test_wrong_use(folder, tmp_path):
    with pytest.raises(ConfigError, match="scope 'root'"):
        run("create", folder, "--scope", "root")
    with pytest.raises(ConfigError, match="longer than 0"):
        run("create", folder, "--expires", "-1")
    with pytest.raises(ConfigError, match="no key"):
        run("revoke", folder, "nobody")
    with pytest.raises(WorkspaceError, match="no workspace"):
        run("create", tmp_path / "nowhere")
