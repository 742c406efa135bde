# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import DataError
from desirepath.sequences import Vocabulary

ids = st.lists(st.text(max_size=25), unique=True, max_size=30)


@settings(max_examples=80, deadline=None)
@given(names=ids, asked=st.lists(st.text(max_size=25), max_size=30), reserved=st.sampled_from([0, 2]))
def test_encoding_equals_a_dict(names, asked, reserved):
    vocabulary = Vocabulary(names, reserved=reserved)
    index = {name: ix for ix, name in enumerate(names, start=reserved)}
    missing = 1 if reserved else -1
    assert vocabulary.encode(names).tolist() == list(index.values())
    assert vocabulary.encode(asked).tolist() == [index.get(name, missing) for name in asked]
    assert vocabulary.decode(vocabulary.encode(names)).to_list() == names
    assert len(vocabulary) == len(names) + reserved
    assert all(vocabulary.index(name) == ix and name in vocabulary for name, ix in index.items())


@settings(max_examples=80, deadline=None)
@given(batches=st.lists(st.lists(st.one_of(st.none(), st.text(max_size=8)), max_size=15), max_size=5))
def test_growing_keeps_every_index(batches):
    vocabulary = Vocabulary([])
    for batch in batches:
        grown = vocabulary.extended(pl.Series(batch, dtype=pl.String))
        assert grown.ids.head(len(vocabulary.ids)).equals(vocabulary.ids)
        vocabulary = grown
    seen = dict.fromkeys(name for batch in batches for name in batch if name is not None)
    assert vocabulary.ids.to_list() == list(seen)


def test_reserved_indexes():
    items = Vocabulary(["a"])
    assert items.decode([0, 1, 2]).to_list() == ["<padding>", "<unknown>", "a"]
    assert items.encode(pl.Series(["a", None, "zzz"])).tolist() == [2, 1, 1]
    assert Vocabulary(["a"], reserved=0).encode(["zzz", "a"]).tolist() == [-1, 0]
    assert items.index("<padding>") is None


def test_ids_must_be_distinct_and_there():
    with pytest.raises(DataError, match="not be null"):
        Vocabulary(pl.Series(["a", None]))
    with pytest.raises(DataError, match="distinct; 1 of 3"):
        Vocabulary(["a", "b", "a"]).encode(["a"])
    with pytest.raises(DataError, match="distinct; 1 of 3"):
        Vocabulary(["a", "b", "a"]).index("a")


def test_equality_is_by_content():
    assert Vocabulary(["a", "b"]) == Vocabulary(pl.Series("other name", ["a", "b"]))
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])
    assert Vocabulary(["a"]) != Vocabulary(["a"], reserved=0)
    assert Vocabulary(["a"]) != "a"


def test_empty_vocabularies():
    assert Vocabulary([]).encode(["a"]).tolist() == [1]
    assert Vocabulary([]).encode([]).dtype == np.int64
    assert Vocabulary([], reserved=0).decode(np.zeros(0, np.int64)).to_list() == []
