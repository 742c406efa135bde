# SPDX-License-Identifier: Apache-2.0
"""What people do: the actions of a log by size.

It knows canonical events and figures.
"""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl

from desirepath.report.theme import ACCENT, figure, many, plain, share
from desirepath.schema import ACTION, USER

MAX_BARS = 20


def action_counts(events: pl.LazyFrame) -> pl.DataFrame:
    """One row an action, most frequent first: action, n_events, n_users."""
    return (
        events.group_by(ACTION)
        .agg(
            pl.len().cast(pl.Int64).alias("n_events"), pl.col(USER).n_unique().cast(pl.Int64).alias("n_users")
        )
        .sort("n_events", ACTION, descending=[True, False])
        .collect(engine="streaming")
    )


def actions_bar(counts: pl.DataFrame) -> go.Figure:
    """Horizontal bars, the most frequent on top, each with its count and share."""
    shown = counts.head(MAX_BARS).reverse()
    whole = int(counts.get_column("n_events").sum())
    n = shown.get_column("n_events").to_list()
    made = figure(height=90 + 34 * shown.height)
    made.add_bar(
        y=[plain(action, 28) for action in shown.get_column(ACTION)],
        x=n,
        orientation="h",
        marker={"color": ACCENT},
        text=[f"{count:,} ({share(count, whole)})" for count in n],
        textposition="auto",
        insidetextanchor="end",
        insidetextfont={"color": "#ffffff"},
        cliponaxis=False,
        customdata=shown.get_column("n_users").to_list(),
        hovertemplate="%{y}: %{x:,} events by %{customdata:,} users<extra></extra>",
    )
    made.update_xaxes(title_text="events", rangemode="tozero")
    made.update_yaxes(type="category", showgrid=False)
    return made


def actions_reading(counts: pl.DataFrame) -> str:
    """One sentence: how much the first action outweighs the rest."""
    whole, first = int(counts.get_column("n_events").sum()), counts.row(0, named=True)
    if counts.height == 1:
        return f"All {many(whole, 'event')} are of one kind, '{first[ACTION]}'."
    rest = (
        f"; the {MAX_BARS} most frequent of {counts.height:,} are shown" if counts.height > MAX_BARS else ""
    )
    return (
        f"'{first[ACTION]}' makes up {share(first['n_events'], whole)} of all events and was done by "
        f"{many(first['n_users'], 'user')}{rest}."
    )
