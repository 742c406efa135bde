# SPDX-License-Identifier: Apache-2.0
"""Bad input gets a 4xx and a problem that names the field; the rest of a batch is kept."""

from __future__ import annotations

import gzip
import json
import re
import socket
import time

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shop import open_shop, served
from sqlalchemy import func, select

from desirepath.live.tables import events, items
from desirepath.serving.app import make_app
from desirepath.serving.body import MOST_DEPTH, loads
from desirepath.serving.connections import connection_class
from desirepath.serving.options import GuardConfig, LimitsConfig
from desirepath.serving.problems import ProblemError

EVENT = {"user_id": "anna", "item_id": "3", "action": "view"}
LIMITS = LimitsConfig(body_s=0.5, header_s=0.5, request_s=3.0, most_connections=30)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return open_shop(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def client(shop):
    app = make_app({"default": shop}, GuardConfig(limits=LIMITS))
    with served(app, http=connection_class(LIMITS)) as client:
        yield client


def count(shop, table=events) -> int:
    return shop.store.read(
        lambda connection: connection.execute(select(func.count()).select_from(table)).scalar()
    )


def is_problem(reply: httpx.Response, *statuses: int) -> dict:
    assert reply.status_code in statuses, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    problem = reply.json()
    assert problem["status"] == reply.status_code
    assert problem["title"]
    assert problem["detail"]
    return problem


BAD_JSON = {
    "nothing": b"",
    "cut": b'{"user_id": "a"',
    "comma": b'{"user_id": "a",}',
    "text": b"user_id=a",
    "nan": b'{"user_id": "a", "item_id": "3", "value": NaN}',
    "infinity": b'{"user_id": "a", "item_id": "3", "value": -Infinity}',
    "huge number": b'{"user_id": "a", "item_id": "3", "value": 1e999}',
    "lone surrogate": b'{"user_id": "\\ud800", "item_id": "3"}',
    "latin-1": '{"user_id": "é", "item_id": "3"}'.encode("latin-1"),
    "utf-16": '{"user_id": "a", "item_id": "3"}'.encode("utf-16"),
    "a bom": b"\xef\xbb\xbf" + b'{"user_id": "a", "item_id": "3"}',
    "two values": b'{"user_id": "a", "item_id": "3"}{"user_id": "a", "item_id": "3"}',
    "twice": b'{"user_id": "a", "item_id": "3", "user_id": "b"}',
    "twice, spaced": b'{"user_id" : "a", "item_id": "3", "user_id"\n: "b"}',
    "twice, escaped": b'{"user_id": "a", "item_id": "3", "user\\u005fid": "b"}',
    "deep": b'{"user_id": "a", "item_id": "3", "context": ' + b"[" * 200 + b"]" * 200 + b"}",
    "very deep": b"[" * 100_000,
    "deep and whole": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("path", ["/v1/events", "/v1/recommend", "/v1/feedback", "/v1/items"])
@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON)
def test_what_is_no_json_is_refused(client, shop, path, body):
    before = count(shop)
    method = "PUT" if path == "/v1/items" else "POST"
    reply = client.request(method, path, content=body, headers={"content-type": "application/json"})
    is_problem(reply, 400, 422)
    assert count(shop) == before


BAD_FIELDS = {
    "user_id": [None, 7, "", "x" * 513, "a\x00b", "a\nb", ["a"], {"a": 1}, True],
    "item_id": [None, 7, "", "x" * 513, "\x7f", [], False],
    "action": [7, "", "x" * 129, "\x1b[31m"],
    "time": [
        *("9999-12-31T23:59:59Z", "10000-01-01", "-9999-01-01T00:00:00Z", "yesterday", "", "NaN", "\x00"),
        *(-1, 1e300, 253402300799, 1_700_000_000_000, True, [], {}),
    ],
    "value": ["NaN", "Infinity", 1e16, -1e16, "much", [], 10**30],
    "position": [0, -1, 1.5, 10**9, "first"],
    "recommendation_id": ["x" * 65, 7, ""],
    "lat": [91, -91, "north"],
    "lon": [181, "east"],
    "context": ["text", [1], {"x" * 129: 1}, {str(n): n for n in range(101)}, {"": 1}],
    "event_id": ["", "x" * 513, "a\x00", 7],
    "usre_id": ["a misspelt name"],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(f, v) for f, vs in BAD_FIELDS.items() for v in vs],
    ids=lambda v: str(v)[:20].encode("unicode_escape").decode(),
)
def test_a_wrong_field_is_named_and_the_rest_is_kept(client, shop, field, value):
    bad = EVENT | {field: value}
    alone = is_problem(client.post("/v1/events", json=bad), 422)
    assert any(field in error["field"] for error in alone["errors"])
    before = count(shop)
    reply = client.post("/v1/events", json=[EVENT, bad, EVENT])
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert told["accepted"] == 2
    assert [row["index"] for row in told["rejected"]] == [1]
    assert all(field in error["field"] and error["reason"] for error in told["rejected"][0]["errors"])
    assert count(shop) == before + 2


