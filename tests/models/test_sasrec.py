# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from desirepath.errors import ConfigError
from desirepath.models.sasrec import SASRec, SASRecConfig, drop, packed_mask
from desirepath.sequences import Sequences
from desirepath.sequences.batch import cut_windows, pack


def module(**options) -> SASRec:
    torch.manual_seed(0)
    model = SASRec(SASRecConfig(**{"dim": 8, "max_len": 6, "n_heads": 2} | options), 30).double().eval()
    with torch.no_grad():
        for weights in model.parameters():  # large enough, norms and biases too, that each part is felt
            weights.normal_(std=0.5)
        model.items.weight[0] = 0.0
    return model


def plain(model: SASRec, items: list[int]) -> torch.Tensor:
    """The state after the last of `items`, written out cell by cell as the authors' code computes it."""
    config = model.config
    dim = config.dim // config.n_heads
    x = [
        model.items.weight[item] * math.sqrt(config.dim) + model.positions.weight[place]
        for place, item in enumerate(items)
    ]
    for block in model.blocks:
        normed = [block.attention_norm(cell) for cell in x]
        q = [block.queries_keys_values(cell).chunk(3)[0] for cell in normed]
        _, k, v = zip(*(block.queries_keys_values(cell).chunk(3) for cell in x), strict=True)
        attended = []
        for i in range(len(x)):
            heads = []
            for h in range(config.n_heads):
                part = slice(h * dim, (h + 1) * dim)
                weight = torch.stack(
                    [q[i][part] @ k[j][part] / math.sqrt(dim) for j in range(i + 1)]
                ).softmax(0)
                heads.append(sum(weight[j] * v[j][part] for j in range(i + 1)))
            attended.append(block.ffn_norm(normed[i] + block.attention_out(torch.cat(heads))))
        x = [cell + block.ffn_out(F.relu(block.ffn_in(cell))) for cell in attended]
    return model.norm(x[-1])


@torch.no_grad()
@pytest.mark.parametrize(("n_heads", "n_layers", "ffn_dim"), [(1, 1, 0), (2, 2, 0), (4, 2, 20)])
def test_meets_the_equations_written_out(n_heads, n_layers, ffn_dim):
    model = module(n_heads=n_heads, n_layers=n_layers, ffn_dim=ffn_dim)
    items = [5, 3, 29, 3, 7]
    states = model(torch.tensor([items]))
    for length in range(1, len(items) + 1):
        torch.testing.assert_close(states[0, length - 1], plain(model, items[:length]))


@torch.no_grad()
def test_nothing_looks_right():
    model = module()
    a, b = torch.tensor([[4, 5, 6, 7]]), torch.tensor([[4, 5, 9, 2]])
    torch.testing.assert_close(model(a)[:, :2], model(b)[:, :2])
    assert not torch.allclose(model(a)[:, 2], model(b)[:, 2])


@torch.no_grad()
def test_padding_on_the_right_changes_nothing():
    model = module()
    short = model(torch.tensor([[4, 5]]))
    long = model(torch.tensor([[4, 5, 0, 0, 0], [1, 2, 3, 4, 5]]))
    torch.testing.assert_close(long[:1, :2], short)


@torch.no_grad()
def test_packed_rows_give_what_single_histories_give():
    model = module()
    rng = np.random.default_rng(0)
    histories = [[str(i) for i in rng.integers(20, size=n)] for n in (9, 2, 3, 3, 2, 5, 7, 2)]
    sequences = Sequences.from_lists(histories)
    windows = cut_windows(sequences, 6)
    batch = pack(sequences, windows, 6)
    assert len(batch.row_BL) < len(windows)
    states = model(
        torch.from_numpy(batch.item_BL),
        torch.from_numpy(batch.position_BL),
        torch.from_numpy(batch.window_BL),
    ).flatten(0, 1)
    for w in range(len(windows)):
        rows = np.arange(windows.start[w], windows.stop[w])
        alone = model(torch.from_numpy(sequences.item_ix[rows][None]))[0]
        cells = [int(np.flatnonzero(batch.row_BL.ravel() == row)[0]) for row in rows]
        torch.testing.assert_close(states[cells], alone)


def test_packed_mask_is_finite_for_padding():
    mask = packed_mask(torch.tensor([[0, 0, 1, -1]]), torch.float32)
    assert mask.shape == (1, 1, 4, 4)
    allowed = (mask[0, 0] == 0).int().tolist()
    assert allowed == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_dropout_keeps_the_mean_and_follows_its_generator():
    x = torch.ones(200, 500)
    draw = [drop(x, 0.6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert draw[0].unique().tolist() == [0.0, pytest.approx(2.5, rel=1e-4)]
    assert (draw[0] > 0).float().mean().item() == pytest.approx(0.4, abs=0.01)
    assert abs(draw[0].mean().item() - 1) < 0.02
    assert drop(x, 0.0, None) is x


def test_dropout_acts_in_training_only():
    model = module(dropout=0.5)
    items = torch.tensor([[4, 5, 6]])
    assert torch.equal(model(items), model(items))
    model.train()
    first, second = (model(items, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.allclose(first, second)


def test_attention_dropout_is_the_fused_attention_when_nothing_falls(monkeypatch):
    model = module(dropout=0.0, attention_dropout=0.5).train()
    items, window = torch.tensor([[4, 5, 6, 7, 0]]), torch.tensor([[0, 0, 1, 1, -1]])
    position = torch.tensor([[0, 1, 0, 1, 0]])
    first, second = (
        model(items, position, window, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    )
    assert not torch.allclose(first, second)
    monkeypatch.setattr("desirepath.models.sasrec.drop", lambda x, share, generator: x)
    torch.testing.assert_close(model(items, position, window), model.eval()(items, position, window))
    torch.testing.assert_close(model.train()(items), model.eval()(items))


def test_padding_vector_is_zero_and_learns_nothing():
    model = module()
    assert not model.items.weight[0].any()
    model(torch.tensor([[4, 0]])).sum().backward()
    assert not model.items.weight.grad[0].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 10, "n_heads": 3}, "divisible by n_heads; got 10 and 3"),
        ({"n_layers": 0}, "n_layers must be at least 1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"ffn_dim": -1}, "ffn_dim must be 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        SASRecConfig(**options)
