# SPDX-License-Identifier: Apache-2.0
"""ASGI middleware before everything under /api: paths with a slash too many, errors in plain words, ids.

Gorse's clients print the body of an error as it is, so that a problem in JSON becomes its sentence here. It
stands before the guards, whose refusals it translates too; it lets nobody in.
"""

from __future__ import annotations

import uuid

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "/api/"
STATUS = {409: 400, 422: 400}
"""Statuses that Gorse does not know, and what it says in their place."""


class GorseDoor:
    """The way in to the routes of Gorse."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is not Gorse's; translate what is."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self.app(scope, receive, send)
            return
        path = PREFIX + scope["path"].removeprefix(PREFIX).strip("/")
        await self.app({**scope, "path": path, "raw_path": path.encode()}, receive, _Plain(send))


class _Plain:
    """A `send` that turns problem details into plain text."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._parts: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message.get("headers", []))
            if b"x-request-id" not in headers:
                line = (b"x-request-id", uuid.uuid4().hex.encode())
                message = {**message, "headers": [*message.get("headers", []), line]}
            if headers.get(b"content-type", b"").startswith(b"application/problem+json"):
                self._start = message
                return
        elif self._start is not None:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._tell(self._start, b"".join(self._parts))
            return
        await self._send(message)

    async def _tell(self, start: Message, body: bytes) -> None:
        try:
            detail = str(orjson.loads(body)["detail"]).encode()
        except (orjson.JSONDecodeError, KeyError, TypeError):
            detail = body
        skipped = (b"content-type", b"content-length")
        headers = [(name, value) for name, value in start["headers"] if name not in skipped]
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
        headers.append((b"content-length", str(len(detail)).encode()))
        status = STATUS.get(start["status"], start["status"])
        await self._send({**start, "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": detail})
