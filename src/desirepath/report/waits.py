# SPDX-License-Identifier: Apache-2.0
"""How long it takes from one event to another: bars of times, those who never get there among them.

It draws counts that were made elsewhere. All bars of a pair add up to all who began to wait.
"""

from __future__ import annotations

from typing import Final

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot
from desirepath.report.labels import ARROW, Labels, duration
from desirepath.report.theme import ACCENT, QUIET, many, share, template

WORDS: Final = {
    "10 s": 10.0,
    "1 min": 60.0,
    "5 min": 300.0,
    "15 min": 900.0,
    "1 h": 3600.0,
    "6 h": 21_600.0,
    "1 day": 86_400.0,
    "7 days": 604_800.0,
    "30 days": 2_592_000.0,
}
"""Bounds of times as people read them."""
MAX_PAIRS = 5


def waits_plot(data: BehaviourData, labels: Labels) -> Plot:
    """A row of bars for each pair of events."""
    assert data.waits is not None
    pairs = data.waits.select("from", "to").unique(maintain_order=True).rows()
    names = [labels.full(name) for name in pairs[0]] if len(pairs) == 1 else ["one step", "the next"]
    return Plot(
        name="waits",
        title=data.title("waits", f"How long it takes from {names[0]} to {names[1]}"),
        figure=wait_bars(data.waits, labels),
        reading=waits_reading(data.waits, labels),
        basis=data.basis("waits"),
    )


def wait_bars(table: pl.DataFrame, labels: Labels) -> go.Figure:
    """Bars by time, of equal width for unequal spans; "not yet" in grey at the end."""
    pairs = table.select("from", "to").unique(maintain_order=True).head(MAX_PAIRS).rows()
    parts = [
        _trimmed(table.filter((pl.col("from") == first) & (pl.col("to") == then))) for first, then in pairs
    ]
    made = make_subplots(
        rows=max(1, len(pairs)),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.3 / max(2, len(pairs)) if len(pairs) > 1 else 0,
        subplot_titles=[
            f"{labels.short(first, 36)}{ARROW}{labels.short(then, 36)}: share of {whole(part):,} starts"
            for (first, then), part in zip(pairs, parts, strict=True)
        ],
    )
    for at, part in enumerate(parts):
        n, total = part["starts"].to_list(), max(1, whole(part))
        names = [_span(above, upto) for above, upto in part.select("above_s", "up_to_s").iter_rows()]
        made.add_bar(
            x=names,
            y=[one / total for one in n],
            marker={"color": [QUIET if name == NEVER else ACCENT for name in names]},
            text=[share(one, total) for one in n],
            textposition="outside",
            cliponaxis=False,
            customdata=[
                f"{name}: {many(one, 'start')}, {share(one, total)}"
                for name, one in zip(names, n, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
            row=at + 1,
            col=1,
        )
        made.update_yaxes(
            range=[0, 1.18 * max(0.01, *(one / total for one in n))], tickformat=".0%", row=at + 1, col=1
        )
    # Categories that no pair has would stand there all the same.
    drawn = {name for trace in made.data for name in trace.x}
    spans = table.select("above_s", "up_to_s").unique(maintain_order=True).rows()
    order = [name for name in (_span(*bounds) for bounds in spans) if name in drawn]
    made.update_xaxes(categoryorder="array", categoryarray=order)
    made.update_xaxes(type="category", showgrid=False, showticklabels=True, tickfont={"size": 11})
    made.update_xaxes(title_text="time until then", row=max(1, len(pairs)), col=1)
    made.update_layout(
        template=template(), height=120 + 210 * max(1, len(pairs)), margin={"t": 40}, bargap=0.25
    )
    made.update_annotations(font={"size": 13})
    return made


NEVER: Final = "not seen"


def _trimmed(part: pl.DataFrame) -> pl.DataFrame:
    """Without the spans before the first and after the last that anybody took."""
    is_span = pl.col("above_s").is_not_null() | pl.col("up_to_s").is_not_null()
    spans = part.filter(is_span)
    met = pl.col("starts") > 0
    return pl.concat([spans.filter(met.cum_max() & met.cum_max(reverse=True)), part.filter(~is_span)])


def _span(above_s: float | None, upto_s: float | None) -> str:
    """A span of time in words.

    >>> _span(None, 10.0), _span(10.0, 60.0), _span(60.0, 300.0), _span(2_592_000.0, None), _span(None, None)
    ('up to 10 s', '10 s–1 min', '1–5 min', 'over 30 days', 'not seen')
    """
    if above_s is None or upto_s is None:
        bound = _word(upto_s if above_s is None else above_s)
        return f"{'up to' if above_s is None else 'over'} {bound}" if bound else NEVER
    low, high = _word(above_s), _word(upto_s)
    same = low.split()[-1].rstrip("s") == high.split()[-1].rstrip("s")
    return f"{low.split()[0] if same else low}–{high}"


def _word(bound_s: float | None) -> str:
    return {second: name for name, second in WORDS.items()}.get(bound_s, duration(bound_s))  # type: ignore[arg-type]


def whole(table: pl.DataFrame) -> int:
    """All who began to wait, those who never got there included."""
    return int(table["starts"].sum())


def waits_reading(table: pl.DataFrame, labels: Labels) -> str:
    """A sentence a pair: how many get there, and by when most of those have."""
    said = []
    for first, then in table.select("from", "to").unique(maintain_order=True).head(MAX_PAIRS).iter_rows():
        own = table.filter((pl.col("from") == first) & (pl.col("to") == then))
        there = own.filter(pl.col("above_s").is_not_null() | pl.col("up_to_s").is_not_null())
        n, met = whole(own), whole(there)
        words = f"Of {many(n, 'start')} with {labels.full(first)}, {share(met, n)} are followed by "
        words += labels.full(then)
        if met:
            half = there.filter(pl.col("starts").cum_sum() >= met / 2).row(0, named=True)
            words += f", half of them {_half(half['above_s'], half['up_to_s'])}"
        said.append(words + ".")
    return " ".join(said)


def _half(above_s: float | None, upto_s: float | None) -> str:
    return f"only after {_word(above_s)}" if upto_s is None else f"within {_word(upto_s)}"
