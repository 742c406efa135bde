# SPDX-License-Identifier: Apache-2.0
"""Keys open what they are for, in the project that they belong to, and nothing else."""

from __future__ import annotations

import json
import stat
import time

import pytest
from shop import open_shop, served

from desirepath.errors import ConfigError, WorkspaceError
from desirepath.serving.access import SESSION
from desirepath.serving.app import make_app
from desirepath.serving.keys import KeyRing
from desirepath.serving.options import GuardConfig

HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
EVENT = {"user_id": "u1", "item_id": "3", "action": "view"}


@pytest.fixture
def shops(tmp_path):
    """Two projects in one process, asked through a client."""
    projects = {"default": open_shop(tmp_path / "a"), "b": open_shop(tmp_path / "b", "b")}
    with served(make_app(projects, GuardConfig(hosts=HOSTS))) as client:
        yield projects, client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path):
    ring = KeyRing(tmp_path)
    token, key = ring.create("events", label="the shop's pages")
    assert token.startswith(f"dp_events_{key.id}_")
    secret = token.removeprefix(f"dp_events_{key.id}_")
    assert len(secret) == 43  # 256 bits in base 64
    assert secret not in ring.path.read_text()
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600
    assert ring.find(token).key == key
    assert KeyRing(tmp_path).find(token).key == key
    assert len({ring.create()[0] for _ in range(50)}) == 50


def test_a_key_that_others_may_read_is_refused(tmp_path):
    ring = KeyRing(tmp_path)
    ring.create()
    ring.path.chmod(0o644)
    with pytest.raises(WorkspaceError, match="chmod 600"):
        KeyRing(tmp_path)


def test_wrong_keys_are_not_found(tmp_path):
    ring = KeyRing(tmp_path)
    token, key = ring.create("read")
    other, _ = ring.create("read")
    mixed = f"dp_read_{key.id}_{other.split('_', 3)[3]}"
    for wrong in ("", "dp", "dp_read_x", token[:-1], token + "A", mixed, "dp_read__", "\ud800", "é" * 99):
        assert ring.find(wrong).state == "unknown"
    # The word in a token is for its reader; what counts is what is kept under its id.
    renamed = token.replace("dp_read", "dp_admin")
    assert ring.find(renamed).key.scope == "read"


def test_expiry_revocation_and_rotation(tmp_path):
    ring = KeyRing(tmp_path)
    token, key = ring.create("admin", expires_days=30)
    following, fresh = ring.rotate(key.id, overlap_hours=1)
    assert ring.find(token).state == ring.find(following).state == "valid"
    assert fresh.scope == "admin"
    assert fresh.expires_s == pytest.approx(time.time() + 30 * 86400, abs=60)
    assert ring.get(key.id).expires_s == pytest.approx(time.time() + 3600, abs=60)
    ring.rotate(fresh.id, overlap_hours=0)
    assert ring.find(following).state == "expired"
    ring.revoke(key.id)
    assert ring.find(token).state == "revoked"
    with pytest.raises(ConfigError, match="revoked"):
        ring.rotate(key.id)
    with pytest.raises(ConfigError, match="Did you mean"):
        ring.revoke(key.id[:-1])
    with pytest.raises(ConfigError, match="scope 'writer'"):
        ring.create("writer")


