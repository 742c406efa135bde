# SPDX-License-Identifier: Apache-2.0
"""Segments: a map of users, their sizes and marks, who moved where, and activity classes.

It draws tables of segments and finds none. A map of many users is drawn from a sample of them.
"""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl

from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot, Table
from desirepath.report.grids import heat
from desirepath.report.labels import Labels
from desirepath.report.marks import told_marks
from desirepath.report.theme import COLOURS, QUIET, figure, many, plain, share

MAX_POINTS = 2000
MAX_SEGMENTS = 12
NAMES_A_LINE = 2
SYMBOLS = ("circle", "diamond")


def map_plot(data: BehaviourData, labels: Labels) -> Plot:
    """Each user a dot, coloured by segment."""
    assert data.members is not None
    sizes = _sizes(data)
    known = data.members.drop_nulls(["x", "y"])
    shown = sampled(known)
    stable = {
        True: " Drawing other users finds the same segments again.",
        False: " Drawing other users finds other segments: they help to look, and are no kinds of people.",
        None: "",
    }[data.is_stable]
    part = "" if shown.height == known.height else f" A sample of {many(shown.height, 'user')} is drawn."
    return Plot(
        name="segment-map",
        title="A map of users by what they do",
        figure=segment_map(shown, sizes, labels),
        reading=f"Dots that lie close do alike things; the axes have no unit.{part}{stable}",
        basis=data.basis("members"),
    )


def _sizes(data: BehaviourData) -> pl.DataFrame:
    """segment, name, n_users; from the members where there is no table."""
    if data.segments is not None:
        return data.segments.select("segment", "name", "n_users")
    assert data.members is not None
    counted = data.members.group_by("segment").agg(pl.len().alias("n_users")).sort("segment")
    return counted.with_columns(name=pl.format("segment {}", pl.col("segment")))


def sampled(members: pl.DataFrame, limit: int = MAX_POINTS) -> pl.DataFrame:
    """At most about `limit` members, of each segment the same share, but 20 or all at the least."""
    if members.height <= limit:
        return members
    own = pl.len().over("segment")
    keep = (own * limit / members.height).clip(20).ceil()
    mixed = members.sample(fraction=1.0, shuffle=True, seed=0)
    return mixed.filter(pl.int_range(pl.len()).over("segment") < keep)


