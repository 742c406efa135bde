# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from desirepath.errors import ConfigError, ShapeError
from desirepath.evaluation import beyond, metrics
from desirepath.sequences import Sequences

HERE = Path(__file__).parent


# Two queries worked by hand. Query 0 has targets at ranks 1, 3 and 9, query 1 one target at rank 4.
RANK = np.array([3, 9, 1, 4])
OFFSETS = np.array([0, 3, 4])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (metrics.hit_rate(RANK, OFFSETS, 3), [1, 0]),
        (metrics.recall(RANK, OFFSETS, 5), [2 / 3, 1]),
        (metrics.precision(RANK, OFFSETS, 5), [2 / 5, 1 / 5]),
        (metrics.precision(RANK, OFFSETS, 5, returned=np.array([4, 9])), [2 / 4, 1 / 5]),
        (metrics.mrr(RANK, OFFSETS, 3), [1, 0]),
        (metrics.mrr(RANK, OFFSETS), [1, 1 / 4]),
        # 1/log2(2) + 1/log2(4) = 1.5; best for 3 targets 1 + 0.63093 + 0.5 = 2.13093,
        # best for 5 places 2.13093 + 0.43068 + 0.38685 = 2.94846.
        (metrics.ndcg(RANK, OFFSETS, 5), [1.5 / 2.1309298, 0.4306766]),
        (metrics.ndcg(RANK, OFFSETS, 5, ideal="k"), [1.5 / 2.9484591, 0.4306766 / 2.9484591]),
        (metrics.ndcg(RANK, OFFSETS, 2), [1 / 1.6309298, 0]),
        # Precision at the hits: 1/1 and 2/3.
        (metrics.average_precision(RANK, OFFSETS, 5), [(1 + 2 / 3) / 3, 1 / 4]),
        (metrics.average_precision(RANK, OFFSETS, 2), [1 / 2, 0]),
        (metrics.average_precision(RANK, OFFSETS, 2, divide_by="targets"), [1 / 3, 0]),
        (metrics.average_precision(RANK, OFFSETS, 5, divide_by="k"), [(1 + 2 / 3) / 5, 1 / 20]),
        (metrics.average_precision(RANK, OFFSETS, 9), [(1 + 2 / 3 + 3 / 9) / 3, 1 / 4]),
    ],
)
def test_worked_by_hand(found, expected):
    assert found == pytest.approx(expected, abs=1e-7)


def test_auc_worked_by_hand():
    # Ten items; targets at ranks 1, 3, 9: they beat 7, 6 and 1 of the 7 others. One at rank 4 beats 6 of 9.
    none_tied = np.ones(4, dtype=np.int64)
    found = metrics.auc(RANK - 1, none_tied, OFFSETS, np.array([10, 10]))
    assert found == pytest.approx([(7 + 6 + 1) / 21, 6 / 9])
    # A constant model is a coin; a target that cannot be recommended loses; without others nobody knows.
    assert metrics.auc(np.array([0]), np.array([10]), np.array([0, 1]), np.array([10])) == [0.5]
    assert metrics.auc(np.array([2**31 - 2]), np.array([1]), np.array([0, 1]), np.array([10])) == [0.0]
    assert np.isnan(metrics.auc(np.array([0]), np.array([1]), np.array([0, 1]), np.array([1])))


queries = st.lists(st.sets(st.integers(0, 29), min_size=1, max_size=12), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(targets=queries, seed=st.integers(0, 999), levels=st.sampled_from([3, 10**6]), k=st.integers(1, 30))
def test_auc_and_ndcg_agree_with_scikit_learn_on_whole_rankings(targets, seed, levels, k):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (len(targets), 30)) + rng.random((len(targets), 30)) * (levels > 3)
    truth = np.zeros_like(scores)
    better, tied, offsets = [], [], [0]
    for q, chosen in enumerate(targets):
        truth[q, list(chosen)] = 1
        better += [(scores[q] > scores[q, t]).sum() for t in chosen]
        tied += [(scores[q] == scores[q, t]).sum() for t in chosen]
        offsets.append(len(better))
    better, tied, offsets = map(np.array, (better, tied, offsets))
    expected = [roc_auc_score(y, s) for y, s in zip(truth, scores, strict=True)]
    assert metrics.auc(better, tied, offsets, np.full(len(targets), 30)) == pytest.approx(expected)
    if (tied == 1).all():
        found = metrics.ndcg(better + 1, offsets, k).mean()
        assert found == pytest.approx(ndcg_score(truth, scores, k=k))


def test_what_is_wrong_is_said():
    with pytest.raises(ConfigError, match="k must be at least 1"):
        metrics.hit_rate(RANK, OFFSETS, 0)
    with pytest.raises(ConfigError, match="ideal must be one of"):
        metrics.ndcg(RANK, OFFSETS, 3, ideal="best")
    with pytest.raises(ConfigError, match="divide_by must be one of"):
        metrics.average_precision(RANK, OFFSETS, 3, divide_by="n")
    with pytest.raises(ShapeError, match="1 have none"):
        metrics.recall(RANK, np.array([0, 0, 4]), 3)
    with pytest.raises(ShapeError, match="end at the number of ranks"):
        metrics.recall(RANK, np.array([0, 3]), 3)
    with pytest.raises(ShapeError, match="one shape"):
        metrics.accuracy(np.zeros(2), np.zeros(3))


