# SPDX-License-Identifier: Apache-2.0
"""One training run: its options, weights, optimizer and batches, and how it keeps itself on disk.

The loop drives it. It knows no metric.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from desirepath.errors import ConfigError
from desirepath.models.losses import Precision, product_dtype
from desirepath.models.sasrec import SASRec, SASRecConfig
from desirepath.sequences import Sequences
from desirepath.sequences.batch import Batches
from desirepath.training.checkpoint import RunState, load_checkpoint, save_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a transformer is trained."""

    epochs: int = 200
    """Passes over the windows at most, >= 1."""
    batch_size: int = 0
    """Windows a step; 0 takes a 50th of them, within 32 and 512, so that a small log has steps enough."""
    learning_rate: float = 1e-3
    """Step size of AdamW after warm-up, > 0."""
    warmup_steps: int = 100
    """Steps in which the learning rate climbs from 0; 0 for none."""
    schedule: Literal["constant", "cosine"] = "constant"
    """What follows the warm-up: the full rate, or a half cosine down to 0 at the last of `epochs`."""
    weight_decay: float = 1e-4
    """Decay of the blocks' matrices, >= 0; embeddings, norms and biases have none."""
    clip_norm: float = 5.0
    """Largest norm of the whole gradient, > 0."""
    overlap: int = 0
    """Inputs that neighbouring windows of a long history share; see `sequences.batch.cut_windows`."""
    budget_s: float = 0.0
    """Seconds after which training ends with the best weights so far, at the end of an epoch; 0 for none."""
    patience: int = 10
    """Validations without a better figure after which training ends, >= 1."""
    validate_every: int = 1
    """Epochs between validations, >= 1."""
    validation_users: int = 2000
    """Users whose last event `fit` keeps back for early stopping; 0 trains all `epochs` on everything."""
    seed: int = 0
    """Fixes weights, order and dropout: on one machine with as many threads, the same result to the bit."""
    device: str = "auto"
    """"auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1"."""
    precision: Precision = "auto"
    """Type of the softmax's products: "auto" (bfloat16 where the hardware has it), "float32", "bfloat16"."""
    checkpoint_every_s: float = 60.0
    """Seconds between checkpoints, >= 0; used when a folder is given. One is also written each epoch."""

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive; got {getattr(self, name)}.")
        for name in (
            *("batch_size", "warmup_steps", "weight_decay", "overlap", "budget_s"),
            *("validation_users", "checkpoint_every_s"),
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative; got {getattr(self, name)}.")
        if self.schedule not in ("constant", "cosine"):
            raise ConfigError(f"schedule must be 'constant' or 'cosine'; got '{self.schedule}'.")
        product_dtype(self.precision, torch.device("cpu"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a run tells after each step and each epoch."""

    epoch: int
    """The epoch under way, from 0."""
    epochs: int
    """Epochs at most."""
    step: int
    """Steps done of this epoch."""
    steps: int
    """Steps an epoch."""
    loss: float
    """Mean cross-entropy of this epoch's targets so far, in nats."""
    metric: float | None
    """The validation figure just read; None at a step, and where nothing is validated."""
    best_metric: float | None
    """The best validation figure so far."""
    best_epoch: int
    """The epoch that gave it, -1 before the first."""
    elapsed_s: float
    """Seconds of work so far."""
    targets_per_s: float
    """Targets learned from a second since this call began, validation left out."""


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got '{name}'.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device '{name}' was asked for, but torch sees no CUDA device. Use 'auto' or 'cpu'."
        )
    return device


class Run:
    """Everything that changes while a transformer is trained."""

    def __init__(
        self, model_config: SASRecConfig, config: TrainConfig, train: Sequences, folder: Path | None
    ) -> None:
        """Begin a run, or take up the one that lies in `folder`."""
        self.config = config
        self.folder = folder
        self.device = pick_device(config.device)
        self.dtype = product_dtype(config.precision, self.device)
        self.n_shares = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.batches = Batches(
            train,
            max_len=model_config.max_len,
            batch_size=config.batch_size or _fitting_batch(train, model_config.max_len),
            seed=config.seed,
            overlap=config.overlap,
        )
        # The weights are drawn on the CPU whatever the device, and the caller's random state is left alone.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.module = SASRec(model_config, len(train.items)).to(self.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.module, config.weight_decay), lr=config.learning_rate, fused=True
        )
        self.state = RunState()
        self.best = _copy(self.module)
        self._identity = _identity(model_config, config, train, self.n_shares)
        self._seconds = 0.0
        self._targets = 0
        self._kept_at = time.monotonic()
        self._worked_at = time.monotonic()
        self._resume()

    def _resume(self) -> None:
        kept = load_checkpoint(self.folder, self._identity, self.device) if self.folder is not None else None
        if kept is None:
            return
        tensors, self.state = kept
        self.module.load_state_dict(_part(tensors, "module."))
        self.best = _part(tensors, "best.")
        slots = self.optimizer.state_dict()
        slots["state"] = {
            i: _part(tensors, f"optimizer.{i}.") for i in range(len(list(self.module.parameters())))
        }
        if self.state.total_steps:
            self.optimizer.load_state_dict(slots)

    def count(self, loss: float, n_targets: int, seconds: float) -> None:
        """Take note of a step done."""
        state = self.state
        state.loss_sum += loss * n_targets
        state.loss_count += n_targets
        state.step += 1
        state.total_steps += 1
        self._seconds += seconds
        self._targets += n_targets
        self._tick()

    def end_epoch(self, metric: float | None, *, validating: bool) -> None:
        """Close the epoch: keep the weights if they are the best, and say whether the run is done."""
        state, config = self.state, self.config
        better = metric is not None and (state.best_metric is None or metric > state.best_metric)
        if better or not validating:
            state.best_metric, state.best_epoch = metric, state.epoch
            self.best = _copy(self.module)
        self._tick()
        state.history.append(
            {
                "epoch": state.epoch,
                "loss": state.loss_sum / max(1, state.loss_count),
                "metric": metric,
                "elapsed_s": round(state.elapsed_s, 3),
            }
        )
        state.epoch, state.step, state.loss_sum, state.loss_count = state.epoch + 1, 0, 0.0, 0
        tired = validating and state.epoch - 1 - state.best_epoch >= config.patience * config.validate_every
        spent = 0 < config.budget_s <= state.elapsed_s
        state.done = state.epoch >= config.epochs or tired or spent

    def progress(self, metric: float | None, epoch: int) -> Progress:
        """How far the run is, for whoever watches."""
        state = self.state
        ended = epoch < state.epoch
        loss = state.history[-1]["loss"] if ended else state.loss_sum / max(1, state.loss_count)
        return Progress(
            epoch=epoch,
            epochs=self.config.epochs,
            step=len(self.batches) if ended else state.step,
            steps=len(self.batches),
            loss=float(loss or 0.0),
            metric=metric,
            best_metric=state.best_metric,
            best_epoch=state.best_epoch,
            elapsed_s=state.elapsed_s,
            targets_per_s=self._targets / self._seconds if self._seconds else 0.0,
        )

    def keep(self, *, at_least_s: float = 0.0) -> None:
        """Write a checkpoint, unless the last one is younger than `at_least_s`."""
        if self.folder is None or time.monotonic() - self._kept_at < at_least_s:
            return
        tensors = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for i, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in slots.items()}
        self._tick()
        save_checkpoint(self.folder, tensors, self.state, self._identity)
        self._kept_at = time.monotonic()

    def _tick(self) -> None:
        now = time.monotonic()
        self.state.elapsed_s += now - self._worked_at
        self._worked_at = now


