# SPDX-License-Identifier: Apache-2.0
"""What weighs in the space: habits that chance does not bring, and as far as it does not."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from desirepath.profiles import PartitionConfig, SegmentConfig, segment
from desirepath.profiles.space import Space, by_chance
from desirepath.profiles.vectors import Block, UserVectors

N = 1200
NIGHT = np.roll(np.exp(-0.5 * ((np.arange(24) - 12) / 2) ** 2), 11)
NOON = np.exp(-0.5 * ((np.arange(24) - 12) / 2) ** 2)


def shares(draw: np.random.Generator, n: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """(U, F) shares of n draws a user, each from the user's own chances."""
    return (draw.multinomial(n, chances / chances.sum(axis=-1, keepdims=True)) / n[:, None]).astype(
        np.float32
    )


def hours(sittings: np.ndarray, own: np.ndarray, seed: int = 0) -> Block:
    """Hours of users who sat down so often; own[u] says whether a user keeps to noon."""
    draw = np.random.default_rng(seed)
    chances = np.where(own[:, None], NOON, NIGHT)
    values = shares(draw, sittings, chances)
    names = tuple(f"hour_{h:02d}" for h in range(24))
    return Block(
        name="hour", kind="share", columns=names, values=values, evidence=sittings.astype(np.float32)
    )


def tastes(kind: np.ndarray, seed: int = 0) -> Block:
    """Thirty events a user, two thirds of them on the label of his kind."""
    draw = np.random.default_rng(seed)
    n = np.full(len(kind), 30)
    chances = np.full((len(kind), 6), 1 / 18)
    chances[np.arange(len(kind)), kind] += 2 / 3
    values = shares(draw, n, chances)
    return Block(
        name="interest:genre",
        kind="share",
        columns=tuple("abcdef"),
        values=values,
        evidence=n.astype(np.float32),
    )


def vectors(*blocks: Block) -> UserVectors:
    users = pl.Series("user_id", [f"u{i:04d}" for i in range(len(blocks[0].values))])  # type: ignore[arg-type]
    table = pl.DataFrame({"user_id": users})
    return UserVectors(as_of=datetime(2026, 1, 1, tzinfo=UTC), users=users, blocks=blocks, table=table)


def reliability(block: Block) -> float:
    return Space.fit(vectors(block, tastes(np.arange(len(block.values)) % 3))).scales[0].reliability  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def keeps_to_noon() -> np.ndarray:
    return np.random.default_rng(5).random(N) < 0.5


def test_one_sitting_is_no_rhythm(keeps_to_noon):
    """Though every user truly keeps to his hours, who came once does not show it."""
    assert reliability(hours(np.ones(N, int), keeps_to_noon)) < 0.1


def test_habits_weigh_as_they_are_shown_again(keeps_to_noon):
    found = [reliability(hours(np.full(N, n), keeps_to_noon)) for n in (1, 2, 4, 20)]
    assert found == sorted(found)
    assert found[1] > 0.3
    assert found[3] > 0.9


def test_many_sittings_of_the_crowd_are_no_rhythm():
    """Users who sit down often but all alike: chance brings all that sets them apart."""
    draw = np.random.default_rng(2)
    sittings = draw.integers(2, 60, N)
    alike = shares(draw, sittings, np.tile(NOON + NIGHT, (N, 1)))
    names = tuple(f"hour_{h:02d}" for h in range(24))
    block = Block(
        name="hour", kind="share", columns=names, values=alike, evidence=sittings.astype(np.float32)
    )
    assert reliability(block) < 0.1


def test_a_sitting_over_several_hours_is_one_sitting():
    """Spread over three hours it lies in the same direction; that too is no evidence of a rhythm."""
    draw = np.random.default_rng(3)
    first = draw.integers(0, 24, N)
    values = np.zeros((N, 24), np.float32)
    for step in range(3):
        values[np.arange(N), (first + step) % 24] = 1 / 3
    names = tuple(f"hour_{h:02d}" for h in range(24))
    block = Block(name="hour", kind="share", columns=names, values=values, evidence=np.ones(N, np.float32))
    assert reliability(block) < 0.1


@pytest.mark.parametrize("sittings", [1, 7])
def test_users_by_chance_are_alike_and_as_many_sittings(keeps_to_noon, sittings):
    block = hours(np.full(N, sittings), keeps_to_noon)
    alike = by_chance(block, np.arange(N), seed=0)
    values, evidence = np.asarray(alike.values, np.float64), np.asarray(alike.evidence)
    assert set(evidence) == {sittings}
    assert values.sum(axis=1) == pytest.approx(1, abs=1e-5)
    crowd = np.asarray(block.values, np.float64).mean(axis=0)
    spread = np.sqrt(crowd * (1 - crowd) / (N * sittings))
    assert (np.abs(values.mean(axis=0) - crowd) < 5 * spread + 1e-9).all()
    # The variance of a share of n draws is p (1 - p) / n.
    assert values.var(axis=0).sum() == pytest.approx((crowd * (1 - crowd)).sum() / sittings, rel=0.1)


def test_who_came_once_is_parted_by_tastes_not_by_the_hour():
    """A few regulars have a rhythm; everybody else came once or twice, at whatever hour."""
    draw = np.random.default_rng(9)
    kind = draw.integers(0, 3, N)
    sittings = np.where(draw.random(N) < 0.15, 12, draw.integers(1, 3, N))
    told = vectors(tastes(kind), hours(sittings, draw.random(N) < 0.5))
    found = segment(told, SegmentConfig(partition=PartitionConfig(k_max=6, n_bootstraps=3)))
    assert found.is_stable
    assert found.partition.n_groups == 3
    order = told.users.search_sorted(found.members["user_id"])
    assert adjusted_rand_score(kind[order.to_numpy()], found.members["segment"]) > 0.95
