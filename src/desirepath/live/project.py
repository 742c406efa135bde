# SPDX-License-Identifier: Apache-2.0
"""One workspace that is served: its log, its live store, and the answers made of both.

Events go into the store first and into memory once they are on disk; at the start, memory is made again from
the packed log and what the store has since. It knows no HTTP.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future

import numpy as np
import polars as pl
from sqlalchemy import Connection, select

from desirepath.errors import DataError, WorkspaceError
from desirepath.events.log import EventLog
from desirepath.events.manifest import NAME
from desirepath.live.answer import Ask, Reply, Shown
from desirepath.live.compaction import Compacted, CompactionConfig, compact, resume, stand_on
from desirepath.live.directory import Directory
from desirepath.live.engine import Engine
from desirepath.live.folding import erase_user
from desirepath.live.followed import LEARNED, Followed
from desirepath.live.insight import Insight
from desirepath.live.memory import Memory
from desirepath.live.neighbours import Neighbours
from desirepath.live.portraits import Portraits
from desirepath.live.records import Records
from desirepath.live.replay import erasures
from desirepath.live.results import Results
from desirepath.live.rollout import Rollout
from desirepath.live.scenarios import Scenarios
from desirepath.live.served import ServedLists
from desirepath.live.shared import SharedStates
from desirepath.live.states import UserStates, micros
from desirepath.live.store import Kept, LiveStore, Row, now_us
from desirepath.live.tables import events, impressions, items, requests
from desirepath.live.trials import MODEL, TEAM, answered, trial_of
from desirepath.live.upkeep import Upkeep
from desirepath.profiles import Segments
from desirepath.recommend.registry import Registry
from desirepath.recommend.versions import Version
from desirepath.sequences import Sequences
from desirepath.sequences.current import content_of, open_sequences
from desirepath.workspace import Workspace, stamp

CLOCKS_APART_US = 10_000_000
"""How far clocks of server machines may differ, microseconds."""
REPLAYED_AT_ONCE = 50_000


class Project:
    """Everything that one workspace serves."""

    def __init__(
        self,
        name: str,
        workspace: Workspace,
        sequences: Sequences,
        version: Version,
        *,
        table: pl.DataFrame | None = None,
        user_table: pl.DataFrame | None = None,
        url: str | None = None,
        redis: str = "",
    ) -> None:
        """Open the store, make memory from log and store, and be ready to answer.

        Args:
            name: what the project is called in URLs and keys.
            workspace: where it lies.
            sequences: its packed log.
            version: the trained model that answers.
            table: what is known of its items.
            user_table: what is known of its users.
            url: the database of the live store; SQLite in the workspace when None.
            redis: URL of a server that shares user states among processes; in memory when empty.
        """
        self.name, self.workspace = name, workspace
        self.memory = memory = Memory(sequences, table)
        self.catalogue, self.actions = memory.catalogue, memory.actions
        self.trending = memory.trending
        self.listeners: list[Callable[[list[Row]], None]] = []
        """Called in the writing thread with every group of fresh events, once memory has them."""
        self.watchers: list[Callable[[Ask, Future[Reply]], None]] = []
        """Called with every question and the answer to come."""
        self.changed = threading.Condition()
        self.store = LiveStore(url or f"sqlite:///{workspace.folder / 'live.db'}", on_kept=self._on_kept)
        self.rollout: Rollout | None = None
        self.upkeep: Upkeep | None = None
        self._base, self._followed_us = sequences, 0
        self._log_stamp: tuple[int, int] | None = None
        log = EventLog(workspace.events)
        self._content = content_of(log) if len(log) == sequences.n_events else ""
        self._is_settled = True
        self._followed: Followed | None = None
        self._packing, self.compaction = threading.Lock(), CompactionConfig()
        self.erased: dict[str, int] = {}
        """Users who were erased and still stand in files, with the moments before which nothing counts."""
        self._replay(redis)
        self.records = Records(self.store, self.catalogue, user_table)
        self.records.forgot(self.erased)
        self.scenarios = Scenarios(
            workspace.settings_path,
            lambda: self.catalogue.policy_view().table.schema,
            exclude_seen=version.exclude_seen,
        )
        self.engine = Engine(version, memory, self.scenarios)
        self.neighbours = Neighbours(self.engine.ranker, sequences, memory, self.erased)
        self.insight = Insight(self.engine, memory, sequences, workspace)
        self._segments: tuple[int, Segments] | None = None
        self.directory = Directory(self)
        self.served = ServedLists(self.store)
        self.results = Results(self.store, workspace, self.served.flush)
        self.portraits = Portraits(memory, self._segments_found, lambda: self.records.user_table)

    @property
    def states(self) -> UserStates | SharedStates:
        """What every user did until now."""
        return self.memory.states

    @property
    def base(self) -> Sequences:
        """The packed log that answers stand on."""
        return self._base

    def _segments_found(self) -> Segments | None:
        """The segments that lie in the workspace, opened once and again when they were found anew."""
        folder = self.workspace.segments
        if not folder.exists():
            return None
        stamp = folder.stat().st_mtime_ns
        if self._segments is None or self._segments[0] != stamp:
            self._segments = (stamp, Segments.load(folder))
        return self._segments[1]

    def begin_rollout(self, rollout: Rollout) -> None:
        """Let new models in by themselves: by the registry, the shadow, and trainings when they are due."""
        self.rollout = rollout
        self.listeners.append(rollout.offer)
        rollout.start()

    def versions_in_use(self) -> list[str]:
        """Versions that experiments answer with, beside the current one."""
        return [
            target.removeprefix(MODEL)
            for experiment in self.scenarios.now().experiments.values()
            for target in experiment.variants.values()
            if target.startswith(MODEL) and experiment.enabled
        ]

    def keep(self, rows: Sequence[Row]) -> Future[Kept]:
        """Keep events; once the future ends they are on disk, and every later answer knows them."""
        return self.store.keep(rows)

    def actions_room(self, names: Iterable[str]) -> None:
        """Refuse actions that would be too many different ones.

        Raises:
            DataError: they would.
        """
        if not self.actions.has_room_for(names):
            raise DataError("Too many different actions; an action is a word such as view, not a text.")

    def claim_request(self, key: str, digest: str) -> Future[str]:
        """Remember which body a request's key came with; the digest that it came with first."""

        def work(connection: Connection) -> str:
            known = connection.execute(select(requests.c.digest).where(requests.c.key == key)).scalar()
            if known is None:
                row = {"key": key, "digest": digest, "status": 200, "reply": {}, "time_us": now_us()}
                connection.execute(requests.insert().values(**row))
            return digest if known is None else str(known)

        return self.store.write(work)

    def recommend(self, ask: Ask) -> Future[Reply]:
        """A list for someone, from everything known until now, under the experiment that he takes part in."""
        reply = answered(trial_of(ask, self.scenarios.now().experiments), self.engine.ask)
        for watch in self.watchers:
            watch(ask, reply)
        return reply

    def swap(self, version: Version) -> None:
        """Answer with another version from the next request on; those under way end with the old one."""
        self.engine.swap(version)
        self.neighbours = Neighbours(self.engine.ranker, self._base, self.memory, self.erased)

    def forget(self, user_id: str) -> Future[dict[str, int]]:
        """Erase a user from the live side: events, attributes, ties, served lists; how many rows of each.

        Answers know nothing of him from then on. The files of the workspace are rid of him by the next
        packing, which `Upkeep` sees to.
        """
        moment = 0

        def work(connection: Connection) -> dict[str, int]:
            nonlocal moment
            known = self.states.histories([user_id])
            # After his last event, if a clock went ahead.
            moment = 1 + max(now_us(), int(micros(known.time_s).max(initial=0)))
            gone = {
                name: connection.execute(table.delete().where(table.c.user_id == user_id)).rowcount
                for name, table in (("events", events), ("lists", impressions))
            }
            erase_user(connection, user_id)
            self.records.forget_user(connection, user_id, moment)
            self.store.refusals.put(connection, user_id, moment, now_us())
            return gone

        def forget(_: dict[str, int]) -> None:
            self.store.refusals.learn(user_id, moment)
            self._forgot({user_id: moment})

        self.served.send()  # lists that he was just shown are among those that go
        return self.store.write(work, alone=True, then=forget)

    def _forgot(self, before_us: Mapping[str, int]) -> None:
        """Let memory know nothing of users before a moment each."""
        for user_id, moment in before_us.items():
            self.states.erase(user_id, moment)
        self.records.forgot(before_us)
        self.erased.update(before_us)

    def knows(self, user_id: str) -> bool:
        """Whether anything that a user did is known, or was; not what he did before he was erased."""
        if user_id in self.erased:
            return bool(self.states.histories([user_id]).offsets[-1])
        return user_id in self.states

    def remember(self, reply: Reply, ask: Ask) -> None:
        """Keep what was served within a tenth of a second, so that outcomes can be told apart by it later."""
        row = {
            "recommendation_id": reply.recommendation_id,
            "time_us": reply.computed_us,
            "user_id": ask.user_id,
            "session_id": None,
            "scenario": ask.scenario,
            "variant": reply.variant,
            "model_version": reply.model_version,
            "fallback": reply.fallback,
            "slate": [
                [one.item_id, one.propensity, one.score, one.reasons[0].get("source"), *_team(one)]
                for one in reply.items
            ],
        }
        self.served.add(row)

    def close(self) -> None:
        """Finish what was begun, and close the store."""
        for upkeep in (self.rollout, self.upkeep):
            if upkeep is not None:
                upkeep.close()
        self.served.close()
        self.engine.close()
        self.store.close()

    def _on_kept(self, rows: list[Row]) -> None:
        if self._followed is None:
            self.memory.learn(rows)
        else:
            self._followed.catch_up()
        with self.changed:
            self.changed.notify_all()
        for listener in self.listeners:
            listener(rows)

    def _replay(self, redis: str) -> None:
        """Make memory from what the store has beyond the packed log."""
        until = self._packed_until(self._base)
        self._follow_items()
        if redis:
            ground = (self._base, until)
            self.memory.states = SharedStates(
                redis, self.store, ground, self.catalogue.take, self.actions.take
            )

        last = until

        def work(connection: Connection) -> None:
            nonlocal last
            self.erased.update(erasures(connection))
            for user_id, before_us in self.erased.items():
                self.states.erase(user_id, before_us)
            columns = [events.c[name] for name in LEARNED]
            chosen = select(*columns).where(events.c.seq > until).order_by(events.c.seq)
            found = connection.execute(chosen.execution_options(yield_per=REPLAYED_AT_ONCE))
            for part in found.mappings().partitions():
                self.memory.learn([dict(row) for row in part])
                last = part[-1]["seq"]

        self.store.read(work)
        if redis:
            self._followed = Followed(self.store, self.memory.learn, last)
        self.memory.exposure.begin(self.workspace, self.catalogue)

    def _packed_until(self, base: Sequences) -> int:
        """The last event of the store that is in the packed log; 0 for a project without a log on disk."""
        return resume(self.workspace, self.store, base) if self.workspace.events.exists() else 0

    def follow(self) -> None:
        """Take in what other processes changed: events, items, who was erased, a log that was packed further.

        Cost: a look at an index, and at a file's date, where nothing changed.
        """
        self._follow_items()
        left = self._follow_erasures()
        if self._followed is not None and self._followed.catch_up():
            with self.changed:
                self.changed.notify_all()
        now = stamp(self.workspace.events / NAME)
        if now != self._log_stamp:
            if now is not None:
                log = EventLog(self.workspace.events)
                if len(log) and content_of(log) != self._content:
                    self._stand_on_log()
            self._log_stamp = now
        self._let_go(left)

    def _follow_erasures(self) -> set[str]:
        """Know who was erased through other processes; those known of whom all files are rid by now."""
        known = set(self.erased)
        self.store.read(self.store.refusals.follow)
        waiting = dict(self.store.read(erasures))
        fresh = {user_id: before for user_id, before in waiting.items() if self.erased.get(user_id) != before}
        if fresh:
            self._forgot(fresh)
        return known - waiting.keys()

    def _let_go(self, left: set[str]) -> None:
        """Think no more of erased users, once the log that answers stand on is rid of them too."""
        for user_id in left:
            self.erased.pop(user_id, None)
            self._is_settled = False  # the row that named him was the last to go

    def _follow_items(self) -> None:
        # Clocks of machines differ a little: what is new is looked at again for a while, not for ever.
        is_new = now_us() - self._followed_us < 2 * CLOCKS_APART_US
        since = self._followed_us - CLOCKS_APART_US * is_new

        def work(connection: Connection) -> None:
            changed = select(items).where(items.c.updated_us > since).order_by(items.c.updated_us)
            for row in connection.execute(changed).mappings():
                hidden = bool(row["is_hidden"] or row["is_deleted"])
                known = self.catalogue.index(row["item_id"])
                said = known is not None and self.catalogue.hidden[known] == hidden
                if not said or self.catalogue.attributes(row["item_id"]) != row["attributes"]:
                    self.catalogue.put(row["item_id"], row["attributes"], is_hidden=hidden)
                self._followed_us = max(self._followed_us, row["updated_us"])

        self.store.read(work)

    def repack(self) -> Compacted:
        """Make live events part of the packed log, and stand on it; answers go on meanwhile."""
        with self._packing:
            done = compact(self.workspace, self.store, self.compaction)
            self._is_settled = done.is_settled
        if len(EventLog(self.workspace.events)):
            self._stand_on_log()
        self._let_go(self._follow_erasures())
        return done

    def settle(self) -> None:
        """Cut the store's log of changes, where that was not possible right after an erasure."""
        if not self._is_settled:
            self._is_settled = self.store.settle()

    def _stand_on_log(self) -> None:
        with self._packing:
            content = content_of(EventLog(self.workspace.events))
            sequences = open_sequences(self.workspace)
            if content != self._content:
                take = (self.catalogue.take, self.actions.take)
                stand_on(self.workspace, self.store, self.states, sequences, *take)
                self._base, self._content = sequences, content
                self.neighbours = Neighbours(self.engine.ranker, sequences, self.memory, self.erased)
                self.directory = Directory(self)  # users have other places now

    def events_since_training(self) -> int:
        """Events that the answering model did not learn from: packed after its training, or live."""
        until_s = self.engine.version.made.get("trained_until_s")
        packed = 0 if until_s is None else int((np.asarray(self._base.time_s) > until_s).sum())
        return packed + self.states.n_live


def _team(shown: Shown) -> list[int]:
    """Which of two mixed lists chose an item; nothing for a list that was not mixed."""
    return [int(reason["amount"]) for reason in shown.reasons if reason["kind"] == TEAM]


def open_project(
    workspace: Workspace,
    sequences: Sequences,
    *,
    name: str = "default",
    table: pl.DataFrame | None = None,
    user_table: pl.DataFrame | None = None,
    url: str | None = None,
    redis: str = "",
) -> Project:
    """The project of a workspace, answered for by the model that `run` left there."""
    registry = Registry(workspace)
    current = registry.current()
    if current is None:
        raise WorkspaceError(
            f"{workspace.folder} has no model yet. Run `desirepath run FILE --to {workspace.folder}` first."
        )
    version = registry.open(current)
    return Project(
        name, workspace, sequences, version, table=table, user_table=user_table, url=url, redis=redis
    )
