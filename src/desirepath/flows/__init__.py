# SPDX-License-Identifier: Apache-2.0
"""Flows: each joins rooms into one thing that a user asks for, in about thirty lines.

Importing this package is light; a flow's own imports happen when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from desirepath.events.raw import ColumnChoice
from desirepath.flows.progress import Progress, silent
from desirepath.flows.words import Answer, Asked, Given, Output, Selection

if TYPE_CHECKING:
    from desirepath.flows.examination import doctor
    from desirepath.flows.exportation import export
    from desirepath.flows.ingestion import ingest, inspect
    from desirepath.flows.learning import evaluate, train
    from desirepath.flows.marketplace import demo
    from desirepath.flows.mining import mine
    from desirepath.flows.people import profile, segments
    from desirepath.flows.pipeline import run
    from desirepath.flows.recommendation import recommend
    from desirepath.flows.serving import serve, serve_configs
    from desirepath.serving.options import ServeConfig

_PLACES = {
    "ServeConfig": "serving",
    "demo": "marketplace",
    "doctor": "examination",
    "evaluate": "learning",
    "export": "exportation",
    "ingest": "ingestion",
    "inspect": "ingestion",
    "mine": "mining",
    "profile": "people",
    "recommend": "recommendation",
    "run": "pipeline",
    "segments": "people",
    "serve": "serving",
    "serve_configs": "serving",
    "train": "learning",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'desirepath.flows' has no attribute '{name}'")
    return getattr(import_module(f"desirepath.flows.{_PLACES[name]}"), name)


__all__ = [
    "Answer",
    "Asked",
    "ColumnChoice",
    "Given",
    "Output",
    "Progress",
    "Selection",
    "ServeConfig",
    "demo",
    "doctor",
    "evaluate",
    "export",
    "ingest",
    "inspect",
    "mine",
    "profile",
    "recommend",
    "run",
    "segments",
    "serve",
    "serve_configs",
    "silent",
    "train",
]
