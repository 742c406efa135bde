# SPDX-License-Identifier: Apache-2.0
"""Try it: be a user or nobody, choose items, and watch list, interests and next actions move at once.

What is chosen is kept like any event. Times are measured on the server, from the click to the disk and from
there to the new list.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from nicegui import ui

from desirepath.console.controls import Slate, Suggest, Text, aside, box, done, waiting
from desirepath.console.frame import Visit, card, empty
from desirepath.console.reasons import because, retold, told_when
from desirepath.console.taste import Event, Foresight, Interest
from desirepath.console.words import milliseconds, percent, quoted
from desirepath.live.answer import Ask, Reply
from desirepath.live.store import Busy, now_us
from desirepath.recommend.sentences import Language

ANONYMOUS = "session:"
"""Before the id of a session that stands for a user, as in the API."""
TRIED = "try it"
"""The scenario that lists shown here are kept under, so that trying things does not count as real traffic."""
N_EVENTS = 14
N_ITEMS = 10


@dataclass(slots=True)
class Subject:
    """Who is being tried, and what was shown last."""

    user_id: str
    session_id: str | None = None
    reply: Reply | None = None
    ranks: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[tuple[str, str], float] = field(default_factory=dict)
    chances: Mapping[str, float] = field(default_factory=dict)
    n_chosen: int = 0
    """Events made here: so many of the newest are marked in the timeline."""


class Listed(NamedTuple):
    """A list as it was shown."""

    subject: Subject
    ask: Ask
    reply: Reply
    rows: list[dict[str, Any]]


def nobody() -> Subject:
    """Someone who has done nothing yet."""
    session_id = uuid.uuid4().hex[:12]
    return Subject(f"{ANONYMOUS}{session_id}", session_id)


class Trial:
    """The page, built once and changed with every click."""

    def __init__(self, visit: Visit, user_id: str | None) -> None:
        """Build the page for a user, or for nobody."""
        self.visit, self.words = visit, visit.words
        self.project, self.taste = visit.desk.project, visit.desk.taste
        self.subject = Subject(user_id) if user_id else nobody()
        self.action = self._first_action()
        self._turn = asyncio.Lock()
        self._controls()
        with box("dp-try"):
            with card(self.words("trial.timeline"), classes="dp-second"):
                self.line = waiting()
            with card(self.words("trial.list"), self.words("trial.list_note"), "dp-first"):
                self.times = box("dp-times")
                self.fallback = box("")
                self.wait = waiting()
                self.slate = Slate(self.words("trial.new"), self.choose)
                self.model = Text("", "dp-note dp-model", "p")
            with box("dp-col"):
                with card(self.words("trial.next"), self.words("trial.next_note")):
                    self.next = waiting()
                with card(self.words("trial.interests"), self.words("trial.interests_note")):
                    self.interests = waiting()

    def _first_action(self) -> str:
        """The commonest action of the log: what a click means unless another is chosen."""
        known = self.project.actions.vocabulary.ids.to_list()
        for wanted in ("click", "view"):
            if wanted in known:
                return wanted
        return known[0] if known else "view"

    def _controls(self) -> None:
        words = self.words
        with box("dp-bar"):
            self.who = Suggest(
                words("trial.user"),
                self._find_users,
                self.become,
                placeholder=words("trial.user_hint"),
                nothing=words("trial.nothing"),
                width="250px",
            )
            button = Text(words("trial.nobody"), "dp-button", "button")
            button.on("click", lambda: self.become(None))
            with box("dp-field", "label").style("width: 150px"):
                Text(words("trial.action"), tag="span")
                known = self.project.actions.vocabulary.ids.to_list() or ["view"]
                picker = box("", "select").props('id="dp-action"')
                with picker:
                    for place, name in enumerate(known):
                        option = Text(words.action(name), tag="option")
                        option._props["value"] = str(place)
                        if name == self.action:
                            option._props["selected"] = True
                picker.on(
                    "change",
                    lambda event: self._act(known, event.args),
                    js_handler="(e) => emit(e.target.value)",
                )
            self.other = Suggest(
                words("trial.other"),
                self._find_items,
                self.choose,
                placeholder=words("trial.other_hint"),
                nothing=words("trial.nothing"),
                width="250px",
            )

    def _act(self, known: list[str], place: object) -> None:
        if str(place).isdigit() and int(str(place)) < len(known):
            self.action = known[int(str(place))]

    async def _find_users(self, text: str) -> None:
        found = await aside(self.visit.desk.directory.find_users, text)
        self.who.suggest([{"id": name, "title": name} for name in found])

    async def _find_items(self, text: str) -> None:
        found = await aside(self.visit.desk.directory.find_items, text)
        self.other.suggest([{"id": name, "title": self._title(name), "more": name} for name, _ in found])

    def _title(self, item_id: str) -> str:
        return self.taste.title(item_id, self.words.language)

    async def become(self, user_id: str | None) -> None:
        """Try another user; None: nobody."""
        self.subject = Subject(user_id) if user_id else nobody()
        address = self.visit.link("trial", f"user={quoted(user_id)}" if user_id else "")
        ui.run_javascript(f"history.replaceState(null, '', {address!r})")
        await self.refresh()

    async def choose(self, item_id: str) -> None:
        """Keep the event that someone chose an item, then show what changed."""
        async with self._turn:
            self.slate.wait()
            began = time.perf_counter()
            try:
                await done(self.project.keep([self._row(item_id)]))
            except Busy as error:
                ui.notify(str(error), type="warning")
                self.slate.show(self.slate._props["rows"])
                return
            kept_ms = 1e3 * (time.perf_counter() - began)
            self.subject.n_chosen += 1
            self.other.put("")
            shown = await self._list(kept_ms)
        await self._around(shown)

    async def refresh(self) -> None:
        """Show the subject as it is."""
        async with self._turn:
            shown = await self._list(None)
        await self._around(shown)

    def _row(self, item_id: str) -> dict[str, Any]:
        """The event as the store keeps it."""
        subject, at = self.subject, now_us()
        listed = None if subject.reply is None else subject.ranks.get(item_id)
        return {
            "event_id": uuid.uuid4().hex,
            "user_id": subject.user_id,
            "item_id": item_id,
            "action": self.action,
            "time_us": at,
            "received_us": at,
            "session_id": subject.session_id,
            "value": None,
            "recommendation_id": subject.reply.recommendation_id if listed and subject.reply else None,
            "position": listed,
            "more": {"source": "console"},
        }

    async def _list(self, kept_ms: float | None) -> Listed:
        """Ask for a list and show it, with the times that this took."""
        subject = self.subject
        ask = Ask(user_id=subject.user_id, k=N_ITEMS)
        began = time.perf_counter()
        reply = await done(self.project.recommend(ask))
        answered_ms = 1e3 * (time.perf_counter() - began)
        self.project.remember(reply, replace(ask, scenario=TRIED))
        rows = await aside(self._rows, reply, subject)
        self.wait.clear()
        self.slate.show(rows)
        subject.reply = reply
        subject.ranks = {shown.item_id: rank for rank, shown in enumerate(reply.items, start=1)}
        self._show_times(reply, kept_ms, answered_ms)
        return Listed(subject, ask, reply, rows)

    async def _around(self, shown: Listed) -> None:
        """Show what takes longer than the list: profile, next actions, and why each item is there.

        Whoever clicks again meanwhile does not wait for it; what then comes too late is not shown.
        """
        subject = shown.subject
        events, tastes = await aside(self._profile, subject)
        if not self._is_latest(shown):
            return
        self._show_line(events, subject)
        self._show_interests(tastes, subject)
        self.who.put("" if subject.session_id else subject.user_id)
        foresight = await aside(self.taste.foresight, subject.user_id)
        if not self._is_latest(shown):
            return
        self._show_next(foresight, subject)
        language: Language = "zh" if self.words.language == "zh" else "en"
        told = await aside(self.project.insight.explain, shown.ask, shown.reply.items, language)
        if self._is_latest(shown):
            sentences = {why.item_id: retold(why, self.taste, language) for why in told if why.events}
            self.slate.show([{**row, "why": sentences.get(row["id"], row["why"])} for row in shown.rows])

    def _is_latest(self, shown: Listed) -> bool:
        """Whether nothing was shown since, and nothing is about to be."""
        return shown.reply is self.subject.reply and not self._turn.locked()

    def _profile(self, subject: Subject) -> tuple[list[Event], list[Interest]]:
        history = self.taste.history(subject.user_id)
        return self.taste.timeline(history, N_EVENTS, self.words.language), self.taste.interests(history)

    def _rows(self, reply: Reply, subject: Subject) -> list[dict[str, Any]]:
        words = self.words
        most = max((shown.probability or 0.0 for shown in reply.items), default=0.0)
        rows = []
        for rank, shown in enumerate(reply.items, start=1):
            before = subject.ranks.get(shown.item_id)
            title = self.taste.title(shown.item_id, words.language)
            told = "" if shown.probability is None else percent(shown.probability)
            rows.append(
                {
                    "id": shown.item_id,
                    "rank": rank,
                    "move": 0 if not subject.ranks else "new" if before is None else before - rank,
                    "title": title,
                    "why": because(shown, words),
                    "tags": " · ".join(self.taste.labels(shown.item_id, words.language)[:4]),
                    "chance": told,
                    "width": round(100 * (shown.probability or 0.0) / most, 1) if most else 0,
                    "say": words("trial.say", rank=rank, title=title, action=words.action(self.action)),
                }
            )
        return rows

    def _show_times(self, reply: Reply, kept_ms: float | None, answered_ms: float) -> None:
        words = self.words
        self.times.clear()
        with self.times:
            if kept_ms is not None:
                _time(milliseconds(kept_ms), words("trial.kept"), "dp-kept")
            _time(milliseconds(answered_ms), words("trial.answered"), "dp-answered")
            _time(f"{reply.n_events:,}", words("trial.events"), "dp-events")
        self.model.set_text(words("trial.model", name=reply.model_version))
        self.fallback.clear()
        if reply.fallback:
            with self.fallback:
                Text(words("trial.fallback"), "dp-note")

    def _show_line(self, events: list[Event], subject: Subject) -> None:
        self.line.clear()
        with self.line:
            if not events:
                empty(self.words("trial.line_empty"))
                return
            now_s = time.time()
            with box("dp-line", "ul"):
                for place, event in enumerate(events):
                    with box("dp-fresh" if place < subject.n_chosen else "", "li"):
                        Text(event.title, "dp-title")
                        Text(
                            f"{self.words.action(event.action)} · {self.words.ago(event.time_s, now_s)}",
                            tag="small",
                        )

    def _show_interests(self, tastes: list[Interest], subject: Subject) -> None:
        self.interests.clear()
        with self.interests:
            if not tastes:
                key = "trial.interests_none" if not self.taste.attributes else "trial.line_empty"
                empty(self.words(key))
            several = len({taste.attribute for taste in tastes}) > 1
            shown = tastes[:8] if not several else _evenly(tastes)
            with box("dp-bars", "ul"):
                attribute = ""
                for taste in shown:
                    if several and taste.attribute != attribute:
                        attribute = taste.attribute
                        Text(attribute, "dp-note", "li")
                    before = subject.shares.get((taste.attribute, taste.label))
                    _meter(taste.label, taste.share, before if subject.shares else taste.share)
        subject.shares = {(taste.attribute, taste.label): taste.share for taste in tastes}

    def _show_next(self, foresight: Foresight | None, subject: Subject) -> None:
        self.next.clear()
        with self.next:
            if foresight is None:
                empty(self.words("trial.next_none"))
                return
            with box("dp-bars", "ul"):
                for name, chance in foresight.actions:
                    before = subject.chances.get(name, 0.0) if subject.chances else chance
                    _meter(self.words.action(name), chance, before)
            if foresight.median_s is not None:
                Text(told_when(foresight, self.words), "dp-note dp-when", "p")
            subject.chances = dict(foresight.actions)


def _evenly(tastes: list[Interest]) -> list[Interest]:
    """The first six of the first attribute, the first three of each other."""
    seen: dict[str, int] = {}
    kept = []
    for taste in tastes:
        seen[taste.attribute] = seen.get(taste.attribute, 0) + 1
        if seen[taste.attribute] <= (6 if len(seen) == 1 else 3):
            kept.append(taste)
    return kept


def _time(value: str, name: str, mark: str) -> None:
    with box(mark, "span"):
        Text(value, tag="b")
        Text(f" {name}", tag="span")


def _meter(name: str, share: float, before: float | None) -> None:
    """A named share as a bar, with how much it moved in points."""
    moved = 100 * (share - (before or 0.0))
    with box("", "li"):
        with box("dp-name"):
            Text(name, tag="span")
            with box("", "span"):
                if abs(moved) >= 0.1:
                    way = "dp-up" if moved > 0 else "dp-down"
                    Text(f"{'▲' if moved > 0 else '▼'} {abs(moved):.1f} ", f"dp-move {way}", "span")
                Text(percent(share), tag="span")
        with box("dp-meter"):
            box("", "i").style(f"width: {100 * min(1.0, max(0.0, share)):.1f}%")


async def trial(visit: Visit, user_id: str | None) -> None:
    """Build the page and fill it."""
    page = Trial(visit, user_id)
    await ui.context.client.connected()  # what is there is painted before anything is computed
    await page.refresh()
