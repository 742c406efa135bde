# SPDX-License-Identifier: Apache-2.0
"""All that happens among the users of one shard, in order of time.

Rounds of visits follow one another: people come, what they buy brings them back or moves their
friends, until nobody is moved any more; then patterns and robots are added. Shards know nothing of
each other, so a log of any size is made one shard at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath.simulate.campaign import Campaign, draw_campaign
from desirepath.simulate.chance import generator, stream_key
from desirepath.simulate.circles import Graph, draw_graph, followers_moved
from desirepath.simulate.patterns import Planted, holders, plant
from desirepath.simulate.population import Population, draw_moments, draw_population
from desirepath.simulate.robots import robot_views
from desirepath.simulate.segments import column
from desirepath.simulate.triggers import (
    CAMPAIGN,
    DIRECT,
    PURCHASE,
    PURCHASE_RETURN_S,
    PURCHASE_VIEW,
    PURCHASE_VIEW_S,
    RELATED,
    SOCIAL,
)  # fmt: skip
from desirepath.simulate.visits import BUY, COME, GIVE_BACK, LOOK, Roots, Trail, set_scene, walk
from desirepath.simulate.world import World

ORGANIC, PLANTED, ROBOT = 0, 1, 2
"""How an event came about: by the rounds of visits, by a planted pattern, by a robot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The events of a shard in order of time, and who made them."""

    people: Population
    """The users."""
    graph: Graph
    """Who follows whom."""
    campaign: Campaign
    """Who was treated and what it did."""
    planted: Planted
    """Which patterns were planted in whom."""
    held: NDArray[np.bool_]
    """Who holds which pattern in the end: (users, patterns)."""
    user: NDArray[np.int32]
    """User, as index in the shard; so the other columns, one entry an event."""
    item: NDArray[np.int32]
    action: NDArray[np.int8]
    time_us: NDArray[np.int64]
    session: NDArray[np.int32]
    """Visit, numbered by its beginning."""
    parent: NDArray[np.int64]
    """The event that caused this one, or -1."""
    source: NDArray[np.int8]
    step: NDArray[np.int8]
    value: NDArray[np.float64]
    page: NDArray[np.int32]
    position: NDArray[np.int8]
    origin: NDArray[np.int8]
    """ORGANIC, PLANTED or ROBOT."""
    mobile: NDArray[np.bool_]
    """From a telephone."""
    page_event: NDArray[np.int64]
    """The view of each shown page."""
    page_choice: NDArray[np.int8]
    page_clicked: NDArray[np.bool_]


def simulate_shard(world: World, number: int, first: int, n_users: int) -> Shard:
    """Everything that the users `first` to `first + n_users` do.

    Cost: about 0.5 s and 300 MiB for a million events.
    """
    config = world.config
    people = draw_population(config, number, first, n_users)
    graph = draw_graph(config.seed, number, people.robot)
    campaign = draw_campaign(config, people, number)
    scene = set_scene(config, world.catalogue.shelves, world.slots, people.habits)
    user, moment = draw_moments(config, people, world.visits_per_user, number)
    guests = np.flatnonzero(campaign.buys).astype(np.int32)
    roots = _joined(
        [_roots(user, moment, COME, DIRECT), _roots(guests, campaign.moment_us[guests], BUY, CAMPAIGN)]
    )
    rounds: list[tuple[Roots, Trail]] = []
    n_events = 0
    while len(roots.user):
        trail = walk(scene, roots, stream_key(config.seed, 10, number, len(rounds)))
        rounds.append((roots, trail))
        rng = generator(config.seed, 11, number, len(rounds))
        roots = _consequences(world, people, graph, (roots, trail, n_events), rng)
        n_events += len(trail.item)
    bought = np.zeros(n_users, np.bool_)
    for roots, trail in rounds:
        bought[roots.user[trail.visit[trail.action == PURCHASE]]] = True
    present = np.where(people.robot, config.end_us, people.signup_us)
    planted = plant(config, world.plants, number, present, bought)
    columns = _gathered(world, people, rounds, planted, number)
    held = holders(columns["user"], columns["item"], columns["action"], world.plants, n_users)
    return Shard(people=people, graph=graph, campaign=campaign, planted=planted, held=held, **columns)


def _roots(
    user: NDArray[np.int32],
    time_us: NDArray[np.int64],
    kind: int,
    source: int,
    item: NDArray[np.int32] | None = None,
    parent: NDArray[np.int64] | None = None,
) -> Roots:
    n = len(user)
    return Roots(
        user=user.astype(np.int32),
        time_us=time_us,
        kind=np.full(n, kind, np.int8),
        item=np.full(n, -1, np.int32) if item is None else item,
        parent=np.full(n, -1, np.int64) if parent is None else parent,
        source=np.full(n, source, np.int8),
    )


def _joined(parts: list[Roots]) -> Roots:
    return Roots(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _consequences(
    world: World, people: Population, graph: Graph, done: tuple[Roots, Trail, int], rng: np.random.Generator
) -> Roots:
    """The visits that follow from the purchases of a round: companions, returns, friends."""
    roots, trail, first_event = done
    bought = np.flatnonzero(trail.action == PURCHASE)
    user, item, time_us = roots.user[trail.visit[bought]], trail.item[bought], trail.time_us[bought]
    event = bought + first_event
    habits = people.habits
    segment = np.where(time_us < habits.switch_us[user], habits.segment[user], habits.segment_after[user])

    def delayed(rows: NDArray[np.bool_], mean_s: float) -> NDArray[np.int64]:
        return time_us[rows] + (rng.exponential(mean_s, np.count_nonzero(rows)) * 1e6).astype(np.int64)

    back = rng.random(len(bought)) < PURCHASE_VIEW
    companion = world.catalogue.shelves.companion[item[back]]
    looks = _roots(user[back], delayed(back, PURCHASE_VIEW_S), LOOK, RELATED, companion, event[back])
    given = rng.random(len(bought)) < column("give_back")[segment]
    returns = _roots(
        user[given], delayed(given, PURCHASE_RETURN_S), GIVE_BACK, DIRECT, item[given], event[given]
    )
    cause, moved, moment = followers_moved(graph, user, time_us, rng)
    there = moment >= people.signup_us[moved]
    cause, moved, moment = cause[there], moved[there], moment[there]
    social = _roots(moved, moment, BUY, SOCIAL, item[cause], event[cause])
    following = _joined([looks, returns, social])
    in_time = following.time_us < world.config.end_us
    return Roots(*(column[in_time] for column in following))


def _gathered(
    world: World, people: Population, rounds: list[tuple[Roots, Trail]], planted: Planted, number: int
) -> dict[str, NDArray[Any]]:
    """All events of a shard as columns in order of time, and the shown pages."""
    parts: list[dict[str, NDArray[Any]]] = []
    starts, pages = [], []
    n_events = n_pages = n_visits = 0
    for roots, trail in rounds:
        parent = np.where(trail.parent >= 0, trail.parent + n_events, -2 - trail.parent)
        page = np.where(trail.page >= 0, trail.page + n_pages, -1)
        parts.append(
            {
                "user": roots.user[trail.visit], "item": trail.item, "action": trail.action,
                "time_us": trail.time_us, "session": trail.visit + n_visits, "parent": parent,
                "source": trail.source, "step": trail.step, "value": trail.value, "page": page,
                "position": trail.position, "origin": np.full(len(parent), ORGANIC, np.int8),
            }
        )  # fmt: skip
        pages.append((trail.page_event + n_events, trail.page_choice, trail.page_clicked))
        starts.append(roots.time_us)
        n_events, n_pages = n_events + len(parent), n_pages + len(trail.page_event)
        n_visits += len(roots.user)
    begins = np.concatenate([[0], np.flatnonzero(np.diff(planted.planting)) + 1]) if len(planted.user) else []
    robots = robot_views(world, people, number)
    for extra, origin, first_rows in (
        (planted, PLANTED, np.asarray(begins, np.int64)),
        (robots, ROBOT, robots.begins),
    ):
        n = len(extra.user)
        visit = np.zeros(n, np.int64)
        visit[first_rows] = 1
        parts.append(
            {
                "user": extra.user, "item": extra.item, "action": extra.action, "time_us": extra.time_us,
                "session": n_visits - 1 + np.cumsum(visit), "parent": np.full(n, -1), "source": np.zeros(n, np.int8),
                "step": np.zeros(n, np.int8), "value": np.full(n, np.nan), "page": np.full(n, -1),
                "position": np.zeros(n, np.int8), "origin": np.full(n, origin, np.int8),
            }
        )  # fmt: skip
        starts.append(extra.time_us[first_rows])
        n_visits += len(first_rows)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _ordered(world, people, number, columns, (np.concatenate(starts), pages))


def _ordered(
    world: World, people: Population, number: int, columns: dict[str, NDArray[Any]], beside: tuple[Any, Any]
) -> dict[str, NDArray[Any]]:
    """Sort the events by time, renumber what points at them, and give each visit a device."""
    starts, pages = beside
    order = np.argsort(columns["time_us"], kind="stable")
    place = np.empty(len(order) + 1, np.int64)
    place[order] = np.arange(len(order))
    place[-1] = -1
    visit_order = np.argsort(starts, kind="stable")
    visit_place = np.empty(len(starts), np.int32)
    visit_place[visit_order] = np.arange(len(starts), dtype=np.int32)
    columns = {name: column[order] for name, column in columns.items()}
    columns["parent"] = place[columns["parent"]]
    columns["page"] = columns["page"].astype(np.int32)
    columns["session"] = visit_place[columns["session"]]
    u = generator(world.config.seed, 12, number).random(len(starts))[columns["session"]]
    columns["mobile"] = u < people.mobile[columns["user"]]
    columns["page_event"] = place[np.concatenate([page[0] for page in pages])]
    columns["page_choice"] = np.concatenate([page[1] for page in pages])
    columns["page_clicked"] = np.concatenate([page[2] for page in pages])
    return columns
