# SPDX-License-Identifier: Apache-2.0
"""What came of the lists that were served: clicks, conversions, ratings, by scenario and variant.

It takes two tables, what was served and what people did with it, and gives figures with intervals that
hold at every look. It knows no store and no model; a unit is a user with all of his lists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import polars as pl

from desirepath.errors import ConfigError, DataError
from desirepath.live.actions import IMPRESSION, SATISFACTION
from desirepath.recommend.sequential import SequentialConfig, around, difference_around, ratio
from desirepath.schema import TIME_DTYPE

SERVED: Final = {
    "recommendation_id": pl.String(),
    "time": TIME_DTYPE,
    "user_id": pl.String(),
    "scenario": pl.String(),
    "variant": pl.String(),
    "fallback": pl.String(),
    "item_id": pl.String(),
    "position": pl.Int32(),
    "propensity": pl.Float64(),
}
"""One row a listed item. user_id (or session) may be null: the list then is a unit of its own; variant is
null outside experiments; fallback is null where the model itself answered."""
FEEDBACK: Final = {
    "recommendation_id": pl.String(),
    "item_id": pl.String(),
    "action": pl.String(),
    "time": TIME_DTYPE,
    "value": pl.Float64(),
}
"""One row an event that names a recommendation; a rating of the whole list has item_id null."""
RATES: Final = {
    "ctr": ("clicks", "impressions"),
    "conversion": ("converted_lists", "lists"),
    "satisfaction": ("rating_sum", "rated_lists"),
    "fallback_rate": ("fallback_lists", "lists"),
}
"""Metric to its numerator and denominator, both sums over a user's lists."""
BY: Final = ("scenario", "variant")
FEWEST: Final = 10
"""Users who did something, and who did not, below which a rate has no interval."""
PLAIN: Final = ""
"""The variant of lists outside experiments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeConfig:
    """What counts as an outcome, and how long after the list."""

    window_s: float = 86_400.0
    """Seconds after a list in which feedback still counts for it, > 0."""
    click_actions: tuple[str, ...] = ()
    """Actions on a listed item that count as a click; empty: all but impressions, ratings and
    `negative_actions`. A conversion counts as a click too."""
    negative_actions: tuple[str, ...] = (
        *("dislike", "skip", "hide", "block", "report", "not_interested", "remove", "unlike"),
    )
    """Actions that are no click where `click_actions` is empty."""
    conversion_actions: tuple[str, ...] = ("purchase", "buy", "order", "subscribe")
    """Actions on a listed item that count as a conversion of its list."""
    shown: Literal["auto", "served", "reported"] = "auto"
    """Which listed items count as impressions: all ("served"), those with an impression event or a click
    ("reported"), or "auto": reported in scenarios that ever report one, else served."""
    intervals: SequentialConfig = field(default_factory=SequentialConfig)
    """How sure intervals are."""

    def __post_init__(self) -> None:
        if not self.window_s > 0:
            raise ConfigError(f"window_s must be above 0; got {self.window_s}.")
        both = set(self.click_actions) & {IMPRESSION, SATISFACTION}
        if both:
            raise ConfigError(
                f"click_actions must name what people do with an item; got {self.click_actions}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Lists with what came of them."""

    items: pl.DataFrame
    """One row a listed item: the columns of `SERVED` (variant "" for none), and unit, shown, clicked,
    converted (bool)."""
    lists: pl.DataFrame
    """One row a list: recommendation_id, time, scenario, variant, unit, fallback (bool), impressions, clicks,
    converted (bool), rating (null for none)."""
    left_out: dict[str, int]
    """Feedback that counts for nothing, by reason: "unknown recommendation", "not in the list", "too late",
    "before the list", "again"."""
    config: OutcomeConfig


