# SPDX-License-Identifier: Apache-2.0
"""The whole way in one call: ingest, train, evaluate, recommend, report."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

from desirepath.evaluation.table import Evaluation
from desirepath.events.log import EventLog
from desirepath.flows.behaviour import mine_behaviour, open_behaviour
from desirepath.flows.ingestion import take_in
from desirepath.flows.items import titles_of
from desirepath.flows.learning import compared, fitted_models, open_split
from desirepath.flows.progress import Progress, silent
from desirepath.flows.recommendation import choose, open_recommender, recommend_to_all
from desirepath.flows.settings import Settings, load_settings, remember
from desirepath.flows.words import Answer, Given
from desirepath.workspace import Workspace, fingerprint

BEHAVIOUR = ("behaviour", "classes", "vectors", "segments")
"""Sections that mining reads."""


def run(given: Given, to: Path, words: Sequence[str] = (), progress: Progress = silent) -> Answer:
    """Raw files to recommendations and a report; steps that are done already are not done again."""
    began = time.monotonic()
    settings = load_settings(to, words)
    workspace, _, _ = take_in(given, to, settings, progress)
    remember(workspace, words)
    split = open_split(workspace, settings, progress)
    made_from = fingerprint(
        workspace.step("sequences"),
        settings.plain("split", "evaluation", "recommend", "model", "training", *BEHAVIOUR),
    )
    if not workspace.is_done("run", made_from):
        if not workspace.is_done("evaluate", made_from):
            models = dict(fitted_models(workspace, settings, split, progress))
            compared(workspace, settings, split, models, progress)
            choose(workspace, settings, split, models, progress)
            workspace.finish("evaluate", made_from)
        recommender, exclude_seen = open_recommender(workspace, settings)
        recommend_to_all(workspace, recommender, settings.recommend.k, exclude_seen, progress)
        if settings.behaviour.enabled:
            _behaviour(workspace, settings, progress)
        report(workspace, progress)
        workspace.finish("run", made_from)
    return _answer(workspace, settings, time.monotonic() - began)


def _behaviour(workspace: Workspace, settings: Settings, progress: Progress) -> None:
    """Mine what people do, unless it was mined from these very rows and options."""
    made_from = fingerprint(workspace.step("sequences"), settings.plain(*BEHAVIOUR))
    if not workspace.is_done("behaviour", made_from):
        mine_behaviour(workspace, settings, progress)
        workspace.finish("behaviour", made_from)


def report(workspace: Workspace, progress: Progress = silent) -> Path:
    """Write report.html from what the workspace holds."""
    from desirepath.report import ReportData, write_report

    ingest = workspace.step("ingest") or {}
    log = EventLog(workspace.events)
    recommendations = None
    if workspace.recommendations.exists():
        recommendations = pl.scan_parquet(workspace.recommendations).head(2000).collect()
    found = _evaluation(workspace)
    data = ReportData(
        events=log.scan(),
        title=f"What {_source(ingest)} tells",
        understanding=ingest.get("understanding", {}),
        cleaning=ingest.get("removed", {}),
        evaluation=evaluation_rows(found) if found else {},
        training=_curve(workspace),
        calibration=_reliability(workspace, found),
        recommendations=recommendations,
        titles=titles_of(workspace),
        protocol=found.protocol if found else "",
        warnings=found.notes if found else (),
        behaviour=open_behaviour(workspace),
    )
    return write_report(
        workspace.report, data, progress=lambda share, note: progress("Writing the report", share, note)
    )


def _source(ingest: dict[str, Any]) -> str:
    files = ingest.get("understanding", {}).get("files") or [{"name": "the log"}]
    more = f" and {len(files) - 1} more files" if len(files) > 1 else ""
    return Path(files[0]["name"]).name.partition(":")[0] + more


def evaluation_rows(found: Evaluation) -> dict[str, Any]:
    """An evaluation as the report takes it: one row a model and metric."""
    headline = f"ndcg@{found.k}"

    def rows(models: Any, **more: str) -> list[dict[str, Any]]:
        return [
            {"model": model, "metric": metric, "value": e.value, "low": e.low, "high": e.high} | more
            for model, estimates in models.items()
            for metric, e in estimates.items()
        ]

    sliced = [row for part in found.slices for row in rows(part.models, slice=f"{part.title}: {part.label}")]
    return {
        "headline": headline,
        "rows": rows(found.models, slice="all") + sliced,
        "differences": rows(found.differences, baseline=found.baseline),
    }


def _evaluation(workspace: Workspace) -> Evaluation | None:
    if not workspace.evaluation.exists():
        return None
    return Evaluation.from_dict(json.loads(workspace.evaluation.read_text(encoding="utf-8")))


def _curve(workspace: Workspace) -> list[dict[str, Any]]:
    header = workspace.run("sasrec") / "model.json"
    if not header.exists():
        return []
    history = json.loads(header.read_text(encoding="utf-8"))["history"]
    ends = [0.0, *(epoch["elapsed_s"] for epoch in history)]
    return [
        {"epoch": e["epoch"] + 1, "loss": e["loss"], "ndcg": e["metric"], "seconds": after - before}
        for e, before, after in zip(history, ends, ends[1:], strict=False)
    ]


def _reliability(workspace: Workspace, found: Evaluation | None) -> pl.DataFrame | None:
    chosen = str((workspace.step("final") or {}).get("model"))
    if found is None or chosen not in found.calibration:
        return None
    return pl.DataFrame(found.calibration[chosen]["reliability"])


def _answer(workspace: Workspace, settings: Settings, seconds: float) -> Answer:
    found = _evaluation(workspace)
    assert found is not None
    final = workspace.step("final") or {}
    plain = {
        "workspace": str(workspace.folder),
        "model": final.get("model"),
        "validation_ndcg": final.get("validation"),
        "exclude_seen": final.get("exclude_seen"),
        "evaluation": found.to_dict(),
        "recommendations": str(workspace.recommendations),
        "report": str(workspace.report),
        "seconds": seconds,
    }
    first = Table(title="Recommendations, the first of them", title_justify="left", box=None)
    for column in ("user_id", "item_id", "probability"):
        first.add_column(column, justify="right" if column == "probability" else "left")
    shown = pl.scan_parquet(workspace.recommendations).head(5).select("user_id", "item_id", "probability")
    titles = titles_of(workspace)
    for user, item, probability in shown.collect().iter_rows():
        named = f"{item}  {titles[item]}" if item in titles else item
        first.add_row(user, named, "" if probability is None else f"{probability:.3f}")
    chosen = f"Best on validation, and fitted anew on the whole log: {final.get('model')}."
    kept = "left out of" if final.get("exclude_seen") else "kept in"
    return Answer(
        plain,
        [
            partial(found.render, brief=True),
            f"{chosen} Items that a user has had are {kept} the lists.",
            first,
            f"All of them    {workspace.recommendations}",
            f"The report     {workspace.report}",
            f"[dim]More figures   desirepath evaluate {workspace.folder}   ({seconds:.0f} s)[/]",
        ],
    )
