# SPDX-License-Identifier: Apache-2.0
"""The tree of beginnings: each column a step, each cell a way begun, as tall as the people who took it.

It draws a tree that was counted elsewhere. Branches too thin to read are summed into "all others" beside
their siblings, and who ends is a cell too, so that every column adds up.
"""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl

from desirepath.patterns.paths.selection import END, OTHER
from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot
from desirepath.report.labels import PLACES, Labels
from desirepath.report.theme import COLOURS, QUIET, figure, many, share, tint

MIN_SHARE = 0.02
"""Share of all paths below which a branch is summed into "all others"."""
HEIGHT = 640
ENDED = "#c5cad2"
"""Cells of those who ended; colours are opaque, since the ink of a cell is chosen by its colour alone."""


def tree_plot(data: BehaviourData, labels: Labels) -> Plot:
    """The first steps of all paths, branch by branch."""
    assert data.tree is not None
    cells = readable(data.tree)
    unit = data.ground_of("tree").sequence
    return Plot(
        name="tree",
        title=data.title("tree", "How paths begin, branch by branch"),
        figure=tree_cells(cells, labels, unit),
        reading=tree_reading(cells, labels, unit),
        basis=data.basis("tree"),
    )


def readable(tree: pl.DataFrame, min_share: float = MIN_SHARE) -> pl.DataFrame:
    """The same people in fewer cells: node, parent (null at the root), step, symbol, count.

    Branches below `min_share` of all go into the "<other>" of their parent with all that follows them, and
    those that end at a node are a cell "<end>" below it: a cell is the sum of the cells that follow it, or
    nothing is known of what follows.
    """
    known = tree.select("node", "parent", "step", "symbol", pl.col("count").cast(pl.Int64), "ended")
    whole = int(known.filter(pl.col("parent").is_null())["count"].sum())
    is_thin = (pl.col("symbol") == OTHER) | (pl.col("count") < min_share * whole)
    # A branch has no more than its parent, so that one cut takes whole branches; "<other>" has none.
    kept = known.filter(pl.col("parent").is_null() | ~is_thin)
    rest = (
        known.filter(pl.col("parent").is_in(kept["node"].implode()) & is_thin)
        .group_by("parent", maintain_order=True)
        .agg(pl.col("step").first(), pl.col("count").sum())
        .with_columns(symbol=pl.lit(OTHER))
    )
    ended = kept.filter(pl.col("ended") > 0).select(
        parent="node", step=pl.col("step") + 1, count=pl.col("ended").cast(pl.Int64), symbol=pl.lit(END)
    )
    added = pl.concat([rest, ended], how="diagonal")
    # Nodes are numbered by their rows, so that new ones begin after the last.
    added = added.with_columns(node=known.height + pl.int_range(pl.len()))
    order = pl.col("symbol").replace_strict({OTHER: 1, END: 2}, default=0, return_dtype=pl.Int8)
    return (
        pl.concat([kept.drop("ended"), added], how="diagonal_relaxed")
        .sort("step", "parent", order, pl.col("count"), descending=[False, False, False, True])
        .select("node", "parent", "step", "symbol", "count")
    )


def tree_cells(cells: pl.DataFrame, labels: Labels, unit: str = "user") -> go.Figure:
    """Columns are steps, cells are ways begun; an event has one colour, "ended" and "all others" are grey."""
    whole = max(1, int(cells.filter(pl.col("parent").is_null())["count"].sum()))
    sizes = (
        cells.filter(pl.col("parent").is_not_null() & ~pl.col("symbol").is_in(list(PLACES)))
        .group_by("symbol")
        .agg(pl.col("count").sum())
        .sort("count", "symbol", descending=[True, False])["symbol"]
    )
    tone = {symbol: COLOURS[i % len(COLOURS)] for i, symbol in enumerate(sizes)}
    tone |= {END: ENDED, OTHER: QUIET}
    above = dict(cells.select("node", "count").iter_rows())
    way: dict[int, list[str]] = {}
    names, hovers, colours = [], [], []
    for node, parent, _, symbol, count in cells.iter_rows():
        way[node] = [] if parent is None else [*way[parent], symbol]
        names.append(
            f"{whole:,} {unit}s" if parent is None else f"{labels.short(symbol, 22)} {share(count, whole)}"
        )
        hovers.append(
            f"{labels.hover(labels.path(way[node]) if way[node] else 'all')}<br>{many(count, unit)}, "
            f"{share(count, whole)} of all"
            + ("" if parent is None else f", {share(count, above[parent])} of those before")
        )
        colours.append(tint(QUIET, 0.12) if parent is None else tone[symbol])
    made = figure(height=HEIGHT, margin={"l": 10, "r": 10, "t": 30, "b": 10})
    made.add_icicle(
        ids=[str(node) for node in cells["node"]],
        parents=["" if parent is None else str(parent) for parent in cells["parent"]],
        labels=names,
        values=cells["count"].to_list(),
        branchvalues="total",
        sort=False,
        tiling={"orientation": "h", "pad": 1},
        pathbar={"visible": False},
        leaf={"opacity": 1},
        marker={"colors": colours, "line": {"width": 0}},
        customdata=hovers,
        hovertemplate="%{customdata}<extra></extra>",
        textposition="middle left",
        textinfo="label",
    )
    made.update_layout(uniformtext={"minsize": 10, "mode": "hide"})
    last = int(cells["step"].max() or 0)  # type: ignore[arg-type]
    for step in range(1, last + 1):
        made.add_annotation(
            x=step / (last + 1), y=1, xref="paper", yref="paper", xanchor="left", yanchor="bottom",
            text=f"step {step}", showarrow=False, font={"size": 12},
        )  # fmt: skip
    return made


def tree_reading(cells: pl.DataFrame, labels: Labels, unit: str = "user") -> str:
    """One sentence: the most common beginning, where it leads, and how many end after one event."""
    whole = int(cells.filter(pl.col("parent").is_null())["count"].sum())
    named = cells.filter(~pl.col("symbol").is_in(list(PLACES)))
    first = named.filter(pl.col("step") == 1).sort("count", descending=True).head(1)
    if first.is_empty():
        return (
            f"Of {many(whole, unit)} no {share(MIN_SHARE, 1)} begin alike. Call events by something coarser, "
            "such as their action or category."
        )
    node, _, _, symbol, count = first.row(0)
    said = f"Of {many(whole, unit)}, {share(count, whole)} begin with {labels.full(symbol)}"
    then = named.filter(pl.col("parent") == node).sort("count", descending=True).head(1)
    if then.height:
        said += f", and of those {share(then['count'][0], count)} go on to {labels.full(then['symbol'][0])}"
    single = int(cells.filter((pl.col("step") == 2) & (pl.col("symbol") == END))["count"].sum())
    if single:
        # What follows a beginning that is not named is not told.
        is_all = cells.filter((pl.col("step") == 1) & (pl.col("symbol") == OTHER)).is_empty()
        said += f"; {share(single, whole)}{'' if is_all else ' or more'} end after one event"
    return said + (
        ". Light grey cells are those who ended, dark grey ones all others, so that the cells after one add "
        "up to it."
    )
