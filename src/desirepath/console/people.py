# SPDX-License-Identifier: Apache-2.0
"""Users: all of them in one table, and the page of one."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import polars as pl
from nicegui import ui
from sqlalchemy import Connection, func, select

from desirepath.console import charts
from desirepath.console.controls import Text, aside, box, done, meter, waiting
from desirepath.console.frame import Visit, card, empty, facts
from desirepath.console.listing import Listing, listing
from desirepath.console.reasons import retold, told_when
from desirepath.console.tables import Column
from desirepath.console.taste import Foresight
from desirepath.console.words import Words, percent, quoted
from desirepath.errors import DesirepathError
from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.answer import Ask
from desirepath.live.project import Project
from desirepath.live.tables import PACKED, events
from desirepath.profiles import UserPortrait
from desirepath.recommend.sentences import Language
from desirepath.schema import USER
from desirepath.sequences import Sequences

KEPT_S = 20.0
"""Age at which the table of all users is made anew."""
K_NEAR = 6
QUIET_STEPS = 2
"""Days or weeks without an event that are drawn after the last one."""
LEAST_CHANGE = 0.005
"""Log odds below which an event changed nothing that one would name."""
_tables: dict[str, tuple[float, tuple[int, frozenset[str]], pl.DataFrame]] = {}
_lock = threading.Lock()


async def people(visit: Visit) -> None:
    """The table of all users."""
    words, desk = visit.words, visit.desk
    users = Listing(
        page="users",
        one="user",
        key=USER,
        label=words("trial.user"),
        hint=words("trial.user_hint"),
        width="280px",
        find=lambda text: [{"id": name, "title": name} for name in desk.directory.find_users(text)],
        load=lambda: everybody(desk.project, desk.taste.sequences),
        columns=lambda frame: _columns(frame, words),
    )
    await listing(visit, users)


def _columns(frame: pl.DataFrame, words: Words) -> list[Column]:
    columns = [
        Column(USER, words("users.user"), width=200),
        Column("n_events", words("users.n_events"), "number"),
        Column("last", words("users.last"), "time"),
        Column("first", words("users.first"), "time"),
    ]
    if "segment" in frame.columns:
        columns.append(Column("segment", words("users.segment"), width=280))
    return columns


def everybody(project: Project, sequences: Sequences) -> pl.DataFrame:
    """user_id, n_events, first, last, and segment where segments were found; made anew now and then.

    Cost: one pass over the users of the packed log, and a count of the live store.
    """
    state = project.states.n_live, frozenset(project.erased)
    with _lock:
        known = _tables.get(str(project.workspace.folder))
        if known is not None and time.monotonic() - known[0] < KEPT_S and known[1] == state:
            return known[2]
    offsets = np.asarray(sequences.offsets)
    filled = np.flatnonzero(np.diff(offsets) > 0)
    packed = pl.DataFrame(
        {
            USER: sequences.users.ids.gather(pl.Series(filled)),
            "n_events": np.diff(offsets)[filled],
            "first": np.asarray(sequences.time_s)[offsets[filled]],
            "last": np.asarray(sequences.time_s)[offsets[filled + 1] - 1],
        }
    )
    packed = packed.filter(~pl.col(USER).is_in(list(state[1])))
    both = pl.concat([packed, _live(project)])
    frame = both.group_by(USER, maintain_order=True).agg(
        pl.col("n_events").sum(), pl.col("first").min(), pl.col("last").max()
    )
    moment = pl.Datetime("us", "UTC")
    frame = frame.with_columns((pl.col("first", "last") * 1e6).round().cast(pl.Int64).cast(moment))
    members = project.workspace.segments / "members.parquet"
    names = project.workspace.segments / "table.parquet"
    if members.exists() and names.exists():
        of_user = pl.read_parquet(members, columns=[USER, "segment"]).join(
            pl.read_parquet(names, columns=["segment", "name"]), on="segment", how="left"
        )
        named = of_user.select(USER, pl.col("name").alias("segment"))
        frame = frame.join(named, on=USER, how="left", maintain_order="left")
    frame = frame.sort("last", descending=True, maintain_order=True)
    with _lock:
        _tables[str(project.workspace.folder)] = (time.monotonic(), state, frame)
    return frame


def _live(project: Project) -> pl.DataFrame:
    """What the live store has of each user beyond the packed log."""
    packed = int(project.store.mark(PACKED) or 0)

    def work(connection: Connection) -> list[Any]:
        chosen = (
            select(events.c.user_id, func.count(), func.min(events.c.time_us), func.max(events.c.time_us))
            .where(events.c.seq > packed, events.c.action.not_in(NOT_BEHAVIOUR))
            .group_by(events.c.user_id)
        )
        return list(connection.execute(chosen))

    rows = [(user, n, first / 1e6, last / 1e6) for user, n, first, last in project.store.read(work)]
    schema = {USER: pl.String, "n_events": pl.Int64, "first": pl.Float64, "last": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


async def person(visit: Visit, user_id: str) -> None:
    """The page of one user."""
    words, project = visit.words, visit.desk.project
    with box("dp-bar"):
        Text(user_id, "dp-who", "span")
        for page, key in (("trial", "users.try"), ("users", "users.all")):
            link = Text(words(key), "dp-button", "a")
            more = f"user={quoted(user_id)}" if page == "trial" else ""
            link._props["href"] = visit.link(page, more)
    place = waiting()
    await ui.context.client.connected()
    try:
        portrait = await aside(project.portraits.of, user_id)
    except DesirepathError as error:
        place.clear()
        with place, card(words("users.unknown")):
            empty(str(error))
        return
    place.clear()
    with place:
        shown = Person(visit, portrait)
        shown.show()
    shown.foresee(await aside(visit.desk.taste.foresight, user_id))
    await _influences(visit, user_id, shown.near, shown.moves)


class Person:
    """The cards of one portrait."""

    def __init__(self, visit: Visit, portrait: UserPortrait) -> None:
        """Show `portrait`."""
        self.visit, self.words, self.portrait = visit, visit.words, portrait

    def show(self) -> None:
        """Build the cards."""
        words, told = self.words, self.portrait.facts
        numbers = [
            (f"{told['n_events']:,}", words("users.n_events")),
            (f"{told['n_items']:,}", words("users.n_items")),
            (f"{told['active_days']:,}", words("users.active_days")),
            (f"{told['first']:%Y-%m-%d}", words("users.first")),
            (f"{told['last']:%Y-%m-%d}", words("users.last")),
        ]
        if "activity_class" in told:
            numbers.append(
                (words.get(f"class.{told['activity_class']}", told["activity_class"]), words("users.class"))
            )
        facts(numbers)
        with box("dp-grid"):
            with card(words("users.activity"), words(f"users.per_{self.portrait.step}"), "dp-two"):
                self._activity()
            with card(words("trial.next"), words("trial.next_note"), "dp-third"):
                self.next = waiting()
            with box("dp-half dp-col"):
                with card(words("trial.interests"), words("users.interests_note")):
                    self._interests()
                with card(words("users.latest"), classes="dp-second"):
                    self._latest()
            with box("dp-half dp-col"):
                with card(words("users.segment"), classes="dp-second"):
                    self._segment()
                with card(words("users.rhythm"), words("users.rhythm_note")):
                    self._rhythm()
                with card(words("users.near"), words("users.near_note")):
                    self.near = waiting()
                with card(words("users.moves"), words("users.moves_note")):
                    self.moves = waiting()

    def _activity(self) -> None:
        line = self.portrait.timeline
        busy = line["n_events"].to_numpy().nonzero()[0]
        line = line.head(int(busy[-1]) + 1 + QUIET_STEPS) if len(busy) else line
        labels = [f"{start:%Y-%m-%d}" for start in line["start"].to_list()]
        unit = self.words("users.events")
        charts.draw(charts.stacked(labels, {unit: line["n_events"].to_list()}, unit), 240)

    def foresee(self, foresight: Foresight | None) -> None:
        """Show what comes next, once it is known."""
        self.next.clear()
        with self.next:
            self._next(foresight)

    def _next(self, foresight: Foresight | None) -> None:
        if foresight is None:
            empty(self.words("trial.next_none"))
            return
        with box("dp-bars", "ul"):
            for name, chance in foresight.actions:
                meter(self.words.action(name), percent(chance), chance)
        if foresight.median_s is not None:
            Text(told_when(foresight, self.words), "dp-note dp-when", "p")
        for name, chance in foresight.within.items():
            Text(self.words(f"users.within_{name}", chance=percent(chance)), "dp-tag")

    def _interests(self) -> None:
        rows = self.portrait.interests
        if not rows.height:
            empty(self.words("trial.interests_none"))
            return
        for attribute in rows["attribute"].unique(maintain_order=True):
            if rows["attribute"].n_unique() > 1:
                Text(attribute, "dp-note", "p")
            with box("dp-bars", "ul"):
                for row in rows.filter(pl.col("attribute") == attribute).iter_rows(named=True):
                    trend = self.words.get(f"trend.{row['trend']}", row["trend"] or "")
                    lately = f"{self.words('users.lately')} {percent(row['share_short'])}"
                    told = f"{percent(row['share_long'])} · {lately}"
                    meter(row["label"], told, row["share_long"], trend)

    def _segment(self) -> None:
        found = self.portrait.segment
        if found is None:
            empty(
                self.words("users.segment_none"),
                f"desirepath segments {self.visit.desk.project.workspace.folder}",
            )
            return
        Text(found["name"], "dp-big")
        Text(self.words("users.confidence", share=percent(found["confidence"])), "dp-note", "p")
        with box("dp-links"):
            for mark in found["why"].iter_rows(named=True):
                Text(self.words.feature(mark["feature"]), "dp-tag dp-strong", "span")

    def _latest(self) -> None:
        now_s = time.time()
        with box("dp-line", "ul"):
            for row in self.portrait.latest.iter_rows(named=True):
                with box("", "li"):
                    Text(self.visit.desk.taste.title(row["item_id"], self.words.language), "dp-title")
                    ago = self.words.ago(row["time"].timestamp(), now_s)
                    Text(f"{self.words.action(row['action'])} · {ago}", tag="small")

    def _rhythm(self) -> None:
        days = self.words("users.weekdays").split("|")
        cells = [
            (row["hour"], row["weekday"] - 1, row["n_events"])
            for row in self.portrait.rhythm.iter_rows(named=True)
            if row["n_events"]
        ]
        hours = [str(hour) for hour in range(24)]
        charts.draw(charts.heat(hours, days, cells, self.words("users.events")), 270)


async def _influences(visit: Visit, user_id: str, near: ui.element, moves: ui.element) -> None:
    """Who stands near this user, and which of his own events move the list."""
    words, project = visit.words, visit.desk.project
    k = K_NEAR
    try:
        alike = await aside(project.neighbours.users, user_id, k, project.actions.vocabulary)
        follow = await aside(
            project.neighbours.to_follow, user_id, k, project.records, project.actions.vocabulary
        )
    except DesirepathError:
        alike, follow = [], []
    ties = await aside(project.records.ties)
    followed = ties.filter(pl.col("source") == user_id)["target"].to_list() if ties.height else []
    near.clear()
    with near:
        if not (alike or followed or follow):
            empty(words("users.near_none"))
        for key, rows in (
            ("users.follows", [(name, None) for name in followed[:k]]),
            ("users.alike", [(row["user_id"], row["similarity"]) for row in alike]),
            ("users.to_follow", [(row["user_id"], row["score"]) for row in follow if row["followed_by"]]),
        ):
            if rows:
                Text(words(key), "dp-note dp-head-like", "p")
                with box("dp-links"):
                    for name, value in rows:
                        link = Text(
                            name + ("" if value is None else f" · {value:.2f}"), "dp-tag dp-strong", "a"
                        )
                        link._props["href"] = visit.link("users", f"user={quoted(str(name))}")
    ask = Ask(user_id=user_id, k=3)
    reply = await done(project.recommend(ask))
    language: Language = "zh" if words.language == "zh" else "en"
    told = await aside(project.insight.explain, ask, reply.items, language)
    moves.clear()
    with moves:
        if not any(why.events for why in told):
            empty(words("users.moves_none"))
        for why in told:
            if not why.events:
                continue
            Text(visit.desk.taste.title(why.item_id, words.language), "dp-title")
            Text(retold(why, visit.desk.taste, language), "dp-note", "p")
            with box("dp-bars", "ul"):
                most = max(abs(row["log_odds_change"]) for row in why.events) or 1.0
                for row in why.events[:4]:
                    if abs(row["log_odds_change"]) < LEAST_CHANGE:
                        continue
                    change = row["log_odds_change"]
                    name = visit.desk.taste.title(row["item_id"], words.language)
                    action = words.action(row["action"])
                    meter(
                        words("users.event", action=action, title=name), f"{change:+.2f}", abs(change) / most
                    )
