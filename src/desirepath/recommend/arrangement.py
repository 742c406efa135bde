# SPDX-License-Identifier: Apache-2.0
"""Chooses among candidates and lays the list out: caps, diversity, pins, chance, and a record of each.

It sees one pool of candidates at a time; `policy` decides which sources it is made from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.recommend.attributes import CATEGORIES, ItemAttributes
from desirepath.recommend.caps import Caps
from desirepath.recommend.diversity import Picker, features, picker
from desirepath.recommend.exploration import Drawn, epsilon, thompson
from desirepath.recommend.filters import counted
from desirepath.recommend.pool import Pool
from desirepath.recommend.slate import PIN, Applied, Counts, Slate
from desirepath.recommend.terms import Terms

Ints = NDArray[np.int64]
TIER_STEP = 1e9
"""More than any gain: an item of a later source never comes before one of an earlier source."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What fills the places without a pin, as rows of the pool, best first."""

    free: list[int]
    caps: Caps
    alone: Ints
    """The order without diversity and caps."""
    out: Ints
    """Rows that a cap closed and that are worth more than the least of the chosen."""


def choose(
    pool: Pool, attributes: ItemAttributes, item_vectors: NDArray[np.floating] | None, terms: Terms
) -> Chosen:
    """Fill the free places greedily, with an eye on what stands in the list already."""
    order = pool.order
    n_free = max(terms.k - len(pool.pins), 0)
    caps = Caps(terms.caps, attributes, pool.item_ix)
    for row in pool.pins.values():
        caps.take(row)
    if not caps and not terms.diversity:
        return Chosen(order[:n_free].tolist(), caps, order, order[:0])
    near = order[: terms.scenario.diversity_pool] if terms.diversity else order[:0]
    free: list[int] = []
    if len(near):
        _fill(free, n_free, near, caps, _picker(pool, near, attributes, item_vectors, terms))
    _fill(free, n_free, order[len(near) :], caps)
    return Chosen(free, caps, order, _left_out(order, free, caps))


def _fill(free: list[int], n_free: int, rows: Ints, caps: Caps, pick: Picker | None = None) -> None:
    """Take rows until there are enough: always the first of the highest gain, or in order without `pick`."""
    is_open = np.ones(len(rows), dtype=np.bool_)
    while len(free) < n_free and len(rows):
        may = is_open & (caps.closed_by[rows] < 0) if caps else is_open
        j = int(may.argmax() if pick is None else np.where(may, pick.gain, -np.inf).argmax())
        if not may[j]:
            return
        is_open[j] = False
        free.append(int(rows[j]))
        caps.take(free[-1])
        if pick is not None:
            pick.take(j)


def _left_out(order: Ints, free: list[int], caps: Caps) -> Ints:
    if not caps or not free:
        return order[:0]
    is_chosen = np.zeros(len(caps.closed_by), dtype=np.bool_)
    is_chosen[free] = True
    ahead = order[: int(np.flatnonzero(is_chosen[order])[-1])]
    return ahead[(caps.closed_by[ahead] >= 0) & ~is_chosen[ahead]]


def _picker(
    pool: Pool,
    rows: Ints,
    attributes: ItemAttributes,
    item_vectors: NDArray[np.floating] | None,
    terms: Terms,
) -> Picker:
    """What diversity asks at every step, the pinned items counted as taken."""
    pinned = list(pool.pins.values())
    everyone = np.concatenate([rows, np.array(pinned, dtype=np.int64)])
    labels = attributes.codes(CATEGORIES) if CATEGORIES in attributes.table.columns else None
    features_ND = features(pool.item_ix[everyone], item_vectors, labels)
    scaled = np.zeros(len(everyone))
    tiers = pool.tier[rows]
    # In order of the sources, so that each has its own stretch.
    for tier in range(int(tiers[0]), int(tiers[-1]) + 1):
        own = np.flatnonzero(tiers == tier)
        if not len(own):
            continue
        values = pool.value[rows[own]]
        spread = values.max() - values.min()
        scaled[own] = (values - values.min()) / spread if spread > 0 else 1.0
    pick = picker(
        terms.scenario.diversity_method, scaled, features_ND, terms.diversity, terms.k + len(pinned)
    )
    for place in range(len(rows), len(everyone)):
        pick.take(place)
    return _Head(pick, len(rows), tiers * TIER_STEP)


