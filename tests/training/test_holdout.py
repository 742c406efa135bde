# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from desirepath.errors import TooLittleData
from desirepath.sequences import Sequences
from desirepath.training.holdout import hold_out_last, mean_ndcg
from worlds import cycle


class Fixed:
    """Scores read from a table."""

    def __init__(self, table):
        self.table = np.asarray(table, np.float32)

    def scores(self, queries):
        return self.table[queries.user_ix].copy()


def test_last_events_of_some_users_are_kept_back():
    world = Sequences.from_lists([list("abc"), list("ab"), list("cabd"), list("dcba")])
    held = hold_out_last(world, n_users=2, seed=0)
    assert len(held.queries) == 2
    assert set(held.queries.user_ix) <= {0, 2, 3}
    for q, user in enumerate(held.queries.user_ix):
        mine = world.item_ix[world.offsets[user] : world.offsets[user + 1]]
        kept = held.train.item_ix[held.train.offsets[user] : held.train.offsets[user + 1]]
        np.testing.assert_array_equal(kept, mine[:-1])
        assert held.queries.single_target[q] == mine[-1]
        assert held.queries.lengths[q] == len(mine) - 1
    assert held.train.n_events == world.n_events - 2


def test_nobody_to_ask_is_refused():
    with pytest.raises(TooLittleData, match="validation_users = 0"):
        hold_out_last(Sequences.from_lists([["a", "b"]]), n_users=3, seed=0)


def test_ndcg_by_hand():
    world = Sequences.from_lists([["a", "b", "c"], ["b", "a", "d"]])
    held = hold_out_last(world, n_users=2, seed=0)
    # Columns: padding, unknown, a, b, c, d. User 0 asks for c, user 1 for d.
    table = [[-np.inf, -np.inf, 9, 8, 7, 6], [-np.inf, -np.inf, 1, 2, 5, 3]]
    model = Fixed(table)
    assert mean_ndcg(model, held.queries) == pytest.approx((1 / math.log2(4) + 1 / math.log2(3)) / 2)
    assert mean_ndcg(model, held.queries, hide_seen=True) == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert mean_ndcg(model, held.queries, k=2) == pytest.approx((0 + 1 / math.log2(3)) / 2)
    assert mean_ndcg(model, held.queries, chunk=1) == mean_ndcg(model, held.queries)


def test_ties_share_the_places():
    held = hold_out_last(cycle(n_users=5, n_items=11), n_users=5, seed=0)
    level = np.zeros((5, 13))
    level[:, :2] = -np.inf
    # Ten others tie: five of them stand before.
    assert mean_ndcg(Fixed(level), held.queries) == pytest.approx(1 / math.log2(5 + 2))