@pytest.mark.parametrize(
    "wrong", [{"k": True}, {"k": "5"}, {"seed": False}, {"diversity": "0.5"}, {"explain": "yes"}]
)
def test_what_could_stand_for_a_number_is_none(client, wrong):
    problem = is_problem(client.post("/v1/recommend", json={"user_id": "u1", **wrong}), 422)
    assert problem["errors"][0]["field"].split(".")[-1] in wrong


def test_ten_megabytes_and_more(client, shop):
    before = count(shop)
    long = json.dumps(EVENT | {"context": {"a": "x" * 10_000_000}}).encode()
    reply = client.post("/v1/events", content=long, headers={"content-type": "application/json"})
    assert "8388608 bytes" in is_problem(reply, 413)["detail"]

    def billion():
        yield b'{"item_id": "3", "user_id": "'
        for _ in range(1000):
            yield b"x" * 1_000_000
        yield b'"}'

    for path in ("/v1/events", "/v1/recommend"):
        reply = client.post(path, content=billion(), headers={"content-type": "application/json"})
        is_problem(reply, 413)
    reply = client.get("/v1/users/" + "x" * 9000 + "/recommendations")
    is_problem(reply, 414)
    reply = client.get("/v1/items", headers={"x-much": "x" * 36_000})
    is_problem(reply, 431)
    assert count(shop) == before


def test_encoded_bodies_are_not_unpacked(client):
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    is_problem(client.post("/v1/events", content=bomb, headers=headers), 415)


def test_a_clock_that_goes_back_is_no_harm(client):
    now = time.time()
    rows = [EVENT | {"user_id": "back", "item_id": str(n), "time": now - 3600 * n} for n in range(5)]
    assert client.post("/v1/events", json=rows).json()["accepted"] == 5
    reply = client.post("/v1/recommend", json={"user_id": "back", "k": 1, "exclude_seen": False}).json()
    assert reply["n_events"] == 5
    # The newest by time is item 0, though it was sent first: so 1 comes next in the ring.
    assert reply["items"][0]["item_id"] == "1"


SQL = [
    "'; DROP TABLE events; --",
    '" OR 1=1 --',
    "x'); DELETE FROM items; --",
    "%",
    "_",
    "\\",
    "$1",
    ":a",
    "{}",
]


@pytest.mark.parametrize("text", SQL)
def test_sql_is_an_id_like_any_other(client, shop, text):
    before = count(shop)
    sent = {"user_id": text, "item_id": text, "action": text, "event_id": f"sql {text}"}
    assert client.post("/v1/events", json=sent).json()["accepted"] == 1
    assert client.post("/v1/events", json=sent).json()["known"] == 1
    assert count(shop) == before + 1
    quoted = "".join(f"%{byte:02x}" for byte in text.encode())
    assert client.get(f"/v1/users/{quoted}/recommendations").json()["n_events"] == 1
    found = client.get("/v1/items", params={"q": text}).json()["items"]
    assert text in [item["item_id"] for item in found]
    assert len(found) < 10
    assert client.put("/v1/items", json=[{"item_id": text}]).status_code == 200
    assert client.delete(f"/v1/items/{quoted}").status_code in (200, 204)
    assert count(shop) == before + 1
    assert count(shop, items) >= 1


def test_html_stays_text(client):
    reply = client.get("/v1/items/3")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert reply.json()["attributes"]["title"] == "<script>alert(3)</script>"
    missing = client.get("/v1/items/<img src=x onerror=alert(1)>")
    assert missing.headers["content-type"] == "application/problem+json"
    for path in ("/<script>alert(1)</script>", '/login?next="><script>alert(1)</script>', "/docs"):
        page = client.get(path, headers={"accept": "text/html"})
        assert "<script>alert" not in page.text


@pytest.mark.parametrize("key", [b"\x00".decode(), "x" * 256, "a b", "é"])
def test_odd_idempotency_keys(client, key):
    headers = {"idempotency-key": key.encode("latin-1")}
    try:
        reply = client.post("/v1/events", json=EVENT, headers=headers)
    except httpx.LocalProtocolError:
        pytest.skip("the client does not even send it")
    is_problem(reply, 400, 422)


