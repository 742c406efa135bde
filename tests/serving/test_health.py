# SPDX-License-Identifier: Apache-2.0
"""A probe is told the truth: alive while the process answers, ready while every project can."""

from __future__ import annotations

import pytest
from shop import open_shop, served
from sqlalchemy.exc import OperationalError

from desirepath.serving import health
from desirepath.serving.app import make_app
from desirepath.serving.keys import KeyRing


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "LOOK_AGAIN_S", -1.0)
    project = open_shop(tmp_path)
    app = make_app({"default": project})
    with served(app) as client:
        yield project, app, client


def test_ready_while_all_is_well(shop):
    _, _, client = shop
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_probes_need_no_key_and_tell_nothing(shop):
    project, _, client = shop
    KeyRing(project.workspace.folder).create("read")
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.get("/metrics").status_code == 401


def test_not_ready_while_ending(shop):
    _, app, client = shop
    app.state.readiness.is_ending = True
    reply = client.get("/readyz")
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "5"
    assert client.get("/livez").status_code == 200


def test_not_ready_without_its_database(shop, monkeypatch):
    project, _, client = shop

    def gone(work):
        raise OperationalError("SELECT 1", {}, ConnectionRefusedError())

    monkeypatch.setattr(project.store, "read", gone)
    assert client.get("/readyz").status_code == 503
    monkeypatch.undo()
    monkeypatch.setattr(health, "LOOK_AGAIN_S", -1.0)
    assert client.get("/readyz").status_code == 200


def test_not_ready_without_its_threads(shop):
    project, _, client = shop
    project.engine.close()
    assert client.get("/readyz").status_code == 503
    assert client.get("/livez").status_code == 200
