# SPDX-License-Identifier: Apache-2.0
"""What another policy would have earned, from what was logged with its chances: without showing it to anyone.

It knows arrays: rewards, the chance with which each was shown, and the chance with which the other policy
would have shown it. It knows no store and no model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from desirepath.errors import ConfigError, DataError
from desirepath.recommend.sequential import Interval, SequentialConfig, around, ratio

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class OffPolicyConfig:
    """How far weights may go, and how sure intervals are."""

    most_weight: float = 0.0
    """Weights are cut here, for less variance at the price of some bias; 0 for no cut, else >= 1."""
    intervals: SequentialConfig = field(default_factory=SequentialConfig)
    """How sure intervals are; they hold at every look."""

    def __post_init__(self) -> None:
        if self.most_weight and self.most_weight < 1.0:
            raise ConfigError(f"most_weight must be 0 or at least 1; got {self.most_weight}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyValue:
    """Mean reward a shown item of the other policy, estimated in up to three ways."""

    logged: Interval
    """What the logged policy truly earned, for comparison."""
    ips: Interval
    """Inverse propensity: unbiased, and noisy where weights are large."""
    snips: Interval
    """Self-normalised: slightly biased, far less noisy; to be preferred where ips and it differ."""
    dr: Interval | None
    """Doubly robust: right if either the propensities or the predicted rewards are; None without those."""
    effective_n: float
    """Rows' worth of information, (sum w)^2 / sum w^2: below a tenth of n, believe nothing."""
    mean_weight: float
    """Near 1 if the propensities are right and cover what the other policy would show."""
    largest_weight: float
    n: int
    """Rows."""


def policy_value(
    reward: ArrayLike,
    propensity: ArrayLike,
    target: ArrayLike,
    unit: ArrayLike,
    *,
    predicted: tuple[ArrayLike, ArrayLike] | None = None,
    config: OffPolicyConfig | None = None,
) -> PolicyValue:
    """The value of a policy from the log of another one.

    A row is a shown item, its chance the one with which it was shown in its place: the item-position model,
    in which the other items of a list do not change an item's reward. Rows of one user are not treated as
    independent: intervals count users.

    Args:
        reward: (N,) such as 1 for a click.
        propensity: (N,) chance with which the logging policy put this item there, in (0, 1].
        target: (N,) chance with which the other policy would, in [0, 1].
        unit: (N,) user of each row.
        predicted: for the doubly robust figure: (N,) the reward that a model, fitted on other rows, predicts
            for the item shown, and (N,) the mean it predicts for what the other policy would show there.
        config: options.

    Raises:
        DataError: lengths differ, a propensity is not in (0, 1], or a target not in [0, 1].

    Source: Horvitz and Thompson 1952 (ips); Swaminathan and Joachims, NIPS 2015 (snips); Dudik, Langford and
    Li, ICML 2011 (dr); Li et al., "Offline Evaluation of Ranking Policies with Click Models" (KDD 2018),
    section 4 (item-position).

    >>> found = policy_value([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], ["a", "b", "c", "d"])
    >>> found.ips.value, found.effective_n
    (1.0, 2.0)
    """
    config = config or OffPolicyConfig()
    r, p, t = (np.asarray(column, dtype=np.float64) for column in (reward, propensity, target))
    who = np.unique(np.asarray(unit), return_inverse=True)[1]
    _check(r, p, t, who)
    w = t / p
    if config.most_weight:
        w = np.minimum(w, config.most_weight)
    one = np.ones(len(r))
    dr = None
    if predicted is not None:
        shown, mean = (np.asarray(column, dtype=np.float64) for column in predicted)
        if shown.shape != r.shape or mean.shape != r.shape:
            raise DataError(f"Predictions must be one a row; got {shown.shape} and {mean.shape}.")
        dr = _over_users(mean + w * (r - shown), one, who, config)
    return PolicyValue(
        logged=_over_users(r, one, who, config),
        ips=_over_users(w * r, one, who, config),
        snips=_over_users(w * r, w, who, config) if w.any() else Interval(float("nan")),
        dr=dr,
        effective_n=float(w.sum() ** 2 / (w @ w)) if w.any() else 0.0,
        mean_weight=float(w.mean()),
        largest_weight=float(w.max()),
        n=len(r),
    )


def _over_users(above: Floats, below: Floats, who: NDArray[np.int64], config: OffPolicyConfig) -> Interval:
    """Sum over sum with an interval over users."""
    a, b = np.bincount(who, weights=above), np.bincount(who, weights=below)
    return around(*ratio(a, b), config=config.intervals)


def _check(r: Floats, p: Floats, t: Floats, who: NDArray[np.int64]) -> None:
    if r.ndim != 1 or not len(r) or not (r.shape == p.shape == t.shape == who.shape):
        raise DataError(
            "Rewards, propensities, targets and units must be equally many, at least one; got "
            f"{r.shape}, {p.shape}, {t.shape} and {who.shape}."
        )
    if not np.isfinite(r).all():
        raise DataError("Rewards must be finite numbers.")
    wrong = np.flatnonzero(~((p > 0) & (p <= 1)))
    if len(wrong):
        raise DataError(f"Propensities must lie in (0, 1]; row {wrong[0]} has {p[wrong[0]]}.")
    wrong = np.flatnonzero(~((t >= 0) & (t <= 1)))
    if len(wrong):
        raise DataError(f"Target chances must lie in [0, 1]; row {wrong[0]} has {t[wrong[0]]}.")
