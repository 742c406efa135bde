# SPDX-License-Identifier: Apache-2.0
"""The pages on a FastAPI application, at /console, with everything they load coming from this server.

NiceGUI has one set of pages a process, so that the application mounted last is the one they show.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from nicegui import app as pages
from nicegui import ui
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from desirepath.console.behaviour import behaviour
from desirepath.console.frame import PREFIX, Visit, framed
from desirepath.console.goods import good, goods
from desirepath.console.groups import groups
from desirepath.console.options import options
from desirepath.console.overview import overview
from desirepath.console.people import people, person
from desirepath.console.pulse import Pulse
from desirepath.console.quality import quality
from desirepath.console.tables import register
from desirepath.console.taste import Taste
from desirepath.console.trial import trial
from desirepath.console.trials import trials
from desirepath.console.versions import versions
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
)
"""Of every page: nothing from elsewhere, and in no frame."""
SLOWEST_S = 20.0
"""Time that a page may take until its frame is there; what it shows comes after."""
PLAIN: Mapping[str, Callable[[Visit], Awaitable[None]]] = {
    "overview": overview,
    "patterns": behaviour,
    "segments": groups,
    "models": versions,
    "experiments": trials,
    "quality": quality,
    "settings": options,
}
"""Pages that take nothing from their address."""
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
        project.watchers.append(pulse.asked)
        desks[name] = Desk(name, project, views, pulse, Taste(project), project.directory)
    console = Console(desks=desks, views=views)
    _shown["console"] = console
    _register()
    register()
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

    @ui.page("/trial", response_timeout=SLOWEST_S)
    async def trial_page(request: Request, user: str | None = None) -> None:
        with framed(_shown["console"], request, "trial") as visit:
            await trial(visit, user)

    @ui.page("/users", response_timeout=SLOWEST_S)
    async def users_page(request: Request, user: str | None = None) -> None:
        with framed(_shown["console"], request, "users", lead=user is None) as visit:
            await (people(visit) if user is None else person(visit, user))

    @ui.page("/items", response_timeout=SLOWEST_S)
    async def items_page(request: Request, item: str | None = None) -> None:
        with framed(_shown["console"], request, "items", lead=item is None) as visit:
            await (goods(visit) if item is None else good(visit, item))

    for name, build in PLAIN.items():
        _plain(name, build)


def _plain(name: str, build: Callable[[Visit], Awaitable[None]]) -> None:
    """Say how a page is built that takes nothing from its address."""

    @ui.page(f"/{name}", response_timeout=SLOWEST_S)
    async def page(request: Request) -> None:
        with framed(_shown["console"], request, name) as visit:
            await build(visit)


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
