# SPDX-License-Identifier: Apache-2.0
"""Settings: the resolved configuration with what each option means, and scenarios tried before they hold."""

from __future__ import annotations

import json
import time
import tomllib
from typing import Any

from nicegui import ui

from desirepath.config import to_plain
from desirepath.console.controls import Suggest, Text, aside, box, choice, done, waiting
from desirepath.console.frame import Visit, card, empty
from desirepath.console.tables import Column, table
from desirepath.console.words import milliseconds, percent
from desirepath.errors import ConfigError, DesirepathError
from desirepath.live.answer import Ask, Reply
from desirepath.recommend.scenario import ScenarioConfig, load_scenarios

K = 8
DEFAULTS = to_plain(ScenarioConfig())


async def options(visit: Visit) -> None:
    """Build the page."""
    words, project = visit.words, visit.desk.project
    with card(words("settings.scenarios"), words("settings.scenarios_note"), "dp-all"):
        Preview(visit)
    with card(
        words("settings.all"), words("settings.all_note", file=project.workspace.settings_path), "dp-all"
    ):
        place = waiting()
    await ui.context.client.connected()
    read = visit.desk.views.settings
    frame = None if read is None else await aside(read, project)
    place.clear()
    with place:
        if frame is None or not frame.height:
            empty(words("settings.none"))
            return
        columns = [
            Column("option", words("settings.option"), width=250),
            Column("value", words("settings.value"), width=130),
            Column("default", words("settings.default"), width=130),
            Column("meaning", words("settings.meaning")),
        ]
        table(frame, columns, words, name="settings", n_rows=9, row_px=58)


class Preview:
    """Scenarios in force, and one that is being written, tried on a real user beside them."""

    def __init__(self, visit: Visit) -> None:
        """Build the editor and the two lists."""
        self.visit, self.words, self.project = visit, visit.words, visit.desk.project
        self.user: str | None = next(iter(self.project.states.user_ids()), None)
        words = self.words
        self.problem = box("")
        names = list(self.project.scenarios.now().scenarios)
        self.name = names[0]
        with box("dp-bar"):
            choice(words("settings.scenario"), names, self._pick)
            self.who = Suggest(
                words("trial.user"), self._find, self._become, placeholder=words("trial.user_hint"),
                nothing=words("trial.nothing"), width="240px",
            )  # fmt: skip
            button = Text(words("settings.preview"), "dp-button dp-main-one", "button")
            button.on("click", self.show)
        with box("dp-grid"):
            with box("dp-third"):
                Text(words("settings.rules"), "dp-note", "p")
                self.text = (
                    ui.textarea(value=written(self.project.scenarios.now().scenarios[self.name]))
                    .classes("dp-editor")
                    .props("outlined autogrow")
                )
                Text(words("settings.rules_note"), "dp-note", "p")
            with box("dp-third"):
                Text(words("settings.before"), "dp-note", "p")
                self.before = box("")
            with box("dp-third"):
                Text(words("settings.after"), "dp-note", "p")
                self.after = box("")
        if self.user:
            self.who.put(self.user)
        with self.before, box("dp-empty"):
            Text(words("settings.press"), tag="span")

    def _pick(self, name: str) -> None:
        self.name = name
        self.text.value = written(self.project.scenarios.now().scenarios[name])

    async def _find(self, text: str) -> None:
        found = await aside(self.visit.desk.directory.find_users, text)
        self.who.suggest([{"id": name, "title": name} for name in found])

    def _become(self, user_id: str) -> None:
        self.user = user_id
        self.who.put(user_id)

    async def show(self) -> None:
        """Ask for both lists and show them side by side."""
        self.problem.clear()
        try:
            sections = {"preview": tomllib.loads(self.text.value or "")}
            schema = self.project.catalogue.policy_view().table.schema
            rules = load_scenarios(sections, schema)["preview"]
        except (tomllib.TOMLDecodeError, ConfigError) as error:
            with self.problem, box("dp-problem"):
                Text(str(error), tag="span")
            return
        try:
            old = await self._asked(Ask(user_id=self.user, k=K, scenario=self.name, explore=False))
            new = await self._asked(Ask(user_id=self.user, k=K, rules=rules, explore=False))
        except DesirepathError as error:
            with self.problem, box("dp-problem"):
                Text(str(error), tag="span")
            return
        ranks = {shown.item_id: rank for rank, shown in enumerate(old[0].items, start=1)}
        self._list(self.before, *old, {})
        self._list(self.after, *new, ranks)

    async def _asked(self, ask: Ask) -> tuple[Reply, float]:
        began = time.perf_counter()
        reply = await done(self.project.recommend(ask))
        return reply, 1e3 * (time.perf_counter() - began)

    def _list(self, place: ui.element, reply: Reply, took_ms: float, ranks: dict[str, int]) -> None:
        words = self.words
        place.clear()
        with place:
            if not reply.items:
                empty(words("settings.nothing"))
            with box("dp-short", "ol"):
                for rank, shown in enumerate(reply.items, start=1):
                    with box("", "li"):
                        title = self.visit.desk.taste.title(shown.item_id, words.language)
                        Text(title, "dp-title", "span")
                        if ranks:
                            _moved(words, rank, ranks.get(shown.item_id))
                        if shown.probability is not None:
                            Text(f" {percent(shown.probability)}", "dp-tags", "span")
            left = ", ".join(f"{rule}: {n}" for rule, n in reply.n_filtered.items() if n)
            told = milliseconds(took_ms) + (f" · {words('settings.left_out')} {left}" if left else "")
            Text(told, "dp-note", "p")
            for note in reply.notes:
                Text(note, "dp-note", "p")


def written(scenario: ScenarioConfig) -> str:
    """A scenario as TOML: only what is not as it is by default."""
    options = to_plain(scenario)
    lines = [f"{key} = {_toml(value)}" for key, value in options.items() if value != DEFAULTS.get(key)]
    return "\n".join(lines) or '# filter = "price < 20"\n# diversity = 0.5\n# caps = { category = 2 }'


def _moved(words: Any, rank: int, before: int | None) -> None:
    if before is None:
        Text(words("trial.new"), "dp-new dp-apart", "span")
    elif before != rank:
        way = "dp-up" if before > rank else "dp-down"
        Text(f"{'▲' if before > rank else '▼'} {abs(before - rank)}", f"dp-move dp-apart {way}", "span")


def _toml(value: Any) -> str:
    """A plain value as TOML writes it on one line."""
    if isinstance(value, dict):
        inner = ", ".join(
            f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items() if one is not None
        )
        return "{ " + inner + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)
