# SPDX-License-Identifier: Apache-2.0
"""Overview: what comes in this minute, what is known by now, and what came of the lists."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from nicegui import ui

from desirepath.console import charts
from desirepath.console.controls import Text, aside, box, meter, waiting
from desirepath.console.frame import Visit, card, empty, facts
from desirepath.console.words import milliseconds, percent

LOOK_EVERY_S = 2.0
SLOW_EVERY_S = 15.0
"""Seconds between two looks at what came of the lists, which reads the store."""
N_MINUTES = 30
N_LATEST = 12
N_TRENDING = 10
HOURS = 24.0
METRICS = ("ctr", "conversion", "satisfaction", "coverage", "fallback_rate")


class Overview:
    """The page, built once and changed every two seconds."""

    def __init__(self, visit: Visit) -> None:
        """Build the page."""
        words = self.words = visit.words
        self.visit, self.desk, self.project = visit, visit.desk, visit.desk.project
        names = ("rate", "events", "users", "items", "latency")
        Text(words("trial.model", name=self.project.engine.version.name), "dp-tag dp-under")
        self.numbers = facts([("–", words(f"overview.{name}")) for name in names])
        self.numbers[-1].classes("dp-middling")
        with box("dp-grid"):
            with box("dp-two dp-col"):
                with card(words("overview.minutes"), words("overview.minutes_note")):
                    self.chart = charts.draw(self._minutes(), 260)
                with card(words("overview.outcomes"), words("overview.outcomes_note")):
                    self.outcomes = waiting()
            with box("dp-third dp-col"):
                with card(words("overview.latest"), classes="dp-second"):
                    self.latest = box("dp-line", "ul")
                with card(words("overview.trending"), words("overview.trending_note")):
                    self.trending = waiting()
        self._seen, self._slow_s = -1, -SLOW_EVERY_S

    def _minutes(self) -> charts.Options:
        starts, counts = self.desk.pulse.per_minute(N_MINUTES)
        labels = [datetime.fromtimestamp(start).strftime("%H:%M") for start in starts]
        unit = self.words("overview.per_minute")
        return charts.stacked(labels, counts or {unit: [0] * N_MINUTES}, unit)

    async def look(self) -> None:
        """Show how things stand now."""
        pulse, project = self.desk.pulse, self.project
        latency = pulse.latency_ms()
        told = "–" if latency is None else f"{milliseconds(latency[0])} / {milliseconds(latency[1])}"
        n_log = self.desk.taste.sequences.n_events + project.states.n_live
        values = (
            f"{pulse.rate():,}",
            f"{n_log:,}",
            f"{len(project.states):,}",
            f"{len(project.catalogue) - 2:,}",
            told,
        )
        for shown, value in zip(self.numbers, values, strict=True):
            shown.set_text(value)
        if pulse.n_events != self._seen or int(time.time()) % 60 < 2 * LOOK_EVERY_S:
            self.chart.options.clear()
            self.chart.options.update(self._minutes())
            self.chart.update()
        if pulse.n_events != self._seen:
            self._seen = pulse.n_events
            self._show_latest()
            if time.monotonic() - self._slow_s > SLOW_EVERY_S:
                await self.slow()
                self._slow_s = time.monotonic()

    def _show_latest(self) -> None:
        self.latest.clear()
        rows = list(self.desk.pulse.latest)[-N_LATEST:][::-1]
        with self.latest:
            if not rows:
                empty(self.words("overview.quiet"), _example(self.visit))
            now_s = time.time()
            for row in rows:
                with box("", "li"):
                    Text(self.desk.taste.title(row["item_id"], self.words.language), "dp-title")
                    ago = self.words.ago(row["time_us"] / 1e6, now_s)
                    who = f"{self.words.action(row['action'])} · {row['user_id']} · {ago}"
                    Text(who, tag="small")

    async def slow(self) -> None:
        """Show what takes longer to know: outcomes and what is popular."""
        n_items = len(self.project.catalogue) - 2
        found = await aside(self.project.results.online, HOURS, n_items)
        popular = await aside(self._popular)
        self.outcomes.clear()
        with self.outcomes:
            self._show_outcomes(found["metrics"])
        self.trending.clear()
        with self.trending:
            if popular:
                with box("dp-bars", "ul"):
                    for name, value in popular:
                        meter(name, percent(value), value / popular[0][1])
            else:
                empty(self.words("overview.trending_none"))

    def _show_outcomes(self, rows: list[dict[str, Any]]) -> None:
        """One line a scenario and variant, one column a figure."""
        words = self.words
        groups: dict[str, dict[str, dict[str, Any]]] = {}
        for row in rows:
            named = row["scenario"] + (f" · {row['variant']}" if row["variant"] else "")
            groups.setdefault(named, {})[row["metric"]] = row
        if not groups:
            empty(words("overview.outcomes_none"))
            return
        shown = [metric for metric in METRICS if any(metric in of for of in groups.values())]
        with box("dp-wide"), box("dp-plain", "table"):
            with box("", "thead"), box("", "tr"):
                Text(words("overview.scenario"), tag="th")
                Text(words("overview.lists"), tag="th")
                for metric in shown:
                    Text(words(f"metric.{metric}"), tag="th")
            with box("", "tbody"):
                for named, of in groups.items():
                    with box("", "tr"):
                        Text(named, tag="td")
                        n_lists = of.get("fallback_rate", {}).get("denominator") or 0
                        Text(f"{n_lists:,.0f}", "dp-number", "td")
                        for metric in shown:
                            self._outcome(metric, of.get(metric))

    def _outcome(self, metric: str, row: dict[str, Any] | None) -> None:
        """A cell: the value, and its interval below."""
        with box("dp-number", "td"):
            if row is None or row["value"] is None:
                Text("–", tag="span")
                return
            told = percent if metric != "satisfaction" else "{:.2f}".format
            Text(told(row["value"]), tag="span")
            if row["low"] is not None and row["high"] is not None:
                Text(f"{told(row['low'])} – {told(row['high'])}", "dp-span")

    def _popular(self) -> list[tuple[str, float]]:
        share = self.project.trending.shares(len(self.project.catalogue))
        best = share.argsort(kind="stable")[::-1][:N_TRENDING]
        ids = self.project.catalogue.ids
        return [
            (self.desk.taste.title(ids[ix], self.words.language), float(share[ix]))
            for ix in best.tolist()
            if share[ix] > 0
        ]


def _example(visit: Visit) -> str:
    """The request that sends a first event."""
    project = visit.desk.project
    user = next(iter(project.states.user_ids()), "alice")
    item = project.catalogue.ids[2] if len(project.catalogue) > 2 else "tea"
    action = next(iter(project.actions.vocabulary.ids.to_list()), "view")
    return (
        f"curl -X POST {visit.origin}/v1/events -H 'content-type: application/json' "
        f'-d \'{{"user_id": "{user}", "item_id": "{item}", "action": "{action}"}}\''
    )


async def overview(visit: Visit) -> None:
    """Build the page, fill it, and keep it up."""
    page = Overview(visit)
    await ui.context.client.connected()
    await page.look()
    ui.timer(LOOK_EVERY_S, page.look, immediate=False)
