# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from importlib import import_module

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.paths import (
    END,
    START,
    between,
    gap_summary,
    loops,
    medians,
    select,
    time_between,
    transitions,
    with_ends,
)
from desirepath.patterns.paths.numbering import number_codes


def random_world(seed, n=80, names="abcde", longest=9):
    rng = np.random.default_rng(seed)
    lists = [rng.choice(list(names), rng.integers(0, longest)).tolist() for _ in range(n)]
    times = [np.cumsum(rng.exponential(50, len(one)).round(3)).tolist() for one in lists]
    return lists, times, SequenceDatabase.from_lists(lists, time_s=times)


def plain_transitions(lists, times):
    count, inside, gaps = Counter(), defaultdict(set), defaultdict(list)
    for s, (one, when) in enumerate(zip(lists, times, strict=True)):
        for i, pair in enumerate(itertools.pairwise([START, *one, END])):
            count[pair] += 1
            inside[pair].add(s)
            if 0 < i < len(one):
                gaps[pair].append(when[i] - when[i - 1])
    return count, inside, gaps


@pytest.mark.parametrize("many", [False, True])
def test_transitions_are_those_of_a_plain_count(many, monkeypatch):
    """Few symbols and many symbols take different ways to the same table."""
    if many:
        # By its name in sys.modules: the package has a function of the same name.
        monkeypatch.setattr(import_module("desirepath.patterns.paths.transitions"), "DENSE_CELLS", 0)
        monkeypatch.setattr(medians, "MOST_CELLS", 0)
    lists, times, world = random_world(1)
    table = transitions(world)
    count, inside, gaps = plain_transitions(lists, times)
    assert {row[:2]: row[2] for row in table.select("from", "to", "count").rows()} == dict(count)
    for row in table.iter_rows(named=True):
        pair = (row["from"], row["to"])
        assert row["sequences"] == len(inside[pair])
        leaving = sum(n for (left, _), n in count.items() if left == pair[0])
        assert row["probability"] == pytest.approx(count[pair] / leaving)
        assert (row["median_s"] is None) == (START in pair or END in pair)
        if row["median_s"] is not None:
            assert row["median_s"] == pytest.approx(statistics.median(gaps[pair]))
            assert row["mean_s"] == pytest.approx(statistics.fmean(gaps[pair]))


def test_totals_reconcile():
    _, _, world = random_world(2)
    table = transitions(world)
    assert table["count"].sum() == world.n_events + world.n_sequences
    assert table["share"].sum() == pytest.approx(1)
    out = dict(table.group_by("from").agg(pl.col("count").sum()).rows())
    into = dict(table.group_by("to").agg(pl.col("count").sum()).rows())
    assert out.pop(START) == into.pop(END) == world.n_sequences
    occurs = Counter(world.symbols.decode(world.symbol_ix).to_list())
    assert out == into == dict(occurs)
    assert table.group_by("from").agg(pl.col("probability").sum())["probability"].to_list() == pytest.approx(
        [1.0] * (len(out) + 1)
    )
    assert table.filter(pl.col("from") == START, pl.col("to") == END)["count"].item() == np.count_nonzero(
        np.diff(world.offsets) == 0
    )


@given(
    groups=st.lists(st.tuples(st.integers(-1, 3), st.sampled_from([0.0, 1e-9, 0.5, 1.0, 1.01, 7.0, 1e12]))),
    many=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_medians_are_exact(groups, many):
    group = np.array([g for g, _ in groups], np.int32)
    value = np.array([v for _, v in groups], np.float64)
    with pytest.MonkeyPatch.context() as patch:
        if many:
            patch.setattr(medians, "MOST_CELLS", 0)
        found = medians.group_medians(group, value, 4)
    for g in range(4):
        mine = value[group == g]
        np.testing.assert_equal(found[g], np.median(mine) if len(mine) else np.nan)


def test_numbers_are_dense_and_in_order():
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 50_000, 40_000) * 977
    codes[codes < 0] = -1
    number, distinct = number_codes(codes)
    known = codes >= 0
    assert (number[~known] == -1).all()
    np.testing.assert_array_equal(distinct[number[known]], codes[known])
    assert len(distinct) == len(np.unique(codes[known]))
    first_seen = np.unique(number[known], return_index=True)[1]
    assert (np.diff(first_seen) > 0).all()


# Part of a database --------------------------------------------------------------------------------


def words(database):
    names = database.symbols.decode(database.symbol_ix).to_list()
    return [names[a:z] for a, z in itertools.pairwise(database.offsets.tolist())]


def test_ends_are_the_only_condition():
    lists, _, world = random_world(3)
    assert words(with_ends(world, start="a", end=("b", "c"))) == [
        one for one in lists if one and one[0] == "a" and one[-1] in "bc"
    ]
    assert words(with_ends(world, end="b")) == [one for one in lists if one and one[-1] == "b"]
    assert with_ends(world).n_sequences == world.n_sequences


