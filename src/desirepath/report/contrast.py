# SPDX-License-Identifier: Apache-2.0
"""What sets two groups apart: odds ratios of patterns with their intervals, shares and corrected p.

It draws a table of contrasts. Where the table bears no odds ratio it is reckoned from the supports.
"""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import polars as pl

from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot
from desirepath.report.labels import Labels
from desirepath.report.theme import COLOURS, QUIET, figure, many, plain, share

MAX_SIDE = 8
"""Patterns drawn for each of the two groups."""
SURE = 0.05
Z_95 = 1.959963984540054


def contrast_plot(data: BehaviourData, labels: Labels) -> Plot:
    """The patterns that part the two groups most."""
    assert data.contrast is not None
    table = with_odds(data.contrast, data.group_sizes)
    shown = parting(table)
    return Plot(
        name="contrast",
        title=data.title("contrast", f"What sets {data.groups[0]} apart from {data.groups[1]}"),
        figure=odds_dots(shown, data.groups, labels),
        reading=contrast_reading(table, shown, data, labels),
        basis=data.basis("contrast")
        + " q is the p of a test after Benjamini and Hochberg over the whole table; "
        "what sets groups apart need not be what makes them.",
    )


def with_odds(table: pl.DataFrame, sizes: tuple[int, int]) -> pl.DataFrame:
    """The table with share_a, share_b, log_odds, log_odds_low and log_odds_high.

    Sizes that are not known are told from the table's shares. The log odds ratio, where the table has none,
    is that of counts with 0.5 added to each (Haldane 1956, Anscombe 1956), its 95% interval Woolf's (1955).
    """
    a, b = (table[f"support_{side}"].cast(pl.Float64).to_numpy() for side in "ab")
    n_a, n_b = (n or _size(table, side) for n, side in zip(sizes, "ab", strict=True))
    cells = (a + 0.5, n_a - a + 0.5, b + 0.5, n_b - b + 0.5)
    middle = np.log(cells[0] * cells[3] / (cells[1] * cells[2]))
    half = Z_95 * np.sqrt(sum(1 / cell for cell in cells))
    reckoned = {
        "share_a": a / n_a,
        "share_b": b / n_b,
        "log_odds": middle,
        "log_odds_low": middle - half,
        "log_odds_high": middle + half,
    }
    lacking = "log_odds" not in table.columns
    return table.with_columns(
        pl.Series(name, values)
        for name, values in reckoned.items()
        if name not in table.columns or (lacking and name.startswith("log_odds"))
    )


def _size(table: pl.DataFrame, side: str) -> float:
    """Sequences of a group, as its supports and shares have it; the largest support if all are 0."""
    held = table.filter(pl.col(f"share_{side}") > 0)
    support, whole = (held[f"{name}_{side}"] for name in ("support", "share"))
    return float(round((support / whole).median())) if held.height else 1.0  # type: ignore[arg-type]


def parting(table: pl.DataFrame, limit: int = MAX_SIDE) -> pl.DataFrame:
    """The rows that are drawn: for each group those whose odds ratio is surely the farthest from 1.

    Of rows with q below 0.05 (of all, where none is) the order is by the nearer end of the interval.
    """
    sure = table.filter(pl.col("q") < SURE)
    chosen = sure if sure.height else table
    nearer = pl.min_horizontal(pl.col("log_odds_low").abs(), pl.col("log_odds_high").abs())
    ranked = chosen.sort(nearer, "q", descending=[True, False], maintain_order=True)
    sides = [ranked.filter(pl.col("log_odds") > 0), ranked.filter(pl.col("log_odds") <= 0)]
    return pl.concat(side.head(limit) for side in sides).sort(
        "log_odds", descending=True, maintain_order=True
    )


