# SPDX-License-Identifier: Apache-2.0
"""Lists asked for again: in a shop whose people click with known probabilities while it serves them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from stored import row

import worlds
from desirepath.errors import DataError
from desirepath.evaluation.valuation import scenario_value
from desirepath.live.answer import Ask
from desirepath.live.project import Project
from desirepath.live.retracing import Ground, retrace
from desirepath.live.store import now_us
from desirepath.models.markov import Markov
from desirepath.recommend.scenario import ScenarioConfig
from desirepath.recommend.versions import Version
from desirepath.schema import ITEM
from desirepath.workspace import Workspace

SHELF = """[scenario.shelf]
k = 3
exclude_seen = false
values = {%s}
exploration = { method = "epsilon", share = 0.5 }
[scenario.other]
k = 3
exclude_seen = false
boosts = [{ filter = "kind == 'own'", plus = 2.0 }]
"""
DECAY, N_ROUNDS = 0.7, 4


def shop(folder, values: str = "") -> tuple[Project, Ground]:
    sequences = worlds.cycle()
    version = Version(
        name="ring-1",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={"made_at": "2026-05-01T12:00:00+00:00", "trained_until_s": 1.7e9},
    )
    kinds = ["own" if number % 4 == 0 else "other" for number in range(12)]
    table = pl.DataFrame({ITEM: [str(number) for number in range(12)], "kind": kinds})
    workspace = Workspace.create(folder)
    workspace.settings_path.write_text(SHELF % values)
    project = Project("shop", workspace, sequences, version, table=table)
    ground = Ground(
        workspace=workspace,
        store=project.store,
        sequences=sequences,
        table=table,
        open_version={"ring-1": version}.__getitem__,
    )
    return project, ground


def click_chance(user: int, item: str, place: int) -> float:
    liked = 0.55 if int(item) % 4 == 0 else 0.25
    return liked * (1.2 if (user + int(item)) % 2 else 0.8) * place**-DECAY


def watched(project: Project, action: str = "click") -> float:
    """Serve everybody, let them click; what the other scenario would have brought at the same moments."""
    rng, truth = np.random.default_rng(7), []
    for _ in range(N_ROUNDS):
        for user in range(60):
            ask = Ask(user_id=f"u{user}", scenario="shelf", seed=int(rng.integers(2**53)))
            reply = project.recommend(ask).result(60)
            project.remember(reply, ask)
            other = project.recommend(replace(ask, scenario="other")).result(60)
            chances = [
                click_chance(user, one.item_id, place) for place, one in enumerate(other.items, start=1)
            ]
            truth.append(sum(chances))
            done = []
            for place, one in enumerate(reply.items, start=1):
                if rng.random() < click_chance(user, one.item_id, place):
                    at = now_us()
                    more = {"recommendation_id": reply.recommendation_id, "action": action, "received_us": at}
                    name = f"{reply.recommendation_id}-{place}"
                    done.append(row(name, f"u{user}", one.item_id, at, position=place, **more))
            if done:
                project.keep(done).result(60)
    project.served.flush()
    return float(np.mean(truth))


def test_what_was_served_follows_again_and_what_was_not_is_valued(tmp_path) -> None:
    project, ground = shop(tmp_path)
    truth = watched(project)
    rules = project.scenarios.now().scenarios
    again = retrace(ground, "shelf", (rules["shelf"], rules["other"]))
    project.close()
    assert again.rewards == ("clicks", "conversions")
    assert again.shown["list"].n_unique() == 60 * N_ROUNDS
    # Every item that was served has, at its own moment, the chance that was logged with it.
    chance = again.shown.join(again.current, on=["list", "place", "item_ix"], how="left")
    np.testing.assert_allclose(chance["chance"], chance["propensity"])
    np.testing.assert_allclose(
        again.current.group_by("list", "place").agg(pl.col("chance").sum())["chance"], 1.0
    )
    found = scenario_value(again.shown, again.current, again.candidate, again.rewards)
    assert (found.retraced, found.unseen, found.refused) == (1.0, 0.0, "")
    clicks = found.worth["clicks"]
    for one in (clicks.ips, clicks.snips, clicks.dr):
        assert one.low < truth < one.high
    assert clicks.dr.value == pytest.approx(truth, abs=0.12)
    assert clicks.difference.value == pytest.approx(clicks.dr.value - clicks.current.value)
    assert found.worth["conversions"].current.value == 0.0


def test_actions_are_worth_what_the_scenario_says(tmp_path) -> None:
    project, ground = shop(tmp_path, "buy = 5.0, click = 1.0")
    served = [Ask(user_id=f"u{user}", scenario="shelf") for user in (1, 2)]
    for ask in served:
        reply = project.recommend(ask).result(60)
        project.remember(reply, ask)
        for number, action in enumerate(("click", "click", "buy", "hide")):
            at = now_us()
            event = row(
                f"{ask.user_id}-{number}", str(ask.user_id), reply.items[0].item_id, at, action=action
            )
            event |= {"recommendation_id": reply.recommendation_id, "received_us": at}
            project.keep([event]).result(60)
    project.served.flush()
    rules = project.scenarios.now().scenarios["shelf"]
    again = retrace(ground, "shelf", (rules, ScenarioConfig(k=2)), since_us=0)
    gone = replace(ground, open_version=_gone)
    with pytest.raises(DataError, match="model"):
        retrace(gone, "shelf", (rules, rules))
    with pytest.raises(DataError, match="No list"):
        retrace(ground, "shelf", (rules, rules), since_us=now_us())
    project.close()
    assert again.rewards == ("clicks", "conversions", "value")
    assert again.shown["value"].to_list() == [6.0, 0.0, 0.0] * 2
    assert again.shown["clicks"].to_list() == [1.0, 0.0, 0.0] * 2
    assert again.candidate["place"].max() == 2


def _gone(name: str) -> Version:
    raise DataError(f"{name} is gone.")
