# SPDX-License-Identifier: Apache-2.0
"""Intervals that hold at every look: watch an experiment daily, stop when you like, and still be right.

A common 95% interval covers the truth at one moment chosen beforehand; looked at again and again, it
misses somewhere far more often. These are confidence sequences: with the stated confidence, all intervals
of all moments cover. It knows numbers only, no users and no files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betaln, gammainc, gammaln, lambertw, xlog1py, xlogy

from desirepath.errors import ConfigError, DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialConfig:
    """How sure intervals are, and when they are narrowest."""

    confidence: float = 0.95
    """Chance that all intervals of all looks cover the truth, in (0, 1)."""
    best_at: int = 5000
    """Units (users, events) at which the interval is as narrow as it can be, >= 1; it holds at any number, a
    quarter wider at a tenth of these, hardly wider at ten times them."""
    min_units: int = 50
    """Units from which an interval that rests on a central limit is given, >= 2; before, there is none."""

    def __post_init__(self) -> None:
        if not 0.0 < self.confidence < 1.0:
            raise ConfigError(f"confidence must lie between 0 and 1; got {self.confidence}.")
        if self.best_at < 1 or self.min_units < 2:
            raise ConfigError(
                f"best_at must be at least 1 and min_units at least 2; got {self.best_at}, {self.min_units}."
            )


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with an interval that holds at every look."""

    value: float
    low: float | None = None
    """Lower end; None while too little is known."""
    high: float | None = None
    n: int = 0
    """Units it rests on."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def multiplier(n: ArrayLike, config: SequentialConfig | None = None) -> Any:
    """By how many standard errors an interval of n units reaches to each side.

    The Gaussian mixture boundary: with rho the scale that makes n = `best_at` narrowest,
    sqrt((n rho^2 + 1) / (n rho^2) * log((n rho^2 + 1) / alpha^2)). About 3 in place of 1.96.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic
    confidence sequences" (Annals of Statistics 2024), theorem 2.2 and appendix B.2 for rho.

    >>> round(float(multiplier(5000)), 2), round(float(multiplier(100_000)), 2)
    (3.04, 3.34)
    """
    config = config or SequentialConfig()
    alpha = 1.0 - config.confidence
    rho2 = (-float(lambertw(-(alpha**2) / math.e, -1).real) - 1.0) / config.best_at
    t = np.asarray(n, dtype=np.float64) * rho2
    with np.errstate(divide="ignore"):
        return np.sqrt((t + 1.0) / t * (np.log1p(t) - 2.0 * math.log(alpha)))


def around(value: float, standard_error: float, n: int, config: SequentialConfig | None = None) -> Interval:
    """The interval of a figure that behaves like a mean of n units, such as a ratio or a difference.

    It is asymptotic: exact only as the first look comes later, hence `min_units`. Units that do not differ at
    all say nothing of how far the next one may be off: a standard error of 0 gives no interval either.

    >>> around(0.1, 0.01, 40), around(0.1, 0.01, 5000).low.__round__(3)
    (Interval(value=0.1, low=None, high=None, n=40), 0.07)
    """
    config = config or SequentialConfig()
    if n < config.min_units or not 0.0 < standard_error < math.inf:
        return Interval(value, n=n)
    reach = float(multiplier(n, config)) * standard_error
    return Interval(value, value - reach, value + reach, n)


def mean_interval(values: ArrayLike, config: SequentialConfig | None = None) -> Interval:
    """The mean of independent units, such as one figure a user.

    Raises:
        DataError: there are no values, or one is not finite.
    """
    x = _checked(values)
    return around(float(x.mean()), _standard_error(x), len(x), config)


def paired_interval(first: ArrayLike, second: ArrayLike, config: SequentialConfig | None = None) -> Interval:
    """Mean of second - first where both were measured on the same units.

    Raises:
        DataError: the two are not equally long, or one is empty or not finite.
    """
    a, b = _checked(first), _checked(second)
    if a.shape != b.shape:
        raise DataError(f"Paired values must be equally many; got {len(a)} and {len(b)}.")
    return mean_interval(b - a, config)


def difference_interval(
    first: ArrayLike, second: ArrayLike, config: SequentialConfig | None = None
) -> Interval:
    """Mean of second - mean of first for two groups of different units, as in an A/B test.

    Both groups need `min_units`.     Source: as `multiplier`, section 3 there, with the groups' own means.
    """
    a, b = _checked(first), _checked(second)
    return difference_around(
        (float(a.mean()), _standard_error(a), len(a)), (float(b.mean()), _standard_error(b), len(b)), config
    )


def difference_around(
    first: tuple[float, float, int], second: tuple[float, float, int], config: SequentialConfig | None = None
) -> Interval:
    """As `difference_interval`, from each group's (value, standard error, units)."""
    config = config or SequentialConfig()
    value, n = second[0] - first[0], first[2] + second[2]
    if min(first[2], second[2]) < config.min_units:
        return Interval(value, n=n)
    return around(value, math.hypot(first[1], second[1]), n, config)


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> tuple[float, float, int]:
    """Sum over sum, its standard error by the delta method, and the units: clicks over impressions by user.

    Rows of one user are never treated as independent: a unit is a user with all of theirs.

    Source: Deng, Knoblich, Lu, "Applying the Delta Method in Metric Analytics" (KDD 2018), section 3.

    >>> value, error, n = ratio([1, 0, 2], [2, 2, 4])
    >>> value, round(error, 3), n
    (0.375, 0.143, 3)
    """
    a, b = _checked(numerator), _checked(denominator)
    if a.shape != b.shape or not b.sum() > 0:
        raise DataError(
            f"A ratio needs as many denominators as numerators, above 0 in sum; got {len(a)} and {len(b)} "
            f"with the sum {b.sum():g}."
        )
    value = float(a.sum() / b.sum())
    return value, _standard_error((a - value * b) / b.mean()), len(a)


