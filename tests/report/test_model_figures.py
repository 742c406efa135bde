# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from desirepath.evaluation.calibration import ece, reliability
from desirepath.report import ReportData
from desirepath.report.caution import cautions
from desirepath.report.comparison import (
    comparison_reading,
    dots_and_intervals,
    headline_of,
    headline_rows,
    overlaps,
    ranked,
    twins,
)
from desirepath.report.learning import best_epoch, learning_reading, loss_curve
from desirepath.report.model_part import metrics_table
from desirepath.report.overview import overview
from desirepath.report.reliability import calibration_error, reliability_plot, reliability_reading


def row(
    model: str, value: float, half: float | None = 0.01, metric: str = "ndcg@10", **more: Any
) -> dict[str, Any]:
    low, high = (None, None) if half is None else (value - half, value + half)
    return {"model": model, "metric": metric, "value": value, "low": low, "high": high, **more}


ROWS = [
    row("popularity", 0.10),
    row("sasrec", 0.20, 0.03),
    row("markov", 0.18),
    row("sasrec", 0.04, metric="ece"),
    row("markov", 0.02, metric="ece"),
    row("markov", 0.9, metric="coverage@10", half=None),
]


def test_models_stand_in_order_with_their_intervals() -> None:
    figure = dots_and_intervals(ROWS, "ndcg@10")
    trace = figure.data[0]
    assert list(trace.y) == ["sasrec", "markov", "popularity"]
    assert list(trace.x) == [0.20, 0.18, 0.10]
    assert list(trace.error_x.array) == pytest.approx([0.03, 0.01, 0.01])
    assert list(trace.error_x.arrayminus) == pytest.approx([0.03, 0.01, 0.01])
    assert [r["model"] for r in ranked(ROWS, "ece")] == ["markov", "sasrec"]


def test_the_reading_does_not_boast() -> None:
    assert "their intervals overlap" in comparison_reading(ROWS, "ndcg@10")
    apart = [row("a", 0.5), row("b", 0.1)]
    assert "do not overlap" in comparison_reading(apart, "ndcg@10")
    assert "may be chance" in comparison_reading([row("a", 0.5, None), row("b", 0.1)], "ndcg@10")
    assert "nothing stands beside" in comparison_reading(apart[:1], "ndcg@10")
    assert overlaps(row("a", 0.5, 0.1), row("b", 0.35, 0.1))
    assert not overlaps(row("a", 0.5, 0.1), row("b", 0.1, 0.1))


def test_the_table_has_the_best_in_bold_where_there_is_a_contest() -> None:
    table = metrics_table(ROWS, "ndcg@10", "P.")
    assert list(table.head) == ["model", "ndcg@10", "ece", "coverage@10"]
    assert [cells[0] for cells in table.rows] == ["sasrec", "markov", "popularity"]
    assert table.rows[0][1] == "0.2000\n[0.1700, 0.2300]"
    assert table.rows[2][2] == "–"
    assert table.rows[1][3] == "0.9000"
    assert table.strong == {(0, 1), (1, 2)}
    assert "Lower is better for ece" in table.reading


def test_metrics_that_say_the_same_stand_once() -> None:
    doubled = [*ROWS, *({**r, "metric": "gain@10"} for r in ROWS if r["metric"] == "ndcg@10")]
    assert twins(doubled) == {"gain@10": "ndcg@10"}
    assert len(dots_and_intervals(doubled, "ndcg@10").data) == 1
    table = metrics_table(doubled, "ndcg@10", "P.")
    assert "gain@10" not in table.head
    assert "gain@10 is the same as ndcg@10 here." in table.reading
    # The headline stays, whatever its twin came before.
    assert metrics_table(doubled, "gain@10", "P.").head[1] == "gain@10"
    assert not twins([*doubled, row("x", 0.3, metric="gain@10")])


def test_what_could_not_be_computed_is_left_out() -> None:
    mixed = [*ROWS, row("x", float("nan")), {**row("y", 0.1), "value": None}]
    assert headline_rows(mixed) == ROWS


def test_slices_do_not_rank_models() -> None:
    mixed = [*ROWS, row("popularity", 0.9, slice="cold"), row("x", 0.5, slice="all")]
    assert {r["model"] for r in headline_rows(mixed)} == {"popularity", "sasrec", "markov", "x"}
    assert ranked(headline_rows(mixed), "ndcg@10")[0]["model"] == "x"
    assert headline_of(ROWS, "ece") == "ece"
    assert headline_of(ROWS, "absent") == "ndcg@10"


