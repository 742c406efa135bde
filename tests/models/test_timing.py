# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from desirepath.errors import ConfigError, NotFittedError, ShapeError, TooLittleData
from desirepath.evaluation.calibration import ece, log_loss
from desirepath.models.clock import WeekClock
from desirepath.models.outlook import EDGES_S, SCALE, SCALES_S, WIDTH_S, Outlook, bins
from desirepath.models.timing import Timing, TimingConfig
from desirepath.schema import FIRST, REQUIRED
from desirepath.sequences import Queries, Sequences, Vocabulary
from desirepath.sequences.build import pack_events
from desirepath.simulate import simulate, tiny

HOUR_S, DAY_S = 3600.0, 86_400.0


def renewal(gaps: list[np.ndarray], start_s: np.ndarray | None = None, actions=("view",)) -> Sequences:
    """Users whose gaps are given; everybody begins at 0 unless told otherwise."""
    start_s = np.zeros(len(gaps)) if start_s is None else start_s
    times = [begin + np.append(0.0, np.cumsum(gap)) for begin, gap in zip(start_s, gaps, strict=True)]
    n = sum(map(len, times))
    return Sequences(
        offsets=np.append(0, np.cumsum([len(time) for time in times])),
        item_ix=np.full(n, FIRST, np.int32),
        action_ix=np.full(n, FIRST, np.int16),
        time_s=np.concatenate(times),
        users=Vocabulary([str(u) for u in range(len(times))], reserved=0),
        items=Vocabulary(["a"]),
        actions=Vocabulary(list(actions)),
    )


def until(log: Sequences, end_s: float) -> Sequences:
    return log.select(np.asarray(log.time_s) <= end_s)


def after(log: Sequences, rows: np.ndarray, now_s: np.ndarray) -> Queries:
    """What comes after each of these rows, asked at these moments."""
    user = np.searchsorted(log.offsets, rows, side="right") - 1
    return Queries(
        sequences=log,
        user_ix=user,
        start=np.asarray(log.offsets[user]),
        stop=rows + 1,
        now_s=now_s,
        target_offsets=np.zeros(len(rows) + 1, np.int64),
        target_item_ix=np.zeros(0, np.int32),
    )


def next_s(log: Sequences) -> np.ndarray:
    """(n_events,) moment of the next event of the same user; inf after the last."""
    time = np.append(np.asarray(log.time_s)[1:], np.inf)
    time[np.asarray(log.offsets[1:])[log.lengths > 0] - 1] = np.inf
    return time


def any_outlook(seed: int, n: int = 4, uneven: bool = False) -> Outlook:
    rng = np.random.default_rng(seed)
    return Outlook(
        begin_s=rng.uniform(0, 1e9, n),
        clock=WeekClock(np.exp(rng.normal(0, 1, 168))) if uneven else WeekClock(),
        elapsed_s=np.append(0.0, np.exp(rng.uniform(-2, 17, n - 1))),
        known_s=np.inf,
        shape_QG=np.exp(rng.normal(0, 1.5, (n, len(SCALES_S)))),
        rate_QG=np.exp(rng.normal(0, 1.5, (n, len(SCALES_S)))),
        hazard_QJ=np.exp(rng.normal(0, 1, (n, len(EDGES_S)))) / (EDGES_S + 10.0),
    )


def test_bins_are_closed_above():
    """A gap of exactly an hour, a day or a week came within it; scales begin at bins of their own."""
    assert EDGES_S[bins(np.array([0.0, 1.0, HOUR_S, DAY_S, 7 * DAY_S]))].max() < 7 * DAY_S
    for horizon in (HOUR_S, DAY_S, 7 * DAY_S):
        place = bins(np.array([horizon, horizon + 0.01]))
        assert place[1] == place[0] + 1
    assert EDGES_S[np.searchsorted(SCALE, np.arange(len(SCALES_S)))] == pytest.approx(SCALES_S)
    assert WIDTH_S[:-1].min() > 0


