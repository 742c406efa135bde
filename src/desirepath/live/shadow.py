# SPDX-License-Identifier: Apache-2.0
"""A candidate model asked in the shadow of the one that answers: what would each have said of what came next?

`Shadow` keeps the score and decides; `Watch` asks both models about live events, off the way of requests.
Neither knows HTTP, nor how a version is made to answer.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, DesirepathError, WorkspaceError
from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.memory import Memory
from desirepath.live.ranker import Ranker
from desirepath.recommend.ranking import target_ranks
from desirepath.recommend.sequential import Interval, SequentialConfig, score_interval
from desirepath.schema import FIRST
from desirepath.sequences import Queries
from desirepath.workspace import write_atomically

Verdict = Literal["promote", "watch", "reject"]
Floats = NDArray[np.float64]
FORMAT = 1
K = 10
AT_ONCE = 64
"""Events asked about together: few enough not to hold up requests for long."""
MOST_WAITING = 64
"""Groups of events that may wait; what comes beyond is left out, and counted."""
SAVE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowConfig:
    """What a candidate must show before it answers."""

    margin: float = 0.05
    """How much worse it may be and still count as not worse: a share of the current one's gain, in [0, 1)."""
    min_events: int = 200
    """Events before anything is decided, >= 1."""
    max_hours: float = 168.0
    """Hours after which an undecided candidate is set aside, > 0."""
    confidence: float = 0.95
    """Chance that the interval is right at every look, in (0, 1)."""
    load: float = 0.25
    """Share of the time in which the shadow may compute, in (0, 1]; of events that come faster, some are left
    out."""
    organic: bool = True
    """Leave out events that name a recommendation: they answer the current model's lists, and favour it."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin < 1.0 or not 0.0 < self.confidence < 1.0:
            raise ConfigError(
                "margin must lie in [0, 1) and confidence between 0 and 1; got "
                f"{self.margin} and {self.confidence}."
            )
        if not 0.0 < self.load <= 1.0:
            raise ConfigError(f"load must lie in (0, 1]; got {self.load}.")
        if self.min_events < 1 or not self.max_hours > 0:
            raise ConfigError(
                "min_events must be at least 1 and max_hours above 0; got "
                f"{self.min_events} and {self.max_hours}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the shadow says now."""

    verdict: Verdict
    reason: str
    """In a sentence, with the figures."""
    n: int
    """Events that both were asked about."""
    current: float
    """Mean gain of the current model: NDCG@10 of what came next; NaN before the first event."""
    candidate: float
    difference: Interval
    """Of candidate less current; holds at every look."""


