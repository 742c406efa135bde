# SPDX-License-Identifier: Apache-2.0
"""Two groups of sequences compared: their transitions, funnels and steps, each row with a test.

Groups are given by the caller, a label a sequence. p is adjusted over the rows of one table (Benjamini and
Hochberg).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import special

from desirepath.errors import ConfigError, ShapeError, TooLittleData
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.kernels import kernel
from desirepath.patterns.paths.funnel import Funnel
from desirepath.patterns.paths.selection import check_ordered, select
from desirepath.patterns.paths.shares import adjusted, check_confidence, difference, share_test
from desirepath.patterns.paths.steps import StepsConfig, step_matrix
from desirepath.patterns.paths.transitions import step_slots

Labels = NDArray[np.bool_] | pl.Series


def compare_funnel(funnel: Funnel, groups: Labels, *, confidence: float = 0.95) -> pl.DataFrame:
    """Each step of a funnel in two groups: does it pass more of the one than of the other?

    One row a step from the second and base ("previous": of those at the step before; "first": of those at the
    first): `step`, `name`, `of`, then the columns of a comparison: `count_a`, `total_a`, `share_a`, the same
    of b, `difference` (a less b) with `low` and `high` (Newcombe), `p` (chi-squared, Fisher where an expected
    count is below 5) and `p_adjusted`. Sequences count as independent; where users have several sessions,
    compare users.

    Args:
        funnel: of all sequences of both groups.
        groups: (S,) booleans (true: a), or labels of two values (a is the first in order); null for neither.
        confidence: of the interval.

    Raises:
        ShapeError: not one label a sequence.
        ConfigError: more than two groups.
        TooLittleData: a group is empty.
    """
    in_a, in_b = _two_groups(groups, funnel.database.n_sequences)
    rows = []
    n_steps = len(funnel.steps)
    reached = [
        [int(np.count_nonzero(funnel.depth[mask] > step)) for step in range(n_steps)] for mask in (in_a, in_b)
    ]
    for step in range(1, n_steps):
        for of, base in (("previous", step - 1), ("first", 0)):
            rows.append(
                (step + 1, funnel.steps[step], of, reached[0][step], reached[0][base],
                 reached[1][step], reached[1][base])
            )  # fmt: skip
    names = ("step", "name", "of", "count_a", "total_a", "count_b", "total_b")
    kinds = [pl.Int64, pl.String, pl.String, *[pl.Int64] * 4]
    table = pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")
    return _tested(table, confidence)


def compare_steps(
    database: SequenceDatabase,
    groups: Labels,
    config: StepsConfig | None = None,
    *,
    confidence: float = 0.95,
) -> pl.DataFrame:
    """Which events stand at each step in one group more than in the other.

    The step matrix of both groups side by side, strongest evidence first: `step`, `symbol` and the columns of
    a comparison, as in `compare_funnel`. `config.top` is applied to all sequences together.
    """
    config = config or StepsConfig()
    in_a, in_b = _two_groups(groups, database.n_sequences)
    named = step_matrix(select(database, in_a | in_b), config).select("step", "symbol")
    wide = StepsConfig(
        n_steps=config.n_steps,
        align=config.align,
        anchor=config.anchor,
        occurrence=config.occurrence,
        n_before=config.n_before,
    )
    table = named
    for mask, name in ((in_a, "a"), (in_b, "b")):
        mine = step_matrix(select(database, mask), wide).select("step", "symbol", "count")
        total = mine.group_by("step").agg(pl.col("count").sum().alias(f"total_{name}"))
        counts = mine.rename({"count": f"count_{name}"})
        table = table.join(counts, on=["step", "symbol"], how="left").join(total, on="step", how="left")
    table = table.with_columns(pl.col("^(count|total)_.$").fill_null(0))
    for name in "ab":
        # What is not named is what the names leave of each step's total.
        rest = pl.col(f"total_{name}") - pl.col(f"count_{name}").sum().over("step")
        is_rest = pl.col("symbol") == "<other>"
        table = table.with_columns(
            pl.when(is_rest).then(rest).otherwise(f"count_{name}").alias(f"count_{name}")
        )
    table = table.select("step", "symbol", "count_a", "total_a", "count_b", "total_b")
    return _tested(table, confidence).sort("p", "step", "symbol", nulls_last=True)


def compare_transitions(
    database: SequenceDatabase, groups: Labels, *, confidence: float = 0.95
) -> pl.DataFrame:
    """After which event one group goes elsewhere than the other.

    One row a pair of events that occurs between events, strongest evidence first: `from`, `to`, `count_a`
    (transitions of this pair), `total_a` (all out of `from`, to "<end>" too), `share_a`, the same of b,
    `difference` with `low` and `high`, `p`, `p_adjusted`.

    Transitions of one sequence hang together, so they are not counted as independent: a share is a ratio of
    two sums over sequences, and its variance that of the linearised ratio (Deng, Knoblich and Lu 2018,
    "Applying the Delta Method in Metric Analytics", eq. 3); the test is a z test. Rows for which fewer than
    20 sequences of a group leave `from` have no p: the approximation needs more.

    Cost: three passes over the events for each group.
    """
    in_a, in_b = _two_groups(groups, database.n_sequences)
    check_ordered(database)
    n = database.n_symbols
    slot, pair = step_slots(database)
    found = {}
    for name, mask in (("a", in_a), ("b", in_b)):
        found[name] = _moments(
            database.offsets, database.symbol_ix, slot, mask, (pair // n).astype(np.int32), n
        )
    left, right = pair // n, pair % n
    words = database.symbols.ids
    columns: dict[str, object] = {"from": words.gather(left), "to": words.gather(right)}
    share, variance, units = {}, {}, {}
    for name, (x, xx, xn, total, squares, leavers) in found.items():
        n_from = total[left]
        with np.errstate(invalid="ignore", divide="ignore"):
            p = x / n_from
            spread = xx - 2 * p * xn + p * p * squares[left]
            correction = leavers[left] / np.maximum(leavers[left] - 1, 1)
            variance[name] = np.maximum(spread, 0) / n_from**2 * correction
        share[name], units[name] = p, leavers[left]
        columns |= {f"count_{name}": x.astype(np.int64), f"total_{name}": n_from.astype(np.int64)}
    gap = share["a"] - share["b"]
    deviation = np.sqrt(variance["a"] + variance["b"])
    enough = (np.minimum(units["a"], units["b"]) >= 20) & (deviation > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(enough, 2 * special.ndtr(-np.abs(gap / deviation)), np.nan)
    z = float(special.ndtri(0.5 + check_confidence(confidence) / 2))
    half = np.where(enough, z * deviation, np.nan)
    table = pl.DataFrame(columns).with_columns(
        share_a=pl.Series(share["a"]),
        share_b=pl.Series(share["b"]),
        difference=pl.Series(gap),
        low=pl.Series(np.maximum(gap - half, -1)),
        high=pl.Series(np.minimum(gap + half, 1)),
        p=pl.Series(p),
        p_adjusted=pl.Series(adjusted(p)),
    )
    return table.with_columns(pl.col(pl.Float64).fill_nan(None)).sort("p", "from", "to", nulls_last=True)


def _two_groups(groups: Labels, n: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    series = pl.Series(groups)
    if len(series) != n:
        raise ShapeError(f"groups must have a label for each of {n} sequences; it has {len(series)}.")
    values = series.drop_nulls().unique().sort(descending=series.dtype == pl.Boolean).to_list()
    if len(values) > 2:
        raise ConfigError(
            f"Two groups can be compared; the labels have {len(values)}, such as {values[:3]}. "
            "Set the labels of all others to null."
        )
    if len(values) < 2:
        raise TooLittleData(
            f"Both groups need sequences; all labels are {values[0] if values else 'null'}. "
            "Choose another rule for the groups."
        )
    a, b = ((series == value).fill_null(False).to_numpy() for value in values)
    return a, b


def _tested(table: pl.DataFrame, confidence: float) -> pl.DataFrame:
    counts = [table[name].to_numpy() for name in ("count_a", "total_a", "count_b", "total_b")]
    gap, low, high = difference(*counts, confidence=confidence)
    p = share_test(*counts)
    return table.with_columns(
        share_a=pl.col("count_a") / pl.col("total_a"),
        share_b=pl.col("count_b") / pl.col("total_b"),
        difference=pl.Series(gap),
        low=pl.Series(low),
        high=pl.Series(high),
        p=pl.Series(p),
        p_adjusted=pl.Series(adjusted(p)),
    ).with_columns(pl.col(pl.Float64).fill_nan(None))


@kernel
def _moments(
    offsets: NDArray[np.int64],
    symbol: NDArray[np.int32],
    slot: NDArray[np.int32],
    mask: NDArray[np.bool_],
    origin: NDArray[np.int32],
    n_symbols: int,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int64],
]:
    """Sums over the chosen sequences: of each pair x, x^2 and x n; of each symbol n, n^2 and sequences.

    x is how often a sequence makes the transition, n how often it leaves the symbol.
    """
    n_pairs = len(origin)
    x, xx, xn = np.zeros(n_pairs), np.zeros(n_pairs), np.zeros(n_pairs)
    total, squares, leavers = np.zeros(n_symbols), np.zeros(n_symbols), np.zeros(n_symbols, np.int64)
    mine, leaves = np.zeros(n_pairs), np.zeros(n_symbols)
    for s in range(len(mask)):
        if not mask[s]:
            continue
        for i in range(offsets[s], offsets[s + 1]):
            leaves[symbol[i]] += 1
            if slot[i] >= 0:
                mine[slot[i]] += 1
        # What was counted is emptied as it is summed, so that each is summed once.
        for i in range(offsets[s], offsets[s + 1]):
            pair = slot[i]
            if pair >= 0 and mine[pair] > 0:
                x[pair] += mine[pair]
                xx[pair] += mine[pair] * mine[pair]
                xn[pair] += mine[pair] * leaves[origin[pair]]
                mine[pair] = 0
        for i in range(offsets[s], offsets[s + 1]):
            n = leaves[symbol[i]]
            if n > 0:
                total[symbol[i]] += n
                squares[symbol[i]] += n * n
                leavers[symbol[i]] += 1
                leaves[symbol[i]] = 0
    return x, xx, xn, total, squares, leavers
