# SPDX-License-Identifier: Apache-2.0
"""Split, fit, compare: from sequences to models and honest figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.evaluation.comparison import Probabilities
from desirepath.evaluation.comparison import evaluate as compare
from desirepath.evaluation.table import Evaluation
from desirepath.flows.progress import Progress, silent
from desirepath.flows.settings import Settings, load_settings, remember
from desirepath.flows.words import Answer
from desirepath.models import BASELINES, Model
from desirepath.models.markov import ActionMarkov
from desirepath.recommend.calibration import Calibration, seen_items
from desirepath.recommend.held import batches
from desirepath.recommend.ranking import Ranking
from desirepath.recommend.versions import TRANSFORMER
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.current import open_sequences
from desirepath.sequences.leaks import check_leaks
from desirepath.sequences.splits import Split, split_temporal, turnover
from desirepath.training.holdout import mean_ndcg
from desirepath.workspace import Workspace, fingerprint, write_atomically

if TYPE_CHECKING:
    from desirepath.training import Transformer

FAST_TURNOVER = 0.2
"""Share of late events on items not met before, above which models are chosen by a cut in time."""


def train(folder: Path, words: Sequence[str] = (), progress: Progress = silent) -> Answer:
    """Fit the transformer on the training part of the log, stopping early by validation."""
    workspace = Workspace.open(folder)
    settings = load_settings(folder, words)
    remember(workspace, words)
    split = open_split(workspace, settings, progress)
    if not settings.recommend.transformer:
        return Answer({"model": None}, ["[recommend] transformer is off; there is nothing to train."])
    model = trained_transformer(workspace, settings, split, progress)
    curve = model.history
    best = curve[model.best_epoch] if 0 <= model.best_epoch < len(curve) else {}
    plain = {"model": model.name, "epochs": len(curve), "best_epoch": model.best_epoch, "history": curve}
    said = f"{model.name}: {len(curve)} epochs, best at {model.best_epoch + 1}"
    if best.get("metric") is not None:
        said += f" with NDCG@10 {best['metric']:.4f} on validation"
    return Answer(plain, [f"{said}. Kept in {workspace.run(TRANSFORMER)}."])


def evaluate(folder: Path, words: Sequence[str] = (), progress: Progress = silent) -> Answer:
    """Compare the transformer and the baselines on the test part, over the full catalogue."""
    workspace = Workspace.open(folder)
    settings = load_settings(folder, words)
    split = open_split(workspace, settings, progress)
    models = dict(fitted_models(workspace, settings, split, progress))
    result = compared(workspace, settings, split, models, progress)
    return Answer(result.to_dict(), [result.render])


def open_split(workspace: Workspace, settings: Settings, progress: Progress = silent) -> Split:
    """The log cut in three, and checked to let nothing of the future through."""
    sequences = open_sequences(workspace, progress)
    ingest = workspace.step("ingest") or {}
    if sequences.n_users < 2 or sequences.n_items < 2:
        raise TooLittleData(
            f"Learning needs two users and two items; {workspace.folder} has {sequences.n_users} and "
            f"{sequences.n_items}. Give more of the log, or see whether the columns are understood rightly "
            "with `desirepath inspect`."
        )
    split = settings.split.cut(sequences, has_time=bool(ingest.get("has_time", True)))
    check_leaks(split)
    return split


def trained_transformer(
    workspace: Workspace, settings: Settings, split: Split, progress: Progress
) -> Transformer:
    """The transformer of this workspace, trained unless it was from these very rows and options."""
    from desirepath.training import Progress as Step
    from desirepath.training import Transformer

    folder = workspace.run(TRANSFORMER)
    made_from = _made_from(workspace, settings, "split", "model", "training")
    if workspace.is_done("train", made_from):
        return Transformer.load(folder)
    title = "Training the transformer"

    def tell(step: Step) -> None:
        share = (step.epoch + step.step / max(step.steps, 1)) / step.epochs
        best = "" if step.best_metric is None else f", best NDCG@10 {step.best_metric:.4f}"
        progress(title, share, f"epoch {step.epoch + 1}, loss {step.loss:.3f}{best}")

    validation = sample(split.validation, settings)
    mask = settings.excludes_seen(validation)
    model = Transformer(settings.model, settings.training).fit(
        split.train,
        validate=lambda candidate: mean_ndcg(candidate, validation, hide_seen=mask),
        on_progress=tell,
        checkpoint_folder=folder / "checkpoint" / made_from,
    )
    progress(title, 1.0, f"{len(model.history)} epochs")
    model.save(folder)
    shutil.rmtree(folder / "checkpoint")
    write_atomically(folder / "settings.json", json.dumps(settings.plain("split", "model", "training")))
    workspace.finish("train", made_from)
    return model


def fitted_models(
    workspace: Workspace, settings: Settings, split: Split, progress: Progress
) -> Iterator[tuple[str, Model]]:
    """Every model of the comparison, fitted on the training part; one that refuses the log is named."""
    title = "Fitting the baselines"
    names = settings.recommend.baselines
    for place, name in enumerate(names):
        progress(title, place / len(names), name)
        try:
            model = BASELINES[name]().fit(split.train)
        except (ConfigError, DataError) as refusal:
            progress(f"{name} left out", 1.0, str(refusal))
            continue
        yield name, model
    progress(title, 1.0, "")
    if settings.recommend.transformer:
        yield TRANSFORMER, trained_transformer(workspace, settings, split, progress)


def compared(
    workspace: Workspace, settings: Settings, split: Split, models: dict[str, Model], progress: Progress
) -> Evaluation:
    """The models on the test part; kept as evaluation.json with each model's validation figure."""
    title = "Evaluating"
    names = list(models)

    def tell(name: str, share: float) -> None:
        progress(title, (names.index(name) + share) / len(names), name)

    test = sample(split.test, settings)
    protocol = split.description
    if len(test) < len(split.test):
        protocol += f" {len(np.unique(test.user_ix)):,} users drawn at random are asked."
    result = compare(
        models,
        test,
        split.train,
        replace(settings.evaluation, mask_seen=settings.excludes_seen(sample(split.validation, settings))),
        protocol=protocol,
        action_models={ActionMarkov.name: ActionMarkov().fit(split.train)},
        probabilities={name: _chances(model, split, settings) for name, model in models.items()},
        on_progress=tell,
    )
    progress(title, 1.0, "")
    write_atomically(workspace.evaluation, json.dumps(result.to_dict()))
    return result


