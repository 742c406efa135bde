# SPDX-License-Identifier: Apache-2.0
"""One project as Gorse's clients see it: its users, its items, its feedback, the names of its recommenders.

It is made when the first request comes, so that who does not use this interface pays nothing for it. It
speaks to the live side and knows no routes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import Depends, Request

from desirepath.config import from_toml, resolve
from desirepath.errors import ConfigError
from desirepath.events.log import EventLog
from desirepath.live.feedback import Feedback
from desirepath.live.project import Project
from desirepath.live.roster import Roster
from desirepath.serving.access import Admin, Reader, Writer
from desirepath.serving.gorse.wire import moment_us, told
from desirepath.serving.problems import ProblemError

LIKE = ("neighbors", "similar")
"""Names of item-to-item and user-to-user recommenders that are always known."""
OWN = frozenset({"categories", "created_at", "comment", "labels", "title", "is_hidden"})
"""Attributes that are no labels."""
WAIT_S, LOOK_EVERY_S = 20.0, 0.05
"""How long a request waits for the log to be laid out, and how often it looks, seconds."""
Counted = Literal["popular", "trending", "latest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GorseConfig:
    """Names that the clients of a Gorse installation use; [gorse] in the TOML."""

    non_personalized: Mapping[str, Counted] = field(default_factory=dict)
    """Name of a non-personalized recommender to what stands for it here: popular, trending or latest."""
    item_to_item: tuple[str, ...] = ()
    """Names of item-to-item recommenders; all of them give items that are alike."""
    user_to_user: tuple[str, ...] = ()
    """Names of user-to-user recommenders; all of them give users who are alike."""
    default_n: int = 10
    """Length of a list or page where none is asked for, 1 or more."""

    def __post_init__(self) -> None:
        if self.default_n < 1:
            raise ConfigError(f"[gorse] default_n must be at least 1; got {self.default_n}.")


class GorseProject:
    """What the routes of Gorse ask of one project."""

    def __init__(self, project: Project) -> None:
        """Read the names in the TOML, and make the table of feedback where there is none.

        Raises:
            ConfigError: [gorse] in the workspace's TOML is wrong.
        """
        self.project = project
        said = from_toml(project.workspace.settings_path).get("gorse", {})
        self.config: GorseConfig = resolve({"gorse": GorseConfig}, {"gorse": said})["gorse"]
        self.feedback = Feedback(project.store, EventLog(project.workspace.events))
        project.listeners.append(self.feedback.heed)
        self.users = Roster(project)

    def counted(self, name: str) -> Counted:
        """What stands for a non-personalized recommender.

        Raises:
            ProblemError: 404 where there is none of that name.
        """
        known: dict[str, Counted] = {"popular": "popular", "trending": "trending", "latest": "latest"}
        known |= self.config.non_personalized
        if name not in known:
            raise ProblemError(404, f"recommender {name[:80]} not found; known: {', '.join(known)}")
        return known[name]

    def check_like(self, name: str, kind: Literal["item_to_item", "user_to_user"]) -> None:
        """See that there is a recommender of likeness of that name.

        Raises:
            ProblemError: 404 where there is none.
        """
        known = (*LIKE, *getattr(self.config, kind))
        if name not in known:
            raise ProblemError(404, f"recommender {name[:80]} not found; known: {', '.join(known)}")

    async def seen_feedback(self) -> Feedback:
        """The feedback with everything that is known now.

        Raises:
            ProblemError: 503 while a large log is laid out for the first time.
        """
        await asyncio.to_thread(self.feedback.catch_up)
        loop = asyncio.get_running_loop()
        ends = loop.time() + WAIT_S
        while not self.feedback.is_laid_out:
            laying = loop.run_in_executor(None, self.feedback.lay_out)
            try:
                async with asyncio.timeout_at(ends):
                    if not await asyncio.shield(laying):  # another request is about it
                        await asyncio.sleep(LOOK_EVERY_S)
            except TimeoutError:
                raise ProblemError(
                    503,
                    "the log's feedback is laid out for the first time; try again in a moment",
                    headers={"Retry-After": "5"},
                ) from None
        return self.feedback

    def item(self, item_id: str) -> dict[str, Any] | None:
        """An item as Gorse writes it; None where it is not known."""
        catalogue = self.project.catalogue
        ix = catalogue.index(item_id)
        if ix is None:
            return None
        known = catalogue.attributes(item_id)
        return {
            "ItemId": item_id,
            "IsHidden": bool(catalogue.hidden[ix]),
            "Categories": _list(known.get("categories")),
            "Timestamp": told(_moment(known.get("created_at"))),
            "Labels": labels_of(known),
            "Comment": str(known.get("comment") or ""),
        }


def user(user_id: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """A user as Gorse writes him."""
    return {"UserId": user_id, "Labels": labels_of(known), "Comment": str(known.get("comment") or "")}


def labels_of(known: Mapping[str, Any]) -> Any:
    """The labels that were given; or what else is known, where none were."""
    if "labels" in known:
        given = known["labels"]
        return orjson.loads(given) if isinstance(given, str) else given
    rest = {name: _plain(value) for name, value in known.items() if name not in OWN and value is not None}
    if "title" in known and "comment" not in known and known["title"] is not None:
        rest["title"] = known["title"]
    return rest or None


def attributes_of(labels: Any, comment: str | None) -> dict[str, Any]:
    """Labels and comment as attributes: the JSON itself, its scalars and lists of texts under their paths."""
    found: dict[str, Any] = {}
    if isinstance(labels, dict):
        _open(labels, "", found, 0)
        found = {name: value for name, value in found.items() if name not in OWN or name == "title"}
    if labels is not None:
        found["labels"] = orjson.dumps(labels).decode()
    if comment:
        found["comment"] = comment
        found.setdefault("title", comment)
    return found


def _open(value: Mapping[str, Any], path: str, found: dict[str, Any], depth: int) -> None:
    for key, part in value.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(part, dict) and depth < 8:
            _open(part, name, found, depth + 1)
        elif isinstance(part, list):
            if part and all(isinstance(one, str) for one in part):
                found[name] = part
        elif part is not None and len(found) < 50 and len(name) <= 128:
            found[name] = part


def _list(value: Any) -> list[str] | None:
    if value is None:
        return None
    return value.split("|") if isinstance(value, str) else [str(part) for part in value]


def _moment(value: Any) -> int | None:
    if isinstance(value, datetime):
        return moment_us(value.isoformat())
    if isinstance(value, str):
        try:
            return moment_us(value)
        except ProblemError:
            return None
    return round(value * 1e6) if isinstance(value, int | float) else None


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


class Projects:
    """The projects of an application as Gorse's clients see them, each made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[int, GorseProject] = {}
        self._lock = threading.Lock()

    def made(self, project: Project) -> GorseProject | None:
        """The view of one project, where there is one already."""
        return self._made.get(id(project))

    def of(self, project: Project) -> GorseProject:
        """The view of one project."""
        with self._lock:
            if id(project) not in self._made:
                self._made[id(project)] = GorseProject(project)
            return self._made[id(project)]


async def _view(request: Request, project: Project) -> GorseProject:
    projects: Projects = request.app.state.gorse
    made = projects.made(project)
    return made if made is not None else await asyncio.to_thread(projects.of, project)


async def _reading(request: Request, project: Reader) -> GorseProject:
    return await _view(request, project)


async def _sending(request: Request, project: Writer) -> GorseProject:
    return await _view(request, project)


async def _changing(request: Request, project: Admin) -> GorseProject:
    return await _view(request, project)


Asked = Annotated[GorseProject, Depends(_reading)]
"""The project of a caller who may ask."""
Sent = Annotated[GorseProject, Depends(_sending)]
"""The project of a caller who may send events."""
Changed = Annotated[GorseProject, Depends(_changing)]
"""The project of a caller who may change it."""
