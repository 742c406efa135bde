# SPDX-License-Identifier: Apache-2.0
"""Who people are: segments of all users, and the portrait of one user or item."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from desirepath.errors import ConfigError, NotFittedError, WorkspaceError
from desirepath.events.log import EventLog
from desirepath.flows.items import items_table, titles_of
from desirepath.flows.matched import patterns_of_user, user_patterns
from desirepath.flows.progress import Progress, silent
from desirepath.flows.settings import Settings, load_settings
from desirepath.flows.tabulation import Found, answer, drawn
from desirepath.flows.words import Answer, Output
from desirepath.profiles import (
    Beside,
    PortraitConfig,
    Segments,
    Sources,
    UserMatrix,
    UserVectors,
    item_portrait,
    segment,
    track,
    user_classes,
    user_portrait,
    user_vectors,
)
from desirepath.schema import ITEM, TIME
from desirepath.sequences import Queries
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace


def segments(
    folder: Path,
    words: Sequence[str] = (),
    output: Output | None = None,
    progress: Progress = silent,
) -> Answer:
    """Part all users into segments, name them, and say who moved where; kept in the workspace."""
    output = output or Output(k=50)
    workspace = Workspace.open(folder)
    settings = load_settings(folder, words)
    found = found_segments(workspace, settings, progress)
    moved = moves_of(workspace, settings, found)
    classes = user_classes(EventLog(workspace.events).scan(), found.as_of, settings.classes).collect()
    activity = classes.group_by("activity_class").len().sort("len", descending=True)
    notes = [
        "Resampling finds these segments again."
        if found.is_stable
        else "Resampling does not find these segments again: read them as a map, not as kinds of people.",
        "Activity: " + ", ".join(f"{n:,} {name}" for name, n in activity.iter_rows()),
        f"Kept in {workspace.segments}; whom it is about: `desirepath profile {folder} --user ID`.",
    ]
    table = found.table.with_columns(marks=pl.Series(_marks_in_words(found)))
    shown = answer(
        Found(
            table=table, title=f"{len(table)} segments", notes=notes, figure=partial(drawn, "segment", found)
        ),
        output,
    )
    return Answer(
        shown.plain
        | {"is_stable": found.is_stable, "moves": moved.to_dicts(), "choice": found.choice.to_dicts()},
        shown.shown,
    )


def profile(
    folder: Path,
    user: str | None = None,
    item: str | None = None,
    words: Sequence[str] = (),
    progress: Progress = silent,
) -> Answer:
    """The portrait of one user or one item, as of the end of the log."""
    if (user is None) == (item is None):
        raise ConfigError("Name one user or one item: --user ID or --item ID.")
    workspace = Workspace.open(folder)
    settings = load_settings(folder, words)
    log = EventLog(workspace.events).scan()
    as_of = end_of_log(workspace)
    config = PortraitConfig(vectors=settings.vectors, classes=settings.classes)
    sources = Sources(
        items=items_table(workspace),
        users=users_table(workspace),
        segments=Segments.load(workspace.segments) if workspace.segments.exists() else None,
    )
    if item is not None:
        about = Sources(
            items=sources.items, segments=sources.segments, sequences=open_sequences(workspace, progress)
        )
        portrait: Any = item_portrait(item, log, as_of, about, config)
    else:
        assert user is not None
        told = Sources(
            items=sources.items,
            users=sources.users,
            segments=sources.segments,
            patterns=patterns_of_user(workspace, user),
            next_actions=_next_items(workspace, settings, user),
        )
        portrait = user_portrait(user, log, as_of, told, config)
    return Answer(portrait.to_dict(), [portrait.render])


def found_segments(workspace: Workspace, settings: Settings, progress: Progress = silent) -> Segments:
    """The segments as of the end of the log, found anew and kept."""
    title = "Finding segments"
    progress(title, 0.0, "describing users")
    vectors = vectors_as_of(workspace, settings, end_of_log(workspace))
    progress(title, 0.4, f"{len(vectors):,} users")
    found = segment(vectors, settings.segments, titles_of(workspace))
    found.save(workspace.segments)
    progress(title, 1.0, f"{len(found.table)} segments")
    return found


def vectors_as_of(
    workspace: Workspace, settings: Settings, as_of: datetime, like: Segments | None = None
) -> UserVectors:
    """Users as numbers: features and interests, and beside them patterns and embeddings if asked for."""
    asked = set(settings.behaviour.segments_by)
    embeddings = _embeddings(workspace) if "embeddings" in asked else None
    patterns = None
    if "patterns" in asked:
        held = user_patterns(workspace)
        patterns = None if held is None else UserMatrix(users=held[0], values=held[1], names=held[2])
    return user_vectors(
        EventLog(workspace.events).scan(),
        as_of,
        settings.vectors,
        Beside(
            items=items_table(workspace),
            users=users_table(workspace),
            patterns=patterns,
            embeddings=embeddings,
        ),
        like=None if like is None else like.columns,
    )


def moves_of(workspace: Workspace, settings: Settings, found: Segments, share: float = 0.2) -> pl.DataFrame:
    """Who moved between segments in the last `share` of the log's time; empty where it cannot be told."""
    empty = pl.DataFrame(schema={"from": pl.String, "to": pl.String, "n_users": pl.Int64})
    if settings.behaviour.segments_by:
        return empty  # what patterns and models know of users has no earlier state
    first = EventLog(workspace.events).scan().select(pl.col(TIME).min()).collect().item()
    earlier = found.as_of - (found.as_of - first) * share
    vectors = vectors_as_of(workspace, settings, earlier, like=found)
    if not len(vectors):
        return empty
    return track([(earlier, found.assign(vectors)), (found.as_of, found.members)], found.names)


