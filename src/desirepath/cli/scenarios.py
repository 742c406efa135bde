# SPDX-License-Identifier: Apache-2.0
"""Scenarios before they go live: what they would bring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from desirepath.cli.application import app, show
from desirepath.cli.options import Folder, Json

scenarios = typer.Typer(help="The rules of lists: what others would bring.", no_args_is_help=True)
app.add_typer(scenarios, name="scenarios")


@scenarios.callback()
def _group() -> None:
    """Keep the verbs under their noun, even while there is only one."""


@scenarios.command()
def value(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The scenario whose lists were served.")],
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="FILE", help="An edited TOML; its scenario NAME is valued."),
    ] = None,
    other: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Value another scenario of the workspace instead.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="SPAN", help="How far back: 48h, 7d, 2w or a date.")
    ] = "30d",
    most: Annotated[int, typer.Option("--most", min=1, help="The newest so many lists.")] = 5_000,
    database: Annotated[
        str,
        typer.Option("--database", metavar="URL", help="The live store; SQLite in the workspace without it."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Say what a list of a changed scenario would bring, from lists that were served."""
    from desirepath.flows import valuation

    candidate = valuation.Candidate(scenario=name, other=other, rules=rules)
    show(valuation.value(folder, candidate, since, most, database), as_json)