class _Head:
    """The first rows of a picker, each source behind the ones before it; the rows after them are taken."""

    def __init__(self, pick: Picker, n_rows: int, behind: NDArray[np.float64]) -> None:
        self.pick, self.n_rows, self.behind = pick, n_rows, behind
        self.gain = pick.gain[:n_rows] - behind

    def take(self, j: int) -> None:
        self.pick.take(j)
        self.gain = self.pick.gain[: self.n_rows] - self.behind


def lay_out(pool: Pool, chosen: Chosen, terms: Terms) -> Slate:
    """Put pins and free items into their places, leave some to chance, and say what was done."""
    rows, is_pinned = _places(pool, chosen, terms.k)
    shown, propensity, is_explored = _explore(pool, chosen, rows, is_pinned, terms)
    tiers = pool.tier[shown].tolist()
    used = sorted({tier for tier in tiers if tier > 0})
    return Slate(
        item_ix=pool.item_ix[shown],
        score=pool.score[shown],
        value=pool.value[shown],
        probability=pool.probability[shown],
        propensity=propensity,
        source=tuple(pool.taken[tier].source if tier >= 0 else PIN for tier in tiers),
        applied=_applied(pool, chosen, shown, is_pinned, is_explored, terms),
        n_filtered=_counts(pool, chosen),
        n_candidates=int((pool.source >= 0).sum()),
        fallback=pool.taken[used[0]].source if used else None,
        fallback_reason=_why(pool, tiers, used, terms.k) if used else None,
        notes=tuple(pool.notes),
    )


def _places(pool: Pool, chosen: Chosen, k: int) -> tuple[Ints, NDArray[np.bool_]]:
    """(rows, is_pinned), both (K,): free items fill what pins leave; pins past the end come last."""
    free, pins = iter(chosen.free), dict(pool.pins)
    rows, is_pinned = [], []
    for place in range(1, min(k, len(chosen.free) + len(pins)) + 1):
        row = pins.pop(place, None)
        is_pinned.append(row is not None)
        if row is None:
            row = next(free, None)
        if row is None:
            row = pins.pop(min(pins))
            is_pinned[-1] = True
        rows.append(row)
    return np.array(rows, dtype=np.int64), np.array(is_pinned, dtype=np.bool_)


def _explore(
    pool: Pool, chosen: Chosen, rows: Ints, is_pinned: NDArray[np.bool_], terms: Terms
) -> tuple[Ints, NDArray[np.float64], NDArray[np.bool_]]:
    """(rows, propensity, is_explored), all (K,), after chance has had its places."""
    config, propensity = terms.exploration, np.ones(len(rows))
    is_explored = np.zeros(len(rows), dtype=np.bool_)
    free = np.flatnonzero(~is_pinned)
    if config.slots:
        free = free[np.isin(free + 1, config.slots)]
    elif config.method == "thompson":
        free = free[-1:]
    if config.method == "none" or not len(free):
        return rows, propensity, is_explored
    # All that may join the list together: whatever chance takes of these keeps every cap.
    others = chosen.caps.room(chosen.alone[~np.isin(chosen.alone, rows)], config.pool)
    drawn, outcomes = _draw(pool, rows[free], others, terms)
    changed = drawn.item >= 0
    shown = rows.copy()
    shown[free[changed]] = outcomes[drawn.item[changed]]
    propensity[free] = drawn.propensity
    is_explored[free] = changed
    return shown, propensity, is_explored


