# SPDX-License-Identifier: Apache-2.0
"""Accuracy of ranked lists, one small function a metric, each from the ranks of the targets.

Queries own the targets rank[offsets[q]:offsets[q+1]], at least one each; rank 1 is best and counts
every item of the catalogue. Relevance is binary. Where libraries differ, the choice is an option and
its default is what most of them do. It knows no models; the ranks come from `recommend.ranking`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, ShapeError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def hit_rate(rank: Ints, offsets: Ints, k: int) -> Floats:
    """Whether any target stands in the first k places: 1 or 0 for each query, (Q,).

    >>> hit_rate(np.array([3, 12, 1]), np.array([0, 2, 3]), k=2).tolist()
    [0.0, 1.0]
    """
    return (_hits(rank, offsets, k) > 0).astype(np.float64)


def recall(rank: Ints, offsets: Ints, k: int) -> Floats:
    """Hits in the first k places / number of targets, (Q,).

    With one target this is the hit rate. The divisor is the number of targets even where it is
    above k (as RecTools, RePlay and RecBole; some papers divide by min(targets, k)).

    >>> recall(np.array([3, 12, 1]), np.array([0, 2, 3]), k=3).tolist()
    [0.5, 1.0]
    """
    return _hits(rank, offsets, k) / _targets(rank, offsets)


def precision(rank: Ints, offsets: Ints, k: int, returned: Ints | None = None) -> Floats:
    """Hits in the first k places / k, (Q,).

    Args:
        rank: (T,) ranks of the targets.
        offsets: (Q + 1,) first target of each query.
        k: length of the list.
        returned: (Q,) items that were really listed; when given, min(k, returned) is the divisor, so
            that a short list is not punished. RecTools and RePlay divide by k: so does the default.

    >>> precision(np.array([3, 12, 1]), np.array([0, 2, 3]), k=4).tolist()
    [0.25, 0.25]
    """
    hits = _hits(rank, offsets, k)
    if returned is None:
        return hits / k
    return hits / np.maximum(np.minimum(returned, k), 1)


def ndcg(rank: Ints, offsets: Ints, k: int, ideal: Literal["achievable", "k"] = "achievable") -> Floats:
    """Discounted gain of the targets in the first k places, by the best possible one, (Q,).

    Formula: sum over targets with rank r <= k of 1 / log2(r + 1), divided by the sum over
    r = 1..m of the same. Source: Järvelin and Kekäläinen 2002, with binary gain.

    Args:
        rank: (T,) ranks of the targets.
        offsets: (Q + 1,) first target of each query.
        k: length of the list.
        ideal: m = min(targets, k) for "achievable", so that 1 can be reached (RecBole, RePlay, Elliot,
            ranx); m = k for "k" (RecTools' default), lower whenever there are fewer targets than k.

    >>> ndcg(np.array([1, 3]), np.array([0, 2]), k=3).round(4).tolist()  # 1.5 / (1 + 0.6309)
    [0.9197]
    >>> ndcg(np.array([3]), np.array([0, 1]), k=10).tolist()
    [0.5]
    """
    _k(k)
    _known("ideal", ideal, ("achievable", "k"))
    targets = _targets(rank, offsets)
    gain = np.where(rank <= k, 1.0 / np.log2(rank + 1.0), 0.0)
    best = np.concatenate([np.zeros(1), np.cumsum(1.0 / np.log2(np.arange(2.0, k + 2.0)))])
    divisor: Floats = best[np.minimum(targets, k) if ideal == "achievable" else np.full_like(targets, k)]
    return _sum(gain, offsets) / divisor


def mrr(rank: Ints, offsets: Ints, k: int | None = None) -> Floats:
    """1 / rank of the best target, or 0 where it lies behind the first k places, (Q,).

    >>> mrr(np.array([12, 4, 7]), np.array([0, 2, 3]), k=5).tolist()
    [0.25, 0.0]
    """
    if k is not None:
        _k(k)
    _targets(rank, offsets)
    best = np.minimum.reduceat(rank, offsets[:-1]) if len(offsets) > 1 else rank[:0]
    return np.where(best <= (np.inf if k is None else k), 1.0 / best, 0.0)


def average_precision(
    rank: Ints, offsets: Ints, k: int, divide_by: Literal["achievable", "targets", "k"] = "achievable"
) -> Floats:
    """Mean over the targets of the precision at each hit in the first k places, (Q,); its mean is MAP.

    Formula: sum over hits at rank r of (hits up to r) / r, divided by m.

    Args:
        rank: (T,) ranks of the targets; distinct within a query.
        offsets: (Q + 1,) first target of each query.
        k: length of the list.
        divide_by: m = min(targets, k) for "achievable" (RePlay, RecBole); the number of targets for
            "targets" (RecTools' default; below 1 at best when there are more targets than k); or k.

    >>> average_precision(np.array([1, 3]), np.array([0, 2]), k=3).round(4).tolist()  # (1/1 + 2/3) / 2
    [0.8333]
    """
    _k(k)
    _known("divide_by", divide_by, ("achievable", "targets", "k"))
    targets = _targets(rank, offsets)
    place = _order(rank, offsets)
    at_hit = np.where(rank <= k, place / rank, 0.0)
    divisor = {"achievable": np.minimum(targets, k), "targets": targets, "k": np.full_like(targets, k)}
    return np.asarray(_sum(at_hit, offsets) / divisor[divide_by], dtype=np.float64)


def auc(better: Ints, tied: Ints, offsets: Ints, n_candidates: Ints) -> Floats:
    """Chance that a target outscores an item that is no target, over the whole catalogue, (Q,).

    A tie counts one half, so a constant model has 0.5. A target that cannot be recommended loses
    every comparison. NaN where a query has no other item. This is the mean of RecBole's "GAUC" with
    every user counted once; it needs full ranks and is not the AUC of sampled pairs.

    Args:
        better: (T,) items scored above each target, other targets of the query included.
        tied: (T,) items with the target's score, itself included.
        offsets: (Q + 1,) first target of each query.
        n_candidates: (Q,) items that could be recommended.

    >>> auc(np.array([1]), np.array([1]), np.array([0, 1]), np.array([5])).tolist()  # beats 3 of 4
    [0.75]
    """
    targets = _targets(better, offsets)
    query = np.repeat(np.arange(len(targets)), targets)
    outside = better >= n_candidates[query]
    inside = _sum((~outside).astype(np.float64), offsets)
    others = n_candidates - inside
    # Compared with all candidates first; the comparisons among targets of a query are then taken out:
    # each pair of them gives exactly 1 in all, whoever wins.
    wins = np.where(outside, 0.0, n_candidates[query] - better - (tied + 1) / 2)
    among = inside * (inside - 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(others > 0, (_sum(wins, offsets) - among) / (targets * others), np.nan)


def accuracy(predicted: NDArray[Any], actual: NDArray[Any]) -> Floats:
    """Whether each prediction is right: 1 or 0, (Q,). For the next action.

    >>> accuracy(np.array([2, 3, 3]), np.array([2, 2, 3])).tolist()
    [1.0, 0.0, 1.0]
    """
    if predicted.shape != actual.shape:
        raise ShapeError(f"predicted and actual must have one shape; got {predicted.shape}, {actual.shape}.")
    return np.asarray(predicted == actual, dtype=np.float64)


def _k(k: int) -> None:
    if k < 1:
        raise ConfigError(f"k must be at least 1; got {k}.")


def _known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be one of {known}; got '{value}'.")


def _targets(rank: Ints, offsets: Ints) -> Ints:
    """(Q,) targets of each query, all at least one."""
    if not len(offsets) or offsets[-1] != len(rank):
        raise ShapeError(f"offsets must end at the number of ranks, {len(rank)}; got {offsets[-1:]}.")
    targets = np.diff(offsets)
    if (targets < 1).any():
        raise ShapeError(f"Every query must have a target; {int((targets < 1).sum())} have none. Drop them.")
    return targets


def _sum(values: Floats, offsets: Ints) -> Floats:
    """(Q,) sums over the targets of each query."""
    if len(offsets) < 2:
        return np.zeros(0)
    return np.asarray(np.add.reduceat(values, offsets[:-1]), dtype=np.float64)


def _hits(rank: Ints, offsets: Ints, k: int) -> Floats:
    _k(k)
    _targets(rank, offsets)
    return _sum((rank <= k).astype(np.float64), offsets)


def _order(rank: Ints, offsets: Ints) -> Ints:
    """(T,) place of each target among the targets of its query, 1 for the best."""
    if len(rank) == len(offsets) - 1:
        return np.ones(len(rank), dtype=np.int64)
    query = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((rank, query))
    place = np.empty(len(rank), dtype=np.int64)
    place[order] = np.arange(len(rank)) - offsets[query] + 1
    return place
