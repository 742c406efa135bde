# SPDX-License-Identifier: Apache-2.0
"""Users: what they are, who is like them, whom they may want to follow, and their erasure."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath
from pydantic import Field

from desirepath.live.project import Project
from desirepath.live.records import Tie
from desirepath.serving.access import Admin, Reader
from desirepath.serving.items import Many, missing, plain
from desirepath.serving.paths import IdRoute
from desirepath.serving.shapes import (
    PLAIN,
    ChangesOut,
    CutOut,
    ErasedOut,
    LikeUsers,
    PeopleOut,
    TieIn,
    TieKey,
    UserIn,
    UserOut,
    UserPatch,
    UsersPage,
)

router = APIRouter(tags=["users"], route_class=IdRoute)
MOST = 1000
UserId = Annotated[str, InPath(min_length=1, max_length=512, pattern=PLAIN)]


@router.put("/users", response_model=ChangesOut)
async def put_users(
    body: Annotated[list[UserIn], Field(min_length=1, max_length=MOST)], project: Admin
) -> dict[str, int]:
    """Say what users are; each replaces what was said of him."""
    rows = [(user.user_id, user.attributes) for user in body]
    changes = await asyncio.wrap_future(project.records.put_users(rows))
    return {"created": changes.count("created"), "replaced": changes.count("replaced")}


@router.get("/users", response_model=UsersPage)
async def list_users(
    project: Reader,
    q: Annotated[str, Query(max_length=200, description="Part of an id.")] = "",
    n: Many = 20,
    cursor: Annotated[str, Query(max_length=512)] = "",
) -> dict[str, Any]:
    """Users whose id has `q` in it, the best first; without it, those that something was said of, by id."""
    if q:
        found = await asyncio.to_thread(project.directory.find_users, q, n)
        return {"users": [await _found(project, user_id) for user_id in found], "cursor": None}
    if "\x00" in cursor:
        raise missing("There is no such page; take the cursor from the page before.")
    rows = await asyncio.to_thread(project.records.users, cursor, n)
    users = [_shown(project, row["user_id"], row["attributes"]) for row in rows]
    return {"users": users, "cursor": rows[-1]["user_id"] if len(rows) == n else None}


async def _found(project: Project, user_id: str) -> dict[str, Any]:
    attributes = await asyncio.to_thread(project.records.user, user_id)
    return _shown(project, user_id, attributes or {})


@router.get("/users/{user_id}", response_model=UserOut)
async def get_user(user_id: UserId, project: Reader) -> dict[str, Any]:
    """What is known of a user."""
    attributes = await asyncio.to_thread(project.records.user, user_id)
    if attributes is None and not project.knows(user_id):
        raise missing("This user is not known: nothing was said of him, and no event names him.")
    return _shown(project, user_id, attributes or {})


@router.patch("/users/{user_id}", response_model=UserOut)
async def patch_user(user_id: UserId, body: UserPatch, project: Admin) -> dict[str, Any]:
    """Change some attributes of a user."""
    attributes = await asyncio.wrap_future(project.records.patch_user(user_id, body.attributes))
    if attributes is None:
        raise missing("Nothing was said of this user yet; send what he is with PUT /v1/users.")
    return _shown(project, user_id, attributes)


@router.delete("/users/{user_id}", response_model=ErasedOut)
async def delete_user(user_id: UserId, project: Admin) -> dict[str, int]:
    """Erase a user: events, attributes, ties and served lists; no answer knows him any more."""
    gone: dict[str, int] = await asyncio.wrap_future(project.forget(user_id))
    return gone


@router.get("/users/{user_id}/similar", response_model=LikeUsers, tags=["recommendations"])
async def similar_users(user_id: UserId, project: Reader, k: Many = 10) -> Response:
    """Users who do what this one does, his last event included."""
    neighbours = project.neighbours
    found = await asyncio.to_thread(neighbours.users, user_id, k, project.actions.vocabulary)
    return plain({"users": found, "model_version": neighbours.model_version})


@router.get("/users/{user_id}/people", response_model=PeopleOut, tags=["recommendations"])
async def people(user_id: UserId, project: Reader, k: Many = 10) -> Response:
    """People to follow: through those whom the user follows, and by likeness of what they do."""
    vocabulary = project.actions.vocabulary
    found = await asyncio.to_thread(project.neighbours.to_follow, user_id, k, project.records, vocabulary)
    return plain({"users": found})


@router.put("/ties", status_code=204)
async def put_ties(
    body: Annotated[list[TieIn], Field(min_length=1, max_length=10 * MOST)], project: Admin
) -> Response:
    """Keep who follows whom; a tie that is there already takes the new weight."""
    await asyncio.wrap_future(project.records.put_ties([Tie(t.source, t.target, t.weight) for t in body]))
    return Response(status_code=204)


@router.post("/ties/cut", response_model=CutOut)
async def cut_tie(body: TieKey, project: Admin) -> dict[str, bool]:
    """Forget that one follows another."""
    return {"was_there": await asyncio.wrap_future(project.records.cut_tie(body.source, body.target))}


def _shown(project: Project, user_id: str, attributes: dict[str, Any]) -> dict[str, Any]:
    n_events = int(project.states.histories([user_id]).offsets[-1])
    return {"user_id": user_id, "attributes": attributes, "n_events": n_events}
