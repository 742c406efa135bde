# SPDX-License-Identifier: Apache-2.0
"""What this machine and a workspace can do, and what is wrong with them."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

import desirepath
from desirepath.errors import DesirepathError
from desirepath.events.log import EventLog
from desirepath.flows.words import Answer
from desirepath.sequences import Sequences
from desirepath.workspace import Workspace

OPTIONAL = {
    "torch": ("models", "no transformer"),
    "implicit": ("models", "no ALS and BPR"),
    "plotly": ("report", "no report"),
    "kaleido": ("plot", "no PNG, SVG or PDF"),
    "adbc_driver_sqlite": ("sql", "no reading from SQLite"),
    "adbc_driver_postgresql": ("sql", "no reading from PostgreSQL"),
}


def doctor(folder: Path | None = None) -> Answer:
    """The machine, the optional parts, and, when a folder is named, whether its workspace is sound."""
    facts, problems = _machine(), []
    for package, (extra, lack) in OPTIONAL.items():
        if find_spec(package) is None:
            facts[package] = f"absent: {lack}; pip install 'desirepath[{extra}]'"
        else:
            facts[package] = metadata.version(package)
    if find_spec("torch") is not None:
        facts |= _torch()
    if folder is not None:
        try:
            facts |= _workspace(Workspace.open(folder))
        except DesirepathError as error:
            problems.append(str(error))
    table = Table(title="Desirepath on this machine", title_justify="left", box=None, show_header=False)
    for name, value in facts.items():
        table.add_row(f"[dim]{name}[/]", str(value))
    said = [f"[red]x[/] {problem}" for problem in problems] or ["[green]Nothing is wrong.[/]"]
    return Answer({"facts": facts, "problems": problems}, [table, *said])


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "desirepath": desirepath.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": cores,
        "memory": f"{memory:.1f} GiB",
        "free disk here": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB",
        "polars": metadata.version("polars"),
    }


def _torch() -> dict[str, Any]:
    import torch

    from desirepath.models.losses import product_dtype

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "no CUDA device"
    return {
        "training on": f"{device.type} ({name})",
        "products in": str(product_dtype("auto", device)).removeprefix("torch."),
    }


def _workspace(workspace: Workspace) -> dict[str, Any]:
    log = EventLog(workspace.events)
    facts: dict[str, Any] = {"workspace": str(workspace.folder), "events": f"{len(log):,}"}
    steps = ("ingest", "sequences", "train", "final", "run")
    facts["done"] = ", ".join(step for step in steps if workspace.step(step)) or "nothing yet"
    if workspace.step("sequences") and workspace.sequences.exists():
        sequences = Sequences.load(workspace.sequences)
        if sequences.n_events != len(log):
            raise DesirepathError(
                f"The sequences must hold the log's {len(log):,} events; they hold {sequences.n_events:,}. "
                f"Remove {workspace.sequences}; the next command builds them anew."
            )
        starts = np.zeros(sequences.n_events, dtype=np.bool_)
        starts[sequences.offsets[:-1][sequences.lengths > 0]] = True
        if sequences.n_events and (np.diff(sequences.time_s)[~starts[1:]] < 0).any():
            raise DesirepathError(
                f"Times must not decrease within a user; in {workspace.sequences} they do. "
                "Remove that folder; the next command builds it anew."
            )
        facts["users"], facts["items"] = f"{sequences.n_users:,}", f"{sequences.n_items:,}"
    return facts
