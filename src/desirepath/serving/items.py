# SPDX-License-Identifier: Apache-2.0
"""Items: what they are, found again, and what is like them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath
from pydantic import Field

from desirepath.live.project import Project
from desirepath.serving.access import Admin, Reader
from desirepath.serving.paths import IdRoute
from desirepath.serving.problems import ProblemError
from desirepath.serving.shapes import (
    PLAIN,
    ChangesOut,
    ItemIn,
    ItemOut,
    ItemPatch,
    ItemsPage,
    LikeItems,
    TrendingOut,
)

router = APIRouter(tags=["items"], route_class=IdRoute)
MOST = 1000
ItemId = Annotated[str, InPath(min_length=1, max_length=512, pattern=PLAIN)]
Many = Annotated[int, Query(ge=1, le=MOST)]


@router.put("/items", response_model=ChangesOut)
async def put_items(
    body: Annotated[list[ItemIn], Field(min_length=1, max_length=MOST)], project: Admin
) -> dict[str, int]:
    """Say what items are; each replaces what was said of it. New ones can be shown at once."""
    rows = [(item.item_id, item.attributes, item.is_hidden) for item in body]
    changes = await asyncio.wrap_future(project.records.put_items(rows))
    return {"created": changes.count("created"), "replaced": changes.count("replaced")}


@router.get("/items", response_model=ItemsPage)
async def find_items(
    project: Reader,
    q: Annotated[str, Query(max_length=200, description="Part of an id or title.")] = "",
    n: Many = 20,
    cursor: Annotated[str, Query(max_length=20, pattern=r"^\d{0,18}$")] = "",
) -> dict[str, Any]:
    """Items whose id or title has `q` in it, whatever the case; all without it."""
    found, following = await asyncio.to_thread(project.catalogue.search, q, n, int(cursor or 0))
    items = [project.records.item(item_id) for item_id in found]
    return {"items": items, "cursor": None if following is None else str(following)}


@router.get("/items/{item_id}", response_model=ItemOut)
async def get_item(item_id: ItemId, project: Reader) -> dict[str, Any]:
    """What is known of an item."""
    return project.records.item(item_id)


@router.patch("/items/{item_id}", response_model=ItemOut)
async def patch_item(item_id: ItemId, body: ItemPatch, project: Admin) -> dict[str, Any]:
    """Change some attributes of an item, or hide it."""
    changed = project.records.patch_item(item_id, body.attributes, is_hidden=body.is_hidden)
    found: dict[str, Any] = await asyncio.wrap_future(changed)
    return found


@router.delete("/items/{item_id}", status_code=204)
async def delete_item(item_id: ItemId, project: Admin) -> Response:
    """Never show an item again, and forget what it is; what people did to it stays in the log."""
    await asyncio.wrap_future(project.records.delete_item(item_id))
    return Response(status_code=204)


@router.get("/items/{item_id}/similar", response_model=LikeItems, tags=["recommendations"])
async def similar_items(item_id: ItemId, project: Reader, k: Many = 10) -> Response:
    """Items like this one, by what people do with both."""
    neighbours = project.neighbours
    found = await asyncio.to_thread(neighbours.items, item_id, k)
    return plain({"items": found, "model_version": neighbours.model_version})


@router.get("/trending", response_model=TrendingOut, tags=["recommendations"])
async def trending(project: Reader, k: Many = 10) -> Response:
    """What has been popular of late, until this moment."""
    return plain({"items": popular(project, k), "half_life_days": project.trending.half_life_s / 86_400.0})


def popular(project: Project, k: int) -> list[dict[str, Any]]:
    """The k items with the largest shares, hidden ones left out."""
    best, shares = project.trending.best(project.catalogue.hidden, k)
    names = [project.catalogue.ids[ix] for ix in best.tolist()]
    return [
        {"item_id": name, "title": project.catalogue.title(name), "share": share}
        for name, share in zip(names, shares.tolist(), strict=True)
    ]


def plain(value: Any) -> Response:
    """A JSON response of plain values."""
    return Response(orjson.dumps(value), media_type="application/json")


def missing(what: str) -> ProblemError:
    """The problem of something that is not there."""
    return ProblemError(404, what)
