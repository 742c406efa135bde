# SPDX-License-Identifier: Apache-2.0
"""What the pages are given: the projects, and what only higher rooms can compute, as plain functions.

It knows the live side; what is not given shows as an empty state that says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from desirepath.console.pulse import Pulse
from desirepath.console.taste import Taste
from desirepath.live.directory import Directory
from desirepath.live.project import Project
from desirepath.report.behaviour import BehaviourData


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What pages ask of rooms above this one; each is called in a thread, and may take its time."""

    behaviour: Callable[[Project], BehaviourData | None] | None = None
    """What was mined of a project, or None where nothing was."""
    settings: Callable[[Project], pl.DataFrame] | None = None
    """option, value, default, meaning: the resolved configuration."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One project as the pages see it."""

    name: str
    project: Project
    views: Views
    pulse: Pulse
    taste: Taste
    directory: Directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """All that the pages of one server share."""

    desks: Mapping[str, Desk]
    views: Views = field(default_factory=Views)

    def seen_by(self, caller: object) -> Console:
        """The same for who came with a key, which opens one project; all of it where no key is needed.

        Args:
            caller: what the gate before the application knows of him: `project`, and `key_id` or None.
        """
        if getattr(caller, "key_id", None) is None:
            return self
        name = getattr(caller, "project", "")
        return replace(self, desks={name: self.desks[name]})

    def desk(self, name: str | None) -> Desk:
        """The project of that name; the first where the name is not known."""
        found = self.desks.get(name or "")
        return next(iter(self.desks.values())) if found is None else found
