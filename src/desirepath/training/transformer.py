# SPDX-License-Identifier: Apache-2.0
"""The trained transformer as every other model: fit, scores, and a folder to keep it in.

Histories reach it through `Queries.windows`, the cut that training used too. It knows no metrics
but the one that stops its training.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from desirepath.errors import NotFittedError, WorkspaceError
from desirepath.models.base import NEVER, Model
from desirepath.models.sasrec import SASRec, SASRecConfig
from desirepath.schema import FIRST, PADDING, UNKNOWN
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.queries import ranges
from desirepath.training.holdout import hold_out_last, mean_ndcg
from desirepath.training.loop import train_module
from desirepath.training.run import Progress, TrainConfig, pick_device

WEIGHTS = "model.safetensors"
HEADER = "model.json"
FORMAT = 2


class Transformer:
    """A SASRec with its training and its answers."""

    name: ClassVar[str] = "sasrec"

    def __init__(
        self, model_config: SASRecConfig | None = None, train_config: TrainConfig | None = None
    ) -> None:
        """Choose the options; nothing is computed before `fit` or `restore`."""
        self.model_config = model_config or SASRecConfig()
        self.train_config = train_config or TrainConfig()
        self.history: list[dict[str, float | int | None]] = []
        """One entry an epoch of training: epoch (from 0), loss (nats a target), metric, elapsed_s."""
        self.best_epoch = -1
        """The epoch whose weights are kept, -1 before `fit`."""
        self._module: SASRec | None = None

    def fit(
        self,
        train: Sequences,
        *,
        validate: Callable[[Model], float] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        checkpoint_folder: Path | None = None,
    ) -> Self:
        """Train on every position of every history.

        Without `validate`, the last event of `validation_users` users is kept back and training
        stops when their NDCG@10 no longer rises; all other events up to the end are learned, so
        that nothing needs to be fitted again. With `validation_users` = 0 too, it runs all epochs.

        Args:
            train: histories to learn from.
            validate: a figure of this model, higher is better, on data kept out of `train`.
            on_progress: called after each step and epoch.
            checkpoint_folder: the run is kept there; the same call goes on after a kill, with the
                same result.
        """
        if validate is None and self.train_config.validation_users:
            n_users = min(self.train_config.validation_users, max(1, train.n_users // 4))
            held = hold_out_last(train, n_users=n_users, seed=self.train_config.seed)
            train = held.train
            validate = lambda model: mean_ndcg(model, held.queries)  # noqa: E731 - a name for one expression

        def figure(module: SASRec) -> float:
            self._module = module
            return validate(self)  # type: ignore[misc]

        trained = train_module(
            self.model_config,
            self.train_config,
            train,
            validate=figure if validate is not None else None,
            on_progress=on_progress,
            checkpoint_folder=checkpoint_folder,
        )
        self._module = trained.module
        self.history, self.best_epoch = trained.state.history, trained.state.best_epoch
        return self

    def refit(
        self,
        train: Sequences,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        checkpoint_folder: Path | None = None,
    ) -> Self:
        """Train anew on all of `train`, for as many epochs as the last `fit` found best."""
        if self.best_epoch < 0:
            raise NotFittedError("refit needs to know the best number of epochs; call fit first.")
        options = asdict(self.train_config) | {"epochs": self.best_epoch + 1, "validation_users": 0}
        trained = train_module(
            self.model_config,
            TrainConfig(**options),
            train,
            on_progress=on_progress,
            checkpoint_folder=checkpoint_folder,
        )
        self._module = trained.module
        self.history, self.best_epoch = trained.state.history, trained.state.best_epoch
        return self

    @property
    def module(self) -> SASRec:
        """The torch module.

        Raises:
            NotFittedError: before `fit` or `restore`.
        """
        if self._module is None:
            raise NotFittedError("The transformer must be fitted before it is asked; call fit or load first.")
        return self._module

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """Scores of shape (B, V), in float32 whatever was trained in: narrower ones would tie many items.

        Cost: 2 B V D operations and B V floats of memory; ask in chunks. An empty history has nothing
        to be read: all its scores are 0.
        """
        scores_BV = torch.mm(self._states(queries), self.module.items.weight.detach().T)
        scores_BV[:, :FIRST] = float(NEVER)
        return scores_BV.cpu().numpy()

    def encode(self, queries: Queries) -> NDArray[np.float32]:
        """The state after each history, (B, D): its product with an item's vector is that item's score."""
        return self._states(queries).cpu().numpy()

    def item_vectors(self) -> NDArray[np.float32]:
        """The vector of each vocabulary entry, (V, D)."""
        return self.module.items.weight.detach().cpu().numpy()

    @property
    def _device(self) -> torch.device:
        return self.module.items.weight.device

    @torch.no_grad()
    def _states(self, queries: Queries, *, cells: int | None = None) -> Tensor:
        """(B, D) states; histories of like length go together, about `cells` cells at a time."""
        module, max_len = self.module.eval(), self.model_config.max_len
        if cells is None:
            # A CPU's caches hold the activations of this many cells; a GPU wants many more at once.
            cells = 1 << 12 if self._device.type == "cpu" else 1 << 17
        length = np.minimum(queries.lengths, max_len)
        states_BD = torch.zeros(len(queries), self.model_config.dim, device=self._device)
        order = np.argsort(length, kind="stable")
        order = order[np.searchsorted(length[order], 1) :]  # nothing to read in an empty history
        first = 0
        while first < len(order):
            # The rows after the first are no shorter: as many as fit at the width of the last of them.
            widths = length[order[first : first + cells]]
            size = max(1, int(np.searchsorted(np.arange(1, len(widths) + 1) * widths, cells, side="right")))
            chosen = order[first : first + size]
            item_BL, length_B = known_windows(queries[chosen], max_len)
            column_BL = torch.arange(item_BL.shape[1]).expand(item_BL.shape)
            place_BL = module.places(column_BL, torch.from_numpy(length_B)[:, None])
            out_BLD = module(torch.from_numpy(item_BL).to(self._device), place_BL.to(self._device))
            rows = torch.arange(len(chosen), device=self._device)
            newest = torch.from_numpy(np.maximum(length_B - 1, 0)).to(self._device)
            read = torch.from_numpy(length_B > 0).to(self._device)
            states_BD[torch.from_numpy(chosen).to(self._device)] = out_BLD[rows, newest] * read[:, None]
            first += size
        return states_BD

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The weights by name."""
        return {name: value.detach().cpu().numpy() for name, value in self.module.state_dict().items()}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the weights that `state` gave; the options must be those they were made with."""
        module = SASRec(self.model_config, len(state["items.weight"]))
        # A copy: torch must not write into arrays that may be mapped from a file.
        module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        self._module = module.to(pick_device(self.train_config.device)).eval()
        return self

    def save(self, folder: Path) -> None:
        """Write model.safetensors and model.json; the header comes last, so a cut write is not readable."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEADER).unlink(missing_ok=True)
        weights = {
            name: value.detach().cpu().contiguous() for name, value in self.module.state_dict().items()
        }
        save_file(weights, folder / WEIGHTS)
        header = {
            "format": FORMAT,
            "model": self.name,
            "n_entries": len(self.module.items.weight),
            "model_config": asdict(self.model_config),
            "train_config": asdict(self.train_config),
            "best_epoch": self.best_epoch,
            "history": self.history,
        }
        part = folder / f"{HEADER}.part"
        part.write_text(json.dumps(header, indent=1))
        os.replace(part, folder / HEADER)

    @staticmethod
    def load(folder: Path) -> Transformer:
        """The model that `save` wrote.

        Raises:
            WorkspaceError: no complete model lies there, or one of another format.
        """
        try:
            header = json.loads((folder / HEADER).read_text())
        except FileNotFoundError:
            raise WorkspaceError(f"{folder} holds no complete model. Run `desirepath train` first.") from None
        if header["format"] != FORMAT:
            remedy = "Upgrade desirepath." if header["format"] > FORMAT else "Train the model anew."
            raise WorkspaceError(
                f"Models must be of format {FORMAT}; {folder} has {header['format']}. {remedy}"
            )
        model = Transformer(SASRecConfig(**header["model_config"]), TrainConfig(**header["train_config"]))
        weights = load_file(folder / WEIGHTS)
        model.restore({name: value.numpy() for name, value in weights.items()})
        model.history, model.best_epoch = header["history"], header["best_epoch"]
        return model


