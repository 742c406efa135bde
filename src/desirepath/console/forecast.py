# SPDX-License-Identifier: Apache-2.0
"""What a list under other rules would bring, from lists that were served: written, valued, shown."""

from __future__ import annotations

import time
import tomllib

import polars as pl
from nicegui import ui

from desirepath.console.controls import Text, aside, box, choice, waiting
from desirepath.console.frame import Visit
from desirepath.console.options import written
from desirepath.console.words import percent
from desirepath.errors import DesirepathError
from desirepath.evaluation.valuation import ScenarioValue, scenario_value
from desirepath.live.catalogue import HIDDEN
from desirepath.live.project import Project
from desirepath.live.retracing import VALUE, Ground, retrace
from desirepath.recommend.registry import Registry
from desirepath.recommend.scenario import ScenarioConfig, load_scenarios
from desirepath.recommend.sequential import Interval
from desirepath.schema import FIRST
from desirepath.sequences.current import open_sequences

MOST_LISTS = 1_000
"""Lists that are asked for again at once: some seconds beside the requests that are being answered."""
DAYS = 30


class Forecast:
    """The card: which lists, which rules, and what they would bring."""

    def __init__(self, visit: Visit) -> None:
        """Build the card; nothing is computed until it is asked for."""
        self.visit, self.words, self.project = visit, visit.words, visit.desk.project
        words, names = self.words, list(self.project.scenarios.now().scenarios)
        self.name, self.is_busy = names[0], False
        with box("dp-bar"):
            choice(words("experiments.served"), names, self._pick)
            button = Text(words("experiments.estimate"), "dp-button dp-main-one", "button")
            button.on("click", self.show)
        Text(words("experiments.candidate"), "dp-note", "p")
        self.text = ui.textarea(value=self._rules()).classes("dp-editor").props("outlined autogrow")
        self.place = box("").style("margin-top: 12px")

    def _pick(self, name: str) -> None:
        self.name = name
        self.text.value = self._rules()

    def _rules(self) -> str:
        return written(self.project.scenarios.now().scenarios[self.name])

    async def show(self) -> None:
        """Value the rules as they are written now; one press at a time."""
        if self.is_busy:
            return
        self.is_busy = True
        self.place.clear()
        with self.place:
            waiting()
        try:
            schema = self.project.catalogue.policy_view().table.schema
            rules = load_scenarios({"rules": tomllib.loads(self.text.value or "")}, schema)["rules"]
            found = await aside(valued, self.project, self.name, rules)
        except (tomllib.TOMLDecodeError, DesirepathError) as error:
            self._problem(str(error))
            return
        finally:
            self.is_busy = False
        if found.refused:
            self._problem(found.refused)
            return
        self.place.clear()
        with self.place:
            self._table(found)

    def _problem(self, told: str) -> None:
        self.place.clear()
        with self.place, box("dp-problem"):
            Text(f"{self.words('experiments.nothing_known')}: {told}", tag="span")

    def _table(self, found: ScenarioValue) -> None:
        words = self.words
        with box("dp-plain", "table"):
            with box("", "thead"), box("", "tr"):
                for key in ("brings", "now", "then", "difference"):
                    Text(words(f"experiments.{key}"), tag="th")
            with box("", "tbody"):
                for name, worth in found.worth.items():
                    with box("", "tr"):
                        Text(words(f"experiments.{'worth' if name == VALUE else name}"), tag="td")
                        for one in (worth.current, worth.dr, worth.difference):
                            Text(self._told(one), "dp-number", "td")
        rests = {"lists": f"{found.n_lists:,}", "users": f"{found.n_users:,}"}
        rests |= {"effective": f"{found.effective_n:,.0f}"}
        rests |= {"unseen": percent(found.unseen), "retraced": percent(found.retraced)}
        Text(words("experiments.rests_on", **rests), "dp-note", "p")

    def _told(self, one: Interval) -> str:
        if one.low is None or one.high is None:
            return f"{one.value:.3f} · {self.words('experiments.too_few')}"
        return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def valued(project: Project, name: str, rules: ScenarioConfig) -> ScenarioValue:
    """The value of rules in place of those of a scenario that a project serves.

    Raises:
        DataError: nothing was served under it of late.
    """
    project.served.flush()
    known = project.catalogue.frame().slice(FIRST)
    hidden = pl.Series(HIDDEN, project.catalogue.hidden[FIRST : FIRST + known.height])
    ground = Ground(
        workspace=project.workspace,
        store=project.store,
        sequences=open_sequences(project.workspace),
        table=known.with_columns(hidden),
        open_version=Registry(project.workspace).open,
    )
    since_us = round(1e6 * (time.time() - DAYS * 86_400))
    both = (project.scenarios.now().scenarios[name], rules)
    again = retrace(ground, name, both, since_us, MOST_LISTS)
    return scenario_value(again.shown, again.current, again.candidate, again.rewards)
