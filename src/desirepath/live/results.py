# SPDX-License-Identifier: Apache-2.0
"""What came of served lists, live and packed: online metrics, and verdicts of experiments."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from desirepath.live.outcomes import OutcomeConfig, Outcomes, attribute, differences, metrics, series
from desirepath.live.shown import LIST, TEAM, WHOLE_LIST, said_since, served_since
from desirepath.live.store import LiveStore
from desirepath.live.trials import variant_name
from desirepath.recommend.assignment import ExperimentConfig
from desirepath.recommend.interleaving import credit, judge
from desirepath.workspace import Workspace

__all__ = ["MOST_LISTS", "WHOLE_LIST", "Results"]

MOST_LISTS = 200_000
"""Latest lists that are looked at."""


class Results:
    """Figures of one project's lists."""

    def __init__(
        self, store: LiveStore, workspace: Workspace, flush: Callable[[], None] = lambda: None
    ) -> None:
        """Read from `store` and what was packed of it, once `flush` has written what was served until now."""
        self._store, self._workspace, self._flush = store, workspace, flush

    def outcomes(self, hours: float, config: OutcomeConfig | None = None) -> Outcomes:
        """The lists of the last hours, with what came of them until now, wherever they lie by now.

        Cost: reads the lists and their feedback once; about 2 s for 100,000 lists of ten.
        """
        return attribute(*self._read(hours), config)

    def _read(self, hours: float) -> tuple[pl.DataFrame, pl.DataFrame]:
        self._flush()
        since_us = int((time.time() - 3600.0 * hours) * 1e6)
        served = served_since(self._store, self._workspace, since_us, MOST_LISTS)
        return served, said_since(self._store, self._workspace, since_us)

    def online(self, hours: float, n_items: int) -> dict[str, list[dict[str, Any]]]:
        """Metrics by scenario and variant with their intervals, and their course by the hour."""
        found = self.outcomes(hours)
        every = "1h" if hours <= 72 else "1d"
        return {"metrics": _rows(metrics(found, n_items)), "series": _rows(series(found, every))}

    def experiments(self, running: Mapping[str, ExperimentConfig], hours: float) -> list[dict[str, Any]]:
        """Each experiment, with its variants compared at a confidence that holds however often one looks."""
        served, said = self._read(hours)
        found = attribute(served, said)
        teams = served.select(LIST, "item_id", TEAM).drop_nulls()
        told = []
        for name, experiment in running.items():
            one: dict[str, Any] = {
                "name": name,
                "kind": experiment.kind,
                "scenario": experiment.scenario,
                "metric": experiment.metric,
                "enabled": experiment.enabled,
                "variants": dict(experiment.variants),
            }
            if experiment.kind == "interleaving":
                one["verdict"] = _interleaved(found, teams, name, list(experiment.variants))
            else:
                one |= _compared(found, experiment)
            told.append(one)
        return told


def _interleaved(found: Outcomes, teams: pl.DataFrame, name: str, variants: list[str]) -> dict[str, Any]:
    clicked = found.items.filter((pl.col("variant") == name) & pl.col("clicked"))
    marked = clicked.join(teams, on=[LIST, "item_id"], how="inner")
    said = credit(marked.select(pl.col("unit").alias("user_id"), LIST, "item_id", TEAM))
    verdict = judge(said["first"].to_numpy(), said["second"].to_numpy())
    return {
        "wins": {variants[0]: verdict.first_wins, variants[1]: verdict.second_wins},
        "ties": verdict.ties,
        "advantage_of_second": verdict.advantage,
        "win_rate_of_second": verdict.win_rate.value,
        "low": verdict.win_rate.low,
        "high": verdict.win_rate.high,
        "better": None if verdict.better is None else variants[verdict.better],
    }


def _compared(found: Outcomes, experiment: ExperimentConfig) -> dict[str, Any]:
    names = {variant_name(experiment.name, variant): variant for variant in experiment.variants}
    # Variants may be scenarios of their own; they are compared as answers to the one that was asked for.
    mine = pl.col("variant").is_in(list(names))
    title = pl.lit(experiment.scenario).alias("scenario")
    part = Outcomes(
        items=found.items.filter(mine).with_columns(title),
        lists=found.lists.filter(mine).with_columns(title),
        left_out={},
        config=found.config,
    )
    short = pl.col("variant").replace(names)
    baseline = next(iter(names))
    return {
        "metrics": _rows(metrics(part).with_columns(short)),
        "differences": _rows(differences(part, baseline).with_columns(short)),
        "baseline": names[baseline],
    }


def _rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON holds them: no NaN, moments as text."""
    return [{name: _plain(value) for name, value in row.items()} for row in table.iter_rows(named=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value