def test_without_keys_only_this_machine_is_answered(shops):
    _, client = shops
    ask = {"user_id": "u1"}
    assert client.post("/v1/recommend", json=ask).status_code == 200
    for headers in (
        {"Host": "rebound.example"},
        {"Host": "127.0.0.1.rebound.example"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
    ):
        refused = client.post("/v1/recommend", json=ask, headers=headers)
        assert refused.status_code == 403, headers
        assert refused.headers["content-type"] == "application/problem+json"


def test_the_first_key_closes_every_project(shops):
    projects, client = shops
    assert client.post("/v1/events", json=EVENT).status_code == 200
    token, _ = KeyRing(projects["default"].workspace.folder).create("read")
    for headers in ({}, {"X-Desirepath-Project": "b"}, {"X-Desirepath-Project": "nowhere"}):
        refused = client.post("/v1/recommend", json={"user_id": "u1"}, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
    assert client.post("/v1/recommend", json={"user_id": "u1"}, headers=bearer(token)).status_code == 200
    # Losing the file locks the door rather than opening it.
    KeyRing(projects["default"].workspace.folder).path.unlink()
    assert client.post("/v1/recommend", json={"user_id": "u1"}, headers=bearer(token)).status_code == 401
    assert client.post("/v1/recommend", json={"user_id": "u1"}).status_code == 401


def test_scopes(shops):
    projects, client = shops
    ring = KeyRing(projects["default"].workspace.folder)
    keys = {scope: ring.create(scope)[0] for scope in ("read", "events", "admin")}

    def status(scope: str, method: str, path: str, **more) -> int:
        return client.request(method, path, headers={"X-API-Key": keys[scope]}, **more).status_code

    assert status("events", "POST", "/v1/events", json=EVENT) == 200
    assert status("events", "POST", "/v1/recommend", json={"user_id": "u1"}) == 403
    assert status("events", "GET", "/v1/users/u1/recommendations") == 403
    assert status("read", "POST", "/v1/recommend", json={"user_id": "u1"}) == 200
    assert status("read", "POST", "/v1/events", json=EVENT) == 403
    assert status("read", "PUT", "/v1/items", json=[{"item_id": "9"}]) == 403
    assert status("admin", "PUT", "/v1/items", json=[{"item_id": "9"}]) == 200
    assert status("admin", "POST", "/v1/events", json=EVENT) == 200
    # A page that nobody listed is for admins alone.
    assert status("read", "GET", "/console") == 403
    assert status("admin", "GET", "/console") == 404


def test_worthless_keys(shops):
    projects, client = shops
    ring = KeyRing(projects["default"].workspace.folder)
    ring.create("read")
    revoked, key = ring.create("admin")
    ring.revoke(key.id)
    expired, key = ring.create("admin")
    ring.rotate(key.id, overlap_hours=0)
    told = {}
    for name, token in {
        "forged": "dp_admin_aaaaaaaa_" + "A" * 43,
        "revoked": revoked,
        "expired": expired,
    }.items():
        answer = client.get("/v1/users/u1/recommendations", headers=bearer(token))
        assert answer.status_code == 401
        told[name] = answer.json()["detail"]
    assert "revoked" in told["revoked"]
    assert "expired" in told["expired"]
    assert "not known" in told["forged"]
    basic = client.get("/v1/users/u1/recommendations", headers={"Authorization": "Basic YTpi"})
    assert basic.status_code == 401


def test_a_key_opens_one_project_and_tells_nothing_of_others(shops):
    projects, client = shops
    of_a, _ = KeyRing(projects["default"].workspace.folder).create("admin")
    of_b, _ = KeyRing(projects["b"].workspace.folder).create("admin")
    sent = {"user_id": "only in b", "item_id": "secret of b", "action": "whisper"}
    assert client.post("/v1/events", json=sent, headers=bearer(of_b)).json()["accepted"] == 1
    foreign = client.get("/v1/items/secret of b", headers=bearer(of_a))
    unknown = client.get("/v1/items/never heard of", headers=bearer(of_a))
    assert foreign.status_code == unknown.status_code == 404
    assert client.get("/v1/items/secret of b", headers=bearer(of_b)).status_code == 200
    of_nobody = client.get("/v1/users/only in b/recommendations", headers=bearer(of_a)).json()
    assert of_nobody["n_events"] == 0
    assert client.get("/v1/users/only in b/recommendations", headers=bearer(of_b)).json()["n_events"] == 1
    # Whether a project of that name is there at all is not told either.
    replies = [
        client.get("/v1/items", headers=bearer(of_a) | {"X-Desirepath-Project": name}) for name in ("b", "c")
    ]
    assert [reply.status_code for reply in replies] == [403, 403]
    assert len({json.dumps({**r.json(), "instance": ""}) for r in replies}) == 1


def test_without_keys_a_header_picks_the_project(shops):
    _, client = shops
    sent = {"user_id": "only in b", "item_id": "3"}
    assert client.post("/v1/events", json=sent, headers={"X-Desirepath-Project": "b"}).status_code == 200
    path = "/v1/users/only in b/recommendations"
    assert client.get(path).json()["n_events"] == 0
    assert client.get(path, headers={"X-Desirepath-Project": "b"}).json()["n_events"] == 1
    assert client.get(path, headers={"X-Desirepath-Project": "c"}).status_code == 404


def test_no_session_without_a_signature(shops):
    projects, client = shops
    _, key = KeyRing(projects["default"].workspace.folder).create("admin")
    client.cookies.set(SESSION, key.id)
    assert client.get("/v1/items").status_code == 401
