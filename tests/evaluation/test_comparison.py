# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from desirepath.errors import ConfigError, DataError, LeakError, ShapeError, TooLittleData
from desirepath.evaluation.comparison import evaluate
from desirepath.evaluation.judge import EvaluationConfig
from desirepath.evaluation.slices import cut
from desirepath.evaluation.table import Evaluation
from desirepath.sequences import Queries, Sequences, Vocabulary
from desirepath.sequences.splits import Split, split_leave_one_out, split_temporal


class Oracle:
    """Knows the targets, and misses those of every `miss`-th user; the noise is its seed's."""

    name: ClassVar[str] = "oracle"

    def __init__(self, queries: Queries, miss: int = 10**9, seed: int = 0) -> None:
        query = np.repeat(np.arange(len(queries)), np.diff(queries.target_offsets))
        self.answers = {(int(queries.user_ix[q]), int(queries.stop[q])): set() for q in range(len(queries))}
        for q, item in zip(query, queries.target_item_ix, strict=True):
            if queries.user_ix[q] % miss != miss - 1:
                self.answers[int(queries.user_ix[q]), int(queries.stop[q])].add(int(item))
        self.noise = np.random.default_rng(seed).random(len(queries.sequences.items)) * 0.5

    def fit(self, train):
        return self

    def scores(self, queries):
        out = np.repeat(self.noise[None, :], len(queries), axis=0).astype(np.float32)
        for q in range(len(queries)):
            for item in self.answers[int(queries.user_ix[q]), int(queries.stop[q])]:
                out[q, item] += 1.0
        out[:, :2] = -np.inf
        return out

    def state(self):
        return {}

    def restore(self, state):
        return self


class Counts(Oracle):
    """Popularity, written again here so that nothing above models is needed."""

    name: ClassVar[str] = "counts"

    def __init__(self, train: Sequences) -> None:
        self.counts = np.bincount(train.item_ix, minlength=len(train.items)).astype(np.float32)

    def scores(self, queries):
        return np.broadcast_to(self.counts, (len(queries), len(self.counts)))


def world(seed: int = 0) -> Split:
    """Two hundred users with histories of 1 to 60 events in forty days, three actions."""
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([rng.integers(1, 12, 160), rng.integers(20, 60, 40)])
    n = int(lengths.sum())
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    user = np.repeat(np.arange(200), lengths)
    time_s = rng.random(n) * 40 * 86_400
    time_s = time_s[np.lexsort((time_s, user))]
    popularity = 1 / np.arange(1, 81)
    sequences = Sequences(
        offsets=offsets,
        item_ix=(rng.choice(80, n, p=popularity / popularity.sum()) + 2).astype(np.int32),
        action_ix=rng.choice([2, 3, 4], n, p=[0.7, 0.2, 0.1]).astype(np.int16),
        time_s=time_s,
        users=Vocabulary([f"u{u}" for u in range(200)], reserved=0),
        items=Vocabulary([f"i{i}" for i in range(80)]),
        actions=Vocabulary(["view", "like", "buy"]),
    )
    return split_temporal(sequences, 0.8, validation="none")


SPLIT = world()
QUICK = EvaluationConfig(n_resamples=200)


def test_the_best_and_the_plainest_model():
    oracle, counts = Oracle(SPLIT.test), Counts(SPLIT.train)
    result = evaluate(
        {"counts": counts, "oracle": oracle}, SPLIT.test, SPLIT.train, QUICK, protocol=SPLIT.description
    )
    best = result.models["oracle"]
    for metric in ("ndcg@10", "hit_rate@10", "recall@10", "mrr@10", "map@10", "auc"):
        assert best[metric].value == pytest.approx(1.0)
        assert (best[metric].low, best[metric].high) == pytest.approx((1.0, 1.0))
    assert best["precision@10"].value == pytest.approx(0.1)
    plain = result.models["counts"]
    assert plain["coverage@10"].value < best["coverage@10"].value
    assert plain["ndcg@10"].low < plain["ndcg@10"].value < plain["ndcg@10"].high
    assert plain["unexpectedness@10"].value == 0.0
    assert plain["popularity@10"].value > best["popularity@10"].value
    assert plain["novelty@10"].value < best["novelty@10"].value
    difference = result.differences["oracle"]["ndcg@10"]
    assert difference.value == pytest.approx(1.0 - plain["ndcg@10"].value)
    # One side is constant: the interval of the difference mirrors that of the other.
    assert (difference.low, difference.high) == pytest.approx(
        (1.0 - plain["ndcg@10"].high, 1.0 - plain["ndcg@10"].low)
    )
    assert difference.excludes_zero
    assert "counts" not in result.differences
    assert result.counts["queries"] == len(SPLIT.test)


