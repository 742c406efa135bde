# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

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
from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.database import SequenceDatabase, SymbolConfig, sequence_database
from desirepath.patterns.frequent import MiningConfig, mine
from desirepath.patterns.partitions import mine_partitioned, user_ranges
from desirepath.sequences import Sequences
from worlds import cycle, packed


def test_parts_agree_with_every_match_listed():
    """Parts of unlike size and unlike symbols, some empty, shares and counts, closed and constrained."""
    n = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        sets = bool(rng.integers(2))
        logs = [
            random_log(rng, sets=sets, n_symbols=int(rng.integers(2, 5))) for _ in range(rng.integers(1, 4))
        ]
        logs[0] = [[]] if seed % 5 == 0 else logs[0]
        log = [sequence for part in logs for sequence in part]
        if not any(log):
            continue
        names = sorted({name for sequence in log for element, _ in sequence for name in element})
        limits = random_constraints(rng, names) if rng.random() < 0.6 else ConstraintConfig()
        share = float(rng.choice([0.2, 0.3, 0.5]))
        count = int(np.ceil(share * len(log) - 1e-9))
        asked = {
            "kind": ["frequent", "closed", "maximal"][rng.integers(3)],
            "min_length": int(rng.integers(1, 3)),
            "max_length": int(rng.integers(2, 5)),
        }
        config = MiningConfig(min_support=share if seed % 2 else count, threads=1, **asked)
        parts = [as_database(part) if seed % 3 else lambda part=part: as_database(part) for part in logs]
        expected = constrained_patterns(log, count, limits, **asked)
        assert spelled(mine_partitioned(parts, config, limits)) == expected, seed
        n += len(expected)
    assert n > 300


def world() -> Sequences:
    rng = np.random.default_rng(3)
    return packed(rng.integers(0, 5, (60, 8)), 5, time_NL=np.cumsum(rng.integers(0, 4000, (60, 8)), axis=1))


def test_ranges_of_users_make_up_the_whole(tmp_path):
    sequences = world()
    sequences.save(tmp_path / "log")
    symbols = SymbolConfig(per="session", simultaneous=True)
    whole = sequence_database(sequences, symbols)
    ranges = user_ranges(tmp_path / "log", 4, symbols)
    pieces = [piece() for piece in ranges]
    assert len(pieces) == 4
    assert np.concatenate([piece.row for piece in pieces]).tolist() == whole.row.tolist()
    assert sum(piece.n_sequences for piece in pieces) == whole.n_sequences
    owners = [name for piece in pieces for name in piece.users.decode(piece.user_ix).to_list()]
    assert owners == whole.users.decode(whole.user_ix).to_list()
    config = MiningConfig(min_support=0.05, threads=1)
    assert spelled(mine_partitioned(ranges, config)) == spelled(mine(whole, config))


@pytest.mark.slow
def test_processes_find_the_same():
    ranges = user_ranges(cycle(), 2)
    config = MiningConfig(min_support=0.1, max_length=3, threads=1)
    assert spelled(mine_partitioned(ranges, config, processes=2)) == spelled(mine_partitioned(ranges, config))


def test_wrong_use_and_budgets_are_told():
    log = SequenceDatabase.from_lists([["a", "b", "c", "d"]] * 3)
    with pytest.raises(ConfigError, match="parts and processes"):
        mine_partitioned([])
    with pytest.raises(TooLittleData, match="no part holds any"):
        mine_partitioned([SequenceDatabase.from_lists([[]])])
    with pytest.raises(TooLittleData, match="at most the number of sequences, 6"):
        mine_partitioned([log, log], MiningConfig(min_support=7))
    with pytest.raises(DataError, match="must be or load"):
        mine_partitioned([lambda: 3])
    with pytest.raises(ConfigError, match="contains must name"):
        mine_partitioned([log], MiningConfig(), ConstraintConfig(contains=("z",)))
    near = ConstraintConfig(max_gap=3)
    found = mine_partitioned([log, log], MiningConfig(min_support=2, max_patterns=5), near)
    assert "part 0: stopped by max_patterns" in found.stopped_by
    assert set(found.support.tolist()) == {6}


@pytest.mark.data
@pytest.mark.parametrize(("name", "share", "n"), [("SIGN", 0.2, 9718), ("LEVIATHAN", 0.05, 3698)])
def test_real_parts_give_the_published_counts(shared_data, name, share, n):
    log = read_spmf(shared_data / "spmf-sequences" / f"{name}.txt")
    thirds = np.linspace(0, log.n_sequences, 4).astype(int)
    parts = []
    for a, b in itertools.pairwise(thirds.tolist()):
        first, last = log.offsets[a], log.offsets[b]
        parts.append(
            SequenceDatabase(
                offsets=log.offsets[a : b + 1] - first,
                symbol_ix=log.symbol_ix[first:last],
                time_s=log.time_s[first:last],
                symbols=log.symbols,
                user_ix=log.user_ix[a:b],
                users=log.users,
                row=log.row[first:last],
            )
        )
    config = MiningConfig(min_support=share)
    found = mine_partitioned(parts, config)
    assert len(found) == n
    assert spelled(found) == spelled(mine(log, config))
