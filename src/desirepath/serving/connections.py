# SPDX-License-Identifier: Apache-2.0
"""Connections that do not wait for ever: headers have a time and a size, and there are only so many.

The web server times bodies and answers through the application, but knows no limit on headers; this adds it.
It knows nothing of what is asked.
"""

from __future__ import annotations

from asyncio import Transport
from asyncio.events import TimerHandle
from http import HTTPStatus
from typing import ClassVar

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from desirepath.serving.options import LimitsConfig

RAW_TIMES = 4
"""A body in chunks may be this many times as long on the wire as what it says."""


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    limits: ClassVar[LimitsConfig]

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        self._deadline: TimerHandle | None = None
        self._n_raw = 0
        self._in_headers = True
        super().connection_made(transport)
        if len(self.connections) > self.limits.most_connections:
            self._refuse(503, f"At most {self.limits.most_connections} connections may be open. Try again.")
            return
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Take what came, unless there is too much of it."""
        if self.transport.is_closing():
            return
        self._n_raw += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        limits = self.limits
        head = limits.header_bytes + limits.url_bytes + 1024
        if self._in_headers and self._n_raw > head:
            self._refuse(431, f"A URL and its headers must have at most {head} bytes together.")
        elif self._n_raw > head + RAW_TIMES * limits.body_bytes:
            self._refuse(413, f"A body must have at most {limits.body_bytes} bytes. Send it in parts.")

    def on_message_begin(self) -> None:
        """A request begins, the first one or another on the same connection."""
        super().on_message_begin()
        self._in_headers = True
        self._arm()

    def on_headers_complete(self) -> None:
        """The headers are whole; from here on the application sets the times."""
        self._disarm()
        self._in_headers = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._n_raw = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._disarm()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, f"{msg} It must be HTTP/1.1 as RFC 9112 has it.")

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.header_s, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._n_raw == 0:
            self.transport.close()  # connected, and never said a word
        else:
            self._refuse(408, f"The headers of a request must arrive within {self.limits.header_s:g} s.")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer in the application's stead, and hang up."""
        self._disarm()
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # the answer before this one is under way; nothing may be mixed into it
            return
        title = HTTPStatus(status).phrase
        body = orjson.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def connection_class(limits: LimitsConfig) -> type[Connection]:
    """The protocol that a server with these limits speaks."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
