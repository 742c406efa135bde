# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, datetime
from math import asin, sqrt

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from scipy import stats

from desirepath.profiles.marks import marks
from desirepath.profiles.names import segment_names
from desirepath.profiles.vectors import Block, UserVectors


def vectors(*blocks: Block) -> UserVectors:
    n = blocks[0].values.shape[0]
    users = pl.Series("user_id", [f"u{i:03d}" for i in range(n)])
    return UserVectors(
        as_of=datetime(2025, 1, 1, tzinfo=UTC),
        users=users,
        blocks=blocks,
        table=pl.DataFrame({"user_id": users}),
    )


def test_effects_and_tests_against_scipy():
    rng = np.random.default_rng(1)
    group = rng.integers(0, 3, 120).astype(np.int32)
    number = np.exp(rng.normal(size=(120, 2)) + group[:, None]).astype(np.float32)
    number[::7, 0] = np.nan
    share = rng.dirichlet([1, 2, 3], 120).astype(np.float32)
    held = (rng.random((120, 2)) < 0.3 + 0.2 * group[:, None]).astype(np.float32)
    table = marks(
        vectors(
            Block(name="level", kind="number", columns=("a", "b"), values=number),
            Block(name="action", kind="share", columns=("x", "y", "z"), values=share, evidence=np.ones(120)),
            Block(name="pattern", kind="presence", columns=("p", "q"), values=sp.csr_array(held)),
        ),
        group,
    )
    assert table.height == 3 * 7
    for row in table.iter_rows(named=True):
        mine = group == row["segment"]
        if row["kind"] == "pattern":
            x = held[:, ["p", "q"].index(row["feature"])].astype(float)
            a, b, n, m = x[mine].mean(), x[~mine].mean(), mine.sum(), (~mine).sum()
            chi = stats.chi2_contingency([[a * n, (1 - a) * n], [b * m, (1 - b) * m]], correction=False)
            assert row["p"] == pytest.approx(chi.pvalue, rel=1e-6)  # z squared is chi squared
        else:
            values, name = (number, "ab") if row["kind"] == "level" else (share, "xyz")
            x = values[:, name.index(row["feature"])].astype(float)
            a, b = np.nanmean(x[mine]), np.nanmean(x[~mine])
            y = np.log1p(x) if row["kind"] == "level" else x
            test = stats.ttest_ind(y[mine], y[~mine], equal_var=False, nan_policy="omit")
            assert row["p"] == pytest.approx(float(test.pvalue), rel=1e-5)
        assert row["value"] == pytest.approx(a, rel=1e-5)
        assert row["others"] == pytest.approx(b, rel=1e-5)
        if row["measure"] == "h":
            assert row["effect"] == pytest.approx(2 * asin(sqrt(a)) - 2 * asin(sqrt(b)), abs=1e-5)
            assert row["lift"] == pytest.approx(a / np.nanmean(x), rel=1e-5)
        else:
            u, v = y[mine][np.isfinite(y[mine])], y[~mine][np.isfinite(y[~mine])]
            pooled = sqrt(
                ((len(u) - 1) * u.var(ddof=1) + (len(v) - 1) * v.var(ddof=1)) / (len(u) + len(v) - 2)
            )
            assert row["effect"] == pytest.approx((u.mean() - v.mean()) / pooled, rel=1e-5)
            assert row["lift"] is None
    expected = stats.false_discovery_control(table["p"].to_numpy())
    assert np.allclose(table["q"].to_numpy(), expected)


def test_no_false_marks_among_noise():
    """Groups drawn by lot: after Benjamini-Hochberg hardly anything is left, whatever was looked at."""
    rng = np.random.default_rng(2)
    block = Block(
        name="action", kind="share", columns=tuple("abcdefghij"),
        values=rng.dirichlet(np.ones(10), 500).astype(np.float32), evidence=np.full(500, 9, np.float32),
    )  # fmt: skip
    table = marks(vectors(block), rng.integers(0, 5, 500).astype(np.int32))
    assert table.filter(pl.col("q") < 0.01).is_empty()
    assert segment_names(table, 2) == ("like the average", "like the average (2)")


def test_names_tell_interest_hours_and_actions():
    rows = [
        ("interest:genre", "drama", 0.6, 0.2, 0.9, 2.0),
        ("interest:genre", "war", 0.3, 0.1, 0.55, 2.0),
        ("interest:genre", "comedy", 0.1, 0.5, -0.9, 0.2),
        ("action", "like", 0.4, 0.2, 0.44, 1.7),
        ("level", "n_events", 90.0, 20.0, 0.8, None),
    ]
    table = pl.DataFrame(
        {
            "segment": pl.Series([0] * 5, dtype=pl.Int32),
            "kind": [r[0] for r in rows],
            "feature": [r[1] for r in rows],
            "value": [r[2] for r in rows],
            "others": [r[3] for r in rows],
            "effect": [r[4] for r in rows],
            "lift": [r[5] for r in rows],
            "q": [0.001] * 5,
        }
    )
    hours = pl.DataFrame(
        {
            "segment": pl.Series([0] * 24, dtype=pl.Int32),
            "kind": ["hour"] * 24,
            "feature": [f"hour_{h:02d}" for h in range(24)],
            # Between 22 and 2 o'clock, over midnight.
            "value": [0.2 if h in (22, 23, 0, 1) else 0.01 for h in range(24)],
            "others": [1 / 24] * 24,
            "effect": [0.1] * 24,
            "lift": [1.0] * 24,
            "q": [0.5] * 24,
        }
    )
    assert segment_names(pl.concat([table, hours]), 1) == ("drama & war · 22-02h · heavy users",)
    assert segment_names(table, 1) == ("drama & war · heavy users · like ×1.7",)
    # Three ways to say "much" are one; an action as frequent as elsewhere tells nothing.
    more = table.with_columns(
        kind=pl.Series(["level"] * 2 + ["action"] * 2 + ["level"]),
        feature=pl.Series(["n_events", "session_s_mean", "like", "view", "recency_days"]),
        effect=pl.Series([1.5, 1.2, 0.3, 0.4, 0.9]),
        lift=pl.Series([None, None, 1.6, 1.02, None], dtype=pl.Float64),
    )
    assert segment_names(more, 1) == ("heavy users · like ×1.6 · long sessions",)
