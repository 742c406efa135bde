# SPDX-License-Identifier: Apache-2.0
"""The week: a heat map of hours and weekdays, or weekdays alone for logs that know no hours.

It draws the counts that `features.rhythm.hour_weekday_counts` makes; it reads no events.
"""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl

from desirepath.report.theme import ACCENT, figure, share

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def heat_map(grid: pl.DataFrame, tz: str) -> go.Figure:
    """Events by hour (across) and weekday (down, Monday on top), from the 168 rows of counts."""
    rows = [
        grid.filter(pl.col("weekday") == d).sort("hour").get_column("n_events").to_list() for d in range(1, 8)
    ]
    made = figure(height=340)
    made.add_heatmap(
        x=list(range(24)),
        y=list(DAYS),
        z=rows,
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": "events"}, "thickness": 12, "outlinewidth": 0, "tickformat": "~s"},
        hovertemplate="%{y} %{x}:00–%{x}:59<br>%{z:,} events<extra></extra>",
    )
    made.update_xaxes(title_text=f"hour of the day ({tz})", dtick=2, showgrid=False)
    made.update_yaxes(autorange="reversed", showgrid=False)
    return made


def weekday_bars(grid: pl.DataFrame, tz: str) -> go.Figure:
    """Events by weekday."""
    n = (
        grid.group_by("weekday")
        .agg(pl.col("n_events").sum())
        .sort("weekday")
        .get_column("n_events")
        .to_list()
    )
    made = figure(height=300)
    made.add_bar(
        x=list(DAYS), y=n, marker={"color": ACCENT}, hovertemplate="%{x}: %{y:,} events<extra></extra>"
    )
    made.update_xaxes(title_text=f"weekday ({tz})", showgrid=False)
    made.update_yaxes(title_text="events", rangemode="tozero")
    return made


def week_reading(grid: pl.DataFrame, with_hours: bool = True) -> str:
    """One sentence: the fullest hour or day, and the weekend's share against its 2 days in 7."""
    whole = int(grid.get_column("n_events").sum())
    weekend = int(grid.filter(pl.col("weekday") >= 6).get_column("n_events").sum())
    days = grid.group_by("weekday").agg(pl.col("n_events").sum()).sort("n_events", "weekday")
    fullest = DAYS[int(days.row(-1)[0]) - 1]
    if with_hours:
        top = grid.sort("n_events", "weekday", "hour").row(-1, named=True)
        fullest = f"{DAYS[top['weekday'] - 1]} from {top['hour']:02d}:00 to {top['hour']:02d}:59"
    return (
        f"The fullest time is {fullest}; Saturday and Sunday hold {share(weekend, whole)} of the events "
        f"(29% if all days were alike)."
    )
