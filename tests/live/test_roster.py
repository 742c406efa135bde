# SPDX-License-Identifier: Apache-2.0
"""Users of the log, of their table and of the live store make one list, in one order, on both databases."""

from __future__ import annotations

import polars as pl
from stored import row

import worlds
from desirepath.live.directory import Directory
from desirepath.live.project import Project
from desirepath.live.roster import Roster
from desirepath.models.markov import Markov
from desirepath.recommend.versions import Version
from desirepath.workspace import Workspace


def test_pages_are_whole_and_in_order(url, tmp_path):
    sequences = worlds.cycle(n_users=9)
    workspace = Workspace.create(tmp_path / "workspace")
    table = pl.DataFrame({"user_id": ["u3", "tabled"], "age": [3, 4]})
    version = Version(
        name="v",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={},
    )
    project = Project("default", workspace, sequences, version, url=url, user_table=table)
    try:
        roster = Roster(project)
        live = ["Zoe", "anna", "Émile", "_x", "u10", "u3", "张三"]
        assert roster.unknown([*live, "u1", "tabled"]) == [name for name in live if name != "u3"]
        project.records.put_users([(name, {"n": 1}) for name in live]).result()
        project.forget("u5").result()
        project.forget("anna").result()
        whole = {f"u{n}" for n in range(9)} | {"tabled", *live}
        expected = sorted(whole - {"u5", "anna"}, key=lambda name: name.encode())
        for n in (1, 2, 5, 100):
            found, cursor = roster.page("", n)
            while cursor:
                part, cursor = roster.page(cursor, n)
                found += part
            assert [name for name, _ in found] == expected
        told = dict(found)
        assert told["u3"] == {"n": 1}
        assert told["tabled"] == {"age": 4} == roster.get("tabled")
        assert told["u1"] == {} == roster.get("u1")
        assert roster.get("u5") is roster.get("anna") is roster.get("nobody") is None
        project.store.keep([row("1", "Walker", "1"), row("2", "u1", "1")]).result()
        assert roster.unknown(["Walker", "nobody"]) == ["nobody"]
        assert [name for name, _ in roster.page("W", 2)[0]] == ["Walker", "Zoe"]
        project.directory = Directory(project)  # as where the log was written anew
        assert [name for name, _ in roster.page("", 100)[0]] == ["Walker", *expected]
        roster.forget("anna")
        assert roster.unknown(["anna", "u5", "u1"]) == ["anna", "u5"]
    finally:
        project.close()
