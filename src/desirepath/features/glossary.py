# SPDX-License-Identifier: Apache-2.0
"""What each feature column means and in what unit, told from its name.

It knows names only: no events, no tables. Pages and people that show features read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import polars as pl

from desirepath.errors import DataError

COLUMNS: Final[tuple[tuple[str, str, str], ...]] = (
    (r"user_id", "id", "the user"),
    (r"item_id", "id", "the item"),
    (r"n_events", "events", "events before the moment"),
    (r"n_events:(?P<a>.+)", "events", "events of the action {a} before the moment"),
    (r"n_events_(?P<w>[^:]+)d", "events", "events in the last {w} days"),
    (r"n_events_(?P<w>[^:]+)d:(?P<a>.+)", "events", "events of the action {a} in the last {w} days"),
    (r"events_per_day_(?P<w>[^:]+)d", "events/day", "mean rate over the last {w} days"),
    (r"events_per_day_(?P<w>[^:]+)d:(?P<a>.+)", "events/day", "mean rate of {a} over the last {w} days"),
    (r"recency_days", "days", "from the last event to the moment"),
    (r"tenure_days", "days", "from the first event to the moment"),
    (r"gap_days_mean", "days", "mean pause between one event and the next; null for one event"),
    (r"active_days", "days", "different UTC dates with an event"),
    (r"n_items", "items", "different items met"),
    (r"n_users", "users", "different users met"),
    (r"repeat_share", "share", "events on something met before"),
    (r"rate_slow", "events/day", "present rate, old events fading with the long half-life"),
    (r"rate_fast", "events/day", "present rate, old events fading with the short half-life"),
    (r"momentum", "events/day", "rate_fast - rate_slow: above 0 rising, below 0 fading"),
    (r"value_sum", "value", "sum of the value column"),
    (r"value_mean", "value", "mean of the value column"),
    (r"n_values", "events", "events that bear a value"),
    (r"rfm_(?P<w>recency|frequency|value)", "score", "{w} score, 1 worst"),
    (r"n_sessions", "sessions", "sessions begun before the moment"),
    (r"events_per_session", "events", "mean events of a session"),
    (r"session_s_mean", "s", "mean time from a session's first to its last event"),
    (r"dwell_s_total", "s", "known time spent, each event capped"),
    (r"dwell_s_mean", "s", "mean known time spent on an event"),
    (r"dwell_s_median", "s", "median known time spent on an event"),
    (r"n_dwells", "events", "events whose time spent is known"),
    (r"hour_\d\d", "share", "smoothed share of events in this hour of the day"),
    (r"weekday_\d", "share", "smoothed share of events on this weekday, Monday 1"),
    (r"weekend_share", "share", "smoothed share on Saturday and Sunday"),
    (r"hour_entropy_bits", "bits", "evenness of the hours: 0 one hour, 4.58 none preferred"),
    (r"rate:(?P<a>.+)", "probability", "smoothed {a}"),
    (r"rate_low:(?P<a>.+)", "probability", "lower end of the credible interval of {a}"),
    (r"rate_high:(?P<a>.+)", "probability", "upper end of the credible interval of {a}"),
    (r"rate_raw:(?P<a>.+)", "probability", "{a} as counted; null without trials"),
    (r"n_trials:(?P<a>.+)", "trials", "trials of {a}"),
    (r"n_successes:(?P<a>.+)", "trials", "trials of {a} that succeeded"),
    (r"top_interest", "label", "label with the greatest long-term share"),
    (r"interest_entropy_bits", "bits", "width of interests: 0 one label"),
    (r"interest_drift", "distance", "short against long term, 0 same to 1 disjoint"),
    (r"n_labels", "labels", "different labels met"),
    (r"interest:(?P<a>.+)", "share", "long-term share of the label {a}"),
    (r"interest_short:(?P<a>.+)", "share", "short-term share of the label {a}"),
)
"""Pattern of the name, unit, meaning."""


def describe(columns: Iterable[str]) -> pl.DataFrame:
    """One row a column: column, unit, meaning.

    Raises:
        DataError: a name is no feature of this room.

    >>> describe(["n_events_7d:VIEW"]).rows()
    [('n_events_7d:VIEW', 'events', 'events of the action VIEW in the last 7 days')]
    """
    rows = [_describe(column) for column in columns]
    return pl.DataFrame(rows, schema=["column", "unit", "meaning"], orient="row")


def _describe(column: str) -> tuple[str, str, str]:
    for pattern, unit, meaning in COLUMNS:
        found = re.fullmatch(pattern, column, flags=re.DOTALL)
        if found:
            return column, unit, meaning.format(**found.groupdict())
    raise DataError(f"'{column}' is no feature column. Known patterns: {[c[0] for c in COLUMNS]}.")
