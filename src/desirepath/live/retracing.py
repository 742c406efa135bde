# SPDX-License-Identifier: Apache-2.0
"""Lists that were served, asked for again: what the rules in force, and others, might have shown then.

Memory is made as it was and learns each event when it came; answers come from the path that serves requests.
It reads the workspace and the store, writes nothing, and judges nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import Connection, select

from desirepath.errors import DataError, DesirepathError
from desirepath.events.log import EventLog
from desirepath.live.answer import Answering, Ask
from desirepath.live.archive import FOLDER, read_feedback, read_lists
from desirepath.live.compaction import packed_until
from desirepath.live.memory import Memory
from desirepath.live.outcomes import FEEDBACK, SERVED, OutcomeConfig, attribute
from desirepath.live.ranker import Ranker
from desirepath.live.results import WHOLE_LIST
from desirepath.live.scenarios import Scenarios
from desirepath.live.store import LiveStore
from desirepath.live.tables import events, impressions, items
from desirepath.recommend.chances import Chances, NotedPolicy
from desirepath.recommend.policy import Policy
from desirepath.recommend.scenario import ScenarioConfig
from desirepath.recommend.versions import Version
from desirepath.schema import TIME, TIME_DTYPE
from desirepath.sequences import Sequences
from desirepath.workspace import Workspace

CURRENT, CANDIDATE = "current", "candidate"
REWARDS = ("clicks", "conversions")
VALUE = "value"
"""The reward of a scenario that says what actions are worth."""
LIST = "recommendation_id"
SAID = ("user_id", "item_id", "action", "time_us", LIST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What lists were made of."""

    workspace: Workspace
    store: LiveStore
    sequences: Sequences
    """The packed log."""
    table: pl.DataFrame | None
    """What is known of its items."""
    open_version: Callable[[str], Version]
    """The trained model of a name; raises WorkspaceError where it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraced:
    """Lists with what came of them, and what two scenarios might have shown in their place."""

    shown: pl.DataFrame
    """A row a shown item: list, unit, place, item_ix, propensity, and the rewards."""
    current: pl.DataFrame
    """A row an item that the rules in force might show in a place: list, place, item_ix, chance."""
    candidate: pl.DataFrame
    """Likewise of the other rules."""
    rewards: tuple[str, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    """Lists that could not be asked for again, by reason."""


class _Both(Scenarios):
    """Two policies that note what they might show, in place of those of a file."""

    def __init__(self, rules: Mapping[str, ScenarioConfig], *, exclude_seen: bool) -> None:
        self.policies = {name: NotedPolicy(rule, exclude_seen=exclude_seen) for name, rule in rules.items()}

    def policy(self, name: str) -> Policy:
        return self.policies[name]


def retrace(
    ground: Ground,
    scenario: str,
    rules: tuple[ScenarioConfig, ScenarioConfig],
    since_us: int = 0,
    most_lists: int = 5_000,
) -> Retraced:
    """Ask again for the lists of a scenario, the newest `most_lists` since a moment.

    Lists of experiments are left out. What a request said beyond user and length is not kept with a list, so
    that one with a filter, a history or a context of its own is asked for without: it then will not follow
    from the rules in force, and whoever judges can see that. Items are taken as they are known now, and the
    clicks that Thompson sampling weighs are those since the first of the lists.

    Args:
        ground: where everything lies.
        scenario: its name.
        rules: those in force, and the candidate's.
        since_us: microseconds since 1970 UTC.
        most_lists: at least 1.

    Raises:
        DataError: nothing was served in that time.
        ConfigError: a rule does not fit the items.

    Cost: two answers a list, one batch of two, twice the policy; 3 to 8 ms with a transformer.
    """
    lists = _lists(ground, scenario, since_us, most_lists)
    if not lists:
        raise DataError(
            f"No list of the scenario '{scenario}' was served in that time, outside experiments. Serve it "
            "first, or ask for a longer time."
        )
    first_us = lists[0]["time_us"]
    said = _said(ground, first_us)
    base = ground.sequences.select(np.asarray(ground.sequences.time_s) < first_us / 1e6)
    memory = Memory(base, ground.table)
    _follow_items(ground.store, memory)
    found = _Asking(ground, memory, rules).ask(lists, said)
    if not found.kept:
        raise DataError(
            f"No list of the scenario '{scenario}' can be asked for again: the models that made them are "
            "gone. Keep more versions (`[retrain] keep`), or ask for a shorter time."
        )
    values = rules[0].values
    shown = _rewarded(found.kept, said, memory, values)
    return Retraced(
        shown=shown,
        current=_table(found.chances[CURRENT]),
        candidate=_table(found.chances[CANDIDATE]),
        rewards=(*REWARDS, VALUE) if values else REWARDS,
        left_out=dict(found.left_out),
    )


class _Asking:
    """Two answers to every list, at its own moment."""

    def __init__(self, ground: Ground, memory: Memory, rules: tuple[ScenarioConfig, ScenarioConfig]) -> None:
        self.ground, self.memory, self.rules = ground, memory, rules
        self.rankers: dict[str, Ranker | None] = {}
        self.chances: dict[str, list[tuple[int, Chances]]] = {CURRENT: [], CANDIDATE: []}
        self.kept: list[dict[str, Any]] = []
        self.left_out: Counter[str] = Counter()

    def ask(self, lists: Iterable[Mapping[str, Any]], said: pl.DataFrame) -> _Asking:
        at = said["at_us"].to_numpy()
        rows, done = said.select(SAID), 0
        for one in lists:
            until = int(np.searchsorted(at, one["time_us"], side="left"))
            if until > done:
                self.memory.learn(list(rows[done:until].iter_rows(named=True)))
                done = until
            ranker = self._ranker(one["model_version"])
            if ranker is None:
                self.left_out["their model is gone"] += 1
            else:
                self._one(one, ranker)
        return self

    def _one(self, one: Mapping[str, Any], ranker: Ranker) -> None:
        both = _Both(
            {CURRENT: self.rules[0], CANDIDATE: self.rules[1]}, exclude_seen=ranker.version.exclude_seen
        )
        answering = Answering(ranker, self.memory, both, one["time_us"] / 1e6)
        # A list as long as the rules say was asked for without a length of its own.
        k = None if len(one["slate"]) == self.rules[0].k else len(one["slate"])
        asks = [Ask(user_id=one["user_id"], k=k, scenario=name, seed=0) for name in (CURRENT, CANDIDATE)]
        for reply in answering.replies(asks):
            if isinstance(reply, DesirepathError):
                raise reply
        for name, policy in both.policies.items():
            self.chances[name].append((len(self.kept), policy.noted))
        self.kept.append(dict(one))

    def _ranker(self, name: str) -> Ranker | None:
        if name not in self.rankers:
            try:
                self.rankers[name] = Ranker(self.ground.open_version(name), self.memory.catalogue)
            except DesirepathError:
                self.rankers[name] = None
        return self.rankers[name]


def _lists(ground: Ground, scenario: str, since_us: int, most: int) -> list[dict[str, Any]]:
    """Lists of the store and of the archive, oldest first."""
    names = (LIST, "time_us", "user_id", "model_version", "slate")
    table = impressions.c

    def work(connection: Connection) -> list[dict[str, Any]]:
        chosen = select(*(table[name] for name in names)).where(
            table.scenario == scenario, table.variant.is_(None), table.time_us >= since_us
        )
        newest = chosen.order_by(table.time_us.desc()).limit(most)
        return [dict(row) for row in connection.execute(newest).mappings()]

    found = {row[LIST]: row for row in ground.store.read(work)}
    packed = read_lists(ground.workspace.folder / FOLDER)
    if packed is not None:
        rows = packed.filter(
            (pl.col("scenario") == scenario)
            & pl.col("variant").is_null()
            & (pl.col(TIME) >= pl.lit(since_us).cast(TIME_DTYPE))
        ).with_columns(time_us=pl.col(TIME).cast(pl.Int64))
        older = rows.select(names).sort("time_us").tail(most).collect()
        for row in older.iter_rows(named=True):
            found.setdefault(row[LIST], row | {"slate": json.loads(row["slate"])})
    whole = sorted((row for row in found.values() if row["slate"]), key=lambda row: row["time_us"])
    return whole[-most:]


def _said(ground: Ground, first_us: int) -> pl.DataFrame:
    """Events since the first list, by when they came: packed ones, feedback beside them, and the store's."""
    schema: dict[str, Any] = {**dict.fromkeys((*SAID, "value", "at_us"), pl.String)}
    schema |= {"time_us": pl.Int64, "value": pl.Float64, "at_us": pl.Int64}
    since, parts, packed = pl.lit(first_us).cast(TIME_DTYPE), [], 0
    if ground.workspace.events.exists():
        log = EventLog(ground.workspace.events)
        packed = packed_until(log.manifest, ground.store.store_id)
        sources = [log.scan(), read_feedback(ground.workspace.folder / FOLDER)]
        for rows in (one for one in sources if one is not None):
            known = rows.collect_schema().names()
            parts.append(
                rows.filter(pl.col(TIME) >= since)
                .with_columns(pl.col(TIME).cast(pl.Int64).alias("time_us"))
                .with_columns(pl.lit(None).alias(name) for name in (LIST, "value") if name not in known)
                .with_columns(pl.col("time_us").alias("at_us"))
                .select(pl.col(name).cast(kind) for name, kind in schema.items())
                .collect()
            )

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        names = (*SAID, "value", "received_us")
        chosen = select(*(events.c[name] for name in names)).where(events.c.seq > packed)
        return [tuple(row) for row in connection.execute(chosen.order_by(events.c.seq))]

    parts.append(pl.DataFrame(ground.store.read(work), schema=schema, orient="row"))
    return pl.concat(parts).sort("at_us", maintain_order=True)


