# SPDX-License-Identifier: Apache-2.0
"""The command line: verbs only. Each parses its words, calls a flow, and prints what came back.

Exit codes: 0 fine, 1 failed, 2 wrong use, 3 the data cannot support an answer, 130 interrupted.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer
from polars.exceptions import PanicException
from rich.console import RenderableType
from rich.markup import escape

import desirepath
from desirepath.cli import bench, importing, keys, live, mining, models, people, scenarios, serving, verbs
from desirepath.cli.application import app, err, out
from desirepath.errors import DesirepathError

__all__ = [
    "app",
    "bench",
    "importing",
    "keys",
    "live",
    "main",
    "mining",
    "models",
    "people",
    "scenarios",
    "serving",
    "verbs",
]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        out.print(f"desirepath {desirepath.__version__}", highlight=False)
        raise typer.Exit


def _fail(message: RenderableType, code: int) -> None:
    err.print(message, soft_wrap=True)
    sys.exit(code)


def main() -> None:
    """Run the command line; every error ends in one sentence and an exit code."""
    try:
        app()
    except DesirepathError as error:
        _fail(f"[bold red]error:[/] {escape(str(error))}", error.exit_code)
    except KeyboardInterrupt:
        _fail("[yellow]stopped.[/] The same command goes on from here.", 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; there is no one to tell
        sys.exit(1)
    except PanicException as error:  # a BaseException: polars found a file damaged in its depths
        reason = escape(str(error).partition("\n")[0])
        _fail(f"[bold red]error:[/] A file is damaged; polars stopped at it: {reason}. Restore it.", 1)
    except OSError as error:
        hint = {
            errno.ENOSPC: "The disk is full. Free some space; the same command goes on from here.",
            errno.EDQUOT: "The disk quota is used up. Free some space; the same command goes on from here.",
            errno.EACCES: "It is not permitted. Choose another place, or change its permissions.",
            errno.EROFS: "The file system is read-only. Choose another place.",
        }.get(error.errno or 0)
        if hint is None:
            raise
        place = error.filename or "a file"
        _fail(f"[bold red]error:[/] {escape(str(place))}: {hint}", 1)
