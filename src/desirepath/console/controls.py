# SPDX-License-Identifier: Apache-2.0
"""The console's own controls: a list whose rows move, and a search field that asks the server.

Their templates print texts as texts, whatever stands in them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

P = ParamSpec("P")
R = TypeVar("R")


class Slate(Element, component="slate.js"):
    """A list of items; a click on a row chooses it."""

    def __init__(self, fresh: str, choose: Callable[[str], Any]) -> None:
        """An empty list.

        Args:
            fresh: the word for what was not in the list before.
            choose: called with the id of the row that was clicked.
        """
        super().__init__()
        self._props |= {"rows": [], "busy": False, "fresh": fresh}
        self.on("choose", lambda event: choose(str(event.args)))

    def show(self, rows: Sequence[dict[str, Any]]) -> None:
        """Show these rows: id, rank, move, title, why, tags, chance, width, say."""
        self._props["rows"] = list(rows)
        self._props["busy"] = False
        self.update()

    def wait(self) -> None:
        """Take no clicks until the next rows come."""
        self._props["busy"] = True
        self.update()


class Suggest(Element, component="suggest.js"):
    """A search field with suggestions."""

    def __init__(
        self,
        label: str,
        search: Callable[[str], Any],
        pick: Callable[[str], Any],
        *,
        placeholder: str = "",
        nothing: str = "",
        width: str = "100%",
    ) -> None:
        """An empty field.

        Args:
            label: what is searched for.
            search: called with the text so far; answers through `suggest`.
            pick: called with the id that was picked.
            placeholder: what stands in the empty field.
            nothing: what the list says where nothing was found.
            width: CSS width.
        """
        super().__init__()
        self._props |= {
            "label": label,
            "placeholder": placeholder,
            "nothing": nothing,
            "found": [],
            "value": "",
            "width": width,
        }
        self.on("search", lambda event: search(str(event.args or "")))
        self.on("pick", lambda event: pick(str(event.args)))

    def suggest(self, found: Sequence[dict[str, str]]) -> None:
        """Offer these: id, title, more."""
        self._props["found"] = list(found)
        self.update()

    def put(self, text: str) -> None:
        """Write a text into the field."""
        self._props["value"] = text
        self.update()


async def aside(work: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
    """The result of `work`, done in a thread, for a page that is still open.

    Raises:
        CancelledError: whoever looked has left, so that nothing is to be shown any more.
    """
    client = ui.context.client
    result = await asyncio.to_thread(work, *args, **options)
    if client.is_deleted:
        raise asyncio.CancelledError
    return result


async def done(work: Future[R]) -> R:
    """The result of something that is under way, for a page that is still open; as `aside`."""
    client = ui.context.client
    result = await asyncio.wrap_future(work)
    if client.is_deleted:
        raise asyncio.CancelledError
    return result


def go(address: str) -> None:
    """Lead the browser to an address of this server, prefix included."""
    ui.run_javascript(f"location.href = {json.dumps(address)}")


def waiting() -> ui.element:
    """A quiet sign that something is being computed; whatever fills the place clears it."""
    with box("dp-waiting") as made:
        for _ in range(3):
            box("", "i")
    return made


def box(classes: str, tag: str = "div") -> ui.element:
    """An element with classes of the style sheet."""
    return ui.element(tag).classes(classes)


class Text(TextElement):
    """An element that holds a text, shown as it stands."""

    def __init__(self, words: object, classes: str = "", tag: str = "div") -> None:
        """Show `words` in an element of that tag and those classes."""
        super().__init__(tag=tag, text=str(words))
        self.classes(classes)


def choice(label: str, names: Sequence[str], choose: Callable[[str], None]) -> None:
    """A field with one of `names`, the first at the start; `choose` is given each that is chosen.

    A browser sends the place of what it chose, so that nothing but a name that was offered comes out.
    """

    def chosen(place: object) -> None:
        if str(place).isdigit() and int(str(place)) < len(names):
            choose(names[int(str(place))])

    with box("dp-field", "label").style("width: 200px"):
        Text(label, tag="span")
        with box("", "select") as picker:
            for place, name in enumerate(names):
                option = Text(name, tag="option")
                option._props["value"] = str(place)
        picker.on("change", lambda event: chosen(event.args), js_handler="(e) => emit(e.target.value)")


def meter(name: str, told: str, share: float, more: str = "") -> None:
    """A named share as a bar."""
    with box("", "li"):
        with box("dp-name"):
            Text(name, tag="span")
            with box("", "span"):
                if more:
                    Text(f"{more} ", "dp-trend", "span")
                Text(told, tag="span")
        with box("dp-meter"):
            box("", "i").style(f"width: {100 * min(1.0, max(0.0, share)):.1f}%")