def attribute(served: pl.DataFrame, feedback: pl.DataFrame, config: OutcomeConfig | None = None) -> Outcomes:
    """Join feedback to the lists it names; each list, item and kind of outcome counts once.

    Feedback counts for a list if it names its recommendation_id, an item in it (or none, for a rating), and
    comes within the window. Of several ratings of one list the last counts.

    Args:
        served: the columns of `SERVED`; an item twice in one list counts at its first position.
        feedback: the columns of `FEEDBACK`.
        config: options.

    Raises:
        DataError: a column is missing.

    Cost: two joins and a few group-bys.
    """
    config = config or OutcomeConfig()
    rows = _taken(served, SERVED, "served").with_columns(
        pl.col("variant").fill_null(PLAIN), pl.coalesce("user_id", "recommendation_id").alias("unit")
    )
    rows = rows.sort("recommendation_id", "position", maintain_order=True).unique(
        ["recommendation_id", "item_id"], keep="first", maintain_order=True
    )
    said = _taken(feedback, FEEDBACK, "feedback").with_row_index("_row")
    matched, left_out = _matched(rows, said, config)
    items = _items(rows, matched, config)
    return Outcomes(items=items, lists=_lists(items, matched), left_out=left_out, config=config)


def metrics(outcomes: Outcomes, n_items: int | None = None) -> pl.DataFrame:
    """One row a scenario, variant and metric.

    Metrics: ctr (clicked items over shown ones), conversion (lists with a conversion over lists),
    satisfaction (mean rating of rated lists), fallback_rate (lists by the fallback over lists), coverage
    (different items shown over `n_items`; left out when that is None).

    Columns: scenario, variant, metric, value, low, high (null while too few users are known, or fewer than 10
    of them did it, or did not; and for coverage), numerator, denominator, users.

    A user's figure grows while he is watched, which the theory of such intervals does not treat; they are
    tested by simulation to hold at every look there too (docs/experiments.md).
    """
    rows: list[dict[str, Any]] = []
    for (scenario, variant), users in _groups(_by_user(outcomes)):
        for metric, (numerator, denominator) in RATES.items():
            part = users.filter(pl.col(denominator) > 0)
            if not part.height:
                continue
            found = around(*_estimate(part, metric), config=outcomes.config.intervals)
            rows.append(
                {
                    "scenario": scenario,
                    "variant": variant,
                    "metric": metric,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "numerator": float(part[numerator].sum()),
                    "denominator": float(part[denominator].sum()),
                    "users": part.height,
                }
            )
    table = pl.DataFrame(rows, schema=_METRICS)
    if n_items:
        table = pl.concat([table, _coverage(outcomes, n_items)])
    return table.sort("scenario", "variant", "metric")


def differences(outcomes: Outcomes, baseline: str) -> pl.DataFrame:
    """Each variant against the baseline variant of its scenario: one row a scenario, variant and metric.

    Columns: scenario, variant, metric, difference (variant less baseline), low, high (null while too few
    users are known), relative (difference over the baseline's value), users (of both), decided (bool: the
    interval lies on one side of 0). Scenarios without the baseline are left out.
    """
    rows: list[dict[str, Any]] = []
    groups = dict(_groups(_by_user(outcomes)))
    for (scenario, variant), users in groups.items():
        base = groups.get((scenario, baseline))
        if variant == baseline or base is None:
            continue
        for metric, (_, denominator) in RATES.items():
            parts = [table.filter(pl.col(denominator) > 0) for table in (base, users)]
            if not all(part.height for part in parts):
                continue
            first, second = (_estimate(part, metric) for part in parts)
            found = difference_around(first, second, outcomes.config.intervals)
            rows.append(
                {
                    "scenario": scenario,
                    "variant": variant,
                    "metric": metric,
                    "difference": found.value,
                    "low": found.low,
                    "high": found.high,
                    "relative": found.value / first[0] if first[0] else None,
                    "users": found.n,
                    "decided": found.excludes_zero,
                }
            )
    return pl.DataFrame(rows, schema=_DIFFERENCES).sort("scenario", "variant", "metric")


