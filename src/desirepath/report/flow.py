# SPDX-License-Identifier: Apache-2.0
"""Which ways people go, step by step: a Sankey diagram whose every column adds up to the same people.

It draws links that were counted elsewhere. What it does not name it sums into "all others", and what it
cuts off into "goes on", so that nobody is lost.
"""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl

from desirepath.patterns.paths.selection import END, MORE, OTHER, START
from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot, Table
from desirepath.report.labels import PLACES, Labels, duration
from desirepath.report.theme import COLOURS, QUIET, figure, many, share, tint

MAX_LAYERS = 5
"""Steps from one column to the next that are drawn."""
MAX_NAMED = 5
"""Events named in a column."""
MAX_PATHS = 12
HEIGHT = 480
GAP = 14
"""Pixels between two nodes of a column."""


def sankey_plot(data: BehaviourData, labels: Labels) -> Plot:
    """The first steps of all paths."""
    assert data.links is not None
    links = simplified(data.links)
    return Plot(
        name="sankey",
        title=data.title("links", "Which way people go, step by step"),
        figure=path_flow(links, labels),
        reading=flow_reading(links, labels, data.ground_of("links").sequence),
        basis=data.basis("links"),
    )


def simplified(links: pl.DataFrame, layers: int = MAX_LAYERS, named: int = MAX_NAMED) -> pl.DataFrame:
    """The same people in fewer links: step, source, target, count.

    At most `layers` steps are kept (the last ones where paths are lined up by their end) and `named` events a
    column; the sum of every step's links stays what it was.
    """
    kept = links.select("step", "source", "target", pl.col("count").cast(pl.Int64))
    first, last = kept["step"].min(), kept["step"].max()
    if isinstance(first, int) and isinstance(last, int) and last - first >= layers:
        # Paths that end only in the last step are lined up by their end.
        from_end = kept.filter(pl.col("target") == END)["step"].min() == last
        edge = last - layers + 1 if from_end else first + layers - 1
        side, other, keep = ("source", START, pl.col("step") >= edge) if from_end else (
            "target", END, pl.col("step") <= edge
        )  # fmt: skip
        cut = (pl.col("step") == edge) & (pl.col(side) != other)
        kept = kept.filter(keep).with_columns(pl.when(cut).then(pl.lit(MORE)).otherwise(side).alias(side))
    sizes = nodes(kept).filter(~pl.col("symbol").is_in(list(PLACES)))
    rank = pl.col("count").rank("ordinal", descending=True).over("column")
    names = sizes.sort("column", "symbol").filter(rank <= named).select("column", "symbol", named=True)
    for side, column in (("source", pl.col("step")), ("target", pl.col("step") + 1)):
        kept = (
            kept.with_columns(column=column)
            .join(names.rename({"symbol": side}), on=["column", side], how="left")
            .with_columns(
                pl.when(pl.col("named") | pl.col(side).is_in(list(PLACES)))
                .then(side)
                .otherwise(pl.lit(OTHER))
                .alias(side)
            )
            .drop("column", "named")
        )
    return (
        kept.group_by("step", "source", "target")
        .agg(pl.col("count").sum())
        .sort("step", "count", "source", "target", descending=[False, True, False, False])
    )


def nodes(links: pl.DataFrame) -> pl.DataFrame:
    """One row a node: column, symbol, count (the greater of what comes in and what goes out)."""
    sides = [
        links.group_by(column.alias("column"), pl.col(side).alias("symbol")).agg(pl.col("count").sum())
        for side, column in (("source", pl.col("step")), ("target", pl.col("step") + 1))
    ]
    return pl.concat(sides).group_by("column", "symbol").agg(pl.col("count").max())


def people(links: pl.DataFrame) -> int:
    """How many paths the links are: those out of "<start>" and those that were under way before."""
    return int(links.filter(pl.col("source").is_in([START, MORE]))["count"].sum())


