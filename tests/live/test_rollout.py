"""The loop closed: what the registry says answers, and what proves itself the registry says."""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from desirepath.live.engine import Ask, Engine
from desirepath.live.memory import Memory
from desirepath.live.retrainer import RetrainConfig, Retrainer
from desirepath.live.rollout import Rollout
from desirepath.live.scenarios import Scenarios
from desirepath.models.markov import Markov
from desirepath.models.popularity import Popularity
from desirepath.recommend.registry import Registry
from desirepath.recommend.versions import Version
from desirepath.sequences import Sequences
from desirepath.workspace import Workspace

N_ITEMS = 30
CYCLE = Sequences.from_lists([[str((u + i) % N_ITEMS) for i in range(12)] for u in range(60)])


def version(name: str, model) -> Version:
    made = {"trained_until_s": 12.0, "validation": {}}
    return Version(
        name=name,
        model=model.fit(CYCLE),
        items=CYCLE.items,
        calibration=None,
        exclude_seen=False,
        made=made,
    )


class Shop:
    """All of a project that the loop needs, with an engine that truly answers."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.memory = Memory(CYCLE)
        scenarios = Scenarios(folder / "desirepath.toml", lambda: None, exclude_seen=False)
        self.engine = Engine(registry.open(registry.current()), self.memory, scenarios)

    def swap(self, version: Version) -> None:
        self.engine.swap(version)

    def first(self, user: str) -> tuple[str, str]:
        """The version that answers this user, and its first item."""
        reply = self.engine.ask(Ask(user_id=user, k=1)).result(30)
        return reply.model_version, reply.items[0].item_id


@pytest.fixture
def shop(tmp_path: Path):
    registry = Registry(Workspace.create(tmp_path / "shop"))
    registry.add(version("popular", Popularity()))
    registry.promote("popular", "first")
    made = Shop(registry, tmp_path)
    made.registry = registry
    yield made
    made.engine.close()


def events(step: int) -> list[dict]:
    """The next true event of every user."""
    return [
        {
            "user_id": str(u),
            "item_id": str((u + 12 + step) % N_ITEMS),
            "action": "event",
            "time_us": int(1e6 * (100 + step)),
        }
        for u in range(60)
    ]


def happen(shop: Shop, loop: Rollout, step: int) -> None:
    rows = events(step)
    shop.memory.learn(rows)
    loop.offer(rows)


def test_a_candidate_proves_itself_and_answers(shop: Shop) -> None:
    loop = Rollout(shop.registry, shop, RetrainConfig(shadow_events=100))
    loop.tick()
    assert loop.status()["candidate"] is None
    shop.registry.add(version("markov", Markov()), candidate=True)
    loop.tick()
    assert loop.status()["candidate"]["verdict"] == "watch"
    for step in range(4):
        happen(shop, loop, step)
    loop.watch.drain()
    told = loop.status()["candidate"]
    assert (told["verdict"], told["events"]) == ("promote", 240)
    loop.tick()
    assert shop.registry.current() == "markov"
    assert shop.first("0") == ("markov", "16")
    assert loop.watch is None
    assert loop.status()["error"] is None
    # Rolled back by another process: it takes effect at the next look.
    Registry(shop.registry.workspace).rollback("odd lists")
    loop.tick()
    assert shop.first("0")[0] == "popular"
    loop.close()


def test_a_worse_candidate_is_set_aside(shop: Shop) -> None:
    shop.registry.add(version("markov", Markov()))
    shop.registry.promote("markov", "good")
    shop.registry.add(version("popular again", Popularity()), candidate=True)
    loop = Rollout(shop.registry, shop, RetrainConfig(shadow_events=100))
    loop.tick()
    for step in range(4):
        happen(shop, loop, step)
    loop.watch.drain()
    loop.tick()
    assert shop.registry.candidate() is None
    assert "worse on 240 live events" in shop.registry.ledger().rejected["popular again"]
    assert shop.engine.version.name == "markov"
    loop.close()


def test_only_a_person_promotes_where_that_was_asked_for(shop: Shop) -> None:
    shop.registry.add(version("markov", Markov()), candidate=True)
    loop = Rollout(shop.registry, shop, RetrainConfig(shadow_events=100, promote="never"))
    loop.tick()
    for step in range(4):
        happen(shop, loop, step)
    loop.watch.drain()
    loop.tick()
    assert loop.status()["candidate"]["verdict"] == "promote"
    assert shop.registry.current() == "popular"
    loop.close()
    again = Rollout(shop.registry, shop, RetrainConfig(shadow_events=100, promote="never"))
    again.tick()
    assert again.status()["candidate"]["events"] == 240  # the score outlives a restart
    again.close()


def test_trainings_begin_by_themselves(shop: Shop, tmp_path: Path) -> None:
    options = RetrainConfig(min_new_events=100)
    code = f"print('''{json.dumps({'name': 'x'})}''')"
    retrainer = Retrainer([sys.executable, "-c", code], tmp_path / "retrain.log", options)
    loop = Rollout(shop.registry, shop, options, retrainer, new_events=30)
    happen(shop, loop, 0)
    loop.tick()
    assert not retrainer.running
    assert loop.status()["new_events"] == 90
    happen(shop, loop, 1)
    loop.tick()
    assert retrainer.running
    assert loop.status()["new_events"] == 0
    assert not loop.retrain()
    for _ in range(500):
        loop.tick()
        if not retrainer.running:
            break
        time.sleep(0.02)
    assert loop.status()["last_training"]["error"] is None
    assert loop.status()["last_training"]["reason"] == "150 new events"
    loop.close()


def test_a_schedule_outlives_a_restart(shop: Shop, tmp_path: Path) -> None:
    options = RetrainConfig(every_hours=24)
    young = Retrainer(["true"], tmp_path / "retrain.log", options)
    shop.registry.add(
        version(f"{datetime.now(UTC) - timedelta(hours=23):%Y%m%dT%H%M%S}-popular", Popularity())
    )
    Rollout(shop.registry, shop, options, young)
    assert young.due(1) is None
    for path in (shop.registry.folder(name) for name in shop.registry.ledger().known):
        header = json.loads((path / "version.json").read_text())
        header["made"]["made_at"] = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
        (path / "version.json").write_text(json.dumps(header))
    old = Retrainer(["true"], tmp_path / "retrain.log", options)
    Rollout(shop.registry, shop, options, old)
    assert old.due(1) == "25.0 hours since the last one"


def test_the_log_is_packed_before_a_training_reads_it(shop: Shop, tmp_path: Path) -> None:
    done: list[str] = []
    retrainer = Retrainer([sys.executable, "-c", "print('{}')"], tmp_path / "retrain.log", RetrainConfig())
    loop = Rollout(
        shop.registry,
        shop,
        RetrainConfig(),
        retrainer,
        compact=lambda: done.append("running" if retrainer.running else "before"),
    )
    assert loop.retrain()
    assert done == ["before"]
    loop.close()


def test_versions_of_experiments_are_held(shop: Shop) -> None:
    shop.registry.add(version("markov", Markov()))
    wanted = ["markov"]
    loop = Rollout(shop.registry, shop, RetrainConfig(), in_use=lambda: wanted)
    loop.tick()
    assert shop.engine.ranker_of("markov").version.name == "markov"
    assert shop.first("0")[0] == "popular"
    wanted[:] = ["nobody"]
    loop.tick()
    assert "no version 'nobody'" in loop.status()["error"]
    wanted.clear()
    loop.tick()
    assert shop.engine.ranker_of("markov").version.name == "popular"  # let go
    loop.close()


def test_what_goes_wrong_is_told_and_tried_again(shop: Shop) -> None:
    loop = Rollout(shop.registry, shop, RetrainConfig())
    good = shop.registry.path.read_text()
    shop.registry.path.write_text("{")
    loop.tick()
    assert "is damaged" in loop.status()["error"]
    assert shop.first("0")[0] == "popular"
    shop.registry.path.write_text(good)
    loop.tick()
    assert loop.status()["error"] is None
    loop.close()


def test_no_request_fails_while_versions_are_swapped(shop: Shop) -> None:
    shop.registry.add(version("markov", Markov()))
    loop = Rollout(shop.registry, shop, RetrainConfig())
    answered, failed, ends = [], [], threading.Event()

    def ask(who: int) -> None:
        while not ends.is_set():
            try:
                answered.append(shop.first(str(who)))
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(30):
        shop.registry.promote(("markov", "popular")[turn % 2], "turn")
        loop.tick()
    ends.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert {name for name, _ in answered} == {"markov", "popular"}
    right = {("markov", str((who + 12) % N_ITEMS)) for who in range(4)}
    assert {pair for pair in answered if pair[0] == "markov"} <= right
    loop.close()


def test_it_looks_by_itself(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("desirepath.live.rollout.LOOK_EVERY_S", 0.01)
    loop = Rollout(shop.registry, shop, RetrainConfig())
    loop.start()
    shop.registry.add(version("markov", Markov()))
    shop.registry.promote("markov", "by hand")
    for _ in range(500):
        if shop.engine.version.name == "markov":
            break
        time.sleep(0.01)
    assert shop.engine.version.name == "markov"
    loop.close()
