"""Team draft: every list by brute force over its coins, fairness to random clicks, and the verdict."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, ShapeError
from desirepath.recommend import interleaving
from desirepath.recommend.interleaving import FIRST, SECOND, credit, judge, team_draft

RANKING = st.lists(st.integers(2, 9), unique=True, max_size=8)


def by_the_book(a: list[int], b: list[int], k: int, coins: list[int]) -> tuple[list[int], list[int]]:
    """Algorithm 2 of Radlinski et al. 2008, word for word, until one ranking ends."""
    out: list[int] = []
    teams: list[list[int]] = [[], []]
    coin = iter(coins)
    while len(out) < k and (set(a) - set(out)) and (set(b) - set(out)):
        if len(teams[0]) < len(teams[1]) or (len(teams[0]) == len(teams[1]) and next(coin) == 0):
            side, ranking = 0, a
        else:
            side, ranking = 1, b
        best = next(item for item in ranking if item not in out)
        out.append(best)
        teams[side].append(best)
    return out, [int(item in teams[1]) for item in out]


@given(RANKING, RANKING, st.integers(1, 8), st.lists(st.integers(0, 1), min_size=9, max_size=9))
@settings(max_examples=200, deadline=None)
def test_lists_are_those_of_the_paper(a, b, k, coins) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(interleaving, "_coins", lambda key, n: coins[:n])
        found = team_draft(a, b, k, "any")
    items, team = by_the_book(a, b, k, coins)
    assert found.item_ix[: len(items)].tolist() == items
    assert found.team[: len(team)].tolist() == team
    assert len(found.item_ix) == min(k, len(set(a) | set(b)))
    assert len(set(found.item_ix.tolist())) == len(found.item_ix)
    for item, side in zip(found.item_ix.tolist(), found.team.tolist(), strict=True):
        assert item in (a, b)[side]


def test_the_same_key_gives_the_same_list() -> None:
    a, b = list(range(2, 12)), list(range(7, 17))
    one, again = (team_draft(a, b, 10, "experiment/r1") for _ in range(2))
    assert one.item_ix.tolist() == again.item_ix.tolist()
    lists = {tuple(team_draft(a, b, 10, f"experiment/r{i}").item_ix.tolist()) for i in range(50)}
    assert len(lists) > 10


def test_who_clicks_blindly_favours_nobody() -> None:
    """Over all coins, each place belongs to either ranking equally often: clicks that see only places are
    worth the same to both, whatever the rankings."""
    a, b = [2, 3, 4, 5, 6, 7], [3, 9, 2, 8, 4, 11]
    teams = []
    for coins in itertools.product((0, 1), repeat=3):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(interleaving, "_coins", lambda key, n, coins=coins: [*coins, 0][:n])
            teams.append(team_draft(a, b, 6, "any").team)
    np.testing.assert_array_equal(np.mean(teams, axis=0), np.full(6, 0.5))


def test_blind_clicks_by_simulation_and_a_better_ranking() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.permutation(np.arange(2, 30))[:10], rng.permutation(np.arange(2, 30))[:10]
    place_chance = 1 / np.arange(2, 12)
    blind, seeing = np.zeros((1500, 2)), np.zeros((1500, 2))
    for user in range(1500):
        mixed = team_draft(a, b, 10, f"blind/{user}")
        clicked = rng.random(10) < place_chance
        blind[user] = [(clicked & (mixed.team == side)).sum() for side in (FIRST, SECOND)]
        # The second ranking alone puts 40 first, which this user wants.
        mixed = team_draft(a, [40, *b], 10, f"seeing/{user}")
        clicked = (mixed.item_ix == 40) | (rng.random(10) < 0.05)
        seeing[user] = [(clicked & (mixed.team == side)).sum() for side in (FIRST, SECOND)]
    even, better = judge(*blind.T), judge(*seeing.T)
    assert even.better is None
    assert even.p_value > 0.05
    assert abs(even.advantage) < 0.03
    assert better.better == SECOND
    assert better.p_value < 1e-20
    assert better.advantage > 0.3


def test_the_coins_are_fair() -> None:
    coins = np.array([interleaving._coins(f"key {i}", 12) for i in range(4000)])
    assert abs(coins.mean(axis=0) - 0.5).max() < 0.035
    assert abs(np.corrcoef(coins.T)[np.triu_indices(12, 1)]).max() < 0.07


def test_credit_counts_once_and_by_user() -> None:
    clicks = pl.DataFrame(
        {
            "user_id": ["u", "u", "u", "v", "w"],
            "recommendation_id": ["r1", "r1", "r2", "r3", "r4"],
            "item_id": ["a", "a", "a", "b", "c"],
            "team": [1, 1, 1, 0, 1],
        }
    )
    found = credit(clicks)
    assert found.rows() == [("u", 0, 2), ("v", 1, 0), ("w", 0, 1)]
    verdict = judge(found["first"], found["second"])
    assert (verdict.first_wins, verdict.second_wins, verdict.ties) == (1, 2, 0)
    assert verdict.advantage == pytest.approx(2 / 3 - 0.5)
    assert verdict.p_value == 1.0


def test_nobody_clicked() -> None:
    verdict = judge([0, 0], [0, 0])
    assert (verdict.ties, verdict.advantage, verdict.p_value, verdict.better) == (0, 0.0, 1.0, None)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        team_draft([2], [3], 0, "key")
    with pytest.raises(ShapeError, match="one number a user"):
        judge([1, 2], [1])
