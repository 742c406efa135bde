# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from test_transitions import random_world

from desirepath.errors import ConfigError
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.paths import (
    END,
    MORE,
    OTHER,
    START,
    StepsConfig,
    TreeConfig,
    path_tree,
    sankey,
    step_matrix,
    top_paths,
)

CONFIGS = [
    StepsConfig(n_steps=5),
    StepsConfig(n_steps=5, align="end"),
    StepsConfig(n_steps=3, n_before=2, align="anchor", anchor=("b",)),
    StepsConfig(n_steps=3, n_before=2, align="anchor", anchor=("b", "c"), occurrence="last"),
]


def shown(one, config):
    """What stands at each shown step of one sequence, or None if it has no anchor."""
    if config.align == "start":
        zero = -1
    elif config.align == "end":
        zero = len(one)
    else:
        places = [i for i, name in enumerate(one) if name in config.anchor]
        if not places:
            return None
        zero = places[0] if config.occurrence == "first" else places[-1]
    rows = [zero + step for step in config.numbers.tolist()]
    return [START if i < 0 else END if i >= len(one) else one[i] for i in rows]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.align + c.occurrence)
def test_step_matrix_is_that_of_a_plain_count(config):
    lists, _, world = random_world(11)
    table = step_matrix(world, config)
    rows = [row for one in lists if (row := shown(one, config)) is not None]
    for place, step in enumerate(config.numbers.tolist()):
        mine = table.filter(step=step)
        assert dict(mine.select("symbol", "count").rows()) == dict(Counter(row[place] for row in rows))
        assert mine["share"].sum() == pytest.approx(1)
        assert mine["count"].sum() == len(rows)


def test_unnamed_events_are_other():
    lists, _, world = random_world(12)
    table = step_matrix(world, StepsConfig(n_steps=4, top=2))
    for step in range(1, 5):
        mine = table.filter(step=step)
        counts = Counter(one[step - 1] for one in lists if len(one) >= step)
        assert mine["count"].sum() == len(lists)
        best = sorted(counts.values(), reverse=True)
        assert mine["count"].head(2).to_list() == best[:2]
        assert mine.filter(symbol=OTHER)["count"].sum() == sum(best[2:])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.align + c.occurrence)
@pytest.mark.parametrize("top", [1, 2, 99])
def test_links_reconcile(config, top):
    lists, _, world = random_world(13)
    config = StepsConfig(
        **{name: getattr(config, name) for name in ("n_steps", "align", "anchor", "occurrence", "n_before")},
        top=top,
    )
    links = sankey(world, config)
    rows = [row for one in lists if (row := shown(one, config)) is not None]

    def total(*conditions):
        return links.filter(*conditions)["count"].sum()

    assert total(pl.col("source").is_in([START, MORE])) == len(rows)
    assert total(pl.col("target").is_in([END, MORE])) == len(rows)
    assert links["share"].sum() == pytest.approx(links["count"].sum() / len(rows))
    for place, step in enumerate(config.numbers.tolist()):
        into = total(pl.col("step") == step - 1, ~pl.col("target").is_in([START, END]))
        out = total(pl.col("step") == step, ~pl.col("source").is_in([START, END]))
        assert into == out == sum(row[place] not in (START, END) for row in rows)
    if top == 99 and config.align == "start":
        second = Counter((row[0], row[1]) for row in rows if row[0] != END)
        named = links.filter(step=1).select("source", "target", "count").rows()
        assert {(a, b): n for a, b, n in named} == dict(second)


def test_tree_accounts_for_every_sequence():
    lists, _, world = random_world(14, n=300)
    config = TreeConfig(n_steps=3, top=2)
    tree = path_tree(world, config)
    assert tree["count"][0] == len(lists)
    for row in tree.iter_rows(named=True):
        below = tree.filter(parent=row["node"])
        if row["symbol"] == OTHER:
            assert below.is_empty()
            assert row["ended"] is None
            continue
        path = row["path"]
        mine = [one for one in lists if one[: len(path)] == path]
        assert row["count"] == len(mine)
        if row["step"] == config.n_steps:
            assert row["ended"] is None
            continue
        assert row["ended"] == sum(len(one) == len(path) for one in mine)
        assert row["count"] == row["ended"] + below["count"].sum()
        assert below.filter(pl.col("symbol") != OTHER).height <= config.top
        assert below["share_of_parent"].to_list() == pytest.approx((below["count"] / row["count"]).to_list())


def test_rare_branches_are_other():
    world = SequenceDatabase.from_lists([["a"]] * 8 + [["b"], ["c"]])
    tree = path_tree(world, TreeConfig(min_share=0.2))
    assert tree.select("symbol", "count").rows() == [(None, 10), ("a", 8), (OTHER, 2)]


def test_top_paths_are_those_of_a_plain_count():
    lists, _, world = random_world(15, n=400, names="ab", longest=5)
    counts = Counter(map(tuple, lists))
    table = top_paths(world, k=4)
    assert table["count"].sum() == len(lists)
    assert table["variants"].sum() == len(counts)
    assert table["count"].head(4).to_list() == [n for _, n in counts.most_common(4)]
    for path, count in table.head(4).select("path", "count").rows():
        assert counts[tuple(path)] == count
    assert table["path"].to_list()[-1] == [OTHER]
    every = top_paths(world, k=1000)
    assert {tuple(path): n for path, n in every.select("path", "count").rows()} == dict(counts)


def test_paths_that_go_on_are_not_those_that_end():
    world = SequenceDatabase.from_lists([["a", "b"], ["a", "b", "c"], ["a", "b", "a"], []])
    table = top_paths(world, n_steps=2)
    assert table.select("path", "count", "n_events", "median_s").rows() == [
        (["a", "b", MORE], 2, 2, 1.0),
        (["a", "b"], 1, 2, 1.0),
        ([], 1, 0, 0.0),
    ]


def test_options_are_checked():
    for wrong in (
        lambda: StepsConfig(n_steps=0),
        lambda: StepsConfig(align="anchor"),
        lambda: StepsConfig(anchor=("a",)),
        lambda: StepsConfig(top=0),
        lambda: TreeConfig(top=0),
        lambda: TreeConfig(min_share=2),
        lambda: top_paths(SequenceDatabase.from_lists([["a"]]), k=0),
    ):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(ConfigError, match="never does"):
        step_matrix(SequenceDatabase.from_lists([["a"]]), StepsConfig(align="anchor", anchor=("z",)))
