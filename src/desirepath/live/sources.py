# SPDX-License-Identifier: Apache-2.0
"""Where items come from when the model has too few: alike by category, trending, popular, latest.

Each is asked only when the ones before it were not enough. It knows no users but a history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from desirepath.live.memory import Memory
from desirepath.live.trending import Trending
from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.slate import NO_ITEMS, Candidates
from desirepath.schema import FIRST

KINDS = ("categories", "category", "genres", "genre", "department", "section", "tags", "brand")
"""Columns that tell what sort of thing an item is, the more telling first."""
LATEST_ITEMS = 5
"""Last items of a history that others are alike to."""

Mask = NDArray[np.bool_] | None


def fallbacks(
    memory: Memory,
    attributes: ItemAttributes,
    chain: tuple[str, ...],
    history: NDArray[np.int32],
    allowed: Mask,
) -> Iterator[Callable[[int], Candidates]]:
    """For each source of the chain, a function that gives its n best items."""
    for name in chain:
        if name == "similar":
            yield lambda n: _alike(attributes, history, n, allowed)
        elif name == "trending":
            yield lambda n: _counted("trending", memory.trending, attributes, n, allowed)
        elif name == "popular":
            yield lambda n: _counted("popular", memory.popular, attributes, n, allowed)
        elif name == "latest":
            yield lambda n: _latest(attributes, n, allowed)


def _counted(source: str, counts: Trending, attributes: ItemAttributes, n: int, allowed: Mask) -> Candidates:
    share = counts.shares(len(attributes))
    with np.errstate(divide="ignore"):
        best = Candidates.best(source, np.log(share), n, allowed)
    return Candidates(source=source, item_ix=best.item_ix, score=best.score, probability=share[best.item_ix])


def _latest(attributes: ItemAttributes, n: int, allowed: Mask) -> Candidates:
    created, newest = attributes.created_s(), attributes.newest()
    if len(newest):
        return Candidates.leading("latest", newest, created, n, allowed)
    # Where nothing tells when items were made, the order in which they came does.
    return Candidates.best("latest", np.arange(len(attributes), dtype=np.float64), n, allowed)


def _alike(attributes: ItemAttributes, history: NDArray[np.int32], n: int, allowed: Mask) -> Candidates:
    """Items that share categories with the last items of the history: cosine of their sets."""
    column = next((name for name in KINDS if name in attributes.table.columns), None)
    last = np.unique(history[-LATEST_ITEMS:])
    last = last[(last >= FIRST) & (last < len(attributes))]
    if column is None or not len(last):
        return Candidates(source="similar", item_ix=NO_ITEMS, score=np.zeros(0))
    codes = attributes.codes(column)
    wanted = np.bincount(codes.of(last)[1], minlength=len(codes.values)).astype(np.float64)
    owner = np.repeat(np.arange(len(attributes)), np.diff(codes.offsets))
    shared = np.bincount(owner, weights=wanted[codes.code], minlength=len(attributes))
    size = np.sqrt(np.maximum(np.diff(codes.offsets), 1) * max(float((wanted**2).sum()), 1.0))
    cosine = shared / size
    cosine[cosine <= 0] = np.nan
    cosine[last] = np.nan
    return Candidates.best("similar", cosine, n, allowed)
