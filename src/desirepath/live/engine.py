# SPDX-License-Identifier: Apache-2.0
"""Answers computed on request from what users did until now, many requests at a time.

One thread takes all questions that wait, asks the model once for all of them, and applies the policy to each.
A question that comes alone is answered at once; nobody waits for company. It knows no HTTP and no files.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.live.actions import Actions
from desirepath.live.catalogue import Catalogue
from desirepath.live.ranker import Ranker, Scored, highest
from desirepath.live.states import Histories, UserStates
from desirepath.live.trending import Trending
from desirepath.recommend.versions import Version
from desirepath.schema import FIRST

MOST_AT_ONCE = 16
"""Questions answered together: enough to share a pass over the weights, few enough to be quick."""
CANDIDATES = 200
"""Items of the model that the policy chooses from."""
TRENDING = "popularity-decayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Whom a list is for, and what it must be like."""

    user_id: str | None = None
    """A user; who has never been heard of is one without a history."""
    history: tuple[str, ...] = ()
    """Item ids of anyone, oldest first; they follow what is known of `user_id`."""
    k: int = 10
    scenario: str = "default"
    exclude_seen: bool | None = None
    """Whether items of the history stay out; None leaves it to the scenario."""
    exclude: tuple[str, ...] = ()
    """Items that must not be shown."""
    seed: int = 0
    """Of everything that is drawn by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One item of a list."""

    item_id: str
    title: str | None
    score: float
    probability: float | None
    """That it is the next item; None without a calibration."""
    propensity: float
    """Probability with which this item came to stand at this place."""
    reasons: tuple[dict[str, Any], ...] = ()
    """What brought it here: the source, and whatever the policy did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A list, and where it comes from."""

    recommendation_id: str
    model_version: str
    fallback: str | None
    """Why the list is not the model's; None when it is."""
    items: tuple[Shown, ...]
    n_events: int
    """Events that the answer knew of."""
    computed_us: int
    """When it was computed, microseconds since 1970 UTC."""


@dataclass(slots=True)
class _Question:
    ask: Ask
    done: Future[Reply] = field(default_factory=Future)


