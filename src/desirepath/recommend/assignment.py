# SPDX-License-Identifier: Apache-2.0
"""Who sees which variant: by a hash, so that the same user always sees the same, on every server.

It knows names and shares; what a variant stands for is looked up elsewhere. Its options come from
[experiment.NAME] of the workspace's TOML.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from desirepath.errors import ConfigError, nearest

Kind = Literal["ab", "interleaving"]
Metric = Literal["ctr", "conversion", "satisfaction"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentConfig:
    """One experiment: what is compared, on whom, and by what it is judged."""

    name: str
    """The NAME of [experiment.NAME]: letters, digits, "-" and "_"; part of the hash."""
    variants: Mapping[str, str]
    """Variant name to what it answers with: a scenario, or a model version as "model:NAME". The first is
    the one that others are compared with. Interleaving takes exactly two."""
    kind: Kind = "ab"
    """"ab" shows each user one variant; "interleaving" mixes the two variants' lists (team draft)."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Variant name to its share of the users in the experiment, above 0, 1 in sum; empty for equal shares."""
    traffic: float = 1.0
    """Share of all users that take part, in (0, 1]; raising it never moves those who take part already."""
    scenario: str = "default"
    """The scenario whose requests it changes."""
    metric: Metric = "ctr"
    """What decides: "ctr", "conversion" or "satisfaction"; interleaving is decided by clicks."""
    start: datetime | None = None
    """First moment, UTC where it names no zone; None for at once."""
    end: datetime | None = None
    """Moment from which it no longer runs; None for never."""
    salt: str = ""
    """Changes who sees what: a new salt draws the users anew."""
    enabled: bool = True
    """False stops it without removing its section."""

    def __post_init__(self) -> None:
        self._check_variants()
        if not 0.0 < self.traffic <= 1.0:
            raise self._wrong("traffic", f"must lie in (0, 1]; got {self.traffic}")
        for key, known in (("kind", get_args(Kind)), ("metric", get_args(Metric))):
            value = getattr(self, key)
            if value not in known:
                raise self._wrong(key, f"must be one of {', '.join(known)}; got {value!r}")
        for key in ("start", "end"):
            moment = getattr(self, key)
            if moment is not None and moment.tzinfo is None:
                object.__setattr__(self, key, moment.replace(tzinfo=UTC))
        if self.start and self.end and self.end <= self.start:
            raise self._wrong("end", f"must come after start; got {self.end} after {self.start}")

    def _check_variants(self) -> None:
        names = list(self.variants)
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"[experiment.{self.name}]: a name must be 1 to 64 letters, digits, '-' or '_', and begin "
                "with a letter or digit."
            )
        if len(names) < 2:
            raise self._wrong("variants", f"must name at least two variants; got {names}")
        if self.kind == "interleaving" and len(names) != 2:
            raise self._wrong("variants", f"must be two for interleaving; got {len(names)}")
        for name, target in self.variants.items():
            if not NAME.fullmatch(name) or not target.removeprefix("model:"):
                raise self._wrong(
                    "variants", f"must be names with a scenario or model:NAME; got {name!r}={target!r}"
                )
        for name, share in self.shares.items():
            if name not in names:
                raise self._wrong("shares", f"names '{name}', which is no variant. {nearest(name, names)}")
            if not (math.isfinite(share) and share > 0):
                raise self._wrong("shares", f"must be above 0; {name} has {share}")
        if self.shares and (
            set(self.shares) != set(names) or not math.isclose(sum(self.shares.values()), 1.0, abs_tol=1e-6)
        ):
            raise self._wrong("shares", f"must cover all variants and add up to 1; got {dict(self.shares)}")

    def _wrong(self, key: str, what: str) -> ConfigError:
        return ConfigError(f"[experiment.{self.name}] {key} {what}.")

    def runs(self, now: datetime) -> bool:
        """Whether it runs at this moment."""
        return (
            self.enabled
            and (self.start is None or now >= self.start)
            and (self.end is None or now < self.end)
        )

    def variant(self, user_id: str) -> str | None:
        """The variant of this user; None for one who does not take part.

        The same on every machine and in every year: 64 bits of BLAKE2b over experiment, salt and user. Two
        experiments draw independently.

        >>> test = ExperimentConfig(name="rows", variants={"old": "home", "new": "home2"})
        >>> [test.variant(user) for user in ("ann", "bob", "cy")]
        ['new', 'old', 'new']
        """
        if self.traffic < 1.0 and _draw("traffic", self.name, self.salt, user_id) >= self.traffic:
            return None
        place = _draw("variant", self.name, self.salt, user_id)
        reached = 0.0
        for name in self.variants:
            reached += self.shares[name] if self.shares else 1.0 / len(self.variants)
            if place < reached:
                return name
        return list(self.variants)[-1]  # shares that add up to a hair below 1


