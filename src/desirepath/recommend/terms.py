# SPDX-License-Identifier: Apache-2.0
"""What one call asks of a list: a scenario and a request as one set of options.

Filters, boosts and pins of both hold; numbers of the request replace the scenario's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from desirepath.errors import ConfigError
from desirepath.recommend.scenario import (
    MAX_K,
    BoostConfig,
    ExplorationConfig,
    PinConfig,
    ScenarioConfig,
    check_numbers,
    check_pins,
)
from desirepath.recommend.slate import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The options of one call."""

    scenario: ScenarioConfig
    request: Request
    exclude_seen: bool
    now_s: float
    """The moment, in seconds since 1970."""
    k: int
    boosts: tuple[BoostConfig, ...]
    pins: tuple[PinConfig, ...]
    """By place; those beyond k left out."""
    caps: Mapping[str, int]
    values: Mapping[str, float]
    diversity: float
    exploration: ExplorationConfig

    @classmethod
    def of(cls, scenario: ScenarioConfig, request: Request, exclude_seen: bool, now_s: float) -> Terms:
        """Join a scenario and a request; `exclude_seen` holds where neither says otherwise.

        Raises:
            ConfigError: a number of the request is out of range, or two of its pins collide.
        """
        k = scenario.k if request.k is None else request.k
        if not 1 <= k <= MAX_K:
            raise ConfigError(f"k must be from 1 to {MAX_K}; got {k}.")
        diversity = scenario.diversity if request.diversity is None else request.diversity
        if not 0.0 <= diversity <= 1.0:
            raise ConfigError(f"diversity must be from 0 to 1; got {diversity}.")
        if request.seed < 0:
            raise ConfigError(f"seed must be 0 or above; got {request.seed}.")
        check_numbers(request.caps, request.values or {})
        own = exclude_seen if scenario.exclude_seen is None else scenario.exclude_seen
        return cls(
            scenario=scenario,
            request=request,
            exclude_seen=own if request.exclude_seen is None else request.exclude_seen,
            now_s=now_s,
            k=k,
            boosts=(*scenario.boosts, *request.boosts),
            pins=tuple(pin for pin in _pins(scenario, request) if pin.position <= k),
            caps={**scenario.caps, **request.caps} if request.caps else scenario.caps,
            values=scenario.values if request.values is None else request.values,
            diversity=diversity,
            exploration=scenario.exploration if request.explore else ExplorationConfig(),
        )


def _pins(scenario: ScenarioConfig, request: Request) -> list[PinConfig]:
    """Pins of both by place; where they collide the request's stays."""
    check_pins(request.pins)
    places = {pin.position for pin in request.pins}
    items = {pin.item for pin in request.pins}
    kept = (pin for pin in scenario.pins if pin.position not in places and pin.item not in items)
    return sorted((*request.pins, *kept), key=lambda pin: pin.position)
