# SPDX-License-Identifier: Apache-2.0
"""The value of a scenario before anyone sees it, in a world whose click probabilities are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError, DataError
from desirepath.evaluation.attention import decay_of
from desirepath.evaluation.rewards import expected_rewards
from desirepath.evaluation.valuation import ValuationConfig, scenario_value
from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.chances import NotedPolicy
from desirepath.recommend.exploration import epsilon
from desirepath.recommend.policy import Policy
from desirepath.recommend.scenario import BoostConfig, ExplorationConfig, ScenarioConfig
from desirepath.recommend.sequential import multiplier
from desirepath.recommend.slate import Candidates, Request
from desirepath.schema import FIRST
from desirepath.sequences import Vocabulary

N_USERS, N_LISTS, N_ITEMS, K, SHARE, DECAY = 150, 2, 12, 3, 0.5, 0.8
IDS = [f"i{number}" for number in range(N_ITEMS)]
TABLE = pl.DataFrame(
    {"item_id": IDS, "kind": ["own" if number % 3 == 0 else "other" for number in range(N_ITEMS)]}
)
ITEMS = ItemAttributes.aligned(TABLE, Vocabulary(IDS))
LOGGING = ScenarioConfig(k=K, exploration=ExplorationConfig(method="epsilon", share=SHARE))
CANDIDATE = replace(
    LOGGING, boosts=(BoostConfig(filter="kind == 'own'", plus=1.0),), exploration=ExplorationConfig()
)


@dataclass(frozen=True)
class World:
    """What users think of items, and what both scenarios may show them."""

    score_UI: np.ndarray
    click_UKI: np.ndarray
    current: pl.DataFrame
    candidate: pl.DataFrame

    def truth(self, chances: pl.DataFrame) -> float:
        """Expected clicks a list, by the chances of what is shown."""
        user = chances["list"].to_numpy() // N_LISTS
        click = self.click_UKI[user, chances["place"].to_numpy() - 1, chances["item_ix"].to_numpy() - FIRST]
        return float((chances["chance"].to_numpy() * click).sum() / (N_USERS * N_LISTS))


def offered(score_I: np.ndarray) -> Candidates:
    order = np.argsort(-score_I)
    return Candidates(source="model", item_ix=order + FIRST, score=score_I[order])


def chances(scenario: ScenarioConfig, score_UI: np.ndarray) -> pl.DataFrame:
    policy, parts = NotedPolicy(scenario), []
    for user in range(N_USERS):
        policy.arrange(offered(score_UI[user]), ITEMS, None, Request(), 0.0)
        noted = policy.noted
        for number in range(N_LISTS):
            part = {"place": noted.place, "item_ix": noted.item_ix, "chance": noted.chance}
            parts.append(pl.DataFrame(part).select(pl.lit(user * N_LISTS + number).alias("list"), pl.all()))
    return pl.concat(parts)


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(0)
    score_UI = rng.normal(0, 1, (N_USERS, N_ITEMS))
    taste_UI = 0.5 * score_UI + 0.8 * rng.normal(0, 1, N_ITEMS) - 1.0
    looked_K = np.arange(1, K + 1) ** -DECAY
    click_UKI = looked_K[None, :, None] / (1 + np.exp(-taste_UI[:, None, :]))
    return World(score_UI, click_UKI, chances(LOGGING, score_UI), chances(CANDIDATE, score_UI))


def served(world: World, seed: int) -> pl.DataFrame:
    """Lists drawn as `epsilon` draws them, and who clicked."""
    rng, parts = np.random.default_rng(seed), []
    for number in range(N_USERS * N_LISTS):
        order = np.argsort(-world.score_UI[number // N_LISTS])
        drawn = epsilon(K, N_ITEMS - K, SHARE, seed * 1000 + number)
        item = np.where(drawn.item < 0, order[:K], order[K:][drawn.item])
        parts.append((np.full(K, number), np.arange(K) + 1, item + FIRST, drawn.propensity))
    number, place, item_ix, propensity = (np.concatenate(column) for column in zip(*parts, strict=True))
    user = number // N_LISTS
    clicked = rng.random(len(user)) < world.click_UKI[user, place - 1, item_ix - FIRST]
    return pl.DataFrame(
        {"list": number, "unit": [f"u{one}" for one in user], "place": place, "item_ix": item_ix}
        | {"propensity": propensity, "clicks": clicked.astype(float)}
    )


def test_the_truth_by_chances_is_the_truth_by_showing(world: World) -> None:
    """Expected clicks of the candidate from its chances, against lists that it makes for everybody."""
    total, policy = 0.0, Policy(LOGGING)
    n = 8
    for user in range(N_USERS):
        for seed in range(n):
            slate = policy.arrange(
                offered(world.score_UI[user]), ITEMS, None, Request(seed=seed + n * user), 0.0
            )
            total += world.click_UKI[user, np.arange(K), slate.item_ix - FIRST].sum()
    assert total / (N_USERS * n) == pytest.approx(world.truth(world.current), abs=0.03)


def test_intervals_cover_the_truth_and_estimates_are_right_on_average(world: World) -> None:
    truth, here = world.truth(world.candidate), world.truth(world.current)
    assert abs(truth - here) > 0.03
    runs = [
        scenario_value(served(world, seed), world.current, world.candidate, ["clicks"]) for seed in range(40)
    ]
    found = [run.worth["clicks"] for run in runs]
    for name in ("ips", "snips", "dr"):
        values = np.array([getattr(one, name).value for one in found])
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(len(values))
        half = np.mean([getattr(one, name).high - getattr(one, name).low for one in found]) / 2
        assert 0.75 < half / multiplier(N_USERS) / values.std() < 1.35  # the standard error is a true one
        covered = [getattr(one, name).low <= truth <= getattr(one, name).high for one in found]
        assert np.mean(covered) >= 0.95
    assert np.mean([one.current.low <= here <= one.current.high for one in found]) >= 0.95
    assert np.mean([one.difference.low <= truth - here <= one.difference.high for one in found]) >= 0.95
    spread = {name: np.std([getattr(one, name).value for one in found]) for name in ("ips", "snips", "dr")}
    assert spread["dr"] < spread["ips"]
    assert runs[0].retraced == 1.0
    assert runs[0].unseen == 0.0
    decays = np.array([run.decay.value for run in runs])
    assert abs(decays.mean() - DECAY) < 0.1
    assert decays.std() < 1.3 * np.mean([run.decay.error for run in runs])
    assert (runs[0].n_lists, runs[0].n_users) == (N_USERS * N_LISTS, N_USERS)


def test_who_never_explored_is_told_what_was_never_shown(world: World) -> None:
    fixed = chances(replace(LOGGING, exploration=ExplorationConfig()), world.score_UI)
    shown = fixed.join(served(world, 0).select("list", "unit").unique(), on="list").with_columns(
        propensity=pl.lit(1.0), clicks=pl.lit(0.5)
    )
    found = scenario_value(shown, fixed, world.candidate, ["clicks"])
    look = pl.col("place") ** -found.decay.value
    never = world.candidate.join(fixed, on=["list", "item_ix"], how="anti").select(
        (pl.col("chance") * look).sum()
    )
    whole = world.candidate.select((pl.col("chance") * look).sum())
    assert found.unseen == pytest.approx((never / whole).item())
    assert found.unseen > 0.1
    assert f"{found.unseen:.0%} of what the candidate would show" in found.refused
    assert found.worth == {}


def test_lists_of_other_rules_and_lists_too_few_are_refused(world: World) -> None:
    other = scenario_value(served(world, 0), world.candidate, world.current, ["clicks"])
    assert "follow from the rules in force" in other.refused
    few = served(world, 0).filter(pl.col("list") < 20)
    masses = [table.filter(pl.col("list") < 20) for table in (world.current, world.candidate)]
    assert "at least 50 are needed" in scenario_value(few, *masses, ["clicks"]).refused


def test_the_scenario_itself_is_worth_what_it_brought(world: World) -> None:
    shown = served(world, 3)
    worth = scenario_value(shown, world.current, world.current, ["clicks"]).worth["clicks"]
    assert worth.current.value == pytest.approx(shown["clicks"].sum() / (N_USERS * N_LISTS))
    for name in ("ips", "snips"):
        assert getattr(worth, name).value == pytest.approx(worth.current.value)
    assert worth.difference.low < 0 < worth.difference.high


def test_predictions_are_of_other_people() -> None:
    """Of one user's rows nothing is read when his own are predicted."""
    rng = np.random.default_rng(1)
    unit = np.repeat(np.arange(40), 5)
    rows = pl.DataFrame(
        {"u": unit, "item_ix": rng.integers(2, 8, 200), "look": np.tile(1 / np.arange(1, 6), 40)}
    )
    rows = rows.with_columns(clicks=pl.Series(rng.integers(0, 2, 200)))
    said, expected = expected_rewards(rows, rows, "clicks", 4, 20.0)
    np.testing.assert_allclose(said, expected)
    changed = rows.with_columns(clicks=pl.when(pl.col("u") == 7).then(9).otherwise("clicks"))
    again, _ = expected_rewards(changed, rows, "clicks", 4, 20.0)
    np.testing.assert_allclose(again[unit == 7], said[unit == 7])
    assert not np.allclose(again, said)


