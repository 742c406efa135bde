# SPDX-License-Identifier: Apache-2.0
"""Heat maps of behaviour: transitions, the step matrix, cohorts.

Each is a grid of shares with its numbers written in where there is room; rows or columns add up to 1, with
"all others" for what is not named. Cells that nobody can know yet stay blank.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from desirepath.patterns.paths.selection import END, MORE, OTHER, START
from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Plot
from desirepath.report.labels import PLACES, Labels, duration
from desirepath.report.theme import figure, many, share

MAX_EVENTS = 12
MAX_STEPS = 15
MAX_COHORTS = 24
MAX_PERIODS = 16
FEW = 30
"""Users below which a cohort's shares are too uncertain to set the scale of colours."""
WRITTEN = 16
"""Columns up to which numbers are written into the cells."""

Cells = Sequence[Sequence[float | None]]
Words = Sequence[Sequence[str]]


def heat(
    z: Cells,
    x: Sequence[str],
    y: Sequence[str],
    hover: Words,
    top: float | None = None,
    written_from: float = 0.005,
) -> go.Figure:
    """A grid of shares, 0 to 1, the first row on top; names are escaped already and may repeat.

    Numbers below `written_from` are not written; with 0 all are, so that none is taken for blank.
    """
    n_rows, n_columns = len(y), len(x)
    made = figure(height=130 + 30 * n_rows)
    made.add_heatmap(
        z=z,
        x=list(range(n_columns)),
        y=list(range(n_rows)),
        zmin=0,
        zmax=top or max((v for row in z for v in row if v is not None), default=1) or 1,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        text=[["" if v is None or v < written_from else f"{100 * v:.0f}%" for v in row] for row in z],
        texttemplate="%{text}" if n_columns <= WRITTEN else "",
        textfont={"size": 11},
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        colorbar={"thickness": 12, "outlinewidth": 0, "tickformat": ".0%", "title": {"text": "share"}},
    )
    made.update_xaxes(tickvals=list(range(n_columns)), ticktext=list(x), showgrid=False, zeroline=False)
    made.update_yaxes(
        tickvals=list(range(n_rows)),
        ticktext=list(y),
        autorange="reversed",
        showgrid=False,
        zeroline=False,
    )
    return made


def named_pairs(table: pl.DataFrame, limit: int = MAX_EVENTS) -> pl.DataFrame:
    """Transitions among the most frequent events, all others as one: from, to, count, probability, median_s.

    Probabilities are over all that leave `from`; the median is kept only where no pairs were summed.
    """
    own = pl.col("from").is_in(list(PLACES))
    sizes = table.filter(~own).group_by("from").agg(pl.col("count").sum())
    names = sizes.sort("count", "from", descending=[True, False]).head(limit)["from"].to_list()
    kept = [*names, *PLACES]

    def grouped(side: str) -> pl.Expr:
        return pl.when(pl.col(side).is_in(kept)).then(side).otherwise(pl.lit(OTHER)).alias(side)

    median = pl.col("median_s") if "median_s" in table.columns else pl.lit(None, pl.Float64).alias("median_s")
    return (
        table.select(grouped("from"), grouped("to"), "count", median)
        .group_by("from", "to")
        .agg(
            pl.col("count").sum(),
            pl.when(pl.len() == 1).then(pl.col("median_s").first()).alias("median_s"),
        )
        .with_columns(probability=pl.col("count") / pl.col("count").sum().over("from"))
        .sort("count", "from", "to", descending=[True, False, False])
    )


