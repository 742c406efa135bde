# SPDX-License-Identifier: Apache-2.0
"""What every model must pass, whatever it computes.

    @pytest.mark.parametrize("check", CONTRACTS)
    def test_contract(check):
        check(lambda: MyModel(MyConfig(...)))

`make` must return a new unfitted model each time, with the same options and seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from desirepath.errors import NotFittedError
from desirepath.models.base import Model
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences
from worlds import after_cycle, cycle, two_tribes

Make = Callable[[], Model]

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""Between a batch and a single query the order of float32 sums may differ."""


def everybody(world: Sequences) -> Queries:
    return Queries.latest(world, np.arange(world.n_users))


def asks_for_fit(make: Make) -> None:
    """A model asked before it was fitted says so."""
    with pytest.raises(NotFittedError):
        make().scores(everybody(cycle(n_users=2)))


def has_right_shape(make: Make) -> None:
    """Scores are (B, V) float32 of the caller's own; reserved -inf, all else finite."""
    world = two_tribes()
    model = make().fit(world)
    assert isinstance(model, Model)
    assert model.name
    scores = model.scores(everybody(world))
    assert scores.shape == (world.n_users, len(world.items))
    assert scores.dtype == np.float32
    assert np.all(scores[:, :FIRST] == -np.inf)
    assert np.all(np.isfinite(scores[:, FIRST:]))
    before = scores.copy()
    scores[:] = 0.0
    np.testing.assert_array_equal(model.scores(everybody(world)), before)


def fits_again(make: Make) -> None:
    """A second fit forgets the first, and equal fits give equal scores."""
    world, other = two_tribes(), cycle(n_items=20)
    once = make().fit(world).scores(everybody(world))
    np.testing.assert_array_equal(make().fit(world).scores(everybody(world)), once)
    np.testing.assert_array_equal(make().fit(other).fit(world).scores(everybody(world)), once)


def restores(make: Make) -> None:
    """A new model given the arrays, as a file of safetensors, scores the same to the last bit."""
    world = two_tribes()
    model = make().fit(world)
    file = save({name: np.ascontiguousarray(array) for name, array in model.state().items()})
    again = make().restore(load(file))
    np.testing.assert_array_equal(again.scores(everybody(world)), model.scores(everybody(world)))


def batch_is_single(make: Make) -> None:
    """A query's scores do not depend on what is asked beside it."""
    for world in (two_tribes(), cycle()):
        # Histories of unequal length, an empty one among them.
        queries = everybody(world)
        stop = queries.start + np.arange(len(queries)) % (queries.lengths + 1)
        queries = prefix(queries, stop)
        model = make().fit(world)
        together = model.scores(queries)
        for q in (0, 1, 3, len(queries) - 1):
            np.testing.assert_allclose(model.scores(queries[q : q + 1])[0], together[q], **CLOSE)
        assert model.scores(queries[:0]).shape == (0, len(world.items))


def obeys_mask(make: Make) -> None:
    """With seen items masked none of them is recommended, and no reserved index ever."""
    from desirepath.recommend.ranking import top_k

    world = two_tribes()
    queries = everybody(world)
    for mask_seen in (True, False):
        item_BK, _ = top_k(make().fit(world), queries, k=5, mask_seen=mask_seen)
        assert item_BK.shape == (world.n_users, 5)
        assert np.all(item_BK >= FIRST)
        if mask_seen:
            seen = queries.history_matrix().toarray() > 0
            assert not seen[np.arange(len(queries))[:, None], item_BK].any()


def answers_empty_history(make: Make) -> None:
    """Who has no history still gets a full, finite row."""
    world = two_tribes()
    scores = make().fit(world).scores(Queries.from_items([[]], world.items))
    assert np.all(np.isfinite(scores[:, FIRST:]))


def ignores_unknown(make: Make) -> None:
    """An item that training did not know changes nothing, wherever it stands."""
    world = cycle()
    model = make().fit(world)
    known = model.scores(Queries.from_items([["3", "4"], []], world.items))
    strange = Queries.from_items([["zzz", "3", "zzz", "4", "zzz"], ["zzz"]], world.items)
    np.testing.assert_allclose(model.scores(strange), known, **CLOSE)


def ignores_future(make: Make) -> None:
    """Rows after the moment of the question change nothing."""
    world = cycle()
    model = make().fit(world)
    queries = everybody(world)
    half = prefix(queries, queries.start + queries.lengths // 2)
    cut = np.arange(world.n_events) - np.repeat(world.offsets[:-1], world.lengths) < world.lengths[0] // 2
    np.testing.assert_allclose(model.scores(half), model.scores(everybody(world.select(cut))), **CLOSE)


CONTRACTS = [
    asks_for_fit,
    has_right_shape,
    fits_again,
    restores,
    batch_is_single,
    obeys_mask,
    answers_empty_history,
    ignores_unknown,
    ignores_future,
]
"""For every model."""


def follows_cycle(make: Make, at_least: float = 0.9) -> None:
    """For sequential models: the next step of the ring is the first answer, by far oftener than chance."""
    world = cycle()
    first = make().fit(world).scores(everybody(world)).argmax(axis=1)
    assert np.mean(first == after_cycle(world)) >= at_least


def knows_tribe(make: Make, at_least: float = 0.9) -> None:
    """For personal models: what is recommended lies in the user's own half of the items."""
    from desirepath.recommend.ranking import top_k

    world = two_tribes()
    item_BK, _ = top_k(make().fit(world), everybody(world), k=3, mask_seen=True)
    upper = item_BK - FIRST >= world.n_items // 2
    assert np.mean(upper == (np.arange(world.n_users) % 2 == 1)[:, None]) >= at_least


def prefix(queries: Queries, stop: NDArray[np.int64]) -> Queries:
    """The same questions asked earlier: with the rows start:stop only, at the time of the last of them."""
    time_s = queries.sequences.time_s
    return Queries(
        sequences=queries.sequences,
        user_ix=queries.user_ix,
        start=queries.start,
        stop=stop,
        now_s=np.where(stop > queries.start, time_s[np.maximum(stop - 1, 0)], 0.0),
        target_offsets=queries.target_offsets,
        target_item_ix=queries.target_item_ix,
    )
