# SPDX-License-Identifier: Apache-2.0
"""Limits of the service as settings, light enough to be read without the web framework."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from desirepath.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What one request, and one caller, may take."""

    body_bytes: int = 8 * 2**20
    """Longest body, bytes."""
    body_s: float = 20.0
    """Time in which a body must have arrived, seconds."""
    header_s: float = 10.0
    """Time in which the headers of a request must have arrived, seconds."""
    header_bytes: int = 32 * 2**10
    """Most bytes of all headers together."""
    url_bytes: int = 8 * 2**10
    """Longest path with its query, bytes."""
    request_s: float = 30.0
    """Time until an answer must begin, seconds."""
    most_at_once: int = 256
    """Requests under way at once."""
    most_connections: int = 1024
    """Connections that are open at once."""
    rate_per_s: float = 2000.0
    """Requests a second that one key (or address, without keys) may make in the long run; 0: any number."""
    burst: float = 4000.0
    """Requests that it may make at once."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not (value > 0 or (one.name == "rate_per_s" and value == 0)):
                raise ConfigError(f"[limits] {one.name} must be above 0; got {value}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """What stands between the network and the routes."""

    limits: LimitsConfig = field(default_factory=LimitsConfig)
    """Sizes, times and rates."""
    hosts: frozenset[str] = frozenset()
    """Names under which a server without keys may be asked for; any where empty."""
    writes_log: bool = False
    """Whether every request is written to the log."""
    cors_origins: tuple[str, ...] = ()
    """Origins of other sites whose pages may ask, such as https://shop.example; none at first."""

    def __post_init__(self) -> None:
        for origin in self.cors_origins:
            plain = origin.removeprefix("https://").removeprefix("http://")
            if origin != "*" and (plain == origin or not plain or set(plain) & set("/*?# ")):
                raise ConfigError(
                    f"cors_origins must be origins such as https://shop.example, without a path, or '*'; "
                    f"got '{origin}'."
                )