def test_no_queries_give_no_values():
    nothing, start = np.zeros(0, np.int64), np.zeros(1, np.int64)
    for metric in (metrics.hit_rate, metrics.recall, metrics.precision, metrics.ndcg, metrics.mrr):
        assert metric(nothing, start, 3).shape == (0,)
    assert metrics.average_precision(nothing, start, 3).shape == (0,)


def peer_worlds() -> list[dict]:
    """Random lists, targets and histories; also what peer_metrics.json was asked."""
    rng = np.random.default_rng(20)
    worlds = []
    for k, n_items, n_targets in ((1, 20, 1), (5, 30, 1), (10, 40, 25), (10, 60, 3)):
        # Distinct user counts: libraries order equally popular items each in their own way.
        users = np.concatenate([np.full(n, item) for item, n in enumerate(range(1, n_items))])
        histories = [np.flatnonzero(np.arange(1, n_items) > q).tolist() for q in range(n_items)]
        assert len(users) == sum(map(len, histories))
        rows = range(n_items)
        worlds.append(
            {
                "k": k,
                "lists": [rng.permutation(n_items)[:k].tolist() for _ in rows],
                "targets": [
                    rng.permutation(n_items)[: rng.integers(1, n_targets + 1)].tolist() for _ in rows
                ],
                "history": histories,
                "catalog": list(range(n_items)),
                "features": {i: rng.integers(0, 3, 4).tolist() for i in range(n_items)},
            }
        )
    return worlds


def our_answers(world: dict) -> dict:
    """Our figures under the names of peer_metrics.py; item i has index i + 2."""
    k, n_items, n_queries = world["k"], len(world["catalog"]), len(world["lists"])
    lists = np.array(world["lists"], dtype=np.int32) + 2
    rank, offsets = [], [0]
    for listed, targets in zip(world["lists"], world["targets"], strict=True):
        rank += [listed.index(t) + 1 if t in listed else 10**6 for t in targets]
        offsets.append(len(rank))
    rank, offsets = np.array(rank), np.array(offsets)
    hit = np.array(
        [[i in t for i in row] for row, t in zip(world["lists"], world["targets"], strict=True)], dtype=bool
    )
    train = Sequences.from_lists([[str(i) for i in row] for row in world["history"]])
    known = train.items.decode(np.arange(2, len(train.items))).cast(int).to_numpy()
    users = np.zeros(n_items + 2, dtype=np.int64)
    users[known + 2] = beyond.users_per_item(train)[2:]
    n_users = int((train.lengths > 0).sum())
    features = np.zeros((n_items + 2, 4), dtype=np.int64)
    features[2:] = [world["features"][i] for i in range(n_items)]
    popularity = beyond.popularity(lists, users, n_queries) * n_queries
    return {
        "precision": metrics.precision(rank, offsets, k),
        "recall": metrics.recall(rank, offsets, k),
        "hit_rate": metrics.hit_rate(rank, offsets, k),
        "mrr": metrics.mrr(rank, offsets, k),
        "ndcg achievable": metrics.ndcg(rank, offsets, k),
        "ndcg k": metrics.ndcg(rank, offsets, k, ideal="k"),
        "map targets": metrics.average_precision(rank, offsets, k, divide_by="targets"),
        "map k": metrics.average_precision(rank, offsets, k, divide_by="k"),
        "novelty": beyond.novelty(lists, users, n_users),
        "popularity": popularity,
        "serendipity_popularity": beyond.serendipity_popularity(lists, hit, users),
        # RecTools counts differing attributes, of which there are four, and gives 0 to lists of one.
        "diversity_attributes": np.nan_to_num(beyond.diversity_attributes(lists, features)) * 4,
        "coverage": beyond.coverage(lists, n_items),
    }


def assert_agree(answers: dict) -> set[str]:
    agreed = set()
    for world, theirs in zip(peer_worlds(), answers["worlds"], strict=True):
        ours = our_answers(world)
        for name, expected in theirs.items():
            assert ours[name] == pytest.approx(expected, abs=1e-9), name
            agreed.add(name)
    return agreed


@pytest.mark.parametrize(("library", "n_metrics"), [("rectools", 13), ("ranx", 6)])
def test_agreement_with_what_other_libraries_answered(library, n_metrics):
    answers = json.loads((HERE / "peer_metrics.json").read_text())
    assert len(assert_agree(answers[library])) == n_metrics


@pytest.mark.slow
def test_agreement_with_other_libraries_asked_now():
    python = os.environ.get("DESIREPATH_PEER_PYTHON")
    if not python:
        pytest.skip("DESIREPATH_PEER_PYTHON names no interpreter with RecTools")
    answers = json.loads(
        subprocess.run(
            [python, str(HERE / "peer_metrics.py")],
            input=json.dumps(peer_worlds()),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert len(assert_agree(answers["rectools"])) == 13
