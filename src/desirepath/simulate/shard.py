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
from desirepath.simulate.circles import LAG_S, Graph, draw_graph, followers_moved
from desirepath.simulate.patterns import Planted, holders, plant
from desirepath.simulate.population import Population, draw_moments, draw_population
from desirepath.simulate.robots import RobotViews, robot_views
from desirepath.simulate.scene import set_scene
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
from desirepath.simulate.visits import (
    BUY,
    COME,
    EVENT,
    GIVE_BACK,
    LOOK,
    PLANTED,
    ROBOT,
    ROOT,
    Trail,
    walk,
)  # fmt: skip
from desirepath.simulate.world import World


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
    bought: NDArray[np.bool_]
    """Who has at least one purchase: the buyers; the other people are the leavers."""
    held: NDArray[np.bool_]
    """Who holds which pattern in the end: (users, patterns)."""
    events: NDArray[np.void]
    """Rows of EVENT in order of time; users as index in the shard, visits numbered by their beginning."""
    page_event: NDArray[np.int64]
    """The view of each shown page."""
    page_choice: NDArray[np.int8]
    """Candidate shown in each slot: (pages, slots)."""
    page_clicked: NDArray[np.bool_]
    """Which of them were clicked: (pages, slots)."""


def simulate_shard(world: World, number: int, first: int, n_users: int) -> Shard:
    """Everything that the users `first` to `first + n_users` do.

    Cost: about 0.5 s and 300 MiB for a million events.
    """
    config = world.config
    people = draw_population(config, number, first, n_users)
    graph = draw_graph(config.seed, number, people.robot)
    campaign = draw_campaign(config, people, number)
    scene = set_scene(config, world.catalogue, world.slots, people.habits)
    user, moment = draw_moments(config, people, world.visits_per_user, number)
    guests = np.flatnonzero(campaign.buys).astype(np.int32)
    roots = np.concatenate(
        [_roots(user, moment, COME, DIRECT), _roots(guests, campaign.moment_us[guests], BUY, CAMPAIGN)]
    )
    trails: list[Trail] = []
    starts: list[NDArray[np.int64]] = []
    n_events = 0
    while len(roots):
        trail = walk(scene, roots, stream_key(config.seed, 10, number, len(trails)))
        trails.append(trail)
        starts.append(roots["time_us"])
        rng = generator(config.seed, 11, number, len(trails))
        roots = _consequences(world, people, graph, (trail, n_events), rng)
        n_events += len(trail.events)
    bought = np.zeros(n_users, np.bool_)
    for trail in trails:
        bought[trail.events["user"][trail.events["action"] == PURCHASE]] = True
    present = np.where(people.robot, config.end_us, people.signup_us)
    planted = plant(config, world.plants, number, present, bought)
    robots = robot_views(world, people, number)
    trail, begins = _gathered(trails, starts, planted, robots)
    trail = _ordered(trail, begins)
    events = trail.events
    u = generator(config.seed, 12, number).random(len(begins))
    events["mobile"] = u[events["visit"]] < np.where(people.mobile, 0.9, 0.1)[events["user"]]
    held = holders(events["user"], events["item"], events["action"], world.plants, n_users)
    return Shard(
        people=people, graph=graph, campaign=campaign, planted=planted, bought=bought, held=held,
        events=events, page_event=trail.page_event, page_choice=trail.page_choice,
        page_clicked=trail.page_clicked,
    )  # fmt: skip


def _roots(user: NDArray[Any], time_us: NDArray[Any], kind: int, source: int) -> NDArray[np.void]:
    """Beginnings of one kind, of a wished item and without a cause."""
    roots = np.empty(len(user), ROOT)
    roots["user"], roots["time_us"], roots["kind"], roots["source"] = user, time_us, kind, source
    roots["item"], roots["parent"] = -1, -1
    return roots


