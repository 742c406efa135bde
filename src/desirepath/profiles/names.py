# SPDX-License-Identifier: Apache-2.0
"""A name for each segment, put together from the marks that set it apart.

It reads the table of marks only. A name tells at most three things: what is liked, when, and how;
numbers stay in the table.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

SMALL = 0.2
"""Cohen's small effect: what is weaker names nothing."""
MEDIUM = 0.5
MAX_Q = 0.01
N_PARTS = 3
SPANS = range(2, 9)
"""Lengths in hours of the stretch of the day that may name a segment."""
LEVEL_WORDS = {
    ("n_events", True): "heavy users",
    ("n_events", False): "light users",
    ("session_s_mean", True): "long sessions",
    ("session_s_mean", False): "short sessions",
    ("recency_days", True): "long away",
    ("tenure_days", False): "newcomers",
    ("value_sum", True): "big spenders",
}
"""Words for numbers that are higher (True) or lower than elsewhere; others do not name."""


def segment_names(
    marks: pl.DataFrame, n_segments: int, titles: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """One different name a segment, such as "kitchen & coffee · 05-08h · purchase ×1.6".

    Interests (or items, by title) come first; then, the strongest effect first, the hours with the
    greatest excess, weekends or workdays, actions, a pattern and the strongest of the numbers; the other
    numbers last. A part needs q < 0.01 and an effect of at least 0.2 (0.5 for numbers, which differ between
    any two groups). An action bears its lift, and one whose lift reads 1.0 names nothing. A segment with
    none is "like the average".
    """
    usable = marks.filter(pl.col("q") < MAX_Q)
    names: list[str] = []
    for segment in range(n_segments):
        own = usable.filter(pl.col("segment") == segment)
        parts = _parts(own, marks.filter(pl.col("segment") == segment), titles or {})
        length = min(N_PARTS, len(parts))
        name = " · ".join(parts[:length]) or "like the average"
        while name in names and length < len(parts):
            length += 1
            name = " · ".join(parts[:length])
        names.append(name if name not in names else f"{name} ({segment + 1})")
    return tuple(names)


def _parts(own: pl.DataFrame, every: pl.DataFrame, titles: Mapping[str, str]) -> list[str]:
    levels = _levels(own)
    # How much goes together with how long and how lately: one such word is enough, the others come last.
    habits = sorted([_hours(every), _days(every), *_more(own), *levels[:1]], key=lambda part: -part[0])
    parts = [_liked(own, titles), *(told for _, told in habits), *(told for _, told in levels[1:])]
    return [part for part in parts if part]


def _liked(own: pl.DataFrame, titles: Mapping[str, str]) -> str:
    # An item without a title is an id, which tells a reader nothing.
    item = (pl.col("kind") == "item") & pl.col("feature").is_in(list(titles))
    tastes = own.filter(
        (pl.col("kind").str.starts_with("interest:") | item) & (pl.col("effect") >= SMALL)
    ).sort("effect", "feature", descending=[True, False])
    if tastes.is_empty():
        return ""
    first = tastes.row(0, named=True)
    alike = tastes.filter(
        (pl.col("kind") == first["kind"]) & (pl.col("effect") >= 0.5 * first["effect"])
    ).head(2)
    words = [titles.get(name, name) for name in alike.get_column("feature").to_list()]
    return " & ".join(words)


def _hours(every: pl.DataFrame) -> tuple[float, str]:
    """The stretch of hours in which the segment exceeds the others most, if by a small effect."""
    hours = every.filter(pl.col("kind") == "hour").sort("feature")
    if hours.height != 24:
        return 0.0, ""
    value, others = hours.get_column("value").to_numpy(), hours.get_column("others").to_numpy()
    best, told = SMALL, ""
    for span in SPANS:
        mine = np.array([np.roll(value, -start)[:span].sum() for start in range(24)]).clip(0, 1)
        theirs = np.array([np.roll(others, -start)[:span].sum() for start in range(24)]).clip(0, 1)
        h = 2 * np.arcsin(np.sqrt(mine)) - 2 * np.arcsin(np.sqrt(theirs))
        start = int(h.argmax())
        if h[start] > best + 1e-9:
            best, told = float(h[start]), f"{start:02d}-{(start + span) % 24:02d}h"
    return best, told


def _days(every: pl.DataFrame) -> tuple[float, str]:
    weekend = every.filter(
        (pl.col("kind") == "weekday") & pl.col("feature").is_in(["weekday_6", "weekday_7"])
    )
    if weekend.height != 2:
        return 0.0, ""
    mine, theirs = (min(1.0, float(weekend.get_column(c).sum())) for c in ("value", "others"))
    h = 2 * np.arcsin(np.sqrt(mine)) - 2 * np.arcsin(np.sqrt(theirs))
    return abs(float(h)), "weekends" if h >= SMALL else "workdays" if h <= -SMALL else ""


def _more(own: pl.DataFrame) -> list[tuple[float, str]]:
    ranked = own.sort(pl.col("effect").abs(), "feature", descending=[True, False])
    words = []
    for row in ranked.filter(pl.col("kind") == "action").iter_rows(named=True):
        if abs(row["effect"]) >= SMALL and f"{row['lift']:.1f}" != "1.0":
            words.append((abs(row["effect"]), f"{row['feature']} ×{row['lift']:.1f}"))
    held = ranked.filter((pl.col("kind") == "pattern") & (pl.col("effect") >= SMALL)).head(1)
    return words + held.select("effect", "feature").rows()


def _levels(own: pl.DataFrame) -> list[tuple[float, str]]:
    """Words for numbers, the strongest effect first."""
    numbers = own.filter(pl.col("kind").is_in(["level", "age", "value"]) & (pl.col("effect").abs() >= MEDIUM))
    ranked = numbers.sort(pl.col("effect").abs(), "feature", descending=[True, False])
    words = [
        (abs(effect), LEVEL_WORDS.get((feature, effect > 0), ""))
        for feature, effect in ranked.select("feature", "effect").iter_rows()
    ]
    return [(effect, word) for effect, word in words if word]
