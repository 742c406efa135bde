# SPDX-License-Identifier: Apache-2.0
"""Who follows whom, and purchases that are made because a friend made them.

A directed edge means that `user` sees what `friend` buys. Each purchase of the friend makes the user
buy the same item with the edge's own probability, an exponential lag later: the independent-cascade
model (Kempe, Kleinberg and Tardos, KDD 2003) with one attempt for each purchase.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.simulate.chance import generator

CIRCLE = 40
"""Users of a circle: neighbouring numbers, most of whose edges stay inside."""

MEAN_FRIENDS = 5.0
"""Mean number of users one follows (before edges to oneself or drawn twice are dropped)."""

INSIDE = 0.85
"""Share of edges that stay in the circle; the others go anywhere in the shard."""

LEAST_CHANCE, MOST_CHANCE = 0.01, 0.08
"""An edge's probability is even between these."""

LAG_S = 86_400.0
"""Mean lag between a friend's purchase and mine, seconds."""


class Graph(NamedTuple):
    """Edges of a shard, sorted by friend, so that the followers of a friend are neighbours."""

    starts: NDArray[np.int64]
    """First edge of each friend, and the end."""
    friend: NDArray[np.int32]
    """Who is followed."""
    user: NDArray[np.int32]
    """Who follows."""
    chance: NDArray[np.float64]
    """Probability that one purchase of the friend makes the user buy the same."""


def draw_graph(seed: int, shard: int, robot: NDArray[np.bool_]) -> Graph:
    """The edges among the users of a shard; robots have none."""
    rng = generator(seed, 6, shard)
    n = len(robot)
    count = rng.poisson(MEAN_FRIENDS, n)
    user = np.repeat(np.arange(n, dtype=np.int64), count)
    circle = user - user % CIRCLE
    near = circle + rng.integers(0, np.minimum(CIRCLE, n - circle))
    friend = np.where(rng.random(len(user)) < INSIDE, near, rng.integers(0, n, len(user)))
    kept = (friend != user) & ~robot[user] & ~robot[friend]
    edges = np.unique(friend[kept] * n + user[kept])
    friend, user = edges // n, edges % n
    chance = np.round(rng.uniform(LEAST_CHANCE, MOST_CHANCE, len(edges)), 4)
    starts = np.searchsorted(friend, np.arange(n + 1))
    return Graph(starts=starts, friend=friend.astype(np.int32), user=user.astype(np.int32), chance=chance)


def followers_moved(
    graph: Graph, buyer: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Who buys because a friend did.

    Args:
        graph: the edges.
        buyer: the user of each purchase.
        rng: of this round.

    Returns:
        For each caused purchase: the causing purchase (index into `buyer`) and the user.
    """
    count = graph.starts[buyer + 1] - graph.starts[buyer]
    cause = np.repeat(np.arange(len(buyer)), count)
    offset = np.arange(len(cause)) - np.repeat(np.cumsum(count) - count, count)
    edge = graph.starts[buyer[cause]] + offset
    moved = rng.random(len(edge)) < graph.chance[edge]
    return cause[moved], graph.user[edge[moved]]


def expected_moves(
    graph: Graph, bought: NDArray[np.void], signup_us: NDArray[np.int64], end_us: int
) -> tuple[int, float]:
    """How many attempts purchases make on followers, and how many are expected to succeed in the log.

    Args:
        graph: the edges.
        bought: rows with `user` and `time_us`, one a purchase.
        signup_us: when each user signed up; who is moved before that does not buy.
        end_us: end of the log; who is moved after it is not seen.
    """
    count = graph.starts[bought["user"] + 1] - graph.starts[bought["user"]]
    cause = np.repeat(np.arange(len(bought)), count)
    offset = np.arange(len(cause)) - np.repeat(np.cumsum(count) - count, count)
    edge = graph.starts[bought["user"][cause]] + offset
    moment = bought["time_us"][cause]
    left_s = (end_us - moment) / 1e6
    wait_s = np.maximum(0, signup_us[graph.user[edge]] - moment) / 1e6
    seen = np.maximum(0.0, np.exp(-wait_s / LAG_S) - np.exp(-left_s / LAG_S))
    return len(edge), float(np.sum(graph.chance[edge] * seen))
