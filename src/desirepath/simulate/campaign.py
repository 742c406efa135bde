# SPDX-License-Identifier: Apache-2.0
"""A randomised campaign with a known effect.

Every user who has signed up by then is drawn into treatment or control; both potential outcomes are
drawn for each, so the effect is known user by user. What it makes people buy becomes a visit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.simulate.chance import generator
from desirepath.simulate.population import Population
from desirepath.simulate.segments import column
from desirepath.simulate.settings import DAY_US, MarketplaceConfig

TREATED_SHARE = 0.5
"""Chance of treatment, the same for all: the logged propensity."""

WINDOW_DAYS = 7
"""Days after the message in which its effect falls."""


class Campaign(NamedTuple):
    """What the campaign does to each user of a shard."""

    sent_us: int
    """Moment of the message."""
    eligible: NDArray[np.bool_]
    """Signed up by then and no robot."""
    treated: NDArray[np.bool_]
    """Got the message."""
    without: NDArray[np.bool_]
    """Buys in the window if not treated."""
    with_it: NDArray[np.bool_]
    """Buys in the window if treated."""
    moment_us: NDArray[np.int64]
    """When that purchase's visit begins."""

    @property
    def buys(self) -> NDArray[np.bool_]:
        """Whose potential purchase comes true."""
        return self.eligible & np.where(self.treated, self.with_it, self.without)


def sent_at(config: MarketplaceConfig) -> int:
    """Nine in the morning of the day at three fifths of the log, early enough for the whole window."""
    day = min(config.days * 3 // 5, config.days - WINDOW_DAYS - 2)
    return config.start_us + day * DAY_US + 9 * 3_600_000_000


def draw_campaign(config: MarketplaceConfig, people: Population, shard: int) -> Campaign:
    """The campaign among the users of a shard.

    With segment s of the user at that moment and u even in [0, 1): buys without it if
    `u < baseline[s]`, with it if `u < baseline[s] + uplift[s]`. So the mean difference of the number
    of campaign purchases between the arms is `uplift[s]`.
    """
    rng = generator(config.seed, 7, shard)
    n = len(people)
    moment = sent_at(config)
    segment = people.segment_at(np.arange(n), moment)
    eligible = ~people.robot & (people.signup_us <= moment)
    treated = (rng.random(n) < TREATED_SHARE) & eligible
    u = rng.random(n)
    baseline = column("baseline")[segment]
    # An hour is kept free at the end, so that the purchase itself falls into the window.
    window = WINDOW_DAYS * DAY_US - 3_600_000_000
    return Campaign(
        sent_us=moment,
        eligible=eligible,
        treated=treated,
        without=u < baseline,
        with_it=u < baseline + column("uplift")[segment],
        moment_us=moment + (rng.random(n) * window).astype(np.int64),
    )
