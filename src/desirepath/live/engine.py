# SPDX-License-Identifier: Apache-2.0
"""Answers computed on request from what users did until now, many requests at a time.

One thread takes all questions that wait, asks the model once for all of them, and applies the policy to each.
A question that comes alone is answered at once; nobody waits for company. It knows no HTTP and no files.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from desirepath.live.answer import Answering, Ask, Reply, Shown
from desirepath.live.memory import Memory
from desirepath.live.ranker import Ranker
from desirepath.live.scenarios import Scenarios
from desirepath.live.states import Histories
from desirepath.recommend.versions import Version

__all__ = ["Ask", "Engine", "Reply", "Shown"]

MOST_AT_ONCE = 16
"""Questions answered together: enough to share a pass over the weights, few enough to be quick."""


@dataclass(slots=True)
class _Question:
    ask: Ask
    done: Future[Reply] = field(default_factory=Future)


class Engine:
    """The live answers of one project, in a thread of their own."""

    def __init__(self, version: Version, memory: Memory, scenarios: Scenarios) -> None:
        """Take what answers are made of, and begin to answer."""
        self.memory, self.scenarios = memory, scenarios
        self._rankers = {version.name: Ranker(version, memory.catalogue)}
        self._current = version.name
        self._queue: queue.SimpleQueue[_Question | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="live-engine", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether what is asked will be answered."""
        return self._thread.is_alive()

    @property
    def version(self) -> Version:
        """The version that answers now."""
        return self.ranker.version

    @property
    def ranker(self) -> Ranker:
        """The version that answers now, on the catalogue."""
        return self._rankers[self._current]

    def swap(self, version: Version) -> None:
        """Answer with another version from the next batch on; requests under way end with the old one."""
        ranker = self._rankers.get(version.name) or Ranker(version, self.memory.catalogue)
        self._rankers = {**self._rankers, version.name: ranker}
        self._current = version.name

    def load(self, version: Version) -> Ranker:
        """Hold another version beside the current one, for experiments and shadows."""
        if version.name not in self._rankers:
            self._rankers = {**self._rankers, version.name: Ranker(version, self.memory.catalogue)}
        return self._rankers[version.name]

    def keep_only(self, names: Sequence[str]) -> None:
        """Let go of all versions but the current one and those named."""
        kept = {*names, self._current}
        self._rankers = {name: ranker for name, ranker in self._rankers.items() if name in kept}

    def ranker_of(self, name: str | None) -> Ranker:
        """The version of that name where it is held, else the current one."""
        rankers = self._rankers
        return rankers.get(name or self._current) or rankers[self._current]

    def ask(self, ask: Ask) -> Future[Reply]:
        """A list for someone; the future has it, computed after everything that was kept before this call.

        Raises:
            ConfigError: in the future, where the ask is wrong, such as an unknown scenario.
        """
        question = _Question(ask)
        self._queue.put(question)
        return question.done

    def histories(self, asks: Sequence[Ask]) -> Histories:
        """What is known of those who ask, as the next answer would read it."""
        return Answering(self.ranker, self.memory, self.scenarios, time.time()).histories(asks)

    def close(self) -> None:
        """Answer what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def answers(self, asks: Sequence[Ask]) -> list[Reply | Exception]:
        """What several people get, computed together in this thread; an ask that is wrong gets its error."""
        found: dict[int, Reply | Exception] = {}
        names = [ask.version if ask.version in self._rankers else self._current for ask in asks]
        for name in dict.fromkeys(names):
            rows = [row for row, mine in enumerate(names) if mine == name]
            answering = Answering(self.ranker_of(name), self.memory, self.scenarios, time.time())
            found |= dict(zip(rows, answering.replies([asks[row] for row in rows]), strict=True))
        return [found[row] for row in range(len(asks))]

    def _run(self) -> None:
        ends = False
        while not ends:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            while len(group) < MOST_AT_ONCE:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    ends = True
                    break
                group.append(following)
            self._answer([question for question in group if isinstance(question, _Question)])

    def _answer(self, group: list[_Question]) -> None:
        self._settle([question for question in group if question.done.set_running_or_notify_cancel()])

    def _settle(self, group: list[_Question]) -> None:
        """Answer questions together; one by one where something unforeseen happens: one fails alone."""
        if not group:
            return
        try:
            replies = self.answers([question.ask for question in group])
        except Exception as error:
            if len(group) > 1:
                for question in group:
                    self._settle([question])
                return
            replies = [error]
        for question, reply in zip(group, replies, strict=True):
            if isinstance(reply, Exception):
                question.done.set_exception(reply)
            else:
                question.done.set_result(reply)
