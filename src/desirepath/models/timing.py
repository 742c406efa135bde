# SPDX-License-Identifier: Apache-2.0
"""When the next event comes: a hazard of each kind of moment, and each user's own pace on it.

It knows times and actions, no items. What it is asked for is a whole distribution, given how long ago the
last event was; chances within a while and quantiles are read off it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from desirepath.errors import ConfigError, NotFittedError, TooLittleData
from desirepath.models.counts import DAY_S, fitted
from desirepath.schema import PADDING
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.queries import ranges

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOUR_S = 3600.0


def _spaced(low: float, high: float, n: int) -> Floats:
    return np.geomspace(low, high, n, endpoint=False)


EDGES_S: Floats = np.concatenate(
    [
        [0.0],
        _spaced(1.0, 60.0, 6),
        _spaced(60.0, HOUR_S, 8),
        _spaced(HOUR_S, DAY_S, 8),
        _spaced(DAY_S, 7 * DAY_S, 6),
        _spaced(7 * DAY_S, 30 * DAY_S, 4),
        _spaced(30 * DAY_S, 3650 * DAY_S, 12),
        [3650 * DAY_S],
    ]
)
"""(J,) where each bin of gaps begins, in seconds; a bin is open below and closed above, the last endless."""
WIDTH_S: Floats = np.append(np.diff(EDGES_S), np.inf)
SCALES_S: Floats = np.array([0.0, 60.0, HOUR_S, DAY_S, 7 * DAY_S, 30 * DAY_S])
"""(G,) where each scale of time begins: a user has a pace of his own on each."""
_FIRST_BIN: Ints = np.searchsorted(EDGES_S, SCALES_S * (1 - 1e-9)).astype(np.int64)
_SCALE: Ints = np.searchsorted(_FIRST_BIN, np.arange(len(EDGES_S)), side="right") - 1
"""(J,) the scale of each bin."""
N_CLASSES = len(SCALES_S) + 1
"""Kinds of the gap before: none, or one on each scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingConfig:
    """How far the moment and the user's own past are trusted."""

    back_off: float = 20.0
    """Weight (> 0) of the wider kind of moment, in events: a hazard that rests on so many counts half."""
    max_gaps: int = 100
    """Newest gaps of a user that make his pace, >= 1."""
    max_events: int = 5_000_000
    """Events learned from at most; whole users are drawn beyond. Memory is about 250 bytes each."""
    seed: int = 0
    """Draw of the users."""

    def __post_init__(self) -> None:
        if not self.back_off > 0:
            raise ConfigError(f"back_off must be above 0; got {self.back_off}.")
        for name in ("max_gaps", "max_events"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")


class Timing:
    """The time to the next event: piecewise constant hazards with a gamma-distributed pace of each user.

    The gap after an event has the hazard h(s) = pace * lambda_{m, j} in bin j of EDGES_S, with m the moment:
    the last action and the scale of the gap before it. lambda is events over time at risk; the moment backs
    off to the gap before alone, and that to everybody. A user has one pace for each scale of time, gamma
    distributed over users with shape `mean * weight` and rate `weight`; after O own events where E were
    expected its posterior has shape a = mean * weight + O and rate b = weight + E, and the time that has gone
    by since the last event counts in E. So, with H the hazard summed from now on,

        P(no event for another s) = product over scales of (b / (b + H(s)))^a

    which is wide for users of whom little is known. Gaps that had not ended when the log did are counted as
    time at risk (censored): people who left are not forgotten, nor the last gap of those who stay.

    Source: piecewise exponential hazards with gamma frailty and its conjugate update: Clayton, "A model for
    association in bivariate life tables" (Biometrika 1978); Aalen, Borgan and Gjessing, "Survival and event
    history analysis" (2008), sections 3.1 and 6.2, applied here to gaps that recur, with one frailty a scale.
    `weight` and `mean` maximise the likelihood of each gap given those before it.

    >>> log = Sequences.from_lists([["a"] * 50] * 20)  # one event a second
    >>> ahead = Timing().fit(log).outlook(Queries.latest(log, np.array([0])))
    >>> bool(ahead.within([1.0])[0, 0] > 0.9)
    True
    """

    name: ClassVar[str] = "timing"

    def __init__(self, config: TimingConfig | None = None) -> None:
        """Take the options."""
        self.config = config or TimingConfig()
        self._rate_CJ: Floats | None = None
        self._weight_G = np.ones(len(SCALES_S))
        self._mean_G = np.ones(len(SCALES_S))
        self.known_s = 0.0
        """The longest time without an event that the log could have shown, in seconds."""

    def fit(self, train: Sequences, until_s: float | NDArray[np.floating] | None = None) -> Self:
        """Learn from the gaps of `train`.

        Args:
            train: sequences; those of a user must be without holes.
            until_s: the moment to which the log is complete, or (n_users,) such moments; that of its last
                event when None. A user's own last event says that nothing is known of what followed it.

        Cost: about a second a million events, of them 25 passes to find each scale's two parameters.

        Raises:
            TooLittleData: no user has two events.
        """
        train = _drawn(train, self.config)
        if not (train.lengths >= 2).any():
            raise TooLittleData("Times to the next event need a user with two events; there is none.")
        time_s = np.asarray(train.time_s)
        until = np.broadcast_to(
            time_s.max() if until_s is None else np.asarray(until_s, float), train.n_users
        )
        until_N = np.repeat(until, train.lengths)
        first = np.repeat(np.asarray(train.offsets[:-1]), train.lengths)
        rows = np.arange(train.n_events, dtype=np.int64)
        last = np.append(np.diff(first) > 0, True)
        gap = np.maximum(np.where(last, until_N, np.append(time_s[1:], 0.0)) - time_s, 0.0)
        came = ~last
        before = np.where(rows > first, np.append(0.0, gap[:-1]), np.nan)
        n_actions = len(train.actions)
        moment = _moments(before, np.asarray(train.action_ix), n_actions)
        self.known_s = float(gap.max())
        self._rate_CJ = _rates(moment, gap, came, n_actions, self.config.back_off)
        self._hazards()
        self._fit_paces(first, moment, gap, came)
        return self

    def _fit_paces(self, first: Ints, moment: Ints, gap: Floats, came: NDArray[np.bool_]) -> None:
        """How far paces differ between users, on each scale: weight and mean of the greatest likelihood."""
        hazard_NG, scale = self._expected(moment, gap, came)
        bin_ix = _bins(gap)
        whole = fitted(self._rate_CJ, self.name)[moment, bin_ix] * WIDTH_S[bin_ix]
        oldest = np.maximum(first, np.arange(len(gap)) - self.config.max_gaps)
        for g in range(len(SCALES_S)):
            event = (scale == g) & came
            total_h = np.concatenate([[0.0], np.cumsum(hazard_NG[:, g])])
            total_d = np.concatenate([[0.0], np.cumsum(event)])
            at_risk = np.flatnonzero((hazard_NG[:, g] > 0) | event)
            own_h = np.maximum(total_h[at_risk] - total_h[oldest[at_risk]], 0.0)
            own_d = total_d[at_risk] - total_d[oldest[at_risk]]
            event = event[at_risk]
            if not event.any():
                self._weight_G[g], self._mean_G[g] = 1e4, 1.0
                continue
            # Before the bin of an event all hazard was passed; of that bin it is known that it ended there.
            passed = hazard_NG[at_risk, g]
            passed[event] = self._within_CJ[moment[at_risk[event]], bin_ix[at_risk[event]]]
            self._weight_G[g], self._mean_G[g] = _likeliest_pace(
                own_d, own_h, passed, event, whole[at_risk[event]]
            )

    def _hazards(self) -> None:
        """Sums of hazard that every answer needs: over whole scales, and within one up to each bin."""
        rate_CJ = fitted(self._rate_CJ, self.name)
        whole_CJ = rate_CJ * np.where(np.isfinite(WIDTH_S), WIDTH_S, 0.0)
        self._scale_CG = np.add.reduceat(whole_CJ, _FIRST_BIN, axis=1)
        before_CJ = np.cumsum(whole_CJ, axis=1) - whole_CJ
        self._within_CJ = before_CJ - before_CJ[:, _FIRST_BIN][:, _SCALE]
        # What a gap that ends in a bin has passed of its hazard h, on average: 1 - h / (e^h - 1).
        self._met_CJ = 1.0 - whole_CJ / np.expm1(np.maximum(whole_CJ, 1e-12))
        self._met_CJ[:, -1] = 1.0

    def _expected(self, moment: Ints, gap: Floats, came: NDArray[np.bool_]) -> tuple[Floats, Ints]:
        """(N, G) hazard that each gap passed through on each scale, and the scale that it ended on."""
        rate_CJ = fitted(self._rate_CJ, self.name)
        bin_ix = _bins(gap)
        scale = _SCALE[bin_ix]
        hazard_NG = np.where(np.arange(len(SCALES_S)) < scale[:, None], self._scale_CG[moment], 0.0)
        part = rate_CJ[moment, bin_ix] * (gap - EDGES_S[bin_ix])
        last = np.where(came, self._met_CJ[moment, bin_ix], part)
        hazard_NG[np.arange(len(gap)), scale] = self._within_CJ[moment, bin_ix] + last
        return hazard_NG, scale

    def outlook(self, queries: Queries, now_s: float | NDArray[np.floating] | None = None) -> Outlook:
        """What is known of each query's next event at the moment of the question.

        Args:
            queries: histories; their own past makes the pace.
            now_s: the moment, or (Q,) moments; that of the queries when None.

        Cost: about 0.3 ms, and a microsecond for each of the last `max_gaps` events of each query.

        Raises:
            NotFittedError: before `fit`.
        """
        if self._rate_CJ is None:
            raise NotFittedError(f"Model '{self.name}' must be fitted before it can answer. Call fit(train).")
        rate_CJ = self._rate_CJ
        n_actions = len(rate_CJ) // N_CLASSES
        now = queries.now_s if now_s is None else np.broadcast_to(np.asarray(now_s, float), len(queries))
        sequences, n_queries = queries.sequences, len(queries)
        start = np.maximum(queries.start, queries.stop - self.config.max_gaps - 2)
        rows = ranges(start, queries.stop)
        query = np.repeat(np.arange(n_queries), queries.stop - start)
        time = np.asarray(sequences.time_s[rows], dtype=np.float64)
        oldest = rows == start[query]
        before = np.where(oldest, np.nan, np.diff(time, prepend=0.0))
        moment = _moments(np.maximum(before, 0.0), np.asarray(sequences.action_ix[rows]), n_actions)
        # A gap is known from its second event on; that after a window's own first event lacks its moment.
        ended = np.flatnonzero(~oldest)
        ended = ended[(rows[ended] - 1 > start[query[ended]]) | (start == queries.start)[query[ended]]]
        hazard_NG, scale = self._expected(
            moment[ended - 1], np.maximum(before[ended], 0.0), np.ones(len(ended), np.bool_)
        )
        n_scales = len(SCALES_S)
        cell = query[ended] * n_scales + scale
        own_d = np.bincount(cell, minlength=n_queries * n_scales).reshape(n_queries, n_scales)
        cells = query[ended, None] * n_scales + np.arange(n_scales)
        own_h = np.bincount(cells.ravel(), hazard_NG.ravel(), n_queries * n_scales).reshape(n_queries, -1)
        asked = queries.stop > queries.start
        newest = np.cumsum(queries.stop - start) - 1
        elapsed, at = np.full(n_queries, np.nan), np.zeros(n_queries, np.int64)
        elapsed[asked] = np.maximum(now[asked] - time[newest[asked]], 0.0)
        at[asked] = moment[newest[asked]]
        passed_QG, _ = self._expected(at, np.where(asked, elapsed, 0.0), np.zeros(n_queries, np.bool_))
        return Outlook(
            elapsed_s=elapsed,
            known_s=self.known_s,
            shape_QG=self._weight_G * self._mean_G + own_d,
            rate_QG=self._weight_G + own_h + passed_QG,
            hazard_QJ=rate_CJ[at],
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Hazards of each moment, and the spread of paces."""
        return {
            "rate_CJ": fitted(self._rate_CJ, self.name),
            "weight_G": self._weight_G,
            "mean_G": self._mean_G,
            "known_s": np.array([self.known_s]),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._rate_CJ = state["rate_CJ"].astype(np.float64)
        self._weight_G = state["weight_G"].astype(np.float64)
        self._mean_G = state["mean_G"].astype(np.float64)
        self.known_s = float(state["known_s"][0])
        self._hazards()
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The distribution of the time to the next event of Q queries; NaN where the history is empty."""

    elapsed_s: Floats
    """(Q,) since the last event."""
    known_s: float
    """Longest time without an event that the log could have shown; nothing is known beyond."""
    shape_QG: Floats
    """Of the gamma distribution of each user's pace on each scale, now."""
    rate_QG: Floats
    hazard_QJ: Floats
    """Hazard a second in each bin at pace 1."""

    def within(self, horizons_s: Floats | list[float]) -> Floats:
        """(Q, H) P(next event within each of H horizons from now), horizons in seconds."""
        parts = [1.0 - np.exp(self._log_survival(np.full(len(self.elapsed_s), h))) for h in horizons_s]
        return np.stack(parts, axis=1)

    def chance(self, wait_s: Floats) -> Floats:
        """(Q,) P(next event within the given time from now), one time a query."""
        return 1.0 - np.exp(self._log_survival(wait_s))

    def _log_survival(self, wait_s: Floats) -> Floats:
        until = (self.elapsed_s + wait_s)[:, None] - EDGES_S
        spent_QJ = np.clip(until, 0.0, WIDTH_S) - self._passed()
        hazard_QG = np.add.reduceat(self.hazard_QJ * spent_QJ, _FIRST_BIN, axis=1)
        return -(self.shape_QG * np.log1p(hazard_QG / self.rate_QG)).sum(axis=1)

    def _passed(self) -> Floats:
        """(Q, J) seconds of each bin that have gone by."""
        return np.clip(self.elapsed_s[:, None] - EDGES_S, 0.0, WIDTH_S)

    def quantile(self, level: float) -> Floats:
        """(Q,) seconds from now until the next event has come with this probability.

        Infinite where that lies beyond what the log could have shown.
        """
        if not 0 < level < 1:
            raise ConfigError(f"level must lie between 0 and 1; got {level}.")
        wanted = np.log1p(-level)
        left_QJ = np.where(np.isfinite(WIDTH_S), WIDTH_S - self._passed(), 0.0)
        gained_QJ = self.hazard_QJ * left_QJ
        before_QJ = np.cumsum(gained_QJ, axis=1) - gained_QJ
        before_QJ -= before_QJ[:, _FIRST_BIN][:, _SCALE]
        shape_QJ, rate_QJ = self.shape_QG[:, _SCALE], self.rate_QG[:, _SCALE]
        full_QG = np.add.reduceat(gained_QJ, _FIRST_BIN, axis=1)
        scale_log = -self.shape_QG * np.log1p(full_QG / self.rate_QG)
        earlier_QJ = (np.cumsum(scale_log, axis=1) - scale_log)[:, _SCALE]
        # Log survival at the begin of each bin; the quantile lies in the last one that is still above it.
        begin_QJ = earlier_QJ - shape_QJ * np.log1p(before_QJ / rate_QJ)
        known = np.isfinite(self.elapsed_s)
        at = np.maximum((begin_QJ > wanted).sum(axis=1) - 1, 0)
        query = np.arange(len(at))
        rate, shape = rate_QJ[query, at], shape_QJ[query, at]
        more = rate * np.expm1((earlier_QJ[query, at] - wanted) / shape) - before_QJ[query, at]
        begin = np.maximum(EDGES_S[at], np.where(known, self.elapsed_s, 0.0))
        reached = begin + np.maximum(more, 0.0) / self.hazard_QJ[query, at]
        wait = np.where(known & (reached > self.known_s), np.inf, reached - self.elapsed_s)
        return np.asarray(wait, dtype=np.float64)


def _bins(gap_s: Floats) -> Ints:
    """The bin of each gap: open below, closed above, 0 in the first."""
    return np.maximum(np.searchsorted(EDGES_S, gap_s, side="left") - 1, 0).astype(np.int64)


def _moments(before_s: Floats, action_ix: NDArray[np.integer], n_actions: int) -> Ints:
    """The kind of moment after each event: scale of the gap before it (NaN is none) and its action."""
    none = np.isnan(before_s)
    scale = np.where(none, 0, 1 + _SCALE[_bins(np.where(none, 0.0, before_s))])
    action = np.where(action_ix < n_actions, action_ix, PADDING).astype(np.int64)
    return scale * n_actions + action


def _rates(moment: Ints, gap: Floats, came: NDArray[np.bool_], n_actions: int, back_off: float) -> Floats:
    """(C, J) events over seconds at risk of each moment, drawn to the gap before alone, and to all."""
    n_bins, n_moments = len(EDGES_S), N_CLASSES * n_actions
    bin_ix = _bins(gap)
    cell = moment * n_bins + bin_ix
    shape = (n_moments, n_bins)
    ended = np.bincount(cell, minlength=n_moments * n_bins).reshape(shape)
    part = np.bincount(cell, gap - EDGES_S[bin_ix], n_moments * n_bins).reshape(shape)
    event_CJ = np.bincount(cell[came], minlength=n_moments * n_bins).reshape(shape).astype(np.float64)
    entered = ended[:, ::-1].cumsum(axis=1)[:, ::-1].astype(np.float64)
    by_gap = (N_CLASSES, n_actions, n_bins)
    counts = [array.reshape(by_gap) for array in (event_CJ, ended.astype(np.float64), entered, part)]
    to_all = [array.sum(axis=(0, 1)) for array in counts]
    rate_J = _smooth(to_all[0], _risk(*to_all))
    to_gap = [array.sum(axis=1) for array in counts]
    rate_PJ = _drawn_to(rate_J, to_gap[0], _risk(*to_gap), back_off)
    rate = _drawn_to(rate_PJ[:, None, :], counts[0], _risk(*counts), back_off)
    return np.ascontiguousarray(rate.reshape(shape))


def _risk(event: Floats, ended: Floats, entered: Floats, part: Floats) -> Floats:
    """Seconds at risk in each bin, such that events over them give the share that truly ended in the bin.

    Those censored in a bin were at risk for half of it (the life table's convention). Where within the bin
    events fell does not matter, so that whole seconds, hours and days do no harm; in the endless bin it does.
    """
    half = np.maximum(entered - (ended - event) / 2, event)
    with np.errstate(divide="ignore", invalid="ignore"):
        lasting = -event / np.log1p(-event / (half + 0.5))
    risk = np.where(event > 0, lasting, half) * np.where(np.isfinite(WIDTH_S), WIDTH_S, 1.0)
    risk[..., -1] = part[..., -1]
    return risk


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


def _likeliest_pace(
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


def _drawn(train: Sequences, config: TimingConfig) -> Sequences:
    """Whole users at random, so that about `max_events` remain."""
    if train.n_events <= config.max_events:
        return train
    order = np.random.default_rng(config.seed).permutation(train.n_users)
    kept = np.zeros(train.n_users, dtype=np.bool_)
    kept[order[np.cumsum(train.lengths[order]) <= config.max_events]] = True
    return train.select(np.repeat(kept, train.lengths))
