# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy over the whole catalogue, without ever holding the whole table of logits.

The loss and both its gradients are computed together, a tile of rows at a time, in the forward
pass. It knows no model: states, item vectors and targets come in, a scalar goes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desirepath.errors import ConfigError, ShapeError, nearest

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS = ("auto", "float32", "bfloat16")

# 2**f on [-1/2, 1/2], least squares in relative error at Chebyshev points: off by at most 7.7e-8.
_C0, _C1, _C2 = np.float32(1.0000000710651662), np.float32(0.6931469490692173), np.float32(0.2402212157622737)
_C3, _C4, _C5 = (
    np.float32(0.055507426754070964),
    np.float32(0.00967546939542538),
    np.float32(0.0013266979925329453),
)
_LOG2E = np.float32(1.4426950408889634)
CPU_CHUNK = 192
"""States a tile on a CPU: enough to pay for reading all items, few enough to stay in its caches."""
GPU_CHUNK = 4096
"""States a tile elsewhere."""
_HALF = np.float32(0.5)
_LOWEST = np.float32(-126.0)  # below 2**-126 a float32 is no longer normal; such a share counts as none


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 in hardware (AVX512-BF16 or AMX; CUDA from Ampere on)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capabilities = torch.backends.cpu.get_cpu_capability(), _cpu_flags()
        return capabilities[0] == "AVX512" and bool({"avx512_bf16", "amx_bf16"} & capabilities[1])
    return False


@lru_cache(maxsize=1)
def _cpu_flags() -> frozenset[str]:
    """The processor's instruction sets as torch names them, empty where it cannot tell."""
    found = torch.cpu.get_capabilities()
    return frozenset(name for name, present in found.items() if present is True)


def product_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type in which the large products run.

    Raises:
        ConfigError: an unknown word.
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"precision must be one of {PRECISIONS}; got '{precision}'. {nearest(precision, PRECISIONS)}"
        )
    if precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device)):
        return torch.bfloat16
    return torch.float32


def reference_softmax_loss(states_TD: Tensor, items_VD: Tensor, target_T: Tensor) -> Tensor:
    """Mean cross-entropy with all logits at once: the plain truth that `softmax_loss` must meet.

    Shapes: states_TD, items_VD floating; target_T int64 rows of items_VD; returns a scalar.
    Cost: T V floats of memory, several times over.
    """
    return torch.nn.functional.cross_entropy(states_TD @ items_VD.T, target_T)


def softmax_loss(
    states_TD: Tensor, items_VD: Tensor, target_T: Tensor, *, dtype: torch.dtype, chunk: int = 0
) -> Tensor:
    """Mean cross-entropy of each target against every item, in a tile of `chunk` states at a time.

    The three products (logits, gradient of the states, gradient of the items) run in `dtype`; the
    maximum, the exponentials, their sum and its logarithm in float32 (float64 for float64 input).
    The normalisation is folded into the narrow side of the products, so that a tile is passed over
    once. The same input gives the same bits.

    Shapes: states_TD, items_VD float32 or float64; target_T int64 rows of items_VD; returns a scalar.
    Cost: 6 T V D operations and T V exponentials; memory chunk x V + 2 V x D.
    Source: the softmax gradient in the forward pass follows the idea of Wijmans et al. 2024, "Cut
    Your Losses in Large-Vocabulary Language Models", section 4, without its vocabulary sorting.

    >>> states, items = torch.eye(2), torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    >>> round(softmax_loss(states, items, torch.tensor([0, 1]), dtype=torch.float32).item(), 6)
    0.000123
    """
    if states_TD.shape[1:] != items_VD.shape[1:] or len(target_T) != len(states_TD) or not len(target_T):
        raise ShapeError(
            "states_TD and items_VD must share their width and target_T must have T >= 1 entries; got "
            f"{tuple(states_TD.shape)}, {tuple(items_VD.shape)} and {tuple(target_T.shape)}."
        )
    loss: Tensor = _SoftmaxLoss.apply(states_TD, items_VD, target_T, dtype, chunk)  # type: ignore[no-untyped-call]
    return loss


class _SoftmaxLoss(torch.autograd.Function):
    """Loss forward; the gradients of a loss of one lie ready for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, items: Tensor, target: Tensor, dtype: torch.dtype, chunk: int
    ) -> Tensor:
        work = _Work.of(states.detach(), items.detach(), dtype, chunk)
        items_grad = _tiles(work)
        # The target's own share, minus one, is sparse: it is taken off exactly, outside the products.
        share = 1.0 / len(target)
        target_item = items.detach()[target]
        loss = (work.log_sum - (work.states * target_item).sum(1)).mean()
        work.states_grad.add_(target_item, alpha=-share)
        items_grad.index_add_(0, target, work.states, alpha=-share)
        ctx.save_for_backward(work.states_grad, items_grad)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (grad,) = grad_outputs
        states_grad, items_grad = ctx.saved_tensors
        return states_grad * grad, items_grad * grad, None, None, None


@dataclass(frozen=True, slots=True)
class _Work:
    """What all tiles share: the inputs, their copies in the product's type, and the rows they fill."""

    states: Tensor
    low_states: Tensor
    low_items: Tensor
    states_grad: Tensor
    log_sum: Tensor
    chunk: int

    @staticmethod
    def of(states: Tensor, items: Tensor, dtype: torch.dtype, chunk: int) -> _Work:
        low = states.dtype if states.dtype == torch.float64 else dtype
        return _Work(
            states=states,
            low_states=states.to(low).contiguous(),
            low_items=items.to(low).contiguous(),
            states_grad=torch.empty_like(states),
            log_sum=torch.empty(len(states), dtype=states.dtype, device=states.device),
            chunk=chunk or (CPU_CHUNK if states.device.type == "cpu" else GPU_CHUNK),
        )


