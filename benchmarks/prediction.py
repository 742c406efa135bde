# SPDX-License-Identifier: Apache-2.0
"""Are predictions of the next action and of its time true?

    .venv/bin/python benchmarks/prediction.py [shop] [deskdrop] [movielens]

Fitted before the newest tenth of a log and judged on it; one record a log. Real logs are read from
DESIREPATH_DATA and left out where they are absent.
"""

from __future__ import annotations

import io
import sys
import time
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from desirepath.evaluation.calibration import ece, log_loss
from desirepath.recommend.prediction import HORIZONS_S, Predictor
from desirepath.schema import FIRST, REQUIRED
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.build import pack_events
from desirepath.sequences.splits import split_temporal
from desirepath.simulate import demo, simulate
from record import DATA, record

NAMES = ("within_1h", "within_1d", "within_7d")
MOST = 20_000
"""Moments judged at most, drawn at random."""


def shop() -> Sequences:
    """The demo's simulated shop, without its planted impossible times."""
    log = simulate(demo()).events.select(list(REQUIRED)).drop_nulls()
    return pack_events(log.filter(pl.col("time").dt.year() == 2025))


def deskdrop() -> Sequences:
    """The intranet reader."""
    with zipfile.ZipFile(DATA / "deskdrop-interactions" / "users_interactions.csv.zip") as archive:
        raw = pl.read_csv(io.BytesIO(archive.read(archive.namelist()[0])), infer_schema=False)
    return pack_events(_canonical(raw, "personId", "contentId", pl.col("eventType"), raw["timestamp"]))


def movielens() -> Sequences:
    """MovieLens-1M: three of four ratings share their second with another."""
    raw = pl.read_csv(DATA / "movielens-1m-sequences" / "interactions.csv.gz")
    return pack_events(_canonical(raw, "user_id", "movie_id", pl.lit("rate"), raw["timestamp"]))


def _canonical(raw: pl.DataFrame, user: str, item: str, action: pl.Expr, seconds: pl.Series) -> pl.DataFrame:
    moment = pl.from_epoch(seconds.cast(pl.Int64), "s").cast(pl.Datetime("us", "UTC"))
    return raw.select(
        pl.col(user).cast(pl.String).alias("user_id"),
        pl.col(item).cast(pl.String).alias("item_id"),
        action.alias("action"),
        moment.alias("time"),
    )


def predictions(log: Sequences) -> dict[str, Any]:
    """Actions and times after the newest tenth begins, from a fit before it."""
    split = split_temporal(log)
    begun = time.perf_counter()
    found = Predictor().fit(split.train, split.validation)
    fit_s = time.perf_counter() - begun
    found.refit(split.full, until_s=split.cut_s)
    test = split.test
    if len(test) > MOST:
        test = test[np.sort(np.random.default_rng(0).choice(len(test), MOST, replace=False))]
    assert test.target_action_ix is not None
    came, figures = test.target_action_ix - FIRST, {"events": log.n_events, "fit_s": fit_s, **found.figures}
    if len(log.actions) - FIRST > 1:
        said = found.predict(test).probability_QA
        share = np.bincount(split.full.action_ix, minlength=len(log.actions))[FIRST:] / split.full.n_events
        of_class = [ece(said[:, a], came == a) for a in range(said.shape[1])]
        figures |= {
            "action_log_loss": float(-np.log(said[np.arange(len(came)), came]).mean()),
            "action_log_loss_shares": float(-np.log(share[came]).mean()),
            "action_ece_top": ece(said.max(axis=1), said.argmax(axis=1) == came),
            "action_ece_classes": float(np.mean(of_class)),
        }
    cut_s = split.cut_s or 0.0
    after = np.flatnonzero(np.asarray(log.time_s) >= cut_s)
    if len(after) > MOST:
        after = np.sort(np.random.default_rng(0).choice(after, MOST, replace=False))
    user = np.searchsorted(log.offsets, after, side="right") - 1
    n_before = split.full.lengths
    known = np.flatnonzero(n_before > 0)
    at_cut = asked(log, known, log.offsets[known] + n_before[known], np.full(len(known), cut_s))
    just = asked(log, user, after + 1, np.asarray(log.time_s)[after])
    figures |= {f"event_{name}": value for name, value in times(found, log, just, split.full).items()}
    figures |= {f"cut_{name}": value for name, value in times(found, log, at_cut, None).items()}
    one = Queries.latest(log, np.array([int(known[0])]), now_s=float(np.max(log.time_s)))
    figures["predict_ms"] = milliseconds(lambda: found.predict(one))
    return figures


def asked(log: Sequences, user: Any, stop: Any, now_s: Any) -> Queries:
    """What comes after row stop - 1 of these users at these moments."""
    return Queries(
        sequences=log,
        user_ix=user,
        start=np.asarray(log.offsets[user]),
        stop=stop,
        now_s=now_s,
        target_offsets=np.zeros(len(user) + 1, np.int64),
        target_item_ix=np.zeros(0, np.int32),
    )


def times(found: Predictor, log: Sequences, queries: Queries, train: Sequences | None) -> dict[str, float]:
    """Calibration of P(event within ...), and how often the interval holds, where the log can show it."""
    moment, end_s = np.asarray(log.time_s), float(np.max(log.time_s))
    following = np.append(moment[1:], np.inf)
    following[np.asarray(log.offsets[1:])[log.lengths > 0] - 1] = np.inf
    wait = following[queries.stop - 1] - queries.now_s
    said = found.predict(queries)
    figures = {"queries": float(len(queries))}
    for h, (name, horizon) in enumerate(zip(NAMES, HORIZONS_S, strict=True)):
        whole = queries.now_s + horizon <= end_s
        if whole.sum() < 200:
            continue
        outcome, chance = wait[whole] <= horizon, said.within_QH[whole, h]
        figures |= {
            f"{name}_observed": float(outcome.mean()),
            f"{name}_said": float(chance.mean()),
            f"{name}_ece": ece(chance, outcome, bins="count"),
            f"{name}_log_loss": log_loss(chance, outcome),
        }
        base = float(outcome.mean()) if train is None else crowd(train, horizon)
        figures[f"{name}_log_loss_crowd"] = log_loss(np.full(len(outcome), base), outcome)
    seen = said.high_s <= end_s - queries.now_s
    early = queries.now_s <= np.quantile(queries.now_s, 0.3)
    if (seen & early).sum() > 200:
        inside = (wait >= said.low_s) & (wait <= said.high_s)
        figures["coverage"] = float(inside[seen & early].mean())
        figures["coverage_share"] = float(seen[early].mean())
    return figures


def crowd(train: Sequences, horizon_s: float) -> float:
    """Share of training events that another of the same user follows within the horizon."""
    moment = np.asarray(train.time_s)
    following = np.append(moment[1:], np.inf)
    following[np.asarray(train.offsets[1:])[train.lengths > 0] - 1] = np.inf
    old = moment + horizon_s <= moment.max()
    return float((following - moment <= horizon_s)[old].mean())


def milliseconds(work: Callable[[], Any], n: int = 100) -> float:
    """Median of n runs after a few to warm up."""
    taken = []
    for number in range(n + 5):
        begun = time.perf_counter()
        work()
        if number >= 5:
            taken.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(taken))


def main() -> None:
    """Measure, print and keep."""
    logs = {"shop": shop, "deskdrop": deskdrop, "movielens": movielens}
    for name in sys.argv[1:] or logs:
        if name != "shop" and not DATA.is_dir():
            print(f"no {name}: no real data at {DATA}")
            continue
        record(f"prediction-{name}", predictions(logs[name]()))


if __name__ == "__main__":
    main()
