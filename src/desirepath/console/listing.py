# SPDX-License-Identifier: Apache-2.0
"""A page of all of something: a field that finds one of them, and the table of all.

What they are, and what is told of them, is the business of the pages that show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from nicegui import ui

from desirepath.console.controls import Suggest, aside, box, go, waiting
from desirepath.console.frame import Visit, card, empty
from desirepath.console.tables import Column, table
from desirepath.console.words import quoted

ROWS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is listed."""

    page: str
    """The page that it stands on, and the first part of its words: `.all`, `.all_note`, `.none`."""
    one: str
    """What the address of one of them calls it."""
    key: str
    """The column of ids."""
    label: str
    """Words above the field."""
    hint: str
    """Words in the field."""
    width: str
    find: Callable[[str], Sequence[dict[str, str]]]
    """What a text finds: id, title, and more."""
    load: Callable[[], pl.DataFrame]
    """The rows."""
    columns: Callable[[pl.DataFrame], list[Column]]
    """What is shown of them."""


async def listing(visit: Visit, of: Listing) -> None:
    """Show the field and the table; a choice in either opens the page of one."""
    words = visit.words

    def open_one(name: str) -> None:
        go(visit.link(of.page, f"{of.one}={quoted(name)}"))

    def open_row(row: Mapping[str, Any]) -> None:
        if row.get(of.key):
            open_one(str(row[of.key]))

    async def search(text: str) -> None:
        field.suggest(await aside(of.find, text))

    with box("dp-bar"):
        field = Suggest(
            of.label,
            search,
            open_one,
            placeholder=of.hint,
            nothing=words("trial.nothing"),
            width=of.width,
        )
    with card(words(f"{of.page}.all"), words(f"{of.page}.all_note")):
        place = waiting()
    await ui.context.client.connected()
    frame = await aside(of.load)
    place.clear()
    with place:
        if frame.height:
            table(frame, of.columns(frame), words, name=of.page, pick=open_row, n_rows=ROWS)
        else:
            empty(words(f"{of.page}.none"))
