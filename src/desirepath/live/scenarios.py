# SPDX-License-Identifier: Apache-2.0
"""The scenarios and experiments of a workspace's TOML, read again when the file changes.

A file that is wrong changes nothing: the rules in force stay, and what is wrong is told wherever they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from desirepath.config import from_toml
from desirepath.errors import ConfigError, nearest
from desirepath.recommend.assignment import ExperimentConfig, experiments_from
from desirepath.recommend.policy import Policy
from desirepath.recommend.scenario import ScenarioConfig, load_scenarios
from desirepath.workspace import stamp

DEFAULT = "default"
LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What is in force."""

    scenarios: Mapping[str, ScenarioConfig]
    policies: Mapping[str, Policy]
    experiments: Mapping[str, ExperimentConfig] = field(default_factory=dict)


class Scenarios:
    """The rules of one workspace, as its TOML says now."""

    def __init__(
        self, path: Path, schema: Callable[[], Mapping[str, pl.DataType]], *, exclude_seen: bool
    ) -> None:
        """Read the file, which need not exist.

        Args:
            path: the TOML with `[scenario.NAME]` and `[experiment.NAME]` tables.
            schema: gives the columns known of items, which expressions are held against.
            exclude_seen: holds where a scenario does not say.

        Raises:
            ConfigError: the file is wrong; nothing is served under rules nobody meant.
        """
        self._path, self._schema, self._exclude_seen = path, schema, exclude_seen
        self.problem: str | None = None
        """What is wrong with the file as it is now; None where the rules in force are those of the file."""
        self._looked_s = time.monotonic()
        self._stamp = stamp(self._path)
        self.rules = self._read()

    def now(self) -> Rules:
        """The rules in force; looks at the file at most once a second."""
        moment = time.monotonic()
        if moment - self._looked_s > LOOK_EVERY_S:
            self._looked_s = moment
            now = stamp(self._path)
            if now != self._stamp:
                self._stamp = now
                try:
                    self.rules, self.problem = self._read(), None
                except ConfigError as error:
                    self.problem = str(error)
        return self.rules

    def policy(self, name: str) -> Policy:
        """The policy of a scenario.

        Raises:
            ConfigError: there is none of that name.
        """
        policies = self.now().policies
        if name not in policies:
            raise ConfigError(f"There is no scenario '{name[:80]}'. {nearest(name[:80], policies)}")
        return policies[name]

    def _read(self) -> Rules:
        sections = from_toml(self._path)
        scenarios = {DEFAULT: ScenarioConfig()}
        scenarios |= load_scenarios(sections.get("scenario", {}), self._schema())
        policies = {
            name: Policy(scenario, exclude_seen=self._exclude_seen) for name, scenario in scenarios.items()
        }
        experiments = experiments_from(sections.get("experiment", {}))
        for experiment in experiments.values():
            for target in (experiment.scenario, *experiment.variants.values()):
                if not target.startswith("model:") and target not in scenarios:
                    raise ConfigError(
                        f"[experiment.{experiment.name}] names the scenario '{target}', which is not there. "
                        f"{nearest(target, scenarios)}"
                    )
        return Rules(scenarios, policies, experiments)
