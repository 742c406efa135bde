# SPDX-License-Identifier: Apache-2.0
"""Runs an application on an address until a signal says stop; what was begun is finished first."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from desirepath.errors import ConfigError
from desirepath.serving.connections import connection_class
from desirepath.serving.options import LimitsConfig, ServeConfig

WEBSOCKET_BYTES = 2**20
BACKLOG = 1024


def run(app: FastAPI, config: ServeConfig, limits: LimitsConfig, announce: Callable[[str], None]) -> None:
    """Serve `app`; `announce` is given the address once it is bound.

    On SIGTERM or SIGINT no connection is taken any more, requests under way end, the application's projects
    write what waits and close; then this returns.

    Raises:
        ConfigError: the address cannot be bound.
    """
    options = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        http=connection_class(limits),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=config.grace_s,
        ws_max_size=WEBSOCKET_BYTES,
    )
    with _bound(config.host, config.port) as listening:
        port = listening.getsockname()[1]
        shown = f"[{config.host}]" if ":" in config.host else config.host
        server = _Server(options, app)
        announce(f"http://{shown}:{port}")
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says that it ends before it ends, so that nothing new is sent to it."""

    def __init__(self, options: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(options)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.readiness.is_ending = True
        await super().shutdown(sockets)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{host}:{port} cannot be bound: {error.strerror}. Choose another --host or --port."
        ) from error
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening
