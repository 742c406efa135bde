# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desirepath.models.clock import HOUR_S, WEEK_S, WeekClock


def uneven(seed: int = 0) -> WeekClock:
    return WeekClock(np.exp(np.random.default_rng(seed).normal(0, 1.5, 168)))


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=20), st.integers(0, 5))
def test_moments_come_back(times, seed):
    clock, time_s = uneven(seed), np.array(sorted(times))
    shown = clock.reading(time_s)
    assert (np.diff(shown) >= 0).all()
    np.testing.assert_allclose(clock.moment(shown), time_s, atol=1e-3)


def test_a_week_is_a_week():
    clock = uneven()
    begin = np.linspace(0, 3 * WEEK_S, 50)
    np.testing.assert_allclose(clock.reading(begin + WEEK_S) - clock.reading(begin), WEEK_S)
    even = WeekClock()
    np.testing.assert_allclose(even.reading(begin), begin, atol=1e-6)


def test_time_runs_by_how_busy_it_is():
    """Against a sum over minutes."""
    clock = uneven(1)
    minute = np.arange(0, 3 * 24 * 60) * 60.0
    busy = clock.busy[((minute + 30) % WEEK_S // HOUR_S).astype(int)]
    shown = clock.reading(np.array([minute[-1] + 60.0]))[0] - clock.reading(np.array([0.0]))[0]
    assert shown == pytest.approx(60.0 * busy.sum())


def test_busy_hours_are_found():
    """Three of four moments in the hours from 9 to 17; the rest at any time."""
    rng = np.random.default_rng(2)
    day, inside = rng.integers(0, 70, 40_000) * 86_400.0, rng.random(40_000) < 0.75
    time_s = day + np.where(inside, rng.uniform(9, 17, 40_000), rng.uniform(0, 24, 40_000)) * HOUR_S
    of_day = WeekClock.of(time_s, 50.0).busy.reshape(7, 24).mean(axis=0)
    assert of_day[9:17].mean() == pytest.approx(24 * (0.75 / 8 + 0.25 / 24), rel=0.05)
    assert of_day[:9].mean() == pytest.approx(0.25, rel=0.1)


def test_days_tell_no_hours():
    """A log of dates has an even clock, and so has one of nothing."""
    assert WeekClock.of(np.arange(1000) * 86_400.0, 50.0).busy.std() == 0
    assert WeekClock.of(np.zeros(0), 50.0).busy.std() == 0
