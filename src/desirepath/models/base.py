# SPDX-License-Identifier: Apache-2.0
"""What every model answers to, and the letters that tensor names end in.

B batch (queries), L length, D width, H heads, V items (the vocabulary, reserved indexes
included), K list, N negatives, T packed tokens.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from desirepath.sequences import Queries, Sequences

NEVER = np.float32(-np.inf)
"""The score of the reserved indexes, and of anything that must not be recommended."""


@runtime_checkable
class Model(Protocol):
    """A recommender: it is fitted once and then scores every item for each query."""

    name: ClassVar[str]
    """Short name in tables and file names, such as "markov"."""

    def fit(self, train: Sequences) -> Self:
        """Learn from sequences; a second fit forgets the first."""
        ...

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """Scores of shape (B, V), higher is better; columns 0 and 1 are -inf.

        Raises:
            NotFittedError: before `fit`.
        """
        ...

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The arrays from which `restore` makes the fitted model again."""
        ...

    def restore(self, state: dict[str, NDArray[np.generic]]) -> Self:
        """Take the arrays that `state` gave; the constructor's options stay as they are."""
        ...
