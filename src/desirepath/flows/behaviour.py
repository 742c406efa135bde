# SPDX-License-Identifier: Apache-2.0
"""What people do and who they are, mined for the report and kept in the workspace."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from desirepath.errors import DataError, DesirepathError
from desirepath.events.log import EventLog
from desirepath.flows.goals import funnel_steps, goal_action
from desirepath.flows.groups import groups_of
from desirepath.flows.matched import keep_naming
from desirepath.flows.people import found_segments, moves_of
from desirepath.flows.progress import Progress, silent
from desirepath.flows.settings import Settings
from desirepath.flows.subject import Subject, open_subject
from desirepath.flows.words import Selection
from desirepath.patterns.contrast import ContrastConfig, contrast
from desirepath.patterns.frequent import MiningConfig, mine
from desirepath.patterns.paths import (
    RetentionConfig,
    StepsConfig,
    funnel,
    gap_counts,
    loops,
    path_tree,
    retention,
    sankey,
    step_matrix,
    time_between,
    top_paths,
    transitions,
)
from desirepath.patterns.rules import RuleConfig, find_rules
from desirepath.profiles import class_sizes, user_classes
from desirepath.workspace import Workspace, write_atomically

if TYPE_CHECKING:
    from desirepath.report import BehaviourData

NOTES = "behaviour.json"
LEAST_USERS = 5
"""Users below whom a shared sequence is an accident."""


def mine_behaviour(workspace: Workspace, settings: Settings, progress: Progress = silent) -> None:
    """Mine everything that the report shows; each part that the log does not bear says why.

    Tables go to the workspace's folder `behaviour`, what they rest on into one JSON beside them.
    """
    selection = Selection(by=settings.behaviour.by)
    paths = open_subject(workspace.folder, selection, "paths")
    items = open_subject(workspace.folder, Selection(collapse_repeats=True), "patterns")
    notes: dict[str, Any] = {"grounds": {}, "absent": {}}
    makers: dict[str, Callable[[], dict[str, pl.DataFrame]]] = {
        "transitions": lambda: _paths(paths, notes),
        "funnel": lambda: _funnel(paths, settings, notes),
        "patterns": lambda: _patterns(items, settings, notes),
        "rules": lambda: _rules(items, settings, notes),
        "contrast": lambda: _contrast(workspace, settings, notes),
        "retention": lambda: _retention(items, notes),
        "segments": lambda: _people(workspace, settings, notes, progress),
    }
    # What an earlier run found must not stand beside what this one does not find.
    shutil.rmtree(workspace.behaviour, ignore_errors=True)
    workspace.behaviour.mkdir()
    for place, (part, make) in enumerate(makers.items()):
        progress("Mining behaviour", place / len(makers), part)
        try:
            for name, table in make().items():
                table.write_parquet(workspace.behaviour / f"{name}.parquet")
        except DesirepathError as refusal:
            notes["absent"][part] = str(refusal)
    write_atomically(workspace.behaviour / NOTES, json.dumps(notes))
    progress("Mining behaviour", 1.0, "")


def open_behaviour(workspace: Workspace) -> BehaviourData | None:
    """What was mined, as the report takes it; None where nothing was."""
    from desirepath.report.behaviour import NEEDED, BehaviourData, Ground

    path = workspace.behaviour / NOTES
    if not path.exists():
        return None
    notes = json.loads(path.read_text(encoding="utf-8"))
    tables: dict[str, Any] = {
        name: pl.read_parquet(workspace.behaviour / f"{name}.parquet")
        for name in NEEDED
        if (workspace.behaviour / f"{name}.parquet").exists()
    }
    more = {name: notes[name] for name in ("period", "is_stable") if name in notes}
    if "contrast" in tables:
        more |= {"groups": tuple(notes["groups"]), "group_sizes": tuple(notes["group_sizes"])}
    return BehaviourData(
        **tables,
        **more,
        grounds={name: Ground(**ground) for name, ground in notes["grounds"].items()},
        absent=notes["absent"],
    )


def _paths(subject: Subject, notes: dict[str, Any]) -> dict[str, pl.DataFrame]:
    database = subject.database
    parts = {
        "transitions": transitions(database),
        "links": sankey(database, StepsConfig(n_steps=5, top=6)),
        "steps": step_matrix(database, StepsConfig(n_steps=10, top=8)),
        "tree": path_tree(database),
        "top_paths": top_paths(database, 12),
        "loops": loops(database),
    }
    notes["grounds"] |= {name: subject.ground() for name in parts}
    return parts


def _funnel(subject: Subject, settings: Settings, notes: dict[str, Any]) -> dict[str, pl.DataFrame]:
    goal = goal_action(subject.sequences, settings.behaviour.goal)
    steps = settings.behaviour.steps or funnel_steps(subject.sequences, goal)
    if len(steps) < 2:
        raise DataError("A funnel needs two actions or more; the log has one. Set [behaviour] steps.")
    named = subject
    if subject.symbols.by != ("action",):
        named = open_subject(subject.workspace.folder, Selection(by=("action",)), "paths")
    found = funnel(named.database, steps)
    notes["grounds"] |= {name: named.ground() for name in ("funnel", "drop_offs", "waits")}
    waits = [
        gap_counts(time_between(named.database, first, then), first, then)
        for first, then in itertools.pairwise(steps)
    ]
    return {"funnel": found.to_frame(), "drop_offs": found.drop_offs(6), "waits": pl.concat(waits)}


def _patterns(subject: Subject, settings: Settings, notes: dict[str, Any]) -> dict[str, pl.DataFrame]:
    found = mine(
        subject.database,
        MiningConfig(
            min_support=max(LEAST_USERS, subject.database.n_sequences // 1000),
            min_length=2,
            max_length=6,
            top_k=settings.behaviour.n_patterns,
            max_seconds=settings.behaviour.max_seconds,
        ),
    )
    table = found.to_frame()
    if table.is_empty():
        raise DataError(
            f"No two items are met in the same order by {found.min_count} {subject.symbols.per}s."
        )
    keep_naming(subject.workspace.behaviour, subject.symbols)
    least = int(table["support"].min())  # type: ignore[arg-type]
    notes["grounds"]["patterns"] = subject.ground(min_support=least, stopped_by=found.stopped_by)
    return {"patterns": table}


def _rules(subject: Subject, settings: Settings, notes: dict[str, Any]) -> dict[str, pl.DataFrame]:
    least = max(LEAST_USERS, subject.database.n_sequences // 200)
    found = find_rules(
        subject.database,
        RuleConfig(
            min_support=least,
            max_antecedent=2,
            max_consequent=1,
            max_rules=100_000,
            max_seconds=settings.behaviour.max_seconds,
        ),
    )
    if found.frame.is_empty():
        raise DataError(
            f"No rule holds for {least} {subject.symbols.per}s with a confidence of 30%. "
            "Look for rarer ones with `desirepath mine rules --min-support`."
        )
    notes["grounds"]["rules"] = subject.ground(min_support=least, stopped_by=found.stopped_by)
    return {"rules": found.frame.sort("lift", descending=True).head(200)}


def _contrast(workspace: Workspace, settings: Settings, notes: dict[str, Any]) -> dict[str, pl.DataFrame]:
    subject = open_subject(workspace.folder, Selection(by=settings.behaviour.by, per="user"), "paths")
    goal = goal_action(subject.sequences, settings.behaviour.goal)
    groups = groups_of(subject, f"did:{goal}" if goal else f"since:{_middle(subject)}")
    names, sizes = groups.sizes
    search = MiningConfig(min_support=0.05, max_length=4, max_seconds=settings.behaviour.max_seconds)
    table = contrast(groups.database, groups.labels.tolist(), ContrastConfig(mining=search))
    notes |= {"groups": names, "group_sizes": sizes}
    notes["grounds"]["contrast"] = subject.ground(more=" ".join(groups.notes))
    return {"contrast": table}


def _middle(subject: Subject) -> str:
    """The day in the middle of the events."""
    moment = float(np.median(np.asarray(subject.database.time_s)))
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


def _retention(subject: Subject, notes: dict[str, Any]) -> dict[str, pl.DataFrame]:
    time_s = subject.database.time_s
    days = float(time_s.max() - time_s.min()) / 86_400.0
    period = "day" if days < 21 else "week" if days < 270 else "month"
    notes["period"] = period
    notes["grounds"]["retention"] = subject.ground()
    return {"retention": retention(subject.database, RetentionConfig(period=period, n_periods=12))}  # type: ignore[arg-type]


def _people(
    workspace: Workspace, settings: Settings, notes: dict[str, Any], progress: Progress
) -> dict[str, pl.DataFrame]:
    found = found_segments(workspace, settings, progress)
    log = EventLog(workspace.events).scan()
    classes = class_sizes(user_classes(log, found.as_of, settings.classes).collect())
    placed = found.members.drop_nulls(["x", "y"])
    notes["is_stable"] = found.is_stable
    notes["grounds"] |= {
        name: {"n_users": len(found.members)}
        for name in ("segments", "members", "marks", "moves", "activity")
    }
    return {
        "segments": found.table,
        "members": placed.sample(min(3000, len(placed)), seed=0),
        "marks": found.marks,
        "moves": moves_of(workspace, settings, found),
        "activity": classes,
    }
