# SPDX-License-Identifier: Apache-2.0
"""The application: projects behind routes, with problems told in one shape.

It is given open projects and closes them at the end; where they come from is the business of the flows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from desirepath.live.project import Project
from desirepath.serving import events, feedback, health, insight, items, login, recommend, upkeep, users
from desirepath.serving.gorse import add_gorse
from desirepath.serving.guard import guard
from desirepath.serving.options import GuardConfig
from desirepath.serving.problems import Problem, tell_problems
from desirepath.serving.shapes import EventIn

VERSION = "1"


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
        responses={"default": {"model": Problem, "description": "A problem, told as RFC 9457 says."}},
    )
    app.state.projects = dict(projects)
    tell_problems(app)
    for room in (events, feedback, recommend, insight, items, users, upkeep):
        app.include_router(room.router, prefix="/v1")
    app.include_router(health.router)
    app.include_router(login.router)
    _name_shapes(app)

    guard(app, projects, config)
    add_gorse(app)
    return app


def _name_shapes(app: FastAPI) -> None:
    """Put the shapes that only hand-written parts of the schema name into it."""
    made = app.openapi

    def with_shapes() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = made()
            shapes = schema["components"]["schemas"]
            shapes.setdefault(
                "EventIn", EventIn.model_json_schema(ref_template="#/components/schemas/{model}")
            )
            for name, shape in shapes["EventIn"].pop("$defs", {}).items():
                shapes.setdefault(name, shape)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = with_shapes  # type: ignore[method-assign]
