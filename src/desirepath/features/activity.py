# SPDX-License-Identifier: Apache-2.0
"""How much, how recently and since when: counts, rates, recency, frequency and value as of a moment.

The same columns serve users, items or any other key. It knows canonical events only; the table of
a user's features and the report are made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import log

import polars as pl

from desirepath.errors import ConfigError
from desirepath.features.moment import US_PER_DAY, age_days, before, decay, require, within
from desirepath.schema import ACTION, ITEM, TIME, USER


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityConfig:
    """Which windows and actions are counted."""

    windows_days: tuple[float, ...] = (1, 7, 30)
    """Lengths in days of the windows that end at the moment; each above 0, none twice."""
    actions: tuple[str, ...] | None = None
    """Actions with columns of their own; None: the `max_actions` most frequent before the moment."""
    max_actions: int = 12
    """Most actions taken from the log; at least 0. The totals count all actions in any case."""
    half_life_days: float = 30.0
    """Half-life of the slow decayed rate, in days; above 0."""
    short_half_life_days: float = 7.0
    """Half-life of the fast decayed rate, in days; above 0."""
    value: str | None = None
    """Column of amounts, ratings or quantities to be summed, such as "value"; None leaves value out."""

    def __post_init__(self) -> None:
        if any(not days > 0 for days in self.windows_days) or len(set(self.windows_days)) < len(
            self.windows_days
        ):
            raise ConfigError(f"windows_days must be different and above 0; got {self.windows_days}.")
        if self.actions is not None and len(set(self.actions)) < len(self.actions):
            raise ConfigError(f"actions must be different; got {self.actions}.")
        if self.max_actions < 0:
            raise ConfigError(f"max_actions must be at least 0; got {self.max_actions}.")
        for name in ("half_life_days", "short_half_life_days"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0 days; got {getattr(self, name)}.")


def frequent_actions(events: pl.LazyFrame | pl.DataFrame, as_of: datetime, limit: int) -> tuple[str, ...]:
    """The `limit` most frequent actions before `as_of`, most frequent first, ties by name."""
    found = (
        before(events, as_of)
        .group_by(ACTION)
        .len()
        .drop_nulls()
        .sort("len", ACTION, descending=[True, False])
        .head(limit)
        .collect(engine="streaming")
    )
    return tuple(found.get_column(ACTION).to_list())


def count_columns(as_of: datetime, config: ActivityConfig, actions: Sequence[str]) -> list[pl.Expr]:
    """Aggregations: events in all, per window, per action, and per action and window.

    `n_events`, `n_events_7d`, `n_events:VIEW`, `n_events_7d:VIEW` (events) and, for windows,
    `events_per_day_7d`, `events_per_day_7d:VIEW` (events a day). The part after the colon is the
    action as the log writes it.
    """
    columns = [pl.len().cast(pl.Int64).alias("n_events")]
    columns += [_count(pl.col(ACTION) == action, f"n_events:{action}") for action in actions]
    for days in config.windows_days:
        recent = within(as_of, days)
        for suffix, rows in [("", recent)] + [(f":{a}", recent & (pl.col(ACTION) == a)) for a in actions]:
            columns.append(_count(rows, f"n_events_{days:g}d{suffix}"))
            columns.append((_count(rows, "") / days).alias(f"events_per_day_{days:g}d{suffix}"))
    return columns


def _count(rows: pl.Expr, name: str) -> pl.Expr:
    return rows.sum().cast(pl.Int64).alias(name)


def recency_columns(as_of: datetime, other: str = ITEM) -> list[pl.Expr]:
    """Aggregations: how recent, since when, how regular.

    recency_days (last event to the moment), tenure_days (first event to the moment),
    gap_days_mean (mean days between one event and the next; null for one event), active_days
    (different UTC dates with an event), n_items or n_users (different `other`), repeat_share
    (share of events on something met before: 1 - different / events).
    """
    span = (pl.col(TIME).max() - pl.col(TIME).min()).dt.total_microseconds() / US_PER_DAY
    different = pl.col(other).n_unique()
    return [
        age_days(as_of).min().alias("recency_days"),
        age_days(as_of).max().alias("tenure_days"),
        pl.when(pl.len() > 1).then(span / (pl.len() - 1)).otherwise(None).alias("gap_days_mean"),
        pl.col(TIME).dt.date().n_unique().cast(pl.Int64).alias("active_days"),
        different.cast(pl.Int64).alias("n_items" if other == ITEM else "n_users"),
        (1 - different / pl.len()).alias("repeat_share"),
    ]


def decayed_columns(as_of: datetime, config: ActivityConfig) -> list[pl.Expr]:
    """Aggregations: the present rate with old events fading, and its drift.

    With weights w = 0.5 ** (age / h), ln(2) / h * sum(w) estimates the events a day of a steady
    Poisson stream without bias, since the weights integrate to h / ln(2) days.
    `rate_slow`, `rate_fast` (events a day for the two half-lives) and `momentum` = fast - slow.
    """
    slow = decay(as_of, config.half_life_days).sum() * (log(2) / config.half_life_days)
    fast = decay(as_of, config.short_half_life_days).sum() * (log(2) / config.short_half_life_days)
    return [slow.alias("rate_slow"), fast.alias("rate_fast"), (fast - slow).alias("momentum")]


def value_columns(value: str) -> list[pl.Expr]:
    """Aggregations: value_sum, value_mean, n_values (events that bear one), in the column's unit."""
    return [
        pl.col(value).sum().alias("value_sum"),
        pl.col(value).mean().alias("value_mean"),
        pl.col(value).count().cast(pl.Int64).alias("n_values"),
    ]