def test_survival_is_the_gamma_mixture():
    """Against numerical integration over the pace, one scale at a time."""
    ahead = any_outlook(0)
    wait = np.array([30.0, 5e3, 1e5, 1e7])
    said = ahead.chance(wait)
    for q in range(4):
        survival = 1.0
        low, high = ahead.elapsed_s[q], ahead.elapsed_s[q] + wait[q]
        for g in range(len(SCALES_S)):
            hazard = sum(
                ahead.hazard_QJ[q, j] * max(0.0, min(high, EDGES_S[j] + WIDTH_S[j]) - max(low, EDGES_S[j]))
                for j in np.flatnonzero(g == SCALE)
            )
            pace = stats.gamma(ahead.shape_QG[q, g], scale=1 / ahead.rate_QG[q, g])
            top = pace.ppf(1 - 1e-10)
            survival *= quad(lambda z: np.exp(-z * hazard) * pace.pdf(z), 0, top, limit=200)[0]  # noqa: B023
        assert said[q] == pytest.approx(1 - survival, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 0.99), st.booleans())
def test_quantiles_invert_chances(seed, level, uneven):
    ahead = any_outlook(seed, uneven=uneven)
    wait = ahead.quantile(level)
    assert (wait >= 0).all()
    np.testing.assert_allclose(ahead.chance(wait), level, atol=1e-6)


def test_waiting_is_conditioning():
    """P(come within h | not yet after e) from the outlook at e, and from two chances of the outlook at 0."""
    rng = np.random.default_rng(0)
    log = renewal([rng.exponential(HOUR_S * 10 ** rng.uniform(-1, 2), 30) for _ in range(200)])
    model = Timing().fit(log)
    at_once = model.outlook(Queries.latest(log, np.arange(50)))
    waited = rng.exponential(DAY_S, 50)
    now_s = np.asarray(log.time_s)[log.offsets[1:51] - 1] + waited
    later = model.outlook(Queries.latest(log, np.arange(50)), now_s)
    for horizon in (HOUR_S, 5 * DAY_S):
        before, whole = at_once.chance(waited), at_once.chance(waited + horizon)
        np.testing.assert_allclose(later.within([horizon])[:, 0], (whole - before) / (1 - before), atol=1e-9)


def test_first_gaps_follow_kaplan_and_meier():
    """One gap a user, a third of them unfinished when the log ends: scipy's survival curve comes back."""
    rng = np.random.default_rng(1)
    n, end_s = 4000, 10 * DAY_S
    begin, gap = rng.uniform(0, end_s, n), np.exp(rng.normal(np.log(2 * DAY_S), 1.5, n))
    log = until(renewal(list(gap[:, None]), begin), end_s)
    ended = begin + gap <= end_s
    assert 0.2 < 1 - ended.mean() < 0.6
    curve = stats.ecdf(
        stats.CensoredData(uncensored=gap[ended], right=(end_s - begin)[~ended])
    ).sf  # Kaplan and Meier's
    model = Timing(TimingConfig(recent=0.0)).fit(log, until_s=end_s)
    fresh = Queries.latest(renewal([np.zeros(0)]), np.array([0]))
    horizons = [HOUR_S, 6 * HOUR_S, DAY_S, 3 * DAY_S, 7 * DAY_S]
    np.testing.assert_allclose(
        1 - model.outlook(fresh).within(horizons)[0], curve.evaluate(horizons), atol=0.03
    )


