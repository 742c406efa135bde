# SPDX-License-Identifier: Apache-2.0
"""How training went: loss and validation quality by epoch.

It draws the epochs that training recorded; it knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from desirepath.report.theme import COLOURS, many, template

Epochs = Sequence[Mapping[str, Any]]


def _known(epochs: Epochs, name: str) -> tuple[list[float], list[float]]:
    rows = [row for row in epochs if row.get(name) is not None]
    return [float(row["epoch"]) for row in rows], [float(row[name]) for row in rows]


def best_epoch(epochs: Epochs) -> Mapping[str, Any] | None:
    """The first epoch with the greatest validation NDCG; None where none was measured."""
    measured = [row for row in epochs if row.get("ndcg") is not None]
    return max(measured, key=lambda row: (float(row["ndcg"]), -float(row["epoch"]))) if measured else None


def loss_curve(epochs: Epochs) -> go.Figure:
    """Training loss above, validation NDCG below, one axis of epochs; the best epoch is marked."""
    best = best_epoch(epochs)
    n_rows = 2 if best else 1
    made = make_subplots(rows=n_rows, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    x, y = _known(epochs, "loss")
    made.add_scatter(
        x=x, y=y, name="training loss", mode="lines+markers", line={"color": COLOURS[1]}, row=1, col=1
    )
    made.update_yaxes(title_text="training loss (nats)", row=1, col=1)
    if best:
        x, y = _known(epochs, "ndcg")
        made.add_scatter(
            x=x, y=y, name="validation NDCG", mode="lines+markers", line={"color": COLOURS[0]}, row=2, col=1
        )
        made.add_scatter(
            x=[float(best["epoch"])],
            y=[float(best["ndcg"])],
            name="best epoch",
            mode="markers",
            marker={"symbol": "star", "size": 16, "color": COLOURS[2]},
            row=2,
            col=1,
        )
        made.update_yaxes(title_text="validation NDCG", row=2, col=1)
    # Whole epochs only: plotly would put ticks at halves.
    made.update_xaxes(dtick=max(1, round(len(epochs) / 10)))
    made.update_xaxes(title_text="epoch", row=n_rows, col=1)
    made.update_layout(template=template(), height=260 * n_rows, hovermode="x unified")
    return made


def learning_reading(epochs: Epochs) -> str:
    """One sentence: from where to where the loss went, what was kept, what it cost."""
    _, loss = _known(epochs, "loss")
    said = (
        f"In {many(len(epochs), 'epoch')} the loss went from {loss[0]:.3f} to {loss[-1]:.3f}" if loss else ""
    )
    best = best_epoch(epochs)
    if best:
        kept = f"validation NDCG was best at epoch {best['epoch']} ({float(best['ndcg']):.4f})"
        said = f"{said}; {kept}" if said else kept.capitalize()
        if best is epochs[-1]:
            said += ", the last one, so that longer training might still help"
    seconds = sum(float(row.get("seconds") or 0) for row in epochs)
    return f"{said}; it took {seconds:,.0f} s." if seconds else f"{said}."
