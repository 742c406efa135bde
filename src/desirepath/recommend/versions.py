# SPDX-License-Identifier: Apache-2.0
"""A trained model on disk, ready to answer: weights, vocabulary, calibration, and what its lists leave out.

It knows one folder at a time; which of several versions answers is said elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from desirepath.errors import WorkspaceError
from desirepath.models import BASELINES, Model
from desirepath.recommend.calibration import Calibration
from desirepath.sequences import Vocabulary
from desirepath.workspace import write_atomically

TRANSFORMER = "sasrec"
"""Name of the model that is no baseline."""
HEADER = "version.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One trained model with what its answers need."""

    name: str
    """What replies call it, such as "20261122T101500-sasrec"."""
    model: Model
    items: Vocabulary
    """The item vocabulary that it was fitted with."""
    calibration: Calibration | None
    """From its scores to probabilities; None where too little was known to fit one."""
    exclude_seen: bool
    """Whether lists leave out what the user has had, as its evaluation did."""
    made: dict[str, Any]
    """What it was made from: plain values such as "trained_until_s" and "validation"."""


def save_version(folder: Path, version: Version) -> None:
    """Write a version whose model is a baseline, or whose transformer was saved into `folder` already.

    The header comes last, so that a folder with one is whole. `save_model` writes models of either kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if version.model.name != TRANSFORMER:
        save_state(version.model, folder)
    pl.DataFrame({"id": version.items.ids}).write_ipc(folder / "items.arrow")
    if version.calibration is not None:
        version.calibration.save(folder / "calibration.json")
    header = {
        "format": FORMAT,
        "name": version.name,
        "model": version.model.name,
        "exclude_seen": version.exclude_seen,
        "calibrated": version.calibration is not None,
        "made": version.made,
    }
    write_atomically(folder / HEADER, json.dumps(header, indent=1) + "\n")


def open_version(folder: Path) -> Version:
    """The version that lies in `folder`.

    Raises:
        WorkspaceError: there is no whole version, or a newer one.
    """
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkspaceError(
            f"{folder} holds no trained model. Run `desirepath run FILE --to DIR` first."
        ) from None
    if header["format"] > FORMAT:
        raise WorkspaceError(
            f"A model must be of format {FORMAT} or older; {folder} has {header['format']}. "
            "Upgrade desirepath."
        )
    return Version(
        name=header["name"],
        model=load_model(header["model"], folder),
        items=Vocabulary(pl.read_ipc(folder / "items.arrow").get_column("id")),
        calibration=Calibration.load(folder / "calibration.json") if header["calibrated"] else None,
        exclude_seen=header["exclude_seen"],
        made=header["made"],
    )


def save_state(model: Model, folder: Path) -> None:
    """Write a baseline's arrays as state.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "state.safetensors.part"
    save_file({name: np.ascontiguousarray(value) for name, value in model.state().items()}, part)
    part.replace(folder / "state.safetensors")


def save_model(model: Model, folder: Path) -> None:
    """Write a model of any kind into `folder`, for `load_model`."""
    if model.name != TRANSFORMER:
        save_state(model, folder)
        return
    from desirepath.training import Transformer

    assert isinstance(model, Transformer)
    model.save(folder)


def load_model(name: str, folder: Path) -> Model:
    """The model of that name that lies in `folder`."""
    if name == TRANSFORMER:
        from desirepath.training import Transformer

        return Transformer.load(folder)
    return BASELINES[name]().restore(load_file(folder / "state.safetensors"))
