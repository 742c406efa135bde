# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from constraint_oracle import (
    as_database,
    constrained_patterns,
    random_constraints,
    random_log,
    read_spmf,
    spelled,
)

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.patterns.constrained import mine_constrained
from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.frequent import MiningConfig, mine


@pytest.mark.parametrize("block", range(4))
def test_random_logs_agree_with_every_match_listed(block):
    """1,000 small logs: gaps, spans, first, last and held symbols, sets, closed and maximal, two threads."""
    answers = 0
    for seed in range(250 * block, 250 * (block + 1)):
        rng = np.random.default_rng(seed)
        log = random_log(rng, sets=bool(rng.integers(2)))
        if not any(log):
            continue
        database = as_database(log)
        names = database.symbols.ids.to_list()
        limits = random_constraints(rng, names) if rng.random() < 0.9 else ConstraintConfig()
        asked = {
            "kind": ["frequent", "closed", "maximal"][rng.integers(3)],
            "min_length": int(rng.integers(1, 3)),
            "max_length": int(rng.integers(2, 7)),
        }
        count = min(len(log), int(rng.integers(1, 4)))
        config = MiningConfig(min_support=count, threads=int(rng.integers(1, 3)), **asked)
        expected = constrained_patterns(log, count, limits, **asked)
        assert spelled(mine_constrained(database, config, limits)) == expected, (seed, limits)
        answers += len(expected)
    assert answers > 1000


def test_top_k_is_the_head_of_the_whole():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        log = [sequence for _ in range(4) for sequence in random_log(rng, sets=bool(seed % 2))]
        limits = ConstraintConfig(max_gap=2, no_repeats=bool(seed % 3))
        whole = mine_constrained(as_database(log), MiningConfig(min_support=1, max_length=4), limits)
        top = mine_constrained(as_database(log), MiningConfig(min_support=1, max_length=4, top_k=9), limits)
        assert top.support.tolist() == whole.top(9).support.tolist()
        assert top.length.tolist() == whole.top(9).length.tolist()
        known = spelled(whole)
        assert all(known[pattern] == support for pattern, support in spelled(top).items())


def test_a_gap_of_one_means_next_to_each_other():
    log = SequenceDatabase.from_lists([["a", "b", "c"], ["a", "c", "b"]])
    config = MiningConfig(min_support=1, min_length=2)
    found = mine(log, config, ConstraintConfig(max_gap=1)).to_frame()
    assert {tuple(pattern) for pattern in found["pattern"].to_list()} == {
        ("a", "b"), ("b", "c"), ("a", "b", "c"), ("a", "c"), ("c", "b"), ("a", "c", "b"),
    }  # fmt: skip
    apart = mine(log, config, ConstraintConfig(min_gap=2)).to_frame()
    assert {tuple(pattern) for pattern in apart["pattern"].to_list()} == {("a", "c"), ("a", "b")}


def test_a_later_start_saves_a_span():
    """The first a is too long ago for the b, the second is not."""
    log = SequenceDatabase.from_lists([["a", "c", "a", "b"]], time_s=[[0, 10, 20, 21]])
    found = mine(log, MiningConfig(min_support=1), ConstraintConfig(max_span_s=1.0))
    assert spelled(found)[("a",), ("b",)] == 1
    assert (("c",), ("a",)) not in spelled(found)


def test_a_closed_pattern_in_a_row_is_not_hidden_by_a_scattered_one():
    """All who did a, b, c in a row did not do a, c in a row: both supports are news."""
    log = SequenceDatabase.from_lists([["a", "b", "c"], ["a", "c"]])
    row = mine(log, MiningConfig(min_support=1, kind="closed"), ConstraintConfig(max_gap=1))
    assert spelled(row) == {(("a",), ("b",), ("c",)): 1, (("a",), ("c",)): 1, (("a",),): 2, (("c",),): 2}


def test_simultaneous_events_are_sets():
    log = SequenceDatabase.from_lists([[{"a", "b"}, "c"], ["a", "b", "c"]])
    found = mine(log, MiningConfig(min_support=1))
    assert found.to_frame().filter(found.to_frame()["pattern"].list.len() == 1)["pattern"].to_list() == [
        ["a"], ["b"], ["c"], ["a + b"],
    ]  # fmt: skip
    assert spelled(found)[("a", "b"), ("c",)] == 1
    assert spelled(found)[("a",), ("c",)] == 2


def test_budgets_keep_what_was_found_and_say_so():
    rng = np.random.default_rng(0)
    log = SequenceDatabase.from_lists([[str(i) for i in rng.integers(0, 6, 40)] for _ in range(30)])
    limits = ConstraintConfig(max_gap=4)
    whole = spelled(mine(log, MiningConfig(min_support=3, max_length=4, threads=1), limits))
    for budget in (
        {"max_patterns": 50},
        {"max_memory_mib": 1, "max_length": 0, "min_support": 1},
        {"max_seconds": 0.05, "max_length": 0, "min_support": 1, "max_memory_mib": 100_000},
    ):
        config = MiningConfig(**{"min_support": 3, "max_length": 4, "threads": 2, **budget})
        found = mine(log, config, limits)
        assert not found.is_complete
        assert next(iter(budget)) in found.stopped_by
        assert found.to_frame()["is_partial"].all()
        assert len(found) > 0
        if "max_patterns" in budget:
            assert len(found) == 50
            assert spelled(found).items() <= whole.items()


def test_wrong_use_is_told():
    log = SequenceDatabase.from_lists([["shoes", "hat"]])
    with pytest.raises(ConfigError, match="Did you mean 'shoes'"):
        mine(log, MiningConfig(min_support=1), ConstraintConfig(starts_with=("shoe",)))
    with pytest.raises(ConfigError, match="at least min_gap"):
        ConstraintConfig(min_gap=3, max_gap=2)
    with pytest.raises(ConfigError, match="tuple of names"):
        ConstraintConfig(contains="shoes")
    for wrong in (
        {"min_gap": 0},
        {"min_gap_s": -1.0},
        {"max_gap_s": -1.0},
        {"max_span": 0},
        {"max_span_s": -1},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ConstraintConfig(**wrong)
    with pytest.raises(TooLittleData, match="min_support"):
        mine(log, MiningConfig(min_support=5), ConstraintConfig(max_gap=1))
    with pytest.raises(DataError, match="at least one event"):
        mine(SequenceDatabase.from_lists([[]]), MiningConfig(), ConstraintConfig(max_gap=1))


@pytest.mark.data
def test_the_published_count_with_a_largest_gap(shared_data):
    log = read_spmf(shared_data / "spmf-sequences" / "LEVIATHAN.txt")
    assert len(mine(log, MiningConfig(min_support=0.02), ConstraintConfig(max_gap=3))) == 559
