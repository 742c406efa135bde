# SPDX-License-Identifier: Apache-2.0
"""Mining kernels compiled beside other work, so that a fresh machine does not wait for them.

Numba compiles a kernel at its first call and keeps it on disk; a process of its own does that for tiny
sequences, while the models are still being trained.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from desirepath.patterns.contrast import contrast
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.frequent import MiningConfig, mine
from desirepath.patterns.paths import funnel, retention, sankey, step_matrix, top_paths, transitions
from desirepath.patterns.rules import RuleConfig, rules


@contextlib.contextmanager
def compiled_beside() -> Iterator[None]:
    """Compile in another process while the block runs; what is not done at its end is left undone."""
    command = [sys.executable, "-m", "desirepath.flows.kernels"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def compile_kernels() -> None:
    """Ask every question of a few sequences."""
    log = SequenceDatabase.from_lists([["a", "b", "c"], ["a", "c"], ["b", "c"]] * 3)
    mine(log, MiningConfig(min_support=2, min_length=2, top_k=3))
    rules(log, RuleConfig(min_support=2))
    transitions(log), sankey(log), step_matrix(log), top_paths(log)
    funnel(log, ["a", "c"]).to_frame()
    contrast(log, ["x", "y", "x"] * 3)
    retention(log)


if __name__ == "__main__":
    os.nice(10)
    compile_kernels()
