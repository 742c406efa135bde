# SPDX-License-Identifier: Apache-2.0
"""Progress bars on a terminal, and nothing at all where there is none.

The command line draws with it; flows only know the callback.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bars:
    """One bar a step, with the share done and the time left; a context manager and a callback."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`; stays silent where that is no terminal."""
        self._drawing = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=32),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._drawing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drawing.stop()

    def __call__(self, step: str, share: float, note: str = "") -> None:
        """Move the bar of `step` to `share` (0 to 1)."""
        if step not in self._tasks:
            self._tasks[step] = self._drawing.add_task(step, total=1.0, note=note)
        self._drawing.update(self._tasks[step], completed=min(share, 1.0), note=note)
