# SPDX-License-Identifier: Apache-2.0
"""How often intervals miss when they are looked at all the time, and how many users a verdict takes.

.venv/bin/python benchmarks/experiments.py [bounded]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath.recommend.assignment import ExperimentConfig
from desirepath.recommend.interleaving import team_draft
from desirepath.recommend.sequential import (
    SequentialConfig,
    bounded_interval,
    mean_interval,
    multiplier,
    rate_interval,
    ratio,
    score_interval,
)
from record import record

Array = NDArray[np.float64]
USUAL = 1.96
LOOKS = np.unique(np.geomspace(50, 5000, 80).astype(int))


def running(x_RT: Array, looks: NDArray[np.int64] = LOOKS) -> tuple[Array, Array]:
    """Mean and its standard error of each run at each look."""
    total, squares = np.cumsum(x_RT, axis=1)[:, looks - 1], np.cumsum(x_RT**2, axis=1)[:, looks - 1]
    mean = total / looks
    return mean, np.sqrt((squares / looks - mean**2) / (looks - 1))


def missed(mean: Array, error: Array, reach: Array | float, truth: float) -> float:
    """Share of runs in which the truth lay outside at any look."""
    return float((np.abs(mean - truth) > reach * error).any(axis=1).mean())


def a_rate(rng: np.random.Generator, runs: int = 2000) -> dict[str, float]:
    """Whether a user clicks, at 10%."""
    mean, error = running((rng.random((runs, LOOKS[-1])) < 0.1).astype(float))
    return {"usual": missed(mean, error, USUAL, 0.1), "ours": missed(mean, error, multiplier(LOOKS), 0.1)}


def a_difference(rng: np.random.Generator, runs: int = 2000) -> dict[str, float]:
    """Two variants that are the same: spending that is far from normal."""
    (a, ea), (b, eb) = (running(rng.exponential(1.0, (runs, LOOKS[-1]))) for _ in range(2))
    error = np.hypot(ea, eb)
    return {
        "usual": missed(b - a, error, USUAL, 0.0),
        "ours": missed(b - a, error, multiplier(2 * LOOKS), 0.0),
    }


def an_exact_rate(rng: np.random.Generator, runs: int = 2000) -> dict[str, float]:
    """A rare yes, 2%, looked at from the first user on; the usual interval from the 50th."""
    wins = np.cumsum(rng.random((runs, LOOKS[-1])) < 0.02, axis=1)
    looks = np.unique(np.geomspace(1, LOOKS[-1], 80).astype(int))
    outside = np.zeros(runs, bool)
    for look in looks:
        counts = wins[:, look - 1]
        found = {int(w): rate_interval(int(w), int(look)) for w in np.unique(counts)}
        outside |= [not (found[int(w)].low or 0.0) <= 0.02 <= (found[int(w)].high or 1.0) for w in counts]
    share = wins[:, LOOKS - 1] / LOOKS
    usual = missed(share, np.sqrt(share * (1 - share) / LOOKS), USUAL, 0.02)
    return {"usual": usual, "ours": float(outside.mean())}


def bounded_means(rng: np.random.Generator, runs: int = 2000) -> dict[str, float]:
    """Values in [0, 1] that are no yes or no, by betting, from the first value on; and how wide that is."""
    share = np.array([0.1, 0.05, 0.1, 0.25, 0.5])
    worlds: dict[str, tuple[Array, float]] = {
        "ratings": (
            rng.choice(np.linspace(0, 1, 5), (runs, LOOKS[-1]), p=share),
            float(share @ np.linspace(0, 1, 5)),
        ),
        "rarely_bad": (1.0 - (rng.random((runs, LOOKS[-1])) < 0.01) * rng.random((runs, LOOKS[-1])), 0.995),
    }
    figures: dict[str, float] = {}
    for name, (x, truth) in worlds.items():
        mean, error = running(x)
        figures[f"{name}_usual"] = missed(mean, error, USUAL, truth)
        figures[f"{name}_central"] = missed(mean, error, multiplier(LOOKS), truth)
        stake, worst = _stakes_RT(x), np.zeros(runs)
        for side, most in ((1.0, 0.5 / truth), (-1.0, 0.5 / (1.0 - truth))):
            won = np.cumsum(np.log1p(side * np.minimum(stake, most) * (x - truth)), axis=1)
            worst = np.maximum(worst, won.max(axis=1))
        figures[f"{name}_betting"] = float((worst > np.log(2.0 / 0.05)).mean())
        for n in (50, 500, 5000):
            found = [bounded_interval(row[:n]) for row in x[:40]]
            central = [mean_interval(row[:n]) for row in x[:40]]
            figures[f"{name}_width_{n}"] = float(np.mean([(i.high or 1.0) - (i.low or 0.0) for i in found]))
            given = [i.high - i.low for i in central if i.low is not None and i.high is not None]
            figures[f"{name}_central_width_{n}"] = float(np.mean(given)) if given else float("nan")
    return figures


def _stakes_RT(x_RT: Array) -> Array:
    """What `bounded_interval` stakes, for many runs at once."""
    t = np.arange(1, x_RT.shape[1] + 1)
    mean = (0.5 + np.cumsum(x_RT, axis=1)) / (t + 1)
    variance = (0.25 + np.cumsum((x_RT - mean) ** 2, axis=1)) / (t + 1)
    before = np.concatenate([np.full((len(x_RT), 1), 0.25), variance[:, :-1]], axis=1)
    return np.asarray(np.sqrt(2.0 * np.log(2.0 / 0.05) / (before * t * np.log1p(t))))


def users_who_return(rng: np.random.Generator, runs: int = 500) -> dict[str, float]:
    """Clicks over impressions of 400 users who differ, come one by one, and go on coming for 60 days."""
    n_users, n_days = 400, 60
    taste = rng.beta(1.0, 9.0, (runs, n_users, 1))
    begins = np.sort(rng.integers(0, n_days, (runs, n_users, 1)), axis=1)
    shown = rng.poisson(1.5, (runs, n_users, n_days)) * (np.arange(n_days) >= begins)
    above, below = np.cumsum(rng.binomial(shown, taste), axis=2), np.cumsum(shown, axis=2)
    outside = np.zeros((2, runs), bool)
    for day in range(9, n_days):
        for run in range(runs):
            seen = below[run, :, day] > 0
            value, error, n = ratio(above[run, seen, day], below[run, seen, day])
            if n >= 50:
                outside[:, run] |= abs(value - 0.1) > np.array([USUAL, float(multiplier(n))]) * error
    return {"usual": float(outside[0].mean()), "ours": float(outside[1].mean())}


def forecasts_that_drift(rng: np.random.Generator, runs: int = 500) -> dict[str, float]:
    """Differences of scores whose expectation swings with time: the mean of what was expected so far."""
    n, outside = LOOKS[-1], np.zeros((2, runs), bool)
    for run in range(runs):
        expected = 0.2 * np.sin(np.arange(n) / 300 + rng.uniform(0, 6)) + 0.1
        d = np.where(rng.random(n) < (1 + expected) / 2, 1.0, -1.0)
        truth = np.cumsum(expected) / np.arange(1, n + 1)
        before = np.concatenate([[0.0], np.cumsum(d)[:-1]]) / np.maximum(np.arange(n), 1)
        total, variation = np.cumsum(d), np.cumsum((d - before) ** 2)
        for t in LOOKS:
            found = score_interval(float(total[t - 1]), float(variation[t - 1]), int(t), 1.0)
            outside[1, run] |= abs(found.value - truth[t - 1]) > (found.high or 1) - found.value
            spread = d[:t].std(ddof=1) / np.sqrt(t)
            outside[0, run] |= abs(found.value - truth[t - 1]) > USUAL * spread
    return {"usual": float(outside[0].mean()), "ours": float(outside[1].mean())}


def users_to_a_verdict(rng: np.random.Generator, runs: int = 60, most: int = 40_000) -> dict[str, float]:
    """Users until it is certain that the better of two rankings is better; one list of ten a user."""
    worth = rng.beta(1, 4, 60)
    ranked = [np.argsort(-(worth + rng.normal(0, noise, 60)))[:10] for noise in (0.25, 0.15)]
    place = 1.0 / np.log2(np.arange(2, 12))
    drafts = [team_draft(ranked[0], ranked[1], 10, f"list {i}") for i in range(256)]
    chance = np.stack([place * worth[draft.item_ix] for draft in drafts])
    teams = np.stack([draft.team for draft in drafts])
    looks = np.unique(np.geomspace(50, most, 150).astype(int))
    tested, mixed = [], []
    for _ in range(runs):
        a, b = ((rng.random((most, 10)) < place * worth[items]).sum(axis=1) for items in ranked)
        (ma, ea), (mb, eb) = running(a[None].astype(float), looks), running(b[None].astype(float), looks)
        sure = (mb - ma - multiplier(2 * looks) * np.hypot(ea, eb))[0] > 0
        tested.append(2 * looks[np.argmax(sure)] if sure.any() else 2 * most)
        drawn = rng.integers(0, 256, most)
        clicked = rng.random((most, 10)) < chance[drawn]
        lead = np.where(teams[drawn] == 1, clicked, -1.0 * clicked).sum(axis=1)
        wins, losses = np.cumsum(lead > 0), np.cumsum(lead < 0)
        verdicts = [rate_interval(int(wins[t - 1]), int(wins[t - 1] + losses[t - 1])) for t in looks]
        decided = [(v.low or 0.0) > 0.5 for v in verdicts]
        mixed.append(looks[int(np.argmax(decided))] if any(decided) else most)
    true_lift = float((place * worth[ranked[1]]).sum() / (place * worth[ranked[0]]).sum() - 1)
    return {
        "lift": true_lift,
        "ab_test": float(np.median(tested)),
        "interleaving": float(np.median(mixed)),
        "ab_test_undecided": float(np.mean(np.array(tested) == 2 * most)),
    }


def cost_us(work: Callable[[int], Any], times: int = 20_000) -> float:
    """Microseconds a call."""
    began = time.perf_counter()
    for i in range(times):
        work(i)
    return 1e6 * (time.perf_counter() - began) / times


def main() -> None:
    """Print and keep the figures."""
    if sys.argv[1:] == ["bounded"]:
        record("experiments-bounded", bounded_means(np.random.default_rng(12)))
        return
    rng = np.random.default_rng(11)
    cases = (a_rate, a_difference, an_exact_rate, users_who_return, forecasts_that_drift)
    found: dict[str, Any] = {"missed": {case.__name__: case(rng) for case in cases}}
    for name, shares in found["missed"].items():
        print(f"{name:22} usual {shares['usual']:6.1%}   ours {shares['ours']:6.1%}")
    found["width"] = float(multiplier(5000, SequentialConfig())) / USUAL
    found["users_to_a_verdict"] = users_to_a_verdict(rng)
    print(found["users_to_a_verdict"])
    test = ExperimentConfig(name="rows", variants={"old": "a", "new": "b"}, traffic=0.5)
    first, second = rng.permutation(200)[:100], rng.permutation(200)[:100]
    found["cost_us"] = {
        "assignment": cost_us(lambda i: test.variant(f"user {i}")),
        "team_draft_of_10": cost_us(lambda i: team_draft(first, second, 10, f"{i}"), 5000),
        "rate_interval": cost_us(lambda i: rate_interval(i % 300, 300), 2000),
        "score_interval": cost_us(lambda i: score_interval(10.0, 200.0 + i, 2000, 1.0), 2000),
    }
    print(found["cost_us"])
    record("experiments", found)


if __name__ == "__main__":
    main()
