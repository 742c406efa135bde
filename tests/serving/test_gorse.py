# SPDX-License-Identifier: Apache-2.0
"""Gorse's clients against a server of ours: every route, as Python, Go and JavaScript ask for it.

`covers` says which routes a test is about; the fixture sees to it that the test truly asked for them.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import gorse
import pytest
from gorse_shop import LENGTH, N_ITEMS, N_USERS, open_project, open_workspace
from shop import served

from desirepath.flows.settings import load_settings
from desirepath.serving.app import make_app
from desirepath.serving.keys import KeyRing

ROUTES = """
GET /health/live
GET /health/ready
POST /user
POST /users
GET /users
GET /user/{u}
PATCH /user/{u}
DELETE /user/{u}
POST /item
POST /items
GET /items
GET /item/{i}
PATCH /item/{i}
DELETE /item/{i}
PUT /item/{i}/category/{c}
DELETE /item/{i}/category/{c}
POST /feedback
PUT /feedback
GET /feedback
GET /feedback/{t}
GET /feedback/{u}/{i}
DELETE /feedback/{u}/{i}
GET /feedback/{t}/{u}/{i}
DELETE /feedback/{t}/{u}/{i}
GET /user/{u}/feedback
GET /user/{u}/feedback/{t}
GET /item/{i}/feedback
GET /item/{i}/feedback/{t}
GET /recommend/{u}
GET /recommend/{u}/{c}
POST /session/recommend
POST /session/recommend/{c}
GET /collaborative-filtering/{u}
GET /intermediate/recommend/{u}
GET /latest
GET /latest/{c}
GET /non-personalized/{name}
GET /item-to-item/{name}/{i}
GET /user-to-user/{name}/{u}
GET /item/{i}/neighbors
GET /item/{i}/neighbors/{c}
GET /user/{u}/neighbors
""".strip().splitlines()
"""The routes of Gorse's server; deprecated ones and the probes included."""
OLDER = ["GET /popular", "GET /popular/{c}", "GET /intermediate/recommend/{u}/{c}"]
"""Routes that newer servers have dropped and clients still ask for."""
COVERED: dict[str, list[str]] = {}


