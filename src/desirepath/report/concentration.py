# SPDX-License-Identifier: Apache-2.0
"""How unevenly events lie on users and items: histograms in doublings and Lorenz curves.

It knows counts of counts and figures; a log of any size comes down to a few thousand numbers first.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from desirepath.report.theme import ACCENT, COLOURS, QUIET, figure, many, share

MAX_POINTS = 400


def counts_of_counts(events: pl.LazyFrame, by: str) -> pl.DataFrame:
    """How many keys have how many events: n_events, n_keys; sorted by n_events."""
    return (
        events.group_by(by)
        .agg(pl.len().cast(pl.Int64).alias("n_events"))
        .group_by("n_events")
        .agg(pl.len().cast(pl.Int64).alias("n_keys"))
        .sort("n_events")
        .collect(engine="streaming")
    )


def doublings(counts: pl.DataFrame) -> pl.DataFrame:
    """Keys in bins that double: label ("1", "2", "3–4", "5–8" ...), n_keys; none left out between.

    >>> doublings(pl.DataFrame({"n_events": [1, 3, 4, 9], "n_keys": [5, 1, 1, 2]})).rows()
    [('1', 5), ('2', 0), ('3–4', 2), ('5–8', 0), ('9–16', 2)]
    """
    # The bin of n is the number of binary digits of n - 1: exact, where a float logarithm is not.
    binned = (
        counts.with_columns(
            pl.when(pl.col("n_events") <= 1)
            .then(0)
            .otherwise(64 - (pl.col("n_events") - 1).bitwise_leading_zeros().cast(pl.Int64))
            .alias("bin")
        )
        .group_by("bin")
        .agg(pl.col("n_keys").sum())
    )
    last = int(binned.get_column("bin").max() or 0)  # type: ignore[arg-type]
    low = [2 ** (b - 1) + 1 if b else 1 for b in range(last + 1)]
    labels = [str(a) if a == 2**b else f"{a:,}–{2**b:,}" for b, a in enumerate(low)]
    grid = pl.DataFrame({"bin": range(last + 1), "label": labels}, schema_overrides={"bin": pl.Int64})
    return (
        grid.join(binned.with_columns(pl.col("bin").cast(pl.Int64)), on="bin", how="left")
        .with_columns(pl.col("n_keys").fill_null(0))
        .sort("bin")
        .select("label", "n_keys")
    )


def histogram(bins: pl.DataFrame, x_title: str, y_title: str) -> go.Figure:
    """Bars of `doublings`, each with its count above."""
    made = figure(height=320)
    n = bins.get_column("n_keys").to_list()
    made.add_bar(
        x=bins.get_column("label").to_list(),
        y=n,
        marker={"color": ACCENT},
        text=[f"{count:,}" for count in n],
        textposition="outside",
        cliponaxis=False,
        hovertemplate=f"%{{x}} {x_title}: %{{y:,}} {y_title}<extra></extra>",
    )
    made.update_xaxes(title_text=x_title, type="category", showgrid=False)
    made.update_yaxes(title_text=y_title, rangemode="tozero", range=[0, max(n) * 1.12])
    return made


def histogram_reading(counts: pl.DataFrame, noun: str) -> str:
    """One sentence: the median key, the single ones and the greatest."""
    n, keys = _arrays(counts)
    whole = keys.sum()
    middle = int(n[np.searchsorted(np.cumsum(keys), whole / 2)])
    once = int(keys[n == 1].sum())
    return (
        f"Half of the {many(whole, noun)} have at most {many(middle, 'event')}, "
        f"{share(once, whole)} have a single one, and the greatest has {n[-1]:,}."
    )


def lorenz(counts: pl.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of keys (fewest events first) and the share of events they hold, from (0, 0) to (1, 1)."""
    n, keys = _arrays(counts)
    x = np.concatenate([[0.0], np.cumsum(keys) / keys.sum()])
    y = np.concatenate([[0.0], np.cumsum(keys * n) / (keys * n).sum()])
    return x, y


def gini(counts: pl.DataFrame) -> float:
    """The Gini coefficient: 0 where all keys have as many events, towards 1 where one has all.

    >>> round(gini(pl.DataFrame({"n_events": [1, 3], "n_keys": [1, 1]})), 3)
    0.25
    """
    x, y = lorenz(counts)
    return float(1 - np.sum(np.diff(x) * (y[1:] + y[:-1])))


def top_share(counts: pl.DataFrame, part: float) -> float:
    """The share of events held by the `part` of keys that have most."""
    x, y = lorenz(counts)
    return float(1 - np.interp(1 - part, x, y))


def lorenz_curves(users: pl.DataFrame, items: pl.DataFrame) -> go.Figure:
    """Lorenz curves of users and items beside the line of equality."""
    made = figure(height=380)
    for place, (name, counts) in enumerate((("users", users), ("items", items))):
        x, y = lorenz(counts)
        keep = np.unique(np.searchsorted(x, np.linspace(0, 1, MAX_POINTS)).clip(0, len(x) - 1))
        made.add_scatter(
            x=(100 * x[keep]).round(3).tolist(),
            y=(100 * y[keep]).round(3).tolist(),
            name=f"{name} (Gini {gini(counts):.2f})",
            mode="lines",
            line={"color": COLOURS[place], "width": 2.5},
            hovertemplate=f"the quietest %{{x:.1f}}% of {name}<br>hold %{{y:.1f}}% of events<extra></extra>",
        )
    made.add_scatter(
        x=[0, 100],
        y=[0, 100],
        mode="lines",
        name="all equal",
        line={"color": QUIET, "dash": "dot", "width": 1.5},
        hoverinfo="skip",
    )
    made.update_xaxes(title_text="% of users or items, quietest first", range=[0, 100])
    made.update_yaxes(title_text="% of events held", range=[0, 101])
    return made


def lorenz_reading(users: pl.DataFrame, items: pl.DataFrame) -> str:
    """One sentence: what the busiest tenth and hundredth hold."""
    few, tenth = share(top_share(items, 0.01), 1), share(top_share(items, 0.1), 1)
    return (
        f"The busiest 10% of users made {share(top_share(users, 0.1), 1)} of the events, and the 1% most "
        f"popular items drew {few} of them (10%: {tenth}): "
        "the further a curve hangs below the diagonal, the fewer carry the log."
    )


def _arrays(counts: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ordered = counts.sort("n_events")
    return ordered.get_column("n_events").to_numpy(), ordered.get_column("n_keys").to_numpy()
