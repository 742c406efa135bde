# SPDX-License-Identifier: Apache-2.0
"""Hazards of the gaps between events: counting them by moment and bin, and how far paces differ.

Flat arrays of gaps only, wherever they come from; `timing` brings them and joins what is found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from desirepath.models.clock import WeekClock
from desirepath.models.outlook import CLOCKED, EDGES_S, SCALE, SCALES_S, WIDTH_S, bins
from desirepath.schema import PADDING

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_CLASSES = len(SCALES_S) + 1
"""Kinds of the gap before: none, or one on each scale."""


def moments(before_s: Floats, action_ix: NDArray[np.integer], n_actions: int) -> Ints:
    """The kind of moment after each event: scale of the gap before it (NaN is none) and its action."""
    none = np.isnan(before_s)
    scale = np.where(none, 0, 1 + SCALE[bins(np.where(none, 0.0, before_s))])
    action = np.where(action_ix < n_actions, action_ix, PADDING).astype(np.int64)
    return scale * n_actions + action


class Gaps(NamedTuple):
    """The gaps to learn from, one after each event: the last of a user has not ended."""

    oldest: Ints
    """(N,) oldest gap that makes its user's pace."""
    moment: Ints
    """(N,) kind of moment that it begins at."""
    begin: Floats
    """(N,) when it begins, seconds since 1970 UTC."""
    gap: Floats
    """(N,) its length, so far if it has not ended."""
    came: NDArray[np.bool_]
    """(N,) whether it ended with an event."""


class Passed(NamedTuple):
    """What gaps went through, at pace 1."""

    hazard_NG: Floats
    """(N, G) on each scale."""
    scale: Ints
    """(N,) the scale that the gap ended on."""
    within: Floats
    """(N,) on that scale, before the bin that it ended in."""
    whole: Floats
    """(N,) of the whole of that bin; infinite in the endless one."""


def rates(gaps: Gaps, n_actions: int, back_off: float, pace_NG: Floats, clock: WeekClock) -> Floats:
    """(C, J) events over seconds at risk of each moment, drawn to the gap before alone, and to all.

    Time at risk counts by the pace of its user and by the clock: the maximisation step.
    """
    n_bins, n_moments = len(EDGES_S), N_CLASSES * n_actions
    bin_ix = bins(gaps.gap)
    cell = gaps.moment * n_bins + bin_ix

    def counted(weight: Floats | NDArray[np.bool_] | None) -> Floats:
        return np.bincount(cell, weight, n_moments * n_bins).reshape(n_moments, n_bins).astype(np.float64)

    ended, event, part = counted(None), counted(gaps.came), counted(gaps.gap - EDGES_S[bin_ix])
    entered = ended[:, ::-1].cumsum(axis=1)[:, ::-1]
    paced = np.empty_like(entered)
    for g in range(len(SCALES_S)):
        of_scale = counted(pace_NG[:, g])[:, ::-1].cumsum(axis=1)[:, ::-1]
        paced[:, g == SCALE] = of_scale[:, g == SCALE]
    for j in CLOCKED:
        there = np.flatnonzero(bin_ix >= j)
        low, high = gaps.begin[there] + EDGES_S[j], gaps.begin[there] + EDGES_S[j + 1]
        busy = (clock.reading(high) - clock.reading(low)) / WIDTH_S[j]
        weight = pace_NG[there, SCALE[j]] * busy
        paced[:, j] = np.bincount(gaps.moment[there], weight, n_moments)
    shape = (N_CLASSES, n_actions, n_bins)
    counts = [array.reshape(shape) for array in (event, ended, entered, part, paced)]
    to_all = [array.sum(axis=(0, 1)) for array in counts]
    rate_J = _smooth(to_all[0], _risk(*to_all))
    to_gap = [array.sum(axis=1) for array in counts]
    rate_PJ = _drawn_to(rate_J, to_gap[0], _risk(*to_gap), back_off)
    rate = _drawn_to(rate_PJ[:, None, :], counts[0], _risk(*counts), back_off)
    return np.ascontiguousarray(rate.reshape(n_moments, n_bins))


def _risk(event: Floats, ended: Floats, entered: Floats, part: Floats, paced: Floats) -> Floats:
    """Seconds at risk in each bin, such that events over them give the share that truly ended in the bin.

    Those censored in a bin were at risk for half of it (the life table's convention). Where within the bin
    events fell does not matter, so that whole seconds, hours and days do no harm; in the endless bin it does.
    """
    half = np.maximum(entered - (ended - event) / 2, event)
    with np.errstate(divide="ignore", invalid="ignore"):
        lasting = -event / np.log1p(-event / (half + 0.5))
        pace = np.where(entered > 0, paced / entered, 1.0)
    risk = np.where(event > 0, lasting, half) * np.where(np.isfinite(WIDTH_S), WIDTH_S, 1.0)
    risk[..., -1] = part[..., -1]
    return np.asarray(risk * pace)


def met(hazard: Floats) -> Floats:
    """What a gap that ends in a bin of hazard h has passed of it on average: 1 - h / (e^h - 1)."""
    return np.asarray(1.0 - hazard / np.expm1(np.maximum(hazard, 1e-12)))


def _drawn_to(wider: Floats, event: Floats, risk: Floats, back_off: float) -> Floats:
    """Events over time at risk, as if `back_off` more events had come at the wider rate."""
    return np.asarray(wider * (event + back_off) / (wider * risk + back_off))


def _smooth(event_J: Floats, risk_J: Floats) -> Floats:
    """(J,) events over time at risk; each bin is drawn by one event to a hazard that falls as 1 / time."""
    middle = np.where(np.isfinite(WIDTH_S), EDGES_S + WIDTH_S / 2, 2 * EDGES_S)
    rate = np.empty(len(event_J))
    rate[0] = (event_J[0] + 0.5) / (risk_J[0] + 1.0)
    for j in range(1, len(rate)):
        guess = rate[j - 1] * middle[j - 1] / middle[j]
        rate[j] = (event_J[j] + 1.0) / (risk_J[j] + 1.0 / guess)
    return rate


def likeliest_pace(
    own_d: Floats, own_h: Floats, passed: Floats, event: NDArray[np.bool_], whole: Floats
) -> tuple[float, float]:
    """Weight and mean of the gamma distribution of paces under which each gap is likeliest given the past.

    Args:
        own_d: (N,) events of the user on this scale before the gap.
        own_h: (N,) hazard that his gaps had passed through on it.
        passed: (N,) hazard that this gap has surely passed through.
        event: (N,) whether it then ended on this scale.
        whole: hazard of the bin that it ended in, for each event; infinite in the endless one.
    """
    endless = np.isinf(whole)

    def surprise(theta: Floats) -> float:
        weight, mean = np.exp(theta)
        a, b = weight * mean + own_d, weight + own_h
        likely = -a * np.log1p(passed / b)
        a, b = a[event], b[event] + passed[event]
        ended = np.log(-np.expm1(-a * np.log1p(np.where(endless, 1.0, whole) / b)))
        likely[event] += np.where(endless, np.log(a / b), ended)
        return float(-likely.mean() + 1e-6 * theta @ theta)

    found = minimize(surprise, np.zeros(2), method="L-BFGS-B", bounds=[(-4.0, 9.0), (-4.0, 4.0)])
    weight, mean = np.exp(found.x)
    return float(weight), float(mean)
