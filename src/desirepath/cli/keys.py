# SPDX-License-Identifier: Apache-2.0
"""Keys: who may ask a server of this workspace, and for what."""

from __future__ import annotations

from typing import Annotated

import typer

from desirepath.cli.application import app, show
from desirepath.cli.options import Folder, Json

keys = typer.Typer(help="Keys that open a server: make, list, revoke, rotate.", no_args_is_help=True)
app.add_typer(keys, name="keys")
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The id of a key, as `keys list` shows it.")]


@keys.command()
def create(
    folder: Folder,
    scope: Annotated[
        str, typer.Option("--scope", help="read: ask. events: only send events, for browsers. admin: all.")
    ] = "read",
    label: Annotated[str, typer.Option("--label", help="What it is for, to know it again.")] = "",
    expires: Annotated[
        float | None,
        typer.Option("--expires", metavar="DAYS", help="Days that it works; for ever without it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    from desirepath.flows.keys import create_key

    show(create_key(folder, scope, label, expires), as_json)


@keys.command("list")
def listed(folder: Folder, as_json: Json = False) -> None:
    """Show the keys: what each is for, and whether it works."""
    from desirepath.flows.keys import list_keys

    show(list_keys(folder), as_json)


@keys.command()
def revoke(folder: Folder, key_id: KeyId, as_json: Json = False) -> None:
    """Make a key worthless; a running server knows at once."""
    from desirepath.flows.keys import revoke_key

    show(revoke_key(folder, key_id), as_json)


@keys.command()
def rotate(
    folder: Folder,
    key_id: KeyId,
    overlap: Annotated[
        float,
        typer.Option("--overlap", metavar="HOURS", help="How long the old key goes on to work."),
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """Make a key like an old one, which ends after a while."""
    from desirepath.flows.keys import rotate_key

    show(rotate_key(folder, key_id, overlap), as_json)