def _consequences(
    world: World, people: Population, graph: Graph, done: tuple[Trail, int], rng: np.random.Generator
) -> NDArray[np.void]:
    """The visits that follow from the purchases of a round: companions, returns, friends."""
    trail, first_event = done
    rows = np.flatnonzero(trail.events["action"] == PURCHASE)
    bought = trail.events[rows]
    user, item, time_us = bought["user"], bought["item"], bought["time_us"]

    def following(cause: NDArray[Any], delay_s: float, kind: int, source: int) -> NDArray[np.void]:
        moment = time_us[cause] + (rng.exponential(delay_s, len(cause)) * 1e6).astype(np.int64)
        roots = _roots(user[cause], moment, kind, source)
        roots["item"], roots["parent"] = item[cause], rows[cause] + first_event
        return roots

    looks = following(np.flatnonzero(rng.random(len(rows)) < PURCHASE_VIEW), PURCHASE_VIEW_S, LOOK, RELATED)
    looks["item"] = world.catalogue.shelves["companion"][looks["item"]]
    chance = column("give_back")[people.segment_at(user, time_us)]
    returns = following(np.flatnonzero(rng.random(len(rows)) < chance), PURCHASE_RETURN_S, GIVE_BACK, DIRECT)
    cause, moved = followers_moved(graph, user, rng)
    social = following(cause, LAG_S, BUY, SOCIAL)
    social["user"] = moved
    social = social[social["time_us"] >= people.signup_us[moved]]
    roots = np.concatenate([looks, returns, social])
    return roots[roots["time_us"] < world.config.end_us]


def _gathered(
    trails: list[Trail], starts: list[NDArray[np.int64]], planted: Planted, robots: RobotViews
) -> tuple[Trail, NDArray[np.int64]]:
    """All events of a shard in one trail, round after round, and when each visit begins."""
    n_events = n_pages = n_visits = 0
    starts = list(starts)
    for trail, begins in zip(trails, starts, strict=True):
        events = trail.events
        parent, page = events["parent"], events["page"]
        events["parent"] = np.where(parent >= 0, parent + n_events, -2 - parent)
        events["page"] = np.where(page >= 0, page + n_pages, -1)
        events["visit"] += n_visits
        trail.page_event[:] += n_events
        n_events, n_pages = n_events + len(events), n_pages + len(trail.page_event)
        n_visits += len(begins)
    parts = [trail.events for trail in trails]
    for extra, origin in ((planted, PLANTED), (robots, ROBOT)):
        events = np.zeros(len(extra.user), EVENT)
        events["user"], events["item"], events["action"] = extra.user, extra.item, extra.action
        events["time_us"], events["origin"] = extra.time_us, origin
        events["parent"], events["page"], events["value"] = -1, -1, np.nan
        events["visit"] = n_visits + extra.visit
        parts.append(events)
        begins = np.unique(extra.visit, return_index=True)[1]
        starts.append(extra.time_us[begins])
        n_visits += len(begins)
    whole = Trail(
        np.concatenate(parts),
        np.concatenate([trail.page_event for trail in trails]),
        np.concatenate([trail.page_choice for trail in trails]),
        np.concatenate([trail.page_clicked for trail in trails]),
    )
    return whole, np.concatenate(starts)


def _ordered(trail: Trail, begins: NDArray[np.int64]) -> Trail:
    """The same events in order of time and visits in order of their beginning."""
    order = np.argsort(trail.events["time_us"], kind="stable")
    place = np.empty(len(order) + 1, np.int64)
    place[order] = np.arange(len(order))
    place[-1] = -1
    visit_order = np.argsort(begins, kind="stable")
    visit_place = np.empty(len(begins), np.int32)
    visit_place[visit_order] = np.arange(len(begins), dtype=np.int32)
    events = trail.events[order]
    events["parent"] = place[events["parent"]]
    events["visit"] = visit_place[events["visit"]]
    return trail._replace(events=events, page_event=place[trail.page_event])
