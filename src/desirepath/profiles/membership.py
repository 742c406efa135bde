# SPDX-License-Identifier: Apache-2.0
"""Why a user is in a segment: the marks of the segment that the user shares.

It compares one user's own numbers with the table of marks. The portrait shows it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from desirepath.errors import DataError
from desirepath.profiles.names import MAX_Q
from desirepath.profiles.vectors import Beside, UserVectors, user_vectors
from desirepath.schema import USER

if TYPE_CHECKING:
    from desirepath.profiles.portrait import PortraitConfig, Sources


def membership(
    user_id: str,
    own: pl.DataFrame,
    as_of: datetime,
    sources: Sources,
    config: PortraitConfig,
) -> dict[str, Any] | None:
    """segment, name, confidence and why (kind, feature, own, value, others, effect), or None.

    A user who came after the segments were found is assigned by the same rule; where that needs
    patterns or embeddings that are not here, the answer is None. A mark is shared when the user's own
    number is nearer the segment's than the others' (numbers as logarithms).
    """
    segments = sources.segments
    if segments is None:
        return None
    like: dict[str, tuple[str, ...]] = {
        kind: tuple(sorted(rows.get_column("feature").unique().to_list()))
        for (kind,), rows in segments.marks.group_by("kind")
    } | dict(segments.columns)
    users = None if sources.users is None else sources.users.lazy().filter(pl.col(USER) == user_id)
    vectors = user_vectors(own, as_of, config.vectors, Beside(items=sources.items, users=users), like)
    row = segments.members.filter(pl.col(USER) == user_id)
    if row.is_empty():
        try:
            row = segments.assign(vectors)
        except DataError:
            return None
    number = int(row.item(0, "segment"))
    marks = segments.marks.filter((pl.col("segment") == number) & (pl.col("q") < MAX_Q))
    return {
        "segment": number,
        "name": segments.names.get(number, str(number)),
        "confidence": float(row.item(0, "confidence")),
        "why": _shared(marks, vectors).head(config.k),
    }


def _shared(marks: pl.DataFrame, vectors: UserVectors) -> pl.DataFrame:
    mine = pl.concat(
        pl.DataFrame(
            {
                "kind": [block.name] * len(block.columns),
                "feature": list(block.columns),
                "own": _row(block.values),
            }
        )
        for block in vectors.blocks
    )
    number = pl.col("measure") == "d"
    logs = [pl.when(number).then(pl.col(c).log1p()).otherwise(pl.col(c)) for c in ("own", "value", "others")]
    nearer = (logs[0] - logs[1]).abs() < (logs[0] - logs[2]).abs()
    return (
        marks.join(mine, on=["kind", "feature"], maintain_order="left")
        .filter(nearer)
        .select("kind", "feature", "own", "value", "others", "effect")
    )


def _row(values: Any) -> Any:
    dense = values[[0]].toarray() if hasattr(values, "toarray") else np.asarray(values[:1])
    return dense.ravel().astype(np.float64)
