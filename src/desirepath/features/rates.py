# SPDX-License-Identifier: Apache-2.0
"""Click-through and conversion with few trials: shrunk to the crowd by empirical Bayes.

A trial is one thing shown or opened, a success what should follow it; groups (items, users, or any
column) share a beta prior fitted to all of them. It knows canonical events only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaincinv, betaln, digamma

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.features.moment import before, require
from desirepath.schema import ACTION, ITEM, TIME, USER

MAX_STRENGTH = 1e6
"""The prior's weight in trials when the groups differ no more than chance makes them."""
MIN_STRENGTH = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class RateConfig:
    """What is tried, what counts as success, and how the prior is fitted."""

    trial: str
    """Action that opens a trial, such as "VIEW" or "impression"."""
    success: str
    """Action that makes it succeed, such as "LIKE" or "purchase"; another one than `trial`."""
    unit: tuple[str, ...] = (USER, ITEM)
    """Columns that make one trial: repeated trial actions with the same values are one trial. Add
    "session_id" or "impression_id" to count each showing."""
    within_days: float | None = None
    """A success counts only this long after the trial opened, and a trial only once that time has
    passed before the moment (a younger one could still succeed). None: any later time, all trials."""
    fit: Literal["likelihood", "moments"] = "likelihood"
    """How the prior is fitted, see `fit_prior`."""
    interval: float = 0.95
    """Probability inside rate_low .. rate_high; between 0 and 1."""

    def __post_init__(self) -> None:
        if self.trial == self.success:
            raise ConfigError(f"trial and success must be different actions; both are '{self.trial}'.")
        if not self.unit:
            raise ConfigError("unit must name at least one column; got none.")
        if self.within_days is not None and not self.within_days > 0:
            raise ConfigError(f"within_days must be above 0 days; got {self.within_days}.")
        if self.fit not in ("likelihood", "moments"):
            raise ConfigError(f"fit must be likelihood or moments; got '{self.fit}'.")
        if not 0 < self.interval < 1:
            raise ConfigError(f"interval must lie between 0 and 1; got {self.interval}.")

    @property
    def name(self) -> str:
        """The rate's name in wide tables, such as "LIKE_per_VIEW"."""
        return f"{self.success}_per_{self.trial}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaPrior:
    """A beta distribution of rates: the crowd against which one group is judged."""

    alpha: float
    """Successes that the prior is worth; above 0."""
    beta: float
    """Failures that the prior is worth; above 0."""

    @property
    def mean(self) -> float:
        """The rate of a group without trials."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def strength(self) -> float:
        """Trials that the prior is worth: a group with as many is moved half way."""
        return self.alpha + self.beta

    def to_dict(self) -> dict[str, float]:
        """Plain data for JSON."""
        return {"alpha": self.alpha, "beta": self.beta}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> BetaPrior:
        """What `to_dict` gave."""
        return BetaPrior(alpha=float(data["alpha"]), beta=float(data["beta"]))


def fit_prior(
    n_successes: NDArray[np.int64],
    n_trials: NDArray[np.int64],
    method: Literal["likelihood", "moments"] = "likelihood",
) -> BetaPrior:
    """The beta prior under which groups with these counts are most likely, or whose moments match.

    x_i of n_i trials succeed, x_i ~ Binomial(n_i, p_i), p_i ~ Beta(a, b), so x_i is beta-binomial.
    "likelihood" maximises sum_i log B(a + x_i, b + n_i - x_i) - log B(a, b) over a, b by L-BFGS in
    log space with the exact gradient, from the moments' answer. "moments" weighs groups by n_i: with
    p = sum x / sum n, N = sum n, k groups and S = sum n_i (x_i / n_i - p)^2,
    E S = p (1 - p) [(k - 1)(1 - g) + g (N - sum n_i^2 / N)] gives g = 1 / (a + b + 1).
    Groups that vary no more than binomially get the strength `MAX_STRENGTH`. Where all trials failed
    or all succeeded, the likelihood's top lies on the edge (a rate of exactly 0 or 1), so the moments
    answer: half a success and half a failure beside the pooled trials.

    Shapes: both (n_groups,) of counts.     Cost: that of the different pairs of counts.
    Source: Kleinman, "Proportions with extraneous variance", JASA 68 (1973), for the moments;
    Skellam, JRSS B 10 (1948), for the beta-binomial likelihood; Efron & Hastie, Computer Age
    Statistical Inference (2016), chapter 6, for its use as a prior.

    Raises:
        DataError: successes exceed trials, or a count is negative.
        TooLittleData: no group has a trial.
    """
    x_all, n_all = np.asarray(n_successes, np.int64), np.asarray(n_trials, np.int64)
    if x_all.shape != n_all.shape or np.any(x_all < 0) or np.any(x_all > n_all):
        raise DataError("Each group must have 0 <= successes <= trials, in arrays of one shape.")
    if not np.any(n_all > 0):
        raise TooLittleData("A rate needs at least one trial; no group has any. Check the action's name.")
    pairs, times = np.unique(np.stack([x_all, n_all])[:, n_all > 0], axis=1, return_counts=True)
    x, n, weight = pairs[0].astype(float), pairs[1].astype(float), times.astype(float)
    start = _moments(x, n, weight)
    certain = np.all(x == 0) or np.all(x == n)
    return start if method == "moments" or certain else _likelihood(x, n, weight, start)


def _moments(x: NDArray[np.float64], n: NDArray[np.float64], weight: NDArray[np.float64]) -> BetaPrior:
    total, k = float(weight @ n), float(weight.sum())
    # Half a success and half a failure keep the prior inside (0, 1) when none or all succeeded.
    pooled = float(weight @ x) / total
    p = pooled if 0 < pooled < 1 else (float(weight @ x) + 0.5) / (total + 1)
    spread = float(weight @ (n * (x / n - p) ** 2)) / (p * (1 - p))
    room = total - float(weight @ n**2) / total - (k - 1)
    g = (spread - (k - 1)) / room if room > 0 else 0.0
    strength = min(max(1 / g - 1, MIN_STRENGTH), MAX_STRENGTH) if g > 0 else MAX_STRENGTH
    return BetaPrior(alpha=p * strength, beta=(1 - p) * strength)


def _likelihood(
    x: NDArray[np.float64], n: NDArray[np.float64], weight: NDArray[np.float64], start: BetaPrior
) -> BetaPrior:
    def loss(log_ab: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a, b = np.exp(log_ab)
        value = weight @ (betaln(a + x, b + n - x) - betaln(a, b))
        both = digamma(a + b) - digamma(a + b + n)
        slope_a = weight @ (digamma(a + x) - digamma(a) + both)
        slope_b = weight @ (digamma(b + n - x) - digamma(b) + both)
        scale = weight.sum()
        return -value / scale, -np.array([a * slope_a, b * slope_b]) / scale

    # A start at the edge (no spread by moments) would leave the search on the flat of the plateau.
    strength = min(start.strength, 1e3)
    at = np.log([start.mean * strength, (1 - start.mean) * strength])
    edge = (np.log(MIN_STRENGTH * 1e-3), np.log(MAX_STRENGTH))
    found = minimize(
        loss, at, jac=True, method="L-BFGS-B", bounds=[edge, edge], options={"ftol": 1e-14, "gtol": 1e-9}
    )
    a, b = np.exp(found.x)
    if a + b > MAX_STRENGTH:
        a, b = a * MAX_STRENGTH / (a + b), b * MAX_STRENGTH / (a + b)
    return BetaPrior(alpha=float(a), beta=float(b))


def smoothed(counts: pl.DataFrame, prior: BetaPrior, interval: float = 0.95) -> pl.DataFrame:
    """The table with rate_raw, rate, rate_low and rate_high (all probabilities).

    `rate` = (alpha + n_successes) / (alpha + beta + n_trials), the posterior mean; low and high are
    the posterior's quantiles, so that `interval` of the probability lies between them. rate_raw is
    null without trials.

    >>> counts = pl.DataFrame({"n_successes": [1, 90], "n_trials": [1, 100]})
    >>> smoothed(counts, BetaPrior(alpha=1, beta=9))["rate"].to_list()
    [0.18181818181818182, 0.8272727272727273]
    """
    require(counts.lazy(), "n_successes", "n_trials")
    a = prior.alpha + counts.get_column("n_successes").cast(pl.Float64).to_numpy()
    b = prior.strength + counts.get_column("n_trials").cast(pl.Float64).to_numpy() - a
    tail = (1 - interval) / 2
    return counts.with_columns(
        pl.when(pl.col("n_trials") > 0)
        .then(pl.col("n_successes") / pl.col("n_trials"))
        .otherwise(None)
        .alias("rate_raw"),
        pl.Series("rate", a / (a + b)),
        pl.Series("rate_low", betaincinv(a, b, tail)),
        pl.Series("rate_high", betaincinv(a, b, 1 - tail)),
    )


def trials(
    events: pl.LazyFrame | pl.DataFrame, as_of: datetime, config: RateConfig, by: str = ITEM
) -> pl.DataFrame:
    """Trials and successes of each `by` before `as_of`: columns by, n_successes, n_trials.

    A trial opens with the first event of `config.trial` in its unit and succeeds when an event of
    `config.success` comes at that time or later in the same unit. One that would succeed twice counts
    once, so that a rate never passes 1. Where one unit spans several values of `by`, the trial belongs
    to the value at its opening.
    """
    log = before(events, as_of)
    require(log, ACTION, by, *config.unit)
    unit = list(config.unit)
    extra = [] if by in unit else [by]
    opened = (
        log.filter(pl.col(ACTION) == config.trial)
        .group_by(unit)
        .agg(pl.col(TIME).min().alias("opened"), *(pl.col(c).sort_by(TIME).first() for c in extra))
    )
    done = log.filter(pl.col(ACTION) == config.success).select(*unit, pl.col(TIME).alias("done"))
    in_time = pl.col("done") >= pl.col("opened")
    if config.within_days is not None:
        reach = timedelta(days=config.within_days)
        opened = opened.filter(pl.col("opened") <= as_of - reach)
        in_time &= pl.col("done") < pl.col("opened") + reach
    succeeded = (
        opened.join(done, on=unit, how="inner")
        .filter(in_time)
        .select(*unit)
        .unique()
        .with_columns(pl.lit(1, pl.Int64).alias("success"))
    )
    return (
        opened.join(succeeded, on=unit, how="left")
        .filter(pl.col(by).is_not_null())
        .group_by(by)
        .agg(pl.col("success").sum().alias("n_successes"), pl.len().cast(pl.Int64).alias("n_trials"))
        .sort(by)
        .collect(engine="streaming")
    )


def rates(
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    config: RateConfig,
    by: str = ITEM,
    prior: BetaPrior | None = None,
) -> pl.DataFrame:
    """One row a `by` with a trial before `as_of`: n_successes, n_trials, rate_raw, rate, low, high.

    The prior is fitted to these groups unless one is given (fitted on earlier events, or on another
    market).

    Raises:
        TooLittleData: nothing was tried before `as_of`, and no prior was given.
    """
    counts = trials(events, as_of, config, by)
    if prior is None:
        prior = fit_prior(
            counts.get_column("n_successes").to_numpy(), counts.get_column("n_trials").to_numpy(), config.fit
        )
    return smoothed(counts, prior, config.interval)
