"""Two models on the same live events: ranks by hand, decisions that hold at every look, what is left out."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from desirepath.errors import ConfigError, DataError, WorkspaceError
from desirepath.live.memory import Memory
from desirepath.live.ranker import Ranker
from desirepath.live.shadow import Shadow, ShadowConfig, Watch
from desirepath.models.markov import Markov
from desirepath.models.popularity import Popularity
from desirepath.recommend.versions import Version
from desirepath.sequences import Sequences

N_ITEMS = 30
CYCLE = Sequences.from_lists([[str((u + i) % N_ITEMS) for i in range(12)] for u in range(60)])
"""After item i always comes i + 1: the Markov model is right, popularity is not."""


def version(name: str, model, *, until_s: float = 12.0) -> Version:
    return Version(
        name=name,
        model=model.fit(CYCLE),
        items=CYCLE.items,
        calibration=None,
        exclude_seen=False,
        made={"trained_until_s": until_s},
    )


class World:
    """Live states of the cycle, and two versions on them."""

    def __init__(self, config: ShadowConfig | None = None, path: Path | None = None, **until: float) -> None:
        self.memory = Memory(CYCLE)
        self.shadow = Shadow(current="popular", candidate="markov", config=config or ShadowConfig())
        self.watch = Watch(
            self.shadow,
            Ranker(version("popular", Popularity(), **until), self.memory.catalogue),
            Ranker(version("markov", Markov(), **until), self.memory.catalogue),
            self.memory,
            path,
        )

    def happen(self, *events: tuple[str, str, float], **more: object) -> None:
        """Events of (user, item, seconds), kept and offered as the store does."""
        rows = [
            {"user_id": user, "item_id": item, "action": "event", "time_us": int(s * 1e6), **more}
            for user, item, s in events
        ]
        self.memory.learn(rows)
        self.watch.offer(rows)


@pytest.fixture
def world():
    made: list[World] = []

    def make(*given, **named) -> World:
        made.append(World(*given, **named))
        return made[-1]

    yield make
    for one in made:
        one.watch.close()


def test_what_truly_came_is_ranked_before_it_is_known(world) -> None:
    """User 0 ended at item 11; 12 comes, then 13: the Markov model has both first."""
    w = world()
    w.happen(("0", "12", 100), ("0", "13", 101))
    w.watch.drain()
    assert w.shadow.n == 2
    assert w.shadow.gain[1] == pytest.approx(2.0)
    # All items are equally popular: ranks are drawn, the same for the same user and length of history.
    assert w.shadow.gain[0] < 1.0


def test_events_that_arrive_late_are_asked_at_their_own_time(world) -> None:
    w = world()
    w.happen(("1", "20", 200))
    w.happen(("1", "13", 100))  # after item 12, which was the last before 100 s
    w.watch.drain()
    assert w.shadow.n == 2
    assert w.shadow.gain[1] == pytest.approx(1.0)


def test_what_cannot_be_asked_is_left_out_and_counted(world) -> None:
    w = world()
    w.happen(("stranger", "3", 100))  # no history
    w.happen(("0", "12", 5.0))  # before the end of training
    w.happen(("2", "14", 101), recommendation_id="r1")  # from the current model's own list
    w.happen(("3", "15", 102), ("stranger", "4", 103))
    w.watch.drain()
    assert w.shadow.n == 2
    assert w.shadow.left_out == 3
    assert w.shadow.gain[1] == pytest.approx(2.0)


def test_lists_own_events_can_count(world) -> None:
    w = world(ShadowConfig(organic=False))
    w.happen(("2", "14", 101), recommendation_id="r1")
    w.watch.drain()
    assert w.shadow.n == 1


def test_items_that_no_model_knows_count_as_missed_by_both(world) -> None:
    w = world()
    w.happen(("2", "brand new", 101))
    w.watch.drain()
    assert (w.shadow.n, w.shadow.gain) == (1, [0.0, 0.0])


def test_a_better_candidate_is_promoted(world) -> None:
    w = world(ShadowConfig(min_events=50))
    assert w.watch.decision().verdict == "watch"
    for step in range(6):
        w.happen(*((str(u), str((u + 12 + step) % N_ITEMS), 100.0 + step) for u in range(60)))
    w.watch.drain()
    found = w.watch.decision()
    assert (found.verdict, found.n) == ("promote", 360)
    assert found.candidate == pytest.approx(1.0)
    assert found.difference.low > 0.5
    assert "not worse on 360 live events: NDCG@10 1.0000 against" in found.reason


def test_a_worse_candidate_is_set_aside_and_an_undecided_one_in_time() -> None:
    worse = Shadow(current="a", candidate="b", config=ShadowConfig(min_events=100))
    rng = np.random.default_rng(1)
    worse.add(rng.random(2000), 0.5 * rng.random(2000))
    assert worse.decision().verdict == "reject"
    same = Shadow(current="a", candidate="b", config=ShadowConfig(min_events=100, max_hours=1), began_s=0.0)
    gain = rng.random(150)
    same.add(gain, gain)
    assert same.decision(now_s=3500).verdict == "watch"
    late = same.decision(now_s=3700)
    assert late.verdict == "reject"
    assert "undecided after 150 live events and 1 hours" in late.reason
    assert late.difference.value == pytest.approx(0.0)


def test_an_equal_candidate_is_not_worse_once_enough_came() -> None:
    same = Shadow(current="a", candidate="b")
    gain = np.random.default_rng(2).random(20_000)
    same.add(gain, gain)
    assert same.decision().verdict == "promote"


def test_a_worse_candidate_is_hardly_ever_promoted_however_often_one_looks() -> None:
    """Just worse than the margin, asked after every batch: it slips through in fewer than 1 of 20 runs."""
    rng = np.random.default_rng(3)
    promoted = 0
    for _ in range(60):
        shadow = Shadow(current="a", candidate="b", config=ShadowConfig(min_events=1))
        for _ in range(20):
            hit = rng.random(200) < 0.3
            kept = rng.random(200) < 0.94  # a share of 0.06 below, with a margin of 0.05
            shadow.add(hit.astype(float), (hit & kept).astype(float))
            if shadow.decision().verdict == "promote":
                promoted += 1
                break
    assert promoted / 60 <= 0.05


def test_batches_change_nothing() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.random(500), rng.random(500)
    whole = Shadow(current="a", candidate="b", began_s=0.0)
    whole.add(a, b)
    parts = Shadow(current="a", candidate="b", began_s=0.0)
    for first, last in ((0, 1), (1, 1), (1, 200), (200, 500)):
        parts.add(a[first:last], b[first:last])
    assert parts.n == whole.n
    assert parts.gain == pytest.approx(whole.gain)
    assert parts.variation == pytest.approx(whole.variation)
    d = b - a
    before = np.concatenate([[0.0], np.cumsum(d)[:-1]]) / np.maximum(np.arange(500), 1)
    assert whole.variation[0] == pytest.approx(((d - before) ** 2).sum())


def test_the_score_is_kept(tmp_path: Path, world) -> None:
    path = tmp_path / "shadow.json"
    w = world(path=path)
    w.happen(("0", "12", 100))
    w.watch.drain()
    w.watch.close()
    config = w.shadow.config
    again = Shadow.load(path, "popular", "markov", config)
    assert again == w.shadow
    assert Shadow.load(path, "popular", "other", config).n == 0
    assert Shadow.load(path, "popular", "markov", ShadowConfig(margin=0.2)).n == 0
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(WorkspaceError, match="newer desirepath"):
        Shadow.load(path, "popular", "markov", config)
    path.write_text("{")
    with pytest.raises(WorkspaceError, match="is damaged"):
        Shadow.load(path, "popular", "markov", config)


def test_a_slow_shadow_never_holds_up_those_who_offer(world, monkeypatch: pytest.MonkeyPatch) -> None:
    w = world()
    monkeypatch.setattr(w.watch, "_score", lambda rows: time.sleep(0.05))
    began = time.monotonic()
    for _ in range(300):
        w.watch.offer([{}] * 10)
    assert time.monotonic() - began < 2.0
    assert w.shadow.left_out > 0
    w.watch.close()  # drops what waits
    assert time.monotonic() - began < 10.0


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="margin"):
        ShadowConfig(margin=1.0)
    with pytest.raises(ConfigError, match="load"):
        ShadowConfig(load=0.0)
    with pytest.raises(ConfigError, match="min_events"):
        ShadowConfig(min_events=0)
    with pytest.raises(DataError, match="one an event"):
        Shadow(current="a", candidate="b").add(np.zeros(2), np.zeros(3))
