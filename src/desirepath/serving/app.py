# SPDX-License-Identifier: Apache-2.0
"""The application: projects behind routes, with problems told in one shape.

It is given open projects and closes them at the end; where they come from is the business of the flows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute

from desirepath.live.project import Project
from desirepath.serving import (
    events,
    feedback,
    health,
    insight,
    items,
    login,
    manual,
    recommend,
    upkeep,
    users,
)
from desirepath.serving.gorse import add_gorse
from desirepath.serving.guard import guard
from desirepath.serving.options import GuardConfig
from desirepath.serving.problems import Problem, tell_problems
from desirepath.serving.schema import describe
from desirepath.serving.shortcut import Shortcut

VERSION = "1"
ROOMS = (events, feedback, recommend, insight, items, users, upkeep)
"""What stands under /v1."""


def make_app(projects: Mapping[str, Project], config: GuardConfig | None = None) -> FastAPI:
    """An application that serves `projects`, by name; it closes them when it ends."""
    config = config or GuardConfig()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for project in projects.values():
            project.close()

    app = FastAPI(
        title="Desirepath",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={"default": {"model": Problem, "description": "A problem, told as RFC 9457 says."}},
    )
    app.state.projects = dict(projects)
    tell_problems(app)
    for room in ROOMS:
        app.include_router(room.router, prefix="/v1")
    app.include_router(health.router)
    app.include_router(login.router)
    app.include_router(manual.router)
    describe(app, config.limits)
    quick = [
        (f"/v1{route.path}", route)
        for room in ROOMS
        for route in room.router.routes
        if isinstance(route, APIRoute) and hasattr(route.endpoint, "quick")
    ]
    app.add_middleware(Shortcut, routes=quick, main=app)
    guard(app, projects, config)
    add_gorse(app)
    return app
