# SPDX-License-Identifier: Apache-2.0
"""What a policy might have shown, against lists that it does show over thousands of seeds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.chances import NotedPolicy
from desirepath.recommend.policy import Policy
from desirepath.recommend.scenario import ExplorationConfig, PinConfig, ScenarioConfig
from desirepath.recommend.slate import Candidates, Counts, Request
from desirepath.schema import FIRST
from desirepath.sequences import Vocabulary

N_ITEMS = 12
IDS = [f"i{number}" for number in range(N_ITEMS)]
TABLE = pl.DataFrame({"item_id": IDS, "author": [f"a{number % 4}" for number in range(N_ITEMS)]})
ITEMS = ItemAttributes.aligned(TABLE, Vocabulary(IDS))
COUNTS = Counts(
    impressions=np.r_[0, 0, np.full(N_ITEMS, 30)], clicks=np.r_[0, 0, np.arange(N_ITEMS) % 5].astype(np.int64)
)


def offered(n: int = 8):
    order = np.arange(FIRST, FIRST + N_ITEMS)
    yield Candidates(source="model", item_ix=order[:n], score=-np.arange(n, dtype=float))
    yield Candidates(source="popular", item_ix=order, score=-np.arange(N_ITEMS, dtype=float))


def noted(scenario: ScenarioConfig, seed: int = 0, n: int = 8):
    policy = NotedPolicy(scenario)
    slate = policy.arrange(offered(n), ITEMS, None, Request(seed=seed, counts=COUNTS), 0.0)
    return slate, policy.noted


SCENARIOS = {
    "epsilon": ScenarioConfig(k=4, exploration=ExplorationConfig(method="epsilon", share=0.3, pool=5)),
    "few to draw from": ScenarioConfig(k=6, exploration=ExplorationConfig(method="epsilon", share=0.5)),
    "pins, caps and slots": ScenarioConfig(
        k=4,
        caps={"author": 2},
        pins=(PinConfig(item="i7", position=2),),
        exploration=ExplorationConfig(method="epsilon", share=0.4, slots=(2, 3, 4)),
    ),
    "a short list": ScenarioConfig(k=10, exploration=ExplorationConfig(method="epsilon", share=0.2)),
    "nothing drawn": ScenarioConfig(k=3),
}


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_chances_are_the_shares_of_lists_over_seeds(name: str) -> None:
    scenario, n = SCENARIOS[name], 500
    _, whole = noted(scenario)
    at = {(p, i): c for p, i, c in zip(whole.place, whole.item_ix, whole.chance, strict=True)}
    assert len(at) == len(whole.place)
    seen: dict[tuple[int, int], int] = {}
    policy = Policy(scenario)
    for seed in range(n):
        slate = policy.arrange(offered(), ITEMS, None, Request(seed=seed, counts=COUNTS), 0.0)
        for place, (item, propensity) in enumerate(
            zip(slate.item_ix.tolist(), slate.propensity.tolist(), strict=True), start=1
        ):
            assert at[place, item] == pytest.approx(propensity)
            seen[place, item] = seen.get((place, item), 0) + 1
    for key, chance in at.items():
        assert abs(seen.get(key, 0) / n - chance) < 5 * np.sqrt(chance * (1 - chance) / n) + 1e-9
    for place in np.unique(whole.place):
        assert whole.chance[whole.place == place].sum() == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 8),
    st.sampled_from(["epsilon", "thompson"]),
    st.lists(st.integers(1, 8), max_size=3, unique=True),
    st.integers(1, 9),
    st.integers(0, 50),
)
def test_what_is_shown_has_its_own_propensity(k, method, slots, pool, seed) -> None:
    exploration = ExplorationConfig(method=method, share=0.3, slots=tuple(slots), pool=pool, draws=50)
    slate, whole = noted(ScenarioConfig(k=k, exploration=exploration), seed)
    at = {(p, i): c for p, i, c in zip(whole.place, whole.item_ix, whole.chance, strict=True)}
    for place, item in enumerate(slate.item_ix.tolist(), start=1):
        assert at[place, item] == pytest.approx(slate.propensity[place - 1])
    for place in np.unique(whole.place):
        assert whole.chance[whole.place == place].sum() == pytest.approx(1.0)
