# SPDX-License-Identifier: Apache-2.0
"""Parts of the test in which models are also compared: kinds of users, of histories and of targets.

It marks targets, whatever the models say of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desirepath.evaluation.beyond import popularity_group
from desirepath.sequences import Queries, Sequences

LENGTH_EDGES = (0, 1, 5, 10, 20, 50, 100)
"""First length of each bin of histories; the last is open."""

GROUPS = ("head", "middle", "tail", "never in training")


class Slice(NamedTuple):
    """A named part of the targets."""

    title: str
    """What is cut by, such as "history length"."""
    label: str
    target: NDArray[np.bool_]
    """(T,) whether each target belongs to it."""


def cut(queries: Queries, train: Sequences, users_V: NDArray[np.int64]) -> list[Slice]:
    """Every slice that holds a target, in the order in which they are printed.

    Users are warm if training has a row of them. Histories are cut by their length. Targets are
    head, middle and tail as in `beyond.popularity_group`, or never in training. A query with targets
    in several groups counts in each with those targets only.
    """
    query = np.repeat(np.arange(len(queries)), np.diff(queries.target_offsets))
    warm = (train.lengths > 0)[queries.user_ix][query]
    length_bin = np.searchsorted(LENGTH_EDGES, queries.lengths, side="right")[query] - 1
    group = popularity_group(users_V)[queries.target_item_ix]
    found = [Slice("user", "warm", warm), Slice("user", "cold", ~warm)]
    for place, low in enumerate(LENGTH_EDGES):
        high = LENGTH_EDGES[place + 1] - 1 if place + 1 < len(LENGTH_EDGES) else None
        label = f"{low} or more" if high is None else str(low) if high == low else f"{low} to {high}"
        found.append(Slice("history length", label, length_bin == place))
    found += [Slice("target popularity", label, group == g) for g, label in enumerate(GROUPS)]
    return [part for part in found if part.target.any()]


def restrict(
    target: NDArray[np.bool_], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The queries that keep a target, and the offsets of the targets that are kept.

    >>> restrict(np.array([True, False, False, True, True]), np.array([0, 2, 3, 5]))
    (array([0, 2]), array([0, 1, 3]))
    """
    kept = np.diff(np.concatenate([np.zeros(1, np.int64), np.cumsum(target, dtype=np.int64)])[offsets])
    query = np.flatnonzero(kept)
    return query, np.concatenate([np.zeros(1, np.int64), np.cumsum(kept[query])])
