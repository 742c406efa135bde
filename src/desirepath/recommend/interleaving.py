# SPDX-License-Identifier: Apache-2.0
"""Two rankings in one list: who gets the clicks ranks better, told with far fewer users than an A/B test.

It mixes lists, gives clicks to teams, and judges the teams. It knows no models and no files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from desirepath.errors import ConfigError, ShapeError
from desirepath.recommend.sequential import Interval, SequentialConfig, rate_interval

FIRST: Final = 0
SECOND: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Interleaved:
    """One list made of two."""

    item_ix: NDArray[np.int32]
    """(K,) best first; shorter than asked where both lists end."""
    team: NDArray[np.int8]
    """(K,) 0 where the first ranking chose the item, 1 where the second did."""


def team_draft(
    first: Sequence[int] | NDArray[np.integer],
    second: Sequence[int] | NDArray[np.integer],
    k: int,
    key: str,
) -> Interleaved:
    """The two rankings mixed as captains pick teams: a coin says who picks first in each round.

    The coins follow from `key`, so that a list can be made again from its recommendation id; use a new key
    for each answer.

    Args:
        first: items of one ranking, best first, none twice.
        second: items of the other.
        k: length of the mixed list, at least 1.
        key: what the coins follow from, such as experiment and recommendation id.

    Source: Radlinski, Kurup, Joachims, "How does clickthrough data reflect retrieval quality?" (CIKM 2008),
    algorithm 2; where one ranking ends, the other picks on.     Cost: O(k).

    >>> mixed = team_draft([1, 2, 3], [3, 4, 1], k=4, key="recommendation 8")
    >>> mixed.item_ix.tolist(), mixed.team.tolist()
    ([1, 3, 4, 2], [0, 1, 1, 0])
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1; got {k}.")
    rankings = ([int(item) for item in first], [int(item) for item in second])
    coins = _coins(key, k // 2 + 1)
    picked: list[int] = []
    team: list[int] = []
    taken: set[int] = set()
    place, size = [0, 0], [0, 0]
    while len(picked) < k:
        for side in (FIRST, SECOND):
            while place[side] < len(rankings[side]) and rankings[side][place[side]] in taken:
                place[side] += 1
        open_ = [place[side] < len(rankings[side]) for side in (FIRST, SECOND)]
        if not any(open_):
            break
        turn = (FIRST if size[0] < size[1] else SECOND) if size[0] != size[1] else coins[len(picked) // 2]
        if not open_[turn]:
            turn = 1 - turn
        item = rankings[turn][place[turn]]
        picked.append(item)
        team.append(turn)
        taken.add(item)
        size[turn] += 1
    return Interleaved(item_ix=np.array(picked, dtype=np.int32), team=np.array(team, dtype=np.int8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How two interleaved rankings compare."""

    first_wins: int
    """Users who gave more credit to the first ranking."""
    second_wins: int
    ties: int
    """Users with as much for either, those without a click left out."""
    advantage: float
    """Share of users with credit who prefer the second, ties half, less 1/2: in [-1/2, 1/2]."""
    p_value: float
    """Of the two-sided sign test over users: for one look at a moment fixed beforehand."""
    win_rate: Interval
    """Share of the second's wins among users who prefer one; its interval holds at every look."""

    @property
    def better(self) -> int | None:
        """1 or 0 for the ranking that is better at every look's confidence; None while undecided."""
        if self.win_rate.low is not None and self.win_rate.low > 0.5:
            return SECOND
        return FIRST if self.win_rate.high is not None and self.win_rate.high < 0.5 else None


def credit(clicks: pl.DataFrame) -> pl.DataFrame:
    """What each user's clicks give the two rankings: user_id, first, second.

    Args:
        clicks: one row a clicked item: user_id, recommendation_id, item_id, team (0 or 1). An item clicked
            twice in one list counts once.

    >>> clicks = pl.DataFrame({"user_id": ["u", "u", "v"], "recommendation_id": ["r", "r", "s"],
    ...                        "item_id": ["a", "a", "b"], "team": [0, 0, 1]})
    >>> credit(clicks).rows()
    [('u', 1, 0), ('v', 0, 1)]
    """
    once = clicks.unique(["recommendation_id", "item_id"], keep="first", maintain_order=True)
    return once.group_by("user_id", maintain_order=True).agg(
        (pl.col("team") == FIRST).sum().cast(pl.Int64).alias("first"),
        (pl.col("team") == SECOND).sum().cast(pl.Int64).alias("second"),
    )


def judge(first: ArrayLike, second: ArrayLike, config: SequentialConfig | None = None) -> Verdict:
    """Which ranking users prefer, from the credit that each user gave to both.

    A user with many lists has one voice: lists of one user are not independent.

    Source: the sign test of Radlinski et al. 2008, section 6, over users in place of queries; advantage as
    Chapelle, Joachims, Radlinski, Yue (TOIS 2012), equation 1.

    >>> found = judge([2, 0, 1, 0], [0, 1, 1, 3])
    >>> found.first_wins, found.second_wins, found.ties, found.better
    (1, 2, 1, None)
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape:
        raise ShapeError(f"Credit must be one number a user and ranking; got {a.shape} and {b.shape}.")
    wins, losses = int((b > a).sum()), int((a > b).sum())
    ties = int(((a == b) & (a > 0)).sum())
    voices = wins + losses + ties
    return Verdict(
        first_wins=losses,
        second_wins=wins,
        ties=ties,
        advantage=(wins + ties / 2) / voices - 0.5 if voices else 0.0,
        p_value=float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0,
        win_rate=rate_interval(wins, wins + losses, config),
    )


def _coins(key: str, n: int) -> list[int]:
    """Fair coins that follow from the key."""
    bits = hashlib.shake_128(key.encode()).digest((n + 7) // 8)
    return [(bits[i // 8] >> (i % 8)) & 1 for i in range(n)]
