# SPDX-License-Identifier: Apache-2.0
"""The users of one shard: who they are, what they like and when they come.

A shard is a run of neighbouring user numbers; all draws follow from the seed and the shard's
number. What happens in a visit is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from desirepath.simulate.chance import generator
from desirepath.simulate.segments import (
    N_PER_DEPARTMENT,
    N_SEGMENTS,
    SEGMENTS,
    column,
    hour_chances,
    weekday_weights,
)
from desirepath.simulate.settings import DAY_US, MarketplaceConfig
from desirepath.simulate.words import AGE_BANDS, COUNTRIES

EARLIER_SHARE = 0.7
"""Share of the users who are not cold that signed up before the log begins."""

ACTIVITY_SHAPE = 3.0
"""Visits of a user: Poisson with a gamma-distributed mean of this shape (times the segment's)."""


HABIT: Final = np.dtype(
    [
        ("switch_us", "i8"),  # when the segment changes; the end of the log for those who stay
        ("segment", "i1"),  # segment at the start
        ("segment_after", "i1"),  # segment after the switch; the same for those who stay
        ("favourite", "i1"),  # a category of the home department that the user returns to
        ("way", "i1"),  # direction along rings that the user keeps to in most visits: 1 or -1
    ],
    align=True,
)
"""What walks read of a user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The users of a shard, as columns."""

    first: int
    """Number of the shard's first user."""
    habits: NDArray[np.void]
    """Rows of HABIT: segment, switch and favourite."""
    signup_us: NDArray[np.int64]
    """When the user signed up, a midnight; no event comes before it."""
    activity: NDArray[np.float64]
    """Visits relative to the mean user."""
    robot: NDArray[np.bool_]
    """Who is a robot; robots have no organic visits."""
    cold: NDArray[np.bool_]
    """Who signed up in the last tenth of the days."""
    country: NDArray[np.int8]
    """Index into `words.COUNTRIES`."""
    age_band: NDArray[np.int8]
    """Index into `words.AGE_BANDS`."""
    mobile: NDArray[np.bool_]
    """Whose main device is a telephone: nine of ten visits come from it, of the others one of ten."""

    def segment_at(self, user: NDArray[np.integer], time_us: NDArray[np.int64] | int) -> NDArray[np.int8]:
        """Segments of users (indexes in the shard) at moments."""
        habit = self.habits[user]
        before = time_us < habit["switch_us"]
        segment: NDArray[np.int8] = np.where(before, habit["segment"], habit["segment_after"])
        return segment

    def __len__(self) -> int:
        """Users of the shard."""
        return len(self.robot)


def draw_population(config: MarketplaceConfig, shard: int, first: int, n: int) -> Population:
    """The `n` users of a shard from number `first` on."""
    rng = generator(config.seed, 3, shard)
    shares = np.array([segment.share for segment in SEGMENTS])
    segment = rng.choice(N_SEGMENTS, size=n, p=shares).astype(np.int8)
    robot = np.zeros(n, np.bool_)
    robot[rng.choice(n, size=min(n, _rounded(config.robot_share * n, rng)), replace=False)] = True
    switches = (rng.random(n) < config.switch_share) & ~robot
    length = config.end_us - config.start_us
    moment = config.start_us + ((0.25 + 0.5 * rng.random(n)) * length).astype(np.int64)
    other = (segment + rng.integers(1, N_SEGMENTS, n)) % N_SEGMENTS
    cold = (rng.random(n) < config.cold_share) & ~robot
    new = ~cold & ~robot & (rng.random(n) >= EARLIER_SHARE)
    cold_day = (config.cold_us - config.start_us) // DAY_US
    day = -rng.integers(0, 365, n)
    day = np.where(new, rng.integers(0, cold_day, n), day)
    day = np.where(cold, rng.integers(cold_day, config.days, n), day)
    habits = np.empty(n, HABIT)
    habits["segment"], habits["segment_after"] = segment, np.where(switches, other, segment)
    habits["switch_us"] = np.where(switches, moment, config.end_us)
    habits["favourite"] = segment * N_PER_DEPARTMENT + rng.integers(0, N_PER_DEPARTMENT, n)
    habits["way"] = rng.choice([-1, 1], n)
    return Population(
        first=first,
        habits=habits,
        signup_us=config.start_us + day * DAY_US,
        activity=rng.gamma(ACTIVITY_SHAPE, 1 / ACTIVITY_SHAPE, n) * column("activity")[segment],
        robot=robot,
        cold=cold,
        country=_labels(rng, COUNTRIES, n),
        age_band=_labels(rng, AGE_BANDS, n),
        mobile=rng.random(n) < column("mobile")[segment],
    )


def draw_moments(
    config: MarketplaceConfig, people: Population, visits_per_user: float, shard: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """When the users of a shard come by themselves.

    A user's number of visits is Poisson, at least one; each visit falls on a day since sign-up with
    the segment's weekday weight and in an hour with its hour chance, evenly within the hour.

    Args:
        config: sizes and calendar.
        people: the users.
        visits_per_user: mean number of visits (before the rule of at least one).
        shard: number of the shard.

    Returns:
        User (index in the shard) and moment (microseconds since 1970) of each visit, by user.
    """
    rng = generator(config.seed, 4, shard)
    day_from = np.maximum(0, (people.signup_us - config.start_us) // DAY_US)
    pace = np.where(people.robot, 0.0, people.activity * (config.days - day_from))
    counts = np.maximum(1, rng.poisson(visits_per_user * pace * np.count_nonzero(~people.robot) / pace.sum()))
    counts[people.robot] = 0
    user = np.repeat(np.arange(len(people), dtype=np.int32), counts)
    weights, hours = weekday_weights(), np.cumsum(hour_chances(), axis=1)
    first_weekday = (config.start_us // DAY_US + 3) % 7
    segment = np.empty(len(user), np.int8)
    day = np.empty(len(user), np.int64)
    open_ = np.arange(len(user))
    while len(open_):
        who = user[open_]
        day[open_] = rng.integers(day_from[who], config.days)
        noon = config.start_us + day[open_] * DAY_US + DAY_US // 2
        segment[open_] = people.segment_at(who, noon)
        accepted = rng.random(len(open_)) < weights[segment[open_], (first_weekday + day[open_]) % 7]
        open_ = open_[~accepted]
    u = rng.random(len(user))
    hour = np.zeros(len(user), np.int64)
    for number in range(N_SEGMENTS):
        rows = segment == number
        hour[rows] = np.searchsorted(hours[number, :-1], u[rows], side="right")
    within = (rng.random(len(user)) * 3_600_000_000).astype(np.int64)
    return user, config.start_us + day * DAY_US + hour * 3_600_000_000 + within


def _labels(rng: np.random.Generator, options: tuple[tuple[str, float], ...], n: int) -> NDArray[np.int8]:
    shares = np.array([share for _, share in options])
    return rng.choice(len(options), size=n, p=shares / shares.sum()).astype(np.int8)


def _rounded(mean: float, rng: np.random.Generator) -> int:
    """A whole number with this mean: the fraction decides by chance whether to round up."""
    return int(mean) + int(rng.random() < mean - int(mean))