def series(outcomes: Outcomes, every: str = "1h") -> pl.DataFrame:
    """The same metrics by stretches of time, by the moment of the list.

    Columns: time (begin of the stretch), scenario, variant, lists, impressions, clicks, ctr, conversion,
    satisfaction, fallback_rate; a rate is null where nothing was asked. No intervals: they are for totals.

    Args:
        outcomes: from `attribute`.
        every: length of a stretch as Polars writes it, such as "5m", "1h", "1d".
    """
    sums = _sums(outcomes.lists.with_columns(pl.col("time").dt.truncate(every)), ["time", *BY])
    rates = [
        pl.when(pl.col(below) > 0).then(pl.col(above) / pl.col(below)).alias(metric)
        for metric, (above, below) in RATES.items()
    ]
    kept = ["time", *BY, "lists", "impressions", "clicks"]
    return sums.with_columns(rates).select(*kept, *RATES).sort("time", *BY)


_METRICS = {
    "scenario": pl.String(),
    "variant": pl.String(),
    "metric": pl.String(),
    "value": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "numerator": pl.Float64(),
    "denominator": pl.Float64(),
    "users": pl.Int64(),
}
_DIFFERENCES = {
    "scenario": pl.String(),
    "variant": pl.String(),
    "metric": pl.String(),
    "difference": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "relative": pl.Float64(),
    "users": pl.Int64(),
    "decided": pl.Boolean(),
}


def _taken(table: pl.DataFrame, schema: dict[str, pl.DataType], name: str) -> pl.DataFrame:
    missing = [column for column in schema if column not in table.columns]
    if missing:
        raise DataError(f"The table '{name}' must have the column '{missing[0]}'; it has {table.columns}.")
    return table.with_columns(pl.col(column).cast(kind) for column, kind in schema.items())


