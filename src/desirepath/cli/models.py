# SPDX-License-Identifier: Apache-2.0
"""The trained models: which answers, which waits, and retraining."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from desirepath.cli.application import app, drawn, show
from desirepath.cli.options import Folder, Json, Set

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


@app.command()
def retrain(
    folder: Folder,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Which model; of the current kind without it.")
    ] = "",
    promote: Annotated[
        Literal["shadow", "gate", "never"] | None,
        typer.Option("--promote", help="What lets it answer by itself: [retrain] promote."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", help="How much worse is not worse, as a share of NDCG@10.")
    ] = None,
    database: Annotated[
        str, typer.Option("--database", metavar="URL", help="The live store, if it is not in the workspace.")
    ] = "",
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Train a model anew on the log, judge it against the current one, and keep it as the candidate."""
    from desirepath.flows.retraining import retrain, retrain_config

    changes = {"model": model or None, "promote": promote, "margin": margin}
    options = retrain_config(folder, **{key: value for key, value in changes.items() if value is not None})
    drawn(
        lambda progress: retrain(folder, settings or [], progress, options=options, database=database),
        as_json,
    )
