# SPDX-License-Identifier: Apache-2.0
"""The pages that people look at, given what only the flows can compute for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from desirepath.live.project import Project


def show_console(app: FastAPI, projects: Mapping[str, Project]) -> None:
    """Put the pages of `projects` on `app`, at /console."""
    from desirepath.console import Views, mount

    mount(app, projects, Views())