def test_each_user_has_a_pace():
    """Poisson users of very different rates: each one's own median comes out; a newcomer's is wide."""
    rng = np.random.default_rng(2)
    mean_s = HOUR_S * 10 ** rng.uniform(-0.5, 2.0, 200)
    end_s = 40 * DAY_S
    log = until(renewal([rng.exponential(mean, int(1.5 * end_s / mean) + 40) for mean in mean_s]), end_s)
    model = Timing(TimingConfig(max_gaps=200)).fit(log, until_s=end_s)
    known = np.flatnonzero((log.lengths > 60) & (mean_s > 2 * HOUR_S))
    ahead = model.outlook(Queries.latest(log, known))
    ratio = ahead.quantile(0.5) / (np.log(2) * mean_s[known])
    assert np.median(ratio) == pytest.approx(1.0, abs=0.12)
    assert np.quantile(np.abs(np.log(ratio)), 0.9) < np.log(1.6)
    newcomer = model.outlook(Queries.latest(renewal([np.zeros(0)]), np.array([0])))
    spread = np.log(ahead.quantile(0.9) / ahead.quantile(0.1))
    assert np.log(newcomer.quantile(0.9) / newcomer.quantile(0.1))[0] > np.median(spread)


def test_intervals_cover_on_unseen_users():
    """Two kinds of users in sessions: of 80% intervals of users never trained on, 80% hold."""
    rng = np.random.default_rng(3)

    def users(n):
        pause = np.where(rng.random(n) < 0.5, DAY_S, 9 * DAY_S)
        return [
            np.where(rng.random(80) < 0.7, rng.exponential(40.0, 80), rng.gamma(2.0, rest / 2, 80))
            for rest in pause
        ]

    end_s = 60 * DAY_S
    train, fresh = until(renewal(users(300)), end_s), renewal(users(150))
    model = Timing().fit(train, until_s=end_s)
    rows = np.flatnonzero(np.isfinite(next_s(fresh)))
    rows = rows[fresh.time_s[rows] < 30 * DAY_S]
    ahead = model.outlook(after(fresh, rows, fresh.time_s[rows]))
    gap = (next_s(fresh) - fresh.time_s)[rows]
    for level in (0.1, 0.5, 0.9):
        assert (gap <= ahead.quantile(level)).mean() == pytest.approx(level, abs=0.04)
    assert ece(ahead.within([HOUR_S])[:, 0], gap <= HOUR_S, bins="count") < 0.03


def test_people_come_by_day():
    """Everybody comes between 9 and 17, about once a day: an hour at noon is not an hour at night."""
    rng = np.random.default_rng(8)
    days = [np.flatnonzero(rng.random(60) < 0.8) for _ in range(300)]
    moments = [day * DAY_S + rng.uniform(9, 17, len(day)) * HOUR_S for day in days]
    log = renewal([np.diff(moment) for moment in moments], np.array([moment[0] for moment in moments]))
    model = Timing().fit(log, until_s=60 * DAY_S)
    last_s = np.asarray(log.time_s)[log.offsets[1:] - 1]
    recent = np.flatnonzero(last_s > 59 * DAY_S)
    asked = Queries.latest(log, recent)
    midnight, noon = (model.outlook(asked, 60 * DAY_S + hour * HOUR_S) for hour in (0, 12))
    assert (noon.within([HOUR_S]) > 5 * midnight.within([HOUR_S])).all()
    at_s = 60 * DAY_S + midnight.quantile(0.4)
    assert ((at_s % DAY_S > 8.5 * HOUR_S) & (at_s % DAY_S < 17.5 * HOUR_S)).mean() > 0.95


def test_change_of_late_is_believed_as_far_as_asked():
    """Everybody slows down tenfold in the newest tenth: what is foreseen lies between the two speeds."""
    rng = np.random.default_rng(4)
    log = renewal(
        [np.append(rng.exponential(2 * HOUR_S, 180), rng.exponential(20 * HOUR_S, 20)) for _ in range(100)]
    )
    asked = Queries.latest(log, np.arange(100))
    always, half, whole = (
        Timing(TimingConfig(lasting=lasting)).fit(log).outlook(asked).within([HOUR_S])
        for lasting in (0.0, 0.5, 1.0)
    )
    assert (whole < half).all()
    assert (half < always).all()