def activity(
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    config: ActivityConfig | None = None,
    by: str = USER,
) -> pl.LazyFrame:
    """One row a `by` with an event before `as_of`: counts, rates, recency, tenure, value.

    `by` is user_id, item_id or any other column. Cost: one pass; memory grows with the keys and
    their different items and days, not with the events.

    Raises:
        ConfigError, DataError: see `before`; or the value column is absent.
    """
    config = config or ActivityConfig()
    log_before = before(events, as_of)
    require(log_before, by, USER, ITEM, ACTION, *([config.value] if config.value else []))
    actions = config.actions
    if actions is None:
        actions = frequent_actions(events, as_of, config.max_actions)
    columns = count_columns(as_of, config, actions)
    columns += recency_columns(as_of, other=USER if by == ITEM else ITEM)
    columns += decayed_columns(as_of, config)
    if config.value:
        columns += value_columns(config.value)
    return log_before.filter(pl.col(by).is_not_null()).group_by(by).agg(columns)


def rfm(features: pl.DataFrame, value: str = "value_sum", n_bins: int = 5) -> pl.DataFrame:
    """The table with recency, frequency and value scores, each 1 (worst) to `n_bins` (best).

    A score is ceil(n_bins * rank / n), with tied rows sharing the highest rank of the tie on
    frequency and value, so that equal rows never differ. Reads recency_days, n_events and, where it
    exists, `value`. Adds rfm_recency, rfm_frequency, rfm_value.

    >>> table = pl.DataFrame({"recency_days": [1.0, 9.0], "n_events": [5, 5]})
    >>> rfm(table, n_bins=2).select("rfm_recency", "rfm_frequency").rows()
    [(2, 2), (1, 2)]
    """
    if n_bins < 2:
        raise ConfigError(f"n_bins must be at least 2; got {n_bins}.")
    require(features.lazy(), "recency_days", "n_events")

    def score(column: str, name: str, descending: bool) -> pl.Expr:
        rank = pl.col(column).rank("max", descending=descending)
        return (rank * n_bins / pl.col(column).count()).ceil().cast(pl.Int8).alias(name)

    columns = [score("recency_days", "rfm_recency", True), score("n_events", "rfm_frequency", False)]
    if value in features.columns:
        columns.append(score(value, "rfm_value", False))
    return features.with_columns(columns)
