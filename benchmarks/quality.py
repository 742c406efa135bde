# SPDX-License-Identifier: Apache-2.0
"""How well the transformer predicts on two public logs, by full ranking, beside the counting baselines.

    python benchmarks/quality.py --dataset beauty|ml1m [--seeds 0 1 2]

Choices are made on validation alone; the test is read once, at the epoch that validation chose.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from desirepath.models import BASELINES
from desirepath.models.base import Model
from desirepath.models.sasrec import SASRecConfig
from desirepath.recommend.ranking import target_ranks
from desirepath.sequences import Queries, Sequences, Vocabulary
from desirepath.sequences.splits import Split, split_leave_one_out, split_temporal
from desirepath.training import Progress, TrainConfig, fit_transformer
from desirepath.training.holdout import hold_out_last, mean_ndcg
from record import DATA, record


def beauty() -> tuple[Split, str]:
    """Amazon Beauty 2014, five-core, as the S3-Rec files order it; leave-one-out."""
    lines = (DATA / "leave-one-out-sequences" / "Beauty.txt").read_text().splitlines()
    split = split_leave_one_out(Sequences.from_lists([line.split()[1:] for line in lines]))
    return split, (
        "leave-one-out, full ranking over 12,101 items, seen items masked; at the test the history holds the "
        "validation item (it is not trained on); early stopping on validation NDCG@10 over all users"
    )


def movielens() -> tuple[Split, str]:
    """MovieLens-1M, five-core, stable order by time within a user; global temporal split."""
    log = pl.read_csv(DATA / "movielens-1m-sequences" / "interactions.csv.gz").sort(
        "user_id", "timestamp", maintain_order=True
    )
    users = log.group_by("user_id", maintain_order=True).len()
    movies = log["movie_id"].cast(pl.String)
    items = Vocabulary(movies.unique(maintain_order=True))
    sequences = Sequences(
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(users["len"].to_numpy(), dtype=np.int64)]),
        item_ix=items.encode(movies).astype(np.int32),
        action_ix=np.full(len(log), 2, np.int16),
        time_s=log["timestamp"].to_numpy().astype(np.float64),
        users=Vocabulary(users["user_id"].cast(pl.String), reserved=0),
        items=items,
        actions=Vocabulary(["event"]),
    )
    split = split_temporal(sequences, quantile=0.9, targets="successive", validation="none")
    return split, (
        "global temporal split at the 0.9 quantile, successive targets: each event after the cut given all "
        "before it, users without a history asked from their second event; full ranking over 3,416 items; no "
        "user meets an item twice, so masking seen items hides no target; early stopping on the last event "
        "before the cut of 2,000 users, kept out of training"
    )


SHAPES: dict[str, tuple[Callable[[], tuple[Split, str]], SASRecConfig, dict[str, Any]]] = {
    "beauty": (
        beauty,
        SASRecConfig(dim=64, max_len=50, dropout=0.6, attention_dropout=0.6, places="from_newest"),
        {
            "epochs": 150,
            "batch_size": 512,
            "learning_rate": 5e-4,
            "weight_decay": 0.0,
            "validate_every": 3,
            "patience": 8,
        },
    ),
    "ml1m": (
        movielens,
        SASRecConfig(dim=128, max_len=128, dropout=0.3),
        {
            "epochs": 20,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "weight_decay": 0.0,
            "overlap": 32,
        },
    ),
}


def measures(model: Model, queries: Queries) -> dict[str, float]:
    """NDCG@10 and HitRate@10 over queries and as a mean of users' means, seen items masked or not."""
    figures: dict[str, float] = {}
    for label, hide_seen in (("", True), (" (seen not masked)", False)):
        rank = target_ranks(model, queries, mask_seen=hide_seen)
        gain, hit = np.where(rank <= 10, 1 / np.log2(rank + 1.0), 0.0), (rank <= 10).astype(float)
        figures[f"NDCG@10{label}"] = float(gain.mean())
        figures[f"HitRate@10{label}"] = float(hit.mean())
        user, n = np.unique(queries.user_ix, return_inverse=True)[1], np.bincount(queries.user_ix)
        n = n[n > 0]
        if n.max() > 1:
            figures[f"NDCG@10 by user{label}"] = float((np.bincount(user, gain) / n).mean())
            figures[f"HitRate@10 by user{label}"] = float((np.bincount(user, hit) / n).mean())
    return {name: round(value, 5) for name, value in figures.items()}


def train_one(
    dataset: str, split: Split, seed: int, folder: Path | None, options: dict[str, Any]
) -> dict[str, Any]:
    """One seed, from weights to test figures."""
    _, shape, settings = SHAPES[dataset]
    config = TrainConfig(**settings | options | {"seed": seed})
    train, asked = split.train, split.validation
    if not len(asked):
        held = hold_out_last(train, n_users=2000, seed=seed)
        train, asked = held.train, held.queries

    def show(progress: Progress) -> None:
        if progress.metric is not None:
            print(
                f"seed {seed} epoch {progress.epoch}: loss {progress.loss:.4f}, validation NDCG@10 "
                f"{progress.metric:.4f} (best {progress.best_metric:.4f} at {progress.best_epoch}), "
                f"{progress.targets_per_s:,.0f} targets/s, {progress.elapsed_s:,.0f} s",
                flush=True,
            )

    model = fit_transformer(
        shape,
        config,
        train,
        validate=lambda m: mean_ndcg(m, asked, hide_seen=True),
        on_progress=show,
        checkpoint_folder=None if folder is None else folder / f"{dataset}-{seed}",
    )
    best = model.history[model.best_epoch]
    return {
        "seed": seed,
        "validation NDCG@10": round(float(best["metric"] or 0.0), 5),
        "best epoch": model.best_epoch + 1,
        "epochs": len(model.history),
        "train seconds": round(float(model.history[-1]["elapsed_s"] or 0.0)),
        **measures(model, split.test),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", choices=sorted(SHAPES), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", type=Path, help="keep runs there, so that a cut benchmark goes on")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other training options")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = {
        name: float(value) if "." in value or "e" in value else int(value)
        for name, value in (pair.split("=") for pair in arguments.set)
    }
    split, protocol = SHAPES[arguments.dataset][0]()
    rows: dict[str, Any] = {}
    for name in ("popularity", "markov"):
        rows[name] = measures(BASELINES[name]().fit(split.full), split.test)
        print(name, rows[name], flush=True)
    began = time.perf_counter()
    runs = [train_one(arguments.dataset, split, seed, arguments.folder, options) for seed in arguments.seeds]
    figures = {
        "protocol": protocol,
        "split": split.description,
        "model": asdict(SHAPES[arguments.dataset][1]),
        "training": SHAPES[arguments.dataset][2] | options,
        "threads": arguments.threads,
        "test queries": len(split.test),
        "baselines": rows,
        "sasrec runs": runs,
        "sasrec mean": {
            name: {
                "mean": round(float(np.mean([run[name] for run in runs])), 5),
                "sd": round(float(np.std([run[name] for run in runs], ddof=1)), 5) if len(runs) > 1 else None,
            }
            for name in runs[0]
            if "@10" in name
        },
        "seconds": round(time.perf_counter() - began),
    }
    record(f"quality-{arguments.dataset}", figures)


if __name__ == "__main__":
    main()