def segment_map(members: pl.DataFrame, sizes: pl.DataFrame, labels: Labels) -> go.Figure:
    """Dots at x and y; the largest segment first in the legend, those in none grey."""
    made = figure()
    order = sizes.sort(pl.col("segment") < 0, "n_users", descending=[False, True])
    for place, (segment, name, n) in enumerate(order.select("segment", "name", "n_users").iter_rows()):
        own = members.filter(pl.col("segment") == segment)
        if own.is_empty():
            continue
        is_quiet = segment < 0 or place >= MAX_SEGMENTS
        made.add_scatter(
            x=own["x"].cast(pl.Float64).round(2).to_list(),
            y=own["y"].cast(pl.Float64).round(2).to_list(),
            mode="markers",
            name=f"{labels.short(name, 40)} ({n:,})",
            marker={
                "size": 6,
                "opacity": 0.7,
                "color": QUIET if is_quiet else COLOURS[place % len(COLOURS)],
                "symbol": SYMBOLS[(place // len(COLOURS)) % 2],
            },
            hovertemplate=f"{labels.hover(str(name))}<extra></extra>",
        )
    made.update_xaxes(showticklabels=False, zeroline=False, title_text="")
    made.update_yaxes(showticklabels=False, zeroline=False, title_text="")
    # Names are long: below the map they take as many lines as they need.
    lines = -(-len(made.data) // NAMES_A_LINE)
    made.update_layout(
        legend={"itemsizing": "constant", "y": -0.03, "yanchor": "top"},
        showlegend=True,
        height=440 + 22 * lines,
        margin={"t": 16, "b": 24 + 22 * lines},
    )
    return made


def segments_table(data: BehaviourData, labels: Labels) -> Table:
    """Each segment: name, size, and what sets it apart in words."""
    sizes = _sizes(data)
    whole = max(1, int(sizes["n_users"].sum()))
    rows, shares = [], []
    for segment, name, n in sizes.head(MAX_SEGMENTS).iter_rows():
        words = told_marks(data.marks, segment, labels) if data.marks is not None else []
        rows.append((labels.full(name), f"{n:,}", share(n, whole), "\n".join(words) or "nothing strong"))
        shares.append(n / whole)
    top = max(shares, default=1) or 1
    return Table(
        title="The segments and what sets them apart",
        head=("segment", "users", "share", "apart from all others by"),
        rows=rows,
        numeric=frozenset({1, 2}),
        bars=2,
        bar_shares=[s / top for s in shares],
        reading="In brackets the segment against all others. Told is what lies beyond chance (q below 0.01) "
        "and is not tiny (an effect of 0.2 or more). Segments are made of these very habits: the tests say "
        "which differences are real, not that there are just so many kinds of people.",
        basis=data.basis("segments"),
    )


def moves_plot(data: BehaviourData, labels: Labels) -> Plot:
    """From which segment to which people moved, as a grid; each row adds up to its segment."""
    assert data.moves is not None
    table, when = data.moves, ""
    if "moment_to" in table.columns:
        last = table["moment_to"].sort()[-1]
        table = table.filter(pl.col("moment_to") == last)
        before = table["moment_from"][0]
        when = f" from {before:%Y-%m-%d} to {last:%Y-%m-%d}"
    counts = {(a, b): int(n) for a, b, n in table.select("from", "to", "n_users").iter_rows()}
    size = (
        table.group_by("from").agg(pl.col("n_users").sum()).sort("n_users", "from", descending=[True, False])
    )
    rows = size["from"].to_list()
    columns = [*rows, *sorted(set(table["to"]) - set(rows))]
    whole = dict(size.iter_rows())
    z = [[counts.get((a, b), 0) / whole[a] for b in columns] for a in rows]
    hover = [
        [
            f"{labels.hover(str(a))}<br>→ {labels.hover(str(b))}<br>{many(counts.get((a, b), 0), 'user')} "
            f"({share(counts.get((a, b), 0), whole[a])})"
            for b in columns
        ]
        for a in rows
    ]
    names = [f"{plain(a, 30)} ({whole[a]:,})" for a in rows]
    made = heat(z, [plain(b, 22) for b in columns], names, hover, top=1.0)
    made.update_xaxes(title_text="later", tickangle=-20)
    made.update_yaxes(title_text="earlier (users)")
    stayed = sum(n for (a, b), n in counts.items() if a == b)
    both = sum(n for (a, b), n in counts.items() if not a.startswith("(") and not b.startswith("("))
    reading = f"Each row adds up to 100% of the users who were there{when}."
    if both:
        reading += f" {share(stayed, both)} of those who were in a segment at both moments stayed in theirs."
    return Plot(
        name="moves",
        title=f"Who moved from one segment to another{when}",
        figure=made,
        reading=reading,
        basis=data.basis("moves"),
    )


def classes_plot(data: BehaviourData, labels: Labels) -> Plot:
    """Users by activity class, each bar parted by RFM class where it is known."""
    assert data.activity is not None
    table = data.activity
    order = {"new": 0, "active": 1, "cooling": 2, "lost": 3}
    place = pl.col("activity_class").replace_strict(order, default=9, return_dtype=pl.Int8)
    sizes = table.group_by("activity_class").agg(pl.col("n_users").sum()).sort(place, "activity_class")
    names, whole = sizes["activity_class"].to_list(), max(1, int(sizes["n_users"].sum()))
    made = figure(height=320)
    has_parts = "rfm_class" in table.columns
    kinds = table.group_by("rfm_class").agg(pl.col("n_users").sum()) if has_parts else None
    parts = [None] if kinds is None else kinds.sort("n_users", descending=True)["rfm_class"].to_list()
    for i, part in enumerate(parts):
        own = table if part is None else table.filter(pl.col("rfm_class") == part)
        known = dict(own.group_by("activity_class").agg(pl.col("n_users").sum()).iter_rows())
        made.add_bar(
            x=[plain(name) for name in names],
            y=[known.get(name, 0) for name in names],
            name="users" if part is None else plain(part),
            marker={"color": COLOURS[i % len(COLOURS)]},
            hovertemplate="%{x}: %{y:,} users<extra>%{fullData.name}</extra>",
        )
    totals = dict(sizes.iter_rows())
    for name in names:
        made.add_annotation(
            x=plain(name), y=totals[name], yanchor="bottom", showarrow=False, text=share(totals[name], whole)
        )
    made.update_layout(barmode="stack", showlegend=has_parts, legend={"traceorder": "normal"})
    made.update_xaxes(type="category", showgrid=False, title_text="activity class")
    made.update_yaxes(
        title_text="users", rangemode="tozero", range=[0, 1.12 * max(totals.values(), default=1)]
    )
    top = max(totals, key=lambda name: totals[name], default="")
    return Plot(
        name="activity-classes",
        title="Who is new, active, cooling or lost" + (", and their RFM classes" if has_parts else ""),
        figure=made,
        reading=f"Most users are {top} ({share(totals[top], whole)})." if top else "There are no users.",
        basis=data.basis("activity"),
    )
