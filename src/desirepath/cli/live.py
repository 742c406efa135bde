# SPDX-License-Identifier: Apache-2.0
"""Upkeep of a live store."""

from __future__ import annotations

from typing import Annotated

import typer

from desirepath.cli.application import app, drawn
from desirepath.cli.options import Folder, Json


@app.command()
def compact(
    folder: Folder,
    database: Annotated[
        str,
        typer.Option("--database", metavar="URL", help="The live store; SQLite in the workspace without it."),
    ] = "",
    keep_days: Annotated[
        float, typer.Option("--keep-days", help="Days for which packed events stay in the live store.")
    ] = 7.0,
    as_json: Json = False,
) -> None:
    """Pack what came in while serving into the event log; a server may run meanwhile."""
    from desirepath.flows import compaction

    drawn(lambda progress: compaction.compact(folder, keep_days, database, progress), as_json)
