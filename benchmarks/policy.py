# SPDX-License-Identifier: Apache-2.0
"""What policy costs a request, and what its dial of diversity costs in hits.

    python benchmarks/policy.py [--items 1000000] [--repeats 300] [--users 1000]

Latency: 500 candidates of a simulated catalogue, a list of 10, 200 seen items; scenarios run in turns, so
that a busy machine slows all alike. Dial: MovieLens-1M, leave-one-out, ALS's best 500 for each of the sampled
users, likeness by ALS's vectors; hits of the held-out film, mean cosine within a list, distinct genres.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import polars as pl

from desirepath.models import BASELINES
from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.policy import Policy
from desirepath.recommend.ranking import top_k
from desirepath.recommend.scenario import BoostConfig, ExplorationConfig, PinConfig, ScenarioConfig
from desirepath.recommend.slate import Candidates, Counts, Request
from desirepath.sequences import Sequences
from desirepath.sequences.splits import split_leave_one_out
from record import DATA, record

N_CANDIDATES = 500
NOW_S = 1.8e9

BOOSTS = (BoostConfig(filter="price < 5", times=2.0), BoostConfig(filter="author == '5'", plus=1.0))
SCENARIOS = {
    "nothing but seen items": ScenarioConfig(),
    "filter": ScenarioConfig(filter="price < 60 and not 'c3' in categories"),
    "boosts and freshness": ScenarioConfig(boosts=BOOSTS, freshness_half_life_days=30.0),
    "values": ScenarioConfig(values={"click": 1.0, "hide": -2.0}),
    "pin": ScenarioConfig(pins=(PinConfig(item="77", position=2),)),
    "caps": ScenarioConfig(caps={"author": 2, "categories": 3}),
    "mmr": ScenarioConfig(diversity=0.3, diversity_method="mmr"),
    "dpp": ScenarioConfig(diversity=0.3),
    "dpp, filter, boosts, caps": ScenarioConfig(
        diversity=0.3,
        filter="price < 60 and not 'c3' in categories",
        boosts=BOOSTS,
        caps={"author": 2, "categories": 3},
    ),
    "epsilon": ScenarioConfig(exploration=ExplorationConfig(method="epsilon")),
    "thompson, 256 draws": ScenarioConfig(exploration=ExplorationConfig(method="thompson", slots=(5, 10))),
}


def simulated(n_items: int, rng: np.random.Generator) -> ItemAttributes:
    """A catalogue with prices, 20,000 authors, two of 40 categories an item, and ages."""
    size = n_items + 2
    ix = np.arange(size)
    created = pl.Series((NOW_S - rng.exponential(3e7, size)) * 1e6).cast(pl.Int64)
    return ItemAttributes(
        pl.DataFrame(
            {
                "item_id": [None, None, *map(str, range(n_items))],
                "price": rng.exponential(20.0, size),
                "author": rng.integers(0, 20_000, size).astype(str),
                "categories": [[f"c{j % 40}", f"c{j * 7 % 40}"] for j in ix.tolist()],
                "created_at": pl.from_epoch(created, time_unit="us"),
            }
        )
    )


def latency(n_items: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of `arrange` and `allowed` by scenario; the first call fills what is kept."""
    rng = np.random.default_rng(0)
    attributes = simulated(n_items, rng)
    size = len(attributes)
    vectors = rng.standard_normal((size, 64), dtype=np.float32)
    score = np.sort(rng.normal(size=N_CANDIDATES))[::-1].astype(np.float32)
    offered = Candidates(
        source="model",
        item_ix=rng.choice(np.arange(2, size), N_CANDIDATES, replace=False).astype(np.int32),
        score=score,
        probability=np.exp(score) / np.exp(score).sum(),
        actions=("click", "hide"),
        action_probability=rng.random((N_CANDIDATES, 2), dtype=np.float32),
    )
    counts = Counts(impressions=np.full(size, 100), clicks=rng.integers(0, 20, size))
    request = Request(seen_ix=rng.integers(2, size, 200), counts=counts, seed=3)
    policies = {name: Policy(scenario) for name, scenario in SCENARIOS.items()}
    figures: dict[str, Any] = {}
    arranged: dict[str, list[float]] = {name: [] for name in policies}
    masked: dict[str, list[float]] = {name: [] for name in policies}
    for name, policy in policies.items():
        begin = time.perf_counter()
        policy.allowed(attributes, request, now_s=NOW_S)
        policy.arrange(offered, attributes, vectors, request, NOW_S)
        figures[name] = {"first_ms": round((time.perf_counter() - begin) * 1e3, 1)}
    for _ in range(repeats):
        for name, policy in policies.items():
            begin = time.perf_counter()
            policy.allowed(attributes, request, now_s=NOW_S)
            middle = time.perf_counter()
            policy.arrange(offered, attributes, vectors, request, NOW_S)
            arranged[name].append((time.perf_counter() - middle) * 1e3)
            masked[name].append((middle - begin) * 1e3)
    for name in policies:
        figures[name] |= {
            "median_ms": round(float(np.median(arranged[name])), 3),
            "p99_ms": round(float(np.quantile(arranged[name], 0.99)), 3),
            "allowed_median_ms": round(float(np.median(masked[name])), 3),
        }
    return figures


