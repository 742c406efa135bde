# SPDX-License-Identifier: Apache-2.0
"""What people care about: shares of an item attribute's labels, long and short term.

It knows canonical events and a table of items with one attribute column (one label, a separated
text such as "drama|crime", or a list). A user's features are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from desirepath.errors import ConfigError
from desirepath.features.moment import US_PER_DAY, before, require
from desirepath.schema import ACTION, ITEM, TIME, TIME_DTYPE, USER


@dataclass(frozen=True, slots=True, kw_only=True)
class InterestConfig:
    """Which attribute, and how fast an interest fades."""

    attribute: str
    """Column of the items' table: text, or a list of texts."""
    separator: str | None = "|"
    """What parts several labels in one text; None: the text is one label. Lists need none."""
    half_life_days: float = 90.0
    """Days after which an event weighs half in the long term; above 0."""
    short_half_life_days: float = 7.0
    """The same for the short term; above 0."""
    action_weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of an event by action, at least 0; an action not named weighs 1."""
    strength: float = 0.0
    """Events that the crowd's shares are worth beside a user's own; 0 leaves shares raw."""

    def __post_init__(self) -> None:
        for name in ("half_life_days", "short_half_life_days"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0 days; got {getattr(self, name)}.")
        if self.separator == "":
            raise ConfigError("separator must be a text of at least one character, or None; got ''.")
        if any(not weight >= 0 for weight in self.action_weights.values()):
            raise ConfigError(f"action_weights must be at least 0; got {dict(self.action_weights)}.")
        if not self.strength >= 0:
            raise ConfigError(f"strength must be at least 0 events; got {self.strength}.")


def item_labels(items: pl.LazyFrame | pl.DataFrame, config: InterestConfig) -> pl.LazyFrame:
    """One row an item and label: item_id, label, part (1 / labels of the item).

    Labels lose surrounding blanks; empty ones and repeats within an item are dropped.

    >>> films = pl.DataFrame({"item_id": ["a", "b"], "genres": ["Drama| Crime", None]})
    >>> item_labels(films, InterestConfig(attribute="genres")).sort("label").collect().rows()
    [('a', 'Crime', 0.5), ('a', 'Drama', 0.5)]
    """
    table = items.lazy()
    require(table, ITEM, config.attribute)
    labels = pl.col(config.attribute)
    kind = table.collect_schema()[config.attribute]
    if not isinstance(kind, pl.List | pl.Array):
        text = labels.cast(pl.String)
        labels = text.str.split(config.separator) if config.separator else pl.concat_list(text)
    return (
        table.select(ITEM, labels.alias("label"))
        .explode("label")
        .with_columns(pl.col("label").cast(pl.String).str.strip_chars())
        .filter(pl.col("label").is_not_null() & (pl.col("label") != ""))
        .unique()
        .with_columns((1.0 / pl.len().over(ITEM)).alias("part"))
    )


def interests(
    events: pl.LazyFrame | pl.DataFrame,
    items: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    config: InterestConfig,
) -> pl.LazyFrame:
    """One row a user and label: n_events, share_long, share_short, lift.

    An event weighs action_weight * 0.5 ** (age / half_life) and is split evenly among its item's
    labels. A share is the label's weight over the user's weight, so that a user's shares sum to 1;
    ages are counted from the user's newest event, which leaves shares as they are but keeps them from
    underflow in old histories. `lift` is share_long over the crowd's (the mean of all users' shares,
    each user counting once). With `strength` m, a share becomes (w + m c) / (W + m), c the crowd's, W
    the user's weight; only labels that the user met are listed, so smoothed shares sum to less than 1.
    Items without a label, and events of weight 0, have no part in it.

    Cost: one pass over the events down to (user, item) pairs; labels meet pairs, not events.
    """
    log = before(events, as_of)
    require(log, USER, ITEM, ACTION)
    if config.action_weights:
        weight = pl.col(ACTION).replace_strict(
            dict(config.action_weights), default=1.0, return_dtype=pl.Float64
        )
    else:
        weight = pl.lit(1.0)
    labels = item_labels(items, config)
    known = (
        log.select(USER, ITEM, TIME, weight.alias("weight"))
        .filter(pl.col("weight") > 0)
        .join(labels.select(ITEM).unique(), on=ITEM, how="semi")
    )
    newest = known.group_by(USER).agg(pl.col(TIME).max().alias("newest"))
    age = (pl.col("newest") - pl.col(TIME)).dt.total_microseconds() / US_PER_DAY
    halves = {"long": config.half_life_days, "short": config.short_half_life_days}
    pairs = (
        known.join(newest, on=USER)
        .group_by(USER, ITEM, "newest")
        .agg(
            pl.len().alias("n"),
            *(
                (pl.col("weight") * pl.lit(0.5) ** (age / days)).sum().alias(name)
                for name, days in halves.items()
            ),
        )
    )
    felt = (
        pairs.join(labels, on=ITEM)
        .group_by(USER, "newest", "label")
        .agg(
            pl.col("n").sum().cast(pl.Int64).alias("n_events"),
            *((pl.col(name) * pl.col("part")).sum() for name in halves),
        )
    )
    return _shares(felt, as_of, config, halves)


def _shares(
    felt: pl.LazyFrame, as_of: datetime, config: InterestConfig, halves: Mapping[str, float]
) -> pl.LazyFrame:
    whole = felt.group_by(USER).agg(*(pl.col(name).sum().alias(f"all_{name}") for name in halves))
    raw = felt.join(whole, on=USER).with_columns(
        *((pl.col(name) / pl.col(f"all_{name}")).alias(f"raw_{name}") for name in halves)
    )
    n_users = raw.select(pl.col(USER).n_unique().alias("n_users"))
    crowd = (
        raw.group_by("label")
        .agg(*(pl.col(f"raw_{name}").sum().alias(f"crowd_{name}") for name in halves))
        .join(n_users, how="cross")
        .with_columns(*(pl.col(f"crowd_{name}") / pl.col("n_users") for name in halves))
    )
    idle = (pl.lit(as_of, dtype=TIME_DTYPE) - pl.col("newest")).dt.total_microseconds() / US_PER_DAY
    m = config.strength
    shares = []
    for name, days in halves.items():
        own = pl.col(f"all_{name}") * pl.lit(0.5) ** (idle / days)
        mixed = (pl.col(f"raw_{name}") * own + m * pl.col(f"crowd_{name}")) / (own + m)
        shares.append((mixed if m > 0 else pl.col(f"raw_{name}")).alias(f"share_{name}"))
    return (
        raw.join(crowd, on="label")
        .with_columns(shares)
        .select(
            USER,
            "label",
            "n_events",
            "share_long",
            "share_short",
            (pl.col("share_long") / pl.col("crowd_long")).alias("lift"),
        )
    )


def interest_summary(shares: pl.LazyFrame | pl.DataFrame) -> pl.LazyFrame:
    """One row a user of `interests`: what is first, how wide, and how much it moved.

    top_interest (label of the greatest long share, ties by name), interest_entropy_bits (of the long
    shares made to sum to 1: 0 for one label), interest_drift (total variation distance between short
    and long shares, 0 same to 1 disjoint), n_labels.
    """
    long, short = pl.col("share_long"), pl.col("share_short")
    p, q = long / long.sum(), short / short.sum()
    bits = pl.when(p > 0).then(-p * p.log(2)).otherwise(0.0)
    return (
        shares.lazy()
        .group_by(USER)
        .agg(
            pl.col("label")
            .sort_by("share_long", "label", descending=[True, False])
            .first()
            .alias("top_interest"),
            bits.sum().alias("interest_entropy_bits"),
            (0.5 * (p - q).abs().sum()).alias("interest_drift"),
            pl.len().cast(pl.Int64).alias("n_labels"),
        )
    )