def path_flow(links: pl.DataFrame, labels: Labels) -> go.Figure:
    """Columns are steps, bars are events, bands are people; "ended" and "all others" are grey.

    Takes links as `simplified` returns them.
    """
    whole = max(1, people(links))
    order = {START: 0, OTHER: 2, MORE: 3, END: 4}
    table = (
        nodes(links)
        .with_columns(
            kind=pl.col("symbol").replace_strict(order, default=1, return_dtype=pl.Int8),
        )
        .sort("column", "kind", "count", "symbol", descending=[False, False, True, False])
        .with_row_index("node")
    )
    place = {(c, s): i for i, c, s in table.select("node", "column", "symbol").iter_rows()}
    by_size = (
        table.filter(pl.col("kind") == 1)
        .group_by("symbol")
        .agg(pl.col("count").sum())
        .sort("count", "symbol", descending=[True, False])
    )
    colour = {s: COLOURS[i % len(COLOURS)] for i, s in enumerate(by_size["symbol"])}
    source = [place[step, name] for step, name in links.select("step", "source").iter_rows()]
    target = [place[step + 1, name] for step, name in links.select("step", "target").iter_rows()]
    names, counts = table["symbol"].to_list(), table["count"].to_list()
    tone = [colour.get(name, QUIET) for name in names]
    x, y = _places(table, whole)
    made = figure(height=HEIGHT, margin={"l": 10, "r": 10, "t": 36, "b": 16})
    made.add_sankey(
        arrangement="fixed",
        node={
            "label": [
                f"{labels.short(name, 20)} {share(n, whole)}" for name, n in zip(names, counts, strict=True)
            ],
            "x": x,
            "y": y,
            "pad": GAP,
            "thickness": 14,
            "color": tone,
            "line": {"width": 0},
            "customdata": [
                f"{labels.hover(labels.full(name))}<br>{n:,} ({share(n, whole)} of all)"
                for name, n in zip(names, counts, strict=True)
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
        },
        link={
            "source": source,
            "target": target,
            "value": links["count"].to_list(),
            "color": [
                tint(QUIET if names[t] == END else tone[s], 0.22 if names[t] == END else 0.38)
                for s, t in zip(source, target, strict=True)
            ],
            "customdata": [
                f"{labels.short(names[s], 40)} → {labels.short(names[t], 40)}<br>{n:,} "
                f"({share(n, whole)} of all, {share(n, counts[s])} of those there)"
                for s, t, n in zip(source, target, links["count"], strict=True)
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
        },
    )
    return made


def _places(table: pl.DataFrame, whole: int) -> tuple[list[float], list[float]]:
    """Where each node's middle lies, 0 to 1; plotly takes 0 and 1 themselves for "not said"."""
    columns = table["column"].unique().sort().to_list()
    gap = GAP / (HEIGHT - 52)
    most = int(table.group_by("column").len()["len"].max() or 1)  # type: ignore[arg-type]
    scale = max(0.1, 1 - gap * (most - 1)) / whole
    x, y = [], []
    top, column = 0.0, None
    for own, count in table.select("column", "count").iter_rows():
        if own != column:
            top, column = 0.0, own
        x.append(min(0.999, max(0.001, columns.index(own) / max(1, len(columns) - 1))))
        y.append(min(0.999, max(0.001, top + count * scale / 2)))
        top += count * scale + gap
    return x, y


def flow_reading(links: pl.DataFrame, labels: Labels, unit: str) -> str:
    """One sentence: the widest band between two events, and after which step most end."""
    whole = people(links)
    inner = links.filter(~pl.col("source").is_in(list(PLACES)) & ~pl.col("target").is_in(list(PLACES)))
    said = f"Of {many(whole, unit)} none is lost from sight: who is not named is among all others, or ended"
    if inner.height:
        top = inner.sort("count", "step", descending=[True, False]).row(0, named=True)
        said += (
            f"; the widest band leads from {labels.full(top['source'])} to {labels.full(top['target'])} "
            f"({share(top['count'], whole)} of all)"
        )
    ends = links.filter(pl.col("target") == END).group_by("step").agg(pl.col("count").sum())
    if ends.height:
        step, n = ends.sort("count", "step", descending=[True, False]).row(0)
        said += f"; most paths end after step {step} ({share(n, whole)})"
    return said + "."


def paths_table(data: BehaviourData, labels: Labels) -> Table:
    """The most common whole paths as rows, all others in the last."""
    assert data.top_paths is not None
    table = data.top_paths
    is_rest = pl.col("path").list.first().eq_missing(OTHER) & (pl.col("path").list.len() == 1)
    named, rest = table.filter(~is_rest), table.filter(is_rest)
    shown, hidden = named.head(MAX_PATHS), named.slice(MAX_PATHS)
    rows = []
    for row in shown.iter_rows(named=True):
        rows.append(
            (
                labels.path(row["path"]),
                f"{row['count']:,}",
                share(row["share"], 1),
                duration(row.get("median_s")),
            )
        )
    unnamed = pl.concat([hidden, rest], how="diagonal_relaxed")
    if unnamed.height:
        n = int(unnamed["count"].sum())
        variants = f" ({int(unnamed['variants'].sum()):,} different)" if "variants" in table.columns else ""
        rows.append((f"all others{variants}", f"{n:,}", share(float(unnamed["share"].sum()), 1), ""))
    unit = data.ground_of("top_paths").sequence
    best = shown.row(0, named=True) if shown.height else None
    return Table(
        title=data.title("top_paths", "The most common whole paths"),
        head=("path", f"{unit}s", "share", "median length"),
        rows=rows,
        numeric=frozenset({1, 2, 3}),
        reading=f"The most common path, {labels.path(best['path'])}, is that of {share(best['share'], 1)}."
        if best
        else "",
        basis=data.basis("top_paths"),
    )
