# SPDX-License-Identifier: Apache-2.0
"""Segments: users on a map of two dimensions, what marks each segment, and who moved between them."""

from __future__ import annotations

import polars as pl
from nicegui import ui

from desirepath.console import charts
from desirepath.console.behaviour import marks_of
from desirepath.console.controls import Text, aside, box, waiting
from desirepath.console.frame import Visit, card, empty
from desirepath.console.tables import Column, table
from desirepath.console.words import percent, quoted
from desirepath.profiles.movement import ABSENT
from desirepath.report.behaviour import BehaviourData

N_MARKS = 5


async def groups(visit: Visit) -> None:
    """Build the page from the segments that were found."""
    words = visit.words
    place = waiting()
    await ui.context.client.connected()
    read = visit.desk.views.behaviour
    data = None if read is None else await aside(read, visit.desk.project)
    place.clear()
    with place:
        if data is None or data.segments is None or not data.segments.height:
            why = "" if data is None else data.absent.get("segments", "")
            with card(words("segments.none")):
                empty(
                    why or words("segments.none_note"),
                    f"desirepath run --to {visit.desk.project.workspace.folder}",
                )
            return
        _show(visit, data)


def _show(visit: Visit, data: BehaviourData) -> None:
    words = visit.words
    assert data.segments is not None
    names = dict(data.segments.select("segment", "name").iter_rows())
    note = words("segments.stable") if data.is_stable else words("segments.unstable")
    with box("dp-grid"):
        if data.members is not None and data.members.height:
            with card(words("segments.map"), f"{words('segments.map_note')} {note}", "dp-all"):
                points = {
                    names.get(key[0], str(key[0])): list(rows.select("x", "y").iter_rows())
                    for key, rows in sorted(data.members.partition_by("segment", as_dict=True).items())
                }
                charts.draw(charts.cloud(points, words("segments.x"), words("segments.y")), 440)
        marks = marks_of(data)
        for row in data.segments.iter_rows(named=True):
            with card(row["name"], "", "dp-third"):
                share = row.get("share") or row["n_users"] / max(1, int(data.segments["n_users"].sum()))
                told = words("segments.size", n=f"{row['n_users']:,}", share=percent(share))
                Text(told, "dp-note", "p")
                own = marks.get(row["segment"])
                _marks(visit, own)
                erased = visit.desk.project.erased
                typical = [name for name in row.get("typical") or [] if name not in erased][:3]
                if typical:
                    Text(words("segments.typical"), "dp-note dp-head-like", "p")
                    with box("dp-links"):
                        for name in typical:
                            link = Text(name, "dp-tag dp-strong", "a")
                            link._props["href"] = visit.link("users", f"user={quoted(name)}")
        if data.moves is not None and data.moves.height:
            with card(words("segments.moves"), words("segments.moves_note"), "dp-all"):
                absent = words("segments.not_there")
                named = data.moves.with_columns(pl.col("from", "to").replace(ABSENT, absent))
                moved = named.filter(pl.col("from") != pl.col("to")).sort("n_users", descending=True)
                columns = [
                    Column("from", words("segments.from"), width=320),
                    Column("to", words("segments.to"), width=320),
                    Column("n_users", words("segments.n_users"), "number"),
                ]
                table(moved, columns, words, name="moves", n_rows=8)


def _marks(visit: Visit, rows: pl.DataFrame | None) -> None:
    """What sets a segment apart: its own figure beside the others'."""
    words = visit.words
    if rows is None or not rows.height:
        empty(words("segments.marks_none"))
        return
    with box("dp-plain dp-tight", "table"):
        with box("", "thead"), box("", "tr"):
            for key in ("mark", "here", "elsewhere"):
                Text(words(f"segments.{key}"), tag="th")
        with box("", "tbody"):
            for row in rows.head(N_MARKS).iter_rows(named=True):
                with box("", "tr"):
                    Text(words.feature(row["feature"]), tag="td")
                    for key in ("value", "others"):
                        is_share = row.get("measure") == "h"
                        Text(percent(row[key]) if is_share else f"{row[key]:,.1f}", "dp-number", "td")
