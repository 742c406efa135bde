# SPDX-License-Identifier: Apache-2.0
"""Models: the versions of a workspace with promotion and rollback, and how models compared when evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl
from nicegui import ui

from desirepath.console import charts
from desirepath.console.controls import Text, aside, box, waiting
from desirepath.console.frame import Visit, card, empty, facts
from desirepath.console.tables import Column, table
from desirepath.errors import DesirepathError
from desirepath.live.project import Project
from desirepath.recommend.registry import Ledger, Registry
from desirepath.report.theme import ACCENT, QUIET

METRIC_ORDER = ("ndcg@", "hit_rate@", "mrr@", "recall@", "coverage@", "diversity@", "novelty@")


async def versions(visit: Visit) -> None:
    """Build the page."""
    place = waiting()
    await ui.context.client.connected()
    await _fill(visit, place)


async def _fill(visit: Visit, place: ui.element) -> None:
    words, project = visit.words, visit.desk.project
    registry = _registry(project)
    frame = await aside(registry.versions)
    ledger = await aside(registry.ledger)
    evaluation = await aside(_evaluation, project)
    place.clear()
    with place:
        status = None if project.rollout is None else project.rollout.status()
        if status is not None:
            _status(visit, status)
        with box("dp-grid"):
            with card(words("models.versions"), words("models.versions_note"), "dp-all"):
                _versions(visit, registry, frame, ledger, place)
            with card(words("models.compared"), _protocol(visit, evaluation), "dp-all"):
                _compared(visit, evaluation)
            with card(words("models.history"), words("models.history_note"), "dp-all"):
                _history(visit, ledger)


def _registry(project: Project) -> Registry:
    return project.rollout.registry if project.rollout is not None else Registry(project.workspace)


def _status(visit: Visit, status: dict[str, Any]) -> None:
    words = visit.words
    candidate = status["candidate"]
    facts(
        [
            (str(status["current"]), words("models.current")),
            ("–" if candidate is None else str(candidate["name"]), words("models.candidate")),
            (f"{status['new_events']:,}", words("models.new_events")),
            (words("models.training") if status["training"] else words("models.idle"), words("models.state")),
        ]
    )
    if status["error"]:
        with card(words("models.error")):
            empty(str(status["error"]))


def _versions(
    visit: Visit, registry: Registry, frame: pl.DataFrame, ledger: Ledger, place: ui.element
) -> None:
    words = visit.words
    if not frame.height:
        empty(words("models.versions_none"), f"desirepath run --to {visit.desk.project.workspace.folder}")
        return
    with box("dp-wide"), box("dp-plain", "table"):
        with box("", "thead"), box("", "tr"):
            for key in ("name", "model", "state", "until", "validation", "change", "do"):
                Text(words(f"models.{key}"), tag="th")
        with box("", "tbody"):
            for row in frame.iter_rows(named=True):
                with box("", "tr"):
                    Text(row["name"], tag="td")
                    Text(row["model"], tag="td")
                    with box("", "td"):
                        strong = "dp-strong" if row["state"] == "current" else ""
                        Text(words.get(f"state.{row['state']}", row["state"]), f"dp-tag {strong}", "span")
                    Text(
                        "–" if row["trained_until"] is None else f"{row['trained_until']:%Y-%m-%d %H:%M}",
                        tag="td",
                    )
                    Text("–" if row["validation"] is None else f"{row['validation']:.4f}", "dp-number", "td")
                    Text(_gate(row), "dp-number", "td")
                    with box("", "td"):
                        if row["state"] != "current":
                            _button(visit, "models.promote", row["name"], registry.promote, place)
    previous = ledger.way[-2] if len(ledger.way) > 1 else None
    with box("dp-menu"):
        if previous is not None:
            _button(visit, "models.rollback", previous, lambda _, reason: registry.rollback(reason), place)
        if visit.desk.project.rollout is not None:
            button = Text(words("models.train"), "dp-button dp-small", "button")
            button.on("click", lambda: _train(visit, place))


def _gate(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return row["verdict"] or "–"
    return f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"


def _button(visit: Visit, key: str, name: str, change: Callable[[str, str], Any], place: ui.element) -> None:
    """A button that asks before it changes which version answers."""
    words, project = visit.words, visit.desk.project

    async def ask() -> None:
        with ui.dialog() as dialog, box("dp-card dp-dialog"):
            Text(words(f"{key}_ask", name=name), tag="h2")
            with box("dp-menu"):
                yes = Text(words(key), "dp-button dp-main-one", "button")
                yes.on("click", lambda: dialog.submit(True))
                no = Text(words("models.cancel"), "dp-button", "button")
                no.on("click", lambda: dialog.submit(False))
        if not await dialog:
            return
        try:
            await aside(change, name, words("models.by_hand"))
            await aside(_follow, project)
        except DesirepathError as error:
            ui.notify(str(error), type="negative")
            return
        ui.notify(words("models.answers", name=project.engine.version.name), type="positive")
        await _fill(visit, place)

    made = Text(words(key), "dp-button dp-small", "button")
    made.on("click", ask)


def _follow(project: Project) -> None:
    """Let the server answer with the version that the registry names now."""
    if project.rollout is not None:
        project.rollout.tick()
        return
    registry = Registry(project.workspace)
    name = registry.current()
    if name is not None and name != project.engine.version.name:
        project.swap(registry.open(name))


async def _train(visit: Visit, place: ui.element) -> None:
    rollout = visit.desk.project.rollout
    assert rollout is not None
    began = await aside(rollout.retrain, visit.words("models.by_hand"))
    said = "models.train_began" if began else "models.train_not"
    ui.notify(visit.words(said), type="positive" if began else "warning")
    await _fill(visit, place)


def _evaluation(project: Project) -> dict[str, Any] | None:
    path = project.workspace.evaluation
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _protocol(visit: Visit, evaluation: dict[str, Any] | None) -> str:
    if evaluation is None:
        return ""
    users = f"{evaluation['counts']['users']:,}"
    return f"{visit.words('models.compared_note', users=users)} {evaluation['protocol']}"


def _compared(visit: Visit, evaluation: dict[str, Any] | None) -> None:
    words = visit.words
    if evaluation is None:
        empty(words("models.compared_none"), f"desirepath evaluate {visit.desk.project.workspace.folder}")
        return
    models: dict[str, dict[str, Any]] = evaluation["models"]
    known = sorted({metric for one in models.values() for metric in one}, key=_rank)
    lead = known[0]
    order = sorted(models, key=lambda name: -(models[name][lead]["value"] or 0.0))
    spans = [_span(models[name][lead]) for name in order]
    colours = [QUIET if name.startswith("popularity") else ACCENT for name in order]
    made = charts.intervals(order, spans, words("models.axis", metric=lead), colours=colours)
    charts.draw(made, 70 + 26 * len(order))
    shown = known[:7]
    rows = [
        {
            "model": name,
            **{f"m{at}": models[name].get(metric, {}).get("value") for at, metric in enumerate(shown)},
        }
        for name in order
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    columns = [Column("model", words("models.model"), width=180)]
    columns += [Column(f"m{at}", metric, "number") for at, metric in enumerate(shown)]
    table(frame, columns, words, name="models")


def _rank(metric: str) -> tuple[int, str]:
    place = next((at for at, begin in enumerate(METRIC_ORDER) if metric.startswith(begin)), len(METRIC_ORDER))
    return place, metric


def _span(said: dict[str, Any]) -> tuple[float, float, float]:
    value = float(said["value"])
    low, high = said.get("low"), said.get("high")
    return value, value if low is None else float(low), value if high is None else float(high)


def _history(visit: Visit, ledger: Ledger) -> None:
    if not ledger.history:
        empty(visit.words("models.history_none"))
        return
    with box("dp-line", "ul"):
        for line in list(ledger.history)[:-13:-1]:
            with box("", "li"):
                what = visit.words.get(f"change.{line['what']}", str(line["what"]))
                Text(visit.words("models.changed", what=what, name=line["name"]), "dp-title")
                at = str(line["at"])[:16].replace("T", " ")
                Text(f"{at} UTC" + (f" · {line['reason']}" if line["reason"] else ""), tag="small")
