# SPDX-License-Identifier: Apache-2.0
"""What surrounds every page: head, navigation, the two switches, and the blocks that pages are made of.

Head and navigation are plain HTML that stands before any script has run. It knows no data.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from nicegui import ui
from starlette.requests import Request

from desirepath.console.controls import Text, box
from desirepath.console.views import Console, Desk
from desirepath.console.words import LANGUAGES, Words, chosen_language, quoted

PREFIX: Final = "/console"
# fmt: off
PAGES: Final = {
    "trial": "M5 12h11M12 6l6 6-6 6M4 5v14",
    "overview": "M3 12h4l3-7 4 14 3-7h4",
    "users": "M9 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM2 21c0-4 3-6 7-6s7 2 7 6M16 4a4 4 0 0 1 0 7M18 15q4 1 4 6",
    "items": "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
    "patterns": "M3 6h5c5 0 3 12 8 12h5M3 18h5c2 0 3-2 3.6-4M13 9c.5-2 1.4-3 3-3h5",
    "segments": "M12 3v9h9A9 9 0 1 1 12 3zM16 3.5A9 9 0 0 1 20.5 8H16z",
    "models": "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
    "experiments": "M9 3h6M10 3v6L4.5 18.5A1.7 1.7 0 0 0 6 21h12a1.7 1.7 0 0 0 1.5-2.5L14 9V3M7 15h10",
    "quality": "M12 3l8 3v6c0 5-3.5 8-8 9-4.5-1-8-4-8-9V6zM8.5 12l2.5 2.5 4.5-5",
    "settings": "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5",
}
# fmt: on
"""Pages in the order of the navigation, each with the outline of its sign."""
_MARK = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" '
    'aria-hidden="true"><path d="M4 21C5 14 19 14 18 8.5"/>'
    '<circle cx="17.5" cy="5" r="2" fill="currentColor"/>'
    '<path d="M4 13c0-4 6-3 7-8" stroke-opacity=".4"/></svg>'
)
MIDDLING, LONG = 9, 14
"""Characters beyond which a figure is set smaller, and beyond which it is a name with more room."""
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Visit:
    """One visitor on one page."""

    console: Console
    desk: Desk
    words: Words
    page: str
    origin: str
    """Where the visitor reached this server, such as "http://127.0.0.1:8088"."""
    has_key: bool = False
    """Whether a key was needed to come in, so that there is something to leave."""

    def link(self, page: str, more: str = "") -> str:
        """The address of another page of the same project."""
        several = f"project={quoted(self.desk.name)}" if len(self.console.desks) > 1 else ""
        query = "&".join(part for part in (several, more) if part)
        return f"{PREFIX}/{page}" + (f"?{query}" if query else "")


@contextmanager
def framed(console: Console, request: Request, page: str, lead: bool = True) -> Iterator[Visit]:
    """The frame of a page around what is made within, with its title and first sentence."""
    cookies = request.cookies
    language = chosen_language(cookies.get("desirepath_language"), request.headers.get("accept-language"))
    caller = request.scope.get("caller")
    console = console.seen_by(caller)
    desk = console.desk(request.query_params.get("project"))
    origin = f"{request.url.scheme}://{request.url.netloc}"
    has_key = getattr(caller, "key_id", None) is not None
    visit = Visit(console, desk, Words(language), page, origin, has_key)
    words = visit.words
    theme = cookies.get("desirepath_theme")
    ui.page_title(f"{words(f'nav.{page}')} · Desirepath")
    ui.add_head_html(f"<style>{_file('style.css')}</style>")
    ui.add_body_html(_head(visit) + f"<script>{_file('shell.js')}</script>")
    if theme in ("light", "dark"):
        ui.dark_mode(theme == "dark")
    with box("dp-main", "main"):
        Text(words(f"{page}.title"), tag="h1")
        if lead:
            Text(words(f"{page}.lead"), "dp-lead", "p")
        yield visit


@contextmanager
def card(title: str, note: str = "", classes: str = "") -> Iterator[ui.element]:
    """A card with a heading, and a quiet sentence below it."""
    with box(f"dp-card {classes}", "section") as made:
        Text(title, tag="h2")
        if note:
            Text(note, "dp-note", "p")
        yield made


def empty(words: str, command: str = "") -> None:
    """A sentence that says why nothing is here and what to do, and the command that does it."""
    with box("dp-empty"):
        Text(words, tag="span")
        if command:
            Text(" ", tag="span")
            Text(command, tag="code")


def facts(numbers: list[tuple[str, str]]) -> list[Text]:
    """Large numbers with their names below; gives the elements of the numbers, to be changed later."""
    shown = []
    with box("dp-facts"):
        for number, name in numbers:
            with box("dp-fact"):
                n = len(number)
                size = "dp-long-one" if n > LONG else "dp-middling" if n > MIDDLING else ""
                shown.append(Text(number, size, tag="b"))
                Text(name, tag="span")
    return shown


@cache
def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _sign(path: str) -> str:
    return (
        '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7" '
        f'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="{path}"/></svg>'
    )


def _head(visit: Visit) -> str:
    """Head and navigation; every word is escaped."""
    words = visit.words
    links = "".join(
        f'<a href="{html.escape(visit.link(page))}"{" aria-current=page" if page == visit.page else ""}>'
        f"{_sign(path)}<span>{html.escape(words(f'nav.{page}'))}</span></a>"
        for page, path in PAGES.items()
    )
    other = next(code for code in LANGUAGES if code != words.language)
    themes = " ".join(
        f'data-{name}="{html.escape(words(f"nav.theme_{name}"))}"' for name in ("system", "light", "dark")
    )
    half = "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18"
    return (
        f'<script>document.documentElement.lang="{words.language}"</script>'
        '<header class="dp-head">'
        f'<a class="dp-brand" href="{html.escape(visit.link("trial"))}">{_MARK}Desirepath</a>'
        f'<span class="dp-room"></span>{_projects(visit)}'
        f'<button class="dp-switch" lang="{other}" title="{html.escape(words("nav.language"))}" '
        f"onclick=\"desirepath.language('{other}')\">{LANGUAGES[other]}</button>"
        f'<button class="dp-switch" id="dp-theme" title="{html.escape(words("nav.theme"))}" {themes} '
        f'onclick="desirepath.theme()">{_sign(half)}<span class="dp-long"></span></button>'
        f"{_leave(visit)}</header>"
        f'<nav class="dp-nav" aria-label="{html.escape(words("nav.pages"))}">{links}</nav>'
    )


def _leave(visit: Visit) -> str:
    if not visit.has_key:
        return ""
    words = html.escape(visit.words("nav.leave"))
    return f'<form method="post" action="/logout"><button class="dp-switch">{words}</button></form>'


def _projects(visit: Visit) -> str:
    if len(visit.console.desks) < 2:
        return ""
    options = "".join(
        f'<option value="{html.escape(name)}"{" selected" if name == visit.desk.name else ""}>'
        f"{html.escape(name)}</option>"
        for name in visit.console.desks
    )
    label = html.escape(visit.words("nav.project"))
    return f'<select aria-label="{label}" onchange="desirepath.project(this.value)">{options}</select>'
