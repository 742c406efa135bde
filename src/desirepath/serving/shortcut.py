# SPDX-License-Identifier: Apache-2.0
"""The shortest way to what is asked most: past the router, behind all guards.

The routes themselves stand in the schema as ever; only the walk through the framework's layers, which takes
half as long as an answer, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import request_response
from starlette.types import ASGIApp, Receive, Scope, Send


class Way(NamedTuple):
    """What figures and lines of the log know a route by."""

    path: str


class Shortcut:
    """Hands requests of some routes to their quick functions, and all others on."""

    def __init__(self, app: ASGIApp, routes: Iterable[tuple[str, APIRoute]], main: FastAPI) -> None:
        """Stand before the router.

        Args:
            app: what comes next.
            routes: whole path and route of what has a quick function; see `body.answered_by`.
            main: the application, whose handlers tell problems.
        """
        self._next, self._main = app, main
        self._ways: dict[tuple[str, str], tuple[Way, ASGIApp]] = {}
        for path, route in routes:
            quick = self._told(request_response(route.endpoint.quick))  # type: ignore[attr-defined]
            for method in route.methods or ():
                self._ways[method, path] = (Way(path), quick)

    def _told(self, app: ASGIApp) -> ASGIApp:
        handlers: Any = {
            kind: handler for kind, handler in self._main.exception_handlers.items() if kind is not Exception
        }
        return ExceptionMiddleware(app, handlers=handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        way = self._ways.get((scope.get("method", ""), scope.get("path", "")))
        if way is None or scope["type"] != "http":
            await self._next(scope, receive, send)
            return
        scope["route"], answer = way
        await answer(scope, receive, send)
