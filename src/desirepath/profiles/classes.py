# SPDX-License-Identifier: Apache-2.0
"""Activity classes and RFM: two plain sortings of users that stand beside segments.

Each follows from when a user first came, last came, how often and for how much. It knows canonical
events only; portraits and reports read its table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from desirepath.errors import ConfigError
from desirepath.features import before, rfm
from desirepath.features.moment import age_days, require
from desirepath.schema import ACTION, USER, VALUE

ACTIVITY_CLASSES: Final = ("new", "active", "cooling", "lost")
RFM_CLASSES: Final = ("champions", "loyal", "promising", "occasional", "at risk", "hibernating")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassConfig:
    """Where the classes end, in days before the moment."""

    new_days: float = 7.0
    """A user whose first event is younger than this is new, while not yet cooling; above 0."""
    cooling_days: float = 14.0
    """A user whose last event is this old or older is cooling; above 0."""
    lost_days: float = 30.0
    """A user whose last event is this old or older is lost; above cooling_days."""
    value_actions: tuple[str, ...] = ()
    """Actions whose `value` counts as what a user is worth; empty leaves value out."""

    def __post_init__(self) -> None:
        if not self.new_days > 0:
            raise ConfigError(f"new_days must be above 0; got {self.new_days}.")
        if not 0 < self.cooling_days < self.lost_days:
            raise ConfigError(
                f"0 < cooling_days < lost_days must hold; got {self.cooling_days} and {self.lost_days}."
            )


def user_classes(
    events: pl.LazyFrame | pl.DataFrame, as_of: datetime, config: ClassConfig | None = None
) -> pl.LazyFrame:
    """One row a user with an event before `as_of`, sorted by user_id, with the columns of `classify`.

    Also n_events, recency_days, tenure_days and, where value actions are named, value_sum. One pass over
    three columns; scores are ranks among all users, so one user's need the whole log.
    """
    config = config or ClassConfig()
    log = before(events, as_of)
    columns = [
        pl.len().cast(pl.Int64).alias("n_events"),
        age_days(as_of).min().alias("recency_days"),
        age_days(as_of).max().alias("tenure_days"),
    ]
    if config.value_actions:
        require(log, ACTION, VALUE)
        earned = pl.col(VALUE).filter(pl.col(ACTION).is_in(list(config.value_actions)))
        columns.append(earned.sum().alias("value_sum"))
    told = log.filter(pl.col(USER).is_not_null()).group_by(USER).agg(columns).sort(USER)
    return told.map_batches(lambda table: classify(table, config), schema=_schema(told, config))


def classify(features: pl.DataFrame, config: ClassConfig | None = None) -> pl.DataFrame:
    """The table with its classes: rfm scores (of value if value_sum is there), rfm_class, activity_class.

    Activity: lost when the last event is `lost_days` old or older; else cooling when `cooling_days` or
    older; else new when the first event is younger than `new_days`; else active.

    RFM, from the scores R and F of `features.rfm` (quintiles, 5 best): champions R >= 4, F >= 4; loyal
    R = 3, F >= 4; promising R >= 4, F <= 3; occasional R = 3, F <= 3; at risk R <= 2, F >= 3; hibernating
    R <= 2, F <= 2. Every pair of scores falls into exactly one. Value has its score and no part in it.

    >>> table = pl.DataFrame({"user_id": ["a", "b"], "recency_days": [1.0, 40.0],
    ...                       "tenure_days": [3.0, 90.0], "n_events": [9, 2]})
    >>> classify(table).select("activity_class", "rfm_class").rows()
    [('new', 'champions'), ('lost', 'occasional')]
    """
    config = config or ClassConfig()
    require(features.lazy(), "recency_days", "tenure_days", "n_events")
    away, since = pl.col("recency_days"), pl.col("tenure_days")
    activity = (
        pl.when(away >= config.lost_days)
        .then(pl.lit("lost"))
        .when(away >= config.cooling_days)
        .then(pl.lit("cooling"))
        .when(since < config.new_days)
        .then(pl.lit("new"))
        .otherwise(pl.lit("active"))
    )
    scored = features if "rfm_recency" in features.columns else rfm(features)
    return scored.with_columns(rfm_class().alias("rfm_class"), activity.alias("activity_class"))


def rfm_class() -> pl.Expr:
    """The RFM class of each row from its columns rfm_recency and rfm_frequency; see `classify`."""
    r, f = pl.col("rfm_recency"), pl.col("rfm_frequency")
    return (
        pl.when((r >= 4) & (f >= 4))
        .then(pl.lit("champions"))
        .when(r >= 4)
        .then(pl.lit("promising"))
        .when((r == 3) & (f >= 4))
        .then(pl.lit("loyal"))
        .when(r == 3)
        .then(pl.lit("occasional"))
        .when(f >= 3)
        .then(pl.lit("at risk"))
        .otherwise(pl.lit("hibernating"))
    )


def class_sizes(classes: pl.DataFrame) -> pl.DataFrame:
    """One row a pair of classes with a user: activity_class, rfm_class, n_users, share; sums to all users."""
    return (
        classes.group_by("activity_class", "rfm_class")
        .agg(pl.len().cast(pl.Int64).alias("n_users"))
        .with_columns((pl.col("n_users") / pl.col("n_users").sum()).alias("share"))
        .sort("n_users", "activity_class", "rfm_class", descending=[True, False, False])
    )


def _schema(told: pl.LazyFrame, config: ClassConfig) -> pl.Schema:
    scores = ["rfm_recency", "rfm_frequency"] + (["rfm_value"] if config.value_actions else [])
    return pl.Schema(
        dict(told.collect_schema())
        | dict.fromkeys(scores, pl.Int8())
        | {"rfm_class": pl.String(), "activity_class": pl.String()}
    )
