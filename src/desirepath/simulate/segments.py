# SPDX-License-Identifier: Apache-2.0
"""The six kinds of users: what each likes, when each comes and how far each goes.

These numbers are the planted truth about segments. Who belongs to which segment is drawn in
`population`; what a visit does with the numbers stands in `visits`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_PER_DEPARTMENT = 4
"""Categories in a department; each segment is at home in one department."""

START_WEIGHTS = (0.52, 0.26, 0.14, 0.08)
"""Interest of a segment in the four categories of its department on the first day."""

END_WEIGHTS = (0.08, 0.14, 0.26, 0.52)
"""The same on the last day; in between the two are mixed linearly in time."""

HOME_SHARE = 0.92
"""Interest in the home department; the rest is spread evenly over all other categories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One kind of user."""

    name: str
    """How reports call it."""
    share: float
    """Share of users; the shares sum to 1."""
    hour_peaks: tuple[tuple[float, float, float], ...]
    """Bumps of the daily rhythm: (hour of the day UTC, width in hours, weight)."""
    weekday: tuple[float, ...]
    """Relative activity from Monday to Sunday."""
    activity: float
    """Visits relative to the mean user."""
    like: float
    """Chance that a view is followed by a like."""
    cart: float
    """Chance that a visit with at least one view puts something into the cart."""
    buy: float
    """Chance that what is in the cart is bought."""
    give_back: float
    """Chance that a purchase is returned."""
    uplift: float
    """What the campaign adds to the chance of a purchase in its week; may be negative."""
    baseline: float
    """Chance of that same purchase without the campaign."""
    mobile: float
    """Share of users whose main device is a telephone."""


WORKDAYS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5)
WEEKEND = (0.5, 0.5, 0.5, 0.6, 1.0, 1.8, 1.8)
EVEN = (1.0,) * 7

SEGMENTS = (
    Segment(
        name="early birds", share=0.18, hour_peaks=((6.5, 1.2, 1.0), (12.5, 1.0, 0.2)), weekday=WORKDAYS,
        activity=1.0,
        like=0.08, cart=0.30, buy=0.45, give_back=0.08, uplift=0.06, baseline=0.05, mobile=0.70,
    ),
    Segment(
        name="office browsers", share=0.20, hour_peaks=((10.5, 1.5, 1.0), (15.0, 1.5, 0.8)), weekday=WORKDAYS,
        activity=1.1,
        like=0.05, cart=0.25, buy=0.40, give_back=0.05, uplift=0.03, baseline=0.06, mobile=0.20,
    ),
    Segment(
        name="bargain hunters", share=0.16, hour_peaks=((12.5, 1.0, 0.6), (19.0, 1.5, 1.0)), weekday=EVEN,
        activity=1.2,
        like=0.06, cart=0.45, buy=0.55, give_back=0.15, uplift=0.14, baseline=0.04, mobile=0.55,
    ),
    Segment(
        name="night owls", share=0.15, hour_peaks=((23.0, 1.5, 1.0), (1.0, 1.5, 0.8)), weekday=EVEN,
        activity=1.0,
        like=0.14, cart=0.28, buy=0.40, give_back=0.06, uplift=-0.03, baseline=0.09, mobile=0.80,
    ),
    Segment(
        name="weekend families", share=0.16, hour_peaks=((10.0, 2.0, 1.0), (16.5, 2.0, 0.9)), weekday=WEEKEND,
        activity=0.9,
        like=0.07, cart=0.38, buy=0.50, give_back=0.10, uplift=0.08, baseline=0.07, mobile=0.45,
    ),
    Segment(
        name="window shoppers", share=0.15, hour_peaks=((20.5, 1.8, 1.0), (8.0, 1.0, 0.3)), weekday=EVEN,
        activity=0.9,
        like=0.18, cart=0.12, buy=0.20, give_back=0.04, uplift=0.0, baseline=0.02, mobile=0.85,
    ),
)  # fmt: skip
"""The segments in the order of their indexes; segment s is at home in department s."""

N_SEGMENTS = len(SEGMENTS)
N_CATEGORIES = N_SEGMENTS * N_PER_DEPARTMENT


def hour_chances() -> NDArray[np.float64]:
    """Chance of each hour of the day, by segment: shape (segments, 24), rows sum to 1."""
    hours = np.arange(24) + 0.5
    table = np.full((N_SEGMENTS, 24), 0.0)
    for row, segment in zip(table, SEGMENTS, strict=True):
        for centre, width, weight in segment.hour_peaks:
            away = np.abs(hours - centre)
            away = np.minimum(away, 24 - away)
            row += weight * np.exp(-0.5 * (away / width) ** 2)
        row += 0.02 * row.sum() / 24
    chances: NDArray[np.float64] = table / table.sum(axis=1, keepdims=True)
    return chances


def weekday_weights() -> NDArray[np.float64]:
    """Relative activity by weekday, Monday first, largest 1: shape (segments, 7)."""
    table = np.array([segment.weekday for segment in SEGMENTS])
    weights: NDArray[np.float64] = table / table.max(axis=1, keepdims=True)
    return weights


def interest_weights() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interest of each segment in each category on the first and on the last day.

    Returns:
        Two arrays of shape (segments, categories); rows sum to 1. At a share w of the log's length
        the interest is `(1 - w) * first + w * last`.
    """
    away = (1 - HOME_SHARE) / (N_CATEGORIES - N_PER_DEPARTMENT)
    first = np.full((N_SEGMENTS, N_CATEGORIES), away)
    last = first.copy()
    for segment in range(N_SEGMENTS):
        home = slice(segment * N_PER_DEPARTMENT, (segment + 1) * N_PER_DEPARTMENT)
        first[segment, home] = HOME_SHARE * np.array(START_WEIGHTS)
        last[segment, home] = HOME_SHARE * np.array(END_WEIGHTS)
    return first, last


def column(field: str) -> NDArray[np.float64]:
    """One field of every segment as an array, such as `column("cart")`."""
    return np.array([getattr(segment, field) for segment in SEGMENTS], dtype=np.float64)
