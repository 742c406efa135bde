# SPDX-License-Identifier: Apache-2.0
"""Starts the training of a new model in a process of its own when it is due, and tells how it ended.

It knows a command and a clock; what training does, and what becomes of the result, is decided elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from desirepath.errors import ConfigError

HOUR_S = 3600.0
RETRY_S = 900.0
"""Seconds after a training that failed before the next one begins by itself."""
STOP_S = 10.0
"""Seconds that a process is given to end by itself once it is told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainConfig:
    """When a new model is trained, and what it must prove before it answers; [retrain] in the TOML."""

    every_hours: float = 0.0
    """Hours between trainings, >= 0; 0 for no schedule. Nothing is trained while nothing is new."""
    min_new_events: int = 0
    """Events since the last training from which one begins, >= 0; 0 for no trigger."""
    model: str = ""
    """Which model is trained; empty: of the kind that answers now."""
    fresh_share: float = 0.3
    """Share of the events since the current model's training that the new one does not learn from, so that
    both are judged on them, in (0, 1)."""
    margin: float = 0.05
    """How much worse a model may be and still count as not worse, as a share of the current one's NDCG@10,
    in [0, 1)."""
    min_judged: int = 100
    """Fresh events with a history below which nothing is judged on them, >= 1."""
    promote: Literal["shadow", "gate", "never"] = "shadow"
    """What lets a new model answer by itself: "shadow", when live events show that it is not worse; "gate",
    already when the fresh events of the log show it; "never", only a person."""
    shadow_events: int = 200
    """Live events seen by both models before the shadow decides anything, >= 1."""
    shadow_hours: float = 168.0
    """Hours after which a candidate that is still undecided is set aside, > 0."""
    keep: int = 5
    """Versions that stay on disk, >= 1, beside those in use."""
    confidence: float = 0.95
    """Of gate and shadow, in (0, 1)."""

    def __post_init__(self) -> None:
        for name, low in (("every_hours", 0.0), ("min_new_events", 0), ("margin", 0.0)):
            if not getattr(self, name) >= low:
                raise ConfigError(f"[retrain] {name} must be at least {low:g}; got {getattr(self, name)}.")
        for name in ("min_judged", "shadow_events", "keep"):
            if getattr(self, name) < 1:
                raise ConfigError(f"[retrain] {name} must be at least 1; got {getattr(self, name)}.")
        for name in ("fresh_share", "confidence"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ConfigError(f"[retrain] {name} must lie between 0 and 1; got {getattr(self, name)}.")
        if not self.margin < 1.0 or not self.shadow_hours > 0:
            raise ConfigError(
                "[retrain] margin must be below 1 and shadow_hours above 0; got "
                f"{self.margin} and {self.shadow_hours}."
            )
        if self.promote not in ("shadow", "gate", "never"):
            raise ConfigError(f"[retrain] promote must be shadow, gate or never; got '{self.promote}'.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one training ended."""

    reason: str
    """Why it was begun."""
    seconds: float
    error: str | None
    """The last words of a training that failed; None for one that did not."""
    result: dict[str, Any]
    """What a training that did not fail printed as JSON; empty otherwise."""


class Retrainer:
    """One training at a time, in another process.

    `tick` is to be called every few seconds by whoever has a thread to spare; it never waits.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        config: RetrainConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Choose what is run; see `command_for` for the usual one.

        Args:
            command: program and arguments; it prints one JSON object.
            log: a file for what it says besides, written anew by each training.
            config: when it is due.
            clock: seconds that never go back.
        """
        self.command, self.log, self.config = list(command), log, config
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._reason = ""
        self._began_s = 0.0
        self._last_s = clock()
        self._lock = threading.Lock()
        self.last: Ended | None = None
        """How the last training ended."""

    @property
    def running(self) -> bool:
        """Whether a training is under way."""
        return self._process is not None

    def trained_ago(self, seconds: float) -> None:
        """Say how long ago the last training was, so that a schedule outlives a restart of the server."""
        self._last_s = self._clock() - max(seconds, 0.0)

    def due(self, new_events: int) -> str | None:
        """Why a training should begin now, in words; None where none should.

        Args:
            new_events: events since the last training began.
        """
        waited_s = self._clock() - self._last_s
        failed = self.last is not None and self.last.error is not None
        if self.running or new_events < 1 or (failed and waited_s < RETRY_S):
            return None
        waited_hours = waited_s / HOUR_S
        if self.config.every_hours and waited_hours >= self.config.every_hours:
            return f"{waited_hours:.1f} hours since the last one"
        if self.config.min_new_events and new_events >= self.config.min_new_events:
            return f"{new_events:,} new events"
        return None

    def start(self, reason: str) -> bool:
        """Begin a training; False where one is under way already."""
        with self._lock:
            if self._process is not None:
                return False
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("wb") as log, self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=log,
                    start_new_session=True,  # a Ctrl-C meant for the server is not meant for it
                )
            self._reason, self._began_s = reason, self._clock()
            self._last_s = self._began_s
            return True

    def tick(self) -> Ended | None:
        """How the training ended, told once; None while there is nothing to tell."""
        with self._lock:
            if self._process is None or (code := self._process.poll()) is None:
                return None
            self._process = None
            self.last = self._ended(code)
            return self.last

    def stop(self) -> None:
        """End a training that is under way; it leaves no half version, and goes on where it was next time."""
        with self._lock:
            process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        _signal(process, signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()

    @property
    def _output(self) -> Path:
        return self.log.with_suffix(".json")

    def _ended(self, code: int) -> Ended:
        seconds = self._clock() - self._began_s
        error, result = None, {}
        if code == 0:
            try:
                result = json.loads(self._output.read_text(encoding="utf-8"))
            except (OSError, ValueError) as damage:
                error = f"The training ended well, but its answer cannot be read: {damage}"
        else:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            error = f"The training ended with code {code}: {' '.join(said[-3:]) or 'it said nothing'}"
        return Ended(reason=self._reason, seconds=seconds, error=error, result=result)


def command_for(folder: Path, config: RetrainConfig) -> list[str]:
    """The command that trains a new model for a workspace, at low priority where the system knows it.

    It packs the SQLite store of the workspace by itself. A store elsewhere is to be packed before, in the
    server (`Rollout(compact=...)`): its URL may hold a password, which anyone could read in a command line.
    """
    nice = ["nice", "-n", "10"] if shutil.which("nice") else []
    command = [*nice, sys.executable, "-m", "desirepath", "retrain", str(folder), "--json"]
    return [*command, "--model", config.model] if config.model else command


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return  # it ended in between
