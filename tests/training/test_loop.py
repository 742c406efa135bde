# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from desirepath.errors import ConfigError, TooLittleData, WorkspaceError
from desirepath.models.losses import reference_softmax_loss
from desirepath.models.sasrec import SASRec, SASRecConfig
from desirepath.schema import FIRST
from desirepath.sequences import Sequences
from desirepath.sequences.batch import Batches
from desirepath.training import TrainConfig
from desirepath.training.checkpoint import FILE
from desirepath.training.loop import DivergedError, batch_loss, shares_of, train_module
from desirepath.training.run import Run, parameter_groups, pick_device
from desirepath.training.workers import Workers
from worlds import cycle

SHAPE = SASRecConfig(dim=8, n_layers=1, max_len=6, dropout=0.3)
CPU = torch.device("cpu")


def config(**options) -> TrainConfig:
    return TrainConfig(
        **{"epochs": 4, "batch_size": 16, "learning_rate": 1e-2, "warmup_steps": 5, "device": "cpu"} | options
    )


def same(a: SASRec, b: SASRec) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def falling(figures):
    """A validation that reads its figures from a list."""
    left = iter(figures)
    return lambda module: next(left)


class Cut(Exception):
    """The power went."""


def cut_after(steps: int):
    def watch(progress):
        if progress.metric is None and progress.epoch * progress.steps + progress.step >= steps:
            raise Cut

    return watch


def test_same_seed_same_bits():
    world = cycle()
    first, again = (train_module(SHAPE, config(), world).module for _ in "ab")
    assert same(first, again)
    assert not same(first, train_module(SHAPE, config(seed=1), world).module)


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_module(SHAPE, config(epochs=1), cycle())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("steps", [1, 3, 5, 8, 9, 11])
def test_a_cut_run_goes_on_to_the_same_bits(tmp_path, steps):
    world = cycle()
    figures = {0: 0.1, 1: 0.4, 2: 0.3, 3: 0.2}

    def run(folder: Path | None, watch=None):
        seen = []

        def validate(module):
            # The figure follows from the weights' epoch alone, as a true one would.
            seen.append(float(module.items.weight.detach().double().sum()))
            return figures[len(known) + len(seen) - 1]

        known = [] if folder is None else done_epochs(folder)
        return train_module(
            SHAPE,
            config(checkpoint_every_s=0.0),
            world,
            validate=validate,
            on_progress=watch,
            checkpoint_folder=folder,
        )

    whole = run(None)
    with pytest.raises(Cut):
        run(tmp_path, cut_after(steps))
    resumed = run(tmp_path)
    assert same(whole.module, resumed.module)
    assert [row["loss"] for row in resumed.state.history] == [row["loss"] for row in whole.state.history]
    assert resumed.state.best_epoch == whole.state.best_epoch == 1
    # A run that is done is not run again.
    assert same(run(tmp_path).module, whole.module)


def done_epochs(folder: Path) -> list[int]:

    if not (folder / FILE).exists():
        return []
    with safe_open(folder / FILE, framework="np") as file:
        return [row["epoch"] for row in json.loads(file.metadata()["run"])["state"]["history"]]


SCRIPT = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[3]))
from desirepath.models.sasrec import SASRecConfig
from desirepath.sequences import Sequences
from desirepath.training import TrainConfig
from desirepath.training.loop import train_module

def watch(progress):
    print("step", flush=True)

