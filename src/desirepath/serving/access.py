# SPDX-License-Identifier: Apache-2.0
"""Who may do what to which project: keys for programs, a signed cookie for people in a browser.

Without any key, everything is allowed, for then only this machine's own address is bound. With keys, what is
not listed here as open to lesser scopes needs an admin key; so a page that is added later is closed at first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from desirepath.errors import DesirepathError
from desirepath.live.project import Project
from desirepath.serving.keys import Key, KeyRing, Scope
from desirepath.serving.limits import Rates
from desirepath.serving.options import GuardConfig
from desirepath.serving.problems import ProblemError, problem_bytes

PROJECT_HEADER = "x-desirepath-project"
SESSION = "desirepath_session"
SESSION_S = 12 * 3600
"""How long a login lasts, seconds."""
OPEN = frozenset({"/livez", "/readyz", "/login", "/api/health/live", "/api/health/ready"})
"""Paths that need no key: probes, which tell nothing but yes or no, and the way in."""
WITH_ANY_KEY = frozenset({"/docs", "/openapi.json"})
BY_ROUTE = ("/v1/", "/api/", "/metrics")
"""Beginnings of paths whose routes ask for a scope themselves."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_REFUSED = "A key is needed, as `Authorization: Bearer dp_...` or `X-API-Key: dp_...`."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    project: str
    """Name of the project that all of the request is about."""
    scope: Scope
    key_id: str | None
    """None where no key is needed."""
    address: str

    @property
    def bucket(self) -> str:
        """What a rate is counted by: the key; or the address, where many share a key or none has one."""
        if self.key_id is None:
            return f"address {self.address}"
        return f"{self.key_id} {self.address}" if self.scope == "events" else self.key_id

    def may(self, scope: Scope) -> bool:
        """Whether the caller's scope allows what `scope` allows."""
        return self.scope in (scope, "admin")


class Doors:
    """The projects of a process, the keys that open each, and how much each caller may ask."""

    def __init__(self, projects: Mapping[str, Project], config: GuardConfig) -> None:
        """Read the keys of every project.

        Args:
            projects: by name; the first is the one meant where none is named.
            config: which hosts and origins may ask.
        """
        stores = ":".join(project.store.store_id for project in projects.values())
        self.rates = Rates(config.limits, config.redis, stores)
        self._hosts, self._origins = config.hosts, frozenset(config.cors_origins)
        self._rings = {name: KeyRing(project.workspace.folder) for name, project in projects.items()}
        self._first = next(iter(projects), "default")

    @property
    def is_closed(self) -> bool:
        """Whether a key is needed: one project with a key closes all of them."""
        return any([ring.is_closed for ring in self._rings.values()])

    def enter(self, headers: Mapping[str, str], method: str, address: str) -> Caller:
        """Who asks, by what the request carries.

        Raises:
            ProblemError: 401 without a valid key, 403 for a foreign project or page.
        """
        named = headers.get(PROJECT_HEADER)
        if not self.is_closed:
            self._refuse_strangers(headers, method)
            if named is not None and named not in self._rings:
                raise ProblemError(404, f"There is no project of the name that {PROJECT_HEADER} gives.")
            return Caller(named or self._first, "admin", None, address)
        token = _token(headers)
        if token is not None:
            project, key = self._by_token(token, named)
        else:
            project, key = self._by_cookie(headers, method, named)
        return Caller(project, key.scope, key.id, address)

    def _refuse_strangers(self, headers: Mapping[str, str], method: str) -> None:
        """A server without keys answers this machine, not whatever page a browser on it has open.

        A foreign page could point a name of its own to this machine, so the name matters too.
        """
        host = _host_of(f"//{headers.get('host', '')}")
        is_passed_on = "x-forwarded-for" in headers or "forwarded" in headers
        if self._hosts and (host not in self._hosts or is_passed_on):
            raise ProblemError(
                403,
                "A server without keys answers only to this machine's own name. Make a key with "
                "`desirepath keys create`, and send it.",
            )
        is_ours = is_same_origin(headers) or headers["origin"] in self._origins or "*" in self._origins
        if method not in SAFE and not is_ours:
            raise ProblemError(403, "Another site's page may not change anything here.")

    def _by_token(self, token: str, named: str | None) -> tuple[str, Key]:
        found = {name: ring.find(token) for name, ring in self._rings.items()}
        valid = {name: f.key for name, f in found.items() if f.state == "valid" and f.key is not None}
        if not valid:
            states = {f.state for f in found.values()} - {"unknown"}
            raise _unauthorized(f"The key is {states.pop()}. Ask for a new one." if states else _NOT_KNOWN)
        if named is not None and named not in valid:
            raise ProblemError(403, f"The key does not open the project that {PROJECT_HEADER} names.")
        name = named if named is not None else next(iter(valid))
        return name, valid[name]

    def _by_cookie(self, headers: Mapping[str, str], method: str, named: str | None) -> tuple[str, Key]:
        cookie = _cookie(headers, SESSION)
        if cookie is None:
            raise _unauthorized(_REFUSED)
        for name, ring in self._rings.items():
            key = self._of_session(ring, cookie) if named in (None, name) else None
            if key is not None:
                if method not in SAFE and not is_same_origin(headers, strictly=True):
                    raise ProblemError(403, "Another site's page may not change anything here.")
                return name, key
        raise _unauthorized("The session is over. Log in again, or send a key.")

    def login(self, token: str) -> tuple[str, str]:
        """The project that a key opens in a browser, and the cookie that will stand for the key.

        Raises:
            ProblemError: the key is not valid, or no admin key.
        """
        name, key = self._by_token(token, None)
        if key.scope != "admin":
            raise ProblemError(403, f"The console needs an admin key; this one is for '{key.scope}'.")
        return name, _serializer(self._rings[name]).dumps(key.id)

    def note_refused(self, address: str) -> None:
        """Count a login without a valid key.

        Raises:
            ProblemError: 429 where there were too many.
        """
        self.rates.take_refused(address)

    def _of_session(self, ring: KeyRing, cookie: str) -> Key | None:
        if not ring.signing:
            return None
        try:
            key = ring.get(_serializer(ring).loads(cookie, max_age=SESSION_S))
        except BadSignature:
            return None
        # A session ends with its key: revoking one logs its holder out.
        return key if key is not None and ring.is_valid(key.id) and key.scope == "admin" else None


