# SPDX-License-Identifier: Apache-2.0
"""People come in with an admin key, and stay for half a day as long as the key is good."""

from __future__ import annotations

import time

import pytest
from shop import open_shop, served

from desirepath.serving import access
from desirepath.serving.access import SESSION
from desirepath.serving.app import make_app
from desirepath.serving.keys import KeyRing


@pytest.fixture
def closed(tmp_path):
    """A client of a shop with keys, its ring, and an admin key."""
    app = make_app({"default": open_shop(tmp_path)})

    @app.get("/console")
    async def console() -> str:
        return "the console"

    @app.post("/console")
    async def change() -> str:
        return "changed"

    ring = KeyRing(tmp_path)
    token, key = ring.create("admin")
    with served(app) as client:
        yield client, ring, token, key


def login(client, token, path="/login?next=/console", **more):
    return client.post(path, data={"key": token}, **more)


def test_a_page_leads_to_the_login_and_back(closed):
    client, _, token, _ = closed
    page = {"accept": "text/html,*/*"}
    away = client.get("/console", headers=page)
    assert (away.status_code, away.headers["location"]) == (303, "/login?next=/console")
    form = client.get(away.headers["location"])
    assert 'action="/login?next=/console"' in form.text
    assert "frame-ancestors 'none'" in form.headers["content-security-policy"]
    # With "no-referrer" a browser would send `Origin: null` with the form, which is refused.
    assert form.headers["referrer-policy"] == "same-origin"
    back = login(client, f" {token}\n", away.headers["location"])
    assert (back.status_code, back.headers["location"]) == (303, "/console")
    cookie = back.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert token not in cookie
    assert client.get("/console").text == '"the console"'
    assert client.get("/v1/items").status_code == 200
    client.post("/logout")
    assert client.get("/console", headers=page).status_code == 303
    # A program is told so instead of being led to a form.
    assert client.get("/console").status_code == 401


def test_only_an_admin_key_opens_the_console(closed):
    client, ring, token, _ = closed
    for wrong in ("", "dp_admin_x_y", token[:-1], ring.create("read")[0], ring.create("events")[0]):
        reply = login(client, wrong)
        assert reply.status_code in (401, 403)
        assert "set-cookie" not in reply.headers
        assert 'role="alert"' in reply.text
    assert not client.cookies


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "\r\nX: 1", "x"]
)
def test_a_login_leads_nowhere_else(closed, where):
    client, _, token, _ = closed
    reply = client.post("/login", params={"next": where}, data={"key": token})
    assert (reply.status_code, reply.headers["location"]) == (303, "/")


def test_another_sites_page_can_do_nothing(closed):
    client, _, token, _ = closed
    evil = {"origin": "https://evil.example"}
    assert login(client, token, headers=evil).status_code == 403
    assert login(client, token, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert login(client, token).status_code == 303
    assert client.post("/console").status_code == 200
    own = {"origin": str(client.base_url).rstrip("/")}
    assert client.post("/console", headers=own).status_code == 200
    for headers in (evil, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert client.post("/console", headers=headers).status_code == 403


def test_a_session_ends_with_its_key_and_with_time(closed, monkeypatch):
    client, ring, token, key = closed
    login(client, token)
    assert client.get("/console").status_code == 200
    forged = client.cookies[SESSION][:-2] + "zz"
    client.cookies.clear()
    assert client.get("/console", headers={"cookie": f"{SESSION}={forged}"}).status_code == 401
    login(client, token)
    monkeypatch.setattr(access, "SESSION_S", -1)
    time.sleep(0.01)
    assert client.get("/console").status_code == 401
    monkeypatch.undo()
    assert client.get("/console").status_code == 200
    ring.revoke(key.id)
    assert client.get("/console").status_code == 401