def rate_interval(successes: int, trials: int, config: SequentialConfig | None = None) -> Interval:
    """The chance of success in independent yes-or-no trials: exact at any number of trials, from the counts.

    All p against which a bet that mixes over a Beta(1/2, 1/2) has not won 1/alpha.

    Source: Robbins, "Statistical methods related to the law of the iterated logarithm" (Annals of
    Mathematical Statistics 1970), section 2; the prior is that of Krichevsky and Trofimov (1981).
    Cost: two searches of about 50 steps.

    >>> found = rate_interval(60, 100)
    >>> round(found.low, 3), round(found.high, 3)
    (0.434, 0.751)
    """
    config = config or SequentialConfig()
    if not 0 <= successes <= trials:
        raise DataError(f"successes must lie between 0 and trials; got {successes} of {trials}.")
    if trials == 0:
        return Interval(math.nan, n=0)
    s, f = float(successes), float(trials - successes)
    gained = float(betaln(0.5 + s, 0.5 + f) - betaln(0.5, 0.5)) + math.log(1.0 - config.confidence)

    def surplus(p: float) -> float:  # above 0: p is refuted
        return gained - float(xlogy(s, p) + xlog1py(f, -p))

    best = s / trials
    low = 0.0 if s == 0 else brentq(surplus, 1e-300, best, xtol=1e-12)
    high = 1.0 if f == 0 else brentq(surplus, best, 1.0 - 1e-16, xtol=1e-12)
    return Interval(best, low, high, trials)


def bounded_interval(
    values: ArrayLike, low: float = 0.0, high: float = 1.0, config: SequentialConfig | None = None
) -> Interval:
    """The mean of values that cannot lie outside [low, high], such as ratings: right from the first one on.

    All means m against which bets on "higher" and on "lower" have not won 2/alpha. The stakes follow the mean
    and the variance of the values before each one. Nothing is assumed but that each value has the same mean,
    given those before it; no central limit, however rare or skewed what happens is.

    Args:
        values: (N,) **in the order in which they came**, one a unit, such as the first rating of each user.
        low: the least possible value.
        high: the greatest possible value.
        config: options; `min_units` and `best_at` do not matter here.

    Raises:
        DataError: there are no values, or one is not finite or not within the bounds.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 2024),
    theorem 3: hedged capital, theta = 1/2, with the stakes of its predictable plug-in empirical Bernstein
    bound, of which half can be lost at most.     Cost: about 100 passes over the values.

    >>> found = bounded_interval(np.tile([4.0, 5.0, 5.0, 3.0, 5.0], 40), low=1, high=5)
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
    (4.4, 4.22, 4.57)
    """
    config = config or SequentialConfig()
    given = _checked(values)
    if not low < high or given.min() < low or given.max() > high:
        raise DataError(
            f"Values must lie within their bounds [{low:g}, {high:g}]; they reach from {given.min():g} to "
            f"{given.max():g}."
        )
    x, alpha = (given - low) / (high - low), 1.0 - config.confidence
    stake = _stakes(x, alpha)
    won = math.log(2.0 / alpha)

    def surplus(m: float, side: float) -> float:  # above 0: m is refuted
        most = 0.5 / (m if side > 0 else 1.0 - m)
        return float(np.log1p(side * np.minimum(stake, most) * (x - m)).sum()) - won

    mean, edge = float(x.mean()), 1e-12
    least, most = 0.0, 1.0
    if surplus(edge, 1.0) > 0:
        least = brentq(surplus, edge, 1.0 - edge, args=(1.0,), xtol=1e-10)
    if surplus(1.0 - edge, -1.0) > 0:
        most = brentq(surplus, edge, 1.0 - edge, args=(-1.0,), xtol=1e-10)
    ends = (low + (high - low) * min(least, mean), low + (high - low) * max(most, mean))
    return Interval(float(given.mean()), *ends, len(x))


