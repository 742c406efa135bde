# SPDX-License-Identifier: Apache-2.0
"""Are predictions of the next action and of its time true?

    .venv/bin/python benchmarks/prediction.py [shop] [deskdrop] [movielens] [globo] [badges]

Fitted before the newest tenth of a log and judged on it; one record a log. What can be set of times was
chosen on what lies before that tenth (`timing.py`), without badges. Intervals draw users with replacement.
Real logs are read from DESIREPATH_DATA and left out where they are absent.
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

from desirepath.evaluation.bootstrap import interval, resample
from desirepath.evaluation.calibration import ece
from desirepath.models.timing import Timing, TimingConfig
from desirepath.recommend.prediction import HIGH, HORIZONS_S, LOW, Predictor
from desirepath.schema import FIRST, REQUIRED
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.build import pack_events
from desirepath.sequences.splits import split_temporal
from desirepath.simulate import demo, simulate
from record import DATA, record

NAMES = ("within_1h", "within_1d", "within_7d")
MOST = 20_000
"""Moments judged at most, drawn at random."""
GLOBO_END_S = 1_508_198_400
"""2017-10-17 0:00 UTC."""


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


def globo() -> Sequences:
    """Two weeks of a news site, without the few clicks after it that make the log seem a month longer."""
    with zipfile.ZipFile(DATA / "globo-clicks" / "clicks.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".csv")]
        wanted = ["user_id", "click_article_id", "click_timestamp"]
        parts = [
            pl.read_csv(io.BytesIO(archive.read(name)), columns=wanted, infer_schema=False) for name in names
        ]
    raw = pl.concat(parts).filter(pl.col("click_timestamp").cast(pl.Int64) < GLOBO_END_S * 1000)
    seconds = raw["click_timestamp"].cast(pl.Int64) / 1000
    return pack_events(_canonical(raw, "user_id", "click_article_id", pl.lit("click"), seconds))


def badges() -> Sequences:
    """Two years of badges earned on Stack Overflow: what is earned is the action."""
    raw = pl.read_csv(DATA / "tpp-stackoverflow-badges" / "events.csv.gz")
    return pack_events(_canonical(raw, "user", "badge_id", pl.col("badge_id").cast(pl.String), raw["time"]))


def _canonical(raw: pl.DataFrame, user: str, item: str, action: pl.Expr, seconds: pl.Series) -> pl.DataFrame:
    moment = pl.from_epoch((seconds.cast(pl.Float64) * 1e6).cast(pl.Int64), "us").cast(
        pl.Datetime("us", "UTC")
    )
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
    if len(known) > MOST:
        known = np.sort(np.random.default_rng(0).choice(known, MOST, replace=False))
    at_cut = asked(log, known, log.offsets[known] + n_before[known], np.full(len(known), cut_s))
    just = asked(log, user, after + 1, np.asarray(log.time_s)[after])
    figures["times"] = both(found.timing, log, just, at_cut, split.full)
    for name, config in OLDER.items():
        other = Timing(config).fit(split.full, until_s=split.cut_s)
        figures[f"times {name}"] = both(other, log, just, at_cut, split.full)
    one = Queries.latest(log, np.array([int(known[0])]), now_s=float(np.max(log.time_s)))
    figures["predict_ms"] = milliseconds(lambda: found.predict(one))
    return figures


def both(
    found: Timing, log: Sequences, just: Queries, at_cut: Queries, train: Sequences
) -> dict[str, dict[str, Any]]:
    """What was said of times just after events and at the cut; value and interval of each figure."""
    return {"event": times(found, log, just, train), "cut": times(found, log, at_cut, None)}


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


def waits(log: Sequences, queries: Queries) -> Any:
    """(Q,) seconds until the next event of each query's user; infinite where none came."""
    following = np.append(np.asarray(log.time_s)[1:], np.inf)
    following[np.asarray(log.offsets[1:])[log.lengths > 0] - 1] = np.inf
    return following[queries.stop - 1] - queries.now_s


def times(found: Timing, log: Sequences, queries: Queries, train: Sequences | None) -> dict[str, Any]:
    """Calibration of P(event within ...), and how often the interval holds, where the log can show it."""
    end_s, wait = float(np.max(log.time_s)), waits(log, queries)
    ahead = found.outlook(queries)
    within_QH, (low_s, high_s) = ahead.within(HORIZONS_S), ahead.quantiles([LOW, HIGH]).T
    figures: dict[str, Any] = {"queries": float(len(queries))}
    for h, (name, horizon) in enumerate(zip(NAMES, HORIZONS_S, strict=True)):
        whole = queries.now_s + horizon <= end_s
        if whole.sum() < 200:
            continue
        came, chance = wait[whole] <= horizon, within_QH[whole, h]
        base = float(came.mean()) if train is None else crowd(train, horizon)
        loss, plain = (-np.log(np.where(came, p, 1.0 - p)) for p in (chance, np.full(len(came), base)))
        columns = {"observed": came, "said": chance, "said_less_observed": chance - came}
        columns |= {"log_loss": loss, "log_loss_crowd": plain, "log_loss_gain": plain - loss}
        figures |= spread({f"{name}_{key}": v for key, v in columns.items()}, queries.user_ix[whole])
        figures[f"{name}_ece"] = ece(chance, came, bins="count")
    seen = high_s <= end_s - queries.now_s
    early = queries.now_s <= np.quantile(queries.now_s, 0.3)
    if (seen & early).sum() > 200:
        # Within the first second the log's own clock may tell nothing: it is all one moment.
        low_s[low_s + ahead.elapsed_s <= 1.0] = 0.0
        inside = ((wait >= low_s) & (wait <= high_s))[seen & early]
        figures |= spread({"coverage": inside}, queries.user_ix[seen & early])
        figures["coverage_share"] = float(seen[early].mean())
    return figures


def spread(columns: dict[str, Any], user_ix: Any) -> dict[str, Any]:
    """Mean, and 95% interval over users drawn with replacement, of each column of queries."""
    values_QC = np.stack([np.asarray(column, np.float64) for column in columns.values()], axis=1)
    low, high = interval(resample(values_QC, np.asarray(user_ix, np.int64), "queries"))
    ends = zip(columns, values_QC.mean(axis=0), low, high, strict=True)
    return {name: [float(value), float(one), float(other)] for name, value, one, other in ends}


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


LOGS = {"shop": shop, "deskdrop": deskdrop, "movielens": movielens, "globo": globo}
UNSEEN = {"badges": badges}
OLDER = {"as before": TimingConfig(max_gaps=30, lasting=0.5, hour_events=50.0)}
"""Settings that were in force until those of today were chosen on validation."""


def main() -> None:
    """Measure, print and keep."""
    for name in sys.argv[1:] or LOGS:
        if name != "shop" and not DATA.is_dir():
            print(f"no {name}: no real data at {DATA}")
            continue
        record(f"prediction-{name}", predictions((LOGS | UNSEEN)[name]()))


if __name__ == "__main__":
    main()