def transitions_plot(data: BehaviourData, labels: Labels) -> Plot:
    """What comes right after what."""
    assert data.transitions is not None
    pairs = named_pairs(data.transitions)
    sizes = pairs.group_by("from").agg(pl.col("count").sum()).sort("count", "from", descending=[True, False])
    names = sizes.filter(~pl.col("from").is_in(list(PLACES)))["from"].to_list()
    others = [OTHER] if OTHER in pairs["from"] or OTHER in pairs["to"] else []
    rows = [*([START] if START in pairs["from"] else []), *names, *others]
    columns = [*names, *others, *([END] if END in pairs["to"] else [])]
    known = {(row["from"], row["to"]): row for row in pairs.iter_rows(named=True)}
    z, hover = [], []
    for left in rows:
        cells = [known.get((left, right)) for right in columns]
        z.append([0.0 if cell is None else cell["probability"] for cell in cells])
        hover.append([_told(cell, left, right, labels) for cell, right in zip(cells, columns, strict=True)])
    made = heat(z, [labels.short(c, 16) for c in columns], [labels.short(r, 26) for r in rows], hover)
    made.update_xaxes(title_text="what comes right after it")
    made.update_yaxes(title_text="after this event")
    inner = pairs.filter(~pl.col("from").is_in([*PLACES]) & ~pl.col("to").is_in([*PLACES]))
    reading = "Each row adds up to 100%."
    if inner.height:
        top = inner.row(0, named=True)
        gap = f", {duration(top['median_s'])} later in the median" if top["median_s"] is not None else ""
        reading += (
            f" The most frequent step leads from {labels.full(top['from'])} to {labels.full(top['to'])}: "
            f"{share(top['probability'], 1)} of what follows it ({many(top['count'], 'time')}){gap}."
        )
    return Plot(
        name="transitions",
        title=data.title("transitions", "What comes right after what"),
        figure=made,
        reading=reading,
        basis=data.basis("transitions"),
    )


def _told(cell: dict[str, object] | None, left: str, right: str, labels: Labels) -> str:
    names = f"{labels.hover(labels.full(left))}<br>→ {labels.hover(labels.full(right))}"
    if cell is None:
        return f"{names}<br>never"
    count, gap = int(str(cell["count"])), cell["median_s"]
    said = f"{names}<br>{share(float(str(cell['probability'])), 1)} ({many(count, 'time')})"
    return said + (f"<br>median {duration(float(str(gap)))}" if gap is not None else "")


def steps_plot(data: BehaviourData, labels: Labels) -> Plot:
    """Where people stand at each step; each column adds up to all of them."""
    assert data.steps is not None
    unit = data.ground_of("steps").sequence
    numbers = data.steps["step"].unique().sort().to_list()
    numbers = numbers[-MAX_STEPS:] if numbers and numbers[-1] < 0 else numbers[:MAX_STEPS]
    table = data.steps.filter(pl.col("step").is_in(numbers))
    sizes = table.filter(~pl.col("symbol").is_in(list(PLACES))).group_by("symbol").agg(pl.col("count").sum())
    names = sizes.sort("count", "symbol", descending=[True, False]).head(MAX_EVENTS)["symbol"].to_list()
    seen = pl.col("symbol").is_in([*names, *PLACES])
    table = (
        table.with_columns(symbol=pl.when(seen).then("symbol").otherwise(pl.lit(OTHER)))
        .group_by("step", "symbol")
        .agg(pl.col("count").sum())
    )
    whole = {step: int(n) for step, n in table.group_by("step").agg(pl.col("count").sum()).iter_rows()}
    known = {(step, symbol): int(n) for step, symbol, n in table.iter_rows()}
    met = set(table["symbol"])
    rows = [*([START] if START in met else []), *names, *(s for s in (OTHER, MORE, END) if s in met)]
    z = [[known.get((step, row), 0) / max(1, whole[step]) for step in numbers] for row in rows]
    hover = [
        [
            f"step {step}: {labels.hover(labels.full(row))}<br>{known.get((step, row), 0):,} of "
            f"{many(whole[step], unit)} ({share(known.get((step, row), 0), whole[step])})"
            for step in numbers
        ]
        for row in rows
    ]
    made = heat(z, [str(step) for step in numbers], [labels.short(row, 26) for row in rows], hover)
    made.update_xaxes(title_text="step (number of the event in the path)")
    reading = f"Each column adds up to 100% of {many(max(whole.values(), default=0), unit)}."
    if END in met:
        half = [step for step in numbers if known.get((step, END), 0) * 2 >= whole[step]]
        last = f"at step {half[0]} half of them have ended" if half else (
            f"at step {numbers[-1]}, {share(known.get((numbers[-1], END), 0), whole[numbers[-1]])} have ended"
        )  # fmt: skip
        reading += f" {last.capitalize()}."
    return Plot(
        name="steps",
        title=data.title("steps", "Where people stand at each step"),
        figure=made,
        reading=reading,
        basis=data.basis("steps"),
    )


