# SPDX-License-Identifier: Apache-2.0
"""What is known of each user as blocks of numbers in their own units: the input of segments.

It joins features of events and items with whatever is handed in (patterns held, model embeddings)
and scales nothing. Segments learn from it; nothing at or after its moment is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, ShapeError, nearest
from desirepath.features import (
    ActivityConfig,
    FeatureConfig,
    InterestConfig,
    RhythmConfig,
    SessionConfig,
    before,
    interests,
    user_features,
)
from desirepath.profiles.attributes import label_attributes, traits
from desirepath.schema import ACTION, ITEM, USER, VALUE

Kind = Literal["share", "number", "presence", "vector"]
Frame = pl.LazyFrame | pl.DataFrame
Columns = Mapping[str, tuple[str, ...]]

LEVELS = ("n_events", "active_days", "n_items", "events_per_session", "session_s_mean")
"""Columns of the block "level": how much."""
AGES = ("recency_days", "tenure_days")
"""Columns of the block "age": since when and how lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMatrix:
    """Columns handed in by another room, such as patterns held or a model's embeddings."""

    users: pl.Series
    """(U,) ids of the rows, each once."""
    values: NDArray[Any] | sp.csr_array
    """(U, F): 0 and 1 in a sparse matrix, or numbers in an array."""
    names: tuple[str, ...] = ()
    """(F,) what people call each column; may be empty for embeddings."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[0] != len(self.users):
            raise ShapeError(
                f"A user matrix must have a row for each of its {len(self.users)} users; "
                f"its shape is {self.values.shape}."
            )
        if self.names and len(self.names) != self.values.shape[1]:
            raise ShapeError(
                f"A user matrix must have a name a column; {len(self.names)} for {self.values.shape[1]}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Columns of one kind: rows are the users of the vectors."""

    name: str
    """Such as "interest:category", "action", "hour", "weekday", "level", "pattern", "embedding"."""
    kind: Kind
    """share: parts of a user's events, at most 1 in all. number: counts, days, seconds. presence: 0 and 1,
    sparse. vector: coordinates without a meaning of their own."""
    columns: tuple[str, ...]
    values: NDArray[np.float32] | sp.csr_array
    """(U, F); NaN where a number is unknown."""
    evidence: NDArray[np.float32] | None = None
    """(U,) events, or for rhythms sittings, behind the shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserVectors:
    """Users and their blocks as of one moment."""

    as_of: datetime
    users: pl.Series
    """(U,) ids, sorted."""
    blocks: tuple[Block, ...]
    table: pl.DataFrame
    """The features that were read, one row a user in the same order, with rfm scores."""

    def __len__(self) -> int:
        """Number of users."""
        return len(self.users)

    @property
    def columns(self) -> Columns:
        """The columns of each block by its name; pass it as `like=` to get the same for another moment."""
        return {block.name: block.columns for block in self.blocks}

    def block(self, name: str) -> Block:
        """The block of that name.

        Raises:
            DataError: there is none.
        """
        for block in self.blocks:
            if block.name == name:
                return block
        raise DataError(f"These vectors have no block '{name}'. {nearest(name, self.columns)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorConfig:
    """What a user's vector tells."""

    attributes: tuple[str, ...] | None = None
    """Columns of the items' table whose labels are interests; None: those that look like labels."""
    separator: str | None = "|"
    """What parts several labels in one text; None: the text is one label."""
    max_labels: int = 40
    """Most labels of one attribute, those met by most users; at least 2."""
    half_life_days: float = 90.0
    """Days after which an event weighs half in an interest; above 0."""
    n_items: int | None = None
    """Items whose having been met describes a user, those met by most; 0 for none; None: 500 where
    no attribute tells interests, else 0."""
    max_actions: int = 12
    """Most actions told apart, the most frequent; at least 1."""
    tz: str = "UTC"
    """Clock of hours and weekdays, an IANA name."""
    sessions: SessionConfig = field(default_factory=SessionConfig)
    """What ends a session."""
    value_actions: tuple[str, ...] = ()
    """Actions whose `value` is summed as what a user is worth; empty leaves value out."""

    def __post_init__(self) -> None:
        if self.max_labels < 2:
            raise ConfigError(f"max_labels must be at least 2; got {self.max_labels}.")
        if self.max_actions < 1:
            raise ConfigError(f"max_actions must be at least 1; got {self.max_actions}.")
        if not self.half_life_days > 0:
            raise ConfigError(f"half_life_days must be above 0 days; got {self.half_life_days}.")
        if self.n_items is not None and self.n_items < 0:
            raise ConfigError(f"n_items must be at least 0, or None; got {self.n_items}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What may be known besides the events; whatever is None is left out of the vectors."""

    items: Frame | None = None
    """The items' table: item_id and attributes."""
    users: Frame | None = None
    """The users' table: user_id and traits, which describe segments but do not make them."""
    patterns: UserMatrix | None = None
    """Who holds which pattern: 0 and 1, sparse, named."""
    embeddings: UserMatrix | None = None
    """A model's vector of each user."""


def user_vectors(
    events: Frame,
    as_of: datetime,
    config: VectorConfig | None = None,
    beside: Beside | None = None,
    like: Columns | None = None,
) -> UserVectors:
    """The vectors of all users with an event before `as_of`; nothing at or after it is used.

    Args:
        events: canonical events.
        as_of: the moment; must bear a time zone.
        config: which labels, actions and items are told apart.
        beside: items, users, patterns and embeddings.
        like: columns of other vectors (`UserVectors.columns`, `Segments.columns`); the blocks then
            have exactly these, so that users can be assigned to segments found earlier.

    Raises:
        DataError: an attribute is not in the items' table; see also `user_features`.
        TooLittleData: no event lies before `as_of`.

    Cost: that of `user_features` (one sort for sessions) and of `interests` for each attribute.
    """
    config, beside = config or VectorConfig(), beside or Beside()
    table = user_features(_priced(events, config), as_of, _features(config, like))
    users = table.get_column(USER)
    rows = pl.DataFrame({USER: users}).with_row_index("row")
    blocks = _interest_blocks(events, as_of, config, beside, rows, like)
    wanted = config.n_items if config.n_items is not None else (0 if blocks else 500)
    if wanted and (like is None or "item" in like):
        blocks.append(_item_block(events, as_of, wanted, rows, like))
    blocks += _habit_blocks(table)
    if beside.patterns is not None:
        blocks.append(_handed(beside.patterns, rows, "pattern"))
    if beside.embeddings is not None:
        blocks.append(_handed(beside.embeddings, rows, "embedding"))
    for name, names, values in traits(events, as_of, beside.users, rows, like):
        blocks.append(Block(name=name, kind="presence", columns=names, values=values))
    return UserVectors(as_of=as_of, users=users, blocks=tuple(blocks), table=table)


def _priced(events: Frame, config: VectorConfig) -> pl.LazyFrame:
    """The events with `value` only on the actions that earn it."""
    log = events.lazy()
    if not config.value_actions:
        return log
    earns = pl.col(ACTION).is_in(list(config.value_actions))
    return log.with_columns(pl.when(earns).then(pl.col(VALUE)).otherwise(None).alias(VALUE))


def _features(config: VectorConfig, like: Columns | None) -> FeatureConfig:
    return FeatureConfig(
        activity=ActivityConfig(
            actions=tuple(like["action"]) if like and "action" in like else None,
            max_actions=config.max_actions,
            value=VALUE if config.value_actions else None,
        ),
        sessions=config.sessions,
        dwell=None,
        rhythm=RhythmConfig(tz=config.tz, strength=0.0),
    )


def _interest_blocks(
    events: Frame,
    as_of: datetime,
    config: VectorConfig,
    beside: Beside,
    rows: pl.DataFrame,
    like: Columns | None,
) -> list[Block]:
    if beside.items is None:
        return []
    attributes = config.attributes
    if like is not None:
        attributes = tuple(name.split(":", 1)[1] for name in like if name.startswith("interest:"))
    elif attributes is None:
        attributes = label_attributes(beside.items, config.separator)
    blocks = []
    for attribute in attributes:
        asked = InterestConfig(
            attribute=attribute, separator=config.separator, half_life_days=config.half_life_days
        )
        told = interests(events, beside.items, as_of, asked).collect(engine="streaming")
        known = like.get(f"interest:{attribute}") if like is not None else None
        blocks.append(_interest_block(told, f"interest:{attribute}", rows, known, config.max_labels))
    return [block for block in blocks if block.columns]


def _interest_block(
    told: pl.DataFrame, name: str, rows: pl.DataFrame, known: tuple[str, ...] | None, limit: int
) -> Block:
    if known is None:
        met = told.group_by("label").len().sort("len", "label", descending=[True, False]).head(limit)
        known = tuple(sorted(met.get_column("label").to_list()))
    cells = told.join(rows, on=USER).join(
        pl.DataFrame({"label": known}, schema={"label": pl.String}).with_row_index("column"), on="label"
    )
    values = np.zeros((rows.height, len(known)), np.float32)
    values[cells["row"].to_numpy(), cells["column"].to_numpy()] = cells["share_long"].to_numpy()
    counts = told.group_by(USER).agg(pl.col("n_events").sum()).join(rows, on=USER)
    evidence = np.zeros(rows.height, np.float32)
    evidence[counts["row"].to_numpy()] = counts["n_events"].to_numpy()
    return Block(name=name, kind="share", columns=known, values=values, evidence=evidence)


def _item_block(
    events: Frame, as_of: datetime, limit: int, rows: pl.DataFrame, like: Columns | None
) -> Block:
    pairs = before(events, as_of).select(USER, ITEM).unique()
    if like is None:
        met = pairs.group_by(ITEM).len().sort("len", ITEM, descending=[True, False]).head(limit)
        names = tuple(met.collect(engine="streaming").get_column(ITEM).drop_nulls().to_list())
    else:
        names = like["item"]
    places = pl.LazyFrame({ITEM: names}, schema={ITEM: pl.String}).with_row_index("column")
    cells = pairs.join(places, on=ITEM).join(rows.lazy(), on=USER).select("row", "column")
    found = cells.collect(engine="streaming").sort("row", "column")
    values = sp.csr_array(
        (np.ones(found.height, np.float32), (found["row"].to_numpy(), found["column"].to_numpy())),
        shape=(rows.height, len(names)),
    )
    return Block(name="item", kind="presence", columns=names, values=values)


def _habit_blocks(table: pl.DataFrame) -> list[Block]:
    evidence = table.get_column("n_events").to_numpy().astype(np.float32)
    actions = [c for c in table.columns if c.startswith("n_events:")]
    shares = table.select(pl.col(actions) / pl.col("n_events")).to_numpy().astype(np.float32)
    hours, days = [f"hour_{h:02d}" for h in range(24)], [f"weekday_{d}" for d in range(1, 8)]
    blocks = []
    if len(actions) > 1:
        names = tuple(c.split(":", 1)[1] for c in actions)
        blocks.append(Block(name="action", kind="share", columns=names, values=shares, evidence=evidence))
    # A hundred events of one sitting are one choice of a time: sittings, not events, are what tells a
    # rhythm. Counting events would part people who came once by the weekday of that once.
    for name, columns, sittings in (("hour", hours, "n_sessions"), ("weekday", days, "active_days")):
        values = table.select(columns).to_numpy().astype(np.float32)
        times = table.get_column(sittings).to_numpy().astype(np.float32)
        blocks.append(Block(name=name, kind="share", columns=tuple(columns), values=values, evidence=times))
    for name, wanted in (("level", LEVELS), ("age", AGES), ("value", ("value_sum", "value_mean"))):
        columns = [c for c in wanted if c in table.columns]
        if columns:
            numbers = table.select(pl.col(columns).cast(pl.Float32)).to_numpy()
            blocks.append(Block(name=name, kind="number", columns=tuple(columns), values=numbers))
    return blocks


def _handed(given: UserMatrix, rows: pl.DataFrame, name: str) -> Block:
    """The matrix with its rows in the order of the vectors; users that it lacks have none of it."""
    places = rows.join(
        pl.DataFrame({USER: given.users}).with_row_index("source"), on=USER, how="left", maintain_order="left"
    ).get_column("source")
    if places.len() != rows.height:
        raise DataError(f"Each user must come once in the {name}s that are handed in; some come again.")
    has = places.is_not_null().to_numpy()
    source = places.fill_null(0).to_numpy().astype(np.int64)
    width = given.values.shape[1]
    columns = given.names or tuple(f"{name}_{i}" for i in range(width))
    if sp.issparse(given.values):
        picked = sp.csr_array(given.values).astype(np.float32)[source]
        values: Any = sp.csr_array(sp.diags_array(has.astype(np.float32)) @ picked)
        values.eliminate_zeros()
        values.data[:] = 1.0
        return Block(name=name, kind="presence", columns=columns, values=values)
    numbers = np.asarray(given.values, np.float32)[source]
    numbers[~has] = np.nan
    return Block(name=name, kind="vector", columns=columns, values=numbers)
