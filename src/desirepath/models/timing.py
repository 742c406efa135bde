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

from desirepath.errors import ConfigError, NotFittedError, ShapeError, TooLittleData
from desirepath.models.clock import HOUR_S, WeekClock
from desirepath.models.counts import fitted
from desirepath.models.hazards import N_CLASSES, Gaps, Passed, likeliest_pace, met, moments, rates
from desirepath.models.outlook import (
    CLOCKED,
    EDGES_S,
    FIRST_BIN,
    SCALE,
    SCALES_S,
    WIDTH_S,
    Outlook,
    bins,
    spent,
)
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.queries import ranges

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STRETCH = 1 << 15
"""Gaps that are laid out over all bins at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingConfig:
    """How far the moment and the user's own past are trusted."""

    back_off: float = 5.0
    """Weight (> 0) of the wider kind of moment, in events: a hazard that rests on so many counts half."""
    max_gaps: int = 60
    """Newest gaps of a user that make his pace, >= 1."""
    rounds: int = 6
    """Rounds of expectation and maximisation between hazards and paces, >= 1."""
    recent: float = 0.1
    """Share of the events, the newest, that tell whether all have become faster or slower of late; [0, 1)."""
    lasting: float = 0.0
    """How much of a late change of the whole crowd (of its logarithm) is believed to last, [0, 1]; at 0 it is
    taken for a passing one."""
    level_events: float = 50.0
    """Events (> 0) of a scale's newest tenth from which half of its change is taken for real."""
    hour_events: float = 250.0
    """Events (> 0) an hour of the week must have to count half by itself and half as the hour of any day."""
    max_events: int = 2_000_000
    """Events learned from at most; whole users are drawn beyond. Memory is about 250 bytes each."""
    seed: int = 0
    """Draw of the users."""

    def __post_init__(self) -> None:
        if not self.back_off > 0:
            raise ConfigError(f"back_off must be above 0; got {self.back_off}.")
        if not 0 <= self.recent < 1:
            raise ConfigError(f"recent must lie in [0, 1); got {self.recent}.")
        if not 0 <= self.lasting <= 1:
            raise ConfigError(f"lasting must lie in [0, 1]; got {self.lasting}.")
        for name in ("level_events", "hour_events"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0; got {getattr(self, name)}.")
        for name in ("max_gaps", "max_events", "rounds"):
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

    which is wide for users of whom little is known. From an hour to 30 days, time runs by the hours of the
    week, faster where more people come back (`WeekClock`). With `lasting` above 0, H is multiplied, on each
    scale, by that power of how much more came in the newest tenth of the log, for what the paces foresaw,
    than before it. Gaps that had not ended when the log did count as time at risk (censored): people who
    left are not forgotten, nor the last gap of those who stay.

    Source: piecewise exponential hazards with gamma frailty and its conjugate update: Clayton, "A model for
    association in bivariate life tables" (Biometrika 1978); Aalen, Borgan and Gjessing, "Survival and event
    history analysis" (2008), sections 3.1 and 6.2, applied here to gaps that recur, with one frailty a scale.
    Hazards and paces are fitted in turns (expectation and maximisation: Klein, Biometrics 1992); `weight` and
    `mean` maximise the likelihood of each gap given those before it.

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
        self._level_G = np.ones(len(SCALES_S))
        self._clock = WeekClock()
        self.known_s = 0.0
        """The longest time without an event that the log could have shown, in seconds."""

    def fit(self, train: Sequences, until_s: float | NDArray[np.floating] | None = None) -> Self:
        """Learn from the gaps of `train`.

        Args:
            train: sequences; those of a user must be without holes.
            until_s: the moment to which the log is complete, or (n_users,) such moments; that of its last
                event when None. A user's own last event says that nothing is known of what followed it.

        Cost: a few seconds a million events: six rounds, and a search for each scale's two parameters.

        Raises:
            TooLittleData: no user has two events.
        """
        train = _drawn(train, self.config)
        if not (train.lengths >= 2).any():
            raise TooLittleData("Times to the next event need a user with two events; there is none.")
        if np.ndim(until_s) and len(until_s) != train.n_users:  # type: ignore[arg-type]
            raise ShapeError(f"until_s must be one moment or {train.n_users}; got {np.shape(until_s)}.")  # type: ignore[arg-type]
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
        moment = moments(before, np.asarray(train.action_ix), n_actions)
        self.known_s = float(gap.max())
        gaps = Gaps(np.maximum(first, rows - self.config.max_gaps), moment, time_s, gap, came)
        self._clock = WeekClock.of((time_s + gap)[came & (gap > HOUR_S)], self.config.hour_events)
        self._weight_G[:], self._mean_G[:], self._level_G[:] = 3.0, 1.0, 1.0
        pace_NG = np.ones((train.n_events, len(SCALES_S)))
        for number in range(self.config.rounds):
            self._rate_CJ = rates(gaps, n_actions, self.config.back_off, pace_NG, self._clock)
            if number == self.config.rounds // 2:
                self._fit_paces(gaps)
            pace_NG = self._paces(gaps, train)
        self._fit_paces(gaps)
        if self.config.recent and self.config.lasting:
            since_s = np.quantile(time_s, 1.0 - self.config.recent)
            self._fit_levels(gaps, np.maximum(since_s - time_s, 0.0))
        return self

    def _paces(self, gaps: Gaps, train: Sequences) -> Floats:
        """(N, G) what the whole record of a gap's user says of his pace: the expectation step."""
        hazard_NG, scale, _, _ = self._passed(gaps.moment, gaps.begin, gaps.gap, gaps.came)
        event_NG = (scale[:, None] == np.arange(len(SCALES_S))) & gaps.came[:, None]
        none, bounds = np.zeros((1, len(SCALES_S))), np.asarray(train.offsets)
        own_d = np.diff(np.concatenate([none, np.cumsum(event_NG, axis=0)])[bounds], axis=0)
        own_h = np.diff(np.concatenate([none, np.cumsum(hazard_NG, axis=0)])[bounds], axis=0)
        pace_UG = (self._weight_G + own_d) / (self._weight_G + np.maximum(own_h, 0.0))
        return np.repeat(pace_UG, train.lengths, axis=0)

    def _fit_paces(self, gaps: Gaps) -> None:
        """How far paces differ between users, on each scale: weight and mean of the greatest likelihood."""
        came, oldest = gaps.came, gaps.oldest
        hazard_NG, scale, within, whole = self._passed(gaps.moment, gaps.begin, gaps.gap, came)
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
            passed[event] = within[at_risk[event]]
            self._weight_G[g], self._mean_G[g] = likeliest_pace(
                own_d, own_h, passed, event, whole[at_risk[event]]
            )

    def _fit_levels(self, gaps: Gaps, before: Floats) -> None:
        """On each scale, events for what the paces foresaw: of late over before, drawn to 1.

        Its power `lasting` is taken: so much of a change is believed to last. `before` is how much of each
        gap lay in the time before.
        """
        prior = self.config.level_events
        rate_G, n_scales, oldest = self._weight_G, len(SCALES_S), gaps.oldest
        hazard_NG, scale, _, _ = self._passed(gaps.moment, gaps.begin, gaps.gap, gaps.came)
        event_NG = (scale[:, None] == np.arange(n_scales)) & gaps.came[:, None]
        late = gaps.gap > before
        early = np.minimum(before, gaps.gap)
        early_NG = self._passed(gaps.moment, gaps.begin, early, gaps.came & ~late).hazard_NG
        own_d = np.concatenate([np.zeros((1, n_scales)), np.cumsum(event_NG, axis=0)])
        own_h = np.concatenate([np.zeros((1, n_scales)), np.cumsum(hazard_NG, axis=0)])
        a = rate_G * self._mean_G + own_d[:-1] - own_d[oldest]
        b = rate_G + np.maximum(own_h[:-1] - own_h[oldest], 0.0)
        came_late = event_NG[late].sum(axis=0)
        late_NG = np.maximum(hazard_NG[late] - early_NG[late], 0.0)
        foreseen_late = (a[late] / (b + early_NG)[late] * late_NG).sum(axis=0)
        usual = (event_NG[~late].sum(axis=0) + prior) / ((a / b * early_NG).sum(axis=0) + prior)
        self._level_G = ((came_late + prior) / (usual * foreseen_late + prior)) ** self.config.lasting

    def _passed(self, moment: Ints, begin: Floats, gap: Floats, came: NDArray[np.bool_] | bool) -> Passed:
        """The hazard that gaps passed through: short ones by a table, others a stretch of rows at a time."""
        rate_CJ = fitted(self._rate_CJ, self.name)
        came = np.broadcast_to(came, len(gap))
        bin_ix, each = bins(np.minimum(gap, HOUR_S)), np.arange(len(gap))
        short_CJ = rate_CJ[:, : CLOCKED[0]] * WIDTH_S[: CLOCKED[0]]
        before_CJ = np.cumsum(short_CJ, axis=1) - short_CJ
        first_CG = before_CJ[:, FIRST_BIN[:2]]
        scale = SCALE[bin_ix]
        whole = short_CJ[moment, bin_ix]
        part = np.where(came, met(whole), rate_CJ[moment, bin_ix] * (gap - EDGES_S[bin_ix]))
        within = before_CJ[moment, bin_ix] - first_CG[moment, scale]
        hazard_NG = np.zeros((len(gap), len(SCALES_S)))
        hazard_NG[:, 0] = np.where(scale > 0, first_CG[moment, 1], 0.0)
        hazard_NG[each, scale] = within + part
        result = Passed(hazard_NG, scale, within, whole)
        far = np.flatnonzero(gap > HOUR_S)
        for first in range(0, len(far), STRETCH):
            rows = far[first : first + STRETCH]
            passed = self._passed_by(moment[rows], begin[rows], gap[rows], came[rows])
            for column, values in zip(result, passed, strict=True):
                column[rows] = values
        return result

    def _passed_by(self, moment: Ints, begin: Floats, gap: Floats, came: NDArray[np.bool_]) -> Passed:
        rate_NJ = fitted(self._rate_CJ, self.name)[moment]
        bin_ix, each = bins(gap), np.arange(len(gap))
        scale = SCALE[bin_ix]
        # To the end of the bin that the gap ends in, or to where it stood when the log did.
        until = np.where(came, (EDGES_S + WIDTH_S)[bin_ix], gap)
        hazard_NJ = rate_NJ * spent(self._clock, begin, np.zeros(len(gap)), until)
        whole = np.where(np.isinf(until), np.inf, hazard_NJ[each, bin_ix])
        part = np.where(np.isinf(until), 1.0, met(hazard_NJ[each, bin_ix]))
        hazard_NJ[each, bin_ix] = np.where(came, part, hazard_NJ[each, bin_ix])
        hazard_NG = np.add.reduceat(hazard_NJ, FIRST_BIN, axis=1)
        within = hazard_NG[each, scale] - hazard_NJ[each, bin_ix]
        return Passed(hazard_NG, scale, np.maximum(within, 0.0), whole)

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
        moment = moments(np.maximum(before, 0.0), np.asarray(sequences.action_ix[rows]), n_actions)
        # A gap is known from its second event on; that after a window's own first event lacks its moment.
        ended = np.flatnonzero(~oldest)
        ended = ended[(rows[ended] - 1 > start[query[ended]]) | (start == queries.start)[query[ended]]]
        gap = np.maximum(before[ended], 0.0)
        hazard_NG, scale, _, _ = self._passed(moment[ended - 1], time[ended - 1], gap, True)
        n_scales = len(SCALES_S)
        cell = query[ended] * n_scales + scale
        own_d = np.bincount(cell, minlength=n_queries * n_scales).reshape(n_queries, n_scales)
        cells = query[ended, None] * n_scales + np.arange(n_scales)
        own_h = np.bincount(cells.ravel(), hazard_NG.ravel(), n_queries * n_scales)
        own_h = own_h.reshape(n_queries, n_scales)
        asked = queries.stop > queries.start
        newest = np.cumsum(queries.stop - start) - 1
        elapsed, at = np.full(n_queries, np.nan), np.zeros(n_queries, np.int64)
        begin = np.zeros(n_queries)
        begin[asked] = time[newest[asked]]
        elapsed[asked] = np.maximum(now[asked] - begin[asked], 0.0)
        at[asked] = moment[newest[asked]]
        passed_QG = self._passed(at, begin, np.where(asked, elapsed, 0.0), False).hazard_NG
        return Outlook(
            begin_s=begin,
            clock=self._clock,
            elapsed_s=elapsed,
            known_s=self.known_s,
            shape_QG=self._weight_G * self._mean_G + own_d,
            rate_QG=self._weight_G + own_h + passed_QG * self._level_G,
            hazard_QJ=rate_CJ[at] * self._level_G[SCALE],
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Hazards of each moment, and the spread of paces."""
        return {
            "rate_CJ": fitted(self._rate_CJ, self.name),
            "weight_G": self._weight_G,
            "mean_G": self._mean_G,
            "level_G": self._level_G,
            "busy_168": self._clock.busy,
            "known_s": np.array([self.known_s]),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave."""
        self._rate_CJ = state["rate_CJ"].astype(np.float64)
        self._weight_G = state["weight_G"].astype(np.float64)
        self._mean_G = state["mean_G"].astype(np.float64)
        self._level_G = state["level_G"].astype(np.float64)
        self.known_s = float(state["known_s"][0])
        self._clock = WeekClock(state["busy_168"].astype(np.float64))
        return self


def _drawn(train: Sequences, config: TimingConfig) -> Sequences:
    """Whole users at random, so that about `max_events` remain."""
    if train.n_events <= config.max_events:
        return train
    order = np.random.default_rng(config.seed).permutation(train.n_users)
    kept = np.zeros(train.n_users, dtype=np.bool_)
    kept[order[np.cumsum(train.lengths[order]) <= config.max_events]] = True
    return train.select(np.repeat(kept, train.lengths))
