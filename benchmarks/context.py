# SPDX-License-Identifier: Apache-2.0
"""Do place, device and time of day make lists better on real logs?

    .venv/bin/python benchmarks/context.py deskdrop
    .venv/bin/python benchmarks/context.py globo

Each event after a cut is asked for with the device, place and hour that it came with, given its user's
events before it: once by the model alone, once with the lifts that the log before the cut shows. How much
of a lift is added, and how many events it is drawn by, is chosen on the tenth of the log before the newest
tenth; that is asked once. Likelihoods are those of a softmax whose temperature is fitted there too. Real logs
are read from DESIREPATH_DATA.
"""

from __future__ import annotations

import io
import sys
import zipfile
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import minimize_scalar

from desirepath.evaluation.bootstrap import interval, resample
from desirepath.live.context import HOUR, ContextConfig, ContextLift
from desirepath.models import BASELINES, Model
from desirepath.models.sasrec import SASRecConfig
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.build import pack_events
from desirepath.sequences.splits import split_temporal
from desirepath.training import TrainConfig, Transformer
from record import DATA, record

MOST = 3000
"""Events asked for at most, drawn at random."""
SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Macintosh", "Linux")
PRIORS = (10.0, 20.0, 50.0, 200.0)
SHARES = (0.25, 0.5, 1.0)
PLACE = "all but the hour"
WAYS = (("50 events", 50.0, 1.0), ("in force", ContextConfig().prior_events, ContextConfig().share))
"""How lifts were once added, and how they are."""


def deskdrop() -> Sequences:
    """The intranet reader; a fifth of its events do not tell device or place."""
    with zipfile.ZipFile(DATA / "deskdrop-interactions" / "users_interactions.csv.zip") as archive:
        raw = pl.read_csv(io.BytesIO(archive.read(archive.namelist()[0])), infer_schema=False)
    device = pl.coalesce(
        pl.when(pl.col("userAgent").str.contains(name, literal=True)).then(pl.lit(name)) for name in SYSTEMS
    )
    return pack_events(
        raw.select(
            pl.col("personId").alias("user_id"),
            pl.col("contentId").alias("item_id"),
            pl.col("eventType").alias("action"),
            _moment(raw["timestamp"].cast(pl.Int64) * 1_000_000),
            device.alias("device"),
            pl.col("userCountry").alias("country"),
            pl.concat_str("userCountry", "userRegion", separator="-").alias("region"),
        )
    )


def globo() -> Sequences:
    """Two weeks of a news site; a tenth of its users."""
    names = {
        "click_deviceGroup": "device",
        "click_country": "country",
        "click_region": "region",
        "click_referrer_type": "source",
    }
    wanted = ["user_id", "click_article_id", "click_timestamp", *names]
    with zipfile.ZipFile(DATA / "globo-clicks" / "clicks.zip") as archive:
        parts = [
            pl.read_csv(io.BytesIO(archive.read(name)), columns=wanted, infer_schema=False)
            for name in archive.namelist()
            if name.endswith(".csv")
        ]
    raw = pl.concat(parts).filter(pl.col("user_id").cast(pl.Int64) % 10 == 0)
    return pack_events(
        raw.select(
            "user_id",
            pl.col("click_article_id").alias("item_id"),
            pl.lit("click").alias("action"),
            _moment(raw["click_timestamp"].cast(pl.Int64) * 1000),
            *(pl.col(column).alias(name) for column, name in names.items()),
        )
    )


def _moment(time_us: pl.Series) -> pl.Series:
    return pl.from_epoch(time_us, "us").cast(pl.Datetime("us", "UTC")).alias("time")


