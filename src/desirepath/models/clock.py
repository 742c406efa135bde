# SPDX-License-Identifier: Apache-2.0
"""How busy each hour of the week is, as a clock that runs faster while people are about.

It knows moments only, and reads them in UTC: whatever the time zone of the people, their week comes back
every seven days.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HOUR_S = 3600.0
N_HOURS = 168
WEEK_S = N_HOURS * HOUR_S
COARSE = 0.5
"""Share of moments on whole hours from which a log is held to tell no hours."""


class WeekClock:
    """Operational time: a second of an hour that is twice as busy as the mean counts as two.

    >>> clock = WeekClock(np.repeat([0.5, 1.5], 84))
    >>> float(clock.reading(np.array([3600.0]))[0]), float(clock.moment(np.array([1800.0]))[0])
    (1800.0, 3600.0)
    """

    def __init__(self, busy: Floats | None = None) -> None:
        """Take how busy each of 168 hours is, from Thursday 0:00 UTC (1970 began on one); even when None."""
        even = np.ones(N_HOURS) if busy is None else np.asarray(busy, np.float64)
        # What is kept and restored must stay as it is, to the last bit.
        self.busy = even if abs(even.mean() - 1.0) < 1e-12 else even / even.mean()
        self._before_s = HOUR_S * np.concatenate([[0.0], np.cumsum(self.busy)])

    @staticmethod
    def of(time_s: Floats, prior: float) -> WeekClock:
        """The clock of these moments, hours of the week drawn to hours of the day, and those to the mean.

        `prior` events, above 0, speak for the wider one; infinitely many make an even clock. Logs whose times
        lie on whole hours or days have an even one.
        """
        if not len(time_s) or np.isinf(prior) or np.mean(time_s % HOUR_S == 0) > COARSE:
            return WeekClock()
        hour = ((time_s % WEEK_S) // HOUR_S).astype(np.int64)
        count = np.bincount(hour, minlength=N_HOURS).astype(np.float64)
        of_day = count.reshape(7, 24).sum(axis=0)
        day = (of_day + prior) / (of_day.mean() + prior)
        return WeekClock((count + prior * np.tile(day, 7)) / (count.mean() + prior))

    def reading(self, time_s: Floats) -> Floats:
        """What the clock shows at these moments, in seconds; the mean hour is an hour long."""
        week, rest = np.divmod(time_s, WEEK_S)
        hour = np.minimum((rest / HOUR_S).astype(np.int64), N_HOURS - 1)
        shown: Floats = week * WEEK_S + self._before_s[hour] + self.busy[hour] * (rest - hour * HOUR_S)
        return shown

    def moment(self, reading: Floats) -> Floats:
        """When the clock shows this."""
        week, rest = np.divmod(reading, WEEK_S)
        hour = np.clip(np.searchsorted(self._before_s, rest, side="right") - 1, 0, N_HOURS - 1)
        when: Floats = week * WEEK_S + hour * HOUR_S + (rest - self._before_s[hour]) / self.busy[hour]
        return when
