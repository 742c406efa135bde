# SPDX-License-Identifier: Apache-2.0
"""One table of features for all users, or all items, as of one moment.

It joins what the other files of this room tell; it computes nothing itself. Profiles, models and
people read the tables; `glossary.describe` names their units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from desirepath.errors import ConfigError, TooLittleData
from desirepath.features.activity import ActivityConfig, activity, rfm
from desirepath.features.dwell import DwellConfig, dwell_by, dwell_columns, timed
from desirepath.features.interests import InterestConfig, interest_summary, interests
from desirepath.features.rates import BetaPrior, RateConfig, fit_prior, smoothed, trials
from desirepath.features.rhythm import RhythmConfig, rhythm
from desirepath.features.sessions import SessionConfig, marked, session_columns
from desirepath.schema import ITEM, USER


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """Which features a table holds."""

    activity: ActivityConfig = field(default_factory=ActivityConfig)
    """Windows, actions, half-lives, value column."""
    sessions: SessionConfig | None = field(default_factory=SessionConfig)
    """What ends a session; None leaves sessions out."""
    dwell: DwellConfig | None = field(default_factory=DwellConfig)
    """Where durations come from; None leaves dwell out."""
    rhythm: RhythmConfig | None = field(default_factory=RhythmConfig)
    """Clock and smoothing of hours and weekdays; None leaves them out."""
    rates: tuple[RateConfig, ...] = ()
    """Rates to tell, such as RateConfig(trial="VIEW", success="LIKE"); each needs its actions named."""
    interests: InterestConfig | None = None
    """Attribute of interest; needs the items' table. None leaves interests out."""
    max_labels: int = 20
    """Most labels with a column of their own, those met by most users; at least 0."""

    def __post_init__(self) -> None:
        if self.max_labels < 0:
            raise ConfigError(f"max_labels must be at least 0; got {self.max_labels}.")
        names = [rate.name for rate in self.rates]
        if len(set(names)) < len(names):
            raise ConfigError(f"Two rates must not bear one name; got {names}.")


def user_features(
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    config: FeatureConfig | None = None,
    items: pl.LazyFrame | pl.DataFrame | None = None,
) -> pl.DataFrame:
    """One row a user with an event before `as_of`, sorted by user_id; see `glossary.describe`.

    Nothing at or after `as_of` is used. Runs on the streaming engine: memory grows with users, items
    and pairs of them, while the sort of sessions may spill. A user without trials of a rate has
    n_trials 0 and the prior's mean; one without a known label has null interests.

    Raises:
        ConfigError: interests are asked for without `items`.
        TooLittleData: no event lies before `as_of`, or a rate's trial action never occurs.
    """
    config = config or FeatureConfig()
    if config.interests and items is None:
        raise ConfigError("Interests need the items' table; pass items=.")
    parts = [activity(events, as_of, config.activity)]
    if config.sessions:
        # Sessions and dwell need the same sort, the dearest step here: they share it.
        told, columns = marked(events, as_of, config.sessions), session_columns()
        if config.dwell:
            told, columns = timed(told, config.dwell), columns + dwell_columns()
        parts.append(told.group_by(USER).agg(columns))
    elif config.dwell:
        parts.append(dwell_by(events, as_of, config.dwell))
    if config.rhythm:
        parts.append(rhythm(events, as_of, config.rhythm))
    table = rfm(_joined(parts, USER, as_of))
    for rate in config.rates:
        table = _with_rate(table, events, as_of, rate, USER)
    if config.interests and items is not None:
        shares = interests(events, items, as_of, config.interests).collect(engine="streaming")
        table = table.join(interest_summary(shares).collect(), on=USER, how="left")
        wide = _wide(shares, config.max_labels)
        table = table.join(wide, on=USER, how="left") if wide.width > 1 else table
    return table.sort(USER)


def item_features(
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    config: FeatureConfig | None = None,
) -> pl.DataFrame:
    """One row an item with an event before `as_of`, sorted by item_id; see `glossary.describe`.

    The same columns as a user's where they make sense: activity (with `n_users`), dwell, rhythm and
    rates. Raises what `user_features` raises.
    """
    config = config or FeatureConfig()
    parts = [activity(events, as_of, config.activity, by=ITEM)]
    if config.dwell:
        parts.append(dwell_by(events, as_of, config.dwell, config.sessions, by=ITEM))
    if config.rhythm:
        parts.append(rhythm(events, as_of, config.rhythm, by=ITEM))
    table = _joined(parts, ITEM, as_of)
    for rate in config.rates:
        table = _with_rate(table, events, as_of, rate, ITEM)
    return table.sort(ITEM)


def _joined(parts: Sequence[pl.LazyFrame], by: str, as_of: datetime) -> pl.DataFrame:
    tables = pl.collect_all(list(parts), engine="streaming")
    table = tables[0]
    if table.is_empty():
        raise TooLittleData(f"Features need an event before {as_of.isoformat()}; the log has none.")
    for other in tables[1:]:
        table = table.join(other, on=by, how="left")
    return table


def _with_rate(
    table: pl.DataFrame, events: pl.LazyFrame | pl.DataFrame, as_of: datetime, config: RateConfig, by: str
) -> pl.DataFrame:
    counts = trials(events, as_of, config, by)
    prior = _prior(counts, config, as_of)
    names = ("n_trials", "n_successes")
    full = table.select(by).join(counts, on=by, how="left").with_columns(pl.col(*names).fill_null(0))
    told = smoothed(full, prior, config.interval)
    rename: Callable[[str], str] = lambda name: name if name == by else f"{name}:{config.name}"  # noqa: E731
    return table.join(told.rename(rename), on=by, how="left")


def _prior(counts: pl.DataFrame, config: RateConfig, as_of: datetime) -> BetaPrior:
    if counts.is_empty():
        raise TooLittleData(
            f"{config.name} needs a trial; no event of '{config.trial}' lies before {as_of.isoformat()} "
            "(or none is old enough). Check the action's name."
        )
    return fit_prior(
        counts.get_column("n_successes").to_numpy(), counts.get_column("n_trials").to_numpy(), config.fit
    )


def _wide(shares: pl.DataFrame, limit: int) -> pl.DataFrame:
    known = (
        shares.group_by("label").len().sort("len", "label", descending=[True, False]).head(limit)
    ).get_column("label")
    columns = [
        pl.col(share).filter(pl.col("label") == label).sum().alias(f"{name}:{label}")
        for share, name in (("share_long", "interest"), ("share_short", "interest_short"))
        for label in known.to_list()
    ]
    return shares.group_by(USER).agg(columns)
