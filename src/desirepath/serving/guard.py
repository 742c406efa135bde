# SPDX-License-Identifier: Apache-2.0
"""Everything between the network and the routes, put before an application in its one right order.

The guards know each other only through the request's scope: `request_id`, `caller`, `reply_headers`.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from desirepath.live.project import Project
from desirepath.serving.access import Doors, Gate
from desirepath.serving.health import Readiness
from desirepath.serving.limits import Limits
from desirepath.serving.logs import Journal
from desirepath.serving.measures import Measures
from desirepath.serving.options import GuardConfig

CORS_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CORS_REQUEST = ("Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", "X-Request-ID")
CORS_REPLY = ("RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID")


def guard(app: FastAPI, projects: Mapping[str, Project], config: GuardConfig) -> None:
    """Put the guards before `app`; the one that is added last is met first."""
    app.state.limits = config.limits
    app.state.doors = Doors(projects, config)
    app.state.measures = Measures(projects)
    app.state.readiness = Readiness(list(projects.values()))
    app.add_middleware(Gate, doors=app.state.doors)
    app.add_middleware(Limits, config=config.limits)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=CORS_METHODS,
            allow_headers=CORS_REQUEST,
            expose_headers=CORS_REPLY,
        )
    app.add_middleware(Journal, measures=app.state.measures, writes=config.writes_log)
