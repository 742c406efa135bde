# SPDX-License-Identifier: Apache-2.0
"""The loop from feedback to a better model, closed: train when due, watch in shadow, promote, swap, go back.

One thread looks every few seconds at the registry, the shadow and the training, and does what follows. What
other processes do to the registry, such as `desirepath models rollback`, takes effect here without a restart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from desirepath.errors import DesirepathError
from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.engine import Engine
from desirepath.live.memory import Memory
from desirepath.live.retrainer import RetrainConfig, Retrainer
from desirepath.live.shadow import Shadow, ShadowConfig, Watch
from desirepath.recommend.registry import Registry
from desirepath.recommend.versions import Version

LOOK_EVERY_S = 2.0


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
    ) -> None:
        """Take charge; nothing happens before `start` or `tick`.

        Args:
            registry: of the workspace.
            project: what answers; its listeners should hold `offer`.
            config: when to train, and what a model must show.
            retrainer: starts trainings; None where another process does.
            new_events: events since the current model's training that are known already.
            in_use: names of further versions that must stay loaded, such as those of experiments.
        """
        self.registry, self.project, self.config, self.retrainer = registry, project, config, retrainer
        self.watch: Watch | None = None
        """What compares the candidate with the current one, while there is a candidate."""
        self.error: str | None = None
        """What went wrong at the last look; None if nothing did."""
        self._new_events, self._in_use = new_events, in_use
        self._count = threading.Lock()
        self._turn = threading.Lock()
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

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
        if self.retrainer is None or not self.retrainer.start(reason):
            return False
        with self._count:
            self._new_events = 0
        return True

    def tick(self) -> None:
        """Look once, and do what follows."""
        with self._turn:
            try:
                self._follow_registry()
                self._judge()
                self.error = None
            except DesirepathError as error:
                self.error = str(error)  # shown, and tried again at the next look
            self._train()

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
            self.project.swap(self.registry.open(ledger.current))
            engine.keep_only([*self._in_use(), *([ledger.candidate] if ledger.candidate else [])])
        if self.watch is not None and self.watch.shadow.candidate != ledger.candidate:
            self._end_watch()
        if self.watch is None and ledger.candidate is not None:
            self.watch = self._watching(ledger.candidate)

    def _judge(self) -> None:
        """Promote or set aside the candidate once it is clear."""
        if self.watch is None:
            return
        found, name = self.watch.decision(), self.watch.shadow.candidate
        if found.verdict == "promote" and self.config.promote != "never":
            self.registry.promote(name, found.reason)
            self._follow_registry()
        elif found.verdict == "reject":
            self.registry.reject(name, found.reason)
            self._follow_registry()

    def _train(self) -> None:
        if self.retrainer is None:
            return
        self.retrainer.tick()
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
