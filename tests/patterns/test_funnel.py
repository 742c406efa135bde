# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from scipy import stats

from desirepath.errors import ConfigError, DataError
from desirepath.patterns.database import SequenceDatabase, SymbolConfig, sequence_database
from desirepath.patterns.paths import FunnelConfig, between, funnel
from desirepath.sequences.build import pack_events
from desirepath.simulate import simulate, tiny

SHOP = SequenceDatabase.from_lists(
    [["view", "cart", "buy"], ["view", "help", "cart"], ["cart", "buy"], ["view", "view", "cart", "help"], []]
)


def chains(names, times, steps, config):
    """Every chain of a sequence, longest prefix by longest prefix: rows of events for steps 1..k."""
    found = []
    starts = [i for i, name in enumerate(names) if name in steps[0]]
    if config.start == "first":
        starts = starts[:1]
    for k in range(1, len(steps) + 1):
        for rows in itertools.combinations(range(len(names)), k):
            if rows[0] not in starts:
                continue
            if any(names[row] not in step for row, step in zip(rows, steps, strict=False)):
                continue
            if config.window_s is not None and times[rows[-1]] - times[rows[0]] > config.window_s:
                continue
            if config.order == "strict" and rows[-1] - rows[0] != k - 1:
                continue
            if any(names[row] in config.exclude for row in range(rows[0], rows[-1])):
                continue
            found.append(rows)
    return found


def reported(found):
    """Deepest; of those the first to get there; then the last to start; then each step the earliest."""
    return min(found, key=lambda rows: (-len(rows), rows[-1], -rows[0], rows), default=())


CONFIGS = [
    FunnelConfig(window_s=window_s, order=order, start=start, exclude=exclude)
    for window_s in (None, 2.0, 5.0)
    for order in ("ordered", "strict")
    for start in ("best", "first")
    for exclude in ((), ("x",))
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.window_s}-{c.order}-{c.start}-{c.exclude}")
def test_depth_and_chain_are_those_of_brute_force(config):
    rng = np.random.default_rng(CONFIGS.index(config))
    names = [rng.choice(list("abcx"), rng.integers(0, 9)).tolist() for _ in range(60)] + [list("abcx")]
    times = [np.cumsum(rng.integers(0, 4, len(one))).astype(float).tolist() for one in names]
    database = SequenceDatabase.from_lists(names, time_s=times)
    for steps in (
        [{"a"}, {"b"}, {"c"}],
        [{"a"}, {"a", "b"}, {"a"}, {"c", "b"}],
        [{"b", "c"}],
        [{"a"}, {"a"}],
    ):
        found = funnel(database, [sorted(step) for step in steps], config)
        for s, (one, when) in enumerate(zip(names, times, strict=True)):
            expected = reported(chains(one, when, steps, config))
            assert found.depth[s] == len(expected)
            begin = found.depth[:s].sum()
            rows = found.row[begin : begin + len(expected)] - found.database.offsets[s]
            assert tuple(rows) == expected


def test_a_later_start_counts_where_the_first_ran_out_of_time():
    world = SequenceDatabase.from_lists([["a", "a", "b"]], time_s=[[0.0, 100.0, 105.0]])
    best, first = (
        funnel(world, ["a", "b"], FunnelConfig(window_s=10, start=start)) for start in ("best", "first")
    )
    assert (best.depth[0], first.depth[0]) == (2, 1)
    assert funnel(world, ["a", "b"], FunnelConfig(start="first")).to_frame()["median_s"].to_list() == [
        None,
        105,
    ]
    assert funnel(world, ["a", "b"]).to_frame()["median_s"].to_list() == [None, 5]


def test_table_reconciles_and_has_wilson_intervals():
    found = funnel(SHOP, ["view", "cart", "buy"])
    table = found.to_frame()
    assert table["entered"].to_list() == [3, 3, 1]
    assert table["converted"].to_list() == [3, 1, None]
    assert table["dropped"].to_list() == [0, 2, None]
    assert table["share_of_all"].to_list() == [0.6, 0.6, 0.2]
    expected = stats.binomtest(1, 3).proportion_ci(0.95, "wilson")
    last = table.row(2, named=True)
    assert last["share_of_first_low"] == pytest.approx(expected.low)
    assert last["share_of_previous_high"] == pytest.approx(expected.high)
    drops = found.drop_offs()
    assert drops.select("step", "next", "count", "share").rows() == [
        (2, "help", 1, 0.5),
        (2, "<end>", 1, 0.5),
    ]
    assert found.users(found.dropped(2)).to_list() == ["1", "3"]
    assert found.reached(3).tolist() == [True, False, False, False, False]


def test_rest_of_drop_offs_is_other():
    world = SequenceDatabase.from_lists([["a", x] for x in "pqqrrr"] + [["a", "b"], ["a"]])
    drops = funnel(world, ["a", "b"]).drop_offs(top=2)
    assert drops.select("next", "count").rows() == [("r", 3), ("q", 2), ("<other>", 2)]
    assert drops["count"].sum() == funnel(world, ["a", "b"]).to_frame()["dropped"][0]


