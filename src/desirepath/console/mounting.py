# SPDX-License-Identifier: Apache-2.0
"""The pages on a FastAPI application, at /console, with everything they load coming from this server.

NiceGUI has one set of pages a process, so that the application mounted last is the one they show.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from nicegui import app as pages
from nicegui import ui
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from desirepath.console.directory import Directory
from desirepath.console.frame import PREFIX, framed
from desirepath.console.pulse import Pulse
from desirepath.console.taste import Taste
from desirepath.console.trial import trial
from desirepath.console.views import Console, Desk, Views
from desirepath.live.project import Project

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        b"style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
        b"base-uri 'none'; form-action 'self'",
    ),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
"""Of every page: nothing from elsewhere, and in no frame."""
_shown: dict[str, Console] = {}


def mount(app: FastAPI, projects: Mapping[str, Project], views: Views | None = None) -> Console:
    """Show the pages of `projects` at /console on `app`, and lead there from "/".

    Args:
        app: the application; must not serve yet.
        projects: by name, the first being the one that is shown when none is named.
        views: what higher rooms can compute for the pages.

    Returns:
        what the pages share. It counts events from now on.
    """
    views = views or Views()
    desks = {}
    for name, project in projects.items():
        pulse = Pulse()
        project.listeners.append(pulse)
        desks[name] = Desk(name, project, views, pulse, Taste(project), Directory(project))
    console = Console(desks=desks, views=views)
    _shown["console"] = console
    _register()
    app.add_api_route("/", _home, include_in_schema=False)
    # An earlier application of this process may have begun to serve the same pages.
    pages.user_middleware.clear()
    pages.middleware_stack = None
    own = app.router.lifespan_context
    ui.run_with(
        app,
        mount_path=PREFIX,
        title="Desirepath",
        dark=None,
        tailwind=False,
        favicon="🧭",
        show_welcome_message=False,
        reconnect_timeout=20.0,
    )
    pages.add_middleware(_Headers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Any]:
        async with pages.router.lifespan_context(pages), own(app) as state:
            yield state

    # NiceGUI's own looks through all objects of the process for the server, which nothing here needs.
    app.router.lifespan_context = lifespan
    return console


async def _home() -> RedirectResponse:
    return RedirectResponse(f"{PREFIX}/trial")


def _register() -> None:
    """Say what is built at which address; said again, it replaces what was said."""

    @ui.page("/", title="Desirepath")
    async def home() -> RedirectResponse:
        return RedirectResponse(f"{PREFIX}/trial")

    @ui.page("/trial", response_timeout=20.0)
    async def trial_page(request: Request, user: str | None = None) -> None:
        with framed(_shown["console"], request, "trial") as visit:
            await trial(visit, user)


class _Headers:
    """Puts `HEADERS` on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self.app(scope, receive, sending if scope["type"] == "http" else send)
