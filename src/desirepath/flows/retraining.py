# SPDX-License-Identifier: Apache-2.0
"""From the log as it is now to a new model that was judged against the one that answers."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath import config as configuration
from desirepath.errors import ConfigError, TooLittleData, WorkspaceError, nearest
from desirepath.evaluation.comparison import evaluate
from desirepath.flows.compaction import compact
from desirepath.flows.learning import sample
from desirepath.flows.progress import Progress, silent
from desirepath.flows.settings import Settings, load_settings
from desirepath.flows.words import Answer
from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.retrainer import RetrainConfig
from desirepath.models import BASELINES, Model
from desirepath.recommend.calibration import Calibration
from desirepath.recommend.rebased import rebased
from desirepath.recommend.registry import Registry
from desirepath.recommend.versions import TRANSFORMER, Version
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.current import open_sequences
from desirepath.training.holdout import Holdout, hold_out_last, mean_ndcg
from desirepath.workspace import Workspace, fingerprint

METRIC = "ndcg@10"
LIVE = "live.db"
"""The live store of a workspace that names no other."""
MOST_HELD, FEWEST_HELD = 1024, 50
"""Users whose last event is kept back, to end training early and to fit probabilities."""
TITLE = "Training a new model"


def retrain(
    folder: Path,
    words: Sequence[str] = (),
    progress: Progress = silent,
    *,
    options: RetrainConfig | None = None,
    database: str = "",
) -> Answer:
    """Fit a model anew on the log, judge it against the current one, and keep it as the candidate.

    Where the workspace has a live store (or `database` names one), what it has becomes part of the log first.

    Of the events since the current model's training, the last `fresh_share` are kept out of the new one's:
    neither has seen them, and both are asked for them. The version that is kept is the one that was judged.

    Raises:
        WorkspaceError: another retraining of this workspace is under way, or it has no model yet.
        TooLittleData: the log cannot be learned from.
    """
    workspace = Workspace.open(folder)
    settings = load_settings(folder, words)
    options = options or retrain_config(folder)
    with _alone(workspace):
        registry = Registry(workspace)
        current = registry.current()
        if current is None:
            raise WorkspaceError(
                f"{folder} has no model to compare with yet. Run `desirepath run FILE --to {folder}` first."
            )
        before = registry.open(current)
        if database or (folder / LIVE).exists():
            compact(folder, database=database, progress=progress)
        sequences = _behaviour(open_sequences(workspace, progress))
        cut_s = fresh_from(sequences, before.made["trained_until_s"], options.fresh_share)
        after = _trained(workspace, settings, sequences, cut_s, options.model or before.model.name, progress)
        gate = judged(before, after, sequences, cut_s, settings, options, progress)
        after = replace(after, made={**after.made, "gate": gate})
        state = _keep(registry, after, gate, options)
    plain = {"name": after.name, "model": after.model.name, "against": current, "state": state, **after.made}
    return Answer(plain, [_said(after, gate), f"{after.name}: {state}."])


def retrain_config(folder: Path, **changes: Any) -> RetrainConfig:
    """[retrain] of the workspace's TOML and environment, with what the caller changes."""
    sources = [
        {"retrain": values["retrain"]}
        for values in (configuration.from_toml(folder / "desirepath.toml"), configuration.from_environment())
        if "retrain" in values
    ]
    resolved = configuration.resolve({"retrain": RetrainConfig}, *sources, {"retrain": changes})
    chosen: RetrainConfig = resolved["retrain"]
    return chosen


def fresh_from(sequences: Sequences, trained_until_s: float, share: float) -> float:
    """The moment from which events are kept out of training, so that they judge; infinity where none can be.

    It parts the events after `trained_until_s` so that about `share` of them come at or after it.
    """
    time_s = np.asarray(sequences.time_s)
    new = time_s[time_s > trained_until_s]
    if not len(new):
        return float("inf")
    cut_s = float(np.quantile(new, 1.0 - share, method="higher"))
    return cut_s


