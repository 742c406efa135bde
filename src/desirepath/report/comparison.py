# SPDX-License-Identifier: Apache-2.0
"""Models side by side: dots with intervals, and the sentence that says who is really ahead.

It draws the rows of an evaluation (model, metric, value, low, high); it computes no metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from desirepath.report.theme import ACCENT, QUIET, plain, template

Row = Mapping[str, Any]
LOWER_IS_BETTER = ("ece", "brier", "log_loss", "logloss")
NOT_A_CONTEST = (
    "novelty",
    "coverage",
    "gini",
    "popularity",
    "diversity",
    "serendipity",
    "unexpectedness",
    "tail",
    *LOWER_IS_BETTER,
)
DRAWN_FIRST = ("hit_rate", "recall", "mrr", "map", "auc")
"""Beginnings of the metrics that panels prefer, in this order, after the headline."""
MAX_PANELS = 3


def headline_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows about all users with a value: those without a slice, or of the slice "all"."""
    return [row for row in rows if row.get("slice") in (None, "", "all") and has_value(row)]


def has_value(row: Row) -> bool:
    """Whether the metric could be computed: neither None nor NaN."""
    value = row.get("value")
    return value is not None and not math.isnan(float(value))


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """Metrics in order of first appearance."""
    return list(dict.fromkeys(str(row["metric"]) for row in rows))


def headline_of(rows: Sequence[Row], wanted: str | None = None) -> str:
    """The metric that ranks models: the wanted one if it is there, else an NDCG, else the first."""
    metrics = metrics_of(rows)
    ndcg = [metric for metric in metrics if "ndcg" in metric.lower()]
    return wanted if wanted in metrics else (ndcg or metrics)[0]


def is_lower_better(metric: str) -> bool:
    """Whether a smaller value of this metric is the better one."""
    return any(word in metric.lower() for word in LOWER_IS_BETTER)


def ranked(rows: Sequence[Row], metric: str) -> list[Row]:
    """The rows of one metric, best first, ties by name."""
    sign = 1 if is_lower_better(metric) else -1
    mine = [row for row in rows if str(row["metric"]) == metric]
    return sorted(mine, key=lambda row: (sign * float(row["value"]), str(row["model"])))


def twins(rows: Sequence[Row]) -> dict[str, str]:
    """Metrics that say the same as an earlier one for every model, and which one that is.

    With one target a query recall is the hit rate, and MAP is the reciprocal rank.
    """
    by_metric: dict[str, dict[str, float]] = {}
    for row in rows:
        by_metric.setdefault(str(row["metric"]), {})[str(row["model"])] = float(row["value"])
    first: dict[tuple[tuple[str, float], ...], str] = {}
    found = {}
    for metric, values in by_metric.items():
        key = tuple(sorted((model, round(value, 12)) for model, value in values.items()))
        if first.setdefault(key, metric) != metric:
            found[metric] = first[key]
    return found


def panels(rows: Sequence[Row], headline: str) -> list[str]:
    """The metrics that are drawn: the headline, then others that models compete in, twins left out."""
    same = twins(rows)
    rest = [
        metric
        for metric in metrics_of(rows)
        if metric != headline
        and same.get(metric) is None
        and not any(word in metric.lower() for word in NOT_A_CONTEST)
    ]

    def place(metric: str) -> int:
        return next((i for i, word in enumerate(DRAWN_FIRST) if metric.lower().startswith(word)), 99)

    return [headline, *sorted(rest, key=place)][:MAX_PANELS]


def dots_and_intervals(rows: Sequence[Row], headline: str) -> go.Figure:
    """A panel a metric; models down, best by the headline on top; dots with their intervals."""
    drawn = panels(rows, headline)
    order = [str(row["model"]) for row in ranked(rows, headline)]
    order += sorted({str(row["model"]) for row in rows} - set(order))
    made = make_subplots(
        rows=1,
        cols=len(drawn),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[plain(metric) for metric in drawn],
    )
    for column, metric in enumerate(drawn, 1):
        found = {str(row["model"]): row for row in ranked(rows, metric)}
        mine = [found[model] for model in order if model in found]
        value = [float(row["value"]) for row in mine]
        low = [_or(row.get("low"), v) for row, v in zip(mine, value, strict=True)]
        high = [_or(row.get("high"), v) for row, v in zip(mine, value, strict=True)]
        made.add_scatter(
            x=value,
            y=[plain(row["model"], 26) for row in mine],
            mode="markers",
            marker={"size": 10, "color": [ACCENT if row["model"] == order[0] else QUIET for row in mine]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [h - v for h, v in zip(high, value, strict=True)],
                "arrayminus": [v - a for v, a in zip(value, low, strict=True)],
                "thickness": 1.8,
                "width": 5,
                "color": QUIET,
            },
            customdata=[[a, b] for a, b in zip(low, high, strict=True)],
            hovertemplate="%{y}: %{x:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]<extra></extra>",
            showlegend=False,
            row=1,
            col=column,
        )
        made.update_xaxes(rangemode="tozero", row=1, col=column)
    made.update_yaxes(autorange="reversed", type="category", categoryarray=[plain(m, 26) for m in order])
    made.update_layout(template=template(), height=110 + 34 * len(order), margin={"t": 40})
    made.update_annotations(font={"size": 13})
    return made


def _or(value: Any, otherwise: float) -> float:
    return otherwise if value is None else float(value)


def comparison_reading(rows: Sequence[Row], headline: str) -> str:
    """One sentence: the best model, the next, and whether their intervals part."""
    order = ranked(rows, headline)
    best = order[0]
    said = f"{best['model']} is best by {headline} with {_worded(best)}"
    if len(order) == 1:
        return said + "; nothing stands beside it to compare."
    second = order[1]
    return f"{said}, before {second['model']} with {_worded(second)}; {_parted(best, second)}."


def _worded(row: Row) -> str:
    value = f"{float(row['value']):.4f}"
    if row.get("low") is None or row.get("high") is None:
        return value
    return f"{value} [{float(row['low']):.4f}, {float(row['high']):.4f}]"


def overlaps(first: Row, second: Row) -> bool | None:
    """Whether two rows' intervals share a point; None where one has no interval."""
    edges = [row.get(edge) for row in (first, second) for edge in ("low", "high")]
    if any(edge is None for edge in edges):
        return None
    a_low, a_high, b_low, b_high = (float(edge) for edge in edges)  # type: ignore[arg-type]
    return a_low <= b_high and b_low <= a_high


def _parted(best: Row, second: Row) -> str:
    meet = overlaps(best, second)
    if meet is None:
        return "without intervals the gap may be chance"
    if meet:
        return "their intervals overlap, so that only a paired comparison could tell them apart"
    return "their intervals do not overlap"
