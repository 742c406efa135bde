# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError
from desirepath.patterns.database import SequenceDatabase, SymbolConfig, sequence_database
from desirepath.patterns.found import Patterns, PrefixTree
from desirepath.sequences import Vocabulary
from worlds import packed


def spelled(database: SequenceDatabase) -> list[list[str]]:
    words = database.symbols.decode(database.symbol_ix).to_list()
    ends = database.offsets.tolist()
    return [words[a:b] for a, b in itertools.pairwise(ends)]


def world():
    return packed(
        np.array([[0, 1, 1, 2], [2, 0, 0, 1]]),
        3,
        time_NL=np.array([[0.0, 10.0, 10.0, 5000.0], [0.0, 0.0, 1.0, 2.0]]),
        action_NL=np.array([[0, 1, 0, 0], [0, 0, 1, 1]]),
        actions=("view", "buy"),
    )


def test_names_come_from_items_actions_and_attributes():
    items = pl.DataFrame({"item_id": ["0", "2"], "kind": ["shoe", "hat"]})
    assert spelled(sequence_database(world())) == [["0", "1", "1", "2"], ["2", "0", "0", "1"]]
    joined = sequence_database(world(), SymbolConfig(by=("action", "kind")), items)
    assert spelled(joined) == [
        ["view:shoe", "buy:<none>", "view:<none>", "view:hat"],
        ["view:hat", "view:shoe", "buy:shoe", "buy:<none>"],
    ]


def test_sessions_repeats_and_instants():
    per = sequence_database(world(), SymbolConfig(per="session"))
    assert spelled(per) == [["0", "1", "1"], ["2"], ["2", "0", "0", "1"]]
    assert per.user_ix.tolist() == [0, 0, 1]
    once = sequence_database(world(), SymbolConfig(collapse_repeats=True))
    assert spelled(once) == [["0", "1", "2"], ["2", "0", "1"]]
    assert once.row.tolist() == [0, 1, 3, 4, 5, 7]
    sets = sequence_database(world(), SymbolConfig(simultaneous=True))
    assert spelled(sets) == [["0", "1", "2"], ["0", "2", "0", "1"]]
    assert sets.element.tolist() == [0, 1, 2, 0, 0, 1, 2]


def test_only_some_actions():
    assert spelled(sequence_database(world(), SymbolConfig(actions=("buy",)))) == [["1"], ["0", "1"]]
    with pytest.raises(ConfigError, match="Did you mean 'buy'"):
        sequence_database(world(), SymbolConfig(actions=("buyy",)))
    with pytest.raises(ConfigError, match="got 'colour'"):
        sequence_database(world(), SymbolConfig(by=("colour",)))


def test_patterns_are_a_table():
    tree = PrefixTree(
        parent=np.array([-1, 0, -1], np.int32),
        symbol=np.array([0, 1, 1], np.int32),
        support=np.array([3, 2, 2], np.int32),
        joined=np.array([False, True, False]),
    )
    frame = Patterns(tree, symbols=Vocabulary(["a", "b"], reserved=0), n_sequences=4, min_count=2).to_frame()
    assert frame["pattern"].to_list() == [["a"], ["a + b"], ["b"]]
    assert frame["share"].to_list() == [0.75, 0.5, 0.5]
