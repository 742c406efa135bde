# SPDX-License-Identifier: Apache-2.0
"""The training loop on one page: epochs of packed batches, early stopping, and a run that survives a kill.

It knows a transformer and batches, no metric and no file: what is to be validated is handed in,
progress is handed out, and the run keeps itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from desirepath.errors import DesirepathError
from desirepath.models.losses import softmax_loss
from desirepath.models.sasrec import SASRec, SASRecConfig
from desirepath.schema import FIRST
from desirepath.sequences import Sequences
from desirepath.sequences.batch import Batch
from desirepath.training.checkpoint import RunState
from desirepath.training.run import Progress, Run, TrainConfig
from desirepath.training.workers import Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The module with its best weights, and how the run went."""

    module: SASRec
    state: RunState


class DivergedError(DesirepathError):
    """The loss is no longer a finite number."""


def train_module(
    model_config: SASRecConfig,
    train_config: TrainConfig,
    train: Sequences,
    *,
    validate: Callable[[SASRec], float] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint_folder: Path | None = None,
) -> Trained:
    """Train a SASRec on every position of every history, and return it with its best weights.

    Args:
        model_config: its shape.
        train_config: how it is trained.
        train: histories to learn from; nothing outside them is seen.
        validate: a figure of the module, higher is better; the epoch with the highest is kept.
            Without it, the last epoch is.
        on_progress: called after each step and each epoch; what it raises ends the run.
        checkpoint_folder: where the run is kept, so that a later call with the same options and
            data goes on where this one was cut, with the same result to the bit.

    Raises:
        DivergedError: the loss is not finite.
        TooLittleData: no user has two events.
        WorkspaceError: the folder holds a run with other options or data.
    """
    run = Run(model_config, train_config, train, checkpoint_folder)
    with Workers(run.n_shares) as workers:
        while not run.state.done:
            _epoch(run, workers, on_progress)
            metric = None
            state = run.state
            if validate is not None and (state.epoch + 1) % train_config.validate_every == 0:
                metric = validate(run.module.eval())
            run.end_epoch(metric, validating=validate is not None)
            if on_progress is not None:
                on_progress(run.progress(metric, state.epoch - 1))
            run.keep()
    run.module.load_state_dict(run.best)
    return Trained(module=run.module.eval(), state=run.state)


def _epoch(run: Run, workers: Workers, on_progress: Callable[[Progress], None] | None) -> None:
    """The rest of the epoch that the run is in."""
    run.module.train()
    for batch in run.batches.epoch(run.state.epoch, skip=run.state.step):
        began = time.perf_counter()
        loss, n = _step(run, workers, batch)
        run.count(loss, n, time.perf_counter() - began)
        if on_progress is not None:
            on_progress(run.progress(None, run.state.epoch))
        run.keep(at_least_s=run.config.checkpoint_every_s)


def _step(run: Run, workers: Workers, batch: Batch) -> tuple[float, int]:
    """One step of the optimizer on one batch; returns its mean loss and its number of targets."""
    shares = shares_of(batch, run.n_shares)
    total = sum(len(share.target_item_T) for share in shares)
    if not total:
        return 0.0, 0
    parameters = list(run.module.parameters())

    def gradients(numbered: tuple[int, Batch]) -> tuple[Tensor, tuple[Tensor, ...]]:
        number, share = numbered
        # Dropout follows from the step's number alone, so that a resumed run draws what it would have drawn.
        generator = torch.Generator(run.device).manual_seed(
            int(np.random.SeedSequence((run.config.seed, run.state.total_steps, number)).generate_state(1)[0])
        )
        loss = batch_loss(run.module, share, run.dtype, run.device, generator) * (
            len(share.target_item_T) / total
        )
        return loss, torch.autograd.grad(loss, parameters)

    parts = workers.map(gradients, enumerate(shares))
    loss = math.fsum(part[0].item() for part in parts)
    if not math.isfinite(loss):
        raise DivergedError(
            f"The loss must stay finite; it is {loss} at step {run.state.total_steps}. "
            f"Lower learning_rate ({run.config.learning_rate}) or clip_norm ({run.config.clip_norm})."
        )
    first, *rest = (part[1] for part in parts)
    for other in rest:
        torch._foreach_add_(first, other)
    for parameter, gradient in zip(parameters, first, strict=True):
        parameter.grad = gradient
    torch.nn.utils.clip_grad_norm_(parameters, run.config.clip_norm, foreach=True)
    rate = learning_rate(run.config, run.state.total_steps, run.config.epochs * len(run.batches))
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.step()
    return loss, total


def batch_loss(
    module: SASRec, batch: Batch, dtype: torch.dtype, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Mean cross-entropy of a batch's targets, over all real items and only where there is a target."""

    def place(array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    place_BL = module.places(place(batch.position_BL), place(batch.size_BL))
    states_BLD = module(place(batch.item_BL), place_BL, place(batch.window_BL), generator=generator)
    states_TD = states_BLD.flatten(0, 1).index_select(0, place(batch.target_cell_T))
    target_T = place(batch.target_item_T).long() - FIRST
    return softmax_loss(states_TD, module.items.weight[FIRST:], target_T, dtype=dtype)


def shares_of(batch: Batch, n: int) -> list[Batch]:
    """The batch's rows dealt out to `n` smaller batches; those without a target are left out."""
    if n == 1:
        return [batch]
    width = batch.row_BL.shape[1]
    target_row = batch.target_cell_T // width
    shares = []
    for i in range(n):
        mine = target_row % n == i
        if mine.any():
            cell = batch.target_cell_T[mine]
            shares.append(
                Batch(
                    row_BL=batch.row_BL[i::n],
                    item_BL=batch.item_BL[i::n],
                    position_BL=batch.position_BL[i::n],
                    size_BL=batch.size_BL[i::n],
                    window_BL=batch.window_BL[i::n],
                    target_cell_T=cell // width // n * width + cell % width,
                    target_item_T=batch.target_item_T[mine],
                )
            )
    return shares


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: a linear climb, then level or half a cosine down to 0.

    >>> config = TrainConfig(learning_rate=1.0, warmup_steps=2, schedule="cosine")
    >>> [round(learning_rate(config, step, 6), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    part = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * part))