def end_of_log(workspace: Workspace) -> datetime:
    """Right after the last event: as of then, everything is known."""
    last: datetime | None = EventLog(workspace.events).scan().select(pl.col(TIME).max()).collect().item()
    return (last or datetime.now(UTC)) + timedelta(microseconds=1)


def users_table(workspace: Workspace) -> pl.DataFrame | None:
    """The users' table, if one was given."""
    path = workspace.table("users")
    return pl.read_parquet(path) if path.exists() else None


def _embeddings(workspace: Workspace) -> UserMatrix:
    """The transformer's state after each user's history."""
    from desirepath.recommend.versions import TRANSFORMER

    folder = workspace.run(TRANSFORMER)
    if not folder.exists():
        raise WorkspaceError(
            f"Segments by embeddings need a trained model. Run `desirepath train {workspace.folder}`."
        )
    from desirepath.training import Transformer

    sequences = open_sequences(workspace)
    states = Transformer.load(folder).encode(Queries.latest(sequences, np.arange(sequences.n_users)))
    return UserMatrix(users=sequences.users.ids, values=states)


def _next_items(workspace: Workspace, settings: Settings, user: str) -> pl.DataFrame | None:
    """What the chosen model expects next; None while no model was chosen."""
    # Here rather than above: it brings torch, which segments and items' portraits spare.
    from desirepath.flows.recommendation import open_recommender

    try:
        recommender, exclude_seen = open_recommender(workspace, settings)
    except (WorkspaceError, NotFittedError):
        return None
    if recommender.sequences.users.index(user) is None:
        return None
    return recommender.recommend(user, 5, exclude_seen).items.select(ITEM, "probability")


def _marks_in_words(found: Segments, k: int = 3) -> list[str]:
    """The strongest marks of each segment of the table, as text."""
    said = []
    for number in found.table["segment"]:
        own = found.marks.filter((pl.col("segment") == number) & (pl.col("q") < 0.01))
        own = own.sort(pl.col("effect").abs(), descending=True).head(k)
        said.append(", ".join(f"{row['feature']} {row['effect']:+.1f}" for row in own.iter_rows(named=True)))
    return said