def test_a_constant_model_is_a_coin():
    constant = Counts(SPLIT.train)
    constant.counts = np.ones_like(constant.counts)
    row = evaluate({"constant": constant}, SPLIT.test, SPLIT.train, QUICK).models["constant"]
    assert row["auc"].value == pytest.approx(0.5)
    assert row["hit_rate@10"].low < 10 / 80 < row["hit_rate@10"].high
    against = replace(QUICK, ties="pessimistic")
    row = evaluate({"constant": constant}, SPLIT.test, SPLIT.train, against).models["constant"]
    assert row["hit_rate@10"].value == 0.0


def test_users_and_queries_are_averaged_as_asked():
    model = Oracle(SPLIT.test, miss=4)
    users = evaluate({"m": model}, SPLIT.test, SPLIT.train, QUICK).models["m"]["hit_rate@10"]
    pooled = evaluate(
        {"m": model}, SPLIT.test, SPLIT.train, replace(QUICK, average="queries", also_k=(80,))
    ).models["m"]
    place = (-model.scores(SPLIT.test)).argsort(axis=1).argsort(axis=1)
    hits = place[np.arange(len(SPLIT.test)), SPLIT.test.single_target] < 10
    found = {}
    for user, hit in zip(SPLIT.test.user_ix.tolist(), hits, strict=True):
        found.setdefault(user, []).append(hit)
    assert users.value == pytest.approx(np.mean([np.mean(hits) for hits in found.values()]))
    assert pooled["hit_rate@10"].value == pytest.approx(np.mean(np.concatenate(list(found.values()))))
    assert pooled["hit_rate@80"].value == 1.0


def test_masking_is_told_with_what_it_hides():
    repeats = Sequences.from_lists([["a", "b", "c", "a"], ["b", "c", "d", "e"]])
    split = split_leave_one_out(repeats)
    model = Oracle(split.test)
    shown = evaluate({"m": model}, split.test, split.train, QUICK)
    hidden = evaluate({"m": model}, split.test, split.train, replace(QUICK, mask_seen=True))
    assert (shown.seen_share, shown.masked_share) == (0.5, 0.0)
    assert (hidden.seen_share, hidden.masked_share) == (0.5, 0.5)
    assert shown.models["m"]["hit_rate@10"].value == 1.0
    assert hidden.models["m"]["hit_rate@10"].value == 0.5
    assert "50.00% of the targets are repeats" in shown.notes[0]
    assert "hides 50.00% of the targets" in hidden.notes[0]


def test_seeds_are_averaged_and_their_spread_is_told():
    models = [Oracle(SPLIT.test, miss=3, seed=seed) for seed in range(3)]
    alone = [
        evaluate({"m": model}, SPLIT.test, SPLIT.train, QUICK).models["m"]["mrr@10"].value for model in models
    ]
    row = evaluate({"m": models}, SPLIT.test, SPLIT.train, QUICK).models["m"]
    assert row["mrr@10"].value == pytest.approx(np.mean(alone))
    assert row["mrr@10"].seed_sd == pytest.approx(np.std(alone, ddof=1))
    assert row["coverage@10"].seed_sd is not None
    assert evaluate({"m": models[0]}, SPLIT.test, SPLIT.train, QUICK).models["m"]["mrr@10"].seed_sd is None


def test_slices_divide_the_test():
    model = Oracle(SPLIT.test, miss=5)
    result = evaluate({"m": model}, SPLIT.test, SPLIT.train, QUICK)
    for title in ("user", "history length", "target popularity"):
        parts = [part for part in result.slices if part.title == title]
        assert sum(part.n_targets for part in parts) == len(SPLIT.test)
        assert all(part.models["m"]["ndcg@10"].value <= 1.0 for part in parts)
    warm = next(part for part in result.slices if part.label == "warm")
    assert warm.n_queries == int((SPLIT.train.lengths > 0)[SPLIT.test.user_ix].sum())
    assert not evaluate({"m": model}, SPLIT.test, SPLIT.train, replace(QUICK, with_slices=False)).slices


def test_a_query_counts_in_each_slice_with_that_slices_targets():
    split = split_temporal(SPLIT.sequences, 0.8, "days", 8, "none")
    assert (np.diff(split.test.target_offsets) > 1).any()
    result = evaluate({"m": Oracle(split.test)}, split.test, split.train, QUICK)
    parts = [part for part in result.slices if part.title == "target popularity"]
    assert sum(part.n_targets for part in parts) == len(split.test.target_item_ix)
    assert sum(part.n_queries for part in parts) > len(split.test)
    users = np.zeros(len(split.train.items), dtype=np.int64)
    for part in cut(split.test, split.train, users):
        if part.title == "target popularity":
            assert part.label == "never in training"


def test_probabilities_are_judged():
    model = Oracle(SPLIT.test)
    honest = evaluate(
        {"m": model},
        SPLIT.test,
        SPLIT.train,
        QUICK,
        probabilities={"m": lambda _, ranking: (ranking.score > 1.0).astype(np.float64)},
    ).calibration["m"]
    assert (honest["brier"], honest["ece"]) == (0.0, 0.0)
    assert honest["n"] == 10 * len(SPLIT.test)
    boast = evaluate(
        {"m": model},
        SPLIT.test,
        SPLIT.train,
        QUICK,
        probabilities={"m": lambda _, ranking: np.ones(ranking.score.shape)},
    ).calibration["m"]
    assert boast["ece"] == pytest.approx(0.9)
    assert boast["brier_of_mean"] == pytest.approx(0.09)