_NOT_KNOWN = "The key is not known. Check that it was copied whole."


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(401, detail, headers={"WWW-Authenticate": 'Bearer realm="desirepath"'})


def _serializer(ring: KeyRing) -> URLSafeTimedSerializer:
    options = {"digest_method": hashlib.sha256}
    return URLSafeTimedSerializer(ring.signing, salt="desirepath session", signer_kwargs=options)


def _token(headers: Mapping[str, str]) -> str | None:
    """The key that came with a request, whatever it is worth."""
    stated = headers.get("authorization")
    if stated is not None:
        kind, _, token = stated.partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""
    return headers.get("x-api-key")


def _cookie(headers: Mapping[str, str], name: str) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return None if found is None else found.value


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def is_same_origin(headers: Mapping[str, str], *, strictly: bool = False) -> bool:
    """Whether a request that changes something comes from our own pages, or from no page at all.

    Strictly, for what a browser does by itself such as sending cookies: what names no origin must not say
    that it comes from another site either.
    """
    origin = headers.get("origin")
    if origin is None:
        return not strictly or headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


class Gate:
    """ASGI middleware that lets in whoever may come in, and remembers who it is in `scope["caller"]`."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        """Stand before `app`, with the keys to it."""
        self.app, self.doors, self.rates = app, doors, doors.rates

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            self._admit(scope)
        except ProblemError as problem:
            await self._refuse(problem, scope, send)
        except DesirepathError as error:
            await self._refuse(ProblemError(503, str(error)), scope, send)
        else:
            await self.app(scope, receive, send)

    def _admit(self, scope: Connection) -> None:
        path = scope["path"]
        # As a plain dictionary: each look into the framework's goes through the whole list.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        address = scope["client"][0] if scope.get("client") else "unknown"
        # A websocket is opened by GET but can change things, and browsers open it from any page.
        method = scope.get("method", "POST")
        if path in OPEN:
            self.rates.take(f"open {address}", scope)
            return
        try:
            caller = self.doors.enter(headers, method, address)
        except ProblemError:
            self.rates.take_refused(address)
            raise
        scope["caller"] = caller
        self.rates.take(caller.bucket, scope)
        if path not in WITH_ANY_KEY and not path.startswith(BY_ROUTE) and not caller.may("admin"):
            raise _forbidden(caller, "admin")

    async def _refuse(self, problem: ProblemError, scope: Connection, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "A key is needed."})
            return
        headers = Headers(scope=scope)
        is_page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if problem.status == 401 and is_page and not scope["path"].startswith(BY_ROUTE):
            where = f"/login?next={quote(scope['path'], safe='/')}".encode()
            told: tuple[int, list[tuple[bytes, bytes]], bytes] = (303, [(b"location", where)], b"")
        else:
            told = problem_bytes(scope, problem)
        status, lines, body = told
        lines = [*lines, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": body})


def _forbidden(caller: Caller, scope: Scope) -> ProblemError:
    return ProblemError(403, f"This needs a key for '{scope}'; the one that came is for '{caller.scope}'.")


def project_for(request: Request, scope: Scope) -> Project:
    """The caller's project.

    Raises:
        ProblemError: 403 where the caller's key is of another scope.
    """
    caller: Caller | None = request.scope.get("caller")
    projects: dict[str, Project] = request.app.state.projects
    if caller is None:  # only where no gate stands before the application
        return next(iter(projects.values()))
    if not caller.may(scope):
        raise _forbidden(caller, scope)
    return projects[caller.project]


def _needs(scope: Scope) -> Callable[[Request], Awaitable[Project]]:
    """A dependency that gives the caller's project to routes of one scope."""

    async def project_of(request: Request) -> Project:
        return project_for(request, scope)

    project_of.scope = scope  # type: ignore[attr-defined]
    return project_of


def scope_of(dependant: Any) -> Scope | None:
    """The scope that a route asks for, found among its dependencies; None where it asks for none."""
    found: Scope | None = getattr(dependant.call, "scope", None)
    for further in dependant.dependencies:
        found = found or scope_of(further)
    return found


Reader = Annotated[Project, Depends(_needs("read"))]
"""The project that the caller may ask."""
Writer = Annotated[Project, Depends(_needs("events"))]
"""The project that the caller may send events to."""
Admin = Annotated[Project, Depends(_needs("admin"))]
"""The project that the caller may change."""
