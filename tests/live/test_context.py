# SPDX-License-Identifier: Apache-2.0
"""Lifts of contexts that are planted, against counts by hand; and the order that they make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import worlds
from desirepath.errors import ConfigError
from desirepath.live.context import ContextConfig, ContextLift, placed
from desirepath.recommend.slate import Candidates
from desirepath.schema import FIRST
from desirepath.sequences import Vocabulary

ITEMS = np.arange(FIRST, FIRST + 20)


def two_places():
    """One tribe by phone in the evening, the other before a television in the morning."""
    world = worlds.two_tribes(n_users=400)
    tribe = np.repeat(np.arange(400) % 2, 6)
    return replace(
        world,
        context={"device": (tribe + FIRST).astype(np.int16)},
        labels={"device": Vocabulary(["phone", "tv"])},
        time_s=np.where(tribe, 8.5, 20.5) * 3600.0,
    )


def test_what_is_met_more_often_there_rises():
    world = two_places()
    lift = ContextLift(world)
    phone, tv = lift.of({"device": "phone"}, ITEMS), lift.of({"device": "tv"}, ITEMS)
    assert (phone[:10] > 0).all()
    assert (phone[10:] < 0).all()
    assert (tv[:10] < 0).all()
    # n events where half as many were expected, with 10 of each to begin with.
    counts = np.bincount(world.item_ix, minlength=22)[FIRST:]
    np.testing.assert_allclose(phone[:10], np.log((counts[:10] + 10) / (counts[:10] / 2 + 10)), rtol=1e-5)
    assert lift.of({"device": "fridge", "mood": "good"}, ITEMS) is None


def test_hours_count_only_where_they_are_asked_to():
    world = two_places()
    assert ContextLift(world).of({"hour": 9}, ITEMS) is None
    both = ContextLift(world, ContextConfig(prior_events=50.0, hour_share=0.5))
    tv = both.of({"device": "tv"}, ITEMS)
    np.testing.assert_allclose(both.of({"hour": 9}, ITEMS), tv / 2, rtol=1e-6)
    np.testing.assert_allclose(both.of({"hour": 9, "device": "tv"}, ITEMS), 1.5 * tv, rtol=1e-6)


def test_lifts_move_chances_and_not_scores():
    """Cosines from 0 to 1 keep their order against a small lift; what was likelier by less gives way."""
    offered = Candidates(
        source="model",
        item_ix=np.array([4, 5, 6, 7]),
        score=np.array([0.9, 0.5, 0.4, 0.1]),
        probability=np.array([0.5, 0.02, 0.015, np.nan]),
    )
    lift = np.array([0.0, 0.0, np.log(2.0), 1.0])
    moved = placed(offered, lift)
    assert moved.item_ix.tolist() == [4, 6, 5, 7]
    assert moved.score.tolist() == [0.9, 0.4, 0.5, 0.1]
    np.testing.assert_allclose(moved.probability[:3], [0.5, 0.03 / (0.03 + 0.985), 0.02])
    assert placed(replace(offered, probability=None), lift).item_ix.tolist() == [4, 5, 6, 7]


def test_wrong_shares_are_refused():
    with pytest.raises(ConfigError, match="prior_events"):
        ContextConfig(prior_events=0.0)
    with pytest.raises(ConfigError, match="Shares"):
        ContextConfig(hour_share=1.5)