def _follow_items(store: LiveStore, memory: Memory) -> None:
    """What was said of items since the table of them was made."""

    def work(connection: Connection) -> None:
        for row in connection.execute(select(items)).mappings():
            hidden = bool(row["is_hidden"] or row["is_deleted"])
            memory.catalogue.put(row["item_id"], row["attributes"], is_hidden=hidden)

    store.read(work)


def _rewarded(
    lists: list[dict[str, Any]], said: pl.DataFrame, memory: Memory, values: Mapping[str, float]
) -> pl.DataFrame:
    """A row a shown item, with what it brought."""
    rows = [
        (number, one[LIST], one["time_us"], one["user_id"], place, item[0], item[1])
        for number, one in enumerate(lists)
        for place, item in enumerate(one["slate"], start=1)
    ]
    names = ("list", LIST, "time", "user_id", "position", "item_id", "propensity")
    served = pl.DataFrame(rows, schema=list(names), orient="row").with_columns(
        pl.col("time").cast(TIME_DTYPE),
        *(pl.lit(None, pl.String).alias(name) for name in ("variant", "fallback")),
        scenario=pl.lit(""),
    )
    mine = said.filter(pl.col(LIST).is_in(served[LIST].unique().implode())).with_columns(
        pl.col("time_us").cast(TIME_DTYPE).alias("time"),
        pl.when(pl.col("item_id") != WHOLE_LIST).then("item_id").alias("item_id"),
    )
    config = OutcomeConfig()
    outcomes = attribute(served.select(list(SERVED)), mine.select(list(FEEDBACK)), config).items
    number = served.select(LIST, "list").unique()
    found = outcomes.join(number, on=LIST, how="left", maintain_order="left").with_columns(
        clicks=pl.col("clicked").cast(pl.Float64), conversions=pl.col("converted").cast(pl.Float64)
    )
    if values:
        found = found.join(
            _worth(served, mine, values, config), on=[LIST, "item_id"], how="left", maintain_order="left"
        ).with_columns(pl.col(VALUE).fill_null(0.0))
    item_ix = memory.catalogue.indexes(found["item_id"].to_list())
    return found.select(
        "list",
        "unit",
        pl.col("position").alias("place"),
        pl.Series("item_ix", item_ix),
        "propensity",
        *REWARDS,
        *([VALUE] if values else []),
    )


def _worth(
    served: pl.DataFrame, mine: pl.DataFrame, values: Mapping[str, float], config: OutcomeConfig
) -> pl.DataFrame:
    """What the actions on each listed item are worth, each kind once, within the window of outcomes."""
    listed = served.select(LIST, "item_id", pl.col("time").alias("served")).unique([LIST, "item_id"])
    after_s = (pl.col("time") - pl.col("served")).dt.total_microseconds() / 1e6
    done = mine.join(listed, on=[LIST, "item_id"], how="inner").filter(
        after_s.is_between(0.0, config.window_s)
    )
    once = done.unique([LIST, "item_id", "action"])
    worth = pl.col("action").replace_strict(dict(values), default=0.0, return_dtype=pl.Float64)
    return once.group_by(LIST, "item_id").agg(worth.sum().alias(VALUE))


def _table(parts: list[tuple[int, Chances]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "list": np.repeat([number for number, _ in parts], [len(one.place) for _, one in parts]),
            "place": np.concatenate([one.place for _, one in parts]),
            "item_ix": np.concatenate([one.item_ix for _, one in parts]),
            "chance": np.concatenate([one.chance for _, one in parts]),
        }
    )
