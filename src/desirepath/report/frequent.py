# SPDX-License-Identifier: Apache-2.0
"""Frequent patterns as bars with the interval of their share.

It draws a table of patterns and counts none; a partial search is marked in title and ground.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from desirepath.patterns.paths.shares import wilson
from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot
from desirepath.report.labels import Labels
from desirepath.report.theme import ACCENT, QUIET, figure, many, share

MAX_BARS = 15
MOST_COMPARED = 150
"""Patterns among which those that say the same as a longer one are found."""
NEARLY = 0.95


def patterns_plot(data: BehaviourData, labels: Labels) -> Plot:
    """The patterns of several events that most people have in common."""
    assert data.patterns is not None
    ground = data.ground_of("patterns")
    shown = telling(data.patterns)
    n = ground.n_sequences or _sequences(data.patterns)
    return Plot(
        name="patterns",
        title=data.title("patterns", "What many do in this order"),
        figure=pattern_bars(shown, n, labels, ground.sequence),
        reading=patterns_reading(data.patterns, shown, n, labels, ground.sequence),
        basis=data.basis("patterns")
        + " Anything may lie between two events of a pattern." * ("between" not in ground.more),
    )


def telling(table: pl.DataFrame, limit: int = MAX_BARS) -> pl.DataFrame:
    """The patterns that are drawn: those of the largest support with two events or more, told once.

    A pattern is left out where a longer one that contains it is held by nearly as many (19 in 20).

    Single events are patterns as well and the most frequent ones, but only popularity speaks in them; they
    are drawn where there is nothing else.
    """
    longer = table.filter(pl.col("pattern").list.len() > 1)
    chosen = longer if longer.height else table
    order = pl.col("pattern").list.len()
    ranked = chosen.sort("support", order, descending=[True, True], maintain_order=True).head(MOST_COMPARED)
    rows = ranked.select("pattern", "support").rows()
    kept = [
        place
        for place, (short, n) in enumerate(rows)
        if not any(len(long) > len(short) and m >= NEARLY * n and contains(long, short) for long, m in rows)
    ]
    return ranked[kept[:limit]]


def contains(long: Sequence[str], short: Sequence[str]) -> bool:
    """Whether the events of `short` come in `long`, in this order.

    >>> contains(["a", "x", "b"], ["a", "b"]), contains(["b", "a"], ["a", "b"])
    (True, False)
    """
    rest = iter(long)
    return all(name in rest for name in short)


def _sequences(table: pl.DataFrame) -> int:
    """How many sequences the shares are shares of; 0 where the table has none."""
    if "share" not in table.columns or not table.height:
        return 0
    support, of_all = table.row(0, named=True)["support"], table.row(0, named=True)["share"]
    return round(support / of_all) if of_all else 0


def pattern_bars(table: pl.DataFrame, n_sequences: int, labels: Labels, unit: str = "user") -> go.Figure:
    """Bars of the share of sequences that hold each pattern, with Wilson's 95% interval."""
    n = max(n_sequences, int(table["support"].max() or 1))  # type: ignore[arg-type]
    support = table["support"].to_list()
    low, high = wilson(support, [n] * len(support))
    places = list(range(len(support)))
    made = figure(height=110 + 36 * max(1, len(support)))
    made.add_bar(
        x=[s / n for s in support],
        y=places,
        orientation="h",
        marker={"color": ACCENT},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [float(h) - s / n for h, s in zip(high, support, strict=True)],
            "arrayminus": [s / n - float(a) for a, s in zip(low, support, strict=True)],
            "thickness": 1.5,
            "width": 4,
            "color": QUIET,
        },
        customdata=[
            f"{labels.hover(labels.path(pattern))}<br>{many(s, unit)}, {share(s, n)} "
            f"[{share(float(a), 1)}, {share(float(h), 1)}]"
            for pattern, s, a, h in zip(table["pattern"], support, low, high, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    made.update_yaxes(
        tickvals=places,
        ticktext=[labels.short_path(pattern, 52) for pattern in table["pattern"]],
        range=[len(places) - 0.4, -0.6],
        showgrid=False,
    )
    made.update_xaxes(title_text=f"share of {unit}s, with 95% interval", tickformat="~%", rangemode="tozero")
    return made


def patterns_reading(
    table: pl.DataFrame, shown: pl.DataFrame, n_sequences: int, labels: Labels, unit: str = "user"
) -> str:
    """One sentence: how many patterns there are, and the most frequent of them."""
    if not table.height:
        return "No pattern has the support that was asked for."
    top = shown.row(0, named=True)
    whole = f" ({share(top['support'], n_sequences)} of all)" if n_sequences else ""
    longest = int(table["pattern"].list.len().max() or 0)  # type: ignore[arg-type]
    rest = (
        f" The {shown.height} most frequent of several events are drawn, none that a longer one tells."
        if table.height > shown.height
        else ""
    )
    return (
        f"{many(table.height, 'pattern')} of up to {many(longest, 'event')} found; "
        f"the most frequent drawn, {labels.path(top['pattern'])}, is that of "
        f"{many(top['support'], unit)}{whole}.{rest}"
    )
