# SPDX-License-Identifier: Apache-2.0
"""Who moved between segments from one moment to the next, so that every user is counted.

It compares two tables of members; how they were assigned is not its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise

import polars as pl

from desirepath.errors import DataError
from desirepath.features.moment import require
from desirepath.schema import USER

ABSENT = "(not there)"
"""Where a user is who has no event before the moment."""


def moves(earlier: pl.DataFrame, later: pl.DataFrame, names: Mapping[int, str] | None = None) -> pl.DataFrame:
    """One row a pair of segments with a user: from, to, n_users, share_of_from, share_of_to.

    Each user of either table is counted once: the rows of a `from` sum to its size at the earlier moment,
    those of a `to` to its size at the later one. A user in one table only comes from, or goes to,
    "(not there)". Sorted by number of users.

    >>> a = pl.DataFrame({"user_id": ["u", "v"], "segment": [0, 0]})
    >>> b = pl.DataFrame({"user_id": ["u", "v", "w"], "segment": [0, 1, 1]})
    >>> moves(a, b).select("from", "to", "n_users").rows()
    [('(not there)', '1', 1), ('0', '0', 1), ('0', '1', 1)]
    """
    sides = []
    for side, members in (("from", earlier), ("to", later)):
        require(members.lazy(), USER, "segment")
        if members.get_column(USER).is_duplicated().any():
            raise DataError("Each user must come once in a table of members; some come again.")
        known = {number: (names or {}).get(number, str(number)) for number in members["segment"].unique()}
        label = pl.col("segment").replace_strict(known, return_dtype=pl.String)
        sides.append(members.select(USER, label.alias(side)))
    return (
        sides[0]
        .join(sides[1], on=USER, how="full", coalesce=True)
        .with_columns(pl.col("from", "to").fill_null(ABSENT))
        .group_by("from", "to")
        .agg(pl.len().cast(pl.Int64).alias("n_users"))
        .with_columns(
            (pl.col("n_users") / pl.col("n_users").sum().over("from")).alias("share_of_from"),
            (pl.col("n_users") / pl.col("n_users").sum().over("to")).alias("share_of_to"),
        )
        .sort("n_users", "from", "to", descending=[True, False, False])
    )


def track(
    moments: Sequence[tuple[datetime, pl.DataFrame]], names: Mapping[int, str] | None = None
) -> pl.DataFrame:
    """`moves` between each moment and the next: moment_from, moment_to and its columns.

    The tables of members must come from the same segments (`Segments.assign`), oldest first.

    Raises:
        DataError: fewer than two moments, or they are not in order.
    """
    times = [moment for moment, _ in moments]
    if len(times) < 2 or any(a >= b for a, b in pairwise(times)):
        raise DataError(f"Movement needs two moments or more, oldest first; got {len(times)} moments.")
    return pl.concat(
        moves(earlier, later, names).select(
            pl.lit(before).alias("moment_from"), pl.lit(after).alias("moment_to"), pl.all()
        )
        for (before, earlier), (after, later) in pairwise(moments)
    )
