# SPDX-License-Identifier: Apache-2.0
"""Questions to a model: a user's history up to a moment, and what truly came next.

Training windows, evaluation and serving all see a history through this file, so that the same
rows give the same input everywhere. It knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.errors import ShapeError
from desirepath.schema import PADDING
from desirepath.sequences.packed import Sequences
from desirepath.sequences.vocabulary import Vocabulary


def ranges(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """All rows of the ranges start:stop, one after the other, without a Python loop.

    >>> ranges(np.array([5, 0]), np.array([7, 1])).tolist()
    [5, 6, 0]
    """
    lengths = stop - start
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    rows: NDArray[np.int64] = np.arange(total, dtype=np.int64) + np.repeat(start - (ends - lengths), lengths)
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Q questions: query q sees rows start[q]:stop[q] of `sequences`, at the moment now_s[q]."""

    sequences: Sequences
    user_ix: NDArray[np.int64]
    """(Q,) row of each query's user in `sequences`."""
    start: NDArray[np.int64]
    """(Q,) first row of the history."""
    stop: NDArray[np.int64]
    """(Q,) row after the last of the history; start == stop is an empty history."""
    now_s: NDArray[np.float64]
    """(Q,) the moment of the question, seconds since 1970 UTC; no row of the history is later."""
    target_offsets: NDArray[np.int64]
    """(Q + 1,) targets of query q are target_item_ix[target_offsets[q]:target_offsets[q+1]]."""
    target_item_ix: NDArray[np.int32]
    """(T,) what came next; empty when nobody knows yet, as in serving."""
    target_action_ix: NDArray[np.int16] | None = None
    """(T,) the action of each target, where it is asked for."""

    def __post_init__(self) -> None:
        q = len(self.start)
        for name in ("user_ix", "stop", "now_s"):
            if len(getattr(self, name)) != q:
                raise ShapeError(f"{name} must have {q} entries like start; got {len(getattr(self, name))}.")
        if len(self.target_offsets) != q + 1:
            raise ShapeError(f"target_offsets must have {q + 1} entries; got {len(self.target_offsets)}.")

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, chosen: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Queries:
        """The chosen queries with their targets."""
        first, last = self.target_offsets[:-1][chosen], self.target_offsets[1:][chosen]
        targets = ranges(first, last)
        return Queries(
            sequences=self.sequences,
            user_ix=self.user_ix[chosen],
            start=self.start[chosen],
            stop=self.stop[chosen],
            now_s=self.now_s[chosen],
            target_offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(last - first)]),
            target_item_ix=self.target_item_ix[targets],
            target_action_ix=None if self.target_action_ix is None else self.target_action_ix[targets],
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(Q,) events in each history."""
        return self.stop - self.start

    @property
    def single_target(self) -> NDArray[np.int32]:
        """(Q,) the one target of each query.

        Raises:
            ShapeError: a query has none or several.
        """
        if not np.array_equal(self.target_offsets, np.arange(len(self) + 1)):
            raise ShapeError("Every query must have exactly one target here; some have none or several.")
        return self.target_item_ix

    def windows(self, max_len: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The last `max_len` items of each history, as (item_BL, length_B).

        Rows begin at column 0 and are padded with 0 on the right; L is the longest kept history
        (at least 1), not `max_len`, so that short batches stay small.
        """
        start = np.maximum(self.start, self.stop - max_len)
        length = self.stop - start
        width = max(1, int(length.max(initial=0)))
        item_BL = np.full((len(self), width), PADDING, dtype=np.int32)
        item_BL[np.arange(width) < length[:, None]] = self.sequences.item_ix[ranges(start, self.stop)]
        return item_BL, length

    def history_matrix(self, *, binary: bool = True) -> sp.csr_array:
        """Each history as a row of a (Q, V) float32 matrix of item counts, or of ones."""
        rows = ranges(self.start, self.stop)
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])
        matrix = sp.csr_array(
            (np.ones(len(rows), np.float32), np.asarray(self.sequences.item_ix[rows], np.int32), indptr),
            shape=(len(self), len(self.sequences.items)),
        )
        matrix.sum_duplicates()
        if binary:
            matrix.data[:] = 1.0
        return matrix

    @staticmethod
    def latest(sequences: Sequences, user_ix: NDArray[np.integer], now_s: float | None = None) -> Queries:
        """What comes after everything known of these users: the question that serving asks.

        Args:
            sequences: the log as sequences.
            user_ix: (Q,) users asked for.
            now_s: the moment of the question; the user's last event when None.
        """
        user = np.asarray(user_ix, dtype=np.int64)
        start, stop = sequences.offsets[user], sequences.offsets[user + 1]
        if now_s is not None:
            now = np.full(len(user), now_s, dtype=np.float64)
        elif sequences.n_events:
            now = np.where(stop > start, sequences.time_s[np.maximum(stop - 1, 0)], 0.0)
        else:
            now = np.zeros(len(user))
        return Queries(
            sequences=sequences,
            user_ix=user,
            start=np.asarray(start),
            stop=np.asarray(stop),
            now_s=now,
            target_offsets=np.zeros(len(user) + 1, dtype=np.int64),
            target_item_ix=np.zeros(0, dtype=np.int32),
        )

    @staticmethod
    def from_items(histories: Iterable[Sequence[str]], items: Vocabulary) -> Queries:
        """Histories typed by hand, against a known item vocabulary; unseen ids become unknown.

        >>> Queries.from_items([["b", "zzz"]], Vocabulary(["a", "b"])).windows(5)[0].tolist()
        [[3, 1]]
        """
        lists = [list(history) for history in histories]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(h) for h in lists], dtype=np.int64)])
        flat = [item for history in lists for item in history]
        sequences = Sequences(
            offsets=offsets,
            item_ix=items.encode(flat).astype(np.int32),
            action_ix=np.full(len(flat), 2, dtype=np.int16),
            time_s=np.zeros(len(flat)),
            users=Vocabulary([str(q) for q in range(len(lists))], reserved=0),
            items=items,
            actions=Vocabulary(["event"]),
        )
        return Queries.latest(sequences, np.arange(len(lists)))
