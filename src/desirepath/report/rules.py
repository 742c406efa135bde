# SPDX-License-Identifier: Apache-2.0
"""Rules "after all of this, all of that": a table of the telling ones, and all of them as dots.

It draws a table of rules and finds none.
"""

from __future__ import annotations

import math

import plotly.graph_objects as go
import polars as pl

from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot, Table
from desirepath.report.labels import Labels, duration
from desirepath.report.theme import figure, many, share

MAX_ROWS = 12
MAX_DOTS = 200


def telling_rules(table: pl.DataFrame, limit: int) -> pl.DataFrame:
    """The rules that tell most: those with the most sequences beyond what chance alone would bring.

    Support times (1 - 1 / lift) is the leverage of Piatetsky-Shapiro (1991) in sequences; by support alone
    only popular things come first, by lift alone only rare ones.
    """
    gain = pl.col("support") * (1 - 1 / pl.col("lift").clip(1e-9))
    return table.sort(gain, "confidence", descending=True, maintain_order=True).head(limit)


def rules_table(data: BehaviourData, labels: Labels) -> Table:
    """The most telling rules in words and numbers."""
    assert data.rules is not None
    shown = telling_rules(data.rules, MAX_ROWS)
    unit = data.ground_of("rules").sequence
    rows = [
        (
            _set(row["antecedent"], labels),
            _set(row["consequent"], labels),
            f"{row['support']:,}",
            share(row["confidence"], 1),
            f"{row['lift']:,.1f}",
            duration(row.get("median_gap_s")),
        )
        for row in shown.iter_rows(named=True)
    ]
    rest = f" {shown.height} of {many(data.rules.height, 'rule')} are listed." * (
        data.rules.height > shown.height
    )
    return Table(
        title=data.title("rules", "The most telling rules"),
        head=("after all of", "follows all of", f"{unit}s", "confidence", "lift", "median time until then"),
        rows=rows,
        numeric=frozenset({2, 3, 4, 5}),
        reading=f"Confidence: of those {unit}s with the left side, how many have the right side after it; "
        f"lift: how many times the share of all {unit}s with the right side that is. Those first that "
        f"more {unit}s bear than chance would bring.{rest}",
        basis=data.basis("rules"),
    )


def rules_plot(data: BehaviourData, labels: Labels) -> Plot:
    """Rules by support and confidence."""
    assert data.rules is not None
    shown = telling_rules(data.rules, MAX_DOTS)
    unit = data.ground_of("rules").sequence
    return Plot(
        name="rules",
        title=data.title("rules", "Rules by how many bear them and how sure they are"),
        figure=rule_dots(shown, labels, unit),
        reading=rules_reading(data.rules, shown, labels),
        basis=data.basis("rules"),
    )


def rule_dots(table: pl.DataFrame, labels: Labels, unit: str = "user") -> go.Figure:
    """Support across, confidence up; the darker, the higher the lift."""
    made = figure(height=400)
    lift = [max(float(v), 1e-3) for v in table["lift"]]
    top = max(lift, default=1.0)
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if min(lift, default=1) <= t <= top] or [1]
    made.add_scatter(
        x=table["support"].to_list(),
        y=table["confidence"].round(4).to_list(),
        mode="markers",
        marker={
            "size": 9,
            "opacity": 0.8,
            "color": [round(math.log10(v), 3) for v in lift],
            "colorscale": [[0, "#8fb4dc"], [0.5, "#dd8434"], [1, "#a83250"]],
            "line": {"width": 0},
            "colorbar": {
                "title": {"text": "lift"},
                "thickness": 12,
                "outlinewidth": 0,
                "tickvals": [math.log10(t) for t in ticks],
                "ticktext": [f"{t:g}" for t in ticks],
            },
        },
        customdata=[
            f"{labels.hover(_set(row['antecedent'], labels))}<br>⇒ "
            f"{labels.hover(_set(row['consequent'], labels))}<br>{many(row['support'], unit)}, "
            f"confidence {share(row['confidence'], 1)}, lift {row['lift']:.1f}"
            for row in table.iter_rows(named=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    made.update_xaxes(title_text=f"support ({unit}s)", tickformat="~s", rangemode="tozero")
    made.update_yaxes(title_text="confidence", tickformat=".0%", rangemode="tozero")
    return made


def rules_reading(table: pl.DataFrame, shown: pl.DataFrame, labels: Labels) -> str:
    """One sentence: the most telling rule."""
    if not table.height:
        return "No rule has the support and the confidence that were asked for."
    top = shown.row(0, named=True)
    some = (
        f" The {shown.height} most telling of {table.height:,} are drawn."
        if table.height > shown.height
        else ""
    )
    return (
        f"Of those with {_set(top['antecedent'], labels)}, {share(top['confidence'], 1)} go on to "
        f"{_set(top['consequent'], labels)}, {top['lift']:.1f} times as often as all do.{some}"
    )


def _set(names: list[str], labels: Labels) -> str:
    return " and ".join(labels.full(name) for name in names)
