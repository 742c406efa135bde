# SPDX-License-Identifier: Apache-2.0
"""Who people are: segments, and the portrait of one user or item."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from desirepath import flows
from desirepath.cli.application import app, drawn
from desirepath.cli.options import Folder, Json, Set


@app.command()
def segments(
    folder: Folder,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="The table: .parquet, .csv or .jsonl.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="A map: .html, .png, .svg or .pdf.")
    ] = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Part users into segments, name them by what sets them apart, and say who moved where."""
    output = flows.Output(k=50, to=to, plot=plot)
    drawn(lambda progress: flows.segments(folder, settings or [], output, progress), as_json)


@app.command()
def profile(
    folder: Folder,
    user: Annotated[str | None, typer.Option("--user", help="A known user.")] = None,
    item: Annotated[str | None, typer.Option("--item", help="A known item.")] = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """The portrait of one user or one item: course, rhythm, interests, segment, what comes next."""
    drawn(lambda progress: flows.profile(folder, user, item, settings or [], progress), as_json)
