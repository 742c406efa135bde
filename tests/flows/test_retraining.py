"""A model trained anew and judged: on what neither saw, by the very weights that are promoted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from desirepath import flows
from desirepath.cli import app
from desirepath.errors import ConfigError, WorkspaceError
from desirepath.flows.registry import models, promote, rollback
from desirepath.flows.retraining import fresh_from, fresh_queries, retrain, retrain_config
from desirepath.live.retrainer import RetrainConfig
from desirepath.live.store import LiveStore
from desirepath.models.markov import Markov
from desirepath.recommend.ranking import target_ranks
from desirepath.recommend.rebased import rebased
from desirepath.recommend.registry import Registry
from desirepath.recommend.versions import Version, save_version
from desirepath.sequences import Queries, Sequences
from desirepath.workspace import Workspace

WORDS = ["recommend.transformer=false"]
SECONDS = 1_700_000_000


def log(path: Path, step: int, *, users: int, first: int, last: int) -> Path:
    """Users who go round 25 items, `step` at a time, with a little chance; events first:last of each."""
    rng = np.random.default_rng(step)
    n = users * (last - first)
    user = np.repeat(np.arange(users), last - first)
    turn = np.tile(np.arange(first, last), users)
    item = (user + step * turn + rng.integers(0, 2, n) * (rng.random(n) < 0.2)) % 25
    table = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in user],
            "item_id": [f"i{i}" for i in item],
            "timestamp": SECONDS + turn * 3600 + user % 50,
        }
    )
    table.write_csv(path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose users go forwards by one, with a Markov model as `run` leaves it."""
    folder = tmp_path_factory.mktemp("shop")
    first = log(folder / "a.csv", 1, users=120, first=0, last=12)
    flows.ingest(flows.Given(sources=[str(first)]), folder / "ws", WORDS)
    sequences = Sequences.load(folder / "ws" / "sequences")
    made = {"trained_until_s": float(sequences.time_s.max()), "validation": {"markov": 0.5}}
    version = Version(
        name="20260101T000000-markov",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made=made,
    )
    save_version(folder / "ws" / "runs" / "final", version)
    return folder / "ws"


@pytest.fixture
def shop(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "ws"))


def more(shop: Path, step: int, first: int = 12, last: int = 24) -> None:
    path = log(shop.parent / f"{step}.{first}.csv", step, users=120, first=first, last=last)
    flows.ingest(flows.Given(sources=[str(path)]), shop, WORDS)


def test_a_changed_world_is_learned_and_judged_on_what_neither_saw(shop: Path) -> None:
    more(shop, step=3)  # they go by three now
    answer = retrain(shop, WORDS, options=RetrainConfig(model="markov", promote="gate"))
    gate, registry = answer.plain["gate"], Registry(Workspace.open(shop))
    assert gate["verdict"] == "not worse"
    assert gate["low"] > 0.1
    assert gate["candidate"] > gate["current"]
    assert registry.current() == answer.plain["name"]
    # Nothing that judged was seen: the times say so, and the sequences agree.
    assert gate["current_saw_until_s"] < gate["candidate_saw_until_s"] < gate["fresh_from_s"]
    sequences = Sequences.load(shop / "sequences")
    assert gate["events"] == int((sequences.time_s >= gate["fresh_from_s"]).sum())
    new = sequences.time_s > gate["current_saw_until_s"]
    assert gate["events"] / new.sum() == pytest.approx(0.3, abs=0.05)
    held = answer.plain["held_events"]
    assert answer.plain["trained_events"] + held == int((sequences.time_s < gate["fresh_from_s"]).sum())
    # What was promoted is what was judged: the figure comes back from the weights on disk.
    opened = registry.open(answer.plain["name"])
    queries = fresh_queries(sequences, gate["fresh_from_s"])
    rank = target_ranks(opened.model, queries, mask_seen=opened.exclude_seen)
    gain = np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0)
    users = np.unique(queries.user_ix, return_inverse=True)[1]
    by_user = np.bincount(users, weights=gain) / np.bincount(users)
    assert by_user.mean() == pytest.approx(gate["candidate"])
    assert opened.calibration is not None
    said = " ".join(str(line) for line in answer.shown)
    assert "Judged on what neither has seen" in said
    assert "not worse than" in said


