# SPDX-License-Identifier: Apache-2.0
"""Items like an item, users like a user, and people to follow, by outside ids and as of now.

What all users did is compared as of the packed log; the one who is asked for, as of this moment.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import DataError
from desirepath.live.memory import Memory
from desirepath.live.ranker import Ranker
from desirepath.live.records import Records
from desirepath.recommend.people import Circle, suggest
from desirepath.recommend.recommender import nearest_id
from desirepath.recommend.similar import Similar
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences, Vocabulary

NEAREST = 200
"""People alike that are weighed against people known through others."""


class Neighbours:
    """Likenesses under one model version."""

    def __init__(self, ranker: Ranker, base: Sequences, memory: Memory, erased: Collection[str] = ()) -> None:
        """Compare under the version of `ranker`, without who is `erased`; nothing is computed yet."""
        self._ranker, self._base, self._erased = ranker, base, erased
        self._catalogue, self._states = memory.catalogue, memory.states

    @property
    def model_version(self) -> str:
        """The version that compares."""
        return self._ranker.version.name

    @cached_property
    def _similar(self) -> Similar:
        return Similar(self._ranker.version.model, self._ranker.recoded(self._base))

    def items(self, item_id: str, k: int) -> list[dict[str, Any]]:
        """The k items most like one: item_id, title, similarity (cosine); none for one the model never met.

        Raises:
            DataError: the item is not known at all.
        """
        ix = self._catalogue.index(item_id)
        if ix is None:
            raise DataError(f"Item '{item_id[:80]}' is not known. Send what it is with PUT /v1/items.")
        mine = int(self._ranker.to_model(np.array([ix], np.int32))[0])
        if mine < FIRST:
            return []
        hidden = self._catalogue.hidden
        found, cosine = self._similar.items(mine, k + int(hidden.sum()))
        shown: list[dict[str, Any]] = []
        for place, value in zip(self._ranker.to_catalogue(found).tolist(), cosine.tolist(), strict=True):
            if not hidden[place] and len(shown) < k:
                name = self._catalogue.ids[place]
                shown.append({"item_id": name, "title": self._catalogue.title(name), "similarity": value})
        return shown

    def users(self, user_id: str, k: int, actions: Vocabulary) -> list[dict[str, Any]]:
        """The k users most like one, from everything that he did until now: user_id, similarity (cosine).

        Raises:
            DataError: the user is not known.
        """
        return [
            {"user_id": name, "similarity": value}
            for name, value in zip(*self._alike(user_id, k, actions), strict=True)
        ]

    def _alike(self, user_id: str, k: int, actions: Vocabulary) -> tuple[list[str], list[float]]:
        if user_id not in self._states or self._is_gone(user_id):
            ids = self._base.users.ids
            raise DataError(f"User '{user_id[:80]}' is not known. {nearest_id(user_id[:80], ids)}")
        queries: Queries = self._ranker.queries(self._states.histories([user_id]), actions, 0.0)
        found, cosine = self._similar.users_like(queries, k + 1 + len(self._erased))
        names = self._base.users.decode(found).to_list()
        pairs = [
            pair
            for pair in zip(names, cosine.tolist(), strict=True)
            if pair[0] != user_id and pair[0] not in self._erased
        ][:k]
        return [name for name, _ in pairs], [value for _, value in pairs]

    def _is_gone(self, user_id: str) -> bool:
        """Whether a user was erased and did nothing since."""
        return user_id in self._erased and not self._states.histories([user_id]).offsets[-1]

    def to_follow(self, user_id: str, k: int, records: Records, actions: Vocabulary) -> list[dict[str, Any]]:
        """People to follow: user_id, score, how many of those one follows follow them, and likeness."""
        circle, people = self._circle(records)
        place = {name: ix for ix, name in enumerate(people)}
        alike: tuple[list[str], list[float]] = ([], [])
        if user_id in self._states and not self._is_gone(user_id):
            alike = self._alike(user_id, NEAREST, actions)
        elif user_id not in place:
            raise DataError(
                f"User '{user_id[:80]}' is not known: no event and no tie names him. Send one of either."
            )
        for name in (user_id, *alike[0]):
            place.setdefault(name, len(place))
        names = list(place)
        mine = place[user_id]
        none: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]
        none = (np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
        in_circle = mine < len(people)
        through = circle.through(mine) if in_circle else none
        followed = circle.followed(mine) if in_circle else none[0]
        who = np.array([place[name] for name in alike[0]], dtype=np.int64)
        found = suggest(through, (who, np.array(alike[1])), np.append(followed, mine), k)
        return [
            {
                "user_id": names[one.user_ix],
                "score": one.score,
                "followed_by": one.n_through,
                "similarity": one.likeness,
            }
            for one in found
        ]

    def _circle(self, records: Records) -> tuple[Circle, list[str]]:
        kept: tuple[int, Circle, list[str]] | None = getattr(self, "_kept_circle", None)
        now = records.n_changes_of_ties
        if kept is None or kept[0] != now:
            ties = records.ties()
            users = Vocabulary([], reserved=0).extended(ties["source"].append(ties["target"]))
            circle = Circle(
                users.encode(ties["source"]),
                users.encode(ties["target"]),
                ties["weight"].to_numpy(),
                len(users),
            )
            kept = (now, circle, users.ids.to_list())
            self._kept_circle = kept
        return kept[1], kept[2]
