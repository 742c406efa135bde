# SPDX-License-Identifier: Apache-2.0
"""Gorse's probes: whether the process lives, and whether its stores answer."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, text

from desirepath.errors import DesirepathError
from desirepath.live.project import Project
from desirepath.serving.gorse.wire import answer

router = APIRouter()


@router.get("/health/live")
async def live(request: Request) -> Response:
    """Whether the process answers; the stores are told of too."""
    return answer(await _status(request))


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """Whether requests can be answered; 503 where they cannot."""
    status = await _status(request)
    response = answer(status)
    response.status_code = 200 if status["Ready"] else 503
    return response


async def _status(request: Request) -> dict[str, Any]:
    projects: dict[str, Project] = request.app.state.projects
    problems = [await asyncio.to_thread(_problem, project) for project in projects.values()]
    problem = next((one for one in problems if one), None)
    return {
        "Ready": problem is None,
        "DataStoreError": problem,
        "CacheStoreError": None,
        "DataStoreConnected": problem is None,
        "CacheStoreConnected": True,
    }


def _problem(project: Project) -> str | None:
    def work(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))

    try:
        project.store.read(work)
    except DesirepathError:
        return "the store does not answer"
    return None
