# SPDX-License-Identifier: Apache-2.0
"""What cleaning removes and mends, rule by rule: the settings, and the rules that judge a row by itself.

It knows one batch of rows at a time; the rules that need other rows (repeats, robots, rarity) stand in
their own files. The intake applies all of them, in the order of `RULES`.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.entities import html5
from typing import Literal

import polars as pl

from desirepath.errors import ConfigError, DataError, nearest
from desirepath.events.raw import Understanding
from desirepath.schema import EVENT_ID, ITEM, REQUIRED, SESSION, TIME, USER, VALUE

RULES: Mapping[str, str] = {
    "missing_user": "no user id",
    "missing_item": "no item id",
    "missing_time": "no time, or one that cannot be read",
    "before_window": "earlier than the window",
    "after_window": "later than the window",
    "cancellation": "a cancelled or returned purchase",
    "missing_value": "an empty column for which dropping was asked",
    "exact_duplicate": "equal to an earlier row in every column",
    "duplicate_event_id": "an event id that came before",
    "already_in_log": "equal to a row that the log has",
    "robot_rate": "of a user with more events a day than people have",
    "robot_regularity": "of a user whose events come like clockwork",
    "rare_user": "of a user with too few events",
    "rare_item": "of an item with too few events",
}
"""Every reason for which a row is removed, in the order in which the rules are applied."""

KEYS = frozenset({USER, ITEM, EVENT_ID, SESSION, "impression_id"})
"""Ids are never mended."""
SCORES = re.compile(r"rating|score|star|vote|sentiment|utility|grade|affinity|opinion", re.I)
"""Source names of values that may be negative without being a return."""
CANCELLED_ID = r"^[Cc]\d+$"
"""An invoice id that marks a cancellation, as in the Online Retail data (Chen, Sain, Guo 2012)."""
ENTITY = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});"


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningConfig:
    """Which rules are applied to a log, and how strictly."""

    exact_duplicates: bool = True
    """Remove rows equal to an earlier one in every column; the same action again at another time stays."""
    duplicate_event_ids: bool = True
    """Remove rows whose `event_id` came before, here or in the log; rows without one stay."""
    earliest: datetime | None = datetime(1990, 1, 1, tzinfo=UTC)
    """Start of the window of believable times, UTC; None for no bound."""
    latest: datetime | None = None
    """End of the window, UTC; None for one day after now. Logs of relative time have no window."""
    cancellations: bool = True
    """Remove rows with a negative value (unless the value is a score) and cancelled invoices ("C536379")."""
    robots: bool = True
    """Remove the rows of users who are no people, by rate or by regularity."""
    max_events_a_day: int = 2000
    """Events within some 24 hours that a person may have, at least 1; MovieLens' busiest person has 1,500."""
    min_regular_gaps: int = 30
    """Gaps between events from which regularity is judged, at least 3."""
    min_user_events: int = 1
    """Users with fewer events are removed, and again after items fell (k-core); 1 removes none."""
    min_item_events: int = 1
    """Items with fewer events are removed, and again after users fell (k-core); 1 removes none."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Column to what fills its gaps: drop, mean, median, mode, or "constant:" and the text."""
    html_entities: bool = True
    """Turn &amp; and the like into the characters they stand for, in every text column but ids."""

    def __post_init__(self) -> None:
        for name, least in (
            ("max_events_a_day", 1),
            ("min_regular_gaps", 3),
            ("min_user_events", 1),
            ("min_item_events", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"'{name}' must be at least {least}; it is {getattr(self, name)}.")
        for name in ("earliest", "latest"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                object.__setattr__(self, name, moment.replace(tzinfo=UTC))
        if self.earliest and self.latest and self.earliest >= self.latest:
            raise ConfigError(f"'earliest' must lie before 'latest'; got {self.earliest} and {self.latest}.")
        for column, strategy in self.missing.items():
            if strategy not in ("drop", "mean", "median", "mode") and not strategy.startswith("constant:"):
                raise ConfigError(
                    f"'missing' of '{column}' must be drop, mean, median, mode or constant:VALUE; "
                    f"got '{strategy}'. {nearest(strategy, ['drop', 'mean', 'median', 'mode', 'constant:'])}"
                )


def row_rules(config: CleaningConfig, schema: pl.Schema, known: Understanding) -> dict[str, pl.Expr]:
    """The rules that judge a row by itself: reason to the expression that is true where it is removed."""
    rules = {
        "missing_user": pl.col(USER).is_null() | (pl.col(USER) == ""),
        "missing_item": pl.col(ITEM).is_null() | (pl.col(ITEM) == ""),
        "missing_time": pl.col(TIME).is_null(),
    }
    if not known.time.is_relative and not known.ordered_by_file:
        latest = config.latest or datetime.now(UTC) + timedelta(days=1)
        if config.earliest is not None:
            rules["before_window"] = pl.col(TIME) < config.earliest
        rules["after_window"] = pl.col(TIME) > latest
    if config.cancellations:
        signs = []
        if VALUE in schema and not SCORES.search(known.source_of(VALUE) or ""):
            signs.append(pl.col(VALUE) < 0)
        signs += [pl.col(name).str.contains(CANCELLED_ID) for name in _invoices(schema, known)]
        if signs:
            rules["cancellation"] = pl.any_horizontal(signs).fill_null(value=False)
    dropped = [name for name, strategy in config.missing.items() if strategy == "drop"]
    if dropped:
        rules["missing_value"] = pl.any_horizontal(pl.col(name).is_null() for name in dropped)
    return rules


def _invoices(schema: pl.Schema, known: Understanding) -> list[str]:
    """Columns of invoice numbers: elsewhere an id such as "C12" is only an id."""
    return [
        name
        for name in (EVENT_ID, SESSION)
        if name in schema
        and re.search(r"invoice|order|transaction|basket", known.source_of(name) or "", re.I)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """How the columns of a log are mended: gaps filled, entities turned into characters."""

    fills: Mapping[str, float | str]
    """Column to the value that fills its gaps."""
    texts: tuple[str, ...]
    """Text columns in which entities are looked for."""

    def apply(self, batch: pl.DataFrame, mended: Counter[str]) -> pl.DataFrame:
        """The batch with its columns mended; what was changed is counted by rule and column."""
        changed = []
        for name in self.texts:
            column = batch.get_column(name)
            if column.str.contains("&", literal=True).any():
                clean = unescape(column)
                mended[f"html_entities:{name}"] += int((clean != column).sum())
                changed.append(clean)
        for name, value in self.fills.items():
            if gaps := batch.get_column(name).null_count():
                mended[f"filled:{name}"] += gaps
                column = batch.get_column(name)
                changed.append(column.fill_null(pl.lit(value, dtype=column.dtype)))
        return batch.with_columns(changed) if changed else batch


def plan_mending(config: CleaningConfig, lazy: pl.LazyFrame) -> Mending:
    """What to fill and where to look; means and the like cost one more pass over their columns.

    Raises:
        DataError: a column does not exist, or a mean is asked of text.
        ConfigError: a key or the time is to be filled.
    """
    schema = lazy.collect_schema()
    numbers: dict[str, pl.Expr] = {}
    fills: dict[str, float | str] = {}
    for name, strategy in config.missing.items():
        if name not in schema:
            raise DataError(f"'missing' names the column '{name}'; the log has none. {nearest(name, schema)}")
        if name in (USER, ITEM, TIME) and strategy != "drop":
            raise ConfigError(f"'{name}' cannot be filled in; rows without it are removed.")
        if strategy in ("mean", "median") and not schema[name].is_numeric():
            raise DataError(
                f"The {strategy} needs numbers; '{name}' is text. Use mode, drop or constant:VALUE."
            )
        if strategy.startswith("constant:"):
            fills[name] = _constant(name, strategy.removeprefix("constant:"), schema[name])
        elif strategy != "drop":
            numbers[name] = _statistic(name, strategy)  # type: ignore[arg-type]
    if numbers:
        found = lazy.select(**numbers).collect(engine="streaming").row(0, named=True)
        fills |= {name: value for name, value in found.items() if value is not None}
    for name, value in fills.items():
        if schema[name].is_integer() and isinstance(value, float):
            fills[name] = round(value)
    texts = [
        name
        for name, dtype in schema.items()
        if dtype == pl.String and name not in KEYS and config.html_entities
    ]
    return Mending(fills=fills, texts=tuple(texts))


def _constant(name: str, text: str, dtype: pl.DataType) -> float | str:
    if not dtype.is_numeric():
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"'{name}' holds numbers; it cannot be filled with '{text}'.") from None


def _statistic(name: str, strategy: Literal["mean", "median", "mode"]) -> pl.Expr:
    column = pl.col(name).drop_nulls()
    if strategy == "mean":
        return column.mean()
    if strategy == "median":
        return column.median()
    return column.mode().sort().first()


def unescape(text: pl.Series) -> pl.Series:
    """Text with HTML entities turned into the characters they stand for.

    Cost: one search a row; only distinct texts with an entity are turned.

    >>> unescape(pl.Series(["Tom &amp; Jerry", "R&D", None])).to_list()
    ['Tom & Jerry', 'R&D', None]
    """
    has = text.str.contains(ENTITY)
    if not has.any():
        return text
    distinct = text.filter(has.fill_null(value=False)).unique()
    turned = pl.Series([re.sub(ENTITY, _character, value) for value in distinct.to_list()], dtype=pl.String)
    return text.replace(distinct, turned)


def _character(entity: re.Match[str]) -> str:
    """What one entity stands for; an unknown name stays, as it may be no entity at all."""
    text = entity[0]
    return html.unescape(text) if text[1] == "#" else html5.get(text[1:], text)


__all__ = [
    "REQUIRED",
    "RULES",
    "CleaningConfig",
    "Mending",
    "plan_mending",
    "row_rules",
    "unescape",
]