def test_step_by_step_times():
    world = SequenceDatabase.from_lists([["a", "b"]] * 4, time_s=[[0.0, t] for t in (1.0, 2.0, 3.0, 10.0)])
    table = funnel(world, ["a", "b"]).to_frame(quantiles=(0.25, 0.9))
    assert table.row(1, named=True)["median_s"] == 2.5
    assert table.row(1, named=True)["q25_s"] == np.quantile([1, 2, 3, 10], 0.25)
    assert table.row(1, named=True)["q90_s"] == pytest.approx(np.quantile([1, 2, 3, 10], 0.9))


def test_sixteen_steps_and_sixty_four():
    names = [f"s{k}" for k in range(64)]
    world = SequenceDatabase.from_lists([names, names[:16], names[:40]])
    for order in ("ordered", "strict"):
        assert funnel(world, names, FunnelConfig(order=order)).depth.tolist() == [64, 16, 40]
        assert funnel(world, names[:16], FunnelConfig(order=order)).depth.tolist() == [16, 16, 16]


def test_wrong_use_is_told():
    with pytest.raises(ConfigError, match="Did you mean 'cart'"):
        funnel(SHOP, ["view", "carts"])
    with pytest.raises(ConfigError, match="1 to 64"):
        funnel(SHOP, [])
    with pytest.raises(ConfigError, match="both a step and excluded"):
        funnel(SHOP, ["view", "buy"], FunnelConfig(exclude=("view",)))
    with pytest.raises(ConfigError, match="window_s"):
        FunnelConfig(window_s=0)
    with pytest.raises(ConfigError, match="step must lie between 1 and 2"):
        funnel(SHOP, ["view", "buy"]).reached(3)
    with pytest.raises(DataError, match="holds none"):
        funnel(SequenceDatabase.from_lists([[], []]), ["a"])
    with pytest.raises(ConfigError, match="simultaneous=False"):
        funnel(SequenceDatabase.from_lists([[{"a", "b"}]]), ["a"])


@pytest.fixture(scope="module")
def market():
    return simulate(tiny(seed=3))


def clean(market) -> pl.DataFrame:
    """The log without its planted flaws; robots by the list."""
    log = market.events.drop_nulls(["user_id", "item_id", "time"])
    log = log.filter(pl.col("time").dt.year() == 2025)
    log = log.filter(pl.col("value").is_null() | (pl.col("value") >= 0)).unique(
        "event_id", maintain_order=True
    )
    robots = market.truth.table("users").filter("robot").select("user_id")
    return log.join(robots, on="user_id", how="anti")


def test_planted_funnel_counts_and_rates(market):
    """Sessions per step as the simulator counted them, and its rates within the intervals."""
    log = clean(market)
    truth = market.truth.facts
    database = sequence_database(pack_events(log), SymbolConfig(by=("action",), per="session"))
    found = funnel(database, ["view", "cart", "purchase"])
    table = found.to_frame()
    planted = truth["funnel"]["sessions"]
    # A cart always follows a view of its visit, a purchase its cart.
    assert table["entered"].to_list()[0] == planted[0]
    assert table["entered"].to_list()[1:] == planted[1:]
    # Visits that begin of a user's own accord are binomial with the segment's rates.
    cause = market.truth.table("events").select("event_id", "cause")
    first = (
        log.join(cause, on="event_id", how="left")
        .sort("time", maintain_order=True)
        .group_by("session_id")
        .agg(
            pl.col("source").first(), pl.col("cause").first(), pl.col("user_id").first(), pl.col("time").min()
        )
    )
    people = market.truth.table("users")
    own = first.filter(~pl.col("source").is_in(["social", "campaign"]) & (pl.col("cause") != "pattern")).join(
        people, on="user_id"
    )
    own = own.filter(pl.col("segment") == pl.col("segment_after").fill_null(pl.col("segment")))
    for segment in truth["segments"]:
        mine = own.filter(pl.col("segment") == segment["name"])["session_id"]
        of_mine = sequence_database(
            pack_events(log.join(mine.to_frame(), on="session_id", how="semi")),
            SymbolConfig(by=("action",), per="session"),
        )
        rates = funnel(of_mine, ["view", "cart", "purchase"]).to_frame(confidence=0.999)
        for row, rate in ((1, segment["cart"]), (2, segment["buy"])):
            assert rates["share_of_previous_low"][row] < rate < rates["share_of_previous_high"][row]


def test_funnel_of_a_part(market):
    """From the first search on: the funnel of what is left is that of brute force over rows."""
    database = sequence_database(pack_events(clean(market)), SymbolConfig(by=("action",)))
    part = between(database, "search")
    found = funnel(part, ["search", "view", "cart"], FunnelConfig(window_s=600))
    words = part.symbols.decode(part.symbol_ix).to_list()
    for s in range(0, part.n_sequences, 150):
        a, z = part.offsets[s], min(part.offsets[s + 1], part.offsets[s] + 14)
        names, times = words[a:z], part.time_s[a:z].tolist()
        steps = [{"search"}, {"view"}, {"cart"}]
        deepest = len(reported(chains(names, times, steps, FunnelConfig(window_s=600))))
        assert found.depth[s] >= deepest
        if z == part.offsets[s + 1]:
            assert found.depth[s] == deepest
