# SPDX-License-Identifier: Apache-2.0
"""The sections about behaviour: paths, patterns, contrasts, rules, coming back, segments.

It arranges what was handed in. A part that was asked for and is not there is said to be absent; a part
that nobody asked for is left out, and so is a section without any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from desirepath.report.behaviour import BehaviourData
from desirepath.report.blocks import Absent, Block, Section
from desirepath.report.contrast import contrast_plot
from desirepath.report.data import ReportData
from desirepath.report.flow import paths_table, sankey_plot
from desirepath.report.frequent import patterns_plot
from desirepath.report.funnel import drop_offs_table, funnel_plot
from desirepath.report.grids import cohorts_plot, steps_plot, transitions_plot
from desirepath.report.labels import Labels, spelled_parts
from desirepath.report.loops import loops_plot
from desirepath.report.rules import rules_plot, rules_table
from desirepath.report.segments import classes_plot, map_plot, moves_plot, segments_table
from desirepath.report.tree import tree_plot
from desirepath.report.waits import waits_plot

Maker = Callable[[BehaviourData, Labels], Block]
PARTS: Final[Mapping[str, tuple[tuple[str, Maker], ...]]] = {
    "What people do": (
        ("links", sankey_plot),
        ("funnel", funnel_plot),
        ("drop_offs", drop_offs_table),
        ("waits", waits_plot),
        ("transitions", transitions_plot),
        ("steps", steps_plot),
        ("tree", tree_plot),
        ("top_paths", paths_table),
        ("loops", loops_plot),
    ),
    "Patterns": (("patterns", patterns_plot),),
    "What sets groups apart": (("contrast", contrast_plot),),
    "Rules": (("rules", rules_table), ("rules", rules_plot)),
    "Coming back": (("retention", cohorts_plot), ("activity", classes_plot)),
    "Segments": (("segments", segments_table), ("members", map_plot), ("moves", moves_plot)),
}
"""Sections in their order, and in each the tables with what is made of them."""
NAMES: Final = {
    "What people do": "paths",
    "Patterns": "patterns-found",
    "What sets groups apart": "groups",
    "Rules": "rules-found",
    "Coming back": "cohorts-found",
    "Segments": "segments",
}
"""Ids of the sections in the page."""
EMPTY: Final = {
    "contrast": "No pattern has the support that was asked for. Ask for a smaller one.",
    "rules": "No rule has the support and the confidence that were asked for. Ask for less.",
    "patterns": "No pattern has the support that was asked for. Ask for a smaller one.",
}
TITLES: Final = {
    "links": "Which way people go, step by step",
    "funnel": "How far they come",
    "drop_offs": "What those did next who went no further",
    "transitions": "What comes right after what",
    "steps": "Where people stand at each step",
    "tree": "How paths begin, branch by branch",
    "top_paths": "The most common whole paths",
    "loops": "What people do again, and how soon",
    "waits": "How long it takes from one to the other",
    "patterns": "What many do in this order",
    "contrast": "What sets groups apart",
    "rules": "The most telling rules",
    "retention": "Who comes back",
    "activity": "Who is new, active, cooling or lost",
    "segments": "The segments and what sets them apart",
    "members": "A map of users by what they do",
    "moves": "Who moved from one segment to another",
}
"""What would have been shown, for parts that are absent."""


def behaviour_sections(data: ReportData) -> list[tuple[str, Callable[[], Section]]]:
    """Title and maker of each section that has something to show or to say."""
    behaviour = data.behaviour
    if behaviour is None:
        return []
    labels = Labels(data.title_of(named_in(behaviour)))
    return [
        (title, lambda title=title: _section(title, behaviour, labels))  # type: ignore[misc]
        for title, makers in PARTS.items()
        if any(part in behaviour.absent or getattr(behaviour, part) is not None for part, _ in makers)
    ]


def _section(title: str, data: BehaviourData, labels: Labels) -> Section:
    blocks: list[Block] = []
    for part, make in PARTS[title]:
        table = getattr(data, part)
        if table is not None and table.height:
            blocks.append(make(data, labels))
        elif table is not None or part in data.absent:
            why = data.absent.get(part) or EMPTY.get(part, "The log holds nothing of it.")
            said = Absent(title=TITLES[part], reason=why)
            blocks += [] if said in blocks else [said]
    return Section(name=NAMES[title], title=title, blocks=blocks)


def named_in(data: BehaviourData) -> list[str]:
    """All names of events in the tables, and their parts: those that may have a title."""
    columns = {
        "links": ("source", "target"),
        "funnel": ("name",),
        "drop_offs": ("name", "next"),
        "transitions": ("from", "to"),
        "steps": ("symbol",),
        "tree": ("symbol",),
        "top_paths": ("path",),
        "loops": ("symbol",),
        "waits": ("from", "to"),
        "patterns": ("pattern",),
        "contrast": ("pattern",),
        "rules": ("antecedent", "consequent"),
        "marks": ("feature",),
    }
    met = []
    for part, names in columns.items():
        table: pl.DataFrame | None = getattr(data, part)
        met += [table[name] for name in names] if table is not None else []
    return spelled_parts(*met)
