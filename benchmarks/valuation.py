# SPDX-License-Identifier: Apache-2.0
"""How true is the value of a scenario before it goes live?

    .venv/bin/python benchmarks/valuation.py

Worlds whose clicks are known: people look at places by k^-0.7 whatever stands there, or from the top until
they click. Lists are served with a fifth of the places left to chance; the candidate moves a third of items
up. The truth is what its own lists bring, shown to everybody again and again. Intervals should miss it in at
most 5% of the runs, and what a user would guess without weights is told beside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from desirepath.evaluation.valuation import scenario_value
from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.chances import NotedPolicy
from desirepath.recommend.exploration import epsilon
from desirepath.recommend.scenario import BoostConfig, ExplorationConfig, ScenarioConfig
from desirepath.recommend.sequential import multiplier
from desirepath.recommend.slate import Candidates, Request
from desirepath.schema import FIRST
from desirepath.sequences import Vocabulary
from record import record

N_USERS, N_LISTS, N_ITEMS, K, SHARE, POOL, DECAY = 400, 3, 40, 6, 0.2, 20, 0.7
RUNS, SHOWN_AGAIN = 200, 200
IDS = [f"i{number}" for number in range(N_ITEMS)]
KINDS = ["own" if number % 3 == 0 else "other" for number in range(N_ITEMS)]
ITEMS = ItemAttributes.aligned(pl.DataFrame({"item_id": IDS, "kind": KINDS}), Vocabulary(IDS))
LOGGING = ScenarioConfig(k=K, exploration=ExplorationConfig(method="epsilon", share=SHARE, pool=POOL))
CANDIDATE = ScenarioConfig(k=K, boosts=(BoostConfig(filter="kind == 'own'", plus=0.7),))
Array = np.ndarray[Any, np.dtype[Any]]


def chances(scenario: ScenarioConfig, score_UI: Array) -> tuple[pl.DataFrame, Array]:
    """What each list might show, and (U, K) the items of the list without chance."""
    policy, parts, lists = NotedPolicy(scenario), [], []
    for user, score_I in enumerate(score_UI):
        order = np.argsort(-score_I)
        offered = Candidates(source="model", item_ix=order + FIRST, score=score_I[order])
        lists.append(policy.arrange(offered, ITEMS, None, Request(explore=False), 0.0).item_ix - FIRST)
        policy.arrange(offered, ITEMS, None, Request(), 0.0)
        noted = policy.noted
        part = pl.DataFrame({"place": noted.place, "item_ix": noted.item_ix, "chance": noted.chance})
        parts += [part.select(pl.lit(user * N_LISTS + n).alias("list"), pl.all()) for n in range(N_LISTS)]
    return pl.concat(parts), np.stack(lists)


def clicks(rng: np.random.Generator, liked_LK: Array, *, stops: bool) -> Array:
    """(L, K) who clicked: people look by the place alone, or stop at the first click."""
    wanted = rng.random(liked_LK.shape) < liked_LK
    if stops:
        return wanted & (np.cumsum(wanted, axis=1) == 1)
    return wanted & (rng.random(liked_LK.shape) < np.arange(1, liked_LK.shape[1] + 1) ** -DECAY)


def served(rng: np.random.Generator, score_UI: Array) -> tuple[Array, Array]:
    """(L, K) items and their propensities, drawn as `epsilon` draws them."""
    items, propensity = [], []
    for user, order in enumerate(np.argsort(-score_UI, axis=1)):
        for _ in range(N_LISTS):
            drawn = epsilon(K, POOL, SHARE, int(rng.integers(2**53)))
            items.append(np.where(drawn.item < 0, order[:K], order[K : K + POOL][drawn.item]))
            propensity.append(drawn.propensity)
        assert user < N_USERS
    return np.stack(items), np.stack(propensity)


def world(*, stops: bool) -> dict[str, Any]:
    """Coverage and error of every estimate over the runs."""
    rng = np.random.default_rng(3)
    score_UI = rng.normal(0, 1, (N_USERS, N_ITEMS))
    liked_UI = 1 / (1 + np.exp(2.0 - 0.6 * score_UI - rng.normal(0, 0.8, N_ITEMS)))
    current, _ = chances(LOGGING, score_UI)
    candidate, then_UK = chances(CANDIDATE, score_UI)
    liked_UK = np.take_along_axis(liked_UI, then_UK, axis=1)
    again = np.tile(liked_UK, (SHOWN_AGAIN, 1))
    truth = float(clicks(rng, again, stops=stops).sum() / len(again))
    number = np.repeat(np.arange(N_USERS * N_LISTS), K)
    unit = [f"u{one // N_LISTS}" for one in number]
    found: dict[str, list[Any]] = {name: [] for name in ("current", "ips", "snips", "dr")}
    naive = []
    for _ in range(RUNS):
        item_LK, propensity_LK = served(rng, score_UI)
        liked_LK = liked_UI[np.arange(N_USERS * N_LISTS)[:, None] // N_LISTS, item_LK]
        clicked = clicks(rng, liked_LK, stops=stops)
        shown = pl.DataFrame(
            {"list": number, "unit": unit, "place": np.tile(np.arange(1, K + 1), N_USERS * N_LISTS)}
            | {"item_ix": item_LK.ravel() + FIRST, "propensity": propensity_LK.ravel()}
            | {"clicks": clicked.ravel().astype(float)}
        )
        value = scenario_value(shown, current, candidate, ["clicks"])
        assert not value.refused, value.refused
        for name, kept in found.items():
            kept.append(getattr(value.worth["clicks"], name))
        # What one would guess: the click rates of the candidate's items where they happened to be shown.
        rate_I = np.bincount(item_LK.ravel(), clicked.ravel(), N_ITEMS) / np.bincount(
            item_LK.ravel(), minlength=N_ITEMS
        )
        naive.append(float(rate_I[then_UK].sum(axis=1).mean()))
    figures: dict[str, Any] = {"truth": truth, "effective_n": value.effective_n, "unseen": value.unseen}
    figures |= {
        "lists": value.n_lists,
        "decay": value.decay.value,
        "naive_bias": float(np.mean(naive)) - truth,
    }
    for name, kept in found.items():
        values = np.array([one.value for one in kept])
        figures[name] = {"mean": float(values.mean()), "sd": float(values.std(ddof=1))}
        if name != "current":
            missed = [not one.low <= truth <= one.high for one in kept]
            # Of one look, with the same standard errors: about 5% if these are right.
            errors = np.array([(one.high - one.low) / 2 / multiplier(one.n) for one in kept])
            figures[name] |= {
                "bias": float(values.mean()) - truth,
                "missed": float(np.mean(missed)),
                "missed_at_one_look": float(np.mean(np.abs(values - truth) > 1.96 * errors)),
                "standard_error": float(errors.mean()),
                "half_width": float(np.mean([(one.high - one.low) / 2 for one in kept])),
            }
    return figures


def main() -> None:
    """Measure, print and keep."""
    record("valuation", {"by_place": world(stops=False), "from_the_top": world(stops=True)})


if __name__ == "__main__":
    main()
