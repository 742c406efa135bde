# SPDX-License-Identifier: Apache-2.0
"""Scenarios: named sets of rules for lists, such as those of the home page, checked when they are read.

They hold options alone; `policy` carries them out. No model and no item is known here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from desirepath.config import resolve
from desirepath.errors import ConfigError, nearest
from desirepath.recommend.comparison import Kinds
from desirepath.recommend.expressions import parse

FALLBACK = ("similar", "trending", "popular", "latest")
"""Where items come from when the model has too few, in this order."""
MAX_K = 1000
"""Longest list."""
MAX_DRAWN = 1_000_000
"""Numbers that Thompson sampling draws for one list; some 0.1 seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostConfig:
    """Makes items that an expression selects more or less likely to be shown."""

    filter: str
    """Which items, such as `category == 'news'`; those of which it cannot be told are left as they are."""
    times: float | None = None
    """Factor on the odds, above 0: 2 doubles them, 0.5 halves them. Give this or `plus`."""
    plus: float | None = None
    """Added to the log-odds: 0.7 is about `times = 2`. Give this or `times`."""

    def __post_init__(self) -> None:
        """Check the expression and that one finite amount is given."""
        parse(self.filter)
        if (self.times is None) == (self.plus is None):
            raise ConfigError("A boost must have either 'times' or 'plus'; give one of them.")
        if self.times is not None and not (self.times > 0 and math.isfinite(self.times)):
            raise ConfigError(f"A boost's 'times' must be above 0; got {self.times}. A filter removes items.")
        if self.plus is not None and not math.isfinite(self.plus):
            raise ConfigError(f"A boost's 'plus' must be a finite number; got {self.plus}.")

    @property
    def log_odds(self) -> float:
        """What it adds to the log-odds."""
        return math.log(self.times) if self.times is not None else float(self.plus or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinConfig:
    """Puts one item at one place of the list."""

    item: str
    """Id of the item."""
    position: int
    """Its place, 1 is first; past the end of a short list it comes last."""
    force: bool = False
    """Show it even where a filter would not, hidden or seen items included."""

    def __post_init__(self) -> None:
        """Check the place."""
        if not 1 <= self.position <= MAX_K:
            raise ConfigError(f"A pin's position must be from 1 to {MAX_K}; got {self.position}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorationConfig:
    """How much of the list is left to chance, so that something is learned of items rarely shown."""

    method: Literal["none", "epsilon", "thompson"] = "none"
    """`epsilon`: a slot now and then shows an item drawn evenly from the pool. `thompson`: the given slots
    show the items with the highest click rates drawn from what is believed of them."""
    share: float = 0.05
    """epsilon: probability that a slot explores, 0 to 1."""
    slots: tuple[int, ...] = ()
    """Places open to exploration, 1 is first; epsilon: all when empty; thompson: the last when empty."""
    pool: int = 50
    """Most candidates that a slot may draw from, the best that the list left out; 1 to 1000."""
    prior_impressions: float = 20.0
    """thompson: how many impressions the usual click rate of the pool counts for, above 0."""
    draws: int = 256
    """thompson: simulated lists behind each propensity, 16 to 100,000; none is told below 1 / (draws + 1)."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("share", self.share, 0.0, 1.0)
        _between("pool", self.pool, 1, 1000)
        _between("draws", self.draws, 16, 100_000)
        if self.pool * self.draws > MAX_DRAWN:
            raise ConfigError(
                f"pool x draws must be at most {MAX_DRAWN:,}, since every list draws so many numbers; "
                f"got {self.pool * self.draws:,}."
            )
        if not (self.prior_impressions > 0 and math.isfinite(self.prior_impressions)):
            raise ConfigError(f"prior_impressions must be above 0; got {self.prior_impressions}.")
        if len(set(self.slots)) != len(self.slots) or any(not 1 <= slot <= MAX_K for slot in self.slots):
            raise ConfigError(f"slots must be distinct places from 1 to {MAX_K}; got {list(self.slots)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioConfig:
    """The rules of one kind of list: what may be shown, in what order, and what is left to chance."""

    k: int = 10
    """Length of the list when a request does not say, 1 to 1000."""
    n_candidates: int = 200
    """How many of the model's best are looked at, 1 to 100,000; never fewer than k."""
    filter: str = ""
    """What every item must satisfy, such as `price < 20 and not 'adult' in categories`; all when empty."""
    exclude_seen: bool | None = None
    """Leave out what the user has had; as the model's evaluation did when not given."""
    languages: tuple[str, ...] = ()
    """Show only items whose `language` is one of these; all when empty."""
    max_age_days: float | None = None
    """Show only items made at most so many days ago; no limit when not given."""
    min_probability: float = 0.0
    """Leave out items whose probability is known and below this, 0 to 1."""
    boosts: tuple[BoostConfig, ...] = ()
    """Items made more or less likely; several on one item add up in log-odds."""
    freshness_half_life_days: float | None = None
    """An item's odds halve with every so many days of its age; no change when not given."""
    values: Mapping[str, float] = field(default_factory=dict)
    """What each predicted action is worth, such as {purchase = 5.0, hide = -2.0}; all alike when empty."""
    pins: tuple[PinConfig, ...] = ()
    """Items at fixed places."""
    caps: Mapping[str, int] = field(default_factory=dict)
    """Most items of a list that share a value of a column, such as {author = 2, categories = 4}."""
    diversity: float = 0.0
    """0: the order of relevance, unchanged; 1: after the first item only how unlike the others an item is."""
    diversity_method: Literal["dpp", "mmr"] = "dpp"
    """`dpp`: the list as a whole spans much (Chen 2018); `mmr`: no item is near another (Carbonell 1998)."""
    diversity_pool: int = 150
    """How many of the best candidates diversity chooses from, 1 to 1000; longer lists go on by value."""
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    """How much is left to chance."""
    fallback: tuple[str, ...] = FALLBACK
    """Sources asked in this order when the ones before have too few items; nothing more when empty."""

    def __post_init__(self) -> None:
        """Check ranges, expressions and places."""
        _between("k", self.k, 1, MAX_K)
        _between("n_candidates", self.n_candidates, 1, 100_000)
        _between("diversity", self.diversity, 0.0, 1.0)
        _between("diversity_pool", self.diversity_pool, 1, 1000)
        _between("min_probability", self.min_probability, 0.0, 1.0)
        for name in ("max_age_days", "freshness_half_life_days"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be above 0; got {value}. Leave it out for no limit.")
        if self.filter:
            parse(self.filter)
        check_numbers(self.caps, self.values)
        if self.values and not any(self.values.values()):
            raise ConfigError("values must give some action a worth other than 0; leave it out otherwise.")
        check_pins(self.pins)
        for name in self.fallback:
            if name not in FALLBACK:
                raise ConfigError(f"fallback has no source '{name}'. {nearest(name, FALLBACK)}")
        if len(set(self.fallback)) != len(self.fallback):
            raise ConfigError(f"fallback must name each source once; got {list(self.fallback)}.")

    def check(self, schema: Kinds) -> None:
        """Raise ConfigError unless all expressions and columns can be asked of items with these columns."""
        for text in (self.filter, *(boost.filter for boost in self.boosts)):
            if text:
                parse(text).compile(schema)
        needed = {column: "caps" for column in self.caps}
        if self.languages:
            needed["language"] = "languages"
        for name in ("max_age_days", "freshness_half_life_days"):
            if getattr(self, name) is not None:
                needed["created_at"] = name
        for column, key in needed.items():
            if column not in schema:
                raise ConfigError(f"{key}: items have no column '{column}'. {nearest(column, schema)}")


def check_pins(pins: Sequence[PinConfig]) -> None:
    """Raise ConfigError where two pins claim one place, or one item two."""
    columns: dict[str, list[str | int]] = {
        "position": [pin.position for pin in pins],
        "item": [pin.item for pin in pins],
    }
    for name, values in columns.items():
        if len(set(values)) != len(values):
            again = next(value for value in values if values.count(value) > 1)
            raise ConfigError(f"Two pins must not share the {name} {again!r}. Drop one of them.")


def check_numbers(caps: Mapping[str, int], values: Mapping[str, float]) -> None:
    """Raise ConfigError unless caps are from 1 to 1000 and values finite."""
    for column, most in caps.items():
        _between(f"caps.{column}", most, 1, MAX_K)
    for action, worth in values.items():
        if not math.isfinite(worth):
            raise ConfigError(f"values.{action} must be a finite number; got {worth}.")


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be from {low:g} to {high:g}; got {value}.")


NESTED = {"boosts": BoostConfig, "pins": PinConfig, "exploration": ExplorationConfig}


def load_scenarios(
    sections: Mapping[str, Any], schema: Mapping[str, pl.DataType] | None = None
) -> dict[str, ScenarioConfig]:
    """The scenarios of the `[scenario.NAME]` sections of a TOML file, checked whole.

    >>> load_scenarios({"home": {"k": 20, "caps": {"author": 2}}})["home"].k
    20
    >>> load_scenarios({"home": {"diversty": 0.3}})
    Traceback (most recent call last):
    desirepath.errors.ConfigError: [scenario.home] has no key 'diversty'. Did you mean 'diversity'?

    Args:
        sections: what stands under `scenario`: name to keys.
        schema: the columns known of items; expressions and columns are then held against them as well.

    Raises:
        ConfigError: something is wrong; the message names the scenario and the key. Nothing is loaded then.
    """
    loaded = {}
    for name, keys in sections.items():
        title = f"scenario.{name}"
        if not isinstance(keys, Mapping):
            raise ConfigError(f"[scenario] must hold one table a scenario, such as [{title}]; got {keys!r}.")
        try:
            _check_nested(keys)
            # One key at a time first, so that a wrong value is named with its key.
            for key, value in keys.items():
                _named(key, title, value)
            scenario: ScenarioConfig = resolve({title: ScenarioConfig}, {title: dict(keys)})[title]
            if schema is not None:
                scenario.check(schema)
        except ConfigError as error:
            said = str(error)
            raise ConfigError(said if said.startswith(f"[{title}]") else f"[{title}] {said}") from error
        loaded[name] = scenario
    return loaded


def _named(key: str, title: str, value: Any) -> None:
    """Resolve one key by itself; what is wrong with it is then said of that key."""
    try:
        resolve({title: ScenarioConfig}, {title: {key: value}})
    except ConfigError as error:
        said = str(error)
        is_named = said.startswith((key, f"[{title}]"))
        raise ConfigError(said if is_named else f"{key}: {said}") from error


def _check_nested(keys: Mapping[str, Any]) -> None:
    """Name unknown keys inside the tables of boosts, pins and exploration."""
    for key, kind in NESTED.items():
        tables = keys.get(key, ())
        listed: Iterable[Any] = [tables] if isinstance(tables, Mapping) else tables
        known = [f.name for f in dataclasses.fields(kind)]
        for table in listed if isinstance(listed, Iterable) and not isinstance(listed, str) else ():
            for inner in table if isinstance(table, Mapping) else ():
                if inner not in known:
                    raise ConfigError(f"{key} has no key '{inner}'. {nearest(inner, known)}")
