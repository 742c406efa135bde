# SPDX-License-Identifier: Apache-2.0
"""The loop from feedback to a better model, closed: train when due, watch in shadow, promote, swap, go back.

One thread looks every few seconds at the registry, the shadow and the training, and does what follows. What
other processes do to the registry, such as `desirepath models rollback`, takes effect here without a restart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from desirepath.errors import DesirepathError
from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.engine import Engine
from desirepath.live.memory import Memory
from desirepath.live.retrainer import RetrainConfig, Retrainer
from desirepath.live.shadow import Shadow, ShadowConfig, Watch
from desirepath.recommend.registry import Registry
from desirepath.recommend.versions import Version

LOOK_EVERY_S = 2.0

log = structlog.get_logger("desirepath.live")


class Served(Protocol):
    """What answers, and can be given another version: a `live.project.Project`."""

    memory: Memory
    engine: Engine

    def swap(self, version: Version) -> None:
        """Answer with another version; requests under way end with the old one."""
        ...


class Rollout:
    """Keeps a project at the version that the registry names, and the registry at the best version."""

    def __init__(
        self,
        registry: Registry,
        project: Served,
        config: RetrainConfig,
        retrainer: Retrainer | None = None,
        *,
        new_events: int = 0,
        in_use: Callable[[], Iterable[str]] = tuple,
        compact: Callable[[], object] | None = None,
    ) -> None:
        """Take charge; nothing happens before `start` or `tick`.

        Args:
            registry: of the workspace.
            project: what answers; its listeners should hold `offer`.
            config: when to train, and what a model must show.
            retrainer: starts trainings; None where another process does.
            new_events: events since the current model's training that are known already.
            in_use: names of further versions that must be loaded, such as those of experiments.
            compact: makes live events part of the packed log, before a training reads it.
        """
        self.registry, self.project, self.config, self.retrainer = registry, project, config, retrainer
        self.watch: Watch | None = None
        """What compares the candidate with the current one, while there is a candidate."""
        self.error: str | None = None
        """What went wrong at the last look; None if nothing did."""
        self._new_events, self._in_training = new_events, 0
        self._in_use, self._compact = in_use, compact
        self._count = threading.Lock()
        self._turn, self._beginning = threading.Lock(), threading.Lock()
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None
        made = [moment for moment in registry.versions()["made_at"].to_list() if moment is not None]
        if retrainer is not None and made:
            retrainer.trained_ago((datetime.now(UTC) - max(made)).total_seconds())

    def start(self) -> None:
        """Look every few seconds, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="rollout", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking; a training under way is ended, and the shadow's score is kept."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join()
        with self._turn:
            self._end_watch()
        if self.retrainer is not None:
            self.retrainer.stop()

    def offer(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take note of events that were just kept; never waits. For `Project.listeners`."""
        with self._count:
            self._new_events += sum(row["action"] not in NOT_BEHAVIOUR for row in rows)
        watch = self.watch
        if watch is not None:
            watch.offer(rows)

    def retrain(self, reason: str = "asked for") -> bool:
        """Begin a training now; False where one is under way, or nobody trains here."""
        if self.retrainer is None or not self._beginning.acquire(blocking=False):
            return False
        try:
            if self.retrainer.running:
                return False
            if self._compact is not None:
                self._compact()
            if not self.retrainer.start(reason):
                return False
        finally:
            self._beginning.release()
        log.info("training begun", reason=reason)
        with self._count:
            self._in_training, self._new_events = self._new_events, 0
        return True

    def tick(self) -> None:
        """Look once, and do what follows."""
        with self._turn:
            problems = []
            for step in (self._follow_registry, self._load_in_use, self._judge, self._train):
                try:
                    step()
                except (DesirepathError, OSError) as error:  # told, and tried again at the next look
                    problems.append(str(error))
            said = " ".join(problems) or None
            if said is not None and said != self.error:
                log.error("upkeep failed", error=said)
            self.error = said

    def status(self) -> dict[str, Any]:
        """How the loop stands, as plain values for an API or a page."""
        watch, retrainer = self.watch, self.retrainer
        plain: dict[str, Any] = {
            "current": self.project.engine.version.name,
            "candidate": None,
            "new_events": self._new_events,
            "training": retrainer is not None and retrainer.running,
            "error": self.error,
        }
        if watch is not None:
            found = watch.decision()
            plain["candidate"] = {
                "name": watch.shadow.candidate,
                "verdict": found.verdict,
                "reason": found.reason,
                "events": found.n,
                "left_out": watch.shadow.left_out,
                "current_ndcg": found.current if found.n else None,
                "candidate_ndcg": found.candidate if found.n else None,
                "difference": found.difference.value if found.n else None,
                "low": found.difference.low,
                "high": found.difference.high,
            }
        if retrainer is not None and retrainer.last is not None:
            last = retrainer.last
            plain["last_training"] = {"reason": last.reason, "seconds": last.seconds, "error": last.error}
        return plain

    def _run(self) -> None:
        while not self._ends.wait(LOOK_EVERY_S):
            self.tick()

    def _follow_registry(self) -> None:
        """Answer with the current version, and watch the candidate, whoever changed them."""
        ledger = self.registry.ledger()
        engine = self.project.engine
        if ledger.current is not None and ledger.current != engine.version.name:
            self._end_watch()
            began = time.perf_counter()
            self.project.swap(self.registry.open(ledger.current))
            log.info("model swapped", version=ledger.current, seconds=round(time.perf_counter() - began, 3))
        if self.watch is not None and self.watch.shadow.candidate != ledger.candidate:
            self._end_watch()
        if self.watch is None and ledger.candidate is not None:
            self.watch = self._watching(ledger.candidate)

    def _load_in_use(self) -> None:
        """Hold the versions that experiments ask for, and no others."""
        engine, wanted = self.project.engine, set(self._in_use())
        for name in wanted:
            if engine.ranker_of(name).version.name != name:
                engine.load(self.registry.open(name))
        candidate = None if self.watch is None else self.watch.shadow.candidate
        engine.keep_only([*wanted, *([candidate] if candidate else [])])

    def _judge(self) -> None:
        """Promote or set aside the candidate once it is clear."""
        if self.watch is None or self.config.promote == "never":
            return
        found, name = self.watch.decision(), self.watch.shadow.candidate
        if found.verdict == "promote":
            self.registry.promote(name, found.reason)
            log.info("candidate promoted", version=name, reason=found.reason)
            self._follow_registry()
        elif found.verdict == "reject":
            self.registry.reject(name, found.reason)
            log.info("candidate set aside", version=name, reason=found.reason)
            self._follow_registry()

    def _train(self) -> None:
        if self.retrainer is None:
            return
        ended = self.retrainer.tick()
        if ended is not None and ended.error is not None:
            log.error("training failed", reason=ended.reason, error=ended.error)
            with self._count:
                self._new_events += self._in_training
        elif ended is not None:
            log.info("training ended", version=ended.result.get("name"), seconds=round(ended.seconds, 1))
        reason = self.retrainer.due(self._new_events)
        if reason is not None:
            self.retrain(reason)

    def _watching(self, candidate: str) -> Watch:
        options = ShadowConfig(
            margin=self.config.margin,
            min_events=self.config.shadow_events,
            max_hours=self.config.shadow_hours,
            confidence=self.config.confidence,
        )
        path = self.registry.folder(candidate) / "shadow.json"
        engine = self.project.engine
        return Watch(
            Shadow.load(path, engine.version.name, candidate, options),
            engine.ranker,
            engine.load(self.registry.open(candidate)),
            self.project.memory,
            path,
        )

    def _end_watch(self) -> None:
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
