# SPDX-License-Identifier: Apache-2.0
"""The demo: a simulated marketplace, everything run on it, and what was found beside what was planted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from desirepath.flows.kernels import compiled_beside
from desirepath.flows.pipeline import run
from desirepath.flows.progress import Progress, silent
from desirepath.flows.words import Answer, Given
from desirepath.simulate import demo as demo_config
from desirepath.simulate import marketplace_summary, read_truth, write

QUICK = (
    "training.epochs=8",
    "training.schedule=cosine",
    "training.learning_rate=0.002",
    "recommend.max_test_users=1000",
    "evaluation.n_resamples=500",
)
"""The demo shows the way in a minute; a run without these trains to the end and asks every user."""


def demo(to: Path, seed: int = 0, words: Sequence[str] = (), progress: Progress = silent) -> Answer:
    """Simulate a small marketplace into `to`/log, run everything on it, and say what was found."""
    with compiled_beside():
        return _demo(to, seed, words, progress)


def _demo(to: Path, seed: int, words: Sequence[str], progress: Progress) -> Answer:
    log, title = to / "log", "Simulating a marketplace"
    if not (log / "truth.json").exists():
        write(
            demo_config(seed=seed),
            log,
            format="csv",
            on_progress=lambda done, of: progress(title, done / max(of, 1), f"{done:,} events"),
        )
    progress(title, 1.0, "")
    given = Given(
        sources=[str(log / "events.csv")], items=str(log / "items.csv"), users=str(log / "users.csv")
    )
    answer = run(given, to / "workspace", [*QUICK, *words], progress)
    planted = marketplace_summary(read_truth(log))
    table = Table(title="What was planted in the log", title_justify="left", box=None, show_header=False)
    for about, line in planted.items():
        table.add_row(f"[dim]{about}[/]", line)
    return Answer(
        answer.plain | {"log": str(log), "planted": planted},
        [table, *answer.shown, f"The log        {log}, and its truth beside it"],
    )