world = Sequences.from_lists([[str((s + i) % 12) for i in range(15)] for s in range(60)])
shape = SASRecConfig(dim=8, n_layers=1, max_len=6, dropout=0.3)
options = TrainConfig(epochs=30, batch_size=16, learning_rate=1e-2, checkpoint_every_s=0.0, device="cpu")
trained = train_module(shape, options, world, on_progress=watch, checkpoint_folder=Path(sys.argv[1]))
print("sum", sum(float(p.detach().double().abs().sum()) for p in trained.module.parameters()).hex())
"""


@pytest.mark.slow
def test_kill_nine_at_any_moment(tmp_path):
    def start(folder):
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), "", "2"], stdout=subprocess.PIPE, text=True
        )

    whole = start(tmp_path / "whole").communicate()[0].splitlines()[-1]
    rng = np.random.default_rng(0)
    for _ in range(4):
        run = start(tmp_path / "cut")
        for _ in range(int(rng.integers(5, 60))):
            run.stdout.readline()
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
    assert start(tmp_path / "cut").communicate()[0].splitlines()[-1] == whole


def test_a_run_of_other_options_or_data_is_refused(tmp_path):
    train_module(SHAPE, config(epochs=1), cycle(), checkpoint_folder=tmp_path)
    with pytest.raises(WorkspaceError, match=r"train\.seed: 0 there, 1 here"):
        train_module(SHAPE, config(epochs=1, seed=1), cycle(), checkpoint_folder=tmp_path)
    with pytest.raises(WorkspaceError, match="data_crc32"):
        train_module(SHAPE, config(epochs=1), cycle(seed=3), checkpoint_folder=tmp_path)


def test_a_damaged_checkpoint_says_so(tmp_path):
    train_module(SHAPE, config(epochs=1), cycle(), checkpoint_folder=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WorkspaceError, match="Delete it to start afresh"):
        train_module(SHAPE, config(epochs=1), cycle(), checkpoint_folder=tmp_path)


def test_early_stopping_keeps_the_best_weights():
    world = cycle()
    three = train_module(SHAPE, config(epochs=3), world).module
    figures = [0.1, 0.2, 0.9, 0.3, 0.4, 0.8, 0.7]
    trained = train_module(SHAPE, config(epochs=50, patience=4), world, validate=falling(figures))
    assert len(trained.state.history) == 7
    assert (trained.state.best_epoch, trained.state.best_metric) == (2, 0.9)
    assert same(trained.module, three)


def test_a_spent_budget_ends_the_run_with_the_best_weights():
    trained = train_module(SHAPE, config(epochs=50, budget_s=1e-9), cycle(), validate=falling([0.5]))
    assert len(trained.state.history) == 1
    assert (trained.state.done, trained.state.best_metric) == (True, 0.5)


@pytest.mark.parametrize(("n_users", "expected"), [(60, 32), (3000, 60), (40_000, 512)])
def test_steps_fit_the_log(n_users, expected):
    run = Run(SHAPE, config(batch_size=0), cycle(n_users=n_users, length=3), None)
    assert run.batches.batch_size == expected


def test_progress_tells_steps_and_epochs():
    seen = []
    train_module(SHAPE, config(epochs=2), cycle(), validate=falling([0.5, 0.6]), on_progress=seen.append)
    steps = len(Batches(cycle(), max_len=6, batch_size=16, seed=0))
    assert [p.metric for p in seen] == [None] * steps + [0.5] + [None] * steps + [0.6]
    assert [p.epoch for p in seen] == [0] * (steps + 1) + [1] * (steps + 1)
    assert [p.step for p in seen[:steps]] == list(range(1, steps + 1))
    assert (seen[-1].best_metric, seen[-1].best_epoch, seen[-1].epochs) == (0.6, 1, 2)
    assert all(p.elapsed_s > 0 and p.targets_per_s > 0 and p.loss > 0 for p in seen)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shares_of_a_batch_make_the_batch(n):
    world = cycle(length=9)
    torch.manual_seed(0)
    module = SASRec(SASRecConfig(dim=8, max_len=6, dropout=0.0), len(world.items))
    (batch,) = Batches(world, max_len=6, batch_size=10**6, seed=0).epoch(0)
    whole = batch_loss(module, batch, torch.float32, CPU, None)
    shares = shares_of(batch, n)
    assert len(shares) == n
    total = len(batch.target_item_T)
    parts = [batch_loss(module, s, torch.float32, CPU, None) * len(s.target_item_T) / total for s in shares]
    torch.testing.assert_close(sum(parts), whole)
    gradient = [torch.autograd.grad(part, list(module.parameters())) for part in parts]
    for sums, expected in zip(
        zip(*gradient, strict=True), torch.autograd.grad(whole, list(module.parameters())), strict=True
    ):
        torch.testing.assert_close(sum(sums), expected, rtol=1e-4, atol=1e-6)


def test_batch_loss_is_the_plain_loss_over_real_items_at_targets():
    world = cycle(length=9)
    torch.manual_seed(0)
    module = SASRec(SASRecConfig(dim=8, max_len=6, dropout=0.0), len(world.items)).eval()
    (batch,) = Batches(world, max_len=6, batch_size=10**6, seed=0).epoch(0)
    rows = batch.row_BL.ravel()[batch.target_cell_T]
    offset = world.offsets[np.searchsorted(world.offsets, rows, side="right") - 1]
    # Where the windows begin, counted back from each history's end.
    end = offset + 8
    start = np.maximum(offset, end - 6 * ((end - rows - 1) // 6 + 1))
    states = torch.stack(
        [
            module(torch.from_numpy(world.item_ix[s : r + 1])[None])[0, -1]
            for s, r in zip(start, rows, strict=True)
        ]
    )
    target = torch.from_numpy(world.item_ix[rows + 1]).long() - FIRST
    expected = reference_softmax_loss(states, module.items.weight[FIRST:], target)
    torch.testing.assert_close(batch_loss(module, batch, torch.float32, CPU, None), expected)


def test_only_the_blocks_matrices_decay():
    module = SASRec(SHAPE, 20)
    decayed, free = parameter_groups(module, 0.1)
    names = {id(p): name for name, p in module.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {
        f"blocks.0.{part}.weight" for part in ("queries_keys_values", "attention_out", "ffn_in", "ffn_out")
    }
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


def test_a_loss_that_is_not_finite_ends_the_run():
    with pytest.raises(DivergedError, match="Lower learning_rate"):
        train_module(SHAPE, config(learning_rate=1e30, warmup_steps=0, epochs=20), cycle())


def test_too_little_data_is_refused():
    with pytest.raises(TooLittleData, match="at least two events"):
        train_module(SHAPE, config(), Sequences.from_lists([["a"], ["b"]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"schedule": "step"}, "schedule must be"),
        ({"precision": "float23"}, "Did you mean 'float32'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        config(**options)


def test_unknown_devices_are_refused():
    with pytest.raises(ConfigError, match="device must be 'auto'"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="torch sees no CUDA device"):
            pick_device("cuda")


def test_workers_keep_the_order_and_the_callers_threads():
    before = torch.get_num_threads()
    with Workers(3) as workers:
        assert workers.map(lambda x: (x, torch.get_num_threads()), range(5)) == [(x, 1) for x in range(5)]
        assert torch.get_num_threads() == before
        with pytest.raises(ZeroDivisionError):
            workers.map(lambda x: 1 / x, [1, 0])
