# SPDX-License-Identifier: Apache-2.0
"""Each figure of behaviour by itself, from the table it draws: titled, and with its sentence below the title.

They are those of the report, to be written to a file with `write_figure` or shown in a notebook. Titles of
items come as a mapping by id; `ground` says in words what the table rests on.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import plotly.graph_objects as go
import polars as pl

from desirepath.errors import ConfigError, nearest
from desirepath.report.behaviour import BehaviourData, Ground
from desirepath.report.blocks import Plot
from desirepath.report.contrast import contrast_plot
from desirepath.report.flow import sankey_plot
from desirepath.report.frequent import patterns_plot
from desirepath.report.funnel import funnel_plot
from desirepath.report.grids import cohorts_plot, steps_plot, transitions_plot
from desirepath.report.labels import Labels
from desirepath.report.loops import loops_plot
from desirepath.report.rules import rules_plot
from desirepath.report.segments import classes_plot, map_plot, moves_plot
from desirepath.report.tree import tree_plot
from desirepath.report.waits import waits_plot

Titles = Mapping[str, str]
FIGURES: Final[Mapping[str, Callable[[BehaviourData, Labels], Plot]]] = {
    "links": sankey_plot,
    "funnel": funnel_plot,
    "transitions": transitions_plot,
    "steps": steps_plot,
    "tree": tree_plot,
    "loops": loops_plot,
    "waits": waits_plot,
    "patterns": patterns_plot,
    "contrast": contrast_plot,
    "rules": rules_plot,
    "retention": cohorts_plot,
    "members": map_plot,
    "moves": moves_plot,
    "activity": classes_plot,
}
"""What draws each table of a `BehaviourData`."""
LINE = 150
"""Characters of the sentences in a line."""


class Segmented(Protocol):
    """What a map of segments is drawn from; `profiles.Segments` is one."""

    @property
    def members(self) -> pl.DataFrame:
        """segment, x, y."""

    @property
    def table(self) -> pl.DataFrame:
        """segment, name, n_users."""

    @property
    def is_stable(self) -> bool:
        """Whether resampling finds them again."""


def figure_of(part: str, data: BehaviourData, titles: Titles | None = None) -> go.Figure:
    """The figure of one table of the data, by the name of its field, with its title and sentences.

    Raises:
        ConfigError: nothing is drawn of such a part, or it is not there or empty.
    """
    if part not in FIGURES:
        raise ConfigError(f"A figure must be one of {', '.join(FIGURES)}. {nearest(part, FIGURES)}")
    table = getattr(data, part)
    if table is None or not table.height:
        raise ConfigError(
            f"There is nothing to draw: {part} is empty. Ask for less, such as a smaller support."
        )
    return titled(FIGURES[part](data, Labels(titles)))


def titled(plot: Plot) -> go.Figure:
    """The figure with its title, reading and ground in it, and room for them."""
    made = go.Figure(plot.figure)
    lines = [html.escape(line, quote=False) for line in textwrap.wrap(plot.reading, LINE)]
    lines += [f"<i>{html.escape(line, quote=False)}</i>" for line in textwrap.wrap(plot.basis, LINE)]
    above = 30 + 17 * len(lines)
    margin = made.layout.margin.t
    top = above + (60 if margin is None and plot.figure.layout.showlegend else margin or 24)
    made.update_layout(
        title={
            "text": f"<b>{html.escape(plot.title, quote=False)}</b>",
            "font": {"size": 17},
            "subtitle": {"text": "<br>".join(lines), "font": {"size": 12}},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 16, "t": 14},
        },
        margin={"t": top},
        height=(made.layout.height or 340) + above,
    )
    return made


def sankey_figure(
    table: pl.DataFrame, titles: Titles | None = None, ground: Ground | None = None
) -> go.Figure:
    """Paths as a Sankey diagram, from `paths.sankey`."""
    return figure_of("links", BehaviourData(links=table, ground=ground or Ground()), titles)


def funnel_figure(
    table: pl.DataFrame, titles: Titles | None = None, ground: Ground | None = None
) -> go.Figure:
    """A funnel, from `Funnel.to_frame`."""
    return figure_of("funnel", BehaviourData(funnel=table, ground=ground or Ground()), titles)


def transitions_figure(
    table: pl.DataFrame, titles: Titles | None = None, ground: Ground | None = None
) -> go.Figure:
    """A heat map of what comes right after what, from `paths.transitions`."""
    return figure_of("transitions", BehaviourData(transitions=table, ground=ground or Ground()), titles)


def steps_figure(
    table: pl.DataFrame, titles: Titles | None = None, ground: Ground | None = None
) -> go.Figure:
    """The step matrix as a heat map, from `paths.step_matrix`."""
    return figure_of("steps", BehaviourData(steps=table, ground=ground or Ground()), titles)


def tree_figure(table: pl.DataFrame, titles: Titles | None = None, ground: Ground | None = None) -> go.Figure:
    """The tree of beginnings, from `paths.path_tree`."""
    return figure_of("tree", BehaviourData(tree=table, ground=ground or Ground()), titles)


def loops_figure(
    table: pl.DataFrame, titles: Titles | None = None, ground: Ground | None = None
) -> go.Figure:
    """Bars of what is done again and dots of how soon, from `paths.loops`."""
    return figure_of("loops", BehaviourData(loops=table, ground=ground or Ground()), titles)


def waits_figure(
    table: pl.DataFrame, titles: Titles | None = None, ground: Ground | None = None
) -> go.Figure:
    """Bars of times from one event to another, from `paths.gap_counts`."""
    return figure_of("waits", BehaviourData(waits=table, ground=ground or Ground()), titles)


def patterns_figure(
    table: pl.DataFrame, titles: Titles | None = None, ground: Ground | None = None
) -> go.Figure:
    """Bars of frequent patterns with intervals, from `Patterns.to_frame`."""
    return figure_of("patterns", BehaviourData(patterns=table, ground=ground or Ground()), titles)


def contrast_figure(
    table: pl.DataFrame,
    titles: Titles | None = None,
    ground: Ground | None = None,
    groups: tuple[str, ...] = (),
    group_sizes: tuple[int, ...] = (),
) -> go.Figure:
    """Dots and intervals of odds ratios, from `contrast`; of two groups the first is drawn to the right."""
    data = BehaviourData(contrast=table, groups=groups, group_sizes=group_sizes, ground=ground or Ground())
    return figure_of("contrast", data, titles)


def rules_figure(
    table: pl.DataFrame, titles: Titles | None = None, ground: Ground | None = None
) -> go.Figure:
    """Rules by support and confidence, from `rules`."""
    return figure_of("rules", BehaviourData(rules=table, ground=ground or Ground()), titles)


def cohort_figure(table: pl.DataFrame, period: str = "week", ground: Ground | None = None) -> go.Figure:
    """Cohorts as a heat map, from `paths.retention`; `period` is that of its configuration."""
    return figure_of("retention", BehaviourData(retention=table, period=period, ground=ground or Ground()))


def segment_figure(segments: Segmented, titles: Titles | None = None) -> go.Figure:
    """The map of segments, from `profiles.Segments`."""
    data = BehaviourData(segments=segments.table, members=segments.members, is_stable=segments.is_stable)
    return figure_of("members", data, titles)


def moves_figure(table: pl.DataFrame, ground: Ground | None = None) -> go.Figure:
    """Who moved between segments, from `movement.moves` or `movement.track`."""
    return figure_of("moves", BehaviourData(moves=table, ground=ground or Ground()))