def test_the_loss_curve_marks_the_best_epoch() -> None:
    epochs = [
        {"epoch": e, "loss": 5.0 - e, "ndcg": n, "seconds": 2.0}
        for e, n in enumerate([None, 0.1, 0.3, 0.3, 0.2], 1)
    ]
    best = best_epoch(epochs)
    assert best is not None
    assert best["epoch"] == 3
    figure = loss_curve(epochs)
    assert list(figure.data[1].x) == [2, 3, 4, 5]
    assert list(figure.data[2].x) == [3]
    assert learning_reading(epochs) == (
        "In 5 epochs the loss went from 4.000 to 0.000; "
        "validation NDCG was best at epoch 3 (0.3000); it took 10 s."
    )
    assert "longer training" in learning_reading(epochs[:3])
    assert len(loss_curve([{"epoch": 1, "loss": 2.0}]).data) == 1


def test_reliability_agrees_with_the_evaluation() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(5000) ** 2
    y = rng.random(5000) < p * 0.7
    bins = reliability(p, y)
    assert calibration_error(bins) == pytest.approx(ece(p, y))
    assert "too sure" in reliability_reading(bins)
    figure = reliability_plot(bins)
    assert list(figure.data[1].x) == bins["stated"].to_list()
    fair = pl.DataFrame({"n": [5, 5], "stated": [0.2, 0.4], "observed": [0.2, 0.4]})
    assert "no lean" in reliability_reading(fair)


def events(n_users: int, per_user: int, actions: int = 2, days: int = 60) -> pl.LazyFrame:
    rng = np.random.default_rng(0)
    n = n_users * per_user
    start = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    return pl.LazyFrame(
        {
            "user_id": np.repeat(np.arange(n_users), per_user).astype(str),
            "item_id": rng.integers(0, 50, n).astype(str),
            "action": rng.integers(0, actions, n).astype(str),
            "time": pl.Series(start + rng.integers(0, days * 86_400, n) * 1_000_000).cast(
                pl.Datetime("us", "UTC")
            ),
        }
    )


def told(log: pl.LazyFrame, **more: Any) -> str:
    return "\n".join(cautions(ReportData(events=log, **more), overview(log)))


def test_a_sound_log_has_no_caution() -> None:
    assert told(events(1200, 5)) == ""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (events(30, 5), "Only 30 users"),
        (events(1200, 2), "A user has 2.0 events"),
        (events(1200, 5, actions=1), "of one kind"),
        (events(1200, 5, days=5), "fewer than two weeks"),
        (events(1200, 150), "return to an item"),
        (events(1200, 5).with_columns(pl.col("time").dt.truncate("1d")), "whole days"),
        (events(1200, 5).with_columns(pl.int_range(pl.len()).cast(pl.String).alias("item_id")), "too rare"),
    ],
)
def test_what_a_log_cannot_support_is_said(log: pl.LazyFrame, words: str) -> None:
    assert words in told(log)


def test_what_models_cannot_claim_is_said() -> None:
    log = events(1200, 5)
    assert "No popularity row" in told(log, evaluation={"rows": [row("sasrec", 0.2)]})
    assert "a rule that learns nothing" in told(
        log, evaluation={"rows": [row("sasrec", 0.1), row("popularity", 0.2)]}
    )
    close = {"rows": [row("sasrec", 0.2, 0.05), row("popularity", 0.15, 0.05)]}
    assert "may be chance" in told(log, evaluation=close)
    half = pl.DataFrame({"n": [10_000], "stated": [0.01], "observed": [0.005]})
    assert "miss by 0.5 percentage points on average, where 0.5% came true" in told(log, calibration=half)
    fair = pl.DataFrame({"n": [10_000], "stated": [0.0052], "observed": [0.005]})
    assert told(log, calibration=fair) == ""
    bad = pl.DataFrame({"n": [10], "stated": [0.9], "observed": [0.2]})
    assert "miss by 70 percentage points" in told(log, calibration=bad)
    lists = pl.DataFrame({"user_id": ["0"], "item_id": ["1"], "probability": [0.5]})
    assert "not checked" in told(log, recommendations=lists)
    assert told(log, warnings=["Mine."], understanding={"notes": ["Read."]}) == "Mine.\nRead."
