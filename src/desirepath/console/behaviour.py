# SPDX-License-Identifier: Apache-2.0
"""Patterns: paths as a Sankey diagram, the funnel, sequences that are frequent or tell groups apart, rules.

Everything was mined before and lies in the workspace; a part that the log does not bear says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl
from nicegui import ui

from desirepath.console import charts
from desirepath.console.controls import Text, aside, box, waiting
from desirepath.console.frame import Visit, card, empty
from desirepath.console.tables import Column, table
from desirepath.console.words import percent
from desirepath.report.behaviour import BehaviourData
from desirepath.report.theme import COLOURS

MOST_LINKS = 90
MOST_CONTRASTS = 16
WIDEST = 1e4
"""Odds ratios beyond this are drawn at it: their intervals say no more than "much"."""


async def behaviour(visit: Visit) -> None:
    """Build the page from what was mined."""
    place = waiting()
    await ui.context.client.connected()
    read = visit.desk.views.behaviour
    data = None if read is None else await aside(read, visit.desk.project)
    place.clear()
    with place:
        if data is None:
            with card(visit.words("patterns.none")):
                empty(
                    visit.words("patterns.none_note"),
                    f"desirepath run --to {visit.desk.project.workspace.folder}",
                )
            return
        Behaviour(visit, data).show()


class Behaviour:
    """The cards of what was mined."""

    def __init__(self, visit: Visit, data: BehaviourData) -> None:
        """Show `data`."""
        self.visit, self.words, self.data = visit, visit.words, data

    def show(self) -> None:
        """Build all cards."""
        parts: tuple[tuple[str, str, str, Callable[[], None]], ...] = (
            ("links", "transitions", "dp-all", self._links),
            ("funnel", "funnel", "dp-half", self._funnel),
            ("retention", "retention", "dp-half", self._retention),
            ("contrast", "contrast", "dp-all", self._contrast),
            ("patterns", "patterns", "dp-all", self._patterns),
            ("rules", "rules", "dp-all", self._rules),
        )
        with box("dp-grid"):
            for part, made_by, classes, draw in parts:
                with card(self.words(f"patterns.{part}"), self._ground(part), classes):
                    found = getattr(self.data, part)
                    if found is not None and found.height:
                        draw()
                    else:
                        empty(self.data.absent.get(made_by, self.words("patterns.part_none")))

    def _ground(self, part: str) -> str:
        """What a part rests on, in a sentence."""
        told = self.words(f"patterns.{part}_note")
        ground = self.data.ground_of(part)
        if ground.n_sequences:
            whose = self.words.get(f"patterns.per_{ground.sequence}", ground.sequence)
            told += " " + self.words("patterns.ground", n=f"{ground.n_sequences:,}", whose=whose)
        if self.data.is_partial(part):
            told += " " + self.words("patterns.partial")
        return told

    def _called(self, symbol: str) -> str:
        """What a symbol is called: a word of ours, an item's title, or itself."""
        known = self.words.get(f"symbol.{symbol.strip('<>')}", "") if symbol.startswith("<") else ""
        return (
            known
            or self.words.get(f"action.{symbol}", "")
            or self.visit.desk.taste.title(symbol, self.words.language)
        )

    def _path(self, symbols: list[str]) -> str:
        return " → ".join(self._called(symbol) for symbol in symbols)

    def _links(self) -> None:
        links = self.data.links
        assert links is not None
        best = (
            links.sort("count", descending=True)
            .head(MOST_LINKS)
            .sort("step", "count", descending=[False, True])
        )
        rows = list(best.select("step", "source", "target", "count").iter_rows())
        symbols = {symbol for _, source, target, _ in rows for symbol in (source, target)}
        with box("dp-wide"):
            charts.draw(charts.sankey(rows, {symbol: self._called(symbol) for symbol in symbols}), 460)

    def _funnel(self) -> None:
        rows = self.data.funnel
        assert rows is not None
        first = int(rows["entered"][0]) or 1
        with box("dp-bars", "ul"):
            for row in rows.iter_rows(named=True):
                with box("", "li"):
                    with box("dp-name"):
                        Text(self._called(row["name"]), tag="span")
                        told = f"{row['entered']:,} · {percent(row['entered'] / first)}"
                        Text(told, tag="span")
                    with box("dp-meter dp-thick"):
                        box("", "i").style(f"width: {100 * row['entered'] / first:.1f}%")
                    if row["step"] > 1 and row.get("share_of_previous") is not None:
                        span = ""
                        if row.get("share_of_previous_low") is not None:
                            low, high = (
                                percent(row["share_of_previous_low"]),
                                percent(row["share_of_previous_high"]),
                            )
                            span = f" ({low} – {high})"
                        share = percent(row["share_of_previous"]) + span
                        Text(self.words("patterns.of_previous", share=share), "dp-note", "p")

    def _retention(self) -> None:
        rows = self.data.retention
        assert rows is not None
        known = rows.drop_nulls("active").filter(pl.col("period") > 0)
        cohorts = known["cohort"].unique().sort().to_list()[-12:]
        place = {cohort: at for at, cohort in enumerate(cohorts)}
        periods = sorted(known["period"].unique().to_list())
        cells = [
            (row["period"] - periods[0], place[row["cohort"]], round(100 * row["active"] / row["users"], 1))
            for row in known.iter_rows(named=True)
            if row["cohort"] in place and row["users"]
        ]
        names = [self.words(f"patterns.{self.data.period}", n=period) for period in periods]
        charts.draw(
            charts.heat(
                names,
                [f"{day:%Y-%m-%d}" for day in cohorts],
                cells,
                self.words("patterns.active"),
                labelled=True,
            ),
            330,
        )

    def _contrast(self) -> None:
        rows = self.data.contrast
        assert rows is not None
        groups = self.data.groups or tuple(rows["class"].unique(maintain_order=True).to_list())
        strong = rows.filter(pl.col("q") < 0.05).sort(
            "q", pl.col("odds_ratio").log().abs(), descending=[False, True]
        )
        with box("dp-links"):
            for at, group in enumerate(groups):
                Text(group, "dp-tag", "span").style(
                    f"color: {COLOURS[at % len(COLOURS)]}; border-color: currentColor"
                )
        chosen = strong.head(MOST_CONTRASTS)
        if chosen.height:
            names, spans, colours = [], [], []
            for row in chosen.iter_rows(named=True):
                sign = 1 if row["class"] == groups[0] or len(groups) != 2 else -1
                span = sorted(_clipped(row[key]) ** sign for key in ("odds_low", "odds_ratio", "odds_high"))
                names.append(self._path(row["pattern"]))
                spans.append((span[1], span[0], span[2]))
                colours.append(COLOURS[list(groups).index(row["class"]) % len(COLOURS)])
            unit = self.words("patterns.odds", group=groups[0])
            made = charts.intervals(names, spans, unit, log=True, colours=colours)
            charts.draw(made, 60 + 26 * len(names))
        shown = rows.with_columns(pl.Series("path", [self._path(list(p)) for p in rows["pattern"]]))
        columns = [
            Column("path", self.words("patterns.sequence"), width=360),
            Column("class", self.words("patterns.group"), width=180),
            Column("share", self.words("patterns.share_in"), "share"),
            Column("share_rest", self.words("patterns.share_out"), "share"),
            Column("odds_ratio", self.words("patterns.odds_ratio"), "number"),
            Column("q", self.words("patterns.q"), "number"),
        ]
        table(shown, columns, self.words, name="contrast", n_rows=8)

    def _patterns(self) -> None:
        rows = self.data.patterns
        assert rows is not None
        shown = rows.with_columns(pl.Series("path", [self._path(list(p)) for p in rows["pattern"]]))
        columns = [
            Column("path", self.words("patterns.sequence"), width=560),
            *(
                [Column("length", self.words("patterns.length"), "number")]
                if "length" in rows.columns
                else []
            ),
            Column("support", self.words("patterns.support"), "number"),
            *([Column("share", self.words("patterns.share"), "share")] if "share" in rows.columns else []),
        ]
        table(shown, columns, self.words, name="patterns", n_rows=10)

    def _rules(self) -> None:
        rows = self.data.rules
        assert rows is not None
        shown = rows.with_columns(
            pl.Series("if", [self._path(list(p)) for p in rows["antecedent"]]),
            pl.Series("then", [self._path(list(p)) for p in rows["consequent"]]),
        )
        columns = [
            Column("if", self.words("patterns.if"), width=330),
            Column("then", self.words("patterns.then"), width=240),
            Column("support", self.words("patterns.support"), "number"),
            Column("confidence", self.words("patterns.confidence"), "share"),
            Column("lift", self.words("patterns.lift"), "number"),
        ]
        table(shown, columns, self.words, name="rules", n_rows=10)


def _clipped(odds: float) -> float:
    """An odds ratio that a logarithmic axis can show."""
    return min(max(float(odds), 1 / WIDEST), WIDEST)


def marks_of(data: BehaviourData | None) -> Mapping[int, pl.DataFrame]:
    """What sets each segment apart, the strongest first."""
    if data is None or data.marks is None:
        return {}
    strong = data.marks.filter(pl.col("q") < 0.01).sort(pl.col("effect").abs(), descending=True)
    return {int(key[0]): rows for key, rows in strong.partition_by("segment", as_dict=True).items()}
