# SPDX-License-Identifier: Apache-2.0
"""What a project does by itself besides answering: pack its live events, and follow what others changed.

It looks every few seconds, in a thread of its own; requests are never held up by it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from desirepath.errors import ConfigError, DesirepathError

if TYPE_CHECKING:
    from desirepath.live.project import Project

LOOK_EVERY_S = 2.0
HOUR_S = 3600.0

log = structlog.get_logger("desirepath.live")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepConfig:
    """When live events become part of the packed log by themselves; [upkeep] in the TOML."""

    pack_events: int = 500_000
    """Live events from which they are packed, >= 0; 0 for never by their number."""
    pack_hours: float = 24.0
    """Hours after which they are packed, if there are any, >= 0; 0 for never by the clock."""
    erase_hours: float = 1.0
    """Hours after which an erased user has left all files at the latest, >= 0; those of one stretch leave
    together, in one writing of the files that hold them. What a stopped server owes is done at its start."""

    def __post_init__(self) -> None:
        for name in ("pack_events", "pack_hours", "erase_hours"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"[upkeep] {name} must be at least 0; got {getattr(self, name)}.")


class Upkeep:
    """The upkeep of one project."""

    def __init__(self, project: Project, config: UpkeepConfig | None = None) -> None:
        """Begin to look after `project`."""
        self.project, self.config = project, config or UpkeepConfig()
        self.error: str | None = None
        """What went wrong at the last look; None if nothing did."""
        self._packed_s = time.monotonic()
        self._erase_s: float | None = self._packed_s if project.erased else None
        """When who was erased must leave the files; None while nobody was."""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Take in what other processes changed, and pack if it is due."""
        self.project.follow()
        self.project.settle()
        if not self.project.erased:
            self._erase_s = None
        elif self._erase_s is None:
            self._erase_s = time.monotonic() + HOUR_S * self.config.erase_hours
        owes = self._erase_s is not None and time.monotonic() >= self._erase_s
        waits = self.project.states.n_live
        late = self.config.pack_hours and time.monotonic() - self._packed_s >= HOUR_S * self.config.pack_hours
        many = self.config.pack_events and waits >= self.config.pack_events
        if owes or (waits and (late or many)):
            self._packed_s = time.monotonic()
            began = time.perf_counter()
            done = self.project.repack()
            seconds = round(time.perf_counter() - began, 2)
            said = {"events": done.behaviour, "erased_users": done.erased_users, "seconds": seconds}
            log.info("packed", project=self.project.name, **said)

    def close(self) -> None:
        """Stop looking."""
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.wait(LOOK_EVERY_S):
            try:
                self.look()
                self.error = None
            except DesirepathError as error:
                if str(error) != self.error:
                    log.error("upkeep failed", project=self.project.name, error=str(error))
                self.error = str(error)
