# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from desirepath.errors import ConfigError, ShapeError
from desirepath.models.losses import (
    exponentiate_columns,
    has_fast_bfloat16,
    product_dtype,
    reference_softmax_loss,
    softmax_loss,
)


def world(t: int, v: int, d: int, dtype: torch.dtype, scale: float = 1.0):
    generator = torch.Generator().manual_seed(t * v + d)
    states = scale * torch.randn(t, d, dtype=dtype, generator=generator)
    items = torch.randn(v, d, dtype=dtype, generator=generator)
    return states.requires_grad_(), items.requires_grad_(), torch.randint(v, (t,), generator=generator)


def gradients(loss, states, items):
    return loss.detach(), *torch.autograd.grad(loss, (states, items))


@pytest.mark.parametrize(("t", "v", "chunk"), [(1, 2, 128), (7, 11, 3), (130, 301, 128), (256, 97, 64)])
def test_float64_meets_the_reference(t, v, chunk):
    states, items, target = world(t, v, 5, torch.float64)
    ours = gradients(softmax_loss(states, items, target, dtype=torch.float32, chunk=chunk), states, items)
    theirs = gradients(reference_softmax_loss(states, items, target), states, items)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_gradcheck():
    states, items, target = world(6, 9, 3, torch.float64)
    assert torch.autograd.gradcheck(
        lambda s, i: softmax_loss(s, i, target, dtype=torch.float32, chunk=4), (states, items)
    )


def test_upstream_gradient_is_passed_on():
    states, items, target = world(6, 9, 3, torch.float64)
    three = torch.autograd.grad(3 * softmax_loss(states, items, target, dtype=torch.float32), states)[0]
    one = torch.autograd.grad(softmax_loss(states, items, target, dtype=torch.float32), states)[0]
    torch.testing.assert_close(three, 3 * one)


@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_float32_meets_the_reference(scale):
    states, items, target = world(200, 1501, 16, torch.float32, scale)
    ours = gradients(softmax_loss(states, items, target, dtype=torch.float32), states, items)
    theirs = gradients(reference_softmax_loss(states.double(), items.double(), target), states, items)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=2e-5, atol=1e-7)


def test_bfloat16_products_stay_within_their_rounding():
    states, items, target = world(512, 3001, 64, torch.float32, 0.25)
    ours = gradients(softmax_loss(states, items, target, dtype=torch.bfloat16), states, items)
    theirs = gradients(reference_softmax_loss(states, items, target), states, items)
    assert ours[0].dtype == torch.float32
    assert abs(ours[0] - theirs[0]) < 1e-3
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert a.dtype == torch.float32
        # Rounding of 2**-9 a value, averaged over the products' terms.
        assert (a - b).norm() / b.norm() < 5e-3


def test_same_input_gives_the_same_bits():
    states, items, target = world(300, 2000, 64, torch.float32)
    runs = [gradients(softmax_loss(states, items, target, dtype=torch.bfloat16), states, items) for _ in "ab"]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_the_full_table_of_logits_never_exists(monkeypatch):
    largest = 0
    original = torch.Tensor.new_empty

    def spy(self, *shape, **options):
        nonlocal largest
        made = original(self, *shape, **options)
        largest = max(largest, made.numel())
        return made

    monkeypatch.setattr(torch.Tensor, "new_empty", spy)
    states, items, target = world(4096, 512, 8, torch.float32)
    softmax_loss(states, items, target, dtype=torch.float32, chunk=64)
    assert largest == 64 * 512


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("low", [-80.0, -1e4])
def test_exponentiate_columns(dtype, low):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.rand(1003, 9, generator=generator) * -low + low).to(dtype)
    logits[:, 0] = -logits[:, 0]
    logits[17, 1] = 300.0
    wide = logits.double().clone()
    expected = torch.exp(wide - wide.amax(0))
    shift, total = exponentiate_columns(logits)
    np.testing.assert_array_equal(shift.double(), wide.amax(0))
    torch.testing.assert_close(total.double(), expected.sum(0), rtol=1e-6, atol=0)
    tolerance = {torch.float32: 4e-6, torch.bfloat16: 2**-8, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(logits.double(), expected, rtol=tolerance, atol=2.0**-125)


def test_huge_logits_do_not_overflow():
    states = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    items = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = softmax_loss(states, items, torch.tensor([0, 1]), dtype=torch.bfloat16)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (states, items)))


def test_wrong_shapes_and_words_are_refused():
    states, items, target = world(4, 5, 3, torch.float32)
    with pytest.raises(ShapeError, match="share their width"):
        softmax_loss(states, items[:, :2], target, dtype=torch.float32)
    with pytest.raises(ShapeError, match="T >= 1"):
        softmax_loss(states[:0], items, target[:0], dtype=torch.float32)
    with pytest.raises(ConfigError, match="Did you mean 'float32'"):
        product_dtype("float3", torch.device("cpu"))


def test_auto_precision_follows_the_hardware():
    cpu = torch.device("cpu")
    assert product_dtype("float32", cpu) is torch.float32
    assert product_dtype("bfloat16", cpu) is torch.bfloat16
    assert (product_dtype("auto", cpu) is torch.bfloat16) == has_fast_bfloat16(cpu)
