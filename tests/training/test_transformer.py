# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from contracts import CONTRACTS, follows_cycle, knows_tribe
from desirepath.errors import NotFittedError, WorkspaceError
from desirepath.models.sasrec import SASRecConfig
from desirepath.sequences import Queries, Sequences
from desirepath.training import TrainConfig, Transformer, fit_transformer
from worlds import cycle

SHAPE = SASRecConfig(dim=16, n_layers=1, max_len=8, dropout=0.1)
SHORT = TrainConfig(epochs=20, batch_size=16, learning_rate=2e-2, warmup_steps=10, precision="float32")


def make() -> Transformer:
    return Transformer(SHAPE, SHORT)


@pytest.fixture(scope="module")
def fitted() -> Transformer:
    return make().fit(cycle())


@pytest.mark.parametrize("check", [*CONTRACTS, follows_cycle, knows_tribe], ids=lambda check: check.__name__)
def test_contract(check):
    check(make)


def test_a_longer_history_is_read_from_its_newest_events(fitted):
    world = cycle()
    whole = Queries.latest(world, np.arange(5))
    newest = Queries(
        sequences=world,
        user_ix=whole.user_ix,
        start=whole.stop - SHAPE.max_len,
        stop=whole.stop,
        now_s=whole.now_s,
        target_offsets=whole.target_offsets,
        target_item_ix=whole.target_item_ix,
    )
    np.testing.assert_array_equal(fitted.scores(whole), fitted.scores(newest))


def test_unknown_items_do_not_push_known_ones_out_of_the_window(fitted):
    world = cycle()
    known = [str(i % 12) for i in range(SHAPE.max_len)]
    mixed = [item for name in known for item in (name, "zzz")]
    scores = fitted.scores(Queries.from_items([known, mixed, ["zzz"], []], world.items))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    np.testing.assert_array_equal(scores[2], scores[3])


def test_state_times_item_vectors_is_the_score(fitted):
    queries = Queries.latest(cycle(), np.arange(7))
    product = fitted.encode(queries) @ fitted.item_vectors().T
    np.testing.assert_allclose(fitted.scores(queries)[:, 2:], product[:, 2:], rtol=1e-4, atol=1e-4)


def test_histories_of_every_length_in_small_portions(fitted):
    world = Sequences.from_lists([[str(i % 12) for i in range(n)] for n in range(20)])
    queries = Queries.latest(world, np.arange(20))
    together = fitted._states(queries).numpy()
    portions = fitted._states(queries, cells=9).numpy()
    np.testing.assert_allclose(together, portions, rtol=1e-5, atol=1e-6)


def test_folder_round_trip(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = Transformer.load(tmp_path / "model")
    queries = Queries.latest(cycle(), np.arange(9))
    np.testing.assert_array_equal(again.scores(queries), fitted.scores(queries))
    assert (again.model_config, again.train_config) == (fitted.model_config, fitted.train_config)
    assert (again.history, again.best_epoch) == (fitted.history, fitted.best_epoch)
    assert set(load_file(tmp_path / "model" / "model.safetensors")) == set(fitted.state())


def test_incomplete_or_newer_folders_are_refused(fitted, tmp_path):
    with pytest.raises(WorkspaceError, match="no complete model"):
        Transformer.load(tmp_path)
    fitted.save(tmp_path)
    header = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(header | {"format": 99}))
    with pytest.raises(WorkspaceError, match="Upgrade desirepath"):
        Transformer.load(tmp_path)


def test_refit_learns_what_was_kept_back(fitted):
    world = cycle(length=4)
    model = fit_transformer(SHAPE, SHORT, world)
    epochs = model.best_epoch + 1
    model.refit(world)
    assert len(model.history) == epochs == model.best_epoch + 1
    with pytest.raises(NotFittedError, match="call fit first"):
        make().refit(world)


def test_scores_are_float32_whatever_was_trained_in(fitted):
    queries = Queries.latest(cycle(), np.arange(9))
    low = Transformer(SHAPE, TrainConfig(precision="bfloat16")).restore(fitted.state())
    np.testing.assert_array_equal(low.scores(queries), fitted.scores(queries))
