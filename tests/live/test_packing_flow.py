# SPDX-License-Identifier: Apache-2.0
from datetime import UTC, datetime

import polars as pl
import pytest
from stored import row

from desirepath.errors import DataError, WorkspaceError
from desirepath.events.log import EventLog
from desirepath.events.raw import canonical_log
from desirepath.flows.compaction import compact
from desirepath.live.store import LiveStore, now_us
from desirepath.sequences import Sequences
from desirepath.workspace import Workspace


@pytest.fixture
def folder(tmp_path):
    workspace = Workspace.create(tmp_path / "shop")
    log = {"user_id": ["u"], "item_id": ["a"], "action": ["view"], "time": [datetime(2026, 5, 1, tzinfo=UTC)]}
    EventLog(workspace.events).append(canonical_log(pl.DataFrame(log)))
    return workspace.folder


def fill(folder):
    store = LiveStore(f"sqlite:///{folder / 'live.db'}")
    now = now_us()
    done = [("1", "u", "b", "view"), ("2", "v", "a", "view"), ("3", "u", "a", "impression")]
    rows = [row(name, user, item, now, action=action, received_us=now) for name, user, item, action in done]
    store.keep(rows).result()
    return store


def test_packing_while_the_store_is_open_elsewhere(folder):
    store = fill(folder)
    answer = compact(folder)
    assert {name: answer.plain[name] for name in ("behaviour", "feedback", "events", "until")} == {
        "behaviour": 2,
        "feedback": 1,
        "events": 3,
        "until": 3,
    }
    assert "2 events joined the log" in str(answer.shown[0])
    assert Sequences.load(folder / "sequences").to_frame()["item_id"].to_list() == ["a", "b", "a"]
    assert store.keep([row("4", time_us=now_us()), row("1")]).result().known == ["1"]
    store.close()
    assert compact(folder, keep_days=0).plain["behaviour"] == 1


def test_a_workspace_that_was_never_served_is_told(folder):
    with pytest.raises(WorkspaceError, match="must have a live store"):
        compact(folder)


def test_a_log_without_true_times_takes_no_live_events(tmp_path):
    workspace = Workspace.create(tmp_path / "old")
    source = tmp_path / "old.csv"
    source.write_text("user_id,item_id,minute\n" + "".join(f"u{n % 3},i{n % 5},{n}\n" for n in range(30)))
    from desirepath.events import read_events

    EventLog(workspace.events).append(read_events([str(source)]))
    fill(workspace.folder).close()
    with pytest.raises(DataError, match="must have true times"):
        compact(workspace.folder)
    store = LiveStore(f"sqlite:///{workspace.folder / 'live.db'}")
    assert len(store.events_after(0)) == 3
    store.close()
