# SPDX-License-Identifier: Apache-2.0
"""What sets groups apart: odds ratios of patterns with their intervals, shares and corrected p.

It draws a table of contrasts and tests nothing.
"""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
import polars as pl

from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot
from desirepath.report.frequent import NEARLY, contains
from desirepath.report.labels import Labels
from desirepath.report.theme import COLOURS, QUIET, figure, many, plain, share

MAX_ROWS = 16
"""Patterns drawn; of each group its part."""
MOST_COMPARED = 150
SURE = 0.05


def contrast_plot(data: BehaviourData, labels: Labels) -> Plot:
    """The patterns that set the groups apart most."""
    assert data.contrast is not None
    groups = groups_in(data)
    shown = parting(data.contrast, groups)
    names = f"“{groups[0]}” and “{groups[1]}”" if len(groups) == 2 else f"{len(groups)} groups"
    return Plot(
        name="contrast",
        title=data.title("contrast", f"What sets apart {names}"),
        figure=odds_dots(shown, groups, labels),
        reading=contrast_reading(data.contrast, shown, groups, labels),
        basis=" ".join(
            [
                data.basis("contrast"),
                *_sizes(data),
                "q is the p of the test after Benjamini and Hochberg over all patterns; what sets groups "
                "apart need not be what makes them.",
            ]
        ),
    )


def groups_in(data: BehaviourData) -> tuple[str, ...]:
    """Names of the groups, as they were given or as the rows have them."""
    assert data.contrast is not None
    if data.groups:
        return data.groups
    named = [c.removeprefix("support:") for c in data.contrast.columns if c.startswith("support:")]
    return tuple(named or data.contrast["class"].unique(maintain_order=True).to_list())


def _sizes(data: BehaviourData) -> list[str]:
    if not data.group_sizes:
        return []
    told = [f"{n:,} of {name}" for name, n in zip(data.groups, data.group_sizes, strict=True)]
    return [f"Compared: {', '.join(told)}."]


