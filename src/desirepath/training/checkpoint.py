# SPDX-License-Identifier: Apache-2.0
"""A training run on disk: one safetensors file that is always whole.

Weights, optimizer state and the best weights so far are tensors; how far the run has come is JSON
in the same file's header, so that one rename moves everything at once. It knows no model.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from desirepath.errors import WorkspaceError

FILE = "checkpoint.safetensors"
FORMAT = 1


@dataclass(slots=True, kw_only=True)
class RunState:
    """How far a run has come; with the tensors beside it, all that decides its future."""

    epoch: int = 0
    """The epoch under way, from 0."""
    step: int = 0
    """Steps done of that epoch."""
    total_steps: int = 0
    """Steps done of the run."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's targets so far."""
    loss_count: int = 0
    """Targets of this epoch so far."""
    best_metric: float | None = None
    """The best validation figure so far."""
    best_epoch: int = -1
    """The epoch that gave it; without validation the last one."""
    elapsed_s: float = 0.0
    """Seconds of work, those before an interruption included."""
    done: bool = False
    """Whether the run has ended."""
    history: list[dict[str, float | int | None]] = field(default_factory=list)
    """One entry an epoch: epoch, loss, metric, elapsed_s."""


def save_checkpoint(
    folder: Path, tensors: dict[str, Tensor], state: RunState, identity: dict[str, Any]
) -> None:
    """Put a whole checkpoint in place of the last one; a kill at any moment leaves one of the two.

    Args:
        folder: made when absent.
        tensors: everything the run needs to go on.
        state: how far it has come.
        identity: what the run is of (options, data); `load_checkpoint` refuses another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    header = {"format": FORMAT, "state": asdict(state), "identity": identity}
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, part, {"run": json.dumps(header)}
    )
    # The bytes must be on the disk before the name is: a rename may outrun them in a power cut.
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(folder / FILE)


def load_checkpoint(
    folder: Path, identity: dict[str, Any], device: torch.device
) -> tuple[dict[str, Tensor], RunState] | None:
    """What `save_checkpoint` put there, or None when nothing was.

    Raises:
        WorkspaceError: the file is damaged, newer, or of a run with other options or data.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise WorkspaceError(
            f"{path} must be a checkpoint of a training run; it cannot be read ({error}). "
            "Delete it to start afresh."
        ) from error
    if header["format"] > FORMAT:
        raise WorkspaceError(
            f"Checkpoints must be of format {FORMAT} or older; {path} has {header['format']}. "
            "Upgrade desirepath."
        )
    theirs = header["identity"]
    other = sorted(key for key in identity.keys() | theirs.keys() if identity.get(key) != theirs.get(key))
    if other:
        changes = ", ".join(f"{key}: {theirs.get(key)} there, {identity.get(key)} here" for key in other)
        raise WorkspaceError(
            f"A run can only go on with the options and data it began with; {path} differs ({changes}). "
            "Train in another folder, or delete the checkpoint to start afresh."
        )
    return tensors, RunState(**header["state"])