def test_places_that_chance_never_changed_tell_nothing_of_attention() -> None:
    """First places are clicked most because the best stands there; only moved items say why."""
    chances_of = pl.DataFrame(
        {"list": [0, 0, 1, 1], "place": [1, 2, 1, 2], "item_ix": [5, 6, 7, 7], "chance": 0.5}
    )
    fixed = pl.DataFrame({"list": [0] * 9, "place": [1] * 9, "item_ix": [5] * 9, "clicks": 1.0})
    assert decay_of(fixed, chances_of, (0.5, 0.3)) == (0.5, 0.3, 0.0)
    moved = pl.DataFrame({"list": [1, 1], "place": [1, 2], "item_ix": [7, 7], "clicks": [80.0, 20.0]})
    found = decay_of(moved, chances_of, (0.5, 100.0))
    assert found.value == pytest.approx(np.log2(4.0), abs=1e-3)  # 2^-d = 20 / 80
    assert found.error == pytest.approx(1 / (np.log(2) * np.sqrt(100 * 0.8 * 0.2)), rel=1e-3)


def test_wrong_tables_are_refused(world: World) -> None:
    shown = served(world, 0)
    with pytest.raises(DataError, match="propensity"):
        scenario_value(shown.drop("propensity"), world.current, world.candidate, ["clicks"])
    with pytest.raises(DataError, match=r"\(0, 1\]"):
        scenario_value(shown.with_columns(propensity=0.0), world.current, world.candidate, ["clicks"])
    with pytest.raises(ConfigError, match="most_unseen"):
        ValuationConfig(most_unseen=1.0)
    with pytest.raises(ConfigError, match="n_folds"):
        ValuationConfig(n_folds=1)
