# SPDX-License-Identifier: Apache-2.0
"""What a table says of items must survive what is said later of others, whatever shapes it has."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from desirepath.live.catalogue import Catalogue
from desirepath.sequences import Vocabulary

MOMENT = datetime(2024, 1, 1, tzinfo=UTC)


def catalogue() -> Catalogue:
    table = pl.DataFrame(
        {
            "item_id": ["a", "b"],
            "categories": ["x|y", "z"],
            "created_at": [MOMENT, None],
            "is_hidden": [False, True],
        }
    )
    return Catalogue(Vocabulary(["a", "b"]), table)


def test_the_table_says_what_is_hidden():
    assert catalogue().hidden.tolist() == [True, True, False, True]


def test_a_new_item_leaves_the_others_as_they_were():
    items = catalogue()
    items.put("n", {"categories": ["x"], "created_at": "2024-05-01T12:00:00.5Z"}, is_hidden=False)
    table = items.policy_view().table
    assert table["categories"].to_list()[2:] == [["x", "y"], ["z"], ["x"]]
    assert table["created_at"].to_list()[2:] == [
        MOMENT,
        None,
        datetime(2024, 5, 1, 12, 0, 0, 500_000, tzinfo=UTC),
    ]


def test_values_of_unlike_shapes_become_text():
    items = catalogue()
    for name, value in (("m", {"deep": 1}), ("n", ["listed"]), ("o", 3), ("p", "word")):
        items.put(name, {"extra": value}, is_hidden=False)
    table = items.policy_view().table
    assert table["extra"].to_list()[4:] == ['{"deep": 1}', '["listed"]', "3", "word"]
    assert table["categories"].to_list()[2] == ["x", "y"]
