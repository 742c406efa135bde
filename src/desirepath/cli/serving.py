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
    host: Annotated[str | None, typer.Option("--host", help="Address to bind; 127.0.0.1 without it.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port; 8088 without it, 0 takes a free one.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="URL", help="The live store; SQLite in the workspace without it."),
    ] = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="FORM", help="auto, json, text or none.")
    ] = None,
) -> None:
    """Serve recommendations that know the last click, and take events, over HTTP and in a browser."""
    given = {"host": host, "port": port, "database": database, "log": log}
    changes = {name: value for name, value in given.items() if value is not None}
    config, limits = flows.serve_configs(folders[0], **changes)
    err.print(f"Opening {', '.join(map(str, folders))} ...")

    def announce(address: str) -> None:
        err.print(
            f"Desirepath answers at [bold]{address}[/] (the console; {address}/docs tells the API).",
            soft_wrap=True,
        )

    flows.serve(folders, config, limits, announce=announce)
