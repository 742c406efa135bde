# SPDX-License-Identifier: Apache-2.0
"""Limits of the service as settings, light enough to be read without the web framework."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, fields
from typing import Literal

from desirepath.errors import ConfigError

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
"""What this machine calls itself, in a URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Where and how a workspace is served."""

    host: str = "127.0.0.1"
    """Address to bind; another than this machine's own needs a key."""
    port: int = 8088
    """TCP port, 0 for any free one."""
    database: str = ""
    """URL of the live store, with {project} where several have one each; empty: SQLite in the workspace."""
    redis: str = ""
    """URL of a Redis server that shares user states and rates among several processes; empty: in memory."""
    threads: int = 1
    """Threads that one product of a model takes; more are quicker alone and slower under load."""
    cors_origins: tuple[str, ...] = ()
    """Origins of other sites whose pages may ask, such as https://shop.example; none at first."""
    log: Literal["auto", "json", "text", "none"] = "auto"
    """How requests are logged on standard error; "auto": as text on a terminal, else as JSON."""
    grace_s: int = 30
    """Seconds that requests under way get to end once the server was told to stop."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port must be from 0 to 65535; got {self.port}.")
        if self.threads < 1:
            raise ConfigError(f"threads must be at least 1; got {self.threads}.")
        if self.grace_s < 1:
            raise ConfigError(f"grace_s must be at least 1; got {self.grace_s}.")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


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
    redis: str = ""
    """URL of a Redis server over which several processes count rates together; each alone where empty."""

    def __post_init__(self) -> None:
        for origin in self.cors_origins:
            plain = origin.removeprefix("https://").removeprefix("http://")
            if origin != "*" and (plain == origin or not plain or set(plain) & set("/*?# ")):
                raise ConfigError(
                    f"cors_origins must be origins such as https://shop.example, without a path, or '*'; "
                    f"got '{origin}'."
                )
