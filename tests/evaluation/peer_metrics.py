# SPDX-License-Identifier: Apache-2.0
"""Asks other libraries for their metrics of given lists; run by a Python that has them, not by ours.

    PEER/bin/python peer_metrics.py < worlds.json > answers.json

A world is {"k", "lists", "targets", "history", "catalog", "features"} of plain item numbers, best
first. RecTools and ranx need other versions of numpy than we do, or many packages; so their answers to
the worlds of test_metrics.py are kept in peer_metrics.json, and asked for anew where
DESIREPATH_PEER_PYTHON names an interpreter with RecTools.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata


def rectools(world):
    import pandas as pd
    from rectools import Columns
    from rectools.metrics import (
        MAP,
        MRR,
        NDCG,
        AvgRecPopularity,
        CatalogCoverage,
        HitRate,
        IntraListDiversity,
        MeanInvUserFreq,
        Precision,
        Recall,
        Serendipity,
    )
    from rectools.metrics.distances import PairwiseHammingDistanceCalculator

    def frame(rows):
        return pd.DataFrame(
            [(q, item, place) for q, row in enumerate(rows) for place, item in enumerate(row, 1)],
            columns=[Columns.User, Columns.Item, Columns.Rank],
        )

    k, catalog = world["k"], world["catalog"]
    reco = frame(world["lists"])
    asked, seen = frame(world["targets"]), frame(world["history"])[[Columns.User, Columns.Item]]
    asked, seen = asked[[Columns.User, Columns.Item]], seen.drop_duplicates()
    features = pd.DataFrame({int(i): f for i, f in world["features"].items()}).T
    ild = IntraListDiversity(k=k, distance_calculator=PairwiseHammingDistanceCalculator(features))
    per_user = {
        "precision": Precision(k=k).calc_per_user(reco, asked),
        "recall": Recall(k=k).calc_per_user(reco, asked),
        "hit_rate": HitRate(k=k).calc_per_user(reco, asked),
        "mrr": MRR(k=k).calc_per_user(reco, asked),
        "ndcg achievable": NDCG(k=k, divide_by_achievable=True).calc_per_user(reco, asked),
        "ndcg k": NDCG(k=k, divide_by_achievable=False).calc_per_user(reco, asked),
        "map targets": MAP(k=k, divide_by_k=False).calc_per_user(reco, asked),
        "map k": MAP(k=k, divide_by_k=True).calc_per_user(reco, asked),
        "novelty": MeanInvUserFreq(k=k).calc_per_user(reco, seen),
        "popularity": AvgRecPopularity(k=k, normalize=False).calc_per_user(reco, seen),
        "serendipity_popularity": Serendipity(k=k).calc_per_user(reco, asked, seen, catalog),
        "diversity_attributes": ild.calc_per_user(reco),
    }
    answers = {name: values.sort_index().tolist() for name, values in per_user.items()}
    answers["coverage"] = CatalogCoverage(k=k, normalize=True).calc(reco, catalog)
    return answers


def ranx(world):
    from ranx import Qrels, Run, evaluate

    k = world["k"]
    qrels = {f"q{q:04}": {str(i): 1 for i in row} for q, row in enumerate(world["targets"])}
    run = {f"q{q:04}": {str(i): -float(p) for p, i in enumerate(row)} for q, row in enumerate(world["lists"])}
    names = {
        "precision": f"precision@{k}",
        "recall": f"recall@{k}",
        "hit_rate": f"hit_rate@{k}",
        "mrr": f"mrr@{k}",
        "ndcg achievable": f"ndcg@{k}",
        "map targets": f"map@{k}",
    }
    found = evaluate(Qrels(qrels), Run(run), list(names.values()), return_mean=False)
    return {ours: [float(v) for v in found[theirs]] for ours, theirs in names.items()}


def main() -> None:
    worlds = json.load(sys.stdin)
    answers = {}
    for name, ask, package in (("rectools", rectools, "RecTools"), ("ranx", ranx, "ranx")):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        answers[name] = {"version": version, "worlds": [ask(world) for world in worlds]}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