def _draw(pool: Pool, own: Ints, others: Ints, terms: Terms) -> tuple[Drawn, Ints]:
    """What chance drew, and the rows that it drew from."""
    config, seed = terms.exploration, terms.request.seed
    if config.method == "epsilon":
        return epsilon(len(own), len(others), config.share, seed), others
    counts = terms.request.counts
    if counts is None:
        pool.notes.append("exploration knows no clicks: all items of its pool are equally likely")
        counts = Counts(impressions=np.zeros(1, np.int64), clicks=np.zeros(1, np.int64))
    outcomes = np.concatenate([own, others])
    clicks, impressions = counts.of(pool.item_ix[outcomes])
    return thompson(len(own), clicks, impressions, config, seed), outcomes


def _counts(pool: Pool, chosen: Chosen) -> dict[str, int]:
    """Candidates left out, by the first rule they fail; a cap counts those better than the last item."""
    counts = counted(pool.names, pool.failing[pool.source >= 0])
    if len(chosen.out):
        closed = chosen.caps.closed_by[chosen.out]
        for place, cap in enumerate(chosen.caps.caps):
            if n := int((closed == place).sum()):
                counts[f"cap {cap.column}"] = n
    return counts


def _applied(
    pool: Pool,
    chosen: Chosen,
    shown: Ints,
    is_pinned: NDArray[np.bool_],
    is_explored: NDArray[np.bool_],
    terms: Terms,
) -> tuple[tuple[Applied, ...], ...]:
    """What the rules did to each item of the list."""
    moved = _moves(pool, chosen, terms)
    told = []
    for place, row in enumerate(shown.tolist()):
        source, tier, failing = int(pool.source[row]), int(pool.tier[row]), int(pool.failing[row])
        said: list[Applied] = []
        if is_pinned[place]:
            said.append(Applied("pin", f"place {place + 1}", place + 1.0))
            if failing >= 0:
                said.append(Applied("filter", pool.names[failing], 1.0))
        if tier > 0:
            said.append(Applied("fallback", pool.taken[tier].source, float(tier)))
        if source >= 0:
            for shift in pool.moved:
                if amount := float(shift.amount[source]):
                    said.append(Applied(shift.kind, shift.rule, amount))
            if pool.valued[tier]:
                said.append(Applied("value", "predicted actions", float(pool.value[row])))
        if is_explored[place]:
            said.append(Applied("exploration", terms.exploration.method, 1.0))
        elif not is_pinned[place]:
            said.extend(moved.get(row, ()))
        told.append(tuple(said))
    return tuple(told)


def _moves(pool: Pool, chosen: Chosen, terms: Terms) -> dict[int, list[Applied]]:
    """How far caps and diversity moved each chosen item from its place by worth alone."""
    if not chosen.caps and not terms.diversity:
        return {}
    rank = np.zeros(len(pool.item_ix), dtype=np.int64)
    rank[chosen.alone] = np.arange(len(chosen.alone))
    out = rank[chosen.out]
    columns = ", ".join(cap.column for cap in chosen.caps.caps)
    moves: dict[int, list[Applied]] = {}
    for place, row in enumerate(chosen.free):
        n_out = int((out < rank[row]).sum())
        gained = int(rank[row]) - n_out - place
        said = [Applied("cap", columns, float(n_out))] if n_out else []
        if gained and terms.diversity:
            said.append(Applied("diversity", terms.scenario.diversity_method, float(gained)))
        moves[row] = said
    return moves


def _why(pool: Pool, tiers: list[int], used: list[int], k: int) -> str:
    """Why a list takes items from later sources."""
    first = pool.taken[0]
    because = f" ({first.reason})" if first.reason else ""
    others = ", ".join(f"'{pool.taken[tier].source}'" for tier in used)
    offers = f"'{first.source}' offers {tiers.count(0)} of the {k} items asked for{because}"
    return f"{offers}; others are from {others}."