def _stakes(x: Floats, alpha: float) -> Floats:
    """(N,) what is staked on each value, from the mean and variance of those before it."""
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    stake: Floats = np.sqrt(2.0 * math.log(2.0 / alpha) / (before * t * np.log1p(t)))
    return stake


def score_interval(
    total: float, variation: float, n: int, reach: float, config: SequentialConfig | None = None
) -> Interval:
    """Mean advantage of one forecaster over another on the very events that came, whatever made them.

    Nothing is assumed of the events: not that they are independent, alike, or many. What is estimated is the
    mean, so far, of the advantage that was to be expected before each event.

    Args:
        total: sum of the differences of scores d_i, each within [-reach, reach].
        variation: sum of (d_i - c_i)^2, c_i any guess made before d_i, such as the mean of those before it.
        n: events.
        reach: the largest size of a difference, above 0.
        config: options.

    Source: Choe and Ramdas, "Comparing Sequential Forecasters" (Operations Research 2024), theorem 2: the
    empirical Bernstein confidence sequence with the gamma-exponential mixture of Howard, Ramdas, McAuliffe,
    Sekhon (Annals of Statistics 2021), proposition 9.     Cost: one search of about 50 steps.
    """
    config = config or SequentialConfig()
    if n == 0:
        return Interval(math.nan, n=0)
    if not reach > 0 or abs(total) > n * reach * (1 + 1e-9) or variation < 0:
        raise DataError(
            f"Differences must lie within ±{reach:g}; {n} add up to {total:g} and vary by {variation:g}."
        )
    half = _gamma_exponential(variation, 2.0 * reach, (1.0 - config.confidence) / 2, config.best_at) / n
    value = total / n
    return Interval(value, max(value - half, -reach), min(value + half, reach), n)


def _gamma_exponential(v: float, c: float, alpha: float, best_at: int) -> float:
    """The sum s at which the mixture of exp(l s - v psi(l)) over l in [0, 1/c) reaches 1/alpha.

    psi is that of a centred exponential of scale c. The mixture is widest at v = 0 and tuned for the
    variation of `best_at` events with a tenth of the reach as their standard deviation.
    """
    best_v = best_at * (0.05 * c) ** 2
    rho = best_v / (-float(lambertw(-(alpha**2) / math.e, -1).real) - 1.0)
    r, k = rho / c**2, (v + rho) / c**2
    fixed = r * math.log(r) - float(gammaln(r)) - math.log(float(gammainc(r, r))) + float(gammaln(k))

    def surplus(s: float) -> float:
        theta = (c * s + v + rho) / c**2
        mixed = fixed + math.log(float(gammainc(k, theta))) - k * math.log(theta) + (c * s + v) / c**2
        return mixed + math.log(alpha)

    high = c
    while surplus(high) < 0:
        high *= 2.0
    return float(brentq(surplus, 0.0, high, xtol=1e-9 * c))


def _standard_error(x: Floats) -> float:
    return float(x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.inf


def _checked(values: ArrayLike) -> Floats:
    x: Floats = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise DataError(f"Values must be one finite number a unit, at least one; got an array of {x.shape}.")
    return x