@torch.no_grad()
def _tiles(work: _Work) -> Tensor:
    """Fill `states_grad` and `log_sum` tile by tile; returns the items' gradient without the targets' own.

    A tile is V x R, items down: so all three products run the way in which the libraries are fastest.
    """
    items, n = work.low_items, len(work.states)
    n_items, dim = items.shape
    items_grad = torch.zeros_like(items, dtype=work.states.dtype)
    # Fresh memory costs page faults as dear as the products, so the three results are written in place.
    tile = items.new_empty(n_items * min(work.chunk, n))
    states_grad = items.new_empty(dim * min(work.chunk, n))
    tile_grad = torch.empty_like(items)
    for start in range(0, n, work.chunk):
        rows = slice(start, min(start + work.chunk, n))
        size = rows.stop - rows.start
        states = work.low_states[rows]
        tile_VR = tile[: n_items * size].view(n_items, size)
        states_grad_DR = states_grad[: dim * size].view(dim, size)
        torch.mm(items, states.T.contiguous(), out=tile_VR)
        shift, total = exponentiate_columns(tile_VR)
        work.log_sum[rows] = shift + total.log()
        scale = 1.0 / (total * n)
        torch.mm(items.T, tile_VR, out=states_grad_DR)
        torch.mul(states_grad_DR.T, scale[:, None], out=work.states_grad[rows])
        torch.mm(tile_VR, (states * scale[:, None]).to(items.dtype), out=tile_grad)
        items_grad.add_(tile_grad)
    return items_grad


def exponentiate_columns(logits_VR: Tensor) -> tuple[Tensor, Tensor]:
    """Put exp(logit - shift) in place of each logit; returns (shift_R, total_R), total the column's sum.

    The shift is the column's maximum, so that nothing overflows; the sum is taken before rounding,
    in float32 (float64 for float64). A share below 2**-126 of the largest counts as none.
    """
    if logits_VR.device.type != "cpu" or logits_VR.dtype == torch.float64:
        wide = logits_VR if logits_VR.dtype == torch.float64 else logits_VR.float()
        shift = wide.amax(0)
        powers = torch.exp(wide - shift)
        logits_VR.copy_(powers)
        return shift, powers.sum(0)
    shift_R = np.empty(logits_VR.shape[1], np.float32)
    total_R = np.empty(logits_VR.shape[1], np.float32)
    if logits_VR.dtype == torch.bfloat16:
        _exponentiate_bfloat16(logits_VR.view(torch.int16).numpy(), shift_R, total_R)
    else:
        _exponentiate_float32(logits_VR.numpy(), shift_R, total_R)
    return torch.from_numpy(shift_R), torch.from_numpy(total_R)


# Both kernels run along the rows, many columns to a vector register. Every intermediate is cast,
# since numba would otherwise widen to 64 bits and halve the speed.
@numba.njit(nogil=True, cache=True, fastmath=True)
def _exponentiate_bfloat16(
    bits_VR: NDArray[np.int16], shift_R: NDArray[np.float32], total_R: NDArray[np.float32]
) -> None:
    n_rows, n_columns = bits_VR.shape
    # As integers the negative numbers run backwards; flipping them makes the maximum an integer one.
    top_R = np.full(n_columns, -32768, np.int16)
    for v in range(n_rows):
        for r in range(n_columns):
            bits = bits_VR[v, r]
            top_R[r] = max(
                top_R[r], np.int16(bits ^ np.int16(np.int16(bits >> np.int16(15)) & np.int16(0x7FFF)))
            )
    for r in range(n_columns):
        top = np.int32(top_R[r])
        bits = np.int32(top ^ (np.int32(top >> np.int32(31)) & np.int32(0x7FFF)))
        shift_R[r] = np.int32(bits << np.int32(16)).view(np.float32)
        total_R[r] = np.float32(0.0)
    for v in range(n_rows):
        for r in range(n_columns):
            logit = np.int32(np.int32(bits_VR[v, r]) << np.int32(16)).view(np.float32)
            y = max(np.float32(np.float32(logit - shift_R[r]) * _LOG2E), _LOWEST)
            whole = np.floor(np.float32(y + _HALF))
            f = np.float32(y - whole)
            p = np.float32(_C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * _C5)))))
            power = np.int32(p.view(np.int32) + np.int32(np.int32(whole) << np.int32(23)))
            total_R[r] += power.view(np.float32)
            bits_VR[v, r] = np.int16(np.int32(power + np.int32(0x8000)) >> np.int32(16))


@numba.njit(nogil=True, cache=True, fastmath=True)
def _exponentiate_float32(
    logits_VR: NDArray[np.float32], shift_R: NDArray[np.float32], total_R: NDArray[np.float32]
) -> None:
    n_rows, n_columns = logits_VR.shape
    shift_R[:] = logits_VR[0]
    for v in range(n_rows):
        for r in range(n_columns):
            shift_R[r] = max(shift_R[r], logits_VR[v, r])
    total_R[:] = np.float32(0.0)
    for v in range(n_rows):
        for r in range(n_columns):
            y = max(np.float32((logits_VR[v, r] - shift_R[r]) * _LOG2E), _LOWEST)
            whole = np.floor(np.float32(y + _HALF))
            f = np.float32(y - whole)
            p = np.float32(_C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * _C5)))))
            power = np.int32(p.view(np.int32) + np.int32(np.int32(whole) << np.int32(23))).view(np.float32)
            total_R[r] += power
            logits_VR[v, r] = power
