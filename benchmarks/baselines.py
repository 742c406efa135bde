# SPDX-License-Identifier: Apache-2.0
"""Every baseline on MovieLens-1M or Beauty, leave-one-out: quality, honesty of probabilities, and time.

    python benchmarks/baselines.py [--dataset ml1m|beauty] [--rows markov item-knn ...]

Peers in the same run: the neighbours of `implicit.nearest_neighbours.CosineRecommender`, and the lists of
implicit's own ALS `recommend` with recalculated users, both with all threads.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from desirepath.evaluation.calibration import ece
from desirepath.evaluation.metrics import hit_rate, ndcg
from desirepath.models import BASELINES
from desirepath.models.counts import interactions
from desirepath.models.factorisation import Als
from desirepath.models.neighbours import cosine_neighbours
from desirepath.recommend import Calibration, make_lists
from desirepath.recommend.ranking import rank, top_k
from desirepath.sequences import Sequences
from desirepath.sequences.splits import Split, split_leave_one_out
from record import DATA, record


def load(dataset: str) -> Split:
    """The log in the order of its file, each user's last item for the test and the one before to choose."""
    if dataset == "beauty":
        lines = (DATA / "leave-one-out-sequences" / "Beauty.txt").read_text().splitlines()
        return split_leave_one_out(Sequences.from_lists([line.split()[1:] for line in lines]))
    log = pl.read_csv(DATA / "movielens-1m-sequences" / "interactions.csv.gz")
    log = log.sort("user_id", "timestamp", maintain_order=True)
    histories = log.group_by("user_id", maintain_order=True).agg(pl.col("movie_id").cast(pl.String))
    world = Sequences.from_lists(histories["movie_id"].to_list())
    return split_leave_one_out(replace(world, time_s=log["timestamp"].to_numpy().astype(np.float64)))


def judged(row: str, split: Split) -> dict[str, Any]:
    """Quality of the model fitted on train and validation; its probabilities from the fit on train alone."""
    model = BASELINES[row]()
    calibration = Calibration.fit(model.fit(split.train), split.validation)
    lists = make_lists(model, split.test, 10, calibration=calibration, mask_seen=True)
    came = lists.item_ix == split.test.single_target[:, None]
    started = time.perf_counter()
    model.fit(split.full)
    fit_s = time.perf_counter() - started
    started = time.perf_counter()
    ranks = rank(model, split.test, 10, mask_seen=True).rank
    rank_s = time.perf_counter() - started
    offsets = split.test.target_offsets
    return {
        "hit_rate_10": round(float(hit_rate(ranks, offsets, 10).mean()), 4),
        "ndcg_10": round(float(ndcg(ranks, offsets, 10).mean()), 4),
        "ece": round(ece(lists.probability.ravel(), came.ravel()), 5),
        "ece_equal_counts": round(ece(lists.probability.ravel(), came.ravel(), bins="count"), 5),
        "stated_hits": round(float(lists.probability.sum(axis=1).mean()), 4),
        "true_hits": round(float(came.any(axis=1).mean()), 4),
        "fit_s": round(fit_s, 2),
        "rank_s": round(rank_s, 2),
    }


def best_of(n: int, work: Any) -> float:
    """Shortest of n runs, seconds."""
    took = []
    for _ in range(n):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return min(took)


def against_peers(split: Split) -> dict[str, float]:
    """Seconds of ours over seconds of the peer; below 1 is faster."""
    from implicit.nearest_neighbours import CosineRecommender

    matrix = interactions(split.full)
    plain = sp.csr_matrix(matrix).astype(np.float64)
    ours = best_of(3, lambda: cosine_neighbours(matrix, 100))
    peer = best_of(3, lambda: CosineRecommender(K=101).fit(plain, show_progress=False))
    model = Als().fit(split.full)
    histories = sp.csr_matrix(interactions(split.full, binary=False))
    histories.data = 1 + model.config.confidence * histories.data
    users = np.arange(len(split.test))
    lists = best_of(3, lambda: top_k(model, split.test, 10, mask_seen=True))
    with threadpool_limits(1, "blas"):
        peer_lists = best_of(
            3, lambda: model._solver.recommend(users, histories, N=10, recalculate_user=True)
        )
    return {
        "neighbours_s": round(ours, 2),
        "neighbours_peer_s": round(peer, 2),
        "neighbours_ratio": round(ours / peer, 2),
        "als_lists_s": round(lists, 2),
        "als_lists_peer_s": round(peer_lists, 2),
        "als_lists_ratio": round(lists / peer_lists, 2),
    }


def main() -> None:
    """Judge the rows asked for, compare with the peers, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=["ml1m", "beauty"], default="ml1m")
    parser.add_argument("--rows", nargs="*", choices=list(BASELINES), default=list(BASELINES))
    options = parser.parse_args()
    split = load(options.dataset)
    figures: dict[str, Any] = {"protocol": split.description}
    for row in options.rows:
        figures[row] = judged(row, split)
        print(row, figures[row], flush=True)
    figures["peers"] = against_peers(split)
    record(f"baselines-{options.dataset}", figures)


if __name__ == "__main__":
    main()
