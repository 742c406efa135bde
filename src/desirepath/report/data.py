# SPDX-License-Identifier: Apache-2.0
"""What a report is made of, as plain data: a lazy event log, tables and dictionaries.

It knows neither models nor workspaces; whoever ran the pipeline fills it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from desirepath.errors import DataError
from desirepath.features.rhythm import RhythmConfig
from desirepath.features.sessions import SessionConfig
from desirepath.report.behaviour import BehaviourData
from desirepath.schema import ITEM, REQUIRED, USER


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything a report shows; whatever is absent is said to be absent."""

    events: pl.LazyFrame
    """The cleaned log with the columns user_id, item_id, action and time; only ever aggregated."""
    title: str = "What the log tells"
    """Heading of the page."""
    understanding: Mapping[str, Any] = field(default_factory=dict)
    """How the source was read: `columns` (dicts with source, role, reason, dtype, null_share), `time`
    (dict with unit, reason, is_relative, resolution_s), `files` (dicts with name, format, rows), `notes`."""
    cleaning: Mapping[str, int] = field(default_factory=dict)
    """Rows removed by reason."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """`rows`: dicts with model, metric, value, low, high (low and high may be None; those with a
    `slice` other than "all" are shown apart); `headline`: the metric that ranks models;
    `differences`: dicts with model, baseline, metric, value, low, high of paired differences."""
    training: Sequence[Mapping[str, Any]] = ()
    """One dict an epoch: epoch, loss, ndcg (may be None), seconds."""
    calibration: pl.DataFrame | None = None
    """Reliability bins: low, high, n, stated (mean probability said), observed (share that came true)."""
    recommendations: pl.DataFrame | None = None
    """user_id, item_id, probability, best first within a user; `rank` is used where it exists."""
    titles: Mapping[str, str] | pl.DataFrame | None = None
    """Item titles by id, or a table with item_id and title."""
    protocol: str = ""
    """One sentence on how models were compared; it stands beside each figure of models."""
    warnings: Sequence[str] = ()
    """What the reader must know, beside what the report finds itself."""
    clock: RhythmConfig = field(default_factory=RhythmConfig)
    """Whose clock hours and weekdays are read on."""
    sessions: SessionConfig = field(default_factory=SessionConfig)
    """What ends a session."""
    behaviour: BehaviourData | None = None
    """Paths, patterns, contrasts, rules, cohorts and segments; None where nothing was mined."""

    def __post_init__(self) -> None:
        known = self.events.collect_schema().names()
        missing = [name for name in REQUIRED if name not in known]
        if missing:
            raise DataError(
                f"A report's events must have {', '.join(REQUIRED)}; {', '.join(missing)} is missing."
            )
        for name, table, needed in (
            ("recommendations", self.recommendations, (USER, ITEM, "probability")),
            ("calibration", self.calibration, ("n", "stated", "observed")),
            ("titles", self.titles if isinstance(self.titles, pl.DataFrame) else None, (ITEM, "title")),
        ):
            absent = [column for column in needed if table is not None and column not in table.columns]
            if absent:
                raise DataError(f"{name} must have {', '.join(needed)}; {', '.join(absent)} is missing.")

    @property
    def has_time(self) -> bool:
        """Whether events bear a moment at all; False where the order of the file stands for it."""
        return bool(self._time.get("unit") != "file order")

    @property
    def has_calendar(self) -> bool:
        """Whether moments have a date; False where only their distance is known."""
        return self.has_time and not self._time.get("is_relative", False)

    @property
    def resolution_s(self) -> float:
        """Seconds between two readings of the clock as the source states it; 0 where it does not."""
        return float(self._time.get("resolution_s") or 0.0)

    @property
    def _time(self) -> Mapping[str, Any]:
        time: Mapping[str, Any] = self.understanding.get("time") or {}
        return time

    def title_of(self, items: Sequence[str]) -> dict[str, str]:
        """Titles of these items; those without one are left out."""
        if self.titles is None:
            return {}
        if isinstance(self.titles, pl.DataFrame):
            found = self.titles.select(ITEM, "title").filter(pl.col(ITEM).is_in(list(items))).drop_nulls()
            return dict(found.iter_rows())
        return {item: self.titles[item] for item in items if self.titles.get(item)}
