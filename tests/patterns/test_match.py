# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from constraint_oracle import as_database, matches, random_constraints, random_log, read_spmf

from desirepath.errors import ConfigError
from desirepath.patterns.constrained import mine_constrained
from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.database import SequenceDatabase, SymbolConfig, sequence_database
from desirepath.patterns.frequent import MiningConfig, mine
from desirepath.patterns.match import match
from desirepath.patterns.matrix import exact_supports, pattern_matrix
from worlds import packed


def in_turn(ways):
    """First the match that is over first, its steps as late as can be; then the same after it."""
    free, taken = 0, []
    while True:
        left = [way for way in ways if way[0] >= free]
        if not left:
            return taken
        taken.append(min(left, key=lambda way: (way[-1], *(-place for place in way[::-1]))))
        free = taken[-1][-1] + 1


def test_matches_and_matrix_agree_with_every_match_listed():
    n = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        log = random_log(rng, sets=bool(rng.integers(2)))
        if not any(log):
            continue
        database = as_database(log)
        limits = random_constraints(rng, database.symbols.ids.to_list())
        limits = replace(limits, starts_with=(), ends_with=(), contains=(), no_repeats=False)
        limits = ConstraintConfig() if rng.random() < 0.2 else limits
        found = mine_constrained(database, MiningConfig(min_support=1, max_length=4), limits)
        held = pattern_matrix(database, found, limits, threads=int(rng.integers(1, 3)))
        assert np.asarray(held.sum(axis=0)).ravel().tolist() == found.support.tolist(), seed
        assert exact_supports(database, found.tree, limits).tolist() == found.tree.support.tolist()
        times = pattern_matrix(database, found, limits, values="times").toarray()
        listed = [list(matches(sequence, limits)) for sequence in log]
        names = found.names().to_list()
        for j in rng.choice(len(found), min(len(found), 3), replace=False):
            pattern = tuple(tuple(element.split(" + ")) for element in names[j])
            expected = [in_turn([way for p, way in ways if p == pattern]) for ways in listed]
            assert times[:, j].tolist() == [len(taken) for taken in expected]
            table = match(database, names[j], limits, every=True)
            assert table["sequence"].to_list() == [s for s, taken in enumerate(expected) for _ in taken]
            assert table["match"].to_list() == [i for taken in expected for i in range(len(taken))]
            for (s, places, rows, steps), way in zip(
                table.select("sequence", "positions", "rows", "step_s").rows(),
                [way for taken in expected for way in taken],
                strict=True,
            ):
                at = np.array(rows) - database.offsets[s]
                assert at.tolist() == places
                element = at if database.element is None else database.element[rows]
                assert list(dict.fromkeys(element.tolist())) == way
                assert steps == np.diff(database.time_s[rows]).tolist()
            first = match(database, names[j], limits)
            assert first["positions"].to_list() == table.filter(table["match"] == 0)["positions"].to_list()
            n += len(table)
    assert n > 500


def test_the_way_back_to_people_and_rows():
    world = packed(
        np.array([[0, 1, 2], [2, 0, 1]]), 3, time_NL=np.array([[0.0, 60.0, 90.0], [5.0, 10.0, 250.0]])
    )
    database = sequence_database(world, SymbolConfig())
    table = match(database, ["0", "1"])
    assert table.columns == [
        "user_id", "sequence", "match", "positions", "rows", "times", "step_s", "duration_s",
    ]  # fmt: skip
    assert table["user_id"].to_list() == ["u0", "u1"]
    assert table["rows"].to_list() == [[0, 1], [4, 5]]
    assert table["times"][1].to_list() == [
        datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 4, 10, tzinfo=UTC),
    ]
    assert table["step_s"].to_list() == [[60.0], [240.0]]
    assert match(database, ["0"])["step_s"].to_list() == [[], []]
    both = match(database, mine(database, MiningConfig(min_support=2, min_length=2)))
    assert both["pattern"].to_list() == [["0", "1"], ["0", "1"]]
    assert match(database, ["1", "0"]).is_empty()
    assert match(database, ["1", "0"]).schema == table.schema


def test_rows_by_user_and_lists_of_names():
    world = packed(
        np.array([[0, 1, 0, 1], [1, 1, 1, 0]]), 3, time_NL=np.array([[0.0, 1, 9000, 9001], [0, 1, 2, 3]])
    )
    sessions = sequence_database(world, SymbolConfig(per="session"))
    patterns = [["0", "1"], ["1"], ["1", "0"]]
    assert pattern_matrix(sessions, patterns).toarray().tolist() == [[1, 1, 0], [1, 1, 0], [0, 1, 1]]
    by_user = pattern_matrix(sessions, patterns, rows="user")
    assert by_user.toarray().tolist() == [[1, 1, 0], [0, 1, 1]]
    often = pattern_matrix(sessions, patterns, rows="user", values="times")
    assert often.toarray().tolist() == [[2, 2, 0], [0, 3, 1]]


def test_wrong_use_is_told():
    log = SequenceDatabase.from_lists([["shoes", "hat"]])
    with pytest.raises(ConfigError, match="Did you mean 'shoes'"):
        match(log, ["shoe"])
    with pytest.raises(ConfigError, match="got the text"):
        match(log, "shoes")
    with pytest.raises(ConfigError, match="one name or more"):
        match(log, [])
    with pytest.raises(ConfigError, match="rows must be"):
        pattern_matrix(log, [["hat"]], rows="people")


@pytest.mark.data
def test_column_sums_are_supports_on_real_text(shared_data):
    log = read_spmf(shared_data / "spmf-sequences" / "LEVIATHAN.txt")
    found = mine(log, MiningConfig(min_support=0.05))
    held = pattern_matrix(log, found)
    assert held.shape == (log.n_sequences, 3698)
    assert np.asarray(held.sum(axis=0)).ravel().astype(int).tolist() == found.support.tolist()