def validation_figures(
    settings: Settings, split: Split, models: dict[str, Model], progress: Progress
) -> dict[str, float]:
    """NDCG@10 of each model on validation: what the choice among them rests on, never the test.

    Users held out say nothing of items yet to come. Where the catalogue turns over, the training part is
    cut once more in time, every model is fitted before that cut, and asked what came after it.
    """
    validation = split.validation
    if split.protocol == "temporal" and turnover(split.full, settings.split.quantile) > FAST_TURNOVER:
        ahead = split_temporal(
            split.full, settings.split.quantile, settings.split.targets, settings.split.days, "none"
        )
        earlier = {}
        for place, (name, model) in enumerate(models.items()):
            progress("Choosing and fitting anew", 0.5 * place / len(models), f"{name}, up to an earlier day")
            earlier[name] = _as_fitted(name, model, ahead.train)
        models, validation = earlier, ahead.test
    validation = sample(validation, settings)
    mask = settings.excludes_seen(validation)
    return {name: mean_ndcg(model, validation, hide_seen=mask) for name, model in models.items()}


def _as_fitted(name: str, model: Model, train: Sequences) -> Model:
    """A model of this name fitted on other rows; a transformer for as many epochs as were best."""
    if name != TRANSFORMER:
        return BASELINES[name]().fit(train)
    from desirepath.training import Transformer

    assert isinstance(model, Transformer)
    options = replace(model.train_config, epochs=max(1, model.best_epoch + 1), validation_users=0)
    return Transformer(model.model_config, options).fit(train)


def sample(queries: Queries, settings: Settings) -> Queries:
    """All queries of at most `max_test_users` users, drawn by the split's seed."""
    most = settings.recommend.max_test_users
    users = np.unique(queries.user_ix)
    if not most or len(users) <= most:
        return queries
    drawn = np.random.default_rng(settings.split.seed).choice(users, most, replace=False)
    return queries[np.isin(queries.user_ix, drawn)]


def _made_from(workspace: Workspace, settings: Settings, *sections: str) -> str:
    sequences: dict[str, Any] = workspace.step("sequences") or {}
    return fingerprint(sequences.get("made_from"), settings.plain(*sections))


def _chances(model: Model, split: Split, settings: Settings) -> Probabilities:
    """What gives the calibrated probability of each listed item, fitted on validation."""
    calibration = Calibration.fit(model, sample(split.validation, settings))

    def chances(queries: Queries, ranking: Ranking) -> NDArray[np.floating]:
        parts = []
        for chosen in batches(queries):
            part = queries[chosen]
            partition_B = calibration.partition(model.scores(part), part)
            seen_BK = seen_items(ranking.item_ix[chosen], part)
            parts.append(calibration.probabilities(ranking.score[chosen], seen_BK, partition_B))
        return np.concatenate(parts)

    return chances
