# SPDX-License-Identifier: Apache-2.0
"""Variants: the most common whole paths.

It compares sequences event by event, so that no two different ones are ever taken for one.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import inner, kernel
from desirepath.patterns.paths.selection import MORE, OTHER, check_ordered
from desirepath.sequences.queries import ranges


def top_paths(database: SequenceDatabase, k: int = 20, *, n_steps: int | None = None) -> pl.DataFrame:
    """The k most common paths, and all others as one row.

    One row a path, most common first, of equals the one met first: `path` (list of names), `n_events`,
    `count` of sequences, `share` of all, `variants` (1), `median_s` from its first to its last event. The
    last row, where paths are left, is ["<other>"] with the number of other variants; counts sum to the
    sequences, empty ones included as the path without events.

    Args:
        database: the sequences; those that begin or end at certain events come from `with_ends`.
        k: paths that are named, 1 or more.
        n_steps: how many first events tell paths apart; what goes on after them ends in "<more>". None
            compares whole paths.

    Cost: one pass over the events and one comparison a sequence.

    >>> world = SequenceDatabase.from_lists([["a", "b"], ["a", "b"], ["a"], ["b"]])
    >>> top_paths(world, k=2).select("path", "count", "variants").rows()
    [(['a', 'b'], 2, 1), (['a'], 1, 1), (['<other>'], 1, 1)]
    """
    if k < 1 or (n_steps is not None and n_steps < 1):
        raise ConfigError(f"k and n_steps must be 1 or more; got {k} and {n_steps}.")
    check_ordered(database)
    limit = np.iinfo(np.int64).max if n_steps is None else n_steps
    variant, first = _variants(database.offsets, database.symbol_ix, limit)
    count = np.bincount(variant, minlength=len(first))
    best = np.argsort(-count, kind="stable")[:k]
    example = first[best]
    lengths = np.diff(database.offsets)[example]
    shown = np.minimum(lengths, limit)
    begin = database.offsets[:-1][example]
    flat = pl.DataFrame(
        {
            "rank": np.repeat(np.arange(len(best)), shown),
            "name": database.symbols.decode(database.symbol_ix[ranges(begin, begin + shown)]),
        }
    )
    lists = flat.group_by("rank", maintain_order=True).agg(path="name")
    table = pl.DataFrame(
        {
            "rank": np.arange(len(best)),
            "n_events": shown,
            "goes_on": shown < lengths,
            "count": count[best].astype(np.int64),
            "median_s": _durations(database, variant, best, limit),
        }
    ).join(lists, on="rank", how="left", maintain_order="left")
    path = pl.col("path").fill_null(pl.lit([], pl.List(pl.String)))
    table = table.select(
        path=pl.when("goes_on").then(pl.concat_list(path, pl.lit([MORE]))).otherwise(path),
        n_events="n_events",
        count="count",
        share=pl.col("count") / database.n_sequences,
        variants=pl.lit(1, pl.Int64),
        median_s="median_s",
    )
    if len(best) == len(first):
        return table
    left = database.n_sequences - int(count[best].sum())
    rest = {
        "path": [[OTHER]],
        "n_events": [None],
        "count": [left],
        "share": [left / database.n_sequences],
        "variants": [len(first) - len(best)],
        "median_s": [None],
    }
    return pl.concat([table, pl.DataFrame(rest, schema=table.schema)])


def _durations(
    database: SequenceDatabase, variant: NDArray[np.int32], best: NDArray[np.int64], limit: int
) -> pl.Series:
    """Median seconds from the first to the last shown event of each of the best variants."""
    rank = np.full(int(variant.max()) + 1, -1, np.int64)
    rank[best] = np.arange(len(best))
    mine = np.flatnonzero(rank[variant] >= 0)
    first, stop = database.offsets[:-1][mine], database.offsets[1:][mine]
    stop = np.minimum(stop - first, limit) + first
    filled = stop > first
    length_s = np.zeros(len(mine))
    length_s[filled] = database.time_s[stop[filled] - 1] - database.time_s[first[filled]]
    rows = pl.DataFrame({"rank": rank[variant[mine]], "length_s": length_s})
    return rows.group_by("rank").agg(pl.col("length_s").median()).sort("rank")["length_s"]


@kernel
def _variants(
    offsets: NDArray[np.int64], symbol: NDArray[np.int32], limit: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """(S,) the variant of each sequence, and (M,) the first sequence of each variant."""
    n = len(offsets) - 1
    size = 1024
    while size < 2 * n:
        size *= 2
    owner = np.full(size, -1, np.int32)  # the variant that lies there
    marks = np.zeros(size, np.uint64)
    variant, first = np.empty(n, np.int32), np.empty(n, np.int64)
    n_variants = 0
    for s in range(n):
        length = offsets[s + 1] - offsets[s]
        shown = min(length, limit)
        mark = np.uint64(shown) * np.uint64(2) + np.uint64(length > shown)
        for i in range(offsets[s], offsets[s] + shown):
            mark = (mark ^ np.uint64(symbol[i])) * np.uint64(0x9E3779B97F4A7C15)
            mark ^= mark >> np.uint64(29)
        place = np.int64(mark & np.uint64(size - 1))
        while owner[place] >= 0:
            if marks[place] == mark and _same(offsets, symbol, s, first[owner[place]], limit):
                break
            place = (place + 1) & (size - 1)
        if owner[place] < 0:
            owner[place], marks[place] = n_variants, mark
            first[n_variants] = s
            n_variants += 1
        variant[s] = owner[place]
    return variant, first[:n_variants].copy()


@inner
def _same(offsets: NDArray[np.int64], symbol: NDArray[np.int32], left: int, right: int, limit: int) -> bool:
    n_left, n_right = offsets[left + 1] - offsets[left], offsets[right + 1] - offsets[right]
    shown = min(n_left, limit)
    if shown != min(n_right, limit) or (n_left > shown) != (n_right > shown):
        return False
    i = 0
    while i < shown and symbol[offsets[left] + i] == symbol[offsets[right] + i]:
        i += 1
    return bool(i == shown)
