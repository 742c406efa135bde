# SPDX-License-Identifier: Apache-2.0
"""Who may do what to which project. Without keys, everything on this machine's own address is allowed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from desirepath.live.project import Project


def _project(request: Request) -> Project:
    project: Project = request.app.state.projects["default"]
    return project


Reader = Annotated[Project, Depends(_project)]
"""The project that the caller may ask."""
Writer = Annotated[Project, Depends(_project)]
"""The project that the caller may send events to."""
Admin = Annotated[Project, Depends(_project)]
"""The project that the caller may change."""
