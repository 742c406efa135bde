# SPDX-License-Identifier: Apache-2.0
"""Events over time, by action, in steps that suit the length of the log.

It knows canonical events and figures. Counting is one streaming pass; only the counts are kept.
"""

from __future__ import annotations

from datetime import datetime

import plotly.graph_objects as go
import polars as pl

from desirepath.report.theme import COLOURS, QUIET, figure, many, plain
from desirepath.schema import ACTION, TIME

STEPS = (
    ("1h", "hour", 4),
    ("1d", "day", 120),
    ("1w", "week", 1100),
    ("1mo", "month", 15_000),
    ("1y", "year", float("inf")),
)
"""Step, its name, and the longest log in days that it is used for."""
OTHER = "all other actions"
MAX_ACTIONS = 7


def step_for(span_days: float) -> tuple[str, str]:
    """The step of a timeline as Polars writes it, and its name.

    >>> step_for(2), step_for(30), step_for(365), step_for(5000)
    (('1h', 'hour'), ('1d', 'day'), ('1w', 'week'), ('1mo', 'month'))
    """
    return next((step, name) for step, name, longest in STEPS if span_days <= longest)


def counts_over_time(events: pl.LazyFrame, span_days: float) -> pl.DataFrame:
    """One row a step and action, empty steps included: start, action, n_events; sorted by start.

    Steps are in UTC, weeks begin on Monday. Beyond the most frequent actions all are one.
    """
    step, _ = step_for(span_days)
    counted = (
        events.filter(pl.col(TIME).is_not_null())
        .group_by(pl.col(TIME).dt.truncate(step).alias("start"), ACTION)
        .agg(pl.len().cast(pl.Int64).alias("n_events"))
        .collect(engine="streaming")
    )
    by_size = (
        counted.group_by(ACTION)
        .agg(pl.col("n_events").sum())
        .sort("n_events", ACTION, descending=[True, False])
    )
    named = by_size.get_column(ACTION).head(MAX_ACTIONS).to_list()
    counted = counted.with_columns(
        pl.when(pl.col(ACTION).is_in(named)).then(pl.col(ACTION)).otherwise(pl.lit(OTHER)).alias(ACTION)
    )
    starts = counted.select(
        pl.datetime_range(pl.col("start").min(), pl.col("start").max(), step, time_zone="UTC").alias("start")
    )
    order = [*named, *([OTHER] if by_size.height > len(named) else [])]
    grid = starts.join(pl.DataFrame({ACTION: order, "place": range(len(order))}), how="cross")
    total = counted.group_by("start", ACTION).agg(pl.col("n_events").sum())
    return (
        grid.with_columns(pl.col("start").cast(counted.schema["start"]))
        .join(total, on=["start", ACTION], how="left")
        .with_columns(pl.col("n_events").fill_null(0))
        .sort("place", "start")
        .drop("place")
    )


def timeline(counts: pl.DataFrame, step_name: str, since: datetime | None = None) -> go.Figure:
    """Stacked bars of events by action; lines where the steps are too many for bars.

    With `since` the axis tells days from that moment, for logs whose dates mean nothing.
    """
    n_steps = counts.get_column("start").n_unique()
    made = figure(hovermode="x unified")
    for place, ((action,), rows) in enumerate(
        counts.partition_by(ACTION, as_dict=True, maintain_order=True).items()
    ):
        colour = QUIET if action == OTHER else COLOURS[place % len(COLOURS)]
        start = rows.get_column("start")
        x = start.dt.strftime("%Y-%m-%d %H:%M").to_list()
        if since is not None:
            x = ((start - since).dt.total_seconds() / 86_400).round(3).to_list()
        y, name = rows.get_column("n_events").to_list(), plain(action)
        if n_steps <= 200:
            made.add_bar(x=x, y=y, name=name, marker={"color": colour, "line": {"width": 0}})
        else:
            made.add_scatter(
                x=x, y=y, name=name, mode="lines", stackgroup="all", line={"color": colour, "width": 0.8}
            )
    made.update_layout(barmode="stack", bargap=0.08, showlegend=True, legend={"traceorder": "normal"})
    made.update_yaxes(title_text=f"events per {step_name}", rangemode="tozero")
    made.update_xaxes(title_text=f"{step_name} (UTC)" if since is None else "days since the first event")
    return made


def timeline_reading(counts: pl.DataFrame, step_name: str) -> str:
    """One sentence: the fullest step against the middle one, and empty steps."""
    total = counts.group_by("start").agg(pl.col("n_events").sum()).sort("n_events", "start")
    top = total.row(-1, named=True)
    middle = float(total.get_column("n_events").median() or 0)  # type: ignore[arg-type]
    empty = total.filter(pl.col("n_events") == 0).height
    day = top["start"].strftime("%Y-%m-%d %H:%M" if step_name == "hour" else "%Y-%m-%d")
    times = f", {top['n_events'] / middle:.1f} times the median {step_name}" if middle else ""
    gaps = f"; {many(empty, step_name)} without any event" if empty else ""
    return f"The fullest {step_name} began {day} with {many(top['n_events'], 'event')}{times}{gaps}."