class Engine:
    """The live answers of one project."""

    def __init__(
        self, version: Version, states: UserStates, catalogue: Catalogue, actions: Actions, trending: Trending
    ) -> None:
        """Take what answers are made of; the thread starts with `start`."""
        self.states, self.catalogue, self.actions, self.trending = states, catalogue, actions, trending
        self._ranker = Ranker(version, catalogue)
        self._queue: queue.SimpleQueue[_Question | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="live-engine", daemon=True)
        self._thread.start()

    @property
    def version(self) -> Version:
        """The version that answers now."""
        return self._ranker.version

    @property
    def ranker(self) -> Ranker:
        """The version that answers now, on the catalogue."""
        return self._ranker

    def swap(self, version: Version) -> None:
        """Answer with another version from the next batch on; requests under way end with the old one."""
        self._ranker = Ranker(version, self.catalogue)

    def ask(self, ask: Ask) -> Future[Reply]:
        """A list for someone; the future has it, computed after everything that was kept before this call.

        Raises:
            ConfigError: k is not from 1 to 1000.
        """
        if not 1 <= ask.k <= 1000:
            raise ConfigError(f"k must be from 1 to 1000; got {ask.k}.")
        question = _Question(ask)
        self._queue.put(question)
        return question.done

    def close(self) -> None:
        """Answer what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def histories(self, asks: Sequence[Ask]) -> Histories:
        """What is known of those who ask, with the items that they named themselves at the end."""
        known = self.states.histories([ask.user_id for ask in asks])
        if not any(ask.history for ask in asks):
            return known
        now_s = time.time()
        parts: list[tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.float64]]] = []
        for row, ask in enumerate(asks):
            mine = slice(known.offsets[row], known.offsets[row + 1])
            named = self.catalogue.indexes(ask.history)
            parts.append(
                (
                    np.concatenate([known.item_ix[mine], named]),
                    np.concatenate([known.action_ix[mine], np.full(len(named), FIRST, np.int16)]),
                    np.concatenate([known.time_s[mine], np.full(len(named), now_s)]),
                )
            )
        lengths = [len(part[0]) for part in parts]
        return Histories(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
        )

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
        group = [question for question in group if question.done.set_running_or_notify_cancel()]
        if not group:
            return
        try:
            replies = self.answers([question.ask for question in group])
        except Exception as error:
            for question in group:
                question.done.set_exception(error)
            return
        for question, reply in zip(group, replies, strict=True):
            question.done.set_result(reply)

    def answers(self, asks: Sequence[Ask]) -> list[Reply]:
        """The lists that several people get, computed together in this thread."""
        ranker = self._ranker
        histories = self.histories(asks)
        now_s = time.time()
        queries = ranker.queries(histories, self.actions.vocabulary, now_s)
        allowed = [self._allowed(ask) for ask in asks]
        seen_out = [self._excludes_seen(ask, ranker) for ask in asks]
        warm = ranker.knows(histories)
        rows = np.flatnonzero(warm)
        found: dict[int, Scored] = {}
        if len(rows):
            scored = ranker.best(
                queries[rows], [allowed[r] for r in rows], [seen_out[r] for r in rows], CANDIDATES
            )
            found = dict(zip(rows.tolist(), scored, strict=True))
        n_events = np.diff(histories.offsets)
        return [
            self._reply(ask, ranker, found.get(row), allowed[row], int(n_events[row]), int(now_s * 1e6))
            for row, ask in enumerate(asks)
        ]

    def _excludes_seen(self, ask: Ask, ranker: Ranker) -> bool:
        return ranker.version.exclude_seen if ask.exclude_seen is None else ask.exclude_seen

    def _allowed(self, ask: Ask) -> NDArray[np.bool_] | None:
        """(V,) what may be shown to who asks; None where that is everything."""
        hidden = self.catalogue.hidden
        out = self.catalogue.indexes(ask.exclude) if ask.exclude else None
        if out is None and not hidden[FIRST:].any():
            return None
        allowed = ~hidden
        if out is not None:
            allowed[out] = False
        return allowed

    def _reply(
        self,
        ask: Ask,
        ranker: Ranker,
        scored: Scored | None,
        allowed: NDArray[np.bool_] | None,
        n_events: int,
        now_us: int,
    ) -> Reply:
        fallback = None
        source = ranker.version.model.name
        if scored is None:
            fallback = "Nothing that the model knows was done yet, so this is what has been popular of late."
            scored, source = self._popular(allowed, ask.k), TRENDING
        items = tuple(
            Shown(
                item_id=item_id,
                title=self.catalogue.title(item_id),
                score=float(score),
                probability=None if np.isnan(probability) else float(probability),
                propensity=1.0,
                reasons=({"kind": "source", "source": source},),
            )
            for item_id, score, probability in zip(
                (self.catalogue.ids[ix] for ix in scored.item_ix[: ask.k].tolist()),
                scored.score.tolist(),
                scored.probability.tolist(),
                strict=False,
            )
        )
        return Reply(
            recommendation_id=uuid.uuid4().hex,
            model_version=ranker.version.name,
            fallback=fallback,
            items=items,
            n_events=n_events,
            computed_us=now_us,
        )

    def _popular(self, allowed: NDArray[np.bool_] | None, k: int) -> Scored:
        share = self.trending.shares(len(self.catalogue))
        with np.errstate(divide="ignore"):
            score_V = np.log(share).astype(np.float32)
        if allowed is not None:
            score_V[~allowed[: len(score_V)]] = -np.inf
        chosen = highest(score_V, k)
        return Scored(chosen.astype(np.int32), score_V[chosen], share[chosen].astype(np.float32))
