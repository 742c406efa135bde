# SPDX-License-Identifier: Apache-2.0
"""What was planted and what came of it, counted shard by shard while a log is made.

Every count is taken from the links that only the simulator has (which event caused which), so it is
a truth against which an estimate from the log alone can be held.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath.simulate.campaign import TREATED_SHARE, WINDOW_DAYS, sent_at
from desirepath.simulate.circles import LAG_S, expected_moves
from desirepath.simulate.flaws import FLAWS, Layout
from desirepath.simulate.patterns import TEMPLATES
from desirepath.simulate.scene import STEPS
from desirepath.simulate.segments import N_SEGMENTS, SEGMENTS, column
from desirepath.simulate.shard import Shard
from desirepath.simulate.slots import N_SLOTS
from desirepath.simulate.triggers import (
    ACTIONS,
    CAMPAIGN,
    CART,
    CLICK_S,
    PURCHASE,
    RECOMMENDATION,
    SOCIAL,
    TRIGGERS,
    VIEW,
    Trigger,
)  # fmt: skip
from desirepath.simulate.visits import ORGANIC, ROBOT
from desirepath.simulate.world import World

Counts = NDArray[np.int64]


class Tally:
    """Running counts of a marketplace; `add` each shard, then ask for the `facts`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._flaws: Counts = np.zeros(len(FLAWS), np.int64)
        self._actions: Counts = np.zeros(len(ACTIONS), np.int64)
        self._steps: Counts = np.zeros(len(STEPS), np.int64)
        self._users: Counts = np.zeros((N_SEGMENTS, 2), np.int64)
        self._funnel: Counts = np.zeros((N_SEGMENTS, 3), np.int64)
        self._reached: Counts = np.zeros((2, 3), np.int64)
        self._triggers = np.zeros((len(TRIGGERS) + 2, 4))
        self._plants: Counts = np.zeros((len(TEMPLATES), 2, 2), np.int64)
        self._arms = np.zeros((N_SEGMENTS, 2, 3))
        self._pages: Counts = np.zeros(3, np.int64)
        self._sum = {"robots": 0, "cold_users": 0, "switchers": 0, "robot_rows": 0, "sessions": 0, "edges": 0}

    def add(self, shard: Shard, layout: Layout) -> None:
        """Count one more shard."""
        events, people = shard.events, shard.people
        human = events["origin"] != ROBOT
        self._flaws += np.bincount(layout.flaw, minlength=len(FLAWS))
        self._actions += np.bincount(events["action"][human], minlength=len(ACTIONS))
        self._steps += np.bincount(events["step"], minlength=len(STEPS))
        self._pages += np.array(
            [len(shard.page_event), shard.page_clicked.size, np.count_nonzero(shard.page_clicked)]
        )
        self._sum["robots"] += int(people.robot.sum())
        self._sum["cold_users"] += int(people.cold.sum())
        self._sum["switchers"] += int(np.sum(people.habits["segment"] != people.habits["segment_after"]))
        self._sum["robot_rows"] += int(len(events) - np.count_nonzero(human))
        self._sum["edges"] += len(shard.graph.user)
        self._add_users(shard)
        self._add_visits(shard)

    def _add_users(self, shard: Shard) -> None:
        people, bought = shard.people, shard.bought
        person = ~people.robot
        leaver = (~bought[person]).astype(np.int64)
        _count(self._users, (people.habits["segment"][person], leaver))
        group = (~bought[shard.planted.who]).astype(np.int64)
        _count(self._plants, (shard.planted.pattern, group, 0))
        for group_number, members in enumerate((bought, person & ~bought)):
            self._plants[:, group_number, 1] += shard.held[members].sum(axis=0)
        campaign = shard.campaign
        who = np.flatnonzero(campaign.eligible)
        segment = people.segment_at(who, campaign.sent_us)
        arm = campaign.treated[who].astype(np.int64)
        _count(self._arms, (segment, arm, 0))
        _count(self._arms, (segment, arm, 1), campaign.buys[who])
        effect = campaign.with_it[who].astype(np.float64) - campaign.without[who]
        _count(self._arms, (segment, arm, 2), effect)

    def _add_visits(self, shard: Shard) -> None:
        """Sessions, funnel and triggers: what the visits of a shard came to."""
        events = shard.events
        visit, action = events["visit"], events["action"]
        n_visits = int(visit.max()) + 1
        first = np.empty(n_visits, np.int64)
        first[visit[::-1]] = np.arange(len(visit))[::-1]
        root = events[first]
        segment = shard.people.segment_at(root["user"], root["time_us"])
        forced = np.isin(root["source"], (SOCIAL, CAMPAIGN))
        organic = root["origin"] == ORGANIC
        reached = np.zeros((3, n_visits), np.bool_)
        for step, code in enumerate((VIEW, CART, PURCHASE)):
            reached[step, visit[action == code]] = True
        own, people = organic & ~forced, root["origin"] != ROBOT
        self._sum["sessions"] += int(np.count_nonzero(people))
        for step in range(3):
            self._funnel[:, step] += np.bincount(segment[own & reached[step]], minlength=N_SEGMENTS)
            self._reached[0, step] += np.count_nonzero(reached[step] & people)
            users = np.zeros(len(shard.people), np.bool_)
            users[root["user"][reached[step] & people]] = True
            self._reached[1, step] += np.count_nonzero(users)
        self._add_triggers(shard, forced, segment, reached[0] & organic)

    def _add_triggers(
        self, shard: Shard, forced: NDArray[np.bool_], segment: NDArray[np.int8], with_view: NDArray[np.bool_]
    ) -> None:
        """Causes to which each law applied, children expected of them, children, and all causes."""
        events, end_us = shard.events, self._world.config.end_us
        organic = events["origin"] == ORGANIC
        action, source, parent = (
            np.ascontiguousarray(events[name]) for name in ("action", "source", "parent")
        )
        bound = forced[events["visit"]]
        caused = np.flatnonzero(parent >= 0)
        from_friend, clicked = source[caused] == SOCIAL, source[caused] == RECOMMENDATION
        pair = action[parent[caused]].astype(np.int64) * len(ACTIONS) + action[caused]
        children = np.bincount(pair[~from_friend & ~clicked], minlength=len(ACTIONS) ** 2)
        time_us, user, visit = events["time_us"], events["user"], events["visit"]
        for row, trigger in zip(self._triggers, TRIGGERS, strict=False):
            able = organic & (action == trigger.cause)
            row[3] += np.count_nonzero(able)
            row[2] += children[trigger.cause * len(ACTIONS) + trigger.effect]
            chance = _chances(trigger)
            if trigger.chance == "visit":
                visits = segment[with_view & ~forced]
                row[:2] += len(visits) + forced.sum(), chance[visits].sum() + forced.sum()
                continue
            if trigger.cause == VIEW:
                able &= ~bound
                if trigger.chance != "like":
                    able &= source != RECOMMENDATION
            causes = np.flatnonzero(able)
            if isinstance(trigger.chance, float):
                odds = np.full(len(causes), trigger.chance)
            elif trigger.cause == PURCHASE:
                odds = chance[shard.people.segment_at(user[causes], time_us[causes])]
            else:
                odds = chance[segment[visit[causes]]]
            if trigger.cause == CART:
                odds[bound[causes]] = 1.0
            # What would come after the end of the log is not seen.
            left_s = (end_us - time_us[causes]) / 1e6
            row[:2] += len(causes), np.sum(odds * -np.expm1(-left_s / trigger.mean_s))
        view = events[shard.page_event]
        context = self._world.catalogue.shelves["category"][view["item"]]
        odds = self._world.slots.click[
            segment[view["visit"]][:, None], context[:, None], np.arange(N_SLOTS), shard.page_choice
        ]
        views = np.count_nonzero(organic & (action == VIEW))
        self._triggers[-2] += odds.size, odds.sum(), np.count_nonzero(clicked), views
        bought = events[organic & (action == PURCHASE)]
        attempts, expected = expected_moves(shard.graph, bought, shard.people.signup_us, end_us)
        self._triggers[-1] += attempts, expected, np.count_nonzero(from_friend), len(bought)

    def facts(self) -> dict[str, Any]:
        """Everything counted, as plain numbers and words for a JSON file."""
        config, sums = self._world.config, self._sum
        flaws = dict(zip(FLAWS, self._flaws.tolist(), strict=True))
        clean = flaws.pop("clean")
        return {
            "rows": {
                "written": int(self._flaws.sum()),
                "clean": clean - sums["robot_rows"],
                "robot": sums["robot_rows"],
                **flaws,
            },
            "counts": {
                "users": config.users,
                "people": config.users - sums["robots"],
                "robots": sums["robots"],
                "cold_users": sums["cold_users"],
                "switchers": sums["switchers"],
                "buyers": int(self._users[:, 0].sum()),
                "leavers": int(self._users[:, 1].sum()),
                "items": config.items,
                "cold_items": int(self._world.catalogue.truth["cold"].sum()),
                "titles_with_entity": int(self._world.catalogue.truth["title_has_entity"].sum()),
                "sessions": sums["sessions"],
                "actions": dict(zip(ACTIONS, self._actions.tolist(), strict=True)),
            },
            "next_item": dict(zip(STEPS[1:], self._steps[1:].tolist(), strict=True)),
            "segments": self._segment_facts(),
            "funnel": {
                "steps": ["view", "cart", "purchase"],
                "sessions": self._reached[0].tolist(),
                "users": self._reached[1].tolist(),
            },
            "triggers": self._trigger_facts(),
            "patterns": self._pattern_facts(),
            "campaign": self._campaign_facts(),
            "social": {"edges": sums["edges"], "mean_lag_s": LAG_S, **self._trigger_facts()[-1]},
            "exposures": dict(zip(("pages", "slots", "clicks"), self._pages.tolist(), strict=True)),
        }

    def _segment_facts(self) -> list[dict[str, Any]]:
        return [
            {
                "name": segment.name,
                "share": segment.share,
                "users": int(users.sum()),
                "buyers": int(users[0]),
                "like": segment.like,
                "cart": segment.cart,
                "buy": segment.buy,
                "return": segment.give_back,
                "own_sessions_with_view": int(funnel[0]),
                "own_sessions_with_cart": int(funnel[1]),
                "own_sessions_with_purchase": int(funnel[2]),
            }
            for segment, users, funnel in zip(SEGMENTS, self._users, self._funnel, strict=True)
        ]

    def _trigger_facts(self) -> list[dict[str, Any]]:
        edges = [
            *TRIGGERS,
            Trigger(VIEW, VIEW, "", CLICK_S, "slot"),
            Trigger(PURCHASE, PURCHASE, "", LAG_S, "same"),
        ]
        ways = ["own"] * len(TRIGGERS) + ["recommendation", "friend"]
        return [
            {
                "cause": ACTIONS[edge.cause],
                "effect": ACTIONS[edge.effect],
                "way": way,
                "item": edge.item,
                "half_life_s": round(edge.half_life_s, 3),
                "trials": int(row[0]),
                "expected": float(row[1]),
                "children": int(row[2]),
                "causes": int(row[3]),
                "mean": float(row[2] / max(1, row[3])),
            }
            for edge, way, row in zip(edges, ways, self._triggers, strict=True)
        ]

    def _pattern_facts(self) -> list[dict[str, Any]]:
        plants, names = self._world.plants, self._world.catalogue.names
        groups = [int(self._users[:, 0].sum()), int(self._users[:, 1].sum())]
        facts = []
        for number, template in enumerate(TEMPLATES):
            steps = range(int(plants.lengths[number]))
            held = self._plants[number, :, 1]
            facts.append(
                {
                    "name": template.name,
                    "actions": [ACTIONS[plants.actions[number, step]] for step in steps],
                    "items": [names[plants.items[number, step]] for step in steps],
                    "buyers": template.buyers,
                    "leavers": template.leavers,
                    "max_gap_s": 1.5 * template.gap_s,
                    "planted_buyers": int(self._plants[number, 0, 0]),
                    "planted_leavers": int(self._plants[number, 1, 0]),
                    "support_buyers": int(held[0]),
                    "support_leavers": int(held[1]),
                    "lift": float(held[0] / max(1, groups[0]) / max(1e-12, held.sum() / max(1, sum(groups)))),
                }
            )
        return facts

    def _campaign_facts(self) -> dict[str, Any]:
        return {
            "sent_us": sent_at(self._world.config),
            "window_days": WINDOW_DAYS,
            "propensity": TREATED_SHARE,
            "segments": [
                {
                    "name": segment.name,
                    "baseline": segment.baseline,
                    "uplift": segment.uplift,
                    "control": int(arms[0, 0]),
                    "control_purchases": int(arms[0, 1]),
                    "treated": int(arms[1, 0]),
                    "treated_purchases": int(arms[1, 1]),
                    "mean_effect": float(arms[:, 2].sum() / max(1.0, arms[:, 0].sum())),
                }
                for segment, arms in zip(SEGMENTS, self._arms, strict=True)
            ],
        }


def _count(counts: NDArray[Any], places: tuple[Any, ...], amounts: Any = 1) -> None:
    """Add amounts at places that may occur several times."""
    np.add.at(counts, places, amounts)


def _chances(trigger: Trigger) -> NDArray[np.float64]:
    """The chance of an edge by segment."""
    if isinstance(trigger.chance, float):
        return np.full(N_SEGMENTS, trigger.chance)
    return column("cart" if trigger.chance == "visit" else trigger.chance)