class Asked:
    """Questions with the scores of a model, the context of each, and the item that came."""

    def __init__(self, model: Model, log: Sequences, queries: Queries, train: Sequences) -> None:
        """Score every question; items that `train` has not met are left out."""
        known = np.zeros(len(log.items), np.bool_)
        known[np.unique(train.item_ix)] = True
        queries = queries[np.flatnonzero(known[queries.target_item_ix])]
        if len(queries) > MOST:
            queries = queries[np.sort(np.random.default_rng(0).choice(len(queries), MOST, replace=False))]
        self.user, self.target = queries.user_ix, np.asarray(queries.target_item_ix, np.int64)
        scores_QV = model.scores(queries).astype(np.float64)
        self.columns = np.flatnonzero(known)
        self.at = np.searchsorted(self.columns, self.target)
        scores_QV = scores_QV[:, self.columns]
        # What a model gives no score at all comes last, not infinitely late.
        least = np.where(np.isfinite(scores_QV), scores_QV, np.inf).min(axis=1, keepdims=True)
        self.scores_QV = np.maximum(scores_QV, least)
        row = queries.stop  # the target is the row after the history
        self.values = {HOUR: ((np.asarray(log.time_s)[row] % 86_400) // 3600).astype(int).astype(str)}
        for key, words in log.labels.items():
            code = np.asarray(log.context[key])[row]
            self.values[key] = np.array(["", "", *words.ids.to_list()])[code]

    def lifts(self, lift: ContextLift, key: str) -> np.ndarray[Any, Any]:
        """(Q, V) what one key adds to each item."""
        found = np.zeros(self.scores_QV.shape)
        for value in np.unique(self.values[key]):
            mine = lift.of({key: value}, self.columns) if value else None
            if mine is not None:
                found[self.values[key] == value] = mine
        return found

    def likelihoods(self, scores_QV: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(Q,) log of the softmax at the item that came."""
        top = scores_QV.max(axis=1)
        own = scores_QV[np.arange(len(self.at)), self.at]
        return np.asarray(own - top - np.log(np.exp(scores_QV - top[:, None]).sum(axis=1)))

    def gains(self, scores_QV: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(Q,) NDCG@10 of the item that came; ties lie by their middle."""
        own = scores_QV[np.arange(len(self.at)), self.at][:, None]
        rank = (scores_QV > own).sum(axis=1) + ((scores_QV == own).sum(axis=1) - 1) / 2
        return np.where(rank < 10, 1.0 / np.log2(rank + 2.0), 0.0)


def measured(name: str, log: Sequences) -> dict[str, Any]:
    """One model: every way of adding lifts on validation, the best of them and today's on the test."""
    split = split_temporal(log, validation="time")
    model = fitted(name, split.train, split.validation)
    early = Asked(model, log, split.validation, split.train)
    beta = temperature(early)
    model = fitted(name, split.full, split.validation)
    late = Asked(model, log, split.test, split.full)
    keys = [key for key in early.values if len(np.unique(early.values[key])) > 1]
    kinds = (*keys, PLACE, "all")
    figures: dict[str, Any] = {"queries": len(late.at), "validation_queries": len(early.at), "beta": beta}
    tried: dict[tuple[str, float, float], float] = {}
    plain = early.likelihoods(beta * early.scores_QV)
    for prior in PRIORS:
        lift = ContextLift(split.train, ContextConfig(prior_events=prior, share=1.0, hour_share=1.0))
        parts = {key: early.lifts(lift, key) for key in keys}
        for kind in kinds:
            whole = sum(parts[key] for key in parts_of(kind, keys))
            for share in SHARES:
                said = early.likelihoods(beta * early.scores_QV + share * whole)
                tried[kind, prior, share] = float((said - plain).mean())
    figures["validation_gain"] = {f"{k}, {c:g} events, {s:g}": round(g, 5) for (k, c, s), g in tried.items()}
    best = {kind: max((g, c, s) for (k, c, s), g in tried.items() if k == kind) for kind in kinds}
    figures["chosen"] = {kind: list(found) for kind, found in best.items()}
    for kind in kinds:
        for label, prior, share in (("chosen", *best[kind][1:]), *WAYS):
            lift = ContextLift(split.full, ContextConfig(prior_events=prior, share=1.0, hour_share=1.0))
            moved = share * sum(late.lifts(lift, key) for key in parts_of(kind, keys))
            figures[f"{kind}, {label}"] = compared(late, beta, moved)
    return figures


def parts_of(kind: str, keys: list[str]) -> list[str]:
    """The keys of one kind of context: a key alone, all of them, or all but the hour."""
    return keys if kind == "all" else [key for key in keys if key != HOUR] if kind == PLACE else [kind]


def compared(late: Asked, beta: float, moved: np.ndarray[Any, Any]) -> dict[str, Any]:
    """With lifts less without them, on the test: value and 95% interval over users."""
    before, after = beta * late.scores_QV, beta * late.scores_QV + moved
    columns = {
        "log_likelihood": late.likelihoods(after) - late.likelihoods(before),
        "ndcg_10": late.gains(after) - late.gains(before),
        # As lists were ordered: lifts upon the scores as they are.
        "ndcg_10_raw": late.gains(late.scores_QV + moved) - late.gains(late.scores_QV),
    }
    values_QC = np.stack(list(columns.values()), axis=1)
    low, high = interval(resample(values_QC, late.user, "queries"))
    means = values_QC.mean(axis=0)
    figures = {
        key: [float(m), float(a), float(b)] for key, m, a, b in zip(columns, means, low, high, strict=True)
    }
    return figures | {"ndcg_10_before": float(late.gains(before).mean())}


def temperature(early: Asked) -> float:
    """The factor on scores under which what came is likeliest."""
    found = minimize_scalar(
        lambda log_beta: -early.likelihoods(np.exp(log_beta) * early.scores_QV).mean(), bounds=(-6, 6)
    )
    return float(np.exp(found.x))


def fitted(name: str, train: Sequences, validation: Queries) -> Model:
    """A baseline, or a small transformer."""
    if name == "sasrec":
        shape = SASRecConfig(dim=64, max_len=50)
        return Transformer(shape, TrainConfig(epochs=15)).fit(train)
    return BASELINES[name]().fit(train)


def main() -> None:
    """Measure, print and keep."""
    log_name, *models = sys.argv[1:]
    log = {"deskdrop": deskdrop, "globo": globo}[log_name]()
    figures = {name: measured(name, log) for name in models or ("popularity", "markov", "item-knn", "sasrec")}
    record(f"context-{log_name}", figures)


if __name__ == "__main__":
    main()
