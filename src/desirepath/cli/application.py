# SPDX-License-Identifier: Apache-2.0
"""The application that commands register with, its consoles, and how an answer is shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import typer
from rich.console import Console

from desirepath import flows
from desirepath.bars import Bars

app = typer.Typer(
    help="From a raw log of user behaviour to profiles, predictions and honest recommendations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console()
err = Console(stderr=True)


def show(answer: flows.Answer, as_json: bool) -> None:
    """Print an answer as JSON, or as a person would like to read it."""
    if as_json:
        sys.stdout.write(json.dumps(answer.plain, indent=1, default=str, ensure_ascii=False) + "\n")
    else:
        answer.print(out)


def drawn(work: Callable[[flows.Progress], flows.Answer], as_json: bool) -> None:
    """Do the work under progress bars, and show its answer."""
    with Bars(err) as bars:
        answer = work(bars)
    show(answer, as_json)
