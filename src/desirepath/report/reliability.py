# SPDX-License-Identifier: Apache-2.0
"""Whether probabilities can be taken at their word: what was said against what came true.

It draws reliability bins (n, stated, observed); it computes no probability.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import polars as pl

from desirepath.report.theme import ACCENT, QUIET, figure, share


def calibration_error(bins: pl.DataFrame) -> float:
    """Mean distance of stated from observed, each bin weighing its number of cases (ECE)."""
    gap = (bins.get_column("stated") - bins.get_column("observed")).abs().to_numpy()
    return float(np.average(gap, weights=bins.get_column("n").to_numpy()))


def came_true(bins: pl.DataFrame) -> float:
    """The share of all cases that came true."""
    return float(np.average(bins.get_column("observed").to_numpy(), weights=bins.get_column("n").to_numpy()))


def reliability_plot(bins: pl.DataFrame) -> go.Figure:
    """Dots of the bins beside the diagonal of perfect honesty; a dot's area is its number of cases."""
    n = bins.get_column("n").to_numpy().astype(float)
    stated, observed = bins.get_column("stated").to_list(), bins.get_column("observed").to_list()
    top = float(max([*stated, *observed, 1e-6])) * 1.08
    made = figure(height=380)
    made.add_scatter(
        x=[0, top],
        y=[0, top],
        mode="lines",
        name="as stated",
        line={"color": QUIET, "dash": "dot"},
        hoverinfo="skip",
    )
    made.add_scatter(
        x=stated,
        y=observed,
        mode="lines+markers",
        name="bins",
        line={"color": ACCENT, "width": 1},
        marker={"color": ACCENT, "size": (7 + 15 * np.sqrt(n / n.max())).round(1).tolist()},
        customdata=n.astype(int).tolist(),
        hovertemplate="said %{x:.2%}, came true %{y:.2%}<br>%{customdata:,} cases<extra></extra>",
    )
    made.update_xaxes(title_text="stated probability", tickformat="~%", range=[-0.02 * top, top])
    made.update_yaxes(title_text="share that came true", tickformat="~%", range=[-0.03 * top, top])
    return made


def reliability_reading(bins: pl.DataFrame) -> str:
    """One sentence: the mean error, and whether the model says too much or too little."""
    n = bins.get_column("n").to_numpy()
    said, came = float(np.average(bins.get_column("stated").to_numpy(), weights=n)), came_true(bins)
    lean = "too sure" if said > came else "too modest"
    error = calibration_error(bins)
    return (
        f"On average {share(said, 1)} was stated and {share(came, 1)} came true; the mean error is "
        f"{100 * error:.2f} percentage points (ECE), "
        + ("with no lean to speak of." if abs(said - came) <= 0.1 * came else f"{lean} on the whole.")
    )
