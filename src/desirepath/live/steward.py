# SPDX-License-Identifier: Apache-2.0
"""Keeps a project going by itself: new models in, the candidate watched, trainings begun when they are due.

It looks every few seconds, in a thread of its own, at what other processes may have changed. Requests are
never held up by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from desirepath.errors import DesirepathError
from desirepath.live.retrainer import Retrainer
from desirepath.live.shadow import Shadow, ShadowConfig, Watch
from desirepath.recommend.registry import Registry

if TYPE_CHECKING:
    from desirepath.live.project import Project

LOOK_EVERY_S = 2.0
SCORE = "shadow.json"

log = structlog.get_logger("desirepath.live")


class Steward:
    """The upkeep of one project."""

    def __init__(
        self,
        project: Project,
        registry: Registry,
        retrainer: Retrainer | None = None,
        compact: Callable[[], int] | None = None,
    ) -> None:
        """Begin to look after `project`.

        Args:
            project: open.
            registry: of its workspace.
            retrainer: begins trainings; None where nobody wants any.
            compact: makes live events part of the packed log, before a training; gives how many.
        """
        self.project, self.registry, self.retrainer = project, registry, retrainer
        self._compact = compact
        self._watch: Watch | None = None
        self._trained_at = self._n_events()
        self._ends = threading.Event()
        self.last_error: str | None = None
        """What went wrong at the last look; None where nothing did."""
        self._thread = threading.Thread(target=self._run, name="steward", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """One round: what the registry says, what the shadow says, whether a training is due or has ended."""
        self._follow_registry()
        self._follow_shadow()
        self._follow_training()

    def train(self, reason: str) -> bool:
        """Begin a training now; False where one is under way, or none is wanted here."""
        if self.retrainer is None or self.retrainer.running:
            return False
        if self._compact is not None:
            self._compact()
        self._trained_at = self._n_events()
        return self.retrainer.start(reason)

    def state(self) -> dict[str, Any]:
        """What is going on, in plain values."""
        watch, training = self._watch, self.retrainer
        decision = None if watch is None else watch.decision()
        return {
            "current": self.project.engine.version.name,
            "candidate": self.registry.candidate(),
            "shadow": None
            if decision is None
            else {"verdict": decision.verdict, "reason": decision.reason, "n_events": decision.n},
            "training": bool(training and training.running),
            "last_training": None
            if training is None or training.last is None
            else {
                "reason": training.last.reason,
                "seconds": training.last.seconds,
                "error": training.last.error,
            },
            "new_events": self._n_events() - self._trained_at,
            "error": self.last_error,
        }

    def close(self) -> None:
        """Stop looking; a training under way is told to stop."""
        self._ends.set()
        self._thread.join()
        self._unwatch()
        if self.retrainer is not None:
            self.retrainer.stop()

    def _run(self) -> None:
        while not self._ends.wait(LOOK_EVERY_S):
            try:
                self.look()
                self.last_error = None
            except (DesirepathError, OSError) as error:
                if str(error) != self.last_error:
                    log.error("upkeep failed", project=self.project.name, error=str(error))
                self.last_error = str(error)

    def _n_events(self) -> int:
        return self.project.states.n_live

    def _follow_registry(self) -> None:
        current = self.registry.current()
        if current is not None and current != self.project.engine.version.name:
            began = time.perf_counter()
            self.project.swap(self.registry.open(current))
            self._unwatch()
            seconds = round(time.perf_counter() - began, 3)
            log.info("model swapped", project=self.project.name, version=current, seconds=seconds)
        wanted = {
            target.removeprefix("model:")
            for experiment in self.project.scenarios.now().experiments.values()
            for target in experiment.variants.values()
            if target.startswith("model:") and experiment.enabled
        }
        for name in wanted:
            if self.project.engine.ranker_of(name).version.name != name:
                self.project.engine.load(self.registry.open(name))
        candidate = self.registry.candidate()
        self.project.engine.keep_only([*wanted, *([candidate] if candidate else [])])

    def _follow_shadow(self) -> None:
        candidate = self.registry.candidate()
        if candidate is None:
            self._unwatch()
            return
        if self._watch is None or self._watch.shadow.candidate != candidate:
            self._unwatch()
            self._watch = self._watched(candidate)
        decision = self._watch.decision()
        automatic = self.retrainer is not None and self.retrainer.config.promote == "shadow"
        if decision.verdict == "promote" and automatic:
            self.registry.promote(candidate, decision.reason)
            self._follow_registry()
        elif decision.verdict == "reject" and automatic:
            self.registry.reject(candidate, decision.reason)
            self._unwatch()

    def _watched(self, candidate: str) -> Watch:
        project = self.project
        options = ShadowConfig()
        if self.retrainer is not None:
            config = self.retrainer.config
            options = ShadowConfig(
                margin=config.margin,
                min_events=config.shadow_events,
                max_hours=config.shadow_hours,
                confidence=config.confidence,
            )
        path = project.workspace.run(SCORE)
        current = project.engine.ranker
        watch = Watch(
            Shadow.load(path, current.version.name, candidate, options),
            current,
            project.engine.load(self.registry.open(candidate)),
            states=project.states,
            catalogue=project.catalogue,
            actions=project.actions,
            path=path,
        )
        project.listeners.append(watch.offer)
        return watch

    def _unwatch(self) -> None:
        if self._watch is not None:
            watch, self._watch = self._watch, None
            self.project.listeners.remove(watch.offer)
            watch.close()

    def _follow_training(self) -> None:
        if self.retrainer is None:
            return
        ended = self.retrainer.tick()
        if ended is not None:
            if ended.error is not None:
                log.error("training failed", project=self.project.name, error=ended.error)
            else:
                log.info("training ended", project=self.project.name, seconds=round(ended.seconds, 1))
        reason = self.retrainer.due(self._n_events() - self._trained_at)
        if reason is not None:
            self.train(reason)
