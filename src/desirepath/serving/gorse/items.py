# SPDX-License-Identifier: Apache-2.0
"""Gorse's routes of items and their categories."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, select

from desirepath.live.tables import items as kept
from desirepath.serving.gorse.project import Asked, Changed, GorseProject, attributes_of
from desirepath.serving.gorse.wire import (
    affected,
    answer,
    bad,
    flag,
    integer,
    moment_us,
    named,
    read_object,
    read_objects,
    text,
    texts,
    told,
)
from desirepath.serving.problems import ProblemError

router = APIRouter()


@router.post("/item")
async def insert_item(request: Request, view: Changed) -> Response:
    """Say what an item is; replaces what was said of it."""
    return affected(await _insert(view, [await read_object(request)]))


@router.post("/items")
async def insert_items(request: Request, view: Changed) -> Response:
    """Say what items are."""
    return affected(await _insert(view, await read_objects(request)))


async def _insert(view: GorseProject, given: list[dict[str, Any]]) -> int:
    rows = [_row(one) for one in given]
    if rows:
        await asyncio.wrap_future(view.project.records.put_items(rows))
    return len(rows)


def _row(one: dict[str, Any]) -> tuple[str, dict[str, Any], bool]:
    attributes = attributes_of(one.get("labels"), text(one.get("comment"), "Comment"))
    categories = texts(one.get("categories"), "Categories")
    if categories:
        attributes["categories"] = list(dict.fromkeys(categories))
    created = moment_us(one.get("timestamp"))
    if created is not None:
        attributes["created_at"] = told(created)
    return named(one.get("itemid"), "ItemId"), attributes, bool(flag(one.get("ishidden"), "IsHidden"))


def _as_given(item: dict[str, Any]) -> dict[str, Any]:
    """An item as a client would send it."""
    return {name.lower(): value for name, value in item.items()}


@router.get("/items")
async def list_items(request: Request, view: Asked) -> Response:
    """All items, or those whose id or title has `q` in it."""
    n = integer(request, "n", view.config.default_n)
    cursor = request.query_params.get("cursor", "")
    if not re.fullmatch(r"\d{0,15}", cursor):
        raise bad("invalid cursor")
    found, following = await asyncio.to_thread(
        _page, view, request.query_params.get("q", ""), n, int(cursor or 0)
    )
    return answer({"Cursor": "" if following is None else str(following), "Items": found})


def _page(view: GorseProject, q: str, n: int, first: int) -> tuple[list[dict[str, Any]], int | None]:
    """Up to n items that were not deleted, and where to go on."""
    found: list[dict[str, Any]] = []
    following: int | None = first
    while following is not None and len(found) < n:
        names, following = view.project.catalogue.search(q[:200], n - len(found), following)
        gone = _deleted(view, names)
        items = (view.item(name) for name in names if name not in gone)
        found += [item for item in items if item is not None]
    return found, following


def _deleted(view: GorseProject, names: list[str]) -> set[str]:
    def work(connection: Connection) -> set[str]:
        found: set[str] = set()
        for first in range(0, len(names), 500):
            part = names[first : first + 500]
            chosen = select(kept.c.item_id).where(kept.c.item_id.in_(part), kept.c.is_deleted.is_(True))
            found.update(connection.execute(chosen).scalars())
        return found

    told_: set[str] = view.project.store.read(work) if names else set()
    return told_


async def _known(view: GorseProject, item_id: str) -> dict[str, Any]:
    item = view.item(item_id)
    # Only who may not be shown can have been deleted, so that most need no question to the database.
    if item is not None and item["IsHidden"] and await asyncio.to_thread(_deleted, view, [item_id]):
        item = None
    if item is None:
        raise ProblemError(404, f"{item_id[:80]}: item not found")
    return item


@router.get("/item/{item_id}")
async def get_item(item_id: str, view: Asked) -> Response:
    """One item."""
    return answer(await _known(view, item_id))


@router.patch("/item/{item_id}")
async def modify_item(item_id: str, request: Request, view: Changed) -> Response:
    """Change some fields of an item; what is absent or null stays."""
    given = await read_object(request)
    was = _as_given(await _known(view, item_id))
    changes = {name: given[name] for name in was if given.get(name) is not None and name != "itemid"}
    return affected(await _insert(view, [was | changes]))


@router.delete("/item/{item_id}")
async def delete_item(item_id: str, view: Changed) -> Response:
    """Take an item away, with its feedback; the log of events stays."""
    named(item_id, "ItemId")
    if view.project.catalogue.index(item_id) is not None:
        await asyncio.wrap_future(view.project.records.delete_item(item_id))
    await asyncio.wrap_future(view.feedback.remove_item(item_id))
    return affected(1)


@router.put("/item/{item_id}/category/{category}")
async def insert_category(item_id: str, category: str, view: Changed) -> Response:
    """Put an item into a category."""
    was = _as_given(await _known(view, item_id))
    categories = [*(was["categories"] or []), named(category, "category")]
    return affected(await _insert(view, [was | {"categories": categories}]))


@router.delete("/item/{item_id}/category/{category}")
async def delete_category(item_id: str, category: str, view: Changed) -> Response:
    """Take an item out of a category."""
    was = _as_given(await _known(view, item_id))
    categories = [name for name in was["categories"] or [] if name != category]
    return affected(await _insert(view, [was | {"categories": categories}]))
