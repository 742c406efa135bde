# SPDX-License-Identifier: Apache-2.0
"""Token buckets: how much each name may take at once and in the long run, in one process or over several.

Those of several processes lie in Redis. A process takes tokens from there some at a time, so that few
requests wait for the server. It knows no HTTP.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import redis
import structlog

from desirepath.errors import ConfigError

MOST_BUCKETS = 20_000
"""Names that are remembered; the one not heard of for longest is forgotten first."""
SHARE = 50.0
"""A process holds one such part of a bucket at most."""
HELD_S = 1.0
"""How long a process holds tokens that it does not use; with its next request it gives them back."""
ANSWER_S = 0.1
"""How long Redis may take to answer, seconds."""
AWAY_S = 1.0
"""How long it is not asked again when it did not, seconds."""

log = structlog.get_logger("desirepath.serving")

Taken = tuple[bool, float, float]
"""Whether there was a token, how many are left, seconds until there is one."""

# Gives back tokens of a bucket, lets it fill, takes as many as are wanted and there; by the server's clock.
_TAKE = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local known = redis.call('HMGET', KEYS[1], 'level', 'since')
local level, since = tonumber(known[1] or burst), tonumber(known[2] or now)
level = math.min(burst, level + math.max(0, now - since) * rate + tonumber(ARGV[4]))
local given = math.min(tonumber(ARGV[3]), math.floor(level))
level = level - given
redis.call('HSET', KEYS[1], 'level', string.format('%.9f', level), 'since', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(1000 * burst / rate) + 1000)
return {given, string.format('%.9f', level)}
"""


class TokenBuckets(Protocol):
    """Buckets that tokens are taken from by name."""

    def take(self, name: str) -> Taken:
        """Take one token."""
        ...


class Buckets:
    """Token buckets of one process: each name may take `burst` at once, and `rate_per_s` in the long run.

    >>> clock = iter([0.0, 0.0, 0.0, 0.5]).__next__
    >>> buckets = Buckets(rate_per_s=2.0, burst=2.0, clock=clock)
    >>> [buckets.take("anna")[0] for _ in range(4)]
    [True, True, False, True]
    """

    def __init__(
        self, rate_per_s: float, burst: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """All buckets are full at first."""
        self.rate_per_s, self.burst = rate_per_s, burst
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> Taken:
        """Take one token."""
        now = self._clock()
        level, since = self._levels.pop(name, (self.burst, now))
        level = min(self.burst, level + (now - since) * self.rate_per_s)
        is_allowed = level >= 1.0
        level -= 1.0 if is_allowed else 0.0
        self._levels[name] = (level, now)
        if len(self._levels) > MOST_BUCKETS:
            self._levels.popitem(last=False)
        return is_allowed, level, max(0.0, (1.0 - level) / self.rate_per_s)

    def __len__(self) -> int:
        """Names that are remembered."""
        return len(self._levels)


@dataclass(slots=True)
class _Held:
    """What this process has of a bucket."""

    tokens: int
    level: float
    """Tokens that were left in Redis."""
    since_s: float
    until_s: float = 0.0
    """The moment before which there is nothing to take."""


class SharedBuckets:
    """Token buckets that several processes take from, in Redis.

    All processes together give at most `burst + rate_per_s * s` tokens in s seconds, and besides what they
    hold: a fiftieth of `burst` each, for a second. While the server does not answer, each counts alone.

    Cost: a round trip to the server (0.1 ms on one machine) for every fiftieth of `burst`, or for every
    token where that is less than one.
    """

    def __init__(self, rate_per_s: float, burst: float, server: redis.Redis, prefix: str) -> None:
        """Take from buckets whose keys begin with `prefix`.

        Args:
            rate_per_s: tokens that a bucket gains.
            burst: tokens of a full bucket.
            server: from `connect`.
            prefix: tells these buckets from all others on the server.
        """
        self.rate_per_s, self.burst = rate_per_s, burst
        self._prefix, self._wanted = prefix, max(1, int(burst / SHARE))
        self._take: Any = server.register_script(_TAKE)
        self._alone = Buckets(rate_per_s, burst)
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._away_until_s = 0.0

    def take(self, name: str) -> Taken:
        """Take one token."""
        now = time.monotonic()
        held = self._held.pop(name, None) or _Held(0, 0.0, now)
        if held.tokens == 0 or now - held.since_s > HELD_S:
            if now < self._away_until_s:
                return self._alone.take(name)
            if now >= held.until_s:
                try:
                    held = self._refilled(name, held.tokens, now)
                except redis.RedisError as error:
                    self._away_until_s = now + AWAY_S
                    log.warning("rates are counted by each process alone", error=type(error).__name__)
                    return self._alone.take(name)
        is_allowed = held.tokens > 0
        held.tokens -= int(is_allowed)
        self._held[name] = held
        if len(self._held) > MOST_BUCKETS:
            self._held.popitem(last=False)
        left = held.tokens + held.level
        wait_s = held.until_s - now if held.until_s > now else max(0.0, (1.0 - left) / self.rate_per_s)
        return is_allowed, left, wait_s

    def _refilled(self, name: str, unused: int, now: float) -> _Held:
        given, level = self._take(
            keys=[self._prefix + name], args=[self.rate_per_s, self.burst, self._wanted, unused]
        )
        until_s = 0.0 if given else now + (1.0 - float(level)) / self.rate_per_s
        return _Held(int(given), float(level), now, until_s)


def connect(url: str) -> redis.Redis:
    """A Redis server that is not waited for.

    Raises:
        ConfigError: the URL is none of a Redis server.
    """
    try:
        return redis.Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
    except ValueError:
        raise ConfigError("Redis must have a URL such as redis://127.0.0.1:6379/0.") from None
