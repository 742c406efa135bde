# SPDX-License-Identifier: Apache-2.0
"""What sets each segment apart from all others, with effect sizes and corrected tests.

It reads blocks of user vectors and the segment of each user. Names and reports are made from its
table; it finds no segments itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from desirepath.profiles.vectors import Block, UserVectors

Array = NDArray[np.float64]

MARKS = {
    "segment": pl.Int32,
    "kind": pl.String,
    "feature": pl.String,
    "value": pl.Float64,
    "overall": pl.Float64,
    "others": pl.Float64,
    "lift": pl.Float64,
    "effect": pl.Float64,
    "measure": pl.String,
    "p": pl.Float64,
    "q": pl.Float64,
}
"""Columns of the table of marks."""


def marks(vectors: UserVectors, group: NDArray[np.int32]) -> pl.DataFrame:
    """One row a segment and feature, the strongest effects of each segment first.

    `value` is the segment's mean (of a number or a share) or the share of its users who have a
    presence; `overall` that of all users, `others` that of those outside the segment; `lift` =
    value / overall, null for numbers. `effect` is against the others: for shares and presences
    Cohen's h = 2 asin sqrt(value) - 2 asin sqrt(others) (measure "h"), for numbers the difference of
    means of ln(1 + x) over the pooled standard deviation (measure "d"). p is that of Welch's t for
    shares and numbers and of the two-proportion z test for presences, q its Benjamini-Hochberg value over
    the whole table. Segments were found in the same features, so p and q say which differences are
    beyond sampling noise, not that segments exist; that is what stability is for.

    Shapes: group (U,) with -1 for users in no segment, who count among the others.
    Cost: one pass over each block.
    Source: Cohen, Statistical Power Analysis (1988), chapters 2 and 6; Benjamini and Hochberg, JRSS B
    57 (1995).
    """
    n_groups = int(group.max(initial=-1)) + 1
    if n_groups == 0:
        return pl.DataFrame(schema=MARKS)
    tables = [_block_marks(block, group, n_groups) for block in vectors.blocks if block.kind != "vector"]
    table = pl.concat([t for t in tables if t.height], how="vertical")
    p = table.get_column("p").to_numpy()
    known = np.isfinite(p)
    q = np.full(len(p), np.nan)
    if known.any():
        from scipy.stats import false_discovery_control  # half a second, which few commands need

        q[known] = false_discovery_control(p[known], method="bh")
    return (
        table.with_columns(pl.Series("q", q).fill_nan(None), pl.col("p").fill_nan(None))
        .sort("segment", pl.col("effect").abs(), "kind", "feature", descending=[False, True, False, False])
        .cast(MARKS)  # type: ignore[arg-type]
        .select(*MARKS)
    )


def _block_marks(block: Block, group: NDArray[np.int32], n_groups: int) -> pl.DataFrame:
    inside = np.zeros((n_groups, len(group)), np.float64)
    members = group >= 0
    inside[group[members], np.flatnonzero(members)] = 1.0
    if block.kind == "presence":
        found = _presence(sp.csr_array(block.values), inside)
    else:
        x = np.asarray(block.values, np.float64)
        if block.kind == "share":
            assert block.evidence is not None
            x = np.where((block.evidence > 0)[:, None], x, np.nan)
        found = _means(x, inside, is_share=block.kind == "share")
    n_features = len(block.columns)
    return pl.DataFrame(
        {
            "segment": np.repeat(np.arange(n_groups, dtype=np.int32), n_features),
            "kind": [block.name] * (n_groups * n_features),
            "feature": list(block.columns) * n_groups,
            **{name: np.asarray(values, np.float64).ravel() for name, values in found.items()},
        }
    ).with_columns(
        pl.lit("d" if block.kind == "number" else "h").alias("measure"), pl.col("lift").fill_nan(None)
    )


def _presence(x: sp.csr_array, inside: Array) -> dict[str, Any]:
    n_in = inside.sum(axis=1)[:, None]
    n_all = x.shape[0]
    held = np.asarray(x.T @ inside.T).T
    total = np.asarray(x.sum(axis=0), np.float64).ravel()[None, :]
    n_out = np.maximum(n_all - n_in, 1)
    value, others, overall = held / np.maximum(n_in, 1), (total - held) / n_out, total / n_all
    spread = np.sqrt(overall * (1 - overall) * (1 / np.maximum(n_in, 1) + 1 / n_out))
    z = np.divide(value - others, spread, out=np.zeros_like(value), where=spread > 0)
    return _told(value, overall, others) | {"p": np.where(n_all > n_in, 2 * ndtr(-np.abs(z)), np.nan)}


def _means(x: Array, inside: Array, is_share: bool) -> dict[str, Any]:
    known = np.isfinite(x)
    filled = np.where(known, x, 0.0)
    n, n_all = inside @ known, known.sum(axis=0)[None, :]
    sums, total = inside @ filled, filled.sum(axis=0)[None, :]
    value, overall = sums / np.maximum(n, 1), np.broadcast_to(total / np.maximum(n_all, 1), n.shape)
    n_out = n_all - n
    others = (total - sums) / np.maximum(n_out, 1)
    # Numbers are compared as logarithms, in which counts are closer to even.
    y = filled if is_share else np.sign(filled) * np.log1p(np.abs(filled))
    s1, s2 = inside @ y, inside @ (y * y)
    r1, r2 = y.sum(axis=0)[None, :] - s1, (y * y).sum(axis=0)[None, :] - s2
    v_in, v_out = _variance(s1, s2, n), _variance(r1, r2, n_out)
    gap = s1 / np.maximum(n, 1) - r1 / np.maximum(n_out, 1)
    e_in, e_out = v_in / np.maximum(n, 1), v_out / np.maximum(n_out, 1)
    error = np.sqrt(e_in + e_out)
    t = np.divide(gap, error, out=np.zeros_like(gap), where=error > 0)
    free = np.divide(
        (e_in + e_out) ** 2,
        e_in**2 / np.maximum(n - 1, 1) + e_out**2 / np.maximum(n_out - 1, 1),
        out=np.ones_like(gap),
        where=error > 0,
    )
    p = np.where((n > 1) & (n_out > 1), 2 * stdtr(free, -np.abs(t)), np.nan)
    told = _told(value, overall, others)
    if not is_share:
        pooled = np.sqrt(((n - 1) * v_in + (n_out - 1) * v_out) / np.maximum(n + n_out - 2, 1))
        told["effect"] = np.divide(gap, pooled, out=np.zeros_like(gap), where=pooled > 0)
        told["lift"] = np.full_like(gap, np.nan)
    return told | {"p": p}


def _variance(s1: Array, s2: Array, n: Array) -> Array:
    spread: Array = np.maximum(s2 - s1**2 / np.maximum(n, 1), 0) / np.maximum(n - 1, 1)
    return spread


def _told(value: Array, overall: Array, others: Array) -> dict[str, Any]:
    h = 2 * np.arcsin(np.sqrt(np.clip(value, 0, 1))) - 2 * np.arcsin(np.sqrt(np.clip(others, 0, 1)))
    lift = np.divide(value, overall, out=np.full_like(value, np.nan), where=overall > 0)
    return {
        "value": value,
        "overall": np.broadcast_to(overall, value.shape),
        "others": others,
        "lift": lift,
        "effect": h,
    }
