# SPDX-License-Identifier: Apache-2.0
"""The trained models: which answers, which waits, and retraining."""

from __future__ import annotations

from typing import Annotated

import typer

from desirepath.cli.application import app, show
from desirepath.cli.options import Folder, Json

models = typer.Typer(
    help="The trained models of a workspace: list them, promote one, go back.", no_args_is_help=True
)
app.add_typer(models, name="models")
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the history.")]


@models.command("list")
def listed(folder: Folder, as_json: Json = False) -> None:
    """Show every version with its state, what it learned from and how it was judged."""
    from desirepath.flows import registry

    show(registry.models(folder), as_json)


@models.command()
def promote(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="VERSION", help="A name of `models list`.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Let a version answer from now on."""
    from desirepath.flows import registry

    show(registry.promote(folder, name, reason), as_json)


@models.command()
def rollback(folder: Folder, reason: Reason = "", as_json: Json = False) -> None:
    """Let the version before answer again; can be repeated."""
    from desirepath.flows import registry

    show(registry.rollback(folder, reason), as_json)
