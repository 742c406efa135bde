# SPDX-License-Identifier: Apache-2.0
"""What came of served lists, read from the live store: online metrics, and verdicts of experiments."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from sqlalchemy import Connection, select

from desirepath.live.outcomes import OutcomeConfig, Outcomes, attribute, differences, metrics, series
from desirepath.live.store import LiveStore
from desirepath.live.tables import events, impressions
from desirepath.live.trials import variant_name
from desirepath.recommend.assignment import ExperimentConfig
from desirepath.recommend.interleaving import credit, judge

WHOLE_LIST = "(list)"
"""Stands for the item in a rating of a whole list."""
MOST_LISTS = 200_000
"""Latest lists that are looked at."""
_MOMENT = pl.Datetime("us", "UTC")


class Results:
    """Figures of one project's lists."""

    def __init__(self, store: LiveStore, flush: Callable[[], None] = lambda: None) -> None:
        """Read from `store`, once `flush` has written what was served until now."""
        self._store, self._flush = store, flush

    def outcomes(self, hours: float, config: OutcomeConfig | None = None) -> Outcomes:
        """The lists of the last hours, with what came of them until now.

        Cost: reads the lists and their feedback once; seconds for a hundred thousand lists.
        """
        self._flush()
        since = int((time.time() - 3600.0 * hours) * 1e6)

        def work(connection: Connection) -> tuple[list[Any], list[Any]]:
            lists = connection.execute(
                select(impressions)
                .where(impressions.c.time_us >= since)
                .order_by(impressions.c.time_us.desc())
                .limit(MOST_LISTS)
            ).all()
            names = ("recommendation_id", "item_id", "action", "value", "time_us")
            said = connection.execute(
                select(*(events.c[name] for name in names)).where(
                    events.c.recommendation_id.is_not(None), events.c.time_us >= since
                )
            ).all()
            return list(lists), list(said)

        lists, said = self._store.read(work)
        return attribute(_served(lists), _feedback(said), config)

    def online(self, hours: float, n_items: int) -> dict[str, list[dict[str, Any]]]:
        """Metrics by scenario and variant with their intervals, and their course by the hour."""
        found = self.outcomes(hours)
        every = "1h" if hours <= 72 else "1d"
        return {"metrics": _rows(metrics(found, n_items)), "series": _rows(series(found, every))}

    def experiments(self, running: Mapping[str, ExperimentConfig], hours: float) -> list[dict[str, Any]]:
        """Each experiment, with its variants compared at a confidence that holds however often one looks."""
        found = self.outcomes(hours)
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
                one["verdict"] = self._interleaved(found, name, list(experiment.variants))
            else:
                one |= _compared(found, experiment)
            told.append(one)
        return told

    def _interleaved(self, found: Outcomes, name: str, variants: list[str]) -> dict[str, Any]:
        clicked = found.items.filter((pl.col("variant") == name) & pl.col("clicked"))
        teams = self._teams(clicked["recommendation_id"].unique().to_list())
        marked = clicked.join(teams, on=["recommendation_id", "item_id"], how="inner")
        said = credit(marked.select(pl.col("unit").alias("user_id"), "recommendation_id", "item_id", "team"))
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

    def _teams(self, ids: list[str]) -> pl.DataFrame:
        def work(connection: Connection) -> list[Any]:
            rows: list[Any] = []
            for first in range(0, len(ids), 500):
                chosen = impressions.c.recommendation_id.in_(ids[first : first + 500])
                rows += connection.execute(
                    select(impressions.c.recommendation_id, impressions.c.slate).where(chosen)
                ).all()
            return rows

        schema = {"recommendation_id": pl.String, "item_id": pl.String, "team": pl.Int64}
        rows = [(r, one[0], one[4]) for r, slate in self._store.read(work) for one in slate if len(one) > 4]
        return pl.DataFrame(rows, schema=schema, orient="row").drop_nulls()


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


def _served(lists: list[Any]) -> pl.DataFrame:
    """One row a listed item."""
    rows = [
        (r.recommendation_id, r.time_us, r.scenario, r.variant, r.user_id, r.fallback, *one)
        for r in lists
        for one in ((place, item[0], item[1]) for place, item in enumerate(r.slate, start=1))
    ]
    names = ("recommendation_id", "time", "scenario", "variant", "user_id", "fallback")
    schema: dict[str, Any] = dict.fromkeys(names, pl.String) | {"time": pl.Int64}
    schema |= {"position": pl.Int32, "item_id": pl.String, "propensity": pl.Float64}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.with_columns(pl.col("time").cast(_MOMENT))


def _feedback(said: list[Any]) -> pl.DataFrame:
    schema: dict[str, Any] = {
        "recommendation_id": pl.String,
        "item_id": pl.String,
        "action": pl.String,
        "value": pl.Float64,
        "time": pl.Int64,
    }
    table = pl.DataFrame([tuple(row) for row in said], schema=schema, orient="row")
    of_list = pl.col("item_id") == WHOLE_LIST
    return table.with_columns(
        pl.when(~of_list).then(pl.col("item_id")).alias("item_id"), pl.col("time").cast(_MOMENT)
    )


def _rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON holds them: no NaN, moments as text."""
    return [{name: _plain(value) for name, value in row.items()} for row in table.iter_rows(named=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value
