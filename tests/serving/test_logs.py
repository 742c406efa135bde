# SPDX-License-Identifier: Apache-2.0
"""A log tells what happened, joined by request ids, and nobody's data and no secret."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest
import structlog
from shop import open_shop, served
from sqlalchemy.exc import OperationalError

from desirepath.serving.access import SESSION
from desirepath.serving.app import make_app
from desirepath.serving.keys import KeyRing
from desirepath.serving.logs import configure_logs
from desirepath.serving.options import GuardConfig


@pytest.fixture
def log():
    """What is logged while the test runs, as text."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(stream, as_json=True)
    yield stream
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def lines(log: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def app_of(tmp_path):
    app = make_app({"default": open_shop(tmp_path)}, GuardConfig(writes_log=True))

    @app.get("/v1/broken/{user_id}")
    async def broken(user_id: str) -> None:
        try:
            raise OperationalError("SELECT private", {"user_id": user_id}, ValueError(f"of {user_id}"))
        except OperationalError as error:
            raise KeyError(user_id) from error

    return app


def test_a_request_is_one_line_with_its_id(tmp_path, log):
    with served(app_of(tmp_path)) as client:
        own = client.get("/livez", headers={"x-request-id": "Order-66.a_b"})
        made = client.get("/v1/users/u1/recommendations?k=3")
    assert own.headers["x-request-id"] == "Order-66.a_b"
    assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-request-id"])
    told = {line["request_id"]: line for line in lines(log) if line["event"] == "request"}
    assert told["Order-66.a_b"]["route"] == "/livez"
    line = told[made.headers["x-request-id"]]
    assert (line["method"], line["route"], line["status"]) == (
        "GET",
        "/v1/users/{user_id}/recommendations",
        200,
    )
    assert 0 < line["duration_ms"] < 20_000
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_odd_request_ids_are_replaced(tmp_path, log):
    with served(app_of(tmp_path)) as client:
        for odd in ("", "a b", "x" * 65, "-a", "<b>", 'a"}', "{}", "é"):
            reply = client.get("/livez", headers={"x-request-id": odd.encode("latin-1")})
            assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"]), odd


def test_no_secret_and_nobodys_data(tmp_path, log):
    app = app_of(tmp_path)
    ring = KeyRing(tmp_path)
    admin, key = ring.create("admin")
    private = ["private-user", "private-item", "private-query", "private-session", "private-agent"]
    with served(app) as client:
        headers = {"authorization": f"Bearer {admin}", "user-agent": "private-agent"}
        event = {"user_id": "private-user", "item_id": "private-item", "session_id": "private-session"}
        for _ in range(2):
            client.post("/v1/events", json=event | {"query": "private-query"}, headers=headers)
        client.post("/v1/events", json=event | {"private-query": 1}, headers=headers)
        client.get("/v1/users/private-user/recommendations", headers=headers)
        client.get("/v1/items?q=private-query", headers=headers)
        client.get("/v1/items/private-item-that-is-not", headers=headers)
        client.get("/private-user", headers=headers)
        client.get(f"/v1/items?key={admin}", headers={"x-api-key": admin + "x"})
        client.post("/login", data={"key": admin + "x"})
        client.post("/login", data={"key": admin})
        client.get("/v1/items", headers={"cookie": f"{SESSION}=private-session"})
        failed = client.get("/v1/broken/private-user", headers=headers)
    assert failed.status_code == 500
    assert failed.headers["content-type"] == "application/problem+json"
    assert "private" not in failed.text
    text = log.getvalue()
    assert admin.split("_", 3)[3] not in text
    for word in (*private, "private", "127.0.0.1"):
        assert word not in text
    told = lines(log)
    assert len([line for line in told if line["event"] == "request"]) >= 12
    assert {line.get("key") for line in told} >= {key.id, None}
    error = next(line for line in told if line["event"] == "unexpected error")
    assert error["request_id"] == failed.headers["x-request-id"] == failed.json()["instance"]
    assert [part["kind"] for part in error["error"]] == [
        "builtins.KeyError",
        "sqlalchemy.exc.OperationalError",
    ]
    assert any("test_logs.py" in place and place.endswith(" broken") for place in error["error"][0]["at"])


def test_secrets_are_cut_wherever_they_stand(log):
    secret = "A" * 43
    structlog.get_logger("x").warning(
        "odd", note=f"got dp_admin_abcdefgh_{secret}", more=[{"deep": f"dp_read_ab_{secret}"}]
    )
    logging.getLogger("some.library").warning(
        "dp_events_abcdefgh_%s at postgresql://me:%s@host/db", secret, secret
    )
    text = log.getvalue()
    assert secret not in text
    assert "dp_admin_abcdefgh_..." in text
    assert "postgresql://...@host/db" in text
    assert all(line["level"] == "warning" for line in lines(log))


def test_a_library_cannot_tell_an_exceptions_words(log):
    try:
        raise ValueError("private words")
    except ValueError:
        logging.getLogger("some.library").exception("it failed")
    assert "private" not in log.getvalue()
    assert lines(log)[0]["error"][0]["kind"] == "builtins.ValueError"
