# SPDX-License-Identifier: Apache-2.0
"""Groups by an action: what is counted came before it."""

from __future__ import annotations

import numpy as np
import pytest

from desirepath.flows.groups import groups_of
from desirepath.flows.subject import Subject
from desirepath.patterns.database import SymbolConfig, sequence_database
from desirepath.sequences import Sequences, Vocabulary
from desirepath.workspace import Workspace

# Anna views, then at one instant views, buys and likes, and views later; Bob only views.
ACTIONS = [["view", "view", "buy", "like", "view"], ["view", "view"]]
TIMES = [[0.0, 10.0, 10.0, 10.0, 20.0], [0.0, 10.0]]


@pytest.mark.parametrize(
    ("simultaneous", "before"), [(False, ["view", "view"]), (True, ["view"])], ids=["events", "sets"]
)
def test_only_what_came_before_an_action_counts(tmp_path, simultaneous, before):
    actions = Vocabulary(["view", "buy", "like"])
    flat = [name for history in ACTIONS for name in history]
    sequences = Sequences(
        offsets=np.array([0, 5, 7]),
        item_ix=np.full(7, 2, np.int32),
        action_ix=actions.encode(flat).astype(np.int16),
        time_s=np.array([moment for history in TIMES for moment in history]),
        users=Vocabulary(["anna", "bob"], reserved=0),
        items=Vocabulary(["item"]),
        actions=actions,
    )
    symbols = SymbolConfig(by=("action",), per="user", simultaneous=simultaneous)
    database = sequence_database(sequences, symbols)
    workspace = Workspace.create(tmp_path / "shop")
    subject = Subject(
        workspace=workspace, sequences=sequences, items=None, database=database, symbols=symbols
    )
    groups = groups_of(subject, "did:buy")
    assert groups.labels.tolist() == ["did buy", "never buy"]
    kept = groups.database
    names = kept.symbols.decode(kept.symbol_ix).to_list()
    assert names[: kept.offsets[1]] == before
    assert names[kept.offsets[1] :] == ["view", "view"]
