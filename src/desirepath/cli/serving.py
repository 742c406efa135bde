# SPDX-License-Identifier: Apache-2.0
"""The live side: serve a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from desirepath import flows
from desirepath.cli.application import app, err


@app.command()
def serve(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Workspaces; the first is the default.")
    ],
    host: Annotated[str, typer.Option("--host", help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0 takes a free one.")] = 8088,
    database: Annotated[
        str,
        typer.Option("--database", metavar="URL", help="The live store; SQLite in the workspace without it."),
    ] = "",
) -> None:
    """Serve recommendations that know the last click, and take events, over HTTP and in a browser."""
    config = flows.ServeConfig(host=host, port=port, database=database)
    err.print(f"Opening {', '.join(map(str, folders))} ...")
    flows.serve(folders, config)
