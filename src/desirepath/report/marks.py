# SPDX-License-Identifier: Apache-2.0
"""What sets a segment apart, in words: "shares 3.2x as often", "likes tea (41% against 12%)".

It reads the table of marks; the words lean on the kinds of its features.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import asin, sqrt
from typing import Any

import polars as pl

from desirepath.report.labels import Labels
from desirepath.report.theme import share

MAX_MARKS = 5
SMALL = 0.2
"""Cohen's small effect: what is weaker is not told."""
MAX_Q = 0.01
DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
PARTS = (("at night", range(0, 6)), ("in the morning", range(6, 12)), ("in the afternoon", range(12, 18)),
         ("in the evening", range(18, 24)))  # fmt: skip
LEVELS = {
    "n_events": "events",
    "active_days": "active days",
    "n_items": "different items",
    "events_per_session": "events a session",
    "session_s_mean": "seconds a session",
    "recency_days": "days since the last event",
    "tenure_days": "days since the first event",
    "value_sum": "value in all",
    "value_mean": "value a time",
}


def told_marks(marks: pl.DataFrame, segment: int, labels: Labels, limit: int = MAX_MARKS) -> list[str]:
    """The strongest marks of a segment in words, strongest first; hours of a part of the day are summed.

    Only effects of 0.2 and more with q below 0.01 are told, at most two of one kind; of items and interests
    only what is liked, since nobody likes most things.
    """
    own = marks.filter(pl.col("segment") == segment)
    rows = [*_parts_of_day(own), *own.filter(~pl.col("kind").is_in(["hour"])).iter_rows(named=True)]
    rows = [row for row in rows if abs(row["effect"] or 0) >= SMALL and (row["q"] or 0.0) < MAX_Q]
    rows = [row for row in rows if row["effect"] > 0 or not str(row["kind"]).startswith(("interest", "item"))]
    rows.sort(key=lambda row: -abs(row["effect"]))
    said: list[str] = []
    met: dict[str, int] = {}
    for row in rows:
        kind = "trait" if row["kind"] not in KINDS and not row["kind"].startswith("interest") else row["kind"]
        if met.get(kind, 0) < 2 and len(said) < limit:
            met[kind] = met.get(kind, 0) + 1
            said.append(_told(row, labels))
    return said


KINDS = ("item", "action", "hour", "weekday", "level", "age", "value", "pattern")


def _told(row: Mapping[str, Any], labels: Labels) -> str:
    kind, name = str(row["kind"]), labels.full(row["feature"])
    value, others, more = float(row["value"]), float(row["others"]), row["effect"] > 0
    if kind in ("level", "age", "value"):
        return f"{LEVELS.get(name, name.replace('_', ' '))}: {_number(value)} against {_number(others)}"
    against = f"({share(value, 1)} against {share(others, 1)})"
    if kind.startswith("interest") or kind == "item":
        return f"likes {name} {against}"
    if kind == "hour":
        return f"{_times(value, others)} {name} {against}"
    if kind == "weekday":
        day = name.removeprefix("weekday_")
        return f"{_times(value, others)} on {DAYS[int(day) - 1] if day.isdigit() else name} {against}"
    if kind == "action":
        return f"{name} {_times(value, others)} {against}"
    if kind == "pattern":
        return f"{'does' if more else 'seldom does'} {name} {against}"
    return f"{kind.removeprefix('trait:')} {name} {against}"


def _times(value: float, others: float) -> str:
    if others <= 0 or value <= 0:
        return "only here" if value > 0 else "never"
    ratio = value / others
    if ratio >= 10:
        return f"{ratio:.0f}x as often"
    return f"{ratio:.1f}x as often" if ratio >= 1.5 or ratio <= 0.67 else ("more" if ratio > 1 else "less")


def _parts_of_day(own: pl.DataFrame) -> list[dict[str, Any]]:
    """Hours summed over parts of the day: Cohen's h of the sums, the least q of hours that lean that way."""
    hours = own.filter(pl.col("kind") == "hour")
    rows = {int(row["feature"].rpartition("_")[2]): row for row in hours.iter_rows(named=True)}
    if len(rows) != 24:
        return []
    found = []
    for name, span in PARTS:
        value = min(1.0, sum(rows[h]["value"] for h in span))
        others = min(1.0, sum(rows[h]["others"] for h in span))
        effect = 2 * asin(sqrt(max(0.0, value))) - 2 * asin(sqrt(max(0.0, others)))
        alike = [rows[h]["q"] or 0.0 for h in span if (rows[h]["effect"] or 0) * effect > 0]
        q = min(alike, default=1.0)
        found.append(
            {"kind": "hour", "feature": name, "value": value, "others": others, "effect": effect, "q": q}
        )
    return found


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.1f}"
