# SPDX-License-Identifier: Apache-2.0
"""From the best model to lists: choose, fit on everything, calibrate, recommend."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

from desirepath.errors import ConfigError, TooLittleData, WorkspaceError
from desirepath.flows.items import titles_of
from desirepath.flows.learning import sample, validation_figures
from desirepath.flows.progress import Progress, silent
from desirepath.flows.settings import Settings, load_settings
from desirepath.flows.words import Answer, Asked
from desirepath.models import BASELINES, Model
from desirepath.recommend.calibration import Calibration
from desirepath.recommend.prediction import Predictor
from desirepath.recommend.recommender import Recommender
from desirepath.recommend.registry import Registry
from desirepath.recommend.versions import TRANSFORMER, Version, save_version
from desirepath.schema import ITEM, USER
from desirepath.sequences.current import open_sequences
from desirepath.sequences.splits import Split
from desirepath.workspace import Workspace, fingerprint

PREDICTOR = "predictor"
"""Folder of what predicts next actions."""
FINAL = "final"
"""Folder of the run that recommends."""


def choose(
    workspace: Workspace, settings: Settings, split: Split, models: dict[str, Model], progress: Progress
) -> str:
    """Fit the model that is best on validation anew on the whole log, and keep it; returns its name."""
    sequences = workspace.step("sequences") or {}
    made_from = fingerprint(
        sequences.get("made_from"), sorted(models), settings.plain("split", "recommend", "model", "training")
    )
    done = workspace.step(FINAL)
    if done is not None and done["made_from"] == made_from:
        return str(done["model"])
    title = "Choosing and fitting anew"
    progress(title, 0.0, "")
    figures = validation_figures(settings, split, models, progress)
    best = max(figures, key=lambda name: figures[name])
    progress(title, 0.5, best)
    calibration = _calibrated(models[best], split, settings)
    folder = workspace.run(FINAL)
    if best == TRANSFORMER:
        model = _fit_transformer_anew(models[best], split, folder, progress)
    else:
        model = BASELINES[best]().fit(split.sequences)
    exclude_seen = settings.excludes_seen(sample(split.validation, settings))
    trained_until_s = float(np.max(split.sequences.time_s))
    _keep_predictor(split, workspace.run(PREDICTOR))
    save_version(
        folder,
        Version(
            name=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{best}",
            model=model,
            items=split.sequences.items,
            calibration=calibration,
            exclude_seen=exclude_seen,
            made={"trained_until_s": trained_until_s, "validation": figures},
        ),
    )
    workspace.finish(
        FINAL,
        made_from,
        model=best,
        validation=figures,
        exclude_seen=exclude_seen,
        calibrated=calibration is not None,
    )
    progress(title, 1.0, best)
    return best


def recommend(folder: Path, asked: Asked, words: Sequence[str] = (), progress: Progress = silent) -> Answer:
    """A list for one user or history, neighbours of an item or user, or lists for everybody."""
    workspace = Workspace.open(folder)
    settings = load_settings(folder, words)
    named = [asked.user, asked.history, asked.similar_item, asked.similar_user]
    if sum(name is not None for name in named) > 1:
        raise ConfigError("Ask for one thing at a time: --user, --history, --similar-item or --similar-user.")
    recommender, exclude_seen = open_recommender(workspace, settings)
    exclude_seen = exclude_seen if asked.exclude_seen is None else asked.exclude_seen
    k = asked.k or settings.recommend.k
    if asked.similar_item is not None:
        return _listed(recommender.similar_items(asked.similar_item, k), f"Items like {asked.similar_item}")
    if asked.similar_user is not None:
        return _listed(recommender.similar_users(asked.similar_user, k), f"Users like {asked.similar_user}")
    if asked.user is None and asked.history is None:
        return recommend_to_all(workspace, recommender, k, exclude_seen, progress)
    if asked.user is not None:
        answer, whom = recommender.recommend(asked.user, k, exclude_seen), asked.user
    else:
        answer, whom = recommender.recommend_items(asked.history or [], k, exclude_seen), "this history"
    listed = _listed(answer.items, f"For {whom}, by {answer.model}")
    notes = [answer.fallback] if answer.fallback else []
    if answer.unknown:
        notes.append(f"Not known, so without effect: {', '.join(answer.unknown)}.")
    plain = listed.plain | {"model": answer.model, "fallback": answer.fallback, "unknown": answer.unknown}
    return Answer(plain, [*listed.shown, *notes])


def recommend_to_all(
    workspace: Workspace, recommender: Recommender, k: int, exclude_seen: bool, progress: Progress
) -> Answer:
    """Lists for all users, as recommendations.parquet of the workspace."""
    title = "Recommending"
    written = recommender.recommend_all(
        workspace.recommendations,
        k,
        exclude_seen=exclude_seen,
        on_progress=lambda done, of: progress(title, done / max(of, 1), f"{done:,} users"),
    )
    progress(title, 1.0, "")
    plain: dict[str, Any] = {
        "path": str(written.path),
        "users": written.n_users,
        "rows": written.n_rows,
        "users_with_fallback": written.n_fallback,
    }
    return Answer(plain, [f"{written.n_rows:,} recommendations to {written.n_users:,} users: {written.path}"])


def open_recommender(workspace: Workspace, settings: Settings) -> tuple[Recommender, bool]:
    """The current version with the latest log behind it, and whether its lists leave out what was seen.

    Raises:
        WorkspaceError: no model was chosen yet.
    """
    registry = Registry(workspace)
    current = registry.current()
    if current is None:
        raise WorkspaceError(
            f"{workspace.folder} has no model yet. Run `desirepath run FILE --to {workspace.folder}` first."
        )
    sequences = open_sequences(workspace)
    version = registry.open(current)
    exclude_seen = {"yes": True, "no": False}.get(settings.recommend.exclude_seen, version.exclude_seen)
    recommender = Recommender(
        version.model,
        sequences,
        items=version.items,
        titles=titles_of(workspace),
        calibration=version.calibration,
    )
    return recommender, exclude_seen


def _keep_predictor(split: Split, folder: Path) -> None:
    """Fit what predicts next actions and their time, mended on validation, on the whole log."""
    try:
        predictor = Predictor().fit(split.train, split.validation).refit(split.sequences)
    except TooLittleData:
        return  # a log without a user of two events has nothing to predict
    predictor.save(folder)


def _calibrated(model: Model, split: Split, settings: Settings) -> Calibration | None:
    try:
        return Calibration.fit(model, sample(split.validation, settings))
    except TooLittleData:
        return None  # answers then carry no probability, and say so by its absence


def _fit_transformer_anew(model: Model, split: Split, folder: Path, progress: Progress) -> Model:
    from desirepath.training import Transformer

    assert isinstance(model, Transformer)
    copy = Transformer(model.model_config, replace(model.train_config, validation_users=0))
    copy.best_epoch = model.best_epoch
    copy.refit(
        split.sequences,
        on_progress=lambda step: progress(
            "Choosing and fitting anew",
            0.1 + 0.9 * (step.epoch + step.step / max(step.steps, 1)) / step.epochs,
            f"{TRANSFORMER}, epoch {step.epoch + 1} of {step.epochs}",
        ),
        checkpoint_folder=folder / "checkpoint" / fingerprint(model.best_epoch, split.sequences.n_events),
    )
    copy.save(folder)
    shutil.rmtree(folder / "checkpoint")
    return copy


def _listed(table: pl.DataFrame, title: str) -> Answer:
    shown = Table(title=title, title_justify="left", box=None)
    for column in table.columns:
        numeric = table.schema[column].is_numeric()
        shown.add_column(column, justify="right" if numeric else "left", no_wrap=column in (ITEM, USER))
    for row in table.iter_rows():
        shown.add_row(*("" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in row))
    return Answer({"items": table.to_dicts()}, [shown])
