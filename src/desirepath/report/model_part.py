# SPDX-License-Identifier: Apache-2.0
"""The sections about models: their comparison, how training went, their probabilities, their lists.

It takes plain rows of an evaluation and hands blocks to the page.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from desirepath.report.blocks import Absent, Block, Plot, Section, Table
from desirepath.report.comparison import (
    NOT_A_CONTEST,
    Row,
    comparison_reading,
    dots_and_intervals,
    has_value,
    headline_of,
    headline_rows,
    is_lower_better,
    metrics_of,
    ranked,
    twins,
)
from desirepath.report.data import ReportData
from desirepath.report.learning import learning_reading, loss_curve
from desirepath.report.log_part import last_events
from desirepath.report.reliability import reliability_plot, reliability_reading
from desirepath.schema import ITEM, USER

N_USERS = 8
N_ITEMS = 5


def comparison_section(data: ReportData) -> Section:
    """Dots with intervals, the whole table, paired differences, slices."""
    title = "Models compared"
    rows = headline_rows(data.evaluation.get("rows") or ())
    if not rows:
        reason = "No model was evaluated. Run `desirepath evaluate`, or `desirepath run`, to compare some."
        return Section(name="models", title=title, blocks=[Absent(title=title, reason=reason)])
    headline = headline_of(rows, data.evaluation.get("headline"))
    protocol = data.protocol or "The protocol of the comparison was not recorded."
    blocks: list[Block] = [
        Plot(
            name="comparison",
            title=f"Models by {headline}, with their intervals",
            figure=dots_and_intervals(rows, headline),
            reading=comparison_reading(rows, headline),
            basis=protocol,
        ),
        metrics_table(rows, headline, protocol),
    ]
    blocks += _differences(data, headline, protocol) + _slices(data, headline, protocol)
    return Section(name="models", title=title, blocks=blocks)


def metrics_table(rows: Sequence[Row], headline: str, protocol: str) -> Table:
    """A row a model, best by the headline first; a column a metric, with intervals; best in bold."""
    same = {metric: twin for metric, twin in twins(rows).items() if metric != headline}
    metrics = [metric for metric in metrics_of(rows) if metric not in same]
    metrics.sort(key=lambda metric: metric != headline)
    models = [str(row["model"]) for row in ranked(rows, headline)]
    models += sorted({str(row["model"]) for row in rows} - set(models))
    found = {(str(row["model"]), str(row["metric"])): row for row in rows}
    strong = set()
    for column, metric in enumerate(metrics, 1):
        contest = not any(word in metric.lower() for word in NOT_A_CONTEST)
        if contest or metric.lower().startswith(("ece", "brier", "log")):
            best = float(ranked(rows, metric)[0]["value"])
            strong |= {
                (place, column)
                for place, model in enumerate(models)
                if (model, metric) in found and float(found[model, metric]["value"]) == best
            }
    lower = [metric for metric in metrics if is_lower_better(metric)]
    return Table(
        title="All metrics",
        head=("model", *metrics),
        rows=[(model, *(_cell(found.get((model, metric))) for metric in metrics)) for model in models],
        numeric=frozenset(range(1, len(metrics) + 1)),
        strong=frozenset(strong),
        reading="Each value with its interval below it; the best of each contest in bold."
        + (f" Lower is better for {', '.join(lower)}." if lower else "")
        + "".join(f" {metric} is the same as {twin} here." for metric, twin in same.items()),
        basis=protocol,
    )


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    value = _digits(float(row["value"]))
    if row.get("low") is None or row.get("high") is None:
        return value
    return f"{value}\n[{_digits(float(row['low']))}, {_digits(float(row['high']))}]"


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"


def _differences(data: ReportData, headline: str, protocol: str) -> list[Block]:
    rows = [row for row in data.evaluation.get("differences") or () if has_value(row)]
    rows = [row for row in rows if str(row.get("metric")) == headline]
    rows.sort(key=lambda row: (-float(row["value"]), str(row["model"])))
    if not rows:
        return []
    told = []
    for row in rows:
        low, high = row.get("low"), row.get("high")
        verdict = "no interval"
        if low is not None and high is not None:
            verdict = "may be chance" if float(low) <= 0 <= float(high) else "more than chance"
        edges = "" if low is None or high is None else f"[{float(low):+.4f}, {float(high):+.4f}]"
        names = (str(row.get("model", "")), str(row.get("baseline", "")))
        told.append((*names, f"{float(row['value']):+.4f}", edges, verdict))
    return [
        Table(
            title=f"Paired differences of {headline}",
            head=("model", "against", "difference", "interval", "verdict"),
            rows=told,
            numeric=frozenset({2, 3}),
            reading="The same users are drawn for both models, which tells more than two intervals.",
            basis=protocol,
        )
    ]


def _slices(data: ReportData, headline: str, protocol: str) -> list[Block]:
    rows = [
        row
        for row in data.evaluation.get("rows") or ()
        if row.get("slice") not in (None, "", "all") and str(row["metric"]) == headline
    ]
    rows = [row for row in rows if has_value(row)]
    if not rows:
        return []
    slices = list(dict.fromkeys(str(row["slice"]) for row in rows))
    order = [str(row["model"]) for row in ranked(headline_rows(data.evaluation["rows"]), headline)]
    models = sorted(
        {str(row["model"]) for row in rows}, key=lambda m: order.index(m) if m in order else len(order)
    )
    found = {(str(row["model"]), str(row["slice"])): row for row in rows}
    best = {s: max(float(row["value"]) for row in rows if str(row["slice"]) == s) for s in slices}
    return [
        Table(
            title=f"{headline} by slice",
            head=("slice", *models),
            rows=[(s, *(_cell(found.get((m, s))) for m in models)) for s in slices],
            numeric=frozenset(range(1, len(models) + 1)),
            strong=frozenset(
                (i, j)
                for i, s in enumerate(slices)
                for j, m in enumerate(models, 1)
                if (m, s) in found and float(found[m, s]["value"]) == best[s]
            ),
            reading="The best of each slice in bold; a slice of few users has a wide interval.",
            basis=protocol,
        )
    ]


def training_section(data: ReportData) -> Section:
    """The loss curve."""
    title = "Training"
    known = [row for row in data.training if row.get("loss") is not None]
    if not known:
        reason = "No epochs were recorded: no model that learns by epochs was trained."
        return Section(name="training", title=title, blocks=[Absent(title="Loss curve", reason=reason)])
    plot = Plot(
        name="loss",
        title="Loss and validation quality by epoch",
        figure=loss_curve(data.training),
        reading=learning_reading(data.training),
        basis=data.protocol or "The protocol of the comparison was not recorded.",
    )
    return Section(name="training", title=title, blocks=[plot])


def calibration_section(data: ReportData) -> Section:
    """The reliability plot."""
    title = "Probabilities"
    if data.calibration is None or data.calibration.is_empty():
        reason = "Probabilities were not checked against what came true; do not take them at their word."
        return Section(name="calibration", title=title, blocks=[Absent(title="Calibration", reason=reason)])
    plot = Plot(
        name="reliability",
        title="Stated probability against what came true",
        figure=reliability_plot(data.calibration),
        reading=reliability_reading(data.calibration),
        basis=data.protocol or "The protocol of the comparison was not recorded.",
    )
    return Section(name="calibration", title=title, blocks=[plot])


def recommendations_section(data: ReportData) -> Section:
    """What some users would be recommended."""
    title = "Recommendations"
    lists = data.recommendations
    if lists is None or lists.is_empty():
        reason = "No recommendations were made. Run `desirepath recommend` to have some."
        return Section(name="recommendations", title=title, blocks=[Absent(title=title, reason=reason)])
    order = ["rank"] if "rank" in lists.columns else []
    users = lists.get_column(USER).unique(maintain_order=True).head(N_USERS)
    sample = lists.filter(pl.col(USER).is_in(users.to_list()))
    # A stable sort keeps the order of users, and of their items where there is no rank.
    place = pl.DataFrame({USER: users, "place": range(len(users))})
    sample = sample.join(place, on=USER, how="left", maintain_order="left").sort(
        "place", *order, maintain_order=True
    )
    sample = sample.group_by(USER, maintain_order=True).head(N_ITEMS)
    recent = dict(last_events(data.events, users.to_list()).iter_rows())
    met = [item for items in recent.values() for item in items]
    titles = data.title_of([*sample.get_column(ITEM).to_list(), *met])
    rows, shares = [], []
    for row in sample.iter_rows(named=True):
        user, item, p = row[USER], row[ITEM], row["probability"]
        history = "\n".join(titles.get(i, i) for i in recent.get(user, [])) if data.has_time else ""
        said = "unknown" if p is None else _percent(float(p))
        rows.append((user, history or "no event in the log", titles.get(item, item), said))
        shares.append(0.0 if p is None else float(p))
    top = max(shares) or 1.0
    table = Table(
        title=f"The first {len(users)} users, {N_ITEMS} items each",
        head=("user", "last met", "recommended next", "probability"),
        rows=rows,
        numeric=frozenset({3}),
        merged=2,
        spans=[
            n if i == 0 else 0
            for n in sample.group_by(USER, maintain_order=True).len().get_column("len")
            for i in range(n)
        ],
        bars=3,
        bar_shares=[p / top for p in shares],
        reading="The model's own probability that this item comes next; bars compare rows of this table."
        + ("" if titles else " The log brings no titles, so ids are shown."),
        basis=data.protocol or "The protocol of the comparison was not recorded.",
    )
    return Section(name="recommendations", title=title, blocks=[table])


def _percent(p: float) -> str:
    return f"{p:.1%}" if p >= 0.01 else f"{p:.2%}" if p >= 1e-4 else f"{p:.1e}"