def parting(table: pl.DataFrame, groups: tuple[str, ...], limit: int = MAX_ROWS) -> pl.DataFrame:
    """The rows that are drawn: of each group those whose odds ratio is surely the greatest.

    Of rows with q below 0.05 (of all, where none is) those with the greatest lower end of the interval; a
    pattern is left out where a longer one with a ratio nearly as great (19 in 20) contains it.
    """
    sure = table.filter((pl.col("q") < SURE) & (pl.col("odds_ratio") > 1))
    chosen = sure if sure.height else table
    met = set(chosen["class"])
    each = max(2, limit // max(1, sum(group in met for group in groups)))
    parts = []
    for group in groups:
        own = chosen.filter(pl.col("class") == group)
        ranked = own.sort("odds_low", "q", descending=[True, False], maintain_order=True).head(MOST_COMPARED)
        rows = ranked.select("pattern", "odds_low").rows()
        kept = [
            place
            for place, (short, low) in enumerate(rows)
            if not any(
                len(long) > len(short) and lower >= NEARLY * low and contains(long, short)
                for long, lower in rows
            )
        ]
        parts.append(ranked[kept[:each]])
    return pl.concat(parts)


def odds_dots(table: pl.DataFrame, groups: tuple[str, ...], labels: Labels) -> go.Figure:
    """Dots of odds ratios with their intervals on a doubling axis; at the right both shares and q.

    Of two groups the first lies to the right of 1 and the second to the left; of more, each row stands for
    its group against all others.
    """
    two = len(groups) == 2
    rows = [
        _turned(row) if two and row["class"] == groups[1] else row | {"of": row["class"]}
        for row in table.to_dicts()
    ]
    rows.sort(key=lambda row: (groups.index(row["of"]) if not two else 0, -row["odds_ratio"]))
    colour = {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(groups)}
    places = list(range(len(rows)))
    ratio, low, high = ([row[name] for row in rows] for name in ("odds_ratio", "odds_low", "odds_high"))
    made = figure(height=150 + 36 * max(1, len(rows)), margin={"r": 190, "t": 60, "l": 60, "b": 60})
    made.add_scatter(
        x=ratio,
        y=places,
        mode="markers",
        marker={"size": 10, "color": [colour[row["of"]] for row in rows]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [h - r for h, r in zip(high, ratio, strict=True)],
            "arrayminus": [r - a for r, a in zip(ratio, low, strict=True)],
            "thickness": 1.8,
            "width": 5,
            "color": QUIET,
        },
        customdata=[_told(row, groups, labels) for row in rows],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )
    _beside(made, rows, groups)
    made.add_vline(x=1, line={"color": QUIET, "width": 1, "dash": "dot"})
    made.update_yaxes(
        tickvals=places,
        ticktext=[labels.short_path(row["pattern"], 44) for row in rows],
        range=[len(rows) - 0.4, -0.6],
        showgrid=False,
        zeroline=False,
    )
    least, most = min([*low, 1 / 1.5]), max([*high, 1.5])
    doublings = math.log2(most / least)
    base = 2.0 if doublings <= 9 else 4.0 if doublings <= 18 else 100.0
    ticks = [base**p for p in range(-12, 13)]
    made.update_xaxes(
        type="log",
        title_text="odds ratio with its interval (logarithmic scale)",
        tickvals=ticks,
        ticktext=[f"{t:,.0f}" if t >= 1 else f"1/{1 / t:,.0f}" for t in ticks],
        tickangle=0,
        range=[math.log10(least / 1.1), math.log10(most * 1.1)],
    )
    return made


def _turned(row: dict[str, Any]) -> dict[str, Any]:
    """A row that speaks of the second group, told of the first."""
    return row | {
        "support": row["support_rest"],
        "share": row["share_rest"],
        "support_rest": row["support"],
        "share_rest": row["share"],
        "odds_ratio": 1 / row["odds_ratio"],
        "odds_low": 1 / row["odds_high"],
        "odds_high": 1 / row["odds_low"],
        "of": row["class"],
    }


def _told(row: dict[str, Any], groups: tuple[str, ...], labels: Labels) -> str:
    first, rest = (plain(name, 30) for name in (groups if len(groups) == 2 else (row["of"], "all others")))
    return (
        f"{labels.hover(labels.path(row['pattern']))}<br>{first}: {row['support']:,} "
        f"({share(row['share'], 1)})<br>{rest}: {row['support_rest']:,} ({share(row['share_rest'], 1)})<br>"
        f"odds ratio {row['odds_ratio']:.3g} [{row['odds_low']:.3g}, {row['odds_high']:.3g}], {_q(row['q'])}"
    )


def _beside(made: go.Figure, rows: list[dict[str, Any]], groups: tuple[str, ...]) -> None:
    """Shares and q at the right of each row, and whose side is which above."""
    quiet = {"size": 12, "color": QUIET}
    above = {"yref": "paper", "y": 1, "yanchor": "bottom", "xref": "paper", "showarrow": False}
    for place, row in enumerate(rows):
        made.add_annotation(
            x=1.01,
            y=place,
            xref="paper",
            xanchor="left",
            showarrow=False,
            text=f"{share(row['share'], 1)} / {share(row['share_rest'], 1)}   {_q(row['q'])}",
            font={"size": 12},
        )
    if len(groups) == 2:
        first, second = (plain(name, 24) for name in groups)
        made.add_annotation(x=1.01, xanchor="left", text="both shares   q", font=quiet, **above)
        for x, anchor, text, tone in (
            (0.0, "left", f"← more of {second}", COLOURS[1]),
            (1.0, "right", f"more of {first} →", COLOURS[0]),
        ):
            made.add_annotation(x=x, xanchor=anchor, text=text, font={"size": 12, "color": tone}, **above)
        return
    made.add_annotation(x=1.01, xanchor="left", text="group / all others   q", font=quiet, **above)
    for place, group in enumerate(groups):
        made.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"size": 10, "color": COLOURS[place % len(COLOURS)]},
            name=plain(group, 30),
        )
    made.update_layout(showlegend=True, legend={"y": 1.06})


def _q(q: float | None) -> str:
    if q is None or q != q:
        return "not tested"
    return f"q = {q:.2g}" if q >= 0.001 else "q < 0.001"


def contrast_reading(
    table: pl.DataFrame, shown: pl.DataFrame, groups: tuple[str, ...], labels: Labels
) -> str:
    """One sentence: the pattern that sets groups apart most, and how many do so beyond chance."""
    sure = table.filter(pl.col("q") < SURE)
    n_patterns = many(table["pattern"].n_unique(), "pattern")
    if not sure.height:
        return (
            f"None of {n_patterns} sets groups apart beyond chance (each q is {SURE} or more); the largest "
            "differences are drawn, and all may be chance."
        )
    top = shown.sort("odds_low", descending=True).row(0, named=True)
    others = [f"“{group}”" for group in groups if group != top["class"]]
    rest = others[0] if len(others) == 1 else "all others"
    return (
        f"{labels.path(top['pattern'])}: {share(top['share'], 1)} of “{top['class']}”, "
        f"{share(top['share_rest'], 1)} of {rest}. {sure['pattern'].n_unique():,} of {n_patterns} set "
        f"groups apart beyond chance (q below {SURE})."
    )
