# SPDX-License-Identifier: Apache-2.0
"""A changed scenario valued by one command, from lists that lie in the store and in the packed log."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from desirepath import flows
from desirepath.cli import app
from desirepath.console.forecast import valued
from desirepath.errors import ConfigError, DataError, TooLittleData, WorkspaceError
from desirepath.flows.compaction import compact
from desirepath.flows.valuation import Candidate, since_us, value
from desirepath.live.answer import Ask
from desirepath.live.project import Project, open_project
from desirepath.live.store import now_us
from desirepath.models.markov import Markov
from desirepath.recommend.versions import Version, save_version
from desirepath.sequences import Sequences
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace

RULES = """[scenario.shelf]
k = 3
exclude_seen = false
exploration = { method = "epsilon", share = 0.5 }
[scenario.other]
k = 3
exclude_seen = false
boosts = [{ filter = "kind == 'own'", plus = 2.0 }]
[scenario.fixed]
k = 3
"""
EDITED = RULES.replace("[scenario.shelf]", "[scenario.shelf]\ndiversity = 0.0\nfilter = \"kind == 'own'\"")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that showed 240 lists to 60 people, who like what is the shop's own; half of it packed."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    user, turn = np.repeat(np.arange(60), 8), np.tile(np.arange(8), 60)
    log = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in user],
            "item_id": [f"i{i}" for i in (user + turn) % 10],
            "timestamp": 1_700_000_000 + turn * 3600 + user,
        }
    )
    log.write_csv(folder / "log.csv")
    kinds = ["own" if number % 3 == 0 else "other" for number in range(10)]
    pl.DataFrame({"item_id": [f"i{i}" for i in range(10)], "kind": kinds}).write_csv(folder / "items.csv")
    given = flows.Given(sources=[str(folder / "log.csv")], items=str(folder / "items.csv"))
    flows.ingest(given, folder / "ws", ["recommend.transformer=false"])
    workspace = Workspace.open(folder / "ws")
    workspace.settings_path.write_text(RULES)
    sequences = Sequences.load(workspace.folder / "sequences")
    version = Version(
        name="20260101T000000-markov",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={"trained_until_s": float(sequences.time_s.max()), "validation": {"markov": 0.5}},
    )
    save_version(workspace.folder / "runs" / "final", version)
    for half in range(2):
        project = open_project(
            workspace, open_sequences(workspace), table=pl.read_parquet(workspace.table("items"))
        )
        for number in 2 * [*range(60)]:
            show(project, number, rng)
        project.close()
        if not half:
            compact(workspace.folder, keep_days=0)
    return workspace.folder


def show(project: Project, number: int, rng: np.random.Generator) -> None:
    """One list, and what is clicked and bought of it."""
    ask = Ask(user_id=f"u{number}", scenario="shelf", seed=int(rng.integers(2**53)))
    reply = project.recommend(ask).result(60)
    project.remember(reply, ask)
    clicked = []
    for place, one in enumerate(reply.items, start=1):
        if rng.random() < (0.6 if int(one.item_id[1:]) % 3 == 0 else 0.15) / place**0.5:
            event = {
                "event_id": f"{reply.recommendation_id}-{place}",
                "user_id": f"u{number}",
                "position": place,
            }
            event |= {"item_id": one.item_id, "action": "click", "time_us": now_us(), "received_us": now_us()}
            event |= {"session_id": None, "value": None, "more": None}
            clicked.append(event | {"recommendation_id": reply.recommendation_id})
    if clicked:
        project.keep(clicked).result(60)


def test_what_the_shop_likes_itself_would_bring_more(served: Path) -> None:
    done = CliRunner().invoke(app, ["scenarios", "value", str(served), "shelf", "--as", "other", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["n_lists"], found["n_users"]) == (240, 60)
    assert found["retraced"] == 1.0
    assert found["unseen"] == 0.0
    clicks = found["worth"]["clicks"]
    assert clicks["current"]["value"] < clicks["dr"]["value"] < 1.4
    assert clicks["difference"]["low"] < clicks["difference"]["value"] < clicks["difference"]["high"]
    told = CliRunner().invoke(app, ["scenarios", "value", str(served), "shelf", "--as", "other"]).output
    assert "240 lists of 60 users" in told
    assert "clicks" in told


def test_the_console_says_the_same(served: Path) -> None:
    workspace = Workspace.open(served)
    project = open_project(
        workspace, open_sequences(workspace), table=pl.read_parquet(workspace.table("items"))
    )
    found = valued(project, "shelf", project.scenarios.now().scenarios["other"])
    project.close()
    told = value(served, Candidate(scenario="shelf", other="other")).plain["worth"]["clicks"]
    clicks = found.worth["clicks"]
    assert clicks.dr.value == pytest.approx(told["dr"]["value"])
    assert clicks.difference.low == pytest.approx(told["difference"]["low"])


def test_an_edited_file_is_a_candidate(served: Path, tmp_path: Path) -> None:
    rules = tmp_path / "edited.toml"
    rules.write_text(EDITED)
    own = value(served, Candidate(scenario="shelf", rules=rules)).plain
    other = value(served, Candidate(scenario="shelf", other="other")).plain
    assert own["worth"]["clicks"]["dr"]["value"] == pytest.approx(
        other["worth"]["clicks"]["dr"]["value"], abs=0.25
    )


def test_too_few_lists_and_other_rules_end_in_plain_words(served: Path, tmp_path: Path) -> None:
    with pytest.raises(TooLittleData, match="at least 50 are needed"):
        value(served, Candidate(scenario="shelf", other="other"), most_lists=20)
    with pytest.raises(DataError, match="No list of the scenario 'fixed'"):
        value(served, Candidate(scenario="fixed", other="other"))
    with pytest.raises(ConfigError, match="Name the candidate"):
        value(served, Candidate(scenario="shelf"))
    with pytest.raises(ConfigError, match="no scenario 'othr'"):
        value(served, Candidate(scenario="shelf", other="othr"))
    with pytest.raises(ConfigError, match="is not there"):
        value(served, Candidate(scenario="shelf", rules=tmp_path / "none.toml"))
    with pytest.raises(WorkspaceError, match="no live store"):
        value(Workspace.create(tmp_path / "new").folder, Candidate(scenario="shelf", other="other"))


def test_spans_and_dates() -> None:
    assert now_us() - since_us("2w") == pytest.approx(14 * 86_400e6, abs=1e6)
    assert since_us("2026-11-20T12:00:00+02:00") == since_us("2026-11-20") + 10 * 3_600_000_000
    with pytest.raises(ConfigError, match="48h"):
        since_us("yesterday")
