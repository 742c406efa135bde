# SPDX-License-Identifier: Apache-2.0
"""Figures of beginnings, loops and waiting times: what they sum, what they drop, what they say."""

from __future__ import annotations

import itertools
import random

import numpy as np
import polars as pl
import pytest

from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.paths import (
    END,
    OTHER,
    TreeConfig,
    gap_counts,
    gap_summary,
    loops,
    path_tree,
    time_between,
)
from desirepath.report import loops_figure, tree_figure, waits_figure
from desirepath.report.labels import Labels
from desirepath.report.loops import loops_reading, most_looped
from desirepath.report.tree import readable, tree_cells, tree_reading
from desirepath.report.waits import wait_bars, waits_reading


@pytest.fixture(scope="module")
def world() -> SequenceDatabase:
    draw = random.Random(8)
    lists = [draw.choices("abcdefgh", weights=range(1, 9), k=draw.randint(0, 9)) for _ in range(600)]
    times = [np.cumsum([draw.expovariate(1e-3) for _ in one]).tolist() for one in lists]
    return SequenceDatabase.from_lists(lists, time_s=times)


@pytest.mark.parametrize("min_share", [0.0, 0.02, 0.5])
def test_cells_after_a_cell_add_up_to_it(world, min_share):
    tree = path_tree(world, TreeConfig(n_steps=4, top=4))
    cells = readable(tree, min_share)
    assert cells.filter(pl.col("parent").is_null())["count"].to_list() == [world.n_sequences]
    assert cells["node"].is_unique().all()
    sums = cells.group_by("parent").agg(pl.col("count").sum().alias("below"))
    judged = cells.join(sums, left_on="node", right_on="parent").select("count", "below")
    assert (judged["count"] == judged["below"]).all()
    # Only ends, the rest and the last step have nothing below them.
    last = cells.join(sums, left_on="node", right_on="parent", how="anti")
    assert last.filter(~pl.col("symbol").is_in([END, OTHER]) & (pl.col("step") < 4)).is_empty()
    named = cells.filter(pl.col("parent").is_not_null() & ~pl.col("symbol").is_in([END, OTHER]))
    assert (named["count"] >= min_share * world.n_sequences).all()


def test_ends_in_the_tree_are_the_sequences_of_each_length(world):
    """Where nothing is left out, those that end after n events are the sequences of n events."""
    cells = readable(path_tree(world, TreeConfig(n_steps=4, top=99)), 0.0)
    lengths = np.bincount(np.diff(world.offsets), minlength=4)
    ends = cells.filter(pl.col("symbol") == END).group_by("step").agg(pl.col("count").sum()).sort("step")
    assert dict(ends.iter_rows()) == {n + 1: int(lengths[n]) for n in range(4)}


def test_tree_says_the_commonest_way():
    world = SequenceDatabase.from_lists([["a", "b"], ["a", "b"], ["a"], ["c"]])
    cells = readable(path_tree(world))
    assert tree_reading(cells, Labels({"a": "Apples"}), "session").startswith(
        "Of 4 sessions, 75% begin with Apples, and of those 67% go on to b; 50% end after one event."
    )
    drawn = tree_cells(cells, Labels(), "session").data[0]
    assert drawn.labels[0] == "4 sessions"
    assert sum(v for v, p in zip(drawn.values, drawn.parents, strict=True) if p == "0") == 4
    alone = path_tree(SequenceDatabase.from_lists([[str(i)] for i in range(300)]), TreeConfig(top=2))
    assert "Call events by something coarser" in tree_reading(readable(alone), Labels())


def test_loops_are_drawn_most_common_first(world):
    table = loops(world)
    figure = loops_figure(table)
    most = most_looped(table, 3)
    shares = table.group_by("symbol").agg(pl.col("sequence_share").max())
    assert shares.filter(pl.col("symbol").is_in(most))["sequence_share"].min() == pytest.approx(
        shares["sequence_share"].sort(descending=True)[2]
    )
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [len(bar.x) for bar in bars] == [
        table.filter(pl.col("kind") == k).height for k in ("repeat", "cycle")
    ]
    assert max(max(bar.x) for bar in bars) == pytest.approx(table["sequence_share"].max())


def test_loops_say_who_and_how_soon():
    world = SequenceDatabase.from_lists([["a", "a", "b", "a"], ["b"]], time_s=[[0, 60, 90, 120], [0]])
    assert loops_reading(loops(world), Labels(), "session") == (
        "50% of sessions do a again at once, 1.0 min later (median); "
        "50% of sessions come back to a after something else, 1.0 min later (median)."
    )


def test_bars_of_waiting_hold_all_who_wait(world):
    gaps = time_between(world, "g", "h")
    bounds = [1.0, 10.0, 300.0, 1000.0, 5000.0]
    table = gap_counts(gaps, "g", "h", bounds)
    met = gaps["gap_s"].drop_nulls().to_numpy()
    edges = [-np.inf, *bounds, np.inf]
    by_hand = [int(np.count_nonzero((met > a) & (met <= b))) for a, b in itertools.pairwise(edges)]
    assert table["starts"].to_list() == [*by_hand, gaps["gap_s"].null_count()]
    assert table["share"].sum() == pytest.approx(1)
    summary = gap_summary(gaps).row(0, named=True)
    assert table["starts"][:-1].sum() == summary["met"]
    bars = waits_figure(table).data[0]
    assert sum(bars.y) == pytest.approx(1)
    assert bars.x[-1] == "not seen"


def test_spans_that_nobody_took_are_left_out_at_the_ends():
    gaps = pl.DataFrame({"gap_s": [30.0, 2000.0, None, None]})
    bars = wait_bars(gap_counts(gaps, "a", "b"), Labels()).data[0]
    assert list(bars.x) == ["10 s–1 min", "1–5 min", "5–15 min", "15 min–1 h", "not seen"]
    assert list(bars.y) == [0.25, 0.0, 0.0, 0.25, 0.5]
    said = waits_reading(gap_counts(gaps, "a", "b"), Labels({"b": "Bread"}))
    assert said == "Of 4 starts with a, 50% are followed by Bread, half of them within 1 min."
    nobody = gap_counts(gaps.filter(pl.col("gap_s").is_null()), "a", "b")
    assert list(waits_figure(nobody).data[0].x) == ["not seen"]


def test_several_pairs_share_their_spans():
    two = pl.concat(
        [
            gap_counts(pl.DataFrame({"gap_s": [30.0, None]}), "a", "b"),
            gap_counts(pl.DataFrame({"gap_s": [4.0, 9000.0]}), "b", "c"),
        ]
    )
    figure = waits_figure(two)
    assert [sum(trace.y) for trace in figure.data] == pytest.approx([1, 1])
    spans = list(figure.layout.xaxis.categoryarray)
    assert (spans[0], spans[-2:]) == ("up to 10 s", ["1–6 h", "not seen"])
    assert set(spans) == {name for trace in figure.data for name in trace.x}
    assert "from one step to the next" in figure.layout.title.text


def test_tree_figure_is_titled(world):
    assert "How paths begin" in tree_figure(path_tree(world)).layout.title.text
