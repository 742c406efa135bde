# SPDX-License-Identifier: Apache-2.0
"""A small shop that is served in a test: a ring of items, a chain that knows it, a live store of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import uvicorn
from fastapi import FastAPI

import worlds
from desirepath.live.answer import Ask
from desirepath.live.project import Project
from desirepath.live.states import compile_kernels
from desirepath.models.markov import Markov
from desirepath.recommend.versions import Version
from desirepath.schema import ITEM
from desirepath.workspace import Workspace

LOCAL = "http://127.0.0.1"


def open_shop(folder: Path, name: str = "default") -> Project:
    """A project of 60 users and 12 items whose next is always the last one + 1."""
    sequences = worlds.cycle()
    version = Version(
        name="ring-1",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={"made_at": "2026-05-01T12:00:00+00:00", "trained_until_s": 1.7e9},
    )
    table = pl.DataFrame(
        {ITEM: [str(i) for i in range(12)], "title": [f"<script>alert({i})</script>" for i in range(12)]}
    )
    project = Project(name, Workspace.create(folder), sequences, version, table=table)
    # Whatever is compiled at first use is compiled now.
    compile_kernels()
    project.recommend(Ask(user_id="u1")).result(120)
    return project


@contextmanager
def served(app: FastAPI, **options: Any) -> Iterator[httpx.Client]:
    """A client of an application that listens on a port of its own, with everything between that is there."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not (server.started and server.servers):
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"{LOCAL}:{port}", timeout=20) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive(), "the server did not end"