class LastAction:
    """Says the action of the last event with probability 0.8."""

    def probabilities(self, queries):
        out = np.full((len(queries), 5), 0.1)
        out[:, :2] = 0
        last = queries.sequences.action_ix[queries.stop - 1]
        out[np.arange(len(queries)), last] = 0.8
        return out


def test_the_next_action_is_foreseen():
    result = evaluate(
        {"m": Oracle(SPLIT.test)}, SPLIT.test, SPLIT.train, QUICK, action_models={"last": LastAction()}
    )
    actual = SPLIT.test.target_action_ix
    by_user = (
        pl.DataFrame(
            {
                "user": SPLIT.test.user_ix,
                "common": actual == 2,
                "last": actual == SPLIT.sequences.action_ix[SPLIT.test.stop - 1],
            }
        )
        .group_by("user")
        .mean()
    )
    assert result.actions["most common action"].value == pytest.approx(by_user["common"].mean())
    assert result.actions["same action as last"].value == pytest.approx(by_user["last"].mean())
    assert result.actions["last"] == result.actions["same action as last"]
    assert result.calibration["last"]["n"] == len(SPLIT.test)


def test_vectors_give_content_metrics():
    vectors = np.random.default_rng(0).random((len(SPLIT.train.items), 4))
    row = evaluate({"m": Oracle(SPLIT.test)}, SPLIT.test, SPLIT.train, QUICK, vectors=vectors).models["m"]
    assert 0 < row["serendipity_content@10"].value < row["diversity@10"].value < 1


def test_the_table_prints_and_survives_json():
    result = evaluate(
        {"counts": Counts(SPLIT.train), "oracle": [Oracle(SPLIT.test, 4), Oracle(SPLIT.test, 3)]},
        SPLIT.test,
        SPLIT.train,
        replace(QUICK, k=5, also_k=(10,)),
        protocol=SPLIT.description,
        action_models={"last": LastAction()},
    )
    console = Console(file=io.StringIO(), width=200)
    result.render(console)
    text = console.file.getvalue()
    for words in ("Global temporal split", "ndcg@5", "oracle", "warm", "tail", "none sampled"):
        assert words in text
    assert "recall@5" not in text  # with one target it is the hit rate
    again = Evaluation.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert again.to_dict() == result.to_dict()
    frame = result.frame()
    assert frame["model"].to_list() == ["counts", "oracle"]
    assert frame["ndcg@10"].to_list() == [row["ndcg@10"].value for row in result.models.values()]
    assert {"ndcg@5_low", "ndcg@5_seed_sd", "auc", "gini@10"} <= set(frame.columns)
    assert result.differences_frame()["model"].unique().to_list() == ["oracle"]
    assert result.slices_frame().height == 2 * len(result.slices)
    with pytest.raises(DataError, match="format 1 or older"):
        Evaluation.from_dict(result.to_dict() | {"format": 2})


def test_progress_is_told_by_model():
    told = []
    evaluate(
        {"a": Counts(SPLIT.train), "b": [Counts(SPLIT.train)] * 2},
        SPLIT.test,
        SPLIT.train,
        QUICK,
        on_progress=lambda name, share: told.append((name, share)),
    )
    assert told == [("a", 1.0), ("b", 0.5), ("b", 1.0)]


def test_what_is_wrong_is_said():
    models = {"m": Counts(SPLIT.train)}
    with pytest.raises(LeakError, match="Training must end"):
        evaluate(models, SPLIT.test, SPLIT.sequences, QUICK)
    with pytest.raises(ConfigError, match="Known: m"):
        evaluate(models, SPLIT.test, SPLIT.train, replace(QUICK, baseline="pop"))
    with pytest.raises(ConfigError, match="one of the models"):
        evaluate({}, SPLIT.test, SPLIT.train, QUICK)
    with pytest.raises(ConfigError, match="'x', which is no model"):
        evaluate(models, SPLIT.test, SPLIT.train, QUICK, probabilities={"x": lambda q, r: r.score})
    with pytest.raises(TooLittleData, match="none of 3 queries"):
        evaluate(models, Queries.latest(SPLIT.sequences, np.arange(3)), SPLIT.train, QUICK)
    with pytest.raises(ShapeError, match="share the items"):
        evaluate(models, SPLIT.test, Sequences.from_lists([["a"]]), QUICK)
    for wrong in ({"k": 0}, {"also_k": (0,)}, {"ties": "best"}, {"average": "all"}, {"confidence": 2}):
        with pytest.raises(ConfigError):
            EvaluationConfig(**wrong)