def odds_dots(table: pl.DataFrame, groups: tuple[str, str], labels: Labels) -> go.Figure:
    """Dots of odds ratios with 95% intervals on a doubling axis; at the right both shares and q."""
    rows = table.to_dicts()
    places = list(range(len(rows)))
    ratio = [math.exp(row["log_odds"]) for row in rows]
    low = [math.exp(row["log_odds_low"]) for row in rows]
    high = [math.exp(row["log_odds_high"]) for row in rows]
    first, second = (plain(name, 24) for name in groups)
    made = figure(height=150 + 30 * max(1, len(rows)), margin={"r": 200, "t": 60, "l": 60, "b": 60})
    made.add_scatter(
        x=ratio,
        y=places,
        mode="markers",
        marker={"size": 10, "color": [COLOURS[0] if r > 1 else COLOURS[1] for r in ratio]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [h - r for h, r in zip(high, ratio, strict=True)],
            "arrayminus": [r - a for r, a in zip(ratio, low, strict=True)],
            "thickness": 1.8,
            "width": 5,
            "color": QUIET,
        },
        customdata=[
            f"{labels.hover(labels.path(row['pattern']))}<br>{first}: {row['support_a']:,} "
            f"({share(row['share_a'], 1)})<br>{second}: {row['support_b']:,} ({share(row['share_b'], 1)})<br>"
            f"odds ratio {r:.2f} [{a:.2f}, {h:.2f}], {_q(row['q'])}"
            for row, r, a, h in zip(rows, ratio, low, high, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    for place, row in zip(places, rows, strict=True):
        made.add_annotation(
            x=1.01,
            y=place,
            xref="paper",
            xanchor="left",
            showarrow=False,
            text=f"{share(row['share_a'], 1)} / {share(row['share_b'], 1)}   <sup>{_q(row['q'])}</sup>",
            font={"size": 12},
        )
    made.add_annotation(
        x=1.01, y=1, xref="paper", yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
        text=f"{plain(groups[0], 14)} / {plain(groups[1], 14)}", font={"size": 12, "color": QUIET},
    )  # fmt: skip
    for x, anchor, text in ((0.0, "left", f"← more of {second}"), (1.0, "right", f"more of {first} →")):
        made.add_annotation(
            x=x, y=1, xref="paper", yref="paper", xanchor=anchor, yanchor="bottom", showarrow=False,
            text=text, font={"size": 12, "color": COLOURS[1] if anchor == "left" else COLOURS[0]},
        )  # fmt: skip
    made.add_vline(x=1, line={"color": QUIET, "width": 1, "dash": "dot"})
    made.update_yaxes(
        tickvals=places,
        ticktext=[labels.short_path(row["pattern"], 44) for row in rows],
        range=[len(rows) - 0.4, -0.6],
        showgrid=False,
        zeroline=False,
    )
    edge = max([*high, *(1 / max(a, 1e-9) for a in low), 1.5])
    powers = range(-12, 13) if edge < 64 else range(-12, 13, 2)
    ticks = [2.0**p for p in powers]
    made.update_xaxes(
        type="log",
        title_text="odds ratio with 95% interval (doubling scale)",
        tickvals=ticks,
        ticktext=[f"{t:g}" if t >= 1 else f"1/{1 / t:g}" for t in ticks],
        range=[math.log10(min([*low, 1 / 1.5]) / 1.1), math.log10(max([*high, 1.5]) * 1.1)],
    )
    return made


def _q(q: float | None) -> str:
    if q is None or q != q:
        return "q unknown"
    return f"q = {q:.2g}" if q >= 0.001 else "q < 0.001"


def contrast_reading(table: pl.DataFrame, shown: pl.DataFrame, data: BehaviourData, labels: Labels) -> str:
    """One sentence: the pattern that parts the groups most, and how many are beyond chance."""
    if not shown.height:
        return "No pattern has the support that was asked for."
    n_sure = table.filter(pl.col("q") < SURE).height
    if not n_sure:
        return (
            f"None of {many(table.height, 'pattern')} parts the groups beyond chance (each q is {SURE} or "
            "more); the largest differences are drawn, and all may be chance."
        )
    nearer = pl.min_horizontal(pl.col("log_odds_low").abs(), pl.col("log_odds_high").abs())
    top = shown.sort(nearer, descending=True).row(0, named=True)
    return (
        f"{labels.path(top['pattern'])} is that of {share(top['share_a'], 1)} of {data.groups[0]} and "
        f"{share(top['share_b'], 1)} of {data.groups[1]}; {n_sure:,} of {many(table.height, 'pattern')} part "
        f"the groups beyond chance (q below {SURE})."
    )
