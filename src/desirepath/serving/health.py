# SPDX-License-Identifier: Apache-2.0
"""Whether the service lives, whether it can answer, and its figures: /livez, /readyz, /metrics."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from desirepath.errors import DesirepathError
from desirepath.live.project import Project
from desirepath.serving.access import Caller, Reader
from desirepath.serving.body import StrictRoute
from desirepath.serving.measures import CONTENT_TYPE, Measures
from desirepath.serving.problems import ProblemError
from desirepath.serving.shapes import Shape

router = APIRouter(tags=["health"], route_class=StrictRoute)
LOOK_AGAIN_S = 1.0
"""How long a look at the databases is believed, so that probes cost them nothing."""


class HealthOut(Shape):
    """The answer to a probe."""

    status: str


@router.get("/livez", response_model=HealthOut)
async def livez() -> dict[str, str]:
    """Whether the process answers at all; if not, start it anew."""
    return {"status": "alive"}


@router.get("/readyz", response_model=HealthOut)
async def readyz(request: Request) -> dict[str, str]:
    """Whether every project can answer now; if not, send no requests here for a while."""
    readiness: Readiness = request.app.state.readiness
    if not await readiness.is_ready():
        raise ProblemError(503, "Not every project can answer now.", headers={"Retry-After": "5"})
    return {"status": "ready"}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request, _: Reader) -> Response:
    """Figures for Prometheus; with keys, those of the key's project and of the process."""
    measures: Measures = request.app.state.measures
    caller: Caller | None = request.scope.get("caller")
    project = caller.project if caller is not None and caller.key_id is not None else None
    told = await asyncio.to_thread(measures.exposition, project)
    return Response(told, headers={"content-type": CONTENT_TYPE})


class Readiness:
    """Whether projects can answer: their threads run, and their databases too."""

    def __init__(self, projects: list[Project]) -> None:
        """Look at these projects when asked."""
        self._projects = projects
        self._looked_s, self._was_ready = float("-inf"), False
        self.is_ending = False
        """Set once the process was told to stop."""

    async def is_ready(self) -> bool:
        """Whether all of them can answer; a look is believed for a second."""
        now_s = time.monotonic()
        if now_s - self._looked_s > LOOK_AGAIN_S:
            self._looked_s = now_s
            looks = [asyncio.to_thread(_answers, project) for project in self._projects]
            self._was_ready = all(await asyncio.gather(*looks))
        return self._was_ready and not self.is_ending


def _answers(project: Project) -> bool:
    if not (project.store.is_alive and project.engine.is_alive):
        return False
    try:
        project.store.read(lambda connection: connection.execute(text("SELECT 1")).scalar())
    except (SQLAlchemyError, DesirepathError):
        return False
    return True
