# SPDX-License-Identifier: Apache-2.0
"""RecTools' SASRec on the same sequences, for a few steps: run by training.py with the peer's own Python.

Reads lines of item numbers, one user a line; prints one line of JSON. It imports nothing of Desirepath.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

STEPS: list[tuple[float, int, float]] = []
"""Seconds, true targets and loss of each step; here because RecTools copies the trainer and its callbacks."""


class Clock(Callback):
    """Writes each step down in STEPS."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Note the moment."""
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note what the step took and learned from."""
        seconds = time.perf_counter() - self._began
        STEPS.append((seconds, int((batch["yw"] > 0).sum()), float(outputs["loss"])))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sequences", type=Path)
    for name in ("threads", "warmup", "steps", "batch-size", "max-len", "dim", "n-layers", "n-heads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dropout", type=float, required=True)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    users = [np.array(line.split(), np.int64) for line in options.sequences.read_text().splitlines()]
    lengths = np.array([len(user) for user in users])
    frame = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(users)), lengths),
            Columns.Item: np.concatenate(users),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01")
            + pd.to_timedelta(np.concatenate([np.arange(n) for n in lengths]), unit="s"),
        }
    )
    model = SASRecModel(
        n_blocks=options.n_layers,
        n_heads=options.n_heads,
        n_factors=options.dim,
        dropout_rate=options.dropout,
        session_max_len=options.max_len,
        batch_size=options.batch_size,
        loss="softmax",
        epochs=1,
        get_trainer_func=lambda: Trainer(
            max_steps=options.warmup + options.steps,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Clock()],
        ),
    )
    model.fit(Dataset.construct(frame))
    measured = STEPS[options.warmup :]
    seconds, targets = sum(step[0] for step in measured), sum(step[1] for step in measured)
    print(
        json.dumps(
            {
                "rectools": version("rectools"),
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "steps": len(measured),
                "seconds": seconds,
                "targets": targets,
                "targets_per_s": targets / seconds,
                "fastest_step_targets_per_s": max(step[1] / step[0] for step in measured),
                "first_loss": STEPS[0][2],
            }
        )
    )


if __name__ == "__main__":
    main()
