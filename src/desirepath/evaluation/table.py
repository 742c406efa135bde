# SPDX-License-Identifier: Apache-2.0
"""The result of a comparison: one table of models by metrics, with what is needed to read it honestly.

It prints itself, becomes a data frame, and goes to and from JSON. It computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from desirepath.errors import DataError
from desirepath.evaluation.bootstrap import Estimate

FORMAT = 1

Estimates = Mapping[str, Estimate]
"""Metric name, such as "ndcg@10", to its figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceResult:
    """The models on one part of the test."""

    title: str
    label: str
    n_queries: int
    n_targets: int
    models: Mapping[str, Estimates]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Models compared on the same queries."""

    protocol: str
    """What was asked, in one sentence."""
    notes: tuple[str, ...]
    """What else a reader must know: what masking hides, how averages and intervals are made."""
    k: int
    """Length of the headline lists."""
    baseline: str
    """The model that `differences` are taken from."""
    models: Mapping[str, Estimates]
    """One row a model, in the order they were given."""
    differences: Mapping[str, Estimates]
    """Model minus baseline, with paired intervals; without the baseline itself."""
    slices: tuple[SliceResult, ...]
    calibration: Mapping[str, Mapping[str, Any]]
    """Model name to brier, ece and reliability table, where probabilities were given, action models too."""
    actions: Mapping[str, Estimate]
    """Accuracy of the next action, by models and plain rules; empty where there is one action."""
    counts: Mapping[str, int]
    """Users, queries, targets, and what was left out."""
    seen_share: float
    """Share of targets that stand in their own history: repeats, which masking would hide."""
    masked_share: float
    """Share of targets that masking did hide; they count as missed."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of ranking the whole catalogue for all queries, one model (all its seeds)."""

    @property
    def metrics(self) -> list[str]:
        """The columns of the table."""
        return list(next(iter(self.models.values())))

    def frame(self) -> pl.DataFrame:
        """One row a model: model, then for each metric its value, _low, _high and _seed_sd."""
        return pl.DataFrame([{"model": name, **_flat(row)} for name, row in self.models.items()])

    def differences_frame(self) -> pl.DataFrame:
        """One row a model and metric: its value minus the baseline's, low, high, excludes_zero."""
        schema = {"model": pl.String, "metric": pl.String, "value": pl.Float64, "low": pl.Float64}
        schema |= {"high": pl.Float64, "excludes_zero": pl.Boolean}
        return pl.DataFrame(
            [
                (name, metric, e.value, e.low, e.high, e.excludes_zero)
                for name, row in self.differences.items()
                for metric, e in row.items()
            ],
            schema=schema,
            orient="row",
        )

    def slices_frame(self) -> pl.DataFrame:
        """One row a slice and model: title, label, n_queries, n_targets, model, then as `frame`."""
        return pl.DataFrame(
            [
                {
                    "title": part.title,
                    "label": part.label,
                    "n_queries": part.n_queries,
                    "n_targets": part.n_targets,
                    "model": name,
                    **_flat(row),
                }
                for part in self.slices
                for name, row in part.models.items()
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON knows it: NaN becomes null."""
        return {"format": FORMAT, **_plain(asdict(self))}

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Evaluation:
        """What `to_dict` gave, as an Evaluation again.

        Raises:
            DataError: it comes from a newer version.
        """
        values = dict(content)
        if values.pop("format") > FORMAT:
            raise DataError(
                f"Evaluations must be of format {FORMAT} or older; got {content['format']}. Upgrade."
            )
        for part in ("models", "differences"):
            values[part] = {name: _estimates(row) for name, row in values[part].items()}
        values["actions"] = _estimates(values["actions"])
        values["slices"] = tuple(
            SliceResult(**{**part, "models": {n: _estimates(row) for n, row in part["models"].items()}})
            for part in values["slices"]
        )
        return Evaluation(**{**values, "notes": tuple(values["notes"])})

    def render(self, console: Console, *, brief: bool = False) -> None:
        """Print protocol, headline table, slices and notes; `brief` is only the table, for 80 columns."""
        console.print(self.protocol, highlight=False)
        console.print(_headline(self, brief))
        if brief:
            return
        for title in dict.fromkeys(part.title for part in self.slices):
            console.print(_by_slice(self, title))
        if self.actions:
            found = ", ".join(f"{name} {_cell(e)}" for name, e in self.actions.items())
            console.print(f"Accuracy of the next action: {found}", highlight=False)
        for name, row in self.calibration.items():
            console.print(
                f"Calibration of {name}: ECE {row['ece']:.4f}, Brier {row['brier']:.4f}", highlight=False
            )
        for note in self.notes:
            console.print(note, style="dim", highlight=False)


SHOWN = ("ndcg", "hit_rate", "recall", "mrr", "coverage", "novelty", "tail_share")
"""What the printed table holds, at the headline length; the rest is in the frame."""


def _headline(result: Evaluation, brief: bool) -> Table:
    shown = SHOWN[:5] if brief else SHOWN
    chosen = [m for name in shown for m in (f"{name}@{result.k}",) if m in result.metrics]
    single = result.counts["targets"] == result.counts["queries"]
    # With one target a query recall is the hit rate.
    chosen = [m for m in chosen if not (single and m.startswith("recall"))]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model")
    for metric in chosen:
        table.add_column(metric, justify="right")
    if not brief:
        table.add_column(f"ndcg@{result.k} vs {result.baseline}", justify="right")
    for name, row in result.models.items():
        change = result.differences.get(name, {}).get(f"ndcg@{result.k}")
        if brief:
            cells = [_cell(row[chosen[0]]), *(f"{row[m].value:.4f}" for m in chosen[1:])]
        else:
            cells = [*(_cell(row[m]) for m in chosen), "" if change is None else _cell(change, "+.4f")]
        table.add_row(name, *cells)
    return table


def _by_slice(result: Evaluation, title: str) -> Table:
    parts = [part for part in result.slices if part.title == title]
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column(f"ndcg@{result.k} by {title}")
    for part in parts:
        table.add_column(f"{part.label}\n[dim]{part.n_queries:,} queries[/dim]", justify="right")
    for name in result.models:
        table.add_row(name, *(_cell(part.models[name][f"ndcg@{result.k}"]) for part in parts))
    return table


def _cell(estimate: Estimate, form: str = ".4f") -> str:
    text = format(estimate.value, form)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [dim]{estimate.low:{form}}..{estimate.high:{form}}[/dim]"


def _flat(row: Estimates) -> dict[str, float | None]:
    flat: dict[str, float | None] = {}
    for metric, estimate in row.items():
        flat[metric] = estimate.value
        if estimate.low is not None:
            flat[f"{metric}_low"], flat[f"{metric}_high"] = estimate.low, estimate.high
        if estimate.seed_sd is not None:
            flat[f"{metric}_seed_sd"] = estimate.seed_sd
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _estimates(row: Mapping[str, Mapping[str, float | None]]) -> dict[str, Estimate]:
    return {
        metric: Estimate(
            math.nan if (value := values["value"]) is None else value,
            values["low"],
            values["high"],
            values["seed_sd"],
        )
        for metric, values in row.items()
    }
