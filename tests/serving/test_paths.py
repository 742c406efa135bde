# SPDX-License-Identifier: Apache-2.0
"""Ids of any kind in paths, percent-encoded by a plain client that makes nothing of them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shop import open_shop, served

from desirepath.serving.app import make_app
from desirepath.serving.paths import HELD, as_sent

IDS = [
    *(
        "a/b",
        "a/b/similar",
        "a/similar",
        "a",
        "/",
        "//",
        "a/",
        "..",
        ".",
        "../..",
        "a/../b",
        "%",
        "%2F",
        "a%2Fb",
    ),
    *("日本", "日/本", " ", "+", "?", "a?b=c&d", "#", "\\", ";x=y", "predict", "a/people", "é" * 300, "😀"),
]


class Client:
    """Requests with paths as they are given."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        told = {} if body is None else {"Content-Type": "application/json"}
        self.connection.request(method, path, None if body is None else json.dumps(body), told)
        answer = self.connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    project = open_shop(tmp_path_factory.mktemp("shop"))
    with served(make_app({"default": project})) as client:
        one = Client(client.base_url.port or 0)
        yield one
        one.connection.close()


def as_segment(name: str) -> str:
    """An id as one segment of a path; dots too, which clients otherwise take for a way up."""
    return quote(name, safe="").replace(".", "%2E")


def test_items_of_any_id_are_put_got_changed_compared_and_deleted(ask: Client) -> None:
    rows = [{"item_id": name, "attributes": {"title": f"title of {name}"}} for name in IDS]
    assert ask("PUT", "/v1/items", rows)[1]["created"] == len(IDS)
    for name in IDS:
        place = f"/v1/items/{as_segment(name)}"
        assert ask("GET", place) == (
            200,
            {"item_id": name, "attributes": {"title": f"title of {name}"}, "is_hidden": False},
        )
        status, changed = ask("PATCH", place, {"attributes": {"price": len(name)}})
        assert (status, changed["item_id"], changed["attributes"]["price"]) == (200, name, len(name))
        assert ask("GET", f"{place}/similar")[0] == 200
    for name in IDS:
        assert ask("DELETE", f"/v1/items/{as_segment(name)}")[0] == 204
        assert ask("GET", f"/v1/items/{as_segment(name)}")[1] == {
            "item_id": name,
            "attributes": {},
            "is_hidden": True,
        }


def test_users_of_any_id_are_known_predicted_painted_and_erased(ask: Client) -> None:
    ask("POST", "/v1/events", [{"user_id": name, "item_id": str(k % 12)} for k, name in enumerate(IDS)])
    ask("PUT", "/v1/users", [{"user_id": name, "attributes": {"number": k}} for k, name in enumerate(IDS)])
    for number, name in enumerate(IDS):
        place = f"/v1/users/{as_segment(name)}"
        assert ask("GET", place) == (200, {"user_id": name, "attributes": {"number": number}, "n_events": 1})
        assert ask("PATCH", place, {"attributes": {"more": 1}})[1]["user_id"] == name
        assert ask("GET", f"{place}/predict?k=1")[1]["n_events"] == 1
        assert ask("GET", f"{place}/people?k=2")[0] == 200
        status, listed = ask("GET", f"{place}/recommendations?k=1")
        # The ring's next item: nobody else's list would be made of this one event.
        assert (status, listed["n_events"], listed["items"][0]["item_id"]) == (200, 1, str((number + 1) % 12))
    for name in IDS[:4]:
        place = f"/v1/users/{as_segment(name)}"
        assert ask("GET", f"{place}/profile")[1]["user_id"] == name
        assert ask("GET", f"{place}/similar?k=2")[0] == 200
    for name in IDS:  # each erasure leaves those whose ids begin alike
        assert ask("DELETE", f"/v1/users/{as_segment(name)}") == (200, {"events": 1, "lists": 1})
        assert ask("GET", f"/v1/users/{as_segment(name)}")[0] == 404


def test_what_is_no_id_is_none_encoded_either(ask: Client) -> None:
    for name in ("\x1f", "\x00", "a\x1fb", "\n", "x" * 513):
        status, problem = ask("GET", f"/v1/items/{quote(name, safe='')}")
        assert (status, problem["errors"][0]["field"]) == (422, "path.item_id")
    assert ask("GET", "/v1/items/nobody%2Fknows")[0] == 404
    assert ask("GET", "/v1%2Fitems")[0] == 404


@settings(max_examples=200)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_segments_stay_what_they_are(names: list[str]) -> None:
    raw = "/" + "/".join(quote(name, safe="", errors="replace") for name in names)
    segments = as_sent(raw.encode()).split("/")[1:]
    plain = [name.encode("utf-8", "replace").decode() for name in names]
    assert [one.replace(HELD, "/") for one in segments] == [name.replace(HELD, "\x00") for name in plain]