def known_windows(queries: Queries, max_len: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """`Queries.windows` of the histories without their unknown items, as training reads them too.

    Cost: that of the windows; where they hold an unknown item, that of the whole histories.

    >>> from desirepath.sequences import Vocabulary
    >>> known_windows(Queries.from_items([["zzz", "a", "zzz", "b"]], Vocabulary(["a", "b"])), 2)[0].tolist()
    [[2, 3]]
    """
    item_BL, length_B = queries.windows(max_len)
    if not (item_BL == UNKNOWN).any():
        return item_BL, length_B
    items = queries.sequences.item_ix[ranges(queries.start, queries.stop)]
    known = items >= FIRST
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(queries.lengths)])
    start, stop = before[ends[:-1]], before[ends[1:]]
    length_B = np.minimum(stop - start, max_len)
    item_BL = np.full((len(queries), max(1, int(length_B.max(initial=0)))), PADDING, dtype=np.int32)
    item_BL[np.arange(item_BL.shape[1]) < length_B[:, None]] = items[known][ranges(stop - length_B, stop)]
    return item_BL, length_B


def fit_transformer(
    model_config: SASRecConfig,
    train_config: TrainConfig,
    train: Sequences,
    *,
    validate: Callable[[Model], float] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint_folder: Path | None = None,
) -> Transformer:
    """A transformer with these options, fitted; see `Transformer.fit`."""
    return Transformer(model_config, train_config).fit(
        train, validate=validate, on_progress=on_progress, checkpoint_folder=checkpoint_folder
    )
