# SPDX-License-Identifier: Apache-2.0
"""The dials of a simulated marketplace, and three ready settings of them.

It knows sizes and shares only; what happens in the marketplace is the business of the other
files of this room.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from desirepath.errors import ConfigError

DAY_US = 86_400_000_000
"""Microseconds of a day."""

EVENTS_PER_USER = 50
"""Rows a user leaves on average when only `n_events` is given."""

LEAST_EVENTS = 12
"""Rows a user leaves at least on average: everybody comes once, and a visit is about five events."""

LEAST_ITEMS = 240
"""Ten items in each of the 24 categories: fewer cannot fill the slots of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketplaceConfig:
    """How large and how dirty a marketplace is to be; `n_events` is the one dial for its size."""

    n_events: int = 250_000
    """Rows of the log that are aimed at (robots, duplicates and dirty rows included); what comes is
    within 4 per cent of it. At least 1,000, and 12 for each user."""
    n_users: int | None = None
    """Users, robots included, each with at least one event; `n_events / 50` if None. At least 50."""
    n_items: int | None = None
    """Items of the catalogue; a fifth of the users, between 300 and 100,000, if None. At least 240."""
    days: int = 60
    """Length of the log in days, 14 or more: a campaign with its week has to fit in."""
    start: str = "2025-01-06"
    """First day of the log, ISO date, UTC."""
    seed: int = 0
    """Everything follows from it; 0 or more."""
    cold_share: float = 0.05
    """Share of items, and of users, that appear only in the last tenth of the days; 0 to 0.5."""
    switch_share: float = 0.04
    """Share of users who change their segment at a moment in the middle half of the log; 0 to 1."""
    robot_share: float = 0.003
    """Share of users who are robots: too fast and too regular; 0 to 0.5."""
    duplicate_share: float = 0.004
    """Rows written a second time, as a share of the clean rows; 0 to 0.5."""
    dirty_share: float = 0.006
    """Broken copies of rows (no user, no item, no time, ...), as a share of the clean rows; 0 to 0.3."""
    lean: bool = False
    """Only `user_id, item_id, action, time`, and no table beside the log but the items: for
    measuring readers on large logs."""

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        _within("n_events", self.n_events, 1_000, 10**10)
        if self.n_users is not None:
            _within("n_users", self.n_users, 50, 10**9)
        if self.n_items is not None:
            _within("n_items", self.n_items, LEAST_ITEMS, 10**8)
        if self.n_events < LEAST_EVENTS * self.users:
            raise ConfigError(
                f"'n_events' must be at least {LEAST_EVENTS} times the users, since everybody comes once, "
                f"but is {self.n_events:,} for {self.users:,} users. Ask for more events or fewer users."
            )
        _within("days", self.days, 14, 36_500)
        _within("seed", self.seed, 0, 2**63 - 1)
        _within("cold_share", self.cold_share, 0, 0.5)
        _within("switch_share", self.switch_share, 0, 1)
        _within("robot_share", self.robot_share, 0, 0.5)
        _within("duplicate_share", self.duplicate_share, 0, 0.5)
        _within("dirty_share", self.dirty_share, 0, 0.3)
        try:
            datetime.fromisoformat(self.start)
        except ValueError as error:
            raise ConfigError(
                f"'start' must be an ISO date such as 2025-01-06, but is {self.start!r}."
            ) from error

    @property
    def users(self) -> int:
        """Users, robots included."""
        return self.n_users if self.n_users is not None else max(50, self.n_events // EVENTS_PER_USER)

    @property
    def items(self) -> int:
        """Items of the catalogue, cold ones included."""
        return self.n_items if self.n_items is not None else min(100_000, max(300, self.users // 5))

    @property
    def start_us(self) -> int:
        """First moment of the log in microseconds since 1970."""
        day = datetime.fromisoformat(self.start)
        day = day.replace(tzinfo=UTC) if day.tzinfo is None else day.astimezone(UTC)
        return round(day.timestamp()) * 1_000_000

    @property
    def end_us(self) -> int:
        """First moment after the log in microseconds since 1970."""
        return self.start_us + self.days * DAY_US

    @property
    def cold_us(self) -> int:
        """Moment at which the last tenth of the days begins: cold users and items come after it."""
        return self.start_us + (self.days - max(1, self.days // 10)) * DAY_US


def tiny(*, seed: int = 0) -> MarketplaceConfig:
    """A marketplace for tests: 2,000 users, 300 items, about 45,000 events.

    >>> tiny().users, tiny().items
    (2000, 300)
    """
    return MarketplaceConfig(n_events=45_000, n_users=2_000, n_items=300, seed=seed)


def demo(*, seed: int = 0) -> MarketplaceConfig:
    """A marketplace to look at: 5,000 users, 1,000 items, about 250,000 events."""
    return MarketplaceConfig(n_events=250_000, n_users=5_000, n_items=1_000, seed=seed)


def bench(n_events: int, *, lean: bool = False, seed: int = 0) -> MarketplaceConfig:
    """A marketplace of `n_events` rows for measuring; `lean` keeps four columns only."""
    return MarketplaceConfig(n_events=n_events, lean=lean, seed=seed)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"'{name}' must lie between {low:,} and {high:,}, but is {value:,}.")
