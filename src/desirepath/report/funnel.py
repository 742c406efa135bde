# SPDX-License-Identifier: Apache-2.0
"""A funnel: how many come to each step, what share of the step before, and how long it takes them.

It draws the table of a funnel and what those who left did next; it counts nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot, Table
from desirepath.report.labels import Labels, duration
from desirepath.report.theme import ACCENT, COLOURS, QUIET, many, share, template

MAX_NEXT = 4
"""What leavers did next: rows a step."""


def funnel_plot(data: BehaviourData, labels: Labels) -> Plot:
    """Bars of those who came so far; beside them the share of the step before with its interval."""
    assert data.funnel is not None
    return Plot(
        name="funnel",
        title=data.title("funnel", "How far they come"),
        figure=funnel_bars(data.funnel, labels, data.ground_of("funnel").sequence),
        reading=funnel_reading(data.funnel, labels, data.ground_of("funnel").sequence),
        basis=data.basis("funnel"),
    )


def funnel_bars(table: pl.DataFrame, labels: Labels, unit: str = "user") -> go.Figure:
    """A row a step, the first on top; left the count, right the share of the step before."""
    rows = table.sort("step").to_dicts()
    first = max(1, rows[0]["entered"]) if rows else 1
    entered = [row["entered"] for row in rows]
    places = list(range(len(rows)))
    made = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        column_widths=[0.62, 0.38],
        horizontal_spacing=0.05,
        subplot_titles=[f"{unit}s who came so far", "of those at the step before, with 95% interval"],
    )
    made.add_bar(
        x=entered,
        y=places,
        orientation="h",
        marker={"color": ACCENT},
        text=[f"{n:,} ({share(n, first)})" for n in entered],
        textposition="auto",
        insidetextanchor="end",
        insidetextfont={"color": "#ffffff"},
        cliponaxis=False,
        customdata=[
            f"{labels.hover(labels.full(row['name']))}<br>{many(n, unit)}, {share(n, first)} of the first "
            f"step{_later(row)}"
            for row, n in zip(rows, entered, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
        row=1,
        col=1,
    )
    made.add_trace(_conversion(rows), row=1, col=2)
    made.update_yaxes(
        tickvals=places,
        ticktext=[
            f"{row['step']}. {labels.short(row['name'], 24)}"
            + (
                f'<br><span style="font-size:11px">{duration(row["median_s"])} later (median)</span>'
                if row.get("median_s") is not None
                else ""
            )
            for row in rows
        ],
        range=[len(rows) - 0.4, -0.6],
        showgrid=False,
        zeroline=False,
    )
    made.update_xaxes(rangemode="tozero", tickformat="~s", row=1, col=1)
    made.update_xaxes(range=[-0.02, 1.08], tickformat=".0%", row=1, col=2)
    made.update_layout(template=template(), height=110 + 58 * len(rows), margin={"t": 44}, bargap=0.35)
    made.update_annotations(font={"size": 13})
    return made


def _conversion(rows: list[dict[str, Any]]) -> go.Scatter:
    """Dots of the share of those at the step before who came on, where there were any."""
    known = [p for p in range(1, len(rows)) if rows[p - 1]["entered"]]
    shares = [rows[p]["entered"] / rows[p - 1]["entered"] for p in known]
    ends = [(rows[p].get("share_of_previous_low"), rows[p].get("share_of_previous_high")) for p in known]
    return go.Scatter(
        x=shares,
        y=known,
        mode="markers+text",
        marker={"size": 10, "color": COLOURS[1]},
        text=[share(value, 1) for value in shares],
        textposition="top center",
        cliponaxis=False,
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [0 if high is None else high - v for v, (_, high) in zip(shares, ends, strict=True)],
            "arrayminus": [0 if low is None else v - low for v, (low, _) in zip(shares, ends, strict=True)],
            "thickness": 1.8,
            "width": 5,
            "color": QUIET,
        },
        customdata=[
            f"{share(value, 1)} of those at the step before"
            + ("" if low is None or high is None else f"<br>[{share(low, 1)}, {share(high, 1)}]")
            for value, (low, high) in zip(shares, ends, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )


def _later(row: dict[str, object]) -> str:
    gap, whole = row.get("median_s"), row.get("median_from_first_s")
    said = "" if gap is None else f"<br>median {duration(float(str(gap)))} after the step before"
    return said + ("" if whole is None else f"<br>median {duration(float(str(whole)))} after the first")


def funnel_reading(table: pl.DataFrame, labels: Labels, unit: str = "user") -> str:
    """One sentence: how many come through, and where most are lost."""
    rows = table.sort("step").to_dicts()
    if not rows or not rows[0]["entered"]:
        return "Nobody came to the first step."
    first, last = rows[0], rows[-1]
    said = (
        f"Of {many(first['entered'], unit)} at {labels.full(first['name'])}, "
        f"{share(last['entered'], first['entered'])} come to {labels.full(last['name'])}"
    )
    losses = [(a["entered"] - b["entered"], a, b) for a, b in pairwise(rows) if a["entered"]]
    if len(losses) < 2:
        return said + "."
    lost, a, b = max(losses, key=lambda loss: (loss[0], -loss[1]["step"]))
    return (
        f"{said}; most are lost between {labels.full(a['name'])} and {labels.full(b['name'])} "
        f"({lost:,}, {share(lost, a['entered'])} of those there)."
    )


def drop_offs_table(data: BehaviourData, labels: Labels) -> Table:
    """What those who left after each step did next."""
    assert data.drop_offs is not None
    rows, spans = [], []
    for (step, name), part in data.drop_offs.group_by("step", "name", maintain_order=True):
        whole = int(part["count"].sum())
        shown = part.sort("count", descending=True, maintain_order=True).head(MAX_NEXT)
        own = [
            (
                labels.full(row["next"]),
                f"{row['count']:,}",
                share(row["count"], whole),
                duration(row.get("median_s")),
            )
            for row in shown.iter_rows(named=True)
        ]
        left = whole - int(shown["count"].sum())
        if left:
            own.append(("anything else", f"{left:,}", share(left, whole), ""))
        rows += [(f"{step}. {labels.full(name)}\n{whole:,} went no further", *row) for row in own]
        spans += [len(own), *[0] * (len(own) - 1)]
    unit = data.ground_of("drop_offs").sequence
    return Table(
        title=data.title("drop_offs", "What those did next who went no further"),
        head=("last step reached", "next", f"{unit}s", "share", "median time until then"),
        rows=rows,
        numeric=frozenset({2, 3, 4}),
        merged=1,
        spans=spans,
        reading='"ended" is nobody\'s next event: the path is over there.',
        basis=data.basis("drop_offs"),
    )
