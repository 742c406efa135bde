# SPDX-License-Identifier: Apache-2.0
"""What accuracy does not show of recommended lists: coverage, concentration, novelty, diversity, surprise.

Lists are (Q, K) item indexes, best first, with 0 where a list is short. Three different things are
called serendipity elsewhere; here each has its own name. It knows no models.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.errors import ShapeError
from desirepath.schema import FIRST, PADDING
from desirepath.sequences import Queries, Sequences

Floats = NDArray[np.float64]
Lists = NDArray[np.int32]


def users_per_item(train: Sequences) -> NDArray[np.int64]:
    """(V,) how many different users have each item.

    >>> users_per_item(Sequences.from_lists([["a", "a", "b"], ["a"]])).tolist()
    [0, 0, 2, 1]
    """
    return np.bincount(_pairs(train) // max(train.n_users, 1), minlength=len(train.items))


def relevant(item_QK: Lists, queries: Queries) -> NDArray[np.bool_]:
    """(Q, K) whether each listed item is a target of its query."""
    width = len(queries.sequences.items)
    query = np.repeat(np.arange(len(queries)), np.diff(queries.target_offsets))
    asked = query * width + queries.target_item_ix
    listed = np.arange(len(queries))[:, None] * width + item_QK
    return np.asarray(np.isin(listed, asked) & (item_QK != PADDING), dtype=np.bool_)


def coverage(item_QK: Lists, n_items: int) -> float:
    """Share of the catalogue's n_items that stand in any list.

    RecBole divides by all items, RePlay and recommenders by those in train: pass what is meant.

    >>> coverage(np.array([[2, 3], [2, 4]]), n_items=6)
    0.5
    """
    return int((np.bincount(item_QK.ravel())[FIRST:] > 0).sum()) / n_items


def gini(item_QK: Lists, n_items: int) -> float:
    """Gini coefficient of how often each of n_items is listed: 0 all equally, near 1 a few always.

    Formula: sum over j = 1..n of (2j - n - 1) c_j / (n sum c), c_j the counts in rising order, items
    never listed included (RecBole's; Elliot divides by n - 1 and returns 1 - Gini).

    >>> gini(np.array([[2], [2], [2], [2]]), n_items=4), gini(np.array([[2], [3]]), n_items=2)
    (0.75, 0.0)
    """
    counts = np.bincount(item_QK.ravel())[FIRST:]
    counts = np.sort(counts[counts > 0])
    if not len(counts):
        return 0.0
    place = np.arange(n_items - len(counts) + 1, n_items + 1)
    return float(((2 * place - n_items - 1) * counts).sum() / (n_items * counts.sum()))


def novelty(item_QK: Lists, users_V: NDArray[np.int64], n_users: int) -> Floats:
    """Mean inverse user frequency: mean over the list of -log2(users of the item / n_users), (Q,).

    An item that nobody has counts as if one user had it. RecTools' MeanInvUserFreq; it divides by the
    length of the list really given.

    >>> novelty(np.array([[2, 3]]), np.array([0, 0, 4, 1]), n_users=4).tolist()  # (0 + 2) / 2
    [1.0]
    """
    rarity = -np.log2(np.maximum(users_V, 1) / n_users)
    return _mean(rarity[item_QK], item_QK)


def popularity(item_QK: Lists, users_V: NDArray[np.int64], n_users: int) -> Floats:
    """Average recommendation popularity: mean over the list of the share of users who have the item, (Q,).

    Source: Abdollahpouri et al. 2019 (ARP), with shares in place of counts.

    >>> popularity(np.array([[2, 3]]), np.array([0, 0, 4, 1]), n_users=4).tolist()
    [0.625]
    """
    return _mean((users_V / n_users)[item_QK], item_QK)


def popularity_group(users_V: NDArray[np.int64]) -> NDArray[np.int8]:
    """(V,) 0 head, 1 middle, 2 tail, 3 never in training: items by falling popularity.

    Head are the most popular items that together hold one third of all (user, item) pairs, middle
    those that hold the next third, tail the rest, so that the groups weigh the same in training.

    >>> popularity_group(np.array([0, 0, 4, 4, 2, 1, 1, 0])).tolist()
    [3, 3, 0, 1, 2, 2, 2, 3]
    """
    order = np.argsort(-users_V, kind="stable")
    before = np.cumsum(users_V[order]) - users_V[order]
    group = np.empty(len(users_V), dtype=np.int8)
    group[order] = np.minimum(3 * before // max(int(users_V.sum()), 1), 2)
    group[users_V == 0] = 3
    return group


def tail_share(item_QK: Lists, group_V: NDArray[np.int8]) -> Floats:
    """Share of each list that is tail or was never in training, (Q,); groups of `popularity_group`.

    >>> tail_share(np.array([[2, 3, 4, 5]]), np.array([3, 3, 0, 1, 2, 3])).tolist()
    [0.5]
    """
    return _mean((group_V >= 2).astype(np.float64)[item_QK], item_QK)


def unexpectedness(item_QK: Lists, baseline_QK: Lists) -> Floats:
    """1 - |list and baseline's list| / K, (Q,): what a plain baseline would not have shown.

    RePlay's Unexpectedness.

    >>> unexpectedness(np.array([[2, 3, 4, 5]]), np.array([[5, 9, 8, 7]])).tolist()
    [0.75]
    """
    if item_QK.shape != baseline_QK.shape:
        raise ShapeError(f"Both lists must have one shape; got {item_QK.shape} and {baseline_QK.shape}.")
    # A list names an item once, so that counting equal pairs counts the common items.
    common = np.zeros(len(item_QK), dtype=np.int64)
    for place in range(baseline_QK.shape[1]):
        common += ((item_QK == baseline_QK[:, place, None]) & (item_QK != PADDING)).sum(axis=1)
    return np.asarray(1.0 - common / item_QK.shape[1], dtype=np.float64)


def serendipity_popularity(
    item_QK: Lists, relevant_QK: NDArray[np.bool_], users_V: NDArray[np.int64]
) -> Floats:
    """Hits that popularity alone would have placed lower, (Q,).

    Formula: sum over places r of max(p(r) - p(popularity rank of the item), 0) * relevant / K with
    p(r) = (n + 1 - r) / n and n items in the catalogue. RecTools' Serendipity. Equally popular items
    share the mean of their ranks; an item that nobody has is never shown by popularity: p = 0.

    >>> serendipity_popularity(np.array([[4, 2]]), np.array([[True, True]]), np.array([0, 0, 9, 5, 1]))
    array([0.33333333])
    """
    n = len(users_V) - FIRST
    rank_V = np.full(len(users_V), n + 1.0)
    real = users_V[FIRST:]
    _, inverse, counts = np.unique(-real, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    rank_V[FIRST:] = np.where(real > 0, (last - (counts - 1) / 2)[inverse], n + 1.0)
    gain = np.maximum(rank_V[item_QK] - np.arange(1, item_QK.shape[1] + 1), 0) / n
    return np.asarray((gain * relevant_QK).sum(axis=1) / item_QK.shape[1], dtype=np.float64)


def serendipity_content(
    item_QK: Lists, relevant_QK: NDArray[np.bool_], queries: Queries, vectors_VD: NDArray[np.floating]
) -> Floats:
    """Hits unlike the history: mean over the list of (1 - mean cosine to the history) * relevant, (Q,).

    Source: recommenders' serendipity (Zhang et al. 2012), on any item vectors, such as attributes.
    The divisor is K. A query without a history has nothing to be alike: its hits count fully.
    """
    unit = _unit(vectors_VD)
    history = queries.history_matrix()
    weight = 1.0 / np.maximum(np.diff(history.indptr), 1)
    taste = (sp.diags_array(weight) @ history @ unit).astype(np.float64)
    alike = np.empty(item_QK.shape)
    for place in range(item_QK.shape[1]):
        alike[:, place] = np.einsum("qd,qd->q", taste, unit[item_QK[:, place]])
    return np.asarray(((1.0 - alike) * relevant_QK).sum(axis=1) / item_QK.shape[1], dtype=np.float64)


def diversity_vectors(item_QK: Lists, vectors_VD: NDArray[np.floating]) -> Floats:
    """1 - mean cosine of all pairs of a list, (Q,): intra-list diversity by any item vectors.

    NaN for lists of fewer than two items. Cost: O(Q K D), since the sum over pairs is the square of a sum.
    Source: Ziegler et al. 2005; the cosine form of recommenders.

    >>> diversity_vectors(np.array([[2, 3]]), np.array([[0.0, 0], [0, 0], [1, 0], [0, 2]])).tolist()
    [1.0]
    """
    unit = _unit(vectors_VD)
    unit[:FIRST] = 0.0
    total = np.zeros((len(item_QK), unit.shape[1]))
    own = np.zeros(len(item_QK))
    for place in range(item_QK.shape[1]):
        chosen = unit[item_QK[:, place]]
        total += chosen
        own += (chosen**2).sum(axis=1)
    length = (item_QK != PADDING).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length > 1, 1.0 - ((total**2).sum(axis=1) - own) / (length * (length - 1.0)), np.nan)


def diversity_attributes(item_QK: Lists, attributes_VA: NDArray[Any]) -> Floats:
    """Mean over the pairs of a list of the share of attributes in which they differ, (Q,).

    RecTools' IntraListDiversity with the Hamming distance, divided by the number of attributes.

    >>> attributes = np.array([[0, 0], [0, 0], [1, 5], [1, 6], [2, 5]])
    >>> diversity_attributes(np.array([[2, 3, 4]]), attributes).round(4).tolist()  # (1/2 + 1/2 + 1) / 3
    [0.6667]
    """
    pairs = np.zeros(len(item_QK))
    total = np.zeros(len(item_QK))
    for one in range(item_QK.shape[1]):
        for other in range(one):
            a, b = item_QK[:, one], item_QK[:, other]
            real = (a != PADDING) & (b != PADDING)
            pairs += real
            total += real * (attributes_VA[a] != attributes_VA[b]).mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, total / pairs, np.nan)


def diversity_users(item_QK: Lists, train: Sequences) -> Floats:
    """1 - mean over the pairs of a list of the cosine of their users, (Q,): by co-occurrence.

    cosine(i, j) = users of both / sqrt(users of i * users of j), 0 where one has no user; needs no
    attributes. Cost: one merge of two sorted user lists for every different pair that is listed.
    Source: recommenders' diversity.

    >>> train = Sequences.from_lists([["a", "b"], ["a", "b"], ["c"]])
    >>> diversity_users(np.array([[2, 3], [2, 4]]), train).round(4).tolist()
    [0.0, 1.0]
    """
    n_items = len(train.items)
    pair = _pairs(train)
    user = (pair % train.n_users).astype(np.int32)
    offsets = np.searchsorted(pair, np.arange(n_items + 1, dtype=np.int64) * train.n_users)
    keys, cosines = np.empty(MEMO, np.int64), np.empty(MEMO, np.float32)
    return np.asarray(_pair_diversity(item_QK, user, offsets, keys, cosines), dtype=np.float64)


MEMO = 2**21
"""Places for cosines of pairs already met (24 MB); the table starts anew when half of it is taken."""


@numba.njit(cache=True, nogil=True)
def _pair_diversity(item_QK: Any, user: Any, offsets: Any, keys: Any, values: Any) -> Any:
    """(Q,) 1 - mean cosine over the pairs of each list; a pair met before is looked up by open addressing."""
    out = np.empty(len(item_QK))
    keys[:] = -1
    taken = 0
    for q in range(len(item_QK)):
        total, pairs = 0.0, 0
        for a in range(item_QK.shape[1]):
            for b in range(a):
                low, high = min(item_QK[q, a], item_QK[q, b]), max(item_QK[q, a], item_QK[q, b])
                if low == PADDING:
                    continue
                key = np.int64(low) << 32 | np.int64(high)
                place = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(43))
                while keys[place] != -1 and keys[place] != key:
                    place = (place + 1) & (MEMO - 1)
                if keys[place] == -1:
                    if taken == MEMO // 2:
                        keys[:] = -1
                        taken = 0
                    keys[place] = key
                    values[place] = _cosine(user, offsets, low, high)
                    taken += 1
                total += values[place]
                pairs += 1
        out[q] = 1.0 - total / pairs if pairs else np.nan
    return out


@numba.njit(cache=True, nogil=True)
def _cosine(user: Any, offsets: Any, one: Any, other: Any) -> Any:
    """Cosine of the sets of users of two items; each set lies sorted in `user`."""
    a, a_end = offsets[one], offsets[one + 1]
    b, b_end = offsets[other], offsets[other + 1]
    size = (a_end - a) * (b_end - b)
    common = 0
    while a < a_end and b < b_end:
        x, y = user[a], user[b]
        common += x == y
        a += x <= y
        b += y <= x
    return common / np.sqrt(size) if size > 0 else 0.0


def _pairs(train: Sequences) -> NDArray[np.int64]:
    """Pairs as item * n_users + user, each once, rising. A sort beats the hashing of np.unique."""
    pair = np.sort(train.item_ix.astype(np.int64) * train.n_users + train.user_ix)
    return pair[np.diff(pair, prepend=-1) > 0]


def _mean(value_QK: Floats, item_QK: Lists) -> Floats:
    """(Q,) mean over what is really listed; NaN for an empty list."""
    real = item_QK != PADDING
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((value_QK * real).sum(axis=1) / real.sum(axis=1), dtype=np.float64)


def _unit(vectors_VD: NDArray[np.floating]) -> NDArray[np.float64]:
    """A copy with rows of length 1; rows of zeros stay."""
    vectors = np.asarray(vectors_VD, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
