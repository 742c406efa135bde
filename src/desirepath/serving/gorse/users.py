# SPDX-License-Identifier: Apache-2.0
"""Gorse's routes of users."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from desirepath.serving.gorse.project import Asked, Changed, GorseProject, attributes_of, user
from desirepath.serving.gorse.wire import affected, answer, integer, named, read_object, read_objects, text
from desirepath.serving.problems import ProblemError

router = APIRouter()


@router.post("/user")
async def insert_user(request: Request, view: Changed) -> Response:
    """Say what a user is; replaces what was said of him."""
    return affected(await _insert(view, [await read_object(request)]))


@router.post("/users")
async def insert_users(request: Request, view: Changed) -> Response:
    """Say what users are."""
    return affected(await _insert(view, await read_objects(request)))


async def _insert(view: GorseProject, given: list[dict[str, Any]]) -> int:
    rows = [
        (
            named(one.get("userid"), "UserId"),
            attributes_of(one.get("labels"), text(one.get("comment"), "Comment")),
        )
        for one in given
    ]
    if rows:
        await asyncio.wrap_future(view.project.records.put_users(rows))
    return len(rows)


@router.get("/users")
async def list_users(request: Request, view: Asked) -> Response:
    """All users, in the order of their ids."""
    n = integer(request, "n", view.config.default_n)
    cursor = request.query_params.get("cursor", "")
    rows, following = await asyncio.to_thread(view.users.page, cursor, n) if n else ([], cursor)
    return answer({"Cursor": following, "Users": [user(name, known) for name, known in rows]})


@router.get("/user/{user_id}")
async def get_user(user_id: str, view: Asked) -> Response:
    """One user."""
    known = await asyncio.to_thread(view.users.get, user_id)
    if known is None:
        raise ProblemError(404, f"{user_id[:80]}: user not found")
    return answer(user(user_id, known))


@router.patch("/user/{user_id}")
async def modify_user(user_id: str, request: Request, view: Changed) -> Response:
    """Change labels or comment of a user; what is absent or null stays."""
    given = await read_object(request)
    known = await asyncio.to_thread(view.users.get, user_id)
    if known is None:
        raise ProblemError(404, f"{user_id[:80]}: user not found")
    was = user(user_id, known)
    labels = was["Labels"] if given.get("labels") is None else given["labels"]
    comment = text(given.get("comment"), "Comment")
    await _insert(
        view,
        [{"userid": user_id, "labels": labels, "comment": was["Comment"] if comment is None else comment}],
    )
    return affected(1)


@router.delete("/user/{user_id}")
async def delete_user(user_id: str, view: Changed) -> Response:
    """Erase a user and all that he did."""
    named(user_id, "UserId")
    await asyncio.wrap_future(view.project.forget(user_id))
    view.users.forget(user_id)
    return affected(1)
