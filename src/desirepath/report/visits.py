# SPDX-License-Identifier: Apache-2.0
"""How long visits last: sessions by number of events and by minutes.

It knows the sessions that `features.sessions` tells and figures; sessions are counted by streaming,
never held.
"""

from __future__ import annotations

from itertools import pairwise

import plotly.graph_objects as go
import polars as pl

from desirepath.report.theme import COLOURS, figure, many, share

MINUTES = (1, 5, 15, 30, 60, 120, 480)
"""Upper edges of the bins of minutes, each included."""


def count_sessions(told: pl.LazyFrame) -> pl.DataFrame:
    """Sessions counted by events and minutes in one streaming pass: n_events, bin, n_keys.

    bin 0 is a session of one event, of which no length is known; then one bin for each of `MINUTES`
    and one beyond.
    """
    minutes = pl.col("length_s") / 60
    place = pl.sum_horizontal((minutes > edge).cast(pl.Int32) for edge in MINUTES) + 1
    return (
        told.group_by(
            pl.col("n_events").cast(pl.Int64),
            pl.when(pl.col("n_events") == 1).then(0).otherwise(place).cast(pl.Int32).alias("bin"),
        )
        .agg(pl.len().cast(pl.Int64).alias("n_keys"))
        .sort("n_events", "bin")
        .collect(engine="streaming")
    )


def session_sizes(counted: pl.DataFrame) -> pl.DataFrame:
    """How many sessions have how many events: n_events, n_keys (counts of counts)."""
    return counted.group_by("n_events").agg(pl.col("n_keys").sum()).sort("n_events")


def session_minutes(counted: pl.DataFrame) -> pl.DataFrame:
    """Sessions by minutes from first to last event: label, n_sessions; single events apart."""
    labels = ["one event", f"up to {MINUTES[0]} min"]
    labels += [f"{_length(a)}–{_length(b)}" for a, b in pairwise(MINUTES)]
    labels.append(f"over {_length(MINUTES[-1])}")
    grid = pl.DataFrame({"bin": range(len(labels)), "label": labels}, schema_overrides={"bin": pl.Int32})
    found = counted.group_by("bin").agg(pl.col("n_keys").sum().alias("n_sessions"))
    return (
        grid.join(found, on="bin", how="left")
        .with_columns(pl.col("n_sessions").fill_null(0))
        .sort("bin")
        .select("label", "n_sessions")
    )


def _length(minutes: int) -> str:
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h"


def minutes_bars(counts: pl.DataFrame) -> go.Figure:
    """Bars of sessions by length in minutes."""
    made = figure(height=320)
    n = counts.get_column("n_sessions").to_list()
    whole = sum(n)
    made.add_bar(
        x=counts.get_column("label").to_list(),
        y=n,
        marker={"color": COLOURS[2]},
        text=[share(count, whole) for count in n],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{x}: %{y:,} sessions<extra></extra>",
    )
    made.update_xaxes(title_text="from first to last event of the session", type="category", showgrid=False)
    made.update_yaxes(title_text="sessions", rangemode="tozero", range=[0, max(n) * 1.12])
    return made


def minutes_reading(counts: pl.DataFrame) -> str:
    """One sentence: single events, and the long end."""
    whole = int(counts.get_column("n_sessions").sum())
    single, long = counts.row(0)[1], sum(row[1] for row in counts.rows()[5:])
    endless = sum(row[1] for row in counts.rows()[7:])
    return (
        f"Of {many(whole, 'session')}, {share(single, whole)} are a single event, of which "
        f"no length is known, and {share(long, whole)} last longer than 30 minutes."
        + (" Many are so long that one session id may hold several visits." if endless > whole / 10 else "")
    )
