# SPDX-License-Identifier: Apache-2.0
"""What the simulated marketplace planted, found again: patterns by contrast, with the very counts."""

from __future__ import annotations

import polars as pl
import pytest

from desirepath.events import read_events
from desirepath.flows.ingestion import to_sequences
from desirepath.patterns.contrast import ContrastConfig, contrast
from desirepath.patterns.database import SymbolConfig, sequence_database
from desirepath.patterns.frequent import MiningConfig
from desirepath.simulate import simulate, tiny


@pytest.fixture(scope="module")
def market():
    return simulate(tiny())


def test_planted_patterns_stand_on_top(market):
    sequences = to_sequences(read_events(market.events))
    database = sequence_database(sequences, SymbolConfig(by=("action", "item")))
    group = pl.when("buyer").then(pl.lit("buyer")).otherwise(pl.lit("leaver"))
    users = dict(market.truth.table("users").select("user_id", group).iter_rows())
    table = contrast(
        database,
        users,
        ContrastConfig(mining=MiningConfig(min_support=0.05, min_length=3, max_length=4), order_by="lift"),
    )
    assert len(table) >= 6
    for planted in market.truth.facts["patterns"]:
        steps = zip(planted["actions"], planted["items"], strict=True)
        names = [f"{action}:{item}" for action, item in steps]
        row = table.filter(pl.col("pattern").list.join(" ") == " ".join(names)).row(0, named=True)
        found = {row["class"]: row["support"]}
        found["leaver" if row["class"] == "buyer" else "buyer"] = row["support_rest"]
        assert found == {"buyer": planted["support_buyers"], "leaver": planted["support_leavers"]}
        same = table.filter(pl.col("class") == row["class"])
        rank = int((same["lift"] > row["lift"] + 1e-12).sum())
        if planted["buyers"] == planted["leavers"]:
            assert row["q"] > 0.05, "what is planted in everybody marks nobody"
        else:
            assert row["q"] < 1e-6
            assert rank < 12, planted["name"]