def test_nothing_of_the_future_is_read(tmp_path):
    """Rows after a query's own are poison: other times and actions there change no answer."""
    rng = np.random.default_rng(5)
    log = renewal([rng.exponential(HOUR_S, 40) for _ in range(50)])
    model = Timing().fit(log)
    rows = log.offsets[:-1] + 10
    asked = after(log, rows, log.time_s[rows] + 60.0)
    time, action = np.array(log.time_s), np.array(log.action_ix)
    for row, stop in zip(rows, log.offsets[1:], strict=True):
        time[row + 1 : stop], action[row + 1 : stop] = np.nan, 99
    poisoned = replace(asked, sequences=replace(log, time_s=time, action_ix=action))
    for said, again in zip(whole(model, asked), whole(model, poisoned), strict=True):
        np.testing.assert_array_equal(said, again)


def whole(model, asked):
    ahead = model.outlook(asked)
    return ahead.within([60.0, DAY_S]), ahead.quantile(0.5), ahead.quantile(0.9)


def test_batch_is_single_and_state_is_all():
    rng = np.random.default_rng(6)
    log = renewal([rng.exponential(HOUR_S, n) for n in rng.integers(1, 90, 60)])
    model = Timing(TimingConfig(max_gaps=20)).fit(log)
    asked = Queries.latest(log, np.arange(60), now_s=float(log.time_s.max()))
    again = Timing(TimingConfig(max_gaps=20)).restore(model.state())
    for said, same in zip(whole(model, asked), whole(again, asked), strict=True):
        np.testing.assert_array_equal(said, same)
    for u in (0, 17, 59):
        for said, same in zip(whole(model, asked[np.array([u])]), whole(model, asked), strict=True):
            np.testing.assert_allclose(said[0], same[u], rtol=1e-9)


def test_the_edges_of_what_is_known():
    """An empty history is not known; a quantile beyond the log's span is infinite; time runs backwards."""
    log = renewal([np.full(3, HOUR_S) for _ in range(20)] + [np.zeros(0)] * 80)
    model = Timing().fit(log, until_s=30 * DAY_S)
    nobody = replace(Queries.latest(log, np.array([0])), stop=np.array([0]), start=np.array([0]))
    ahead = model.outlook(nobody)
    assert np.isnan(ahead.within([DAY_S])).all()
    assert np.isnan(ahead.quantile(0.5)).all()
    assert np.isinf(model.outlook(Queries.latest(log, np.array([99]))).quantile(0.9))
    last = Queries.latest(log, np.array([0]))
    early, exact = model.outlook(last, -1e6), model.outlook(last)
    np.testing.assert_array_equal(early.within([DAY_S]), exact.within([DAY_S]))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        ahead.quantile(1.0)


def test_held_back_events_are_not_silence():
    """With each user's record complete to his last event only, nobody seems to have left."""
    log = renewal([np.full(5, DAY_S) for _ in range(100)])
    asked = Queries.latest(log, np.arange(5))
    silent = Timing().fit(log, until_s=100 * DAY_S).outlook(asked)
    cut_off = Timing().fit(log, until_s=np.full(100, 5 * DAY_S)).outlook(asked)
    assert (cut_off.within([2 * DAY_S]) > silent.within([2 * DAY_S])).all()


def test_what_it_refuses():
    log = renewal([np.zeros(0)] * 3)
    with pytest.raises(TooLittleData, match="two events"):
        Timing().fit(log)
    with pytest.raises(NotFittedError):
        Timing().outlook(Queries.latest(log, np.array([0])))
    for wrong in ({"back_off": 0.0}, {"max_gaps": 0}, {"max_events": 0}, {"recent": 1.0}):
        with pytest.raises(ConfigError):
            TimingConfig(**wrong)
    with pytest.raises(ShapeError):
        Timing().fit(renewal([np.ones(3)] * 3), until_s=np.ones(7))


