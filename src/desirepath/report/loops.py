# SPDX-License-Identifier: Apache-2.0
"""What is done again: how many repeat an event at once or come back to it, and how soon.

It draws a table of loops and counts none.
"""

from __future__ import annotations

from typing import Final

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot
from desirepath.report.labels import Labels, duration
from desirepath.report.theme import COLOURS, many, share, template

MAX_EVENTS = 12
"""Events drawn, those that most sequences repeat or come back to."""
TICKS_S: Final = {
    "1 s": 1.0,
    "10 s": 10.0,
    "1 min": 60.0,
    "10 min": 600.0,
    "1 h": 3600.0,
    "1 day": 86_400.0,
    "7 days": 604_800.0,
    "60 days": 5_184_000.0,
    "1 year": 31_536_000.0,
}
KINDS: Final = (
    ("repeat", "again at once", COLOURS[0]),
    ("cycle", "after something else", COLOURS[1]),
)


def loops_plot(data: BehaviourData, labels: Labels) -> Plot:
    """Bars of those who repeat and who come back; beside them the time from first to last."""
    assert data.loops is not None
    unit = data.ground_of("loops").sequence
    return Plot(
        name="loops",
        title=data.title("loops", "What people do again, and how soon"),
        figure=loop_bars(data.loops, labels, unit),
        reading=loops_reading(data.loops, labels, unit),
        basis=data.basis("loops"),
    )


def most_looped(table: pl.DataFrame, limit: int = MAX_EVENTS) -> list[str]:
    """The events that the most sequences repeat or come back to, most first."""
    order = table.group_by("symbol").agg(pl.col("sequence_share").max())
    return order.sort("sequence_share", "symbol", descending=[True, False]).head(limit)["symbol"].to_list()


def loop_bars(table: pl.DataFrame, labels: Labels, unit: str = "user") -> go.Figure:
    """A row an event: left the share of sequences with a repeat and a return, right the median time."""
    symbols = most_looped(table)
    made = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        column_widths=[0.6, 0.4],
        horizontal_spacing=0.06,
        subplot_titles=[
            f"share of {unit}s that do it "
            + " or ".join(_coloured(name, colour) for _, name, colour in KINDS),
            "median time from the first to the last",
        ],
    )
    met: list[float] = []
    for at, (kind, _, colour) in enumerate(KINDS):
        rows = {
            row["symbol"]: row
            for row in table.filter((pl.col("kind") == kind) & pl.col("symbol").is_in(symbols)).to_dicts()
        }
        own = [symbol for symbol in symbols if symbol in rows]
        hover = [_hover(rows[symbol], kind, labels, unit) for symbol in own]
        shares = [rows[symbol]["sequence_share"] for symbol in own]
        # Two bars a row, one below the other; the dots of times stand beside their bars.
        places = [symbols.index(symbol) + (-0.19, 0.19)[at] for symbol in own]
        made.add_bar(
            x=shares,
            y=places,
            width=0.36,
            orientation="h",
            marker={"color": colour},
            text=[share(value, 1) for value in shares],
            textposition="outside",
            cliponaxis=False,
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            row=1,
            col=1,
        )
        times = [max(1.0, rows[symbol].get("median_s") or 0.0) for symbol in own]
        met += times
        made.add_scatter(
            x=times,
            y=places,
            mode="markers+text",
            marker={"size": 9, "color": colour},
            text=[duration(rows[symbol].get("median_s")) for symbol in own],
            textposition="middle right",
            textfont={"size": 11},
            cliponaxis=False,
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            row=1,
            col=2,
        )
    made.update_yaxes(
        tickvals=list(range(len(symbols))),
        ticktext=[labels.short(symbol, 30) for symbol in symbols],
        range=[len(symbols) - 0.4, -0.6],
        showgrid=False,
        zeroline=False,
    )
    made.update_xaxes(rangemode="tozero", tickformat=".0%", row=1, col=1)
    ticks = {name: second for name, second in TICKS_S.items() if second <= 4 * max(met, default=60.0)}
    made.update_xaxes(type="log", tickvals=list(ticks.values()), ticktext=list(ticks), row=1, col=2)
    made.update_layout(
        template=template(), height=130 + 44 * len(symbols), margin={"t": 44, "r": 70}, showlegend=False
    )
    made.update_annotations(font={"size": 13})
    return made


def _coloured(words: str, colour: str) -> str:
    return f'<span style="color:{colour}"><b>{words}</b></span>'


def _hover(row: dict[str, object], kind: str, labels: Labels, unit: str) -> str:
    steps = float(row.get("mean_events") or 0)  # type: ignore[arg-type]
    how = (
        f"{steps + 1:.1f} in a row on average"
        if kind == "repeat"
        else f"back after {steps:.1f} steps on average"
    )
    return (
        f"{labels.hover(labels.full(row['symbol']))}<br>{share(float(row['sequence_share']), 1)} of {unit}s"  # type: ignore[arg-type]
        f", {int(row['count']):,} times<br>{how}"  # type: ignore[call-overload]
    )


def loops_reading(table: pl.DataFrame, labels: Labels, unit: str = "user") -> str:
    """One sentence: what most repeat, what most come back to, and how soon."""
    said = []
    for kind, words in (("repeat", "do {} again at once"), ("cycle", "come back to {} after something else")):
        own = table.filter(pl.col("kind") == kind).sort("sequence_share", "symbol", descending=[True, False])
        if own.height:
            row = own.row(0, named=True)
            soon = f", {duration(row['median_s'])} later (median)" if row.get("median_s") is not None else ""
            done = words.format(labels.full(row["symbol"]))
            said.append(f"{share(row['sequence_share'], 1)} of {unit}s {done}{soon}")
    n = table["symbol"].n_unique()
    rest = f" Drawn are the first {MAX_EVENTS} of {many(n, 'event')}." if n > MAX_EVENTS else ""
    return ("; ".join(said) or "Nothing is done again") + "." + rest
