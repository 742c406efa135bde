# SPDX-License-Identifier: Apache-2.0
"""One line of JSON a request, joined by its id; what a log must not know never reaches it.

Neither keys nor users, items, addresses or texts are written: a route is logged by its template, an error by
its kind and the places it went through.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
import uuid
from typing import Any, TextIO

import orjson
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict, WrappedLogger

from desirepath.serving.measures import Measures
from desirepath.serving.problems import ProblemError, problem_bytes

REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SECRETS = re.compile(r"dp_(read|events|admin)_([a-z0-9]*)_[A-Za-z0-9_-]*|(?<=://)[^/@\s]+(?=@)")
UNEXPECTED = "Something went wrong here, not with the request. The log has it under this request's id."
UNMATCHED = "(none)"
"""Stands for a path that no route has: paths may hold anything."""
HUNG_UP = 499
"""Stands in figures and lines for a caller who did not wait for the answer."""
ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))
"""Under "no-referrer" browsers would call the origin of our own forms null, as they do a foreign page's."""
DATA_ONLY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
PAGES = (
    b"content-security-policy",
    b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss:; "
    b"object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
)
"""The console's framework makes its pages from scripts of its own; nothing is fetched from elsewhere."""

_HARMLESS = (int, float, type(None))

log = structlog.get_logger("desirepath.serving")


def configure_logs(stream: TextIO, *, as_json: bool, level: int = logging.INFO) -> None:
    """Send everything that is logged in this process to `stream`, as JSON or for a person to read.

    What libraries log through the standard library takes the same way, with the same care.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        kinds_and_places,
        without_secrets,
    ]
    last: Any = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))  # libraries tell everything they do at lower levels


def kinds_and_places(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """An exception as its kinds and the places it went through; its message may quote anybody's data."""
    found = event.pop("exc_info", None)
    if found is None or found is False:
        return event
    error = found[1] if isinstance(found, tuple) else sys.exc_info()[1] if found is True else found
    kinds = []
    while error is not None:
        places = traceback.extract_tb(error.__traceback__)
        kinds.append(
            {
                "kind": f"{type(error).__module__}.{type(error).__qualname__}",
                "at": [f"{place.filename}:{place.lineno} {place.name}" for place in places][-12:],
            }
        )
        error = error.__cause__ or error.__context__
    return {**event, "error": kinds}


def without_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The event with keys cut to their public part, and passwords cut out of URLs, wherever they stand."""
    for name, value in event.items():
        if not isinstance(value, _HARMLESS):
            event[name] = _cut(value)
    return event


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        if "dp_" not in value and "://" not in value:  # nearly always, and a hundred times as quick
            return value
        return SECRETS.sub(lambda m: f"dp_{m[1]}_{m[2]}_..." if m[1] else "...", value)
    if isinstance(value, list | tuple):
        return [_cut(part) for part in value]
    if isinstance(value, dict):
        return {name: _cut(part) for name, part in value.items()}
    return value


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=lambda value: type(value).__name__).decode()


class Journal:
    """ASGI middleware, the outermost: gives each request its id, times it, counts it, writes its line.

    It also answers what nobody else did: an unexpected error becomes a problem that tells but the id.
    """

    def __init__(self, app: ASGIApp, measures: Measures, *, writes: bool) -> None:
        """Stand before `app`; `writes` says whether each request gets a line."""
        self.app, self.measures = app, measures
        self._log = log.bind() if writes else None  # bound once: looking it up costs as much as writing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and keep a record."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        lines = scope["reply_headers"] = [(b"x-request-id", request_id.encode()), *ALWAYS]
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _with(message.get("headers", []), lines)}
            await send(message)

        began = time.perf_counter()
        self.measures.under_way.inc()
        try:
            await self.app(scope, receive, sending)
        except ClientDisconnect:
            status = HUNG_UP
        except Exception as error:
            log.error("unexpected error", route=route_of(scope), exc_info=error)
            if status == 0:
                told, headers, body = problem_bytes(scope, ProblemError(500, UNEXPECTED))
                headers = [*headers, (b"content-length", str(len(body)).encode())]
                await sending({"type": "http.response.start", "status": told, "headers": headers})
                await sending({"type": "http.response.body", "body": body})
        finally:
            self.measures.under_way.dec()
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        caller = scope.get("caller")
        route = route_of(scope)
        project = caller.project if caller is not None else ""
        self.measures.answered((project, _method(scope), route, status), seconds)
        if self._log is not None:
            self._log.info(
                "request",
                method=_method(scope),
                route=route,
                status=status,
                duration_ms=round(1e3 * seconds, 3),
                project=project or None,
                key=caller.key_id if caller is not None else None,
            )


def route_of(scope: Scope) -> str:
    """The template of the route that answers, such as /v1/users/{user_id}; never the path itself."""
    # A route included under a prefix knows only its own part; the framework keeps the whole beside it.
    whole = scope.get("fastapi", {}).get("effective_route_context")
    path = getattr(whole or scope.get("route"), "path", None)
    return UNMATCHED if not path else str(path)


def _method(scope: Scope) -> str:
    method = scope["method"]
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "OTHER"


def _request_id(scope: Scope) -> str:
    """The caller's own id where it is a plain word, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return uuid.uuid4().hex


def _with(headers: Any, lines: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    named = dict(headers)
    found = [*headers, *(line for line in lines if line[0] not in named)]
    if b"content-security-policy" not in named:
        is_page = named.get(b"content-type", b"").startswith(b"text/html")
        found.append(PAGES if is_page else DATA_ONLY)
    return found