def test_between_cuts_from_start_to_the_next_end():
    lists, times, world = random_world(4)
    expected, users, when = [], [], []
    for s, one in enumerate(lists):
        if "a" not in one:
            continue
        i = one.index("a")
        if "b" in one[i + 1 :]:
            z = one.index("b", i + 1) + 1
            expected.append(one[i:z])
            when.append(times[s][i:z])
            users.append(s)
    part = between(world, "a", "b")
    assert words(part) == expected
    assert part.user_ix.tolist() == users
    assert part.time_s.tolist() == [t for one in when for t in one]
    np.testing.assert_array_equal(world.time_s[part.row], part.time_s)
    assert words(between(world, start="a")) == [one[one.index("a") :] for one in lists if "a" in one]
    assert words(between(world, end="a")) == [one[: one.index("a") + 1] for one in lists if "a" in one]


def test_selection_is_checked():
    _, _, world = random_world(5)
    with pytest.raises(ShapeError, match="booleans"):
        select(world, np.ones(3, bool))
    with pytest.raises(ConfigError, match="never does"):
        with_ends(world, start="zz")
    with pytest.raises(DataError, match="holds none"):
        transitions(select(world, np.zeros(world.n_sequences, bool)))


# Loops and waits -----------------------------------------------------------------------------------


def plain_loops(lists, times):
    found = defaultdict(list)
    for s, (one, when) in enumerate(zip(lists, times, strict=True)):
        i = 0
        while i < len(one):
            z = i
            while z + 1 < len(one) and one[z + 1] == one[i]:
                z += 1
            if z > i:
                found[one[i], "repeat"].append((s, z - i, when[z] - when[i]))
            if one[i] in one[z + 1 :]:
                back = one.index(one[i], z + 1)
                found[one[i], "cycle"].append((s, back - z, when[back] - when[z]))
            i = z + 1
    return found


def test_loops_are_those_of_a_plain_count():
    lists, times, world = random_world(6, names="abc")
    table, expected = loops(world), plain_loops(lists, times)
    assert {row[:2] for row in table.select("symbol", "kind").rows()} == set(expected)
    for row in table.iter_rows(named=True):
        mine = expected[row["symbol"], row["kind"]]
        assert row["count"] == len(mine)
        assert row["sequences"] == len({s for s, _, _ in mine})
        assert row["events"] == sum(n for _, n, _ in mine)
        assert row["longest"] == max(n for _, n, _ in mine)
        assert row["median_s"] == pytest.approx(statistics.median(t for _, _, t in mine))
        assert row["mean_s"] == pytest.approx(statistics.fmean(t for _, _, t in mine))
    again = transitions(world).filter(pl.col("from") == pl.col("to"))["count"].sum()
    assert table.filter(kind="repeat")["events"].sum() == again


@pytest.mark.parametrize("which", ["nearest", "first", "every"])
@pytest.mark.parametrize(("start", "end"), [("a", "b"), ("a", "a"), (("a", "b"), ("b", "c"))])
def test_waits_are_those_of_a_plain_search(which, start, end):
    lists, times, world = random_world(7, names="abc")
    expected = []
    for s, one in enumerate(lists):
        waits = {}
        for i, name in enumerate(one):
            if name not in start:
                continue
            z = next((j for j in range(i + 1, len(one)) if one[j] in end), None)
            if which == "first":
                waits.setdefault(z, i)
            elif which == "nearest":
                waits[z] = i
            else:
                waits[i, z] = i
        for key, i in sorted(waits.items(), key=lambda item: item[1]):
            z = key[1] if isinstance(key, tuple) else key
            expected.append((s, None, None) if z is None else (s, z - i, times[s][z] - times[s][i]))
    found = time_between(world, start, end, which=which)
    assert found["steps"].to_list() == [steps for _, steps, _ in expected]
    assert found["sequence"].to_list() == [s for s, _, _ in expected]
    assert [g for g in found["gap_s"] if g is not None] == pytest.approx(
        [g for _, _, g in expected if g is not None]
    )


def test_waits_in_one_row():
    world = SequenceDatabase.from_lists([["a", "b"], ["a", "c", "b"], ["a"]])
    row = gap_summary(time_between(world, "a", "b")).row(0, named=True)
    assert (row["starts"], row["met"], row["mean_s"], row["q50_s"]) == (3, 2, 1.5, 1.5)
    none = gap_summary(time_between(world, "b", "a"))
    assert none.select("starts", "met", "q50_s").rows() == [(2, 0, None)]
    with pytest.raises(ConfigError, match="which"):
        time_between(world, "a", "b", which="last")