def _fitting_batch(train: Sequences, max_len: int) -> int:
    """A 50th of the windows that histories are cut into, within 32 and 512."""
    windows = int(-(-np.maximum(train.lengths - 1, 0) // max_len).sum())
    return int(np.clip(windows // 50, 32, 512))


def parameter_groups(module: SASRec, weight_decay: float) -> list[dict[str, Any]]:
    """The blocks' matrices with weight decay; embeddings, norms and biases without.

    Decay on embeddings would pull rare items, which few gradients hold up, towards nothing.
    """
    decayed = {id(p) for block in module.blocks for p in block.parameters() if p.ndim >= 2}
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]


def _identity(
    model_config: SASRecConfig, config: TrainConfig, train: Sequences, n_shares: int
) -> dict[str, Any]:
    """What must be the same for a run to go on; how often it is kept does not matter."""
    options = asdict(config)
    del options["checkpoint_every_s"]
    return {
        **{f"model.{name}": value for name, value in asdict(model_config).items()},
        **{f"train.{name}": value for name, value in options.items()},
        "threads": n_shares,
        "n_events": train.n_events,
        "n_entries": len(train.items),
        "data_crc32": _checksum(train),
    }


def _checksum(train: Sequences) -> int:
    """CRC-32 of who did what in which order; it reads mapped columns as they lie."""
    columns = (np.ascontiguousarray(column) for column in (train.offsets, train.item_ix))
    checksum = 0
    for column in columns:
        checksum = zlib.crc32(column.data.cast("B"), checksum)
    return checksum


def _copy(module: SASRec) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
