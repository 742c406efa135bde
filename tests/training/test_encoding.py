# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from desirepath.errors import NotFittedError
from desirepath.models.sasrec import SASRec, SASRecConfig
from desirepath.sequences import Queries, Vocabulary
from desirepath.training import TrainConfig, Transformer
from desirepath.training.blocks import TILE
from desirepath.training.encoding import FastEncoder

N_ITEMS = 60
ITEMS = Vocabulary([str(item) for item in range(N_ITEMS)])


def transformer(seed: int = 0, **options) -> Transformer:
    """A transformer whose weights are large and whose biases and norms are not what they were at first."""
    config = SASRecConfig(**{"dim": 16, "max_len": 9, **options})
    torch.manual_seed(seed)
    state = {
        name: value.numpy() + (0.3 * torch.randn(value.shape)).numpy()
        for name, value in SASRec(config, N_ITEMS + 2).state_dict().items()
    }
    state["items.weight"][0] = 0.0
    return Transformer(config, TrainConfig(device="cpu")).restore(state)


def histories(lengths, seed=0, known=1.0):
    rng = np.random.default_rng(seed)
    return Queries.from_items(
        [
            [str(i) if rng.random() < known else "never seen" for i in rng.integers(0, N_ITEMS, length)]
            for length in lengths
        ],
        ITEMS,
    )


@pytest.mark.parametrize("places", ["from_oldest", "from_newest"])
@pytest.mark.parametrize(("n_layers", "n_heads", "ffn_dim"), [(1, 1, 0), (2, 1, 0), (2, 2, 24), (3, 4, 8)])
def test_states_are_those_of_the_whole_model(places, n_layers, n_heads, ffn_dim):
    model = transformer(places=places, n_layers=n_layers, n_heads=n_heads, ffn_dim=ffn_dim)
    encoder, max_len = FastEncoder(model), model.model_config.max_len
    every = list(range(max_len + 6))
    for known in (1.0, 0.6, 0.0):
        queries = histories([*every, *every[::-1]], seed=n_layers, known=known)
        states, want = encoder.encode(queries), model.encode(queries)
        assert states.dtype == want.dtype
        np.testing.assert_allclose(states, want, atol=1e-5)
        alone = np.concatenate([encoder.encode(queries[q : q + 1]) for q in range(len(queries))])
        np.testing.assert_allclose(alone, want, atol=1e-5)
    assert encoder.encode(histories([])).shape == (0, 16)


@pytest.mark.parametrize("n_heads", [1, 2])
def test_long_histories_look_back_tile_by_tile(n_heads):
    model = transformer(places="from_newest", n_heads=n_heads, max_len=2 * TILE + 9)
    queries = histories([TILE - 1, TILE, TILE + 1, 2 * TILE + 9, 3 * TILE], seed=2, known=0.9)
    np.testing.assert_allclose(FastEncoder(model).encode(queries), model.encode(queries), atol=1e-5)


def test_a_state_does_not_depend_on_who_else_asks():
    encoder = FastEncoder(transformer())
    queries = histories(range(14), seed=3, known=0.9)
    alone = np.concatenate([encoder.encode(queries[q : q + 1]) for q in range(len(queries))])
    np.testing.assert_array_equal(encoder.encode(queries), alone)


def test_threads_and_swapped_models_do_not_meet():
    models = [transformer(seed) for seed in (0, 1)]
    encoders = [FastEncoder(model) for model in models]
    queries = histories(range(1, 13))
    want = [model.encode(queries) for model in models]
    with ThreadPoolExecutor(4) as pool:
        jobs = [(turn % 2, pool.submit(encoders[turn % 2].encode, queries)) for turn in range(40)]
        for which, job in jobs:
            np.testing.assert_allclose(job.result(), want[which], atol=1e-5)


def test_an_unfitted_model_is_refused():
    with pytest.raises(NotFittedError, match="fitted"):
        FastEncoder(Transformer())