def cohorts_plot(data: BehaviourData, labels: Labels) -> Plot:
    """Who came back, by when they first came; periods that are not over are blank."""
    assert data.retention is not None
    period = data.period
    table = data.retention.filter(pl.col("users") > 0)
    all_days = table["cohort"].unique().sort().to_list()
    sizes = dict(table.group_by("cohort").agg(pl.col("users").max()).iter_rows())
    # The latest cohorts, unless the first ones hold most users: those who were there when the log began.
    ends = {"last": all_days[-MAX_COHORTS:], "first": all_days[:MAX_COHORTS]}
    end = max(ends, key=lambda name: (sum(sizes[day] for day in ends[name]), name))
    days = ends[end]
    table = table.filter(pl.col("cohort").is_in(days) & (pl.col("period") < MAX_PERIODS))
    last = int(table["period"].max() or 0)  # type: ignore[arg-type]
    known = {(row["cohort"], row["period"]): row for row in table.iter_rows(named=True)}
    users = {day: sizes[day] for day in days}
    z: list[list[float | None]] = []
    hover = []
    for day in days:
        cells = [known.get((day, p)) for p in range(last + 1)]
        z.append([None if c is None or c["active"] is None else c["active"] / c["users"] for c in cells])
        hover.append(
            [
                "" if c is None or c["active"] is None else
                f"first came in the {period} of {day}<br>{many(p, period)} later: {c['active']:,} of "
                f"{many(c['users'], 'user')} ({share(c['active'], c['users'])})"
                for p, c in enumerate(cells)
            ]
        )  # fmt: skip
    while last and all(row[last] is None for row in z):
        z, hover, last = [row[:-1] for row in z], [row[:-1] for row in hover], last - 1
    later = [
        v for day, row in zip(days, z, strict=True) if users[day] >= FEW for v in row[1:] if v is not None
    ]
    made = heat(
        z,
        [str(p) for p in range(last + 1)],
        [f"{day}  ({users[day]:,})" for day in days],
        hover,
        top=max(later, default=1) or 1,
        written_from=0,
    )
    made.update_xaxes(title_text=f"{period}s since the first (0 is the first itself)", side="bottom")
    made.update_yaxes(title_text=f"first {period} (users)")
    reading = _cohorts_reading(data.retention, period)
    if len(all_days) > len(days):
        reading += f" The {end} {len(days)} of {many(len(all_days), 'cohort')} are shown."
    return Plot(
        name="cohorts",
        title=data.title("retention", "Who comes back, by when they first came"),
        figure=made,
        reading=reading,
        basis=data.basis("retention"),
    )


def _cohorts_reading(table: pl.DataFrame, period: str) -> str:
    over = table.drop_nulls("active").group_by("period").agg(pl.col("active").sum(), pl.col("users").sum())
    known = {p: (int(active), int(users)) for p, active, users in over.iter_rows() if users}
    said = [
        f"{share(*known[p])} of {many(known[p][1], 'user')} came back {many(p, period)} later"
        for p in (1, 4)
        if p in known
    ]
    blank = f"A {period} that is not over is blank, as is all that lies beyond the log."
    return "; ".join(said).capitalize() + ". " + blank if said else blank