def experiments_from(section: Mapping[str, Any]) -> dict[str, ExperimentConfig]:
    """The experiments of the TOML's [experiment.NAME] tables.

    Args:
        section: what stands under `experiment`: name to a table of keys.

    Raises:
        ConfigError: a key is unknown, of the wrong type or out of its range; two experiments change the same
            scenario at one time.

    >>> experiments_from({"rows": {"variants": {"old": "home", "new": "home2"}}})["rows"].kind
    'ab'
    """
    found: dict[str, ExperimentConfig] = {}
    for name, values in section.items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"'{name}' must stand in a table of its own: [experiment.{name}].")
        found[name] = _one(name, values)
    _check_overlap(found.values())
    return found


def _one(name: str, values: Mapping[str, Any]) -> ExperimentConfig:
    known = {f.name for f in fields(ExperimentConfig)} - {"name"}
    for key in values:
        if key not in known:
            raise ConfigError(f"[experiment.{name}] has no key '{key}'. {nearest(key, sorted(known))}")
    if "variants" not in values:
        raise ConfigError(
            f"[experiment.{name}] variants must name what is compared, such as "
            'variants = { old = "default", new = "model:20261122T101500-sasrec" }.'
        )
    typed = dict(values)
    for key, value in values.items():
        typed[key] = _typed(name, key, value)
    return ExperimentConfig(name=name, **typed)


def _typed(name: str, key: str, value: Any) -> Any:
    """The value of a key in the type of its field."""
    wanted: str | None = None
    if key in ("variants", "shares"):
        kinds = str if key == "variants" else (int, float)
        table = isinstance(value, Mapping)
        if not table or any(isinstance(v, bool) or not isinstance(v, kinds) for v in value.values()):
            wanted = f"a table of {'texts' if key == 'variants' else 'numbers'} by variant"
    elif key in ("start", "end"):
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value)
            except ValueError:
                wanted = "a date and time such as 2026-11-22T09:00:00Z"
        elif not isinstance(value, datetime):
            wanted = "a date and time such as 2026-11-22T09:00:00Z"
    elif key == "traffic":
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            wanted = "a number"
    elif key == "enabled":
        if not isinstance(value, bool):
            wanted = "true or false"
    elif not isinstance(value, str):
        wanted = "a text"
    if wanted:
        raise ConfigError(f"[experiment.{name}] {key} must be {wanted}; got {value!r}.")
    return value


def _check_overlap(experiments: Iterable[ExperimentConfig]) -> None:
    """Two experiments on one scenario at one time would change each other's lists."""
    enabled = [e for e in experiments if e.enabled]
    early, late = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for place, one in enumerate(enabled):
        for other in enabled[:place]:
            apart = (one.end or late) <= (other.start or early) or (other.end or late) <= (one.start or early)
            if one.scenario == other.scenario and not apart:
                raise ConfigError(
                    f"[experiment.{one.name}] scenario '{one.scenario}' is changed by "
                    f"[experiment.{other.name}] at the same time. Give one another scenario, or other times."
                )


def _draw(*parts: str) -> float:
    """A number in [0, 1) that follows from the parts alone."""
    digest = hashlib.blake2b("\x00".join(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53