@dataclass(slots=True, kw_only=True)
class Shadow:
    """The score of two versions on the same live events.

    The gain of an event is 1 / log2(1 + rank) of the item that came, up to rank 10, else 0. The candidate is
    promoted once its gain is above (1 - margin) times that of the current one, rejected once it is below,
    at a confidence that holds however often one looks: whatever the events are, a candidate that is worse
    than the margin is promoted with a chance of at most (1 - confidence) / 2, ever.

    Source: Choe and Ramdas, "Comparing Sequential Forecasters" (Operations Research 2024); see
    `recommend.sequential.score_interval`.
    """

    current: str
    """Name of the version that answers."""
    candidate: str
    config: ShadowConfig = field(default_factory=ShadowConfig)
    began_s: float = field(default_factory=time.time)
    """Seconds since 1970 UTC."""
    n: int = 0
    left_out: int = 0
    """Events that could not be asked about: no history, a list's own, too many at once."""
    gain: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Sums of the gains of current and candidate."""
    variation: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Of candidate - current, and of candidate - (1 - margin) current: squares round the mean so far."""

    def add(self, current: Floats, candidate: Floats) -> None:
        """Take in the gains of both on further events, in the order in which they came.

        Shapes: (N,) both, in [0, 1].
        """
        if current.shape != candidate.shape or current.ndim != 1:
            raise DataError(f"Gains must be one an event and model; got {current.shape}, {candidate.shape}.")
        for place, kept in enumerate((1.0, 1.0 - self.config.margin)):
            before = self.gain[1] - kept * self.gain[0]
            self.variation[place] += _variation(candidate - kept * current, before, self.n)
        self.gain[0] += float(current.sum())
        self.gain[1] += float(candidate.sum())
        self.n += len(current)

    def decision(self, now_s: float | None = None) -> Decision:
        """What follows from the events until now."""
        now_s = time.time() if now_s is None else now_s
        options = SequentialConfig(confidence=self.config.confidence)
        kept = 1.0 - self.config.margin
        total = self.gain[1] - kept * self.gain[0]
        test = score_interval(total, self.variation[1], self.n, 1.0, options)
        difference = score_interval(self.gain[1] - self.gain[0], self.variation[0], self.n, 1.0, options)
        hours = (now_s - self.began_s) / 3600.0
        verdict: Verdict = "watch"
        if self.n >= self.config.min_events and test.low is not None and test.high is not None:
            verdict = "promote" if test.low > 0 else "reject" if test.high < 0 else "watch"
        why = {
            "promote": f"not worse on {self.n:,} live events",
            "reject": f"worse on {self.n:,} live events",
            "watch": f"undecided after {self.n:,} live events",
        }[verdict]
        if verdict == "watch" and hours >= self.config.max_hours:
            verdict, why = "reject", f"{why} and {hours:.0f} hours"
        n = max(self.n, 1)
        current, candidate = self.gain[0] / n, self.gain[1] / n
        if self.n:
            why += (
                f": NDCG@{K} {candidate:.4f} against {current:.4f}, difference {difference.value:+.4f} "
                f"[{difference.low:+.4f}, {difference.high:+.4f}]"
            )
        return Decision(
            verdict=verdict,
            reason=why,
            n=self.n,
            current=current if self.n else float("nan"),
            candidate=candidate if self.n else float("nan"),
            difference=difference,
        )

    def save(self, path: Path) -> None:
        """Write the score as JSON; a cut leaves the old or the new."""
        write_atomically(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")

    @staticmethod
    def load(path: Path, current: str, candidate: str, config: ShadowConfig) -> Shadow:
        """The score of these two that lies at `path`, or a new one where there is that of others, or none.

        Raises:
            WorkspaceError: the file is damaged or of a newer format.
        """
        fresh = Shadow(current=current, candidate=candidate, config=config)
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") > FORMAT:
                raise WorkspaceError(f"{path} was written by a newer desirepath. Upgrade it.")
            same = (content["current"], content["candidate"]) == (current, candidate)
            margin = content.pop("config")["margin"]
            return Shadow(**content, config=config) if same and margin == config.margin else fresh
        except FileNotFoundError:
            return fresh
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"{path} is damaged ({error}). Remove it to begin the score anew."
            ) from error