def test_a_worse_model_is_set_aside(shop: Path) -> None:
    more(shop, step=1)
    answer = retrain(shop, WORDS, options=RetrainConfig(model="popularity", promote="gate"))
    registry = Registry(Workspace.open(shop))
    assert answer.plain["gate"]["verdict"] == "worse"
    assert registry.candidate() is None
    assert registry.current() != answer.plain["name"]
    assert "worse than" in registry.ledger().rejected[answer.plain["name"]]


def test_the_shadow_decides_by_default(shop: Path) -> None:
    more(shop, step=3)
    answer = retrain(shop, WORDS)
    registry = Registry(Workspace.open(shop))
    assert registry.candidate() == answer.plain["name"]
    assert registry.current() != answer.plain["name"]
    shown = models(shop)
    assert [row["state"] for row in shown.plain["versions"]] == ["candidate", "current"]
    assert promote(shop, answer.plain["name"]).plain["before"] == shown.plain["current"]
    assert rollback(shop).plain["current"] == shown.plain["current"]


def test_nothing_new_is_not_judged(shop: Path) -> None:
    answer = retrain(shop, WORDS)
    assert answer.plain["gate"]["verdict"] == "not judged"
    assert answer.plain["gate"]["events"] == 0
    assert Registry(Workspace.open(shop)).candidate() == answer.plain["name"]
    assert "too few to judge by" in str(answer.shown[0])


def test_what_a_live_store_has_is_learned_too(shop: Path) -> None:
    table = pl.read_csv(log(shop.parent / "live.csv", 3, users=120, first=12, last=24))
    store = LiveStore(f"sqlite:///{shop / 'live.db'}")
    rows = [
        {
            **dict.fromkeys(("session_id", "value", "recommendation_id", "position", "more")),
            "event_id": f"e{number}",
            "user_id": user,
            "item_id": item,
            "action": "event",
            "time_us": second * 1_000_000,
            "received_us": second * 1_000_000,
        }
        for number, (user, item, second) in enumerate(table.iter_rows())
    ]
    store.keep(rows).result(30)
    store.close()
    answer = retrain(shop, WORDS)
    assert answer.plain["gate"]["verdict"] == "not worse"
    sequences = Sequences.load(shop / "sequences")
    assert sequences.n_events == 120 * 24
    assert answer.plain["gate"]["events"] == int(
        (sequences.time_s >= answer.plain["gate"]["fresh_from_s"]).sum()
    )


def test_impressions_are_no_behaviour(shop: Path) -> None:
    path = shop.parent / "shown.csv"
    table = pl.read_csv(log(shop.parent / "b.csv", 2, users=120, first=12, last=20))
    table.with_columns(pl.lit("impression").alias("action")).write_csv(path)
    flows.ingest(flows.Given(sources=[str(path)]), shop, WORDS)
    answer = retrain(shop, WORDS)
    assert answer.plain["gate"]["events"] == 0
    assert answer.plain["trained_events"] + answer.plain["held_events"] == 120 * 12


