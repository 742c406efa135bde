# SPDX-License-Identifier: Apache-2.0
"""Ranks a model's answers to fixed queries and measures them: one row of a comparison.

It knows one model (or several seeds of it) at a time, and neither intervals nor tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.evaluation import beyond, metrics
from desirepath.evaluation.bootstrap import Average
from desirepath.models.base import Model
from desirepath.recommend.ranking import Ranking, rank
from desirepath.sequences import Queries, Sequences

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """How models are compared."""

    k: int = 10
    """Length of the lists that the headline metrics read, at least 1."""
    also_k: tuple[int, ...] = ()
    """Further lengths to report, each at least 1."""
    mask_seen: bool = False
    """Hide from each list what stands in the query's own history. Repeats then count as missed."""
    average: Average = "users"
    """"users": each user's mean counts once, however many queries it has; "queries": all pooled."""
    ties: Literal["drawn", "pessimistic"] = "drawn"
    """Equal scores: "drawn" orders them by a seeded draw, as the lists do; "pessimistic" puts the target
    last among its equals."""
    baseline: str | None = None
    """The model that differences are taken from; the first one when None."""
    confidence: float = 0.95
    """Of the intervals, between 0 and 1."""
    n_resamples: int = 1000
    """Draws of users behind the intervals, at least 1."""
    n_bins: int = 15
    """Bins of the calibration table, at least 1."""
    with_slices: bool = True
    """Whether to compare by kind of user, length of history and popularity of the target, too."""
    batch_size: int | None = None
    """Queries scored at once; what 32 MiB of scores hold when None."""
    seed: int = 0
    """Of the draws for ties and intervals."""

    def __post_init__(self) -> None:
        if min((self.k, *self.also_k)) < 1:
            raise ConfigError(f"k and also_k must be at least 1; got {(self.k, *self.also_k)}.")
        if self.ties not in ("drawn", "pessimistic"):
            raise ConfigError(f"ties must be 'drawn' or 'pessimistic'; got '{self.ties}'.")
        if self.average not in ("users", "queries"):
            raise ConfigError(f"average must be 'users' or 'queries'; got '{self.average}'.")
        if not 0.0 < self.confidence < 1.0 or self.n_resamples < 1 or self.n_bins < 1:
            raise ConfigError("confidence must lie between 0 and 1, n_resamples and n_bins be at least 1.")

    @property
    def lengths(self) -> tuple[int, ...]:
        """All list lengths, the headline's first."""
        return tuple(dict.fromkeys((self.k, *self.also_k)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one row of the table is made of; values are means over the seeds."""

    values: dict[str, Floats]
    """Metric to (Q,)."""
    whole: dict[str, float]
    """Metric of all lists together to its figure."""
    seed_values: list[dict[str, Floats]]
    seed_whole: list[dict[str, float]]
    ranks: list[NDArray[np.int64]]
    """(T,) of each seed."""
    ranking: Ranking
    """Of the first seed."""
    lists: NDArray[np.int32]
    relevant: NDArray[np.bool_]
    """(Q, K) of the first seed."""
    seconds: float


class Judge:
    """Ranks a model's answers to fixed queries and measures them."""

    def __init__(
        self,
        queries: Queries,
        train: Sequences,
        config: EvaluationConfig,
        vectors: NDArray[np.floating] | None,
    ) -> None:
        self.queries, self.train, self.config, self.vectors = queries, train, config, vectors
        self.users_V = beyond.users_per_item(train)
        self.n_users = max(int((train.lengths > 0).sum()), 1)
        self.group_V = beyond.popularity_group(self.users_V)
        self.n_items = queries.sequences.n_items

    def row(
        self,
        models: list[Model],
        baseline: NDArray[np.int32] | None,
        step: Callable[[int], Callable[[int], None] | None],
    ) -> Row:
        """The row of one model, or of several seeds of it."""
        began = time.perf_counter()
        rankings = [self._rank(model, step(place)) for place, model in enumerate(models)]
        seconds = time.perf_counter() - began
        ranks = [r.pessimistic_rank if self.config.ties == "pessimistic" else r.rank for r in rankings]
        hits = [self._relevant(r) for r in rankings]
        first = rankings[0].item_ix if baseline is None else baseline
        values, whole = [], []
        for ranking, places, hit in zip(rankings, ranks, hits, strict=True):
            values.append(
                accuracy(places, self.queries.target_offsets, self.config.lengths)
                | {
                    "auc": metrics.auc(
                        ranking.better, ranking.tied, self.queries.target_offsets, ranking.n_candidates
                    )
                }
                | self._beyond(ranking.item_ix, hit, first)
            )
            whole.append(self._whole(ranking.item_ix))
        return Row(
            values={name: np.mean([v[name] for v in values], axis=0) for name in values[0]},
            whole={name: float(np.mean([w[name] for w in whole])) for name in whole[0]},
            seed_values=values,
            seed_whole=whole,
            ranks=ranks,
            ranking=rankings[0],
            lists=rankings[0].item_ix,
            relevant=hits[0],
            seconds=seconds,
        )

    def _rank(self, model: Model, on_progress: Callable[[int], None] | None) -> Ranking:
        return rank(
            model,
            self.queries,
            max(self.config.lengths),
            mask_seen=self.config.mask_seen,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            on_progress=on_progress,
        )

    def _relevant(self, ranking: Ranking) -> NDArray[np.bool_]:
        """(Q, K) which places hold a target: lists and drawn ranks tell the same."""
        query = np.repeat(np.arange(len(self.queries)), np.diff(self.queries.target_offsets))
        listed = ranking.rank <= ranking.item_ix.shape[1]
        hit = np.zeros(ranking.item_ix.shape, dtype=np.bool_)
        hit[query[listed], ranking.rank[listed] - 1] = True
        return hit

    def _beyond(
        self, lists: NDArray[np.int32], hit: NDArray[np.bool_], baseline: NDArray[np.int32]
    ) -> dict[str, Floats]:
        found = {}
        for k in self.config.lengths:
            items, hits = lists[:, :k], hit[:, :k]
            found[f"novelty@{k}"] = beyond.novelty(items, self.users_V, self.n_users)
            found[f"popularity@{k}"] = beyond.popularity(items, self.users_V, self.n_users)
            found[f"tail_share@{k}"] = beyond.tail_share(items, self.group_V)
            found[f"serendipity_popularity@{k}"] = beyond.serendipity_popularity(items, hits, self.users_V)
            found[f"unexpectedness@{k}"] = beyond.unexpectedness(items, baseline[:, :k])
            if self.vectors is None:
                found[f"diversity@{k}"] = beyond.diversity_users(items, self.train)
            else:
                found[f"diversity@{k}"] = beyond.diversity_vectors(items, self.vectors)
                found[f"serendipity_content@{k}"] = beyond.serendipity_content(
                    items, hits, self.queries, self.vectors
                )
        return found

    def _whole(self, lists: NDArray[np.int32]) -> dict[str, float]:
        found = {}
        for k in self.config.lengths:
            found[f"coverage@{k}"] = beyond.coverage(lists[:, :k], self.n_items)
            found[f"gini@{k}"] = beyond.gini(lists[:, :k], self.n_items)
        return found


def accuracy(
    ranks: NDArray[np.int64], offsets: NDArray[np.int64], lengths: Sequence[int]
) -> dict[str, Floats]:
    """Every accuracy metric of `metrics` but AUC at each length, such as "ndcg@10", each (Q,)."""
    found = {}
    for k in lengths:
        found[f"ndcg@{k}"] = metrics.ndcg(ranks, offsets, k)
        found[f"hit_rate@{k}"] = metrics.hit_rate(ranks, offsets, k)
        found[f"recall@{k}"] = metrics.recall(ranks, offsets, k)
        found[f"precision@{k}"] = metrics.precision(ranks, offsets, k)
        found[f"mrr@{k}"] = metrics.mrr(ranks, offsets, k)
        found[f"map@{k}"] = metrics.average_precision(ranks, offsets, k)
    return found