def test_whole_users_are_drawn_from_a_large_log():
    rng = np.random.default_rng(7)
    log = renewal([rng.exponential(HOUR_S, 30) for _ in range(300)])
    few = Timing(TimingConfig(max_events=3000)).fit(log)
    asked = Queries.latest(log, np.arange(20))
    all_of_it = Timing().fit(log).outlook(asked).within([HOUR_S])
    assert few.outlook(asked).within([HOUR_S]) == pytest.approx(all_of_it, abs=0.06)


def honest_figures(log: Sequences, quantile: float = 0.9) -> dict[str, float]:
    """Fitted before a moment, judged on the gaps after it: P(within a day), and what the interval holds."""
    time = np.asarray(log.time_s)
    cut_s, end_s = float(np.quantile(time, quantile)), float(time.max())
    train = log.select(time < cut_s)
    model = Timing().fit(train, until_s=cut_s)
    rows = np.flatnonzero((time >= cut_s) & (time + DAY_S <= end_s))
    ahead = model.outlook(after(log, rows, time[rows]))
    gap = next_s(log)[rows] - time[rows]
    came = gap <= DAY_S
    old = np.flatnonzero(train.time_s + DAY_S <= cut_s)
    crowd = float((next_s(train)[old] - train.time_s[old] <= DAY_S).mean())
    said = ahead.within([DAY_S])[:, 0]
    # Only where the interval ends inside the log can it be seen whether it holds.
    high = ahead.quantile(0.9)
    seen = (time[rows] < cut_s + 0.3 * (end_s - cut_s)) & (high < 0.7 * (end_s - cut_s))
    inside = (gap >= ahead.quantile(0.1)) & (gap <= high)
    return {
        "ece": ece(said, came, bins="count"),
        "log_loss": log_loss(said, came),
        "log_loss_crowd": log_loss(np.full(len(came), crowd), came),
        "coverage": float(inside[seen].mean()),
        "below": float((gap < ahead.quantile(0.1)).mean()),
    }


def test_a_simulated_shop():
    log = simulate(tiny()).events.select(list(REQUIRED)).drop_nulls()
    found = honest_figures(pack_events(log.filter(pl.col("time").dt.year() == 2025)))
    assert found["ece"] < 0.04
    assert found["log_loss"] < found["log_loss_crowd"]
    assert found["coverage"] == pytest.approx(0.8, abs=0.06)


@pytest.mark.data
def test_deskdrop(shared_data):
    with zipfile.ZipFile(shared_data / "deskdrop-interactions" / "users_interactions.csv.zip") as archive:
        raw = pl.read_csv(io.BytesIO(archive.read(archive.namelist()[0])), infer_schema=False)
    log = pack_events(
        raw.select(
            pl.col("personId").alias("user_id"),
            pl.col("contentId").alias("item_id"),
            pl.col("eventType").alias("action"),
            pl.from_epoch(pl.col("timestamp").cast(pl.Int64), "s")
            .cast(pl.Datetime("us", "UTC"))
            .alias("time"),
        )
    )
    found = honest_figures(log)
    # In the newest tenth everybody comes less often than ever before, which nothing earlier foretells.
    assert found["ece"] < 0.08
    assert found["log_loss"] < found["log_loss_crowd"] - 0.05
    assert found["coverage"] == pytest.approx(0.8, abs=0.1)


@pytest.mark.data
@pytest.mark.slow
def test_movielens(shared_data):
    """Three of four ratings share their second with another: the lower end holds more than it says."""
    raw = pl.read_csv(shared_data / "movielens-1m-sequences" / "interactions.csv.gz")
    log = pack_events(
        raw.select(
            pl.col("user_id").cast(pl.String),
            pl.col("movie_id").cast(pl.String).alias("item_id"),
            pl.lit("rate").alias("action"),
            pl.from_epoch("timestamp", "s").cast(pl.Datetime("us", "UTC")).alias("time"),
        )
    )
    found = honest_figures(log)
    assert found["ece"] < 0.03
    assert found["log_loss"] < found["log_loss_crowd"] - 0.1