def test_unknown_ids_and_routes(client):
    reply = client.get("/v1/users/never heard of/recommendations").json()
    assert reply["fallback"]
    assert reply["items"]
    is_problem(client.get("/v1/items/never heard of"), 404)
    is_problem(client.get("/v1/nowhere"), 404)
    is_problem(client.get("/v2/events"), 404)
    is_problem(client.delete("/v1/events"), 405)
    odd = client.post("/v1/events", json=EVENT, headers={"x-desirepath-project": "'; --"})
    is_problem(odd, 404)


# What goes over the wire, byte by byte.


def talk(client, *parts: bytes, pause_s: float = 0.0, wait_s: float = 5.0) -> bytes:
    """Everything that the server says to these bytes until it hangs up."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=wait_s) as wire:
        for part in parts:
            try:
                wire.sendall(part)
            except OSError:
                break
            time.sleep(pause_s)
        said = b""
        try:
            while part := wire.recv(65536):
                said += part
        except (TimeoutError, ConnectionResetError):
            pass
        return said


SMUGGLED = {
    "both lengths": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a signed length": b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": b"Content-Length: 0x2\r\n\r\n{}",
    "no length": b"Content-Length: \r\n\r\n",
    "a huge length": b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "odd coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "hidden coding": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "a folded header": b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "a bare newline in a header": b"X: a\nContent-Length: 2\r\n\r\n{}",
    "NUL in a header": b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "a bad chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED)
def test_requests_that_two_servers_could_read_in_two_ways(client, shop, rest):
    before = count(shop)
    head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    said = talk(client, head + rest, wait_s=1.5)
    assert said.startswith(b"HTTP/1.1 4"), said[:200]
    assert len(re.findall(rb"HTTP/1.1 \d", said)) == 1
    assert count(shop) == before


def test_what_is_not_http(client):
    for said in (talk(client, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), talk(client, b"GET\r\n\r\n")):
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == 400


def test_slow_headers_are_cut(client):
    began = time.monotonic()
    said = talk(client, b"GET /livez HTTP/1.1\r\n", *[b"X: 1\r\n"] * 30, pause_s=0.1)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 20  # it was cut, not waited for
    assert talk(client) == b""  # who says nothing is hung up on without a word


def test_slow_bodies_are_cut(client, shop):
    before = count(shop)
    head = (
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    for path in (b"/v1/events", b"/v1/recommend"):
        said = talk(client, head.replace(b"/v1/events", path), *[b" "] * 20, pause_s=0.1)
        assert said.startswith(b"HTTP/1.1 408 "), said
        assert b"within 0.5 s" in said
    assert count(shop) == before


def test_endless_headers_and_trailers_are_cut(client):
    line = b"X-Much: " + b"x" * 8000 + b"\r\n"
    assert talk(client, b"GET /livez HTTP/1.1\r\n", *[line] * 20).startswith(b"HTTP/1.1 431 ")
    assert talk(client, b"GET /" + b"x" * 100_000).startswith(b"HTTP/1.1 431 ")


def test_connections_are_counted(client):
    where = client.base_url.host, client.base_url.port
    said = b""
    for _ in range(10):  # the silent ones are hung up on soon, so a slow machine needs a few goes
        open_wires = [socket.create_connection(where) for _ in range(LIMITS.most_connections + 1)]
        said = talk(client, b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n")
        for wire in open_wires:
            wire.close()
        if said.startswith(b"HTTP/1.1 503 "):
            break
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"connections may be open" in said
    while b" 200 " not in talk(client, b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"):
        time.sleep(0.05)


# Reading JSON in one way only.

names = st.text(st.sampled_from('ab":\\ é\n'), max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.sampled_from('a": \\'), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(value=values, spaced=st.booleans(), ascii_only=st.booleans())
def test_json_is_read_as_the_library_reads_it(value, spaced, ascii_only):
    separators = (" , ", " : ") if spaced else (",", ":")
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode()
    assert loads(text) == value


@settings(max_examples=100, deadline=None)
@given(
    inner=st.dictionaries(names, st.integers(0, 9), min_size=1, max_size=3),
    at=st.integers(0, 2),
    spaced=st.sampled_from(["", " ", "\n"]),
)
def test_a_name_that_comes_twice_is_found(inner, at, spaced):
    pairs = list(inner.items())
    pairs.append((pairs[at % len(pairs)][0], 1))
    text = "{" + ",".join(f"{json.dumps(name)}{spaced}:{n}" for name, n in pairs) + "}"
    for whole in (text, f'[{{"x":{text}}}, ":"]'):
        with pytest.raises(ProblemError, match="twice"):
            loads(whole.encode())


def test_depth_has_a_limit():
    deepest = b"[" * MOST_DEPTH + b"]" * MOST_DEPTH
    loads(deepest)
    with pytest.raises(ProblemError, match="deeper than 32"):
        loads(b"[" + deepest + b"]")
