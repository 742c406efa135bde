# SPDX-License-Identifier: Apache-2.0
"""Sessions: runs of one user's events, told apart by a session id or by a pause.

It knows the canonical columns of an event only. Activity, dwell and the report's plots of session
lengths read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import polars as pl

from desirepath.errors import ConfigError
from desirepath.features.moment import US_PER_S, before, require
from desirepath.schema import SESSION, TIME, USER

STARTS = "starts_session"
GAP_S = "gap_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """What ends a session."""

    session_gap_s: float = 1800.0
    """Seconds without an event after which the next one opens a new session; above 0."""
    by: Literal["auto", "id", "gap"] = "auto"
    """"id" trusts the column session_id (rows without one fall back to the pause), "gap" uses the
    pause alone, "auto" is "id" where the column exists."""

    def __post_init__(self) -> None:
        if not self.session_gap_s > 0:
            raise ConfigError(f"session_gap_s must be above 0 seconds; got {self.session_gap_s}.")
        if self.by not in ("auto", "id", "gap"):
            raise ConfigError(f"by must be one of auto, id, gap; got '{self.by}'.")


def marked(events: pl.LazyFrame | pl.DataFrame, as_of: datetime, config: SessionConfig) -> pl.LazyFrame:
    """The events before `as_of` sorted by user, session id and time, each marked.

    Adds `starts_session` (bool) and `gap_s` (seconds since the user's previous event in the same
    session, null where the event starts one). Runs on the streaming engine; the sort may spill.

    Raises:
        DataError: `by="id"` and the log has no session_id.
    """
    log = before(events, as_of)
    by_id = config.by == "id" or (config.by == "auto" and SESSION in log.collect_schema().names())
    pause = pl.col(TIME) - pl.col(TIME).shift(1) > timedelta(seconds=config.session_gap_s)
    other_user = pl.col(USER).ne_missing(pl.col(USER).shift(1))
    if by_id:
        require(log, SESSION)
        keys = [USER, SESSION, TIME]
        starts = (
            other_user
            | pl.col(SESSION).ne_missing(pl.col(SESSION).shift(1))
            | (pl.col(SESSION).is_null() & pause)
        )
    else:
        keys = [USER, TIME]
        starts = other_user | pause
    gap_s = (pl.col(TIME) - pl.col(TIME).shift(1)).dt.total_microseconds() / US_PER_S
    return (
        log.sort(keys, maintain_order=True)
        .with_columns(starts.fill_null(True).alias(STARTS), gap_s.alias(GAP_S))
        .with_columns(pl.when(pl.col(STARTS)).then(None).otherwise(pl.col(GAP_S)).alias(GAP_S))
    )


def sessions(
    events: pl.LazyFrame | pl.DataFrame, as_of: datetime, config: SessionConfig | None = None
) -> pl.LazyFrame:
    """One row a session: user_id, start, end, n_events, length_s (first to last event, 0 for one).

    What lies before `as_of` is a session even if the user is still in it, and one cut by `as_of` is
    counted by its seen part.
    """
    log = marked(events, as_of, config or SessionConfig())
    return (
        log.with_columns(pl.col(STARTS).cum_sum().alias("session"))
        .group_by("session")
        .agg(
            pl.col(USER).first(),
            pl.col(TIME).min().alias("start"),
            pl.col(TIME).max().alias("end"),
            pl.len().alias("n_events"),
        )
        .with_columns(
            ((pl.col("end") - pl.col("start")).dt.total_microseconds() / US_PER_S).alias("length_s")
        )
        .drop("session")
    )


def session_columns() -> list[pl.Expr]:
    """Aggregations over `marked` events of one user.

    n_sessions; events_per_session; session_s_mean (seconds from first to last event of a session).
    """
    n = pl.col(STARTS).sum()
    return [
        n.alias("n_sessions"),
        (pl.len() / n).alias("events_per_session"),
        (pl.col(GAP_S).sum() / n).alias("session_s_mean"),
    ]
