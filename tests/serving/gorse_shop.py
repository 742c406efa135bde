# SPDX-License-Identifier: Apache-2.0
"""A small workspace that came from a Gorse dump, served with a chain that knows it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from shop import served

from desirepath.flows.importing import Foreign, import_from
from desirepath.flows.items import items_table
from desirepath.flows.people import users_table
from desirepath.live.project import Project
from desirepath.models.markov import Markov
from desirepath.recommend.versions import Version
from desirepath.sequences.current import open_sequences
from desirepath.serving.app import make_app
from desirepath.workspace import Workspace

sys.path.append(str(Path(__file__).parents[1] / "events"))
from gorse_dump import dump

N_USERS, N_ITEMS, LENGTH = 30, 12, 8
BEGINNING = datetime(2024, 5, 1)


def write_dump(path: Path) -> Path:
    """Everybody walks round a ring of items, reads each and stars every third."""
    items = [
        {
            "item_id": f"i{n}",
            "categories": ["even" if n % 2 == 0 else "odd", *(["rare"] if n == 4 else [])],
            "timestamp": BEGINNING + timedelta(days=n),
            "labels": f'{{"size": {n}, "tags": ["t{n % 3}"]}}'.encode(),
            "comment": f"Item {n}",
        }
        for n in range(N_ITEMS)
    ]
    users = [{"user_id": f"u{n}", "labels": f'{{"age": {20 + n}}}'.encode()} for n in range(N_USERS)]
    feedback = []
    for user in range(N_USERS):
        for step in range(LENGTH):
            key = {"user_id": f"u{user}", "item_id": f"i{(user + step) % N_ITEMS}"}
            moment = BEGINNING + timedelta(hours=100 * user + step)
            feedback.append(key | {"feedback_type": "read", "value": 1.0, "timestamp": moment})
            if step % 3 == 0:
                feedback.append(key | {"feedback_type": "star", "timestamp": moment + timedelta(minutes=1)})
    path.write_bytes(dump(users, items, feedback))
    return path


def open_workspace(folder: Path) -> Path:
    """The workspace that `desirepath import` makes of the dump."""
    path = write_dump(folder / "dump.bin")
    import_from(Foreign(sources=[str(path)]), folder / "workspace", ["cleaning.robots=false"])
    return folder / "workspace"


def open_project(folder: Path) -> Project:
    """The workspace in `folder`, answered for by a chain that was fitted to it."""
    workspace = Workspace.open(folder)
    sequences = open_sequences(workspace)
    version = Version(
        name="ring-1",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={},
    )
    tables = {"table": items_table(workspace), "user_table": users_table(workspace)}
    return Project("default", workspace, sequences, version, **tables)


@contextmanager
def gorse_served(folder: Path) -> Iterator[tuple[httpx.Client, Project]]:
    """A server of the workspace, and a client of it."""
    project = open_project(folder)
    with served(make_app({"default": project})) as client:
        yield client, project
