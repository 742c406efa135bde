# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import oracle
import pytest
import spmf

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.frequent import MiningConfig, least_count, mine


def as_dict(patterns) -> dict[tuple[str, ...], int]:
    names = [tuple(one) for one in patterns.names().to_list()]
    assert len(set(names)) == len(names)
    return dict(zip(names, patterns.support.tolist(), strict=True))


def small_logs(n: int):
    """Logs that differ in everything: sequences, symbols, lengths, repetition."""
    rng = np.random.default_rng(7)
    for _ in range(n):
        names = "abcdefgh"[: rng.integers(1, 9)]
        n_sequences, longest = rng.integers(1, 8), rng.integers(1, 7)
        yield (
            [
                [names[i] for i in rng.integers(0, len(names), rng.integers(0, longest + 1))]
                for _ in range(n_sequences)
            ]
            + [[names[0]]],
            int(rng.integers(1, n_sequences + 1)),
            int(rng.integers(1, 4)),
            int(rng.integers(-1, 4)),
        )


@pytest.mark.parametrize("n", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_small_logs_by_brute_force(n):
    for sequences, min_count, min_length, more in small_logs(n):
        max_length = min_length + max(0, more) if more else 0
        database = SequenceDatabase.from_lists(sequences)
        expected = oracle.frequent(sequences, min_count, max_length)
        for kind, chosen in (
            ("frequent", dict), ("closed", oracle.closed), ("maximal", oracle.maximal),
        ):  # fmt: skip
            filtered = chosen(expected)
            found = mine(
                database,
                MiningConfig(
                    min_support=min_count, kind=kind, min_length=min_length, max_length=max_length, threads=1
                ),
            )
            wanted = {pattern: n for pattern, n in filtered.items() if len(pattern) >= min_length}
            assert as_dict(found) == wanted
            assert found.is_complete
            top = mine(
                database,
                MiningConfig(
                    min_support=min_count, kind=kind, min_length=min_length, max_length=max_length, top_k=5,
                    threads=1,
                ),
            )  # fmt: skip
            assert as_dict(top).items() <= wanted.items()
            assert sorted(top.support) == sorted(sorted(wanted.values())[-5:])


def test_many_symbols_and_long_sequences():
    """The wide search, and sequences too long for a frame: planted pairs in noise, counted plainly."""
    rng = np.random.default_rng(3)
    flat = rng.zipf(1.3, 30_000) % 700
    sequences = [list(map(str, one)) for one in np.split(flat, np.sort(rng.integers(0, 30_000, 90)))]
    found = as_dict(mine(SequenceDatabase.from_lists(sequences), MiningConfig(min_support=40, max_length=2)))
    assert found == oracle.frequent([*sequences], 40, 2)


def test_threads_agree():
    rng = np.random.default_rng(5)
    sequences = [list(map(str, rng.zipf(1.5, 30) % 40)) for _ in range(300)]
    database = SequenceDatabase.from_lists(sequences)
    one = mine(database, MiningConfig(min_support=60, threads=1))
    three = mine(database, MiningConfig(min_support=60, threads=3))
    assert len(one) > 1000
    for name in ("parent", "symbol", "support"):
        assert np.array_equal(getattr(one.tree, name), getattr(three.tree, name))
    for k in (10, 100, 1000):  # the last needs more than one pass
        top = mine(database, MiningConfig(min_support=2, top_k=k, threads=3))
        assert top.support.tolist() == one.top(k).support.tolist()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "min_support", "count"),
    [
        ("BMS1_spmf", 0.001, 3991),
        ("BMS1_spmf", 0.0008, 10286),
        ("SIGN", 0.1, 110417),
        ("SIGN", 0.2, 9718),
        ("SIGN", 0.3, 1928),
        ("LEVIATHAN", 0.02, 33387),
        ("LEVIATHAN", 0.05, 3698),
        ("FIFA", 0.1, 40642),
    ],
)
def test_counts_that_other_miners_agree_on(shared_data, name, min_support, count):
    database = spmf.read(shared_data / "spmf-sequences" / f"{name}.txt")
    assert len(mine(database, MiningConfig(min_support=min_support))) == count


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "min_support", "n_closed", "n_maximal"),
    [("LEVIATHAN", 0.02, 32655, 17124), ("SIGN", 0.1, 109743, 31311)],
)
def test_closed_and_maximal_counts(shared_data, name, min_support, n_closed, n_maximal):
    database = spmf.read(shared_data / "spmf-sequences" / f"{name}.txt")
    assert len(mine(database, MiningConfig(min_support=min_support, kind="closed"))) == n_closed
    assert len(mine(database, MiningConfig(min_support=min_support, kind="maximal"))) == n_maximal


def explosive() -> SequenceDatabase:
    """Thirty symbols in the same order in each sequence: 2^30 frequent patterns."""
    return SequenceDatabase.from_lists([[f"s{i}" for i in range(30)]] * 3)


def test_budgets_end_with_what_was_found():
    found = mine(explosive(), MiningConfig(min_support=2, max_patterns=1000))
    assert len(found) == 1000
    assert "max_patterns = 1,000: raise min_support, set max_length" in found.stopped_by
    assert found.to_frame()["is_partial"].all()
    short = mine(explosive(), MiningConfig(min_support=2, max_seconds=0.2, max_patterns=10**9))
    assert "max_seconds = 0.2" in short.stopped_by
    assert len(short) > 0
    small = mine(explosive(), MiningConfig(min_support=2, max_memory_mib=2))
    assert "max_memory_mib = 2" in small.stopped_by
    assert len(small) > 1000
    assert (small.support == 3).all()


@pytest.mark.parametrize("wrong", [0, 0.0, 1.5, -1, True, float("nan")])
def test_support_must_be_a_share_or_a_count(wrong):
    with pytest.raises(ConfigError, match="min_support must be"):
        MiningConfig(min_support=wrong)


def test_wrong_use_is_said():
    database = SequenceDatabase.from_lists([["a", "b"], ["a"]])
    with pytest.raises(TooLittleData, match="number of sequences, 2; got 3"):
        mine(database, MiningConfig(min_support=3))
    with pytest.raises(DataError, match="at least one event"):
        mine(SequenceDatabase.from_lists([[], []]))
    with pytest.raises(ConfigError, match="Did you mean 'closed'"):
        MiningConfig(kind="close")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least min_length, 3; got 2"):
        MiningConfig(min_length=3, max_length=2)
    with pytest.raises(ConfigError, match="max_patterns must be 1 or more; got 0"):
        MiningConfig(max_patterns=0)


def test_share_rounds_up():
    assert least_count(0.001, 59601) == 60
    assert least_count(0.29, 100) == 29  # 0.29 * 100 is 28.999999999999996
    assert least_count(0.07, 100) == 7  # 0.07 * 100 is 7.000000000000001
    assert least_count(1e-9, 10) == 1
    assert least_count(1.0, 10) == 10
    assert len(mine(SequenceDatabase.from_lists([["a"], ["a"], ["b"]]), MiningConfig(min_support=0.5))) == 1
