# SPDX-License-Identifier: Apache-2.0
"""RecTools' side of benchmarks/evaluation.py; run by an interpreter that has RecTools, not by ours.

    PEER/bin/python evaluation_peer.py Beauty.txt factors.npz repeats

Prints JSON: best-of-`repeats` seconds of recommend and of calc_metrics, and the metrics, for its
SASRecModel and for its two rankers over given factors. Only RecTools' public calls are timed; data
frames, ids and CSR matrices are made before.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    CatalogCoverage,
    HitRate,
    MeanInvUserFreq,
    Precision,
    Recall,
    calc_metrics,
)
from rectools.models import SASRecModel
from rectools.models.rank import Distance, ImplicitRanker, TorchRanker

K = 10


def load(path: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is known before each user's last event, and that event."""
    lines = [line.split() for line in Path(path).read_text().splitlines()]
    rows = [(line[0], item, n) for line in lines for n, item in enumerate(line[1:])]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "order"]).astype(np.int64)
    log[Columns.Datetime] = pd.to_datetime(log["order"], unit="D")
    log[Columns.Weight] = 1.0
    last = log.groupby("user_id")["order"].transform("max") == log["order"]
    return log[~last].drop(columns="order"), log[last].drop(columns="order")


def timed(call, repeats: int):
    best, answer = float("inf"), None
    for _ in range(repeats):
        began = time.perf_counter()
        answer = call()
        best = min(best, time.perf_counter() - began)
    return best, answer


def measure(reco: pd.DataFrame, asked: pd.DataFrame, known: pd.DataFrame, catalog, repeats: int):
    metrics = {
        "hit_rate": HitRate(k=K),
        "ndcg": NDCG(k=K, divide_by_achievable=True),
        "mrr": MRR(k=K),
        "recall": Recall(k=K),
        "precision": Precision(k=K),
        "map": MAP(k=K),
        "novelty": MeanInvUserFreq(k=K),
        "coverage": CatalogCoverage(k=K, normalize=True),
    }
    return timed(
        lambda: calc_metrics(
            metrics, reco=reco, interactions=asked, prev_interactions=known, catalog=catalog
        ),
        repeats,
    )


def sasrec(known: pd.DataFrame, asked: pd.DataFrame, repeats: int) -> dict:
    """The model's own way: recommend for all users, then the metrics of the frame it gives."""
    dataset = Dataset.construct(known)
    model = SASRecModel(
        n_factors=64,
        n_blocks=2,
        n_heads=1,
        session_max_len=50,
        loss="softmax",
        # The weights do not matter to the time: one batch is enough to have a fitted model.
        get_trainer_func=lambda: Trainer(
            max_epochs=1,
            limit_train_batches=1,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            logger=False,
            accelerator="cpu",
        ),
    )
    model.fit(dataset)
    answers = {}
    users = asked["user_id"].unique()
    for batch in (256, 2048):
        model.recommend_batch_size = batch
        seconds, reco = timed(
            lambda: model.recommend(users=users, dataset=dataset, k=K, filter_viewed=False), repeats
        )
        metrics_s, _ = measure(reco, asked, known, known["item_id"].unique(), repeats)
        answers[f"sasrec, batches of {batch}"] = {"recommend_s": seconds, "metrics_s": metrics_s}
    return answers


def rankers(known: pd.DataFrame, asked: pd.DataFrame, factors, repeats: int) -> dict:
    """RecTools' rankers over the same factors as ours, and its metrics of their lists."""
    users, items = torch.from_numpy(factors["users"]), torch.from_numpy(factors["items"])
    user_id, item_id = factors["user_id"], factors["item_id"]
    every = np.arange(len(users))
    ways = {
        "torch ranker, batches of 128": lambda: TorchRanker(Distance.DOT, "cpu", users, items).rank(
            every, k=K
        ),
        "torch ranker, batches of 2048": lambda: TorchRanker(
            Distance.DOT, "cpu", users, items, batch_size=2048
        ).rank(every, k=K),
        "implicit ranker": lambda: ImplicitRanker(
            Distance.DOT, users.numpy(), items.numpy(), num_threads=os.cpu_count() or 1
        ).rank(every, k=K),
    }
    answers = {}
    for name, way in ways.items():
        seconds, (subject, listed, score) = timed(way, repeats)
        reco = pd.DataFrame(
            {Columns.User: user_id[subject], Columns.Item: item_id[listed], Columns.Score: score}
        )
        reco[Columns.Rank] = reco.groupby(Columns.User, sort=False).cumcount() + 1
        metrics_s, found = measure(reco, asked, known, item_id, repeats)
        answers[name] = {"recommend_s": seconds, "metrics_s": metrics_s, "metrics": found}
    return answers


def main() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    path, factors, repeats = sys.argv[1], dict(np.load(sys.argv[2])), int(sys.argv[3])
    known, asked = load(path)
    answers = sasrec(known, asked, repeats) | rankers(known, asked, factors, repeats)
    from importlib import metadata

    version = metadata.version("rectools")
    print(json.dumps({"version": version, "threads": torch.get_num_threads(), "ways": answers}))


if __name__ == "__main__":
    main()
