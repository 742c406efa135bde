# SPDX-License-Identifier: Apache-2.0
"""The REST interface of Gorse under /api, so that its clients work unchanged; answers are the engine's own.

Routes and semantics follow Gorse's documentation ("RESTful APIs", gorse.io) and its clients' requests.
"""

from __future__ import annotations

from fastapi import FastAPI

from desirepath.serving.gorse import feedback, health, items, recommend, users
from desirepath.serving.gorse.door import PREFIX, GorseDoor
from desirepath.serving.gorse.project import GorseConfig, Projects

__all__ = ["GorseConfig", "add_gorse"]


def add_gorse(app: FastAPI) -> None:
    """Answer Gorse's clients too; to be called once all guards stand, for its door comes before them."""
    app.state.gorse = Projects()
    for room in (health, users, items, feedback, recommend):
        app.include_router(room.router, prefix=PREFIX.rstrip("/"), include_in_schema=False)
    app.add_middleware(GorseDoor)