def fresh_queries(sequences: Sequences, cut_s: float) -> Queries:
    """One question an event from `cut_s` on whose user has a history: everything of the user before it."""
    row = np.flatnonzero((np.asarray(sequences.time_s) >= cut_s) & (np.asarray(sequences.item_ix) >= FIRST))
    user = np.searchsorted(sequences.offsets, row, side="right") - 1
    start = np.asarray(sequences.offsets)[user]
    row, user, start = (column[row > start] for column in (row, user, start))
    return Queries(
        sequences=sequences,
        user_ix=user,
        start=start,
        stop=row,
        now_s=np.asarray(sequences.time_s)[row],
        target_offsets=np.arange(len(row) + 1, dtype=np.int64),
        target_item_ix=np.asarray(sequences.item_ix)[row],
    )


def judged(
    before: Version,
    after: Version,
    sequences: Sequences,
    cut_s: float,
    settings: Settings,
    options: RetrainConfig,
    progress: Progress = silent,
) -> dict[str, Any]:
    """What the fresh events say of two versions: the gate's report, as plain values.

    Its verdict is "not worse" where the lower end of the paired interval (users drawn with replacement) of
    the difference in NDCG@10 lies above -margin, "worse" where the upper end lies below, else "undecided";
    "not judged" where too few events came that neither model has seen.
    """
    queries = fresh_queries(sequences, cut_s) if np.isfinite(cut_s) else None
    report: dict[str, Any] = {
        "against": before.name,
        "metric": METRIC,
        "current_saw_until_s": before.made["trained_until_s"],
        "candidate_saw_until_s": after.made["trained_until_s"],
        "events": 0 if queries is None else len(queries),
    }
    if queries is None or len(queries) < options.min_judged:
        return report | {"verdict": "not judged"}
    queries = sample(queries, settings)
    report |= {"events": len(queries), "fresh_events": report["events"]}
    train = sequences.select(np.asarray(sequences.time_s) < cut_s)
    evaluation = replace(
        settings.evaluation,
        k=10,
        also_k=(),
        mask_seen=after.exclude_seen,
        baseline="current",
        confidence=options.confidence,
        with_slices=False,
    )
    models = {
        "current": rebased(before.model, before.items, sequences),
        "candidate": rebased(after.model, after.items, sequences),
    }
    found = evaluate(
        models, queries, train, evaluation, on_progress=lambda name, share: progress("Judging", share, name)
    )
    progress("Judging", 1.0, "")
    value = {name: found.models[name][METRIC].value for name in models}
    change = found.differences["candidate"][METRIC]
    assert change.low is not None
    assert change.high is not None
    least = -options.margin * value["current"]
    verdict = "not worse" if change.low >= least else "worse" if change.high < least else "undecided"
    return report | {
        "verdict": verdict,
        **value,
        "difference": change.value,
        "low": change.low,
        "high": change.high,
        "margin": options.margin,
        "confidence": options.confidence,
        "users": found.counts["users"],
        "fresh_from_s": cut_s,
        "fresh_until_s": float(np.max(queries.now_s)),
        "metrics": {
            name: {metric: estimate.value for metric, estimate in row.items()}
            for name, row in found.models.items()
        },
    }


