# SPDX-License-Identifier: Apache-2.0
"""Overview: what comes in this minute, what is known by now, and what came of the lists."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from nicegui import ui

from desirepath.console import charts
from desirepath.console.controls import Text, aside, box
from desirepath.console.frame import Visit, card, empty, facts
from desirepath.console.words import milliseconds, percent

LOOK_EVERY_S = 2.0
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
        with box("dp-grid"):
            with card(words("overview.minutes"), words("overview.minutes_note"), "dp-two"):
                self.chart = charts.draw(self._minutes(), 260)
            with card(words("overview.latest"), classes="dp-third dp-second"):
                self.latest = box("dp-line", "ul")
            with card(words("overview.outcomes"), words("overview.outcomes_note"), "dp-half"):
                self.outcomes = box("")
            with card(words("overview.trending"), words("overview.trending_note"), "dp-half"):
                self.trending = box("")
        self._seen = -1

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
            await self.slow()

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
                names = [name for name, _ in popular]
                unit = self.words("overview.share")
                charts.draw(charts.bars(names, [round(100 * value, 3) for _, value in popular], unit), 300)
            else:
                empty(self.words("overview.trending_none"))

    def _show_outcomes(self, rows: list[dict[str, Any]]) -> None:
        words = self.words
        if not rows:
            empty(words("overview.outcomes_none"))
            return
        with box("dp-plain", "table"):
            with box("", "thead"), box("", "tr"):
                for key in ("scenario", "metric", "value", "interval", "lists"):
                    Text(words(f"overview.{key}"), tag="th")
            with box("", "tbody"):
                for row in rows:
                    if row["metric"] in METRICS:
                        self._outcome(row)

    def _outcome(self, row: dict[str, Any]) -> None:
        is_share = row["metric"] != "satisfaction"
        told = [
            "–" if row[key] is None else percent(row[key]) if is_share else f"{row[key]:.2f}"
            for key in ("value", "low", "high")
        ]
        named = row["scenario"] + (f" · {row['variant']}" if row["variant"] else "")
        with box("", "tr"):
            Text(named, tag="td")
            Text(self.words(f"metric.{row['metric']}"), tag="td")
            Text(told[0], "dp-number", "td")
            Text("–" if row["low"] is None else f"{told[1]} – {told[2]}", "dp-number", "td")
            Text(f"{row['denominator'] or 0:,.0f}", "dp-number", "td")

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
        f"curl -X POST http://127.0.0.1:8088/v1/events -H 'content-type: application/json' "
        f'-d \'{{"user_id": "{user}", "item_id": "{item}", "action": "{action}"}}\''
    )


async def overview(visit: Visit) -> None:
    """Build the page, fill it, and keep it up."""
    page = Overview(visit)
    await ui.context.client.connected()
    await page.look()
    ui.timer(LOOK_EVERY_S, page.look, immediate=False)
