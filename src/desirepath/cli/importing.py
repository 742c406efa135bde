# SPDX-License-Identifier: Apache-2.0
"""The verb that brings another system's data in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from desirepath.cli.application import app, drawn
from desirepath.cli.options import Json, Rejects, Set, To
from desirepath.events.foreign import FORMATS

_EXPORT = typer.Argument(
    metavar="[FORMAT] FILE...",
    help=f"{', '.join(FORMATS)} (told by the content where it is left out), then files, folders or globs.",
)


@app.command("import")
def import_(
    words: Annotated[list[str], _EXPORT],
    to: To,
    partial: Annotated[
        bool, typer.Option("--partial", help="Take what is whole of a dump that is cut or broken.")
    ] = False,
    rejects: Rejects = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Bring data in from Gorse, Amazon Personalize or Metarank; the same files twice add nothing."""
    from desirepath.flows.importing import Foreign, import_from

    format = words[0] if words[0] in FORMATS and (len(words) > 1 or not Path(words[0]).exists()) else None
    sources = words[1:] if format else words
    given = Foreign(sources=sources, format=format, partial=partial, rejects=rejects)
    drawn(lambda progress: import_from(given, to, settings or [], progress), as_json)