def _trained(
    workspace: Workspace,
    settings: Settings,
    sequences: Sequences,
    cut_s: float,
    name: str,
    progress: Progress,
) -> Version:
    """A new version, fitted on what came before the cut but for the held-out last events."""
    if name != TRANSFORMER and name not in BASELINES:
        raise ConfigError(f"There is no model '{name}'. {nearest(name, [*BASELINES, TRANSFORMER])}")
    train = sequences.select(np.asarray(sequences.time_s) < cut_s)
    n_users = int((train.lengths > 0).sum())
    if n_users < 2:
        raise TooLittleData(
            f"Training needs two users with events before the fresh ones; there are {n_users}."
        )
    wanted = min(MOST_HELD, max(n_users // 10, min(FEWEST_HELD, n_users // 2)))
    held = hold_out_last(train, n_users=wanted, seed=settings.split.seed)
    exclude_seen = settings.excludes_seen(held.queries)
    model = _fitted(workspace, settings, held, name, exclude_seen, progress)
    figure = mean_ndcg(model, held.queries, hide_seen=exclude_seen)
    now = datetime.now(UTC)
    return Version(
        name=f"{now:%Y%m%dT%H%M%S}-{name}",
        model=model,
        items=sequences.items,
        calibration=_calibrated(model, held.queries),
        exclude_seen=exclude_seen,
        made={
            "made_at": now.isoformat(timespec="seconds"),
            "trained_until_s": float(np.max(train.time_s)),
            "trained_events": held.train.n_events,
            "held_events": len(held.queries),
            "validation": {name: figure},
        },
    )


def _fitted(
    workspace: Workspace,
    settings: Settings,
    held: Holdout,
    name: str,
    exclude_seen: bool,
    progress: Progress,
) -> Model:
    progress(TITLE, 0.0, name)
    if name != TRANSFORMER:
        model = BASELINES[name]().fit(held.train)
        progress(TITLE, 1.0, name)
        return model
    from desirepath.training import Progress as Step
    from desirepath.training import Transformer

    def tell(step: Step) -> None:
        share = (step.epoch + step.step / max(step.steps, 1)) / step.epochs
        best = "" if step.best_metric is None else f", best NDCG@10 {step.best_metric:.4f}"
        progress(TITLE, share, f"epoch {step.epoch + 1}, loss {step.loss:.3f}{best}")

    made_from = fingerprint(settings.plain("model", "training"), held.train.n_events, len(held.train.items))
    checkpoints = workspace.run("retraining") / made_from
    transformer = Transformer(settings.model, settings.training).fit(
        held.train,
        validate=lambda candidate: mean_ndcg(candidate, held.queries, hide_seen=exclude_seen),
        on_progress=tell,
        checkpoint_folder=checkpoints,
    )
    progress(TITLE, 1.0, f"{len(transformer.history)} epochs")
    shutil.rmtree(checkpoints.parent)
    return transformer


def _keep(registry: Registry, after: Version, gate: dict[str, Any], options: RetrainConfig) -> str:
    """Keep the version; what became of it, in words."""
    verdict = gate["verdict"]
    registry.add(after, candidate=verdict != "worse", reason=f"trained anew; {verdict}")
    if verdict == "worse":
        registry.reject(after.name, _figures(gate))
        state = "set aside, since it is worse on fresh events"
    elif verdict == "not worse" and options.promote == "gate" and registry.current() == gate["against"]:
        registry.promote(after.name, _figures(gate))
        state = "answers now"
    else:
        state = "the candidate; `desirepath models promote` or the shadow makes it answer"
    registry.retire(options.keep)
    return state


def _figures(gate: dict[str, Any]) -> str:
    return (
        f"{gate['verdict']} than {gate['against']} on {gate['events']:,} fresh events: {gate['metric']} "
        f"{gate['candidate']:.4f} against {gate['current']:.4f}, difference {gate['difference']:+.4f} "
        f"[{gate['low']:+.4f}, {gate['high']:+.4f}]"
    )


def _said(after: Version, gate: dict[str, Any]) -> str:
    saw = (
        f"{after.model.name} learned from {after.made['trained_events']:,} events until "
        f"{_when(gate['candidate_saw_until_s'])}; {gate['against']} had seen those until "
        f"{_when(gate['current_saw_until_s'])}."
    )
    if gate["verdict"] == "not judged":
        return f"{saw} Only {gate['events']:,} events came that neither has seen, too few to judge by."
    fresh = f"{_when(gate['fresh_from_s'])} to {_when(gate['fresh_until_s'])}"
    return f"{saw} Judged on what neither has seen, {fresh}: {_figures(gate)}."


def _when(moment_s: float) -> str:
    return f"{datetime.fromtimestamp(moment_s, UTC):%Y-%m-%d %H:%M}"


def _behaviour(sequences: Sequences) -> Sequences:
    """The events that say what users did, without those that say what they were shown."""
    shown = [ix for name in NOT_BEHAVIOUR if (ix := sequences.actions.index(name)) is not None]
    if not shown:
        return sequences
    keep: NDArray[np.bool_] = ~np.isin(np.asarray(sequences.action_ix), shown)
    return sequences.select(keep)


def _calibrated(model: Model, queries: Queries) -> Calibration | None:
    try:
        return Calibration.fit(model, queries)
    except TooLittleData:
        return None  # answers then carry no probability, and say so by its absence


@contextlib.contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace's retraining alone; events may come in meanwhile."""
    place = workspace.run(".retrain.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceError(
                f"Another retraining of {workspace.folder} is under way. Wait for it, or stop it."
            ) from None
        yield
