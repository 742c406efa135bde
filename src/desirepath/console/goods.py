# SPDX-License-Identifier: Apache-2.0
"""Items: all of them in one table with what is known of each, and the page of one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from nicegui import ui

from desirepath.console import charts
from desirepath.console.controls import Text, aside, box, meter, waiting
from desirepath.console.frame import Visit, card, empty, facts
from desirepath.console.listing import Listing, listing
from desirepath.console.tables import Column
from desirepath.console.words import LANGUAGES, Words, percent
from desirepath.errors import DesirepathError
from desirepath.live.project import Project
from desirepath.profiles.around import around
from desirepath.schema import FIRST, ITEM
from desirepath.sequences import Sequences

MOST_COLUMNS = 5
"""Attributes shown beside id, title and counts."""
LONGEST_TEXT = 60
"""A column of longer texts on average is a description, which a table has no room for."""
LONGEST_NAME = 12
"""A column of which most values differ may be a name or a number up to this length; beyond, it is a text."""
K = 8


async def goods(visit: Visit) -> None:
    """The table of all items."""
    words, desk = visit.words, visit.desk

    def find(text: str) -> list[dict[str, str]]:
        return [
            {"id": name, "title": desk.taste.title(name, words.language), "more": name}
            for name, _ in desk.directory.find_items(text)
        ]

    items = Listing(
        page="items",
        one="item",
        key=ITEM,
        label=words("items.item"),
        hint=words("trial.other_hint"),
        width="320px",
        find=find,
        load=lambda: everything(desk.project, desk.taste.sequences),
        columns=lambda frame: _columns(frame, words),
    )
    await listing(visit, items)


def _columns(frame: pl.DataFrame, words: Words) -> list[Column]:
    """The id, the title, counts, and what else fits."""
    columns = [Column(ITEM, words("items.item"), width=130)]
    names = _shown(frame, words.language)
    if names and names[0].startswith("title"):
        columns.append(Column(names.pop(0), words("items.title_column"), width=280))
    columns.append(Column("n_events", words("users.n_events"), "number"))
    columns.append(Column("trending", words("items.trending"), "share"))
    for name in names:
        columns.append(Column(name, name, "number" if frame.schema[name].is_numeric() else "text"))
    if frame["hidden"].any():
        columns.append(Column("hidden", words("items.hidden")))
    return columns


def everything(project: Project, sequences: Sequences) -> pl.DataFrame:
    """All items with their attributes, n_events in the packed log, share of what is popular, and hidden."""
    catalogue = project.catalogue
    frame = catalogue.frame()[FIRST:]
    n = len(frame) + FIRST
    counts = np.bincount(np.asarray(sequences.item_ix), minlength=n)[FIRST:n]
    return frame.with_columns(
        pl.Series("n_events", counts),
        pl.Series("trending", project.trending.shares(n)[FIRST:]),
        pl.Series("hidden", catalogue.hidden[FIRST:n]),
    ).sort("n_events", descending=True, maintain_order=True)


def _shown(frame: pl.DataFrame, language: str) -> list[str]:
    """The columns that fit into a table: the title, then short ones, each in one language only."""
    own = {ITEM, "n_events", "trending", "hidden"}
    titles = [name for name in (f"title_{language}", "title") if name in frame.columns][:1]
    fitting = []
    for name, kind in frame.schema.items():
        base, _, code = name.rpartition("_")
        is_foreign = code in LANGUAGES and code != language and base in frame.columns
        is_told = f"{name}_{language}" in frame.columns
        if name in own or base == "title" or name == "title" or kind.is_nested() or is_foreign or is_told:
            continue
        if kind == pl.String:
            sample = frame[name].head(1000).drop_nulls()
            length = float(sample.str.len_chars().mean() or 0.0)  # type: ignore[arg-type]
            tells_one = sample.n_unique() > len(sample) / 2 and length > LONGEST_NAME
            if not len(sample) or length > LONGEST_TEXT or tells_one:
                continue
        fitting.append(name)
    return titles + fitting[:MOST_COLUMNS]


async def good(visit: Visit, item_id: str) -> None:
    """The page of one item."""
    words, project, taste = visit.words, visit.desk.project, visit.desk.taste
    with box("dp-bar"):
        Text(taste.title(item_id, words.language), "dp-who", "span")
        Text(item_id, "dp-tag", "span")
        link = Text(words("items.all"), "dp-button", "a")
        link._props["href"] = visit.link("items")
    place = waiting()
    await ui.context.client.connected()
    ix = project.catalogue.index(item_id)
    if ix is None:
        place.clear()
        with place, card(words("items.unknown")):
            empty(words("items.unknown_note"))
        return
    counts = await aside(_counts, taste.sequences, ix)
    beside = await aside(_around, taste.sequences, item_id)
    try:
        like = await aside(project.neighbours.items, item_id, K)
    except DesirepathError:
        like = []
    place.clear()
    with place:
        facts(
            [
                (f"{counts[0]:,}", words("users.n_events")),
                (f"{counts[1]:,}", words("items.n_users")),
                (percent(float(project.trending.shares(ix + 1)[ix])), words("items.trending")),
                (
                    words("items.yes") if project.catalogue.hidden[ix] else words("items.no"),
                    words("items.hidden"),
                ),
            ]
        )
        with box("dp-grid"):
            with card(words("items.known"), classes="dp-half dp-second"):
                _attributes(visit, item_id)
            with card(words("items.like"), words("items.like_note"), "dp-half"):
                _like(visit, like)
            with card(words("users.activity"), words("users.per_week"), "dp-all"):
                labels = [f"{start:%Y-%m-%d}" for start in counts[2]]
                unit = words("users.events")
                charts.draw(charts.stacked(labels, {unit: counts[3]}, unit), 220)
            for direction in ("before", "after"):
                with card(words(f"items.{direction}"), words("items.around_note"), "dp-half"):
                    _beside(visit, beside.filter(pl.col("direction") == direction))


def _counts(sequences: Sequences, ix: int) -> tuple[int, int, list[datetime], list[int]]:
    """Events and users of an item, and its events by week."""
    rows = np.flatnonzero(np.asarray(sequences.item_ix) == ix)
    users = np.unique(np.searchsorted(np.asarray(sequences.offsets), rows, side="right"))
    times = pl.Series((np.asarray(sequences.time_s)[rows] * 1e6).astype(np.int64)).cast(pl.Datetime("us"))
    weeks = pl.DataFrame({"at": times}).sort("at").group_by_dynamic("at", every="1w").agg(pl.len())
    if weeks.height:
        weeks = weeks.upsample("at", every="1w").with_columns(pl.col("len").fill_null(0))
    return len(rows), len(users), weeks["at"].to_list(), weeks["len"].to_list()


def _around(sequences: Sequences, item_id: str) -> pl.DataFrame:
    if sequences.items.index(item_id) is None:
        return pl.DataFrame(schema={"direction": pl.String, "item_id": pl.String, "share": pl.Float64})
    return around(sequences, item_id, datetime.now(UTC), K)


def _attributes(visit: Visit, item_id: str) -> None:
    known = visit.desk.project.catalogue.attributes(item_id)
    if not known:
        empty(visit.words("items.known_none"))
        return
    with box("dp-plain", "table"), box("", "tbody"):
        for name, value in known.items():
            with box("", "tr"):
                Text(name, tag="th")
                Text(", ".join(map(str, value)) if isinstance(value, list) else value, tag="td")


def _like(visit: Visit, like: list[dict[str, Any]]) -> None:
    if not like:
        empty(visit.words("items.like_none"))
        return
    with box("dp-bars", "ul"):
        for row in like:
            name = visit.desk.taste.title(row["item_id"], visit.words.language)
            meter(name, f"{row['similarity']:.2f}", row["similarity"])


def _beside(visit: Visit, rows: pl.DataFrame) -> None:
    if not rows.height:
        empty(visit.words("items.around_none"))
        return
    most = float(rows["share"].max() or 1.0)  # type: ignore[arg-type]
    with box("dp-bars", "ul"):
        for row in rows.iter_rows(named=True):
            name = visit.desk.taste.title(row["item_id"], visit.words.language)
            meter(name, percent(row["share"]), row["share"] / most)
