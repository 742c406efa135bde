# SPDX-License-Identifier: Apache-2.0
"""Whom to follow: people whom the followed follow, and people who do the same things.

It knows ties and likenesses between numbered users; names and stores belong to its callers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleConfig:
    """How the two grounds are weighed."""

    smoothing: int = 60
    """Of reciprocal rank fusion, at least 1: how little a first rank outweighs a tenth."""

    def __post_init__(self) -> None:
        if self.smoothing < 1:
            raise ConfigError(f"smoothing must be at least 1; got {self.smoothing}.")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Someone to follow, and why."""

    user_ix: int
    score: float
    n_through: int
    """Of those whom one follows, how many follow this one."""
    likeness: float
    """Cosine of what both do; 0 where it is unknown."""


class Circle:
    """Directed ties between U users, ready for questions.

    Source: Adamic & Adar, "Friends and neighbors on the Web" (2003): a common neighbour counts the less the
    more people it is tied to; here the path is source -> common -> suggested, weighted by the ties.
    """

    def __init__(
        self, source: NDArray[np.integer], target: NDArray[np.integer], weight: NDArray[np.floating], n: int
    ) -> None:
        """Take the ties among users 0 to n - 1."""
        self._out = sp.csr_array((weight.astype(np.float64), (source, target)), shape=(n, n))
        self._out.sum_duplicates()
        into = np.bincount(target, minlength=n) + np.bincount(source, minlength=n)
        self._rarity = 1.0 / np.log(np.maximum(into, 2) + 1.0)

    def through(self, user_ix: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """People two steps away whom the user does not follow: who, Adamic-Adar score, common neighbours."""
        mine = self._out[[user_ix]]
        followed, strength = mine.indices, mine.data
        if not len(followed):
            return np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
        second = self._out[followed]
        weighed = sp.csr_array((strength * self._rarity[followed])[None]) @ second
        common = np.asarray((second != 0).sum(axis=0)).ravel()
        found = np.setdiff1d(weighed.indices, np.append(followed, user_ix))
        score = np.asarray(weighed.todense()).ravel()[found]
        order = np.argsort(-score, kind="stable")
        return found[order].astype(np.int64), score[order], common[found[order]].astype(np.int64)

    def followed(self, user_ix: int) -> NDArray[np.int64]:
        """Whom the user follows."""
        return np.asarray(self._out[[user_ix]].indices, dtype=np.int64)


def suggest(
    through: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]],
    alike: tuple[NDArray[np.int64], NDArray[np.floating]],
    known: NDArray[np.int64],
    k: int,
    config: PeopleConfig | None = None,
) -> list[Suggestion]:
    """The k people to follow, from both grounds by reciprocal rank fusion.

    Args:
        through: as `Circle.through` gave them.
        alike: people who do the same things, best first, with their cosines.
        known: people who must not be suggested: the user, and whom he follows.
        k: people wanted.
        config: how the grounds are weighed.

    Source: Cormack, Clarke & Buettcher, "Reciprocal rank fusion" (SIGIR 2009).
    """
    options = config or PeopleConfig()
    score: dict[int, float] = {}
    for ranked in (through[0], alike[0]):
        fresh = ranked[~np.isin(ranked, known)]
        for rank, user in enumerate(fresh.tolist(), start=1):
            score[user] = score.get(user, 0.0) + 1.0 / (options.smoothing + rank)
    common = dict(zip(through[0].tolist(), through[2].tolist(), strict=True))
    cosine = dict(zip(alike[0].tolist(), alike[1].tolist(), strict=True))
    best = sorted(score, key=lambda user: (-score[user], user))[:k]
    return [Suggestion(u, score[u], common.get(u, 0), float(cosine.get(u, 0.0))) for u in best]