class Watch:
    """Asks two versions what would come next, for every live event, in a thread of its own."""

    def __init__(
        self,
        shadow: Shadow,
        current: Ranker,
        candidate: Ranker,
        memory: Memory,
        path: Path | None = None,
    ) -> None:
        """Begin to watch.

        Args:
            shadow: where the score is kept.
            current: the version that answers, on the catalogue.
            candidate: the other, on the same catalogue.
            memory: what users did, the events that are offered included.
            path: where the score is written every few seconds.
        """
        self.shadow = shadow
        self._rankers = (current, candidate)
        self._memory, self._path = memory, path
        # What either was trained on is no test of it.
        self._after_us = 1e6 * max(float(r.version.made["trained_until_s"]) for r in self._rankers)
        self._queue: queue.Queue[list[Mapping[str, Any]] | None] = queue.Queue(MOST_WAITING)
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self.error: str | None = None
        """Why events could not be asked about the last time that happened."""
        self._saved_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take note of events that were just kept; never waits. For `Project.listeners`.

        Args:
            rows: with user_id, item_id, action, time_us, and recommendation_id where there is one.
        """
        try:
            self._queue.put_nowait(list(rows))
        except queue.Full:
            with self._lock:
                self.shadow.left_out += len(rows)

    def decision(self) -> Decision:
        """What follows from the events until now."""
        with self._lock:
            return self.shadow.decision()

    def drain(self) -> None:
        """Wait until all events that were offered are asked about."""
        self._queue.join()

    def close(self) -> None:
        """Write the score, and end; what waits is left out."""
        self._ends.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)  # wakes the thread; where the queue is full it is awake
        self._thread.join()

    def _run(self) -> None:
        while (rows := self._queue.get()) is not None and not self._ends.is_set():
            for first in range(0, len(rows), AT_ONCE):
                part = rows[first : first + AT_ONCE]
                began = time.perf_counter()
                try:
                    self._score(part)
                except DesirepathError as error:
                    self.error = str(error)
                    with self._lock:
                        self.shadow.left_out += len(part)
                spent_s = time.perf_counter() - began
                self._ends.wait(spent_s * (1.0 / self.shadow.config.load - 1.0))
                if self._ends.is_set():
                    break
            if time.monotonic() - self._saved_s >= SAVE_EVERY_S:
                self._save()
            self._queue.task_done()
        self._save()

    def _save(self) -> None:
        if self._path is not None:
            with self._lock:
                self.shadow.save(self._path)
            self._saved_s = time.monotonic()

    def _score(self, rows: Sequence[Mapping[str, Any]]) -> None:
        asked = self._asked(rows)
        gains = [gain_of(ranker, queries) for ranker, queries in zip(self._rankers, asked, strict=True)]
        with self._lock:
            self.shadow.left_out += len(rows) - len(gains[0])
            self.shadow.add(*gains)

    def _asked(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Queries, Queries]:
        """The events as questions to both: everything that the user did before each, in order of time."""
        used = [row for row in rows if self._is_used(row)]
        users = list(dict.fromkeys(str(row["user_id"]) for row in used))
        histories = self._memory.states.histories(users)
        n_events = np.diff(histories.offsets)
        vocabulary = self._memory.actions.vocabulary
        known = pl.DataFrame(
            {
                "owner": np.repeat(np.arange(len(users)), n_events),
                "item": histories.item_ix.astype(np.int64),
                "action": histories.action_ix.astype(np.int64),
                "time_us": np.rint(histories.time_s * 1e6).astype(np.int64),
                "place": np.arange(len(histories.item_ix)),
            }
        )
        owner = {user: ix for ix, user in enumerate(users)}
        came = pl.DataFrame(
            {
                "owner": [owner[str(row["user_id"])] for row in used],
                "item": [self._memory.catalogue.index(str(row["item_id"])) for row in used],
                "action": [vocabulary.index(str(row["action"])) for row in used],
                "time_us": [int(row["time_us"]) for row in used],
            },
            schema={"owner": pl.Int64, "item": pl.Int64, "action": pl.Int64, "time_us": pl.Int64},
        )
        # Of equal events the last: one that came again is asked about after its twin.
        last = known.group_by("owner", "item", "action", "time_us").agg(pl.col("place").max())
        found = came.join(last, on=list(came.columns), how="inner", maintain_order="left")
        who, place, item = (found[name].to_numpy().astype(np.int64) for name in ("owner", "place", "item"))
        start = histories.offsets[who]
        readable = np.ones(len(found), dtype=np.bool_)
        for ranker in self._rankers:
            reads = ranker.to_model(histories.item_ix) >= FIRST
            before = np.concatenate([np.zeros(1, np.int64), np.cumsum(reads)])
            readable &= before[place] > before[start]
        who, place, item, start = (column[readable] for column in (who, place, item, start))
        first, second = (
            replace(
                ranker.queries(histories, vocabulary, 0.0),
                user_ix=who,
                start=start,
                stop=place,
                now_s=histories.time_s[place],
                target_offsets=np.arange(len(who) + 1, dtype=np.int64),
                target_item_ix=ranker.to_model(item.astype(np.int32)),
            )
            for ranker in self._rankers
        )
        return first, second

    def _is_used(self, row: Mapping[str, Any]) -> bool:
        if row["action"] in NOT_BEHAVIOUR or row["time_us"] <= self._after_us:
            return False
        return not (self.shadow.config.organic and row.get("recommendation_id"))


def gain_of(ranker: Ranker, queries: Queries) -> Floats:
    """(Q,) 1 / log2(1 + rank) of each query's one target up to rank 10, else 0, as the version would list."""
    if not len(queries):
        return np.zeros(0)
    rank = target_ranks(ranker.version.model, queries, mask_seen=ranker.version.exclude_seen)
    return np.where(rank <= K, 1.0 / np.log2(1.0 + rank), 0.0)


def _variation(values: Floats, total: float, n: int) -> float:
    """Sum of (x - c)^2, c the mean of all before x: `n` that add up to `total`, then these; 0 at first."""
    before = total + np.concatenate([[0.0], np.cumsum(values)[:-1]]) if len(values) else values
    count = n + np.arange(len(values))
    centre = np.divide(before, count, out=np.zeros(len(values)), where=count > 0)
    return float(((values - centre) ** 2).sum())
