# SPDX-License-Identifier: Apache-2.0
"""Compares models on the same queries: full ranking, every metric, paired intervals, slices, seeds.

It takes anything that answers to `Model`, asks it through `recommend.ranking`, and gives an
`Evaluation`. It fits nothing and reads no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, ShapeError, TooLittleData, nearest
from desirepath.evaluation import actions, calibration, metrics
from desirepath.evaluation.actions import ActionModel
from desirepath.evaluation.bootstrap import Average, Estimate, interval, means, resample
from desirepath.evaluation.judge import EvaluationConfig, Judge, Row, accuracy
from desirepath.evaluation.slices import cut, restrict
from desirepath.evaluation.table import Evaluation, SliceResult
from desirepath.models.base import Model
from desirepath.recommend.ranking import Ranking, seen_share
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.leaks import check_queries

Probabilities = Callable[[Queries, Ranking], NDArray[np.floating]]
"""Gives (Q, K): the chance that each listed item is a target, from the queries and their lists."""
Progress = Callable[[str, float], None]
"""Told a model's name and the share of its queries done, 0 to 1."""


def evaluate(
    models: Mapping[str, Model | Sequence[Model]],
    queries: Queries,
    train: Sequences,
    config: EvaluationConfig | None = None,
    *,
    protocol: str = "",
    vectors: NDArray[np.floating] | None = None,
    probabilities: Mapping[str, Probabilities] | None = None,
    action_models: Mapping[str, ActionModel] | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """The models compared on the same queries.

    Args:
        models: row name to a fitted model, or to several of different seeds whose values are averaged.
        queries: with targets; those without any are left out and counted.
        train: what the models were fitted on: gives popularity, novelty and warm users, and is checked
            to hold no answer.
        config: options; the defaults when None.
        protocol: what was asked, in one sentence, such as `Split.description`.
        vectors: (V, D) of items for diversity and serendipity by content; by co-occurrence when None.
        probabilities: row name to what gives the chances of the listed items (of the first model).
        action_models: name to a fitted model of the next action.
        on_progress: told how far each model is.

    Raises:
        LeakError: training holds rows that the queries ask for.
        ConfigError: an option or the baseline's name is wrong.
        TooLittleData: no query has a target.
    """
    config = config or EvaluationConfig()
    baseline = config.baseline or next(iter(models), "")
    if baseline not in models:
        raise ConfigError(
            f"The baseline must be one of the models; got '{baseline}'. {nearest(baseline, models)}"
        )
    if len(train.items) != len(queries.sequences.items):
        raise ShapeError(
            f"Training and queries must share the items; {len(train.items)} and "
            f"{len(queries.sequences.items)} indexes came."
        )
    asked = queries[np.diff(queries.target_offsets) > 0]
    if not len(asked):
        raise TooLittleData(f"Nothing can be measured: none of {len(queries)} queries has a target.")
    check_queries(train, asked)
    judge = Judge(asked, train, config, vectors)
    rows: dict[str, Row] = {}
    for name in [baseline, *(other for other in models if other != baseline)]:
        given = models[name]
        copies = list(given) if isinstance(given, Sequence) else [given]
        first = rows[baseline].lists if rows else None
        rows[name] = judge.row(copies, first, _step(on_progress, name, len(copies), len(asked)))
    rows = {name: rows[name] for name in models}
    estimates, differences = _with_intervals(rows, asked.user_ix, baseline, config)
    foreseen, trust = _actions(action_models or {}, asked, train, config)
    repeated = seen_share(asked)
    masked = float(next(iter(rows.values())).ranking.masked.mean())
    return Evaluation(
        protocol=protocol,
        notes=_notes(config, repeated, masked),
        k=config.k,
        baseline=baseline,
        models=estimates,
        differences=differences,
        slices=tuple(_slices(rows, judge, config)) if config.with_slices else (),
        calibration=_calibration(rows, probabilities or {}, asked, config) | trust,
        actions=foreseen,
        counts={
            "users": len(np.unique(asked.user_ix)),
            "queries": len(asked),
            "targets": len(asked.target_item_ix),
            "queries_without_target": len(queries) - len(asked),
            "items": judge.n_items,
            "train_events": train.n_events,
        },
        seen_share=repeated,
        masked_share=masked,
        seconds={name: row.seconds for name, row in rows.items()},
    )


def _step(
    on_progress: Progress | None, name: str, n_copies: int, n_queries: int
) -> Callable[[int], Callable[[int], None] | None]:
    """For each seed's place, what to call with the number of queries done."""

    def for_copy(place: int) -> Callable[[int], None] | None:
        if on_progress is None:
            return None
        return lambda done: on_progress(name, (place + done / n_queries) / n_copies)

    return for_copy


def _with_intervals(
    rows: dict[str, Row], user_ix: NDArray[np.int64], baseline: str, config: EvaluationConfig
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """Estimates of every model and metric, and of the differences from the baseline, from the same draws."""
    names = list(rows[baseline].values)
    table = np.stack([row.values[metric] for row in rows.values() for metric in names], axis=1)
    shape = (-1, len(rows), len(names))
    value = means(table, user_ix, config.average).reshape(shape)[0]
    draws = resample(table, user_ix, config.average, config.n_resamples, config.seed).reshape(shape)
    base = list(rows).index(baseline)
    low, high = interval(draws, config.confidence)
    change_low, change_high = interval(draws - draws[:, base : base + 1], config.confidence)
    estimates: dict[str, dict[str, Estimate]] = {}
    differences: dict[str, dict[str, Estimate]] = {}
    for m, (name, row) in enumerate(rows.items()):
        spread = _spread(row, user_ix, config.average)
        estimates[name] = {
            metric: Estimate(float(value[m, c]), float(low[m, c]), float(high[m, c]), spread.get(metric))
            for c, metric in enumerate(names)
        } | {metric: Estimate(v, seed_sd=spread.get(metric)) for metric, v in row.whole.items()}
        if name != baseline:
            differences[name] = {
                metric: Estimate(
                    float(value[m, c] - value[base, c]), float(change_low[m, c]), float(change_high[m, c])
                )
                for c, metric in enumerate(names)
            } | {metric: Estimate(v - rows[baseline].whole[metric]) for metric, v in row.whole.items()}
    return estimates, differences


def _spread(row: Row, user_ix: NDArray[np.int64], average: Average) -> dict[str, float]:
    """Standard deviation of each metric over the seeds; nothing for a single one."""
    if len(row.seed_values) < 2:
        return {}
    names = list(row.values)
    each = np.stack(
        [means(np.stack([v[n] for n in names], axis=1), user_ix, average) for v in row.seed_values]
    )
    spread = dict(zip(names, each.std(axis=0, ddof=1).tolist(), strict=True))
    return spread | {n: float(np.std([w[n] for w in row.seed_whole], ddof=1)) for n in row.whole}


def _slices(rows: dict[str, Row], judge: Judge, config: EvaluationConfig) -> Iterator[SliceResult]:
    offsets, user_ix = judge.queries.target_offsets, judge.queries.user_ix
    for part in cut(judge.queries, judge.train, judge.users_V):
        query, inside = restrict(part.target, offsets)
        values = {
            name: [accuracy(ranks[part.target], inside, (config.k,)) for ranks in row.ranks]
            for name, row in rows.items()
        }
        chosen = {
            name: {metric: np.mean([v[metric] for v in seeds], axis=0) for metric in seeds[0]}
            for name, seeds in values.items()
        }
        names = list(next(iter(chosen.values())))
        table = np.stack([v[metric] for v in chosen.values() for metric in names], axis=1)
        shape = (len(rows), len(names))
        value = means(table, user_ix[query], config.average).reshape(shape)
        draws = resample(table, user_ix[query], config.average, config.n_resamples, config.seed)
        low, high = (ends.reshape(shape) for ends in interval(draws, config.confidence))
        yield SliceResult(
            title=part.title,
            label=part.label,
            n_queries=len(query),
            n_targets=int(part.target.sum()),
            models={
                name: {
                    metric: Estimate(float(value[m, c]), float(low[m, c]), float(high[m, c]))
                    for c, metric in enumerate(names)
                }
                for m, name in enumerate(rows)
            },
        )


def _calibration(
    rows: dict[str, Row],
    probabilities: Mapping[str, Probabilities],
    queries: Queries,
    config: EvaluationConfig,
) -> dict[str, dict[str, object]]:
    """Brier, ECE and the reliability table of the chances given to the first k listed items."""
    found: dict[str, dict[str, object]] = {}
    for name, chance in probabilities.items():
        if name not in rows:
            raise ConfigError(f"Probabilities came for '{name}', which is no model. {nearest(name, rows)}")
        row = rows[name]
        real = row.lists[:, : config.k] > 0
        stated = np.asarray(chance(queries, row.ranking), dtype=np.float64)[:, : config.k][real]
        happened = row.relevant[:, : config.k][real]
        found[name] = _trust(stated, happened, config.n_bins)
    return found


def _trust(stated: NDArray[np.float64], happened: NDArray[np.bool_], n_bins: int) -> dict[str, object]:
    return {
        "n": len(stated),
        "brier": calibration.brier(stated, happened),
        # What always stating the mean would give: a Brier score tells something only below it.
        "brier_of_mean": float(happened.mean() * (1.0 - happened.mean())),
        "ece": calibration.ece(stated, happened, n_bins),
        "ece_count": calibration.ece(stated, happened, n_bins, "count"),
        "reliability": calibration.reliability(stated, happened, n_bins, "count").to_dicts(),
    }


def _actions(
    action_models: Mapping[str, ActionModel], queries: Queries, train: Sequences, config: EvaluationConfig
) -> tuple[dict[str, Estimate], dict[str, dict[str, object]]]:
    """Accuracy of the next action by rules and models, and the calibration of the models' first choice."""
    if not actions.answerable(queries) or queries.target_action_ix is None:
        return {}, {}
    actual = queries.target_action_ix.astype(np.int64)
    said = actions.plain_predictions(train, queries)
    trust: dict[str, dict[str, object]] = {}
    for name, model in action_models.items():
        said[name], chance = actions.predicted(model, queries)
        trust[name] = _trust(chance, said[name] == actual, config.n_bins)
    table = np.stack([metrics.accuracy(guess, actual) for guess in said.values()], axis=1)
    value = means(table, queries.user_ix, config.average)
    draws = resample(table, queries.user_ix, config.average, config.n_resamples, config.seed)
    low, high = interval(draws, config.confidence)
    found = {name: Estimate(float(value[c]), float(low[c]), float(high[c])) for c, name in enumerate(said)}
    return found, trust


def _notes(config: EvaluationConfig, repeated: float, masked: float) -> tuple[str, ...]:
    if config.mask_seen:
        seen = (
            f"Items in a query's history are hidden from its list; this hides {masked:.2%} of the targets, "
        )
        seen += "which count as missed."
    else:
        seen = (
            f"Items in a query's history may be recommended again; {repeated:.2%} of the targets are repeats."
        )
    unit = "users, each by the mean of its queries" if config.average == "users" else "queries"
    ties = "ordered by a seeded draw" if config.ties == "drawn" else "ordered against the target"
    return (
        seen,
        f"All items are ranked, none sampled. Means over {unit}; intervals: {config.confidence:.0%}, "
        f"{config.n_resamples} draws of users, the same for all models. Equal scores are {ties}.",
    )
