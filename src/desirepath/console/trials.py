# SPDX-License-Identifier: Apache-2.0
"""Experiments: what is compared on whom, and what can be said of it by now, however often one looks."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from desirepath.console import charts
from desirepath.console.controls import Text, aside, box, waiting
from desirepath.console.forecast import MOST_LISTS, Forecast
from desirepath.console.frame import Visit, card, empty
from desirepath.console.words import percent

HOURS = 24.0 * 30
EXAMPLE = """[scenario.diverse]
diversity = 0.5

[experiment.diverse]
variants = { control = "default", treated = "diverse" }
metric = "ctr"
"""


async def trials(visit: Visit) -> None:
    """Build the page."""
    words, project = visit.words, visit.desk.project
    place = waiting()
    await ui.context.client.connected()
    running = project.scenarios.now().experiments
    found = await aside(project.results.experiments, running, HOURS) if running else []
    place.clear()
    with place, box("dp-grid"):
        if not found:
            note = words("experiments.none_note", file=project.workspace.settings_path)
            with card(words("experiments.none"), note, "dp-all"):
                Text(EXAMPLE, "dp-code", "pre")
        for one in found:
            kind = words(f"experiments.{one['kind']}")
            metric = words(f"metric.{one['metric']}")
            note = words("experiments.note", kind=kind, scenario=one["scenario"], metric=metric)
            if not one["enabled"]:
                note += " " + words("experiments.stopped")
            with card(one["name"], note, "dp-all"):
                if "verdict" in one:
                    _interleaved(visit, one)
                else:
                    _compared(visit, one)
        note = words("experiments.before_note", n=f"{MOST_LISTS:,}")
        with card(words("experiments.before"), note, "dp-all"):
            Forecast(visit)


def _compared(visit: Visit, one: dict[str, Any]) -> None:
    words = visit.words
    with box("dp-links"):
        for variant, target in one["variants"].items():
            Text(f"{variant} = {target}", "dp-tag", "span")
    rows = [row for row in one["metrics"] if row["metric"] == one["metric"] and row["value"] is not None]
    known = [row for row in rows if row["low"] is not None and row["high"] is not None]
    if not rows:
        empty(words("experiments.quiet"))
        return
    if known:
        spans = [(100 * row["value"], 100 * row["low"], 100 * row["high"]) for row in known]
        unit = words("experiments.axis", metric=words(f"metric.{one['metric']}"))
        charts.draw(charts.intervals([row["variant"] for row in known], spans, unit), 80 + 30 * len(known))
    with box("dp-plain", "table"):
        with box("", "thead"), box("", "tr"):
            for key in ("variant", "users", "value", "interval", "verdict"):
                Text(words(f"experiments.{key}"), tag="th")
        with box("", "tbody"):
            for row in rows:
                difference = next(
                    (
                        other
                        for other in one["differences"]
                        if other["variant"] == row["variant"] and other["metric"] == one["metric"]
                    ),
                    None,
                )
                with box("", "tr"):
                    Text(row["variant"], tag="td")
                    Text(f"{row['users'] or 0:,}", "dp-number", "td")
                    Text(percent(row["value"]), "dp-number", "td")
                    span = "–" if row["low"] is None else f"{percent(row['low'])} – {percent(row['high'])}"
                    Text(span, "dp-number", "td")
                    Text(_verdict(visit, row["variant"] == one["baseline"], difference), tag="td")


def _verdict(visit: Visit, is_baseline: bool, row: dict[str, Any] | None) -> str:
    words = visit.words
    if is_baseline:
        return words("experiments.baseline")
    if row is None or row["low"] is None:
        return words("experiments.too_few")
    told = f"{100 * row['difference']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]"
    key = "undecided" if not row["decided"] else "better" if row["difference"] > 0 else "worse"
    return f"{words(f'experiments.{key}')} · {told}"


def _interleaved(visit: Visit, one: dict[str, Any]) -> None:
    words, verdict = visit.words, one["verdict"]
    first, second = list(one["variants"])
    with box("dp-links"):
        for variant, target in one["variants"].items():
            Text(
                f"{variant} = {target}: {words('experiments.wins', n=verdict['wins'][variant])}",
                "dp-tag",
                "span",
            )
        Text(words("experiments.ties", n=verdict["ties"]), "dp-tag", "span")
    if verdict["low"] is None or verdict["win_rate_of_second"] is None:
        empty(words("experiments.quiet"))
        return
    span = (verdict["win_rate_of_second"], verdict["low"], verdict["high"])
    charts.draw(
        charts.intervals([second], [span], words("experiments.win_rate", second=second, first=first)), 110
    )
    better = verdict["better"]
    Text(
        words("experiments.undecided") if better is None else words("experiments.wins_all", name=better),
        "dp-note",
        "p",
    )