def test_two_at_once_are_refused(shop: Path) -> None:
    import fcntl

    with (shop / "runs" / ".retrain.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(WorkspaceError, match="Another retraining"):
            retrain(shop, WORDS)


def test_wrong_use_is_refused(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'markov'"):
        retrain(shop, WORDS, options=RetrainConfig(model="markof"))
    empty = Workspace.create(tmp_path / "empty").folder
    with pytest.raises(WorkspaceError, match="no model to compare with yet"):
        retrain(empty, WORDS)


def test_options_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "desirepath.toml").write_text("[retrain]\nevery_hours = 24\nmargin = 0.02\n")
    found = retrain_config(tmp_path, margin=0.1)
    assert (found.every_hours, found.margin) == (24, 0.1)
    (tmp_path / "desirepath.toml").write_text("[retrain]\nmargn = 0.02\n")
    with pytest.raises(ConfigError, match="Did you mean 'margin'"):
        retrain_config(tmp_path)


def test_the_cut_leaves_the_share_that_was_asked_for() -> None:
    log = Sequences.from_lists([[str(i) for i in range(101)]])
    cut = fresh_from(log, 50.0, 0.2)
    assert int((log.time_s >= cut).sum()) == 10  # the last fifth of the 50 that are new
    assert fresh_from(log, 100.0, 0.2) == float("inf")
    asked = fresh_queries(log, cut)
    assert asked.stop.tolist() == list(range(91, 101))
    np.testing.assert_array_equal(asked.single_target, log.item_ix[asked.stop])


def test_a_model_in_another_vocabulary() -> None:
    """Same items under other indexes, one that the model does not know, one that the log does not have."""
    old = Sequences.from_lists([["a", "b", "c"], ["b", "c", "gone"]])
    new = Sequences.from_lists([["new", "c", "b"], ["a", "new"]])
    model = Markov().fit(old)
    wrapped = rebased(model, old.items, new)
    asked = Queries.latest(new, np.array([0, 1]))
    scores = wrapped.scores(asked)
    assert scores.shape == (2, len(new.items))
    same = model.scores(Queries.from_items([["zzz", "c", "b"], ["a", "zzz"]], old.items))
    for name in "abc":
        np.testing.assert_array_equal(scores[:, new.items.index(name)], same[:, old.items.index(name)])
    assert np.isneginf(scores[:, new.items.index("new")]).all()
    assert rebased(model, old.items, old) is model


@pytest.mark.slow
def test_a_transformer_is_trained_anew(shop: Path) -> None:
    more(shop, step=3)
    small = [
        *("model.dim=16", "model.n_layers=1", "model.n_heads=1", "model.max_len=12"),
        *("training.epochs=8", "training.warmup_steps=10", "training.learning_rate=0.01"),
    ]
    answer = retrain(shop, small, options=RetrainConfig(model="sasrec", promote="gate"))
    assert answer.plain["gate"]["verdict"] == "not worse"
    opened = Registry(Workspace.open(shop)).open(answer.plain["name"])
    assert opened.model.name == "sasrec"
    sequences = Sequences.load(shop / "sequences")
    queries = fresh_queries(sequences, answer.plain["gate"]["fresh_from_s"])
    rank = target_ranks(opened.model, queries, mask_seen=opened.exclude_seen)
    gain = np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0)
    users = np.unique(queries.user_ix, return_inverse=True)[1]
    by_user = np.bincount(users, weights=gain) / np.bincount(users)
    assert by_user.mean() == pytest.approx(answer.plain["gate"]["candidate"])
    assert not (shop / "runs" / "retraining").exists()


def test_the_command_line(shop: Path) -> None:
    def told(*words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    more(shop, step=3)
    made = told("retrain", str(shop), "--promote", "gate", "--model", "markov", "--json")
    name = json.loads(made.stdout)["name"]
    listed = json.loads(told("models", "list", str(shop), "--json").stdout)
    assert (listed["current"], listed["versions"][0]["name"]) == (name, name)
    assert told("models", "rollback", str(shop), "--reason", "test").exit_code == 0
    assert "no earlier version" in str(told("models", "rollback", str(shop)).exception)
    shown = told("models", "list", str(shop)).stdout
    assert name in shown
    assert "rejected" in shown
    assert told("models", "promote", str(shop), name).exit_code == 0
    assert Registry(Workspace.open(shop)).current() == name