def _matched(
    rows: pl.DataFrame, said: pl.DataFrame, config: OutcomeConfig
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Feedback that counts, with a column `kind`, and how much does not, by reason."""
    kinds: dict[str, str | None] = dict.fromkeys(config.negative_actions)
    kinds |= dict.fromkeys(config.click_actions, "click")
    kinds |= dict.fromkeys(config.conversion_actions, "conversion")
    kinds |= {IMPRESSION: "impression", SATISFACTION: "rating"}
    other = None if config.click_actions else "click"
    kind = pl.col("action").replace_strict(kinds, default=other, return_dtype=pl.String)
    said = said.with_columns(kind.alias("kind")).filter(pl.col("kind").is_not_null())
    lists = rows.select("recommendation_id", pl.col("time").alias("served")).unique("recommendation_id")
    listed = rows.select("recommendation_id", "item_id", pl.lit(True).alias("listed"))
    said = said.join(lists, on="recommendation_id", how="left", maintain_order="left").join(
        listed, on=["recommendation_id", "item_id"], how="left", maintain_order="left"
    )
    after_s = (pl.col("time") - pl.col("served")).dt.total_microseconds() / 1e6
    whole_list = (pl.col("kind") == "rating") & pl.col("item_id").is_null()
    said = said.with_columns(
        pl.when(pl.col("served").is_null())
        .then(pl.lit("unknown recommendation"))
        .when(~(pl.col("listed").fill_null(False) | whole_list))
        .then(pl.lit("not in the list"))
        .when(after_s < 0)
        .then(pl.lit("before the list"))
        .when(after_s > config.window_s)
        .then(pl.lit("too late"))
        .alias("reason")
    )
    good = said.filter(pl.col("reason").is_null()).sort("time", "_row")
    # Of ratings the last counts, of everything else the first: the moment it happened.
    rating = pl.col("kind") == "rating"
    ratings = good.filter(rating & pl.col("value").is_finite()).unique(
        "recommendation_id", keep="last", maintain_order=True
    )
    others = good.filter(~rating).unique(
        ["recommendation_id", "item_id", "kind"], keep="first", maintain_order=True
    )
    left_out = dict(said.drop_nulls("reason").group_by("reason").len().sort("reason").iter_rows())
    again = good.height - ratings.height - others.height
    return pl.concat([others, ratings]), left_out | ({"again": again} if again else {})


def _items(rows: pl.DataFrame, matched: pl.DataFrame, config: OutcomeConfig) -> pl.DataFrame:
    """Listed items with what came of each."""
    happened = (
        matched.filter(pl.col("kind") != "rating")
        .group_by("recommendation_id", "item_id")
        .agg((pl.col("kind") == kind).any().alias(kind) for kind in ("impression", "click", "conversion"))
    )
    items = rows.join(happened, on=["recommendation_id", "item_id"], how="left", maintain_order="left")
    items = items.with_columns(pl.col("impression", "click", "conversion").fill_null(False)).with_columns(
        (pl.col("click") | pl.col("conversion")).alias("clicked")
    )
    reported = pl.col("impression") | pl.col("clicked")
    shown = {
        "served": pl.lit(True),
        "reported": reported,
        "auto": reported | ~pl.col("impression").any().over("scenario"),
    }[config.shown]
    return items.with_columns(shown.alias("shown"), pl.col("conversion").alias("converted")).select(
        *SERVED, "unit", "shown", "clicked", "converted"
    )


def _lists(items: pl.DataFrame, matched: pl.DataFrame) -> pl.DataFrame:
    """Lists with what came of each."""
    ratings = matched.filter(pl.col("kind") == "rating").select(
        "recommendation_id", pl.col("value").alias("rating")
    )
    lists = items.group_by("recommendation_id", maintain_order=True).agg(
        pl.col("time", "scenario", "variant", "unit").first(),
        pl.col("fallback").is_not_null().any(),
        pl.col("shown").sum().cast(pl.Int64).alias("impressions"),
        (pl.col("clicked") & pl.col("shown")).sum().cast(pl.Int64).alias("clicks"),
        pl.col("converted").any(),
    )
    return lists.join(ratings, on="recommendation_id", how="left", maintain_order="left")


def _sums(lists: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    return lists.group_by(by).agg(
        pl.len().cast(pl.Int64).alias("lists"),
        pl.col("impressions", "clicks").sum(),
        pl.col("converted").sum().cast(pl.Int64).alias("converted_lists"),
        pl.col("fallback").sum().cast(pl.Int64).alias("fallback_lists"),
        pl.col("rating").sum().alias("rating_sum"),
        pl.col("rating").count().cast(pl.Int64).alias("rated_lists"),
    )


def _by_user(outcomes: Outcomes) -> pl.DataFrame:
    return _sums(outcomes.lists, [*BY, "unit"])


def _estimate(users: pl.DataFrame, metric: str) -> tuple[float, float, int]:
    """Value, standard error and users of a metric; an infinite error where a central limit is far off."""
    numerator, denominator = RATES[metric]
    value, error, n = ratio(users[numerator], users[denominator])
    if metric != "satisfaction":
        did = int((users[numerator] > 0).sum())
        did_not = int((users[numerator] < users[denominator]).sum())
        if min(did, did_not) < FEWEST:
            return value, math.inf, n
    return value, error, n


def _groups(users: pl.DataFrame) -> Iterator[tuple[tuple[str, str], pl.DataFrame]]:
    for key, table in users.partition_by(BY, as_dict=True).items():
        yield (str(key[0]), str(key[1])), table


def _coverage(outcomes: Outcomes, n_items: int) -> pl.DataFrame:
    shown = outcomes.items.filter("shown")
    return (
        shown.group_by(BY)
        .agg(pl.col("item_id").n_unique().alias("different"), pl.col("unit").n_unique().alias("users"))
        .select(
            *BY,
            pl.lit("coverage").alias("metric"),
            (pl.col("different") / n_items).alias("value"),
            pl.lit(None, pl.Float64).alias("low"),
            pl.lit(None, pl.Float64).alias("high"),
            pl.col("different").cast(pl.Float64).alias("numerator"),
            pl.lit(float(n_items)).alias("denominator"),
            pl.col("users").cast(pl.Int64),
        )
    )