def change(n_items: int) -> dict[str, float]:
    """Seconds to bring a catalogue that was asked before up to date with one changed price."""
    rng = np.random.default_rng(1)
    attributes = simulated(n_items, rng)
    attributes.mask("price < 60 and not 'c3' in categories")
    attributes.codes("author"), attributes.codes("categories")
    rows = attributes.table[[7]].with_columns(price=pl.lit(1.0))
    begin = time.perf_counter()
    attributes.replaced(np.array([7]), rows)
    replaced_s = time.perf_counter() - begin
    begin = time.perf_counter()
    ItemAttributes(attributes.table).warm(attributes)
    return {"replaced_s": round(replaced_s, 3), "warm_s": round(time.perf_counter() - begin, 3)}


def dial(n_users: int) -> dict[str, Any]:
    """Hits, likeness and genres of lists of 10, by method and dial."""
    folder = DATA / "movielens-1m-sequences"
    log = pl.read_csv(folder / "interactions.csv.gz").sort("user_id", "timestamp", maintain_order=True)
    lists = log.group_by("user_id", maintain_order=True).agg(pl.col("movie_id").cast(pl.String))
    split = split_leave_one_out(Sequences.from_lists(lists["movie_id"].to_list()))
    text = (folder / "movies.dat").read_text(encoding="latin-1")
    films = pl.DataFrame(
        [line.split("::") for line in text.splitlines()],
        schema=["item_id", "title", "categories"],
        orient="row",
    )
    attributes = ItemAttributes.aligned(films, split.sequences.items, split={"categories": "|"})
    model: Any = BASELINES["als"]().fit(split.full)
    vectors = model.item_vectors()
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    chosen = np.random.default_rng(0).permutation(len(split.test))[:n_users]
    queries = split.test[np.sort(chosen)]
    item_QN, score_QN = top_k(model, queries, N_CANDIDATES, mask_seen=True)
    targets = queries.target_item_ix[queries.target_offsets[:-1]]
    genres = attributes.codes("categories")
    figures: dict[str, Any] = {}
    for method in ("dpp", "mmr"):
        for turn in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9):
            policy = Policy(ScenarioConfig(diversity=turn, diversity_method=method))
            hits, alike, kinds = [], [], []
            for row in range(len(queries)):
                found = item_QN[row] > 0
                offered = Candidates(source="model", item_ix=item_QN[row][found], score=score_QN[row][found])
                shown = policy.arrange(offered, attributes, vectors, Request(), NOW_S).item_ix
                cosine = unit[shown] @ unit[shown].T
                hits.append(float(targets[row] in shown))
                alike.append(float(cosine[np.triu_indices(len(shown), 1)].mean()))
                kinds.append(len(np.unique(genres.of(shown)[1])))
            figures[f"{method} {turn}"] = {
                "hit_rate@10": round(float(np.mean(hits)), 4),
                "mean_cosine": round(float(np.mean(alike)), 4),
                "genres": round(float(np.mean(kinds)), 2),
            }
    return figures


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--users", type=int, default=1000)
    options = parser.parse_args()
    record(
        "policy",
        {
            "n_items": options.items,
            "n_candidates": N_CANDIDATES,
            "arrange": latency(options.items, options.repeats),
            "change": change(options.items),
            "dial": dial(options.users),
        },
    )


if __name__ == "__main__":
    main()
