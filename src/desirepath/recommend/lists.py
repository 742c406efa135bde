# SPDX-License-Identifier: Apache-2.0
"""Lists with probabilities: a batch is scored once, and gives both.

It knows models, queries and a calibration; neither names nor files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desirepath.models.base import Model
from desirepath.recommend.calibration import Calibration, seen_items
from desirepath.recommend.held import Held, batches
from desirepath.schema import PADDING
from desirepath.sequences import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """The best K items of Q queries, best first."""

    item_ix: NDArray[np.int32]
    """(Q, K) 0 where fewer than K items may be recommended."""
    score: NDArray[np.float32]
    """(Q, K) the model's own score, -inf where item_ix is 0."""
    probability: NDArray[np.float32]
    """(Q, K) that the item is the next one; NaN without a calibration, 0 where item_ix is 0."""


def make_lists(
    model: Model,
    queries: Queries,
    k: int,
    *,
    calibration: Calibration | None = None,
    mask_seen: bool = False,
    allowed: NDArray[np.bool_] | None = None,
) -> Lists:
    """The k best items of each query, their scores and probabilities.

    Cost: one scoring and two passes over the scores; memory one batch of them. See `ranking.rank` for
    the options and errors.
    """
    parts = [
        part
        for _, part in list_batches(
            model, queries, k, calibration=calibration, mask_seen=mask_seen, allowed=allowed
        )
    ]
    empty = np.zeros((0, k))
    return Lists(
        item_ix=np.concatenate([part.item_ix for part in parts] or [empty.astype(np.int32)]),
        score=np.concatenate([part.score for part in parts] or [empty.astype(np.float32)]),
        probability=np.concatenate([part.probability for part in parts] or [empty.astype(np.float32)]),
    )


def list_batches(
    model: Model,
    queries: Queries,
    k: int,
    *,
    calibration: Calibration | None = None,
    mask_seen: bool = False,
    allowed: NDArray[np.bool_] | None = None,
) -> Iterator[tuple[slice, Lists]]:
    """As `make_lists`, a batch of queries at a time: which queries, and their lists."""
    for chosen in batches(queries):
        part = queries[chosen]
        held = Held(model.name, model.scores(part))
        item_BK, score_BK = held.top_k(part, k, mask_seen=mask_seen, allowed=allowed)
        probability_BK = np.full(item_BK.shape, np.nan, dtype=np.float32)
        if calibration is not None:
            partition = calibration.partition(held.scores_BV, part)
            probability_BK = calibration.probabilities(score_BK, seen_items(item_BK, part), partition)
        probability_BK[item_BK == PADDING] = 0.0
        yield chosen, Lists(item_ix=item_BK, score=score_BK, probability=probability_BK)
