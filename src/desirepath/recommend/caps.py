# SPDX-License-Identifier: Apache-2.0
"""Caps: at most so many items of a list share a value of a column, such as an author or a category.

It counts what has been taken and closes what would be too much. An item without a value is never counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from desirepath.recommend.attributes import ItemAttributes


class Cap:
    """One column's cap over N candidates."""

    def __init__(
        self, column: str, most: int, attributes: ItemAttributes, item_ix: NDArray[np.int64]
    ) -> None:
        self.column, self.most = column, most
        codes = attributes.codes(column)
        self.place, self.code = codes.of(item_ix)
        # Where each candidate's own values begin.
        self.edges = np.searchsorted(self.place, np.arange(len(item_ix) + 1))
        self.taken: dict[int, int] = {}

    def values(self, j: int) -> list[int]:
        """The values of candidate j, as codes."""
        found: list[int] = self.code[self.edges[j] : self.edges[j + 1]].tolist()
        return found

    def take(self, j: int) -> NDArray[np.int64] | None:
        """Count candidate j; the candidates that must not follow it any more, if any."""
        full = []
        for value in set(self.values(j)):
            self.taken[value] = self.taken.get(value, 0) + 1
            if self.taken[value] == self.most:
                full.append(value)
        if not full:
            return None
        shared = self.code == full[0] if len(full) == 1 else np.isin(self.code, full)
        return self.place[shared]

    def has_room(self, j: int) -> bool:
        """Whether candidate j may still be taken."""
        return all(self.taken.get(value, 0) < self.most for value in self.values(j))


class Caps:
    """All caps of a list over N candidates."""

    def __init__(
        self, most: Mapping[str, int], attributes: ItemAttributes, item_ix: NDArray[np.int64]
    ) -> None:
        self.caps = [Cap(column, limit, attributes, item_ix) for column, limit in most.items()]
        self.closed_by = np.full(len(item_ix), -1, dtype=np.int64)
        """(N,) the place of the cap that closed each candidate; -1 for open ones."""

    def __bool__(self) -> bool:
        return bool(self.caps)

    def take(self, j: int) -> None:
        """Count candidate j, and close those that would be too many."""
        for place, cap in enumerate(self.caps):
            closing = cap.take(j)
            if closing is not None:
                fresh = closing[self.closed_by[closing] < 0]
                self.closed_by[fresh] = place

    def room(self, candidates: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """Up to n of the candidates, in their order, that may all be taken together, one by one counted."""
        if not self.caps:
            return candidates[:n]
        found: list[int] = []
        for j in candidates.tolist():
            if len(found) == n:
                break
            if all(cap.has_room(j) for cap in self.caps):
                found.append(j)
                for cap in self.caps:
                    cap.take(j)
        return np.array(found, dtype=np.int64)
