# SPDX-License-Identifier: Apache-2.0
"""Models, experiments, scenarios and what came of lists: seen, and changed by who may."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from desirepath.config import to_plain
from desirepath.live.answer import Ask
from desirepath.live.project import Project
from desirepath.live.rollout import Rollout
from desirepath.recommend.scenario import load_scenarios
from desirepath.serving.access import Admin, Reader
from desirepath.serving.body import StrictRoute
from desirepath.serving.events import subject
from desirepath.serving.items import plain
from desirepath.serving.problems import ProblemError
from desirepath.serving.recommend import listed
from desirepath.serving.shapes import (
    Attributes,
    Id,
    ListOut,
    ModelsOut,
    OutcomesOut,
    ScenariosOut,
    Sent,
    StartedOut,
    SwappedOut,
    Word,
)

router = APIRouter(tags=["upkeep"], route_class=StrictRoute)
Hours = Annotated[float, Query(gt=0, le=24 * 365)]


class Why(Sent):
    """Why something is changed; kept in the history of the registry."""

    reason: Annotated[str, Field(max_length=500)] = ""


class PreviewIn(Sent):
    """A scenario that is not in force, and for whom to see it."""

    user_id: Id | None = None
    session_id: Id | None = None
    history: list[Id] = Field([], max_length=1000)
    k: int | None = Field(None, ge=1, le=1000)
    scenario: Attributes = Field({}, description="The keys of a [scenario.NAME] table; see docs/policy.md.")
    name: Word = "preview"


@router.get("/models", response_model=ModelsOut)
async def models(project: Reader) -> Response:
    """Every trained version, the newest first, and what the upkeep is at."""
    rollout = _rollout(project)
    table = await asyncio.to_thread(rollout.registry.versions)
    rows = [{name: _text(value) for name, value in row.items()} for row in table.to_dicts()]
    return plain({"versions": rows, "state": rollout.status()})


@router.post("/models/{name}/promote", response_model=SwappedOut)
async def promote(name: Word, body: Why, project: Admin) -> Response:
    """Make a version the one that answers, from the next request on."""
    rollout = _rollout(project)
    await asyncio.to_thread(rollout.registry.promote, name, body.reason or "by request")
    await asyncio.to_thread(rollout.tick)
    return plain({"current": project.engine.version.name})


@router.post("/models/rollback", response_model=SwappedOut)
async def rollback(body: Why, project: Admin) -> Response:
    """Go back to the version before; can be repeated."""
    rollout = _rollout(project)
    await asyncio.to_thread(rollout.registry.rollback, body.reason)
    await asyncio.to_thread(rollout.tick)
    return plain({"current": project.engine.version.name})


@router.post("/models/train", response_model=StartedOut, status_code=202)
async def train(body: Why, project: Admin) -> Response:
    """Begin to train a new model in a process of its own."""
    began = await asyncio.to_thread(_rollout(project).retrain, body.reason or "by request")
    if not began:
        raise ProblemError(409, "A training is under way already, or none can be begun here.")
    answer = plain({"started": True})
    answer.status_code = 202
    return answer


@router.get("/outcomes", response_model=OutcomesOut)
async def outcomes(project: Reader, hours: Hours = 24.0) -> Response:
    """What came of the lists of the last hours: CTR, conversion, satisfaction, coverage, fallback rate."""
    n_items = len(project.catalogue) - 2
    return plain(await asyncio.to_thread(project.results.online, hours, n_items))


@router.get("/experiments")
async def experiments(project: Reader, hours: Hours = 24.0 * 30) -> list[dict[str, Any]]:
    """Each experiment of the TOML, its variants compared with intervals that hold at every look."""
    running = project.scenarios.now().experiments
    return await asyncio.to_thread(project.results.experiments, running, hours)


@router.get("/scenarios", response_model=ScenariosOut)
async def scenarios(project: Reader) -> Response:
    """The scenarios in force, and what is wrong with the file if it was changed to something wrong."""
    rules = project.scenarios.now()
    told = {name: to_plain(scenario) for name, scenario in rules.scenarios.items()}
    return plain({"scenarios": told, "problem": project.scenarios.problem or project.catalogue.problem})


@router.post("/scenarios/preview", response_model=ListOut)
async def preview(body: PreviewIn, project: Reader) -> Response:
    """The list that someone would get under other rules; nothing is kept and nothing changes."""
    schema = project.catalogue.policy_view().table.schema
    rules = load_scenarios({body.name: body.scenario}, schema)[body.name]
    ask = Ask(
        user_id=subject(body.user_id, body.session_id),
        history=tuple(body.history),
        k=body.k,
        rules=rules,
        scenario=body.name,
        explore=False,
    )
    reply = await asyncio.wrap_future(project.recommend(ask))
    return plain(listed(reply, 0.0))


def _rollout(project: Project) -> Rollout:
    if project.rollout is None:
        raise ProblemError(409, "This project is served without upkeep; start it with `desirepath serve`.")
    return project.rollout


def _text(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
