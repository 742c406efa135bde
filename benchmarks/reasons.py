# SPDX-License-Identifier: Apache-2.0
"""Are reasons faithful, and what do they cost?

    .venv/bin/python benchmarks/reasons.py [cost]

On the simulated shop: how much of an item's probability goes with the event that is named as its reason, and
how much with another event drawn at random.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from desirepath.models import BASELINES, Model
from desirepath.models.sasrec import SASRec, SASRecConfig
from desirepath.recommend import Calibration
from desirepath.recommend.explanation import ExplanationConfig, explain
from desirepath.recommend.ranking import top_k
from desirepath.schema import FIRST, REQUIRED
from desirepath.sequences import Queries, Sequences, Vocabulary
from desirepath.sequences.build import pack_events
from desirepath.sequences.splits import split_temporal
from desirepath.simulate import demo, simulate
from desirepath.training import TrainConfig, Transformer
from record import RESULTS, record


def shop() -> Sequences:
    """The demo's simulated shop, without its planted impossible times."""
    log = simulate(demo()).events.select(list(REQUIRED)).drop_nulls()
    return pack_events(log.filter(pl.col("time").dt.year() == 2025))


def fidelity(model: Model, calibration: Calibration, queries: Queries, seed: int = 0) -> dict[str, float]:
    """What goes with the named event and with a random one, as shares of the best item's probability."""
    item_QK = top_k(model, queries, 1)[0]
    found = explain(model, queries, item_QK, calibration=calibration)
    lost_E = 1.0 - found.without_EK[:, 0] / np.maximum(found.probability_QK[found.query_E, 0], 1e-12)
    moved_E = found.log_odds_QK[found.query_E, 0] - found.log_odds_without_EK[:, 0]
    order = np.lexsort((moved_E, found.query_E))
    n_looked = np.bincount(found.query_E, minlength=len(queries))
    end = np.cumsum(n_looked)
    top = order[end - 1]
    drawn = order[end - 1 - np.random.default_rng(seed).integers(n_looked)]
    totals = found.totals()
    return {
        "queries": len(queries),
        "lost_with_reason": float(np.mean(lost_E[top])),
        "lost_with_random": float(np.mean(lost_E[drawn])),
        "decided": float(totals["decided"].mean()),
        "median_share_of_history": float(
            np.median(1.0 - totals["probability_empty"] / totals["probability"].clip(1e-12))
        ),
    }


def milliseconds(work: Callable[[], Any], n: int = 100) -> float:
    """Median of n runs after a few to warm up."""
    taken = []
    for number in range(n + 5):
        begun = time.perf_counter()
        work()
        if number >= 5:
            taken.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(taken))


def costs(n_items: int = 3416) -> dict[str, float]:
    """One explanation of ten items beside one answer: SASRec of length 200 and width 64, untrained."""
    shape = SASRecConfig(dim=64, max_len=200)
    items = Vocabulary([str(item) for item in range(n_items)])
    weights = SASRec(shape, len(items)).state_dict()
    model = Transformer(shape, TrainConfig(precision="float32")).restore(
        {name: value.numpy() for name, value in weights.items()}
    )
    history = np.random.default_rng(0).integers(n_items, size=250)
    queries = Queries.from_items([[str(item) for item in history]], items)
    asked = np.arange(FIRST, FIRST + 10)[None, :]
    config = ExplanationConfig(max_events=50)
    return {
        "items": float(n_items),
        "scores_ms": milliseconds(lambda: model.scores(queries), 50),
        "explain_50_ms": milliseconds(lambda: explain(model, queries, asked, config=config), 20),
        "explain_10_ms": milliseconds(
            lambda: explain(model, queries, asked, config=ExplanationConfig(max_events=10)), 20
        ),
    }


def faithful() -> dict[str, Any]:
    """Fidelity of three models on the shop."""
    split = split_temporal(shop())
    queries = split.test[np.flatnonzero(split.test.lengths >= 6)[::20]]
    small = Transformer(SASRecConfig(dim=32, n_layers=1, max_len=30), TrainConfig(epochs=3))
    models: dict[str, Model] = {name: BASELINES[name]().fit(split.train) for name in ("markov", "item-knn")}
    models["sasrec"] = small.fit(split.train)
    return {
        f"fidelity_{name}": fidelity(model, Calibration.fit(model, split.validation), queries)
        for name, model in models.items()
    }


def main() -> None:
    """Measure, print and keep."""
    newest = sorted(RESULTS.glob("*-reasons.json"))[-1:]
    if sys.argv[1:] == ["cost"] and newest:
        figures = json.loads(newest[0].read_text())["figures"] | {"cost": costs()}
    else:
        figures = {"cost": costs()} | faithful()
    record("reasons", figures)


if __name__ == "__main__":
    main()