def covers(*routes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Say which routes a test asks for."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        unknown = set(routes) - {*ROUTES, *OLDER}
        assert not unknown, unknown
        for route in routes:
            COVERED.setdefault(route, []).append(test.__name__)
        test.routes = (*getattr(test, "routes", ()), *routes)
        return test

    return mark


def pattern(route: str) -> re.Pattern[str]:
    method, _, path = route.partition(" ")
    return re.compile(f"{method} /api{re.sub('{[^}]*}', '[^/]+', path)}/*")


class Recorder:
    """ASGI middleware that remembers what was asked, and what came of it."""

    def __init__(self, app):
        self.app, self.met = app, []

    async def __call__(self, scope, receive, send):
        async def noted(message):
            if message["type"] == "http.response.start":
                self.met.append((f"{scope['method']} {scope['path']}", message["status"]))
            await send(message)

        await self.app(scope, receive, noted if scope["type"] == "http" else send)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return open_workspace(tmp_path_factory.mktemp("gorse"))


@pytest.fixture(scope="module")
def server(place):
    project = open_project(place)
    recorder = Recorder(make_app({"default": project}))
    with served(recorder) as client:
        yield client, recorder, project


@pytest.fixture
def web(server, request):
    """A client; after the test, every route that it claims must have been answered."""
    client, recorder, _ = server
    recorder.met.clear()
    yield client
    for route in getattr(request.function, "routes", ()):
        asked = [status for line, status in recorder.met if pattern(route).fullmatch(line)]
        assert any(status == 200 for status in asked), f"{route} was not asked for"
    assert all(status < 500 for _, status in recorder.met)


@pytest.fixture
def client(web):
    return gorse.Gorse(str(web.base_url).rstrip("/"), "any key", timeout=20)


def test_every_route_is_covered_and_served(server):
    missing = [route for route in [*ROUTES, *OLDER] if route not in COVERED]
    assert not missing
    assert len(ROUTES) == len(set(ROUTES)) == 42


def feedback(kind: str, user: str, item: str, moment: str = "2024-05-01T00:00:00Z", **more) -> dict:
    return {"FeedbackType": kind, "UserId": user, "ItemId": item, "Timestamp": moment, **more}


# PyGorse, every method


@covers("POST /user", "POST /users", "GET /user/{u}", "GET /users", "DELETE /user/{u}")
def test_python_users(client):
    assert client.insert_user({"UserId": "py1", "Labels": {"a": 1}, "Comment": "c"}) == {"RowAffected": 1}
    assert client.insert_users([{"UserId": "py2", "Labels": ["x"]}, {"UserId": "py3"}]) == {"RowAffected": 2}
    assert client.get_user("py1") == {"UserId": "py1", "Labels": {"a": 1}, "Comment": "c"}
    assert client.get_user("py2")["Labels"] == ["x"]
    assert client.get_user("u3") == {"UserId": "u3", "Labels": {"age": 23}, "Comment": ""}
    assert client.delete_user("py1") == {"RowAffected": 1}
    with pytest.raises(gorse.GorseException) as error:
        client.get_user("py1")
    assert error.value.status_code == 404
    assert error.value.message == "py1: user not found"
    users, cursor = client.get_users(5)
    assert [user["UserId"] for user in users] == ["py2", "py3", "u0", "u1", "u10"]
    assert cursor


@covers("POST /item", "GET /item/{i}", "GET /items", "PATCH /item/{i}", "DELETE /item/{i}")
def test_python_items(client):
    item = {
        "ItemId": "py-item",
        "IsHidden": True,
        "Categories": ["new", "even"],
        "Timestamp": "2024-05-20T10:00:00.5Z",
        "Labels": {"size": 3, "deep": {"brand": "b"}, "v": [0.5, 1.5]},
        "Comment": "A thing from Python",
    }
    assert client.insert_item(item) == {"RowAffected": 1}
    assert client.get_item("py-item") == item
    assert client.update_item("py-item", is_hidden=False, labels=["x"]) == {"RowAffected": 1}
    assert client.get_item("py-item") == item | {"IsHidden": False, "Labels": ["x"]}
    assert client.update_item("py-item", categories=["odd"], comment="B", timestamp="2024-05-21")
    changed = client.get_item("py-item")
    assert (changed["Categories"], changed["Comment"]) == (["odd"], "B")
    assert changed["Timestamp"] == "2024-05-21T00:00:00Z"
    assert [found["ItemId"] for found in client.search_items("B")] == ["py-item"]
    everything, cursor = client.get_items(100)
    assert cursor == ""
    assert {f"i{n}" for n in range(N_ITEMS)} < {found["ItemId"] for found in everything}
    first, cursor = client.get_items(5)
    second, _ = client.get_items(100, cursor)
    assert first + second == everything
    assert client.delete_item("py-item") == {"RowAffected": 1}
    with pytest.raises(gorse.GorseException) as error:
        client.get_item("py-item")
    assert (error.value.status_code, error.value.message) == (404, "py-item: item not found")
    assert "py-item" not in {found["ItemId"] for found in client.get_items(100)[0]}


@covers("POST /feedback", "GET /feedback", "DELETE /feedback/{u}/{i}", "GET /user/{u}/feedback/{t}")
def test_python_feedback(client):
    assert client.insert_feedback("star", "anna", "i1", "2024-05-03T00:00:00Z", 2.0) == {"RowAffected": 1}
    more = [feedback("star", "anna", "i2"), feedback("read", "anna", "i1")]
    assert client.insert_feedbacks(more) == {"RowAffected": 2}
    assert [one["ItemId"] for one in client.list_feedbacks("star", "anna")] == ["i2", "i1"]
    assert client.list_feedbacks("star", "anna")[1]["Value"] == 2.0
    assert client.delete_feedback("anna", "i1") == {"RowAffected": 2}
    assert [one["ItemId"] for one in client.list_feedbacks("star", "anna")] == ["i2"]
    rows, cursor = client.get_feedbacks(10_000)
    assert cursor == ""
    paged, cursor = client.get_feedbacks(7)
    while cursor:
        part, cursor = client.get_feedbacks(7, cursor)
        paged += part
    assert paged == rows
    stars = -(-LENGTH // 3)
    assert sum(one["UserId"].startswith("u") for one in rows) == N_USERS * (LENGTH + stars)


@covers("GET /recommend/{u}", "POST /session/recommend", "GET /item/{i}/neighbors")
def test_python_lists_know_the_last_click(client):
    client.insert_feedback("read", "walker", "i3", "2024-05-01T00:00:00Z")
    first = client.get_recommend("walker", n=3)
    assert first[0].id == "i4"
    assert first[0].score >= first[1].score
    client.insert_feedback("read", "walker", "i7", "2024-05-02T00:00:00Z")
    assert client.get_recommend("walker", n=3)[0].id == "i8"
    assert {"i3", "i7"}.isdisjoint(one.id for one in client.get_recommend("walker", n=50))
    assert [one.id for one in client.get_recommend("walker", n=2, offset=1)] == [
        one.id for one in client.get_recommend("walker", n=3)
    ][1:]
    assert all(
        one.id in ("i0", "i2", "i4", "i6", "i8", "i10") for one in client.get_recommend("walker", "even")
    )
    session = [feedback("read", "x", "i9", "2024-05-02"), feedback("read", "x", "i2", "2024-05-01")]
    assert client.session_recommend(session, n=2)[0]["Id"] == "i10"
    assert {one["Id"] for one in client.get_neighbors("i5", n=2)} == {"i4", "i6"}
    assert client.get_neighbors("nothing") == []


def test_no_method_of_the_python_client_is_left_out():
    called = inspect.getsource(inspect.getmodule(test_python_users))
    for kind in (gorse.Gorse, gorse.AsyncGorse):
        methods = [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"]
        assert len(methods) > 15
        assert not [name for name in methods if f".{name}(" not in called]


def test_the_asynchronous_python_client(web):
    client = gorse.AsyncGorse(str(web.base_url).rstrip("/"), "any key")

    async def work() -> None:
        assert await client.insert_user({"UserId": "as1"}) == {"RowAffected": 1}
        assert await client.insert_users([{"UserId": "as2"}]) == {"RowAffected": 1}
        assert (await client.get_user("as1"))["UserId"] == "as1"
        assert len((await client.get_users(3))[0]) == 3
        assert await client.insert_item({"ItemId": "as-item"}) == {"RowAffected": 1}
        assert await client.update_item("as-item", comment="x") == {"RowAffected": 1}
        assert (await client.get_item("as-item"))["Timestamp"] == "0001-01-01T00:00:00Z"
        assert len((await client.get_items(3))[0]) == 3
        assert (await client.search_items("as-item"))[0]["Comment"] == "x"
        assert await client.insert_feedback("read", "as1", "i1", "2024-05-01") == {"RowAffected": 1}
        assert await client.insert_feedbacks([feedback("read", "as1", "i2", "2024-05-02")])
        assert len(await client.list_feedbacks("read", "as1")) == 2
        assert len((await client.get_feedbacks(3))[0]) == 3
        assert (await client.get_recommend("as1", n=1))[0].id == "i3"
        assert (await client.session_recommend([feedback("read", "s", "i5")], n=1))[0]["Id"] == "i6"
        assert len(await client.get_neighbors("i5", n=2)) == 2
        assert await client.delete_feedback("as1", "i1") == {"RowAffected": 1}
        assert await client.delete_item("as-item") == {"RowAffected": 1}
        assert await client.delete_user("as2") == {"RowAffected": 1}

    asyncio.run(work())


# gorse-go: a body "null" even with GET, strings for lists, slashes without a category behind


def go(web, method: str, path: str, body: object = None):
    headers = {"X-API-Key": "any key", "Content-Type": "application/json", "User-Agent": "Go-http-client/1.1"}
    reply = web.request(method, path, content=json.dumps(body), headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


@covers("GET /recommend/{u}", "GET /recommend/{u}/{c}", "GET /popular", "GET /popular/{c}")
@covers("GET /item/{i}/neighbors", "GET /item/{i}/neighbors/{c}", "GET /user/{u}/neighbors")
def test_go_lists(web):
    assert go(web, "POST", "/api/feedback", [feedback("read", "gopher", "i5")]) == {"RowAffected": 1}
    assert go(web, "GET", "/api/recommend/gopher/?n=3&offset=0")[0] == "i6"
    assert go(web, "GET", "/api/recommend/gopher/odd?n=10&offset=0")[0] == "i7"
    assert go(web, "GET", "/api/recommend/gopher?n=2&category=even&category=rare") == ["i4"]
    assert go(web, "GET", "/api/recommend/gopher/nothing?n=2") == []
    most = go(web, "GET", "/api/popular/?n=3&offset=0&user-id=gopher")
    assert [set(one) for one in most] == [{"Id", "Score"}] * 3
    assert "i5" not in [one["Id"] for one in most]
    assert all(int(one["Id"][1:]) % 2 for one in go(web, "GET", "/api/popular/odd?n=5&offset=0"))
    assert {one["Id"] for one in go(web, "GET", "/api/item/i5/neighbors?n=2")} == {"i4", "i6"}
    alike = go(web, "GET", "/api/item/i5/neighbors/odd?n=2&offset=0")
    assert {one["Id"] for one in alike} == {"i3", "i7"}
    assert go(web, "GET", "/api/item/i5/neighbors/?n=1&offset=1")[0]["Id"] in ("i4", "i6")
    others = go(web, "GET", "/api/user/u1/neighbors?n=2&offset=0")
    assert {one["Id"] for one in others} == {f"u{1 + N_ITEMS}", f"u{1 + 2 * N_ITEMS}"}


@covers("POST /user", "PATCH /user/{u}", "GET /user/{u}", "GET /users", "DELETE /user/{u}")
@covers("POST /items", "PATCH /item/{i}", "DELETE /item/{i}", "GET /items")
def test_go_users_and_items(web):
    assert go(web, "POST", "/api/user", {"UserId": "go1", "Labels": {"a": "b"}, "Comment": ""})
    assert go(web, "PATCH", "/api/user/go1", {"Labels": None, "Comment": "new"}) == {"RowAffected": 1}
    assert go(web, "GET", "/api/user/go1") == {"UserId": "go1", "Labels": {"a": "b"}, "Comment": "new"}
    assert go(web, "PATCH", "/api/user/u5", {"Labels": {"age": 9}, "Comment": None})
    assert go(web, "GET", "/api/user/u5")["Labels"] == {"age": 9}
    seen, cursor = [], ""
    while True:
        page = go(web, "GET", f"/api/users?n=7&cursor={cursor}")
        seen += [user["UserId"] for user in page["Users"]]
        cursor = page["Cursor"]
        if not cursor:
            break
    assert seen == sorted(set(seen))
    assert {f"u{n}" for n in range(N_USERS)} | {"go1"} <= set(seen)
    items = [
        {"ItemId": f"go-{n}", "IsHidden": False, "Categories": None, "Timestamp": "0001-01-01T00:00:00Z"}
        for n in range(3)
    ]
    assert go(web, "POST", "/api/items", items) == {"RowAffected": 3}
    assert go(web, "PATCH", "/api/item/go-1", {"IsHidden": True, "Categories": None, "Timestamp": None})
    assert go(web, "GET", "/api/item/go-1")["IsHidden"] is True
    for n in range(3):
        assert go(web, "DELETE", f"/api/item/go-{n}") == {"RowAffected": 1}
    assert go(web, "DELETE", "/api/user/go1") == {"RowAffected": 1}
    assert not [i for i in go(web, "GET", "/api/items?n=100&cursor=")["Items"] if i["ItemId"][:3] == "go-"]


# gorsejs (axios): lower-case headers, no trailing slashes, everything about categories and keys of feedback

JS = {"x-api-key": "any key", "accept": "application/json, text/plain, */*", "user-agent": "axios/1.6"}


@covers("PUT /item/{i}/category/{c}", "DELETE /item/{i}/category/{c}", "GET /item/{i}", "GET /latest/{c}")
def test_js_categories(web):
    before = web.get("/api/item/i7", headers=JS).json()
    assert web.put("/api/item/i7/category/sale", headers=JS).json() == {"RowAffected": 1}
    assert web.put("/api/item/i7/category/sale", headers=JS).json() == {"RowAffected": 1}
    assert web.get("/api/item/i7", headers=JS).json()["Categories"] == ["odd", "sale"]
    assert [one["Id"] for one in web.get("/api/latest/sale", headers=JS).json()] == ["i7"]
    assert web.get("/api/recommend/u0/sale", headers=JS).json() == []  # read already
    assert web.get("/api/recommend/nobody/sale", headers=JS).json() == ["i7"]
    assert web.delete("/api/item/i7/category/sale", headers=JS).json() == {"RowAffected": 1}
    assert web.get("/api/item/i7", headers=JS).json() == before
    assert web.get("/api/item/i4", headers=JS).json()["Categories"] == ["even", "rare"]


@covers(
    "PUT /feedback",
    "POST /feedback",
    "GET /feedback/{t}",
    "GET /feedback/{u}/{i}",
    "GET /feedback/{t}/{u}/{i}",
)
@covers("DELETE /feedback/{t}/{u}/{i}", "DELETE /feedback/{u}/{i}", "GET /user/{u}/feedback")
@covers("GET /item/{i}/feedback", "GET /item/{i}/feedback/{t}", "GET /user/{u}/feedback/{t}")
def test_js_feedback(web):
    one = feedback("like", "js", "i1", "2024-05-05T00:00:00Z", Value=2, Comment="first", Labels={"a": [1]})
    assert web.post("/api/feedback", json=[one], headers=JS).json() == {"RowAffected": 1}
    again = feedback("like", "js", "i1", "2024-05-04T00:00:00+00:00", Value=3, Comment="second")
    web.post("/api/feedback", json=[again], headers=JS)
    added = web.get("/api/feedback/like/js/i1", headers=JS).json()
    assert added == one | {
        "Value": 5.0,
        "Timestamp": "2024-05-04T00:00:00Z",
        "Updated": "2024-05-05T00:00:00Z",
        "Comment": "second",
        "Labels": None,
    }
    web.put("/api/feedback", json=[one], headers=JS)
    web.put("/api/feedback", json=[one], headers=JS)
    assert web.get("/api/feedback/like/js/i1", headers=JS).json() == one | {
        "Updated": "2024-05-05T00:00:00Z",
        "Value": 2.0,
    }
    web.post("/api/feedback", json=[feedback("share", "js", "i1"), feedback("like", "js", "i2")], headers=JS)
    assert len(web.get("/api/feedback/js/i1", headers=JS).json()) == 2
    assert len(web.get("/api/user/js/feedback", headers=JS).json()) == 3
    assert len(web.get("/api/user/js/feedback/like", headers=JS).json()) == 2
    assert {row["UserId"] for row in web.get("/api/item/i1/feedback/like", headers=JS).json()} == {"js"}
    assert "js" in {row["UserId"] for row in web.get("/api/item/i1/feedback", headers=JS).json()}
    page = web.get("/api/feedback/like", params={"n": 1, "cursor": ""}, headers=JS).json()
    assert len(page["Feedback"]) == 1
    rest = web.get("/api/feedback/like", params={"cursor": page["Cursor"]}, headers=JS).json()
    assert rest["Cursor"] == ""
    assert [row["ItemId"] for row in page["Feedback"] + rest["Feedback"]] == ["i1", "i2"]
    assert web.delete("/api/feedback/like/js/i1", headers=JS).json() == {"RowAffected": 1}
    assert web.get("/api/feedback/like/js/i1", headers=JS).json() == {}
    assert web.delete("/api/feedback/js/i1", headers=JS).json() == {"RowAffected": 1}
    web.post("/api/feedback", json=[one], headers=JS)
    assert web.get("/api/feedback/like/js/i1", headers=JS).json()["Value"] == 2.0


@covers("GET /latest", "GET /non-personalized/{name}", "GET /item-to-item/{name}/{i}")
@covers("GET /user-to-user/{name}/{u}", "GET /collaborative-filtering/{u}", "GET /intermediate/recommend/{u}")
@covers("GET /intermediate/recommend/{u}/{c}", "POST /session/recommend/{c}", "POST /session/recommend")
def test_lists_with_scores(web, place):
    web.post("/api/feedback", json=[feedback("read", "lister", "i1")])
    newest = web.get("/api/latest?n=3").json()
    assert [one["Id"] for one in newest] == [f"i{n}" for n in (11, 10, 9)]
    assert newest[0]["Score"] == 1715472000.0
    assert web.get("/api/latest?n=1&offset=1").json() == newest[1:2]
    most = web.get("/api/non-personalized/popular?n=4&category=even").json()
    assert all(int(one["Id"][1:]) % 2 == 0 for one in most)
    assert most[0]["Score"] >= most[-1]["Score"] > 0
    assert web.get("/api/non-personalized/trending").status_code == 200
    assert web.get("/api/non-personalized/latest?n=3").json() == newest
    assert {one["Id"] for one in web.get("/api/item-to-item/neighbors/i5?n=2").json()} == {"i4", "i6"}
    assert len(web.get("/api/user-to-user/neighbors/u1?n=2").json()) == 2
    for path in ("collaborative-filtering/lister", "intermediate/recommend/lister"):
        assert web.get(f"/api/{path}?n=1").json()[0]["Id"] == "i2"
    odd = web.get("/api/intermediate/recommend/lister/odd?n=3").json()
    assert len(odd) == 3
    assert all(int(one["Id"][1:]) % 2 for one in odd)
    body = [feedback("read", "", "i9"), {"ItemId": "i10"}]
    assert web.post("/api/session/recommend/odd?n=1", json=body).json()[0]["Id"] == "i11"
    assert web.post("/api/session/recommend", content=b"null").status_code == 200
    for path in ("non-personalized/x", "item-to-item/x/i1", "user-to-user/x/u1"):
        reply = web.get(f"/api/{path}")
        assert reply.status_code == 404
        assert "recommender x not found" in reply.text


# What the routes promise beyond their shapes


@covers("GET /recommend/{u}")
def test_version_two_has_scores(web):
    plain = web.get("/api/recommend/u1", headers={"X-API-Version": "1"}).json()
    scored = web.get("/api/recommend/u1", headers={"x-api-version": "2"}).json()
    assert [one["Id"] for one in scored] == plain
    assert all(isinstance(one["Score"], float) for one in scored)
    assert len(plain) == N_ITEMS - LENGTH


@covers("GET /recommend/{u}", "GET /feedback/{u}/{i}")
def test_what_was_written_back_is_not_shown_again_and_is_no_deed(web, server):
    web.post("/api/feedback", json=[feedback("read", "reader", "i3")])
    first = web.get("/api/recommend/reader?n=2&write-back-type=seen").json()
    assert first[0] == "i4"
    second = web.get("/api/recommend/reader?n=2&write-back-type=seen").json()
    assert set(first).isdisjoint(second)
    assert web.get("/api/feedback/reader/i4").json()[0]["FeedbackType"] == "seen"
    web.delete("/api/feedback/reader/i4")
    assert web.get("/api/recommend/reader?n=1").json() == ["i4"]  # still what follows i3
    history = server[2].states.histories(["reader"])
    assert len(history.item_ix) == 1
    later = web.get("/api/recommend/reader?n=1&write-back-type=seen&write-back-delay=1h").json()
    assert web.get("/api/recommend/reader?n=1").json() == later
    assert web.get("/api/feedback/reader/i4").json()[0]["Timestamp"] > time.strftime("%Y-%m-%dT%H:%M:%S")


def test_the_log_keeps_repeats_that_the_view_adds_up(web, server):
    for _ in range(3):
        web.post("/api/feedback", json=[feedback("read", "again", "i1", Value=1)])
    same = [feedback("read", "again", "i2", Value=1), feedback("read", "again", "i2", Value=9)]
    assert web.post("/api/feedback", json=same).json() == {"RowAffected": 2}
    values = {row["ItemId"]: row["Value"] for row in web.get("/api/user/again/feedback").json()}
    assert values == {"i1": 3.0, "i2": 1.0}  # of one key in one request, Gorse keeps the first
    assert len(server[2].states.histories(["again"]).item_ix) == 5


def test_a_retried_request_counts_once_with_a_key_of_its_own(web):
    for _ in range(2):
        sent = [feedback("read", "retry", "i1", Value=1)]
        web.post("/api/feedback", json=sent, headers={"Idempotency-Key": "k1"})
    assert web.get("/api/feedback/read/retry/i1").json()["Value"] == 1.0


def test_events_of_the_other_interface_are_seen_and_users_are_known(web):
    event = {"user_id": "both", "item_id": "i1", "action": "view", "value": 2.0}
    assert web.post("/v1/events", json=event).status_code == 200
    assert web.get("/api/feedback/view/both/i1").json()["Value"] == 2.0
    web.post("/api/feedback", json=[feedback("read", "fresh", "brand-new")])
    assert web.get("/api/user/fresh").json() == {"UserId": "fresh", "Labels": None, "Comment": ""}
    assert web.get("/api/item/brand-new").json()["ItemId"] == "brand-new"
    web.delete("/api/user/fresh")
    assert web.get("/api/user/fresh/feedback").json() == []
    web.post("/api/feedback", json=[feedback("read", "fresh", "i1")])
    assert web.get("/api/user/fresh").status_code == 200


def test_who_is_erased_elsewhere_is_gone_here(web):
    web.post("/api/feedback", json=[feedback("read", "leaver", "i1")])
    assert len(web.get("/api/user/leaver/feedback").json()) == 1
    assert web.delete("/v1/users/leaver").status_code == 200
    assert web.get("/api/user/leaver/feedback").json() == []
    assert web.get("/api/user/leaver").status_code == 404


def test_many_at_once_lose_nothing_and_count_nothing_twice(web):
    def work(n: int) -> None:
        for _ in range(5):
            sent = [feedback("hit", f"crowd{n % 2}", f"i{n}", Value=1)]
            assert web.post("/api/feedback", json=sent).status_code == 200
            assert web.get(f"/api/user/crowd{n % 2}/feedback").status_code == 200

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    rows = web.get("/api/feedback/hit?n=100").json()["Feedback"]
    assert [row["Value"] for row in rows] == [5.0] * 6


@covers("GET /health/live", "GET /health/ready")
def test_probes_and_requests_have_ids(web):
    for path in ("live", "ready", "live/"):
        reply = web.get(f"/api/health/{path}")
        assert reply.json()["Ready"] is True
        assert reply.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/users?n=ten", None, 400),
        ("GET", "/api/recommend/u1?offset=x", None, 400),
        ("GET", "/api/recommend/u1?write-back-type=r&write-back-delay=soon", None, 400),
        ("GET", "/api/feedback?cursor=%00", None, 400),
        ("GET", "/api/items?cursor=abc", None, 400),
        ("GET", "/api/item/none", None, 404),
        ("PATCH", "/api/user/none", "{}", 404),
        ("PATCH", "/api/item/none", "{}", 404),
        ("PUT", "/api/item/none/category/x", None, 404),
        ("GET", "/api/nothing", None, 404),
        ("POST", "/api/user", "{", 400),
        ("POST", "/api/user", "[]", 400),
        ("POST", "/api/user", '{"UserId": 5}', 400),
        ("POST", "/api/user", '{"UserId": ""}', 400),
        ("POST", "/api/user", '{"UserId": "a/b"}', 400),
        ("POST", "/api/user", '{"UserId": "a\\u0000"}', 400),
        ("POST", "/api/users", '{"UserId": "a"}', 400),
        ("POST", "/api/item", '{"ItemId": "a", "Timestamp": "soon"}', 400),
        ("POST", "/api/item", '{"ItemId": "a", "Categories": "x"}', 400),
        ("POST", "/api/feedback", '[{"FeedbackType": "x", "UserId": "u"}]', 400),
        ("POST", "/api/feedback", '[{"FeedbackType":"x","UserId":"u","ItemId":"i","Value":"1"}]', 400),
        ("POST", "/api/feedback", '[{"FeedbackType":"x","UserId":"u","ItemId":"i","Value":1e300}]', 400),
        (
            "POST",
            "/api/feedback",
            '[{"FeedbackType":"x","UserId":"u","ItemId":"i","Timestamp":"99999"}]',
            200,
        ),
        ("POST", "/api/feedback", "null", 200),
        ("POST", "/api/feedback", '[{"feedbacktype":"x","USERID":"u","itemId":"i"}]', 200),
        ("POST", "/api/session/recommend", '[{"UserId": "u"}]', 400),
        ("DELETE", "/api/feedback/none/none", None, 200),
        ("GET", "/api/recommend/u1?n=0", None, 200),
        ("GET", "/api/recommend/u1?n=99999999", None, 200),
        ("GET", "/api/item/none/feedback", None, 200),
        ("GET", "/api/user/none/neighbors", None, 200),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(web, method, path, body, status):
    reply = web.request(method, path, content=body)
    assert reply.status_code == status, reply.text
    if status != 200:
        assert reply.headers["content-type"].startswith("text/plain")
        assert reply.text
        assert not reply.text.startswith("{")


def test_a_key_opens_the_door(tmp_path, place):
    folder = open_workspace(tmp_path)
    token, _ = KeyRing(folder).create("admin")
    with served(make_app({"default": open_project(folder)})) as web:
        for headers in ({}, {"X-API-Key": "wrong"}):
            reply = web.get("/api/user/u1", headers=headers)
            assert reply.status_code == 401
            assert reply.headers["content-type"].startswith("text/plain")
            assert token not in reply.text
        assert web.get("/api/health/ready").status_code == 200
        assert web.get("/api/user/u1", headers={"x-api-key": token}).status_code == 200
        client = gorse.Gorse(str(web.base_url).rstrip("/"), token)
        assert client.insert_user({"UserId": "x"}) == {"RowAffected": 1}


def test_names_of_recommenders_come_from_the_toml_and_all_is_there_after_a_restart(tmp_path):
    folder = open_workspace(tmp_path)
    (folder / "desirepath.toml").write_text(
        '[gorse]\nnon_personalized = {most_starred_weekly = "trending"}\nitem_to_item = ["embeddings"]\n'
        "default_n = 3\n[scenario.home]\nk = 5\n"
    )
    assert load_settings(folder).recommend.k == 10  # training reads past what serving is told
    with served(make_app({"default": open_project(folder)})) as web:
        assert len(web.get("/api/non-personalized/most_starred_weekly").json()) == 3
        assert web.get("/api/item-to-item/embeddings/i5").status_code == 200
        web.post("/api/feedback", json=[feedback("read", "u1", "i1", "2024-05-20", Value=4)])
        before = web.get("/api/user/u1/feedback").json()
        assert {row["Value"] for row in before if (row["FeedbackType"], row["ItemId"]) == ("read", "i1")} == {
            5.0
        }
    with served(make_app({"default": open_project(folder)})) as web:
        assert web.get("/api/user/u1/feedback").json() == before
        assert web.get("/api/recommend/u1").json()[0] == "i9"
