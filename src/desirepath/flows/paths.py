# SPDX-License-Identifier: Apache-2.0
"""Paths of a workspace: each verb one table that reconciles with the sequences read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl

from desirepath.errors import ConfigError
from desirepath.flows.items import titles_of
from desirepath.flows.subject import Subject, made
from desirepath.flows.tabulation import Found, drawn
from desirepath.patterns.paths import (
    FunnelConfig,
    RetentionConfig,
    StepsConfig,
    TreeConfig,
    funnel,
    gap_counts,
    gap_summary,
    loops,
    path_tree,
    retention,
    sankey,
    step_matrix,
    time_between,
    top_paths,
    transitions,
    visits,
)

SET = "|"
"""Parts the names of a step of which any will do."""


def transitions_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """What comes right after what."""
    table = transitions(subject.database)
    return _found(subject, table, f"{len(table):,} transitions", "transitions")


def funnel_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """How many come how far along ordered steps."""
    steps = [tuple(step.split(SET)) for step in options.get("steps") or ()]
    if len(steps) < 2:
        raise ConfigError("A funnel needs two steps or more, such as --steps view,cart,purchase.")
    ways = funnel(subject.database, steps, made(FunnelConfig, options))
    if options.get("drop_offs"):
        return _found(subject, ways.drop_offs(), "What those did next who left", None)
    words = "any time after" if ways.config.window_s is None else f"within {ways.config.window_s:g} s"
    return _found(subject, ways.to_frame(), f"Funnel of {len(steps)} steps, {words}", "funnel")


def steps_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """Where sequences are at each step."""
    table = step_matrix(subject.database, made(StepsConfig, options))
    return _found(subject, table, "Shares of sequences at each step", "steps")


def sankey_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """The streams between steps, everything else as one."""
    table = sankey(subject.database, made(StepsConfig, {"n_steps": 5, "top": 6} | dict(options)))
    return _found(subject, table, "Streams from step to step", "sankey")


def tree_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """The tree of beginnings."""
    table = path_tree(subject.database, made(TreeConfig, options))
    return _found(subject, table, "The tree of paths", "tree")


def variants_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """The most common whole paths."""
    table = top_paths(subject.database, int(options.get("paths", 20)), n_steps=options.get("n_steps"))
    return _found(subject, table, "The most common paths", None)


def retention_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """Who comes back, by when they first came."""
    table = retention(subject.database, made(RetentionConfig, options))
    return _found(subject, table, "Who came back", "cohort")


def visits_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """Visits, told apart by a pause."""
    table = visits(subject.database, subject.symbols.session_gap_s)
    return _found(subject, table, f"{len(table):,} visits", None)


def loops_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """Repeats at once, and returns."""
    return _found(subject, loops(subject.database), "Repeats and returns", "loops")


def time_between_table(subject: Subject, options: Mapping[str, Any]) -> Found:
    """How long it takes from one event to another."""
    first, then = tuple(options.get("first") or ()), tuple(options.get("then") or ())
    if not first or not then:
        raise ConfigError("Name both events, such as --from cart --then purchase.")
    gaps = time_between(subject.database, first, then)
    names = SET.join(first), SET.join(then)
    found = _found(subject, gap_summary(gaps), "From {} to {}".format(*names), None)
    figure = partial(drawn, "waits", gap_counts(gaps, *names), subject.ground(), titles=found.titles)
    return replace(found, figure=figure)


PATHS: dict[str, Callable[[Subject, Mapping[str, Any]], Found]] = {
    "transitions": transitions_table,
    "funnel": funnel_table,
    "steps": steps_table,
    "sankey": sankey_table,
    "tree": tree_table,
    "paths": variants_table,
    "retention": retention_table,
    "visits": visits_table,
    "loops": loops_table,
    "between": time_between_table,
}


SHOWN: dict[str, tuple[str, ...]] = {
    "transitions": ("from", "to", "count", "probability", "sequence_share", "median_s"),
    "funnel": ("name", "entered", "dropped", "share_of_previous", "share_of_first", "median_s"),
}
"""Columns that fit a screen, of the tables that have more."""


def _found(subject: Subject, table: pl.DataFrame, title: str, figure: str | None) -> Found:
    titles = titles_of(subject.workspace) if "item" in subject.symbols.by else {}
    more = {"titles": titles} if figure != "cohort" else {}
    return Found(
        table=table,
        title=title,
        columns=SHOWN.get(figure or "", ()),
        notes=[f"Of {subject.words}."],
        titles=titles,
        figure=None if figure is None else partial(drawn, figure, table, subject.ground(), **more),
    )
