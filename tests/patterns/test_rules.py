# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest
from constraint_oracle import as_database, random_log, read_spmf

from desirepath.errors import ConfigError, TooLittleData
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.foresight import firing, predict_next
from desirepath.patterns.match import match_rule
from desirepath.patterns.rules import RuleConfig, find_rules, rules


def names_in(elements):
    return {name for names, _ in elements for name in names}


def first_success(sequence, before, after, window, window_s):
    """Elements that end X and begin Y: the first end of X in a window that Y follows; None without one."""
    for end, begin in itertools.product(range(len(sequence)), range(len(sequence))):
        reach = [
            i
            for i in range(begin, len(sequence))
            if (not window or i - begin < window)
            and (not window_s or sequence[i][1] - sequence[begin][1] <= window_s)
        ]
        if begin > end or end not in reach:
            continue
        if before <= names_in(sequence[begin : end + 1]) and after <= names_in(
            sequence[end + 1 : reach[-1] + 1]
        ):
            return end, next(i for i in range(end + 1, len(sequence)) if after & set(sequence[i][0]))
    return None


def rules_of(log, count, confidence, window, window_s, longest):
    """Every rule with its measures, by trying all."""
    names = sorted({name for sequence in log for name in names_in(sequence)})
    sets = [set(c) for size in range(1, len(names) + 1) for c in itertools.combinations(names, size)]
    found = {}
    for x, y in itertools.product(sets, sets):
        if x & y or len(x) > (longest[0] or 99) or len(y) > (longest[1] or 99):
            continue
        held = sum(x <= names_in(sequence) for sequence in log)
        share_y = sum(y <= names_in(sequence) for sequence in log) / len(log)
        ways = [(s, first_success(s, x, y, window, window_s)) for s in log]
        delays = [s[way[1]][1] - s[way[0]][1] for s, way in ways if way]
        if len(delays) >= count and len(delays) >= confidence * held - 1e-9:
            sure = len(delays) / held
            conviction = (1 - share_y) / (1 - sure) if sure < 1 else math.inf
            measures = len(delays), len(delays) / len(log), sure, sure / share_y, conviction
            found[tuple(sorted(x)), tuple(sorted(y))] = (*measures, float(np.median(delays)))
    return found


@pytest.mark.parametrize("block", range(2))
def test_random_logs_agree_with_all_rules_tried(block):
    n = 0
    for seed in range(120 * block, 120 * (block + 1)):
        rng = np.random.default_rng(seed)
        log = random_log(rng, sets=bool(rng.integers(2)))
        if not any(log):
            continue
        window, window_s = int(rng.choice([0, 0, 2, 3, 4])), float(rng.choice([0, 0, 0.5, 1, 2]))
        confidence, longest = float(rng.choice([0.1, 0.3, 0.5, 0.8, 1])), rng.integers(0, 3, 2).tolist()
        count = min(len(log), int(rng.integers(1, 4)))
        config = RuleConfig(
            min_support=count,
            min_confidence=confidence,
            window=window,
            window_s=window_s,
            max_antecedent=longest[0],
            max_consequent=longest[1],
            threads=int(rng.integers(1, 3)),
        )
        database = as_database(log)
        table = rules(database, config)
        got = {(tuple(a), tuple(b)): measures for a, b, *measures, _ in table.rows()}
        expected = rules_of(log, count, confidence, window, window_s, longest)
        assert len(got) == len(table)
        assert got.keys() == expected.keys(), seed
        for rule, measures in expected.items():
            assert got[rule] == pytest.approx(measures, rel=1e-9), (seed, rule)
        assert table["support"].is_sorted(descending=True)
        n += len(expected)
        for x, y in list(expected)[:3]:
            who = match_rule(database, x, y, config)
            ways = [first_success(s, set(x), set(y), window, window_s) for s in log]
            assert who["sequence"].to_list() == [s for s, way in enumerate(ways) if way]
            gaps = [log[s][way[1]][1] - log[s][way[0]][1] for s, way in enumerate(ways) if way]
            assert who["gap_s"].to_list() == gaps
            rows = who["antecedent_rows"].to_list()
            words = database.symbols.decode(database.symbol_ix).to_list()
            assert all([words[row] for row in chosen] == list(x) for chosen in rows)
    assert n > 300


def shop():
    return SequenceDatabase.from_lists(
        [["view", "cart", "buy"], ["cart", "view", "buy"], ["view", "cart", "leave"], ["view"]],
        time_s=[[0, 60, 7260], [0, 60, 3660], [0, 5, 6], [0]],
    )


def test_measures_by_hand():
    table = rules(shop(), RuleConfig(min_support=2, min_confidence=0.5))
    row = table.row(by_predicate=pl.col("antecedent").list.join(",") == "cart,view", named=True)
    assert row["consequent"] == ["buy"]
    assert row["support"] == 2
    assert row["share"] == 0.5
    assert row["confidence"] == pytest.approx(2 / 3)
    assert row["lift"] == pytest.approx(4 / 3)
    assert row["conviction"] == pytest.approx((1 - 0.5) / (1 - 2 / 3))
    assert row["median_gap_s"] == (7200 + 3600) / 2


def test_rules_foretell_and_explain():
    table = rules(shop(), RuleConfig(min_support=2, min_confidence=0.5))
    ahead = predict_next(table, ["view", "cart"])
    assert ahead["symbol"].to_list() == ["buy", "cart"]
    assert ahead["seen"].to_list() == [False, True]
    assert ahead["sentence"][0].startswith("Of 3 who did cart, 67% went on to buy, typically ")
    assert firing(table, ["view", "cart"])["sentence"].str.contains("Of 3 who did cart and view, 67%").any()
    assert predict_next(table, ["leave"]).is_empty()
    # With a window only the last event or two can begin a rule.
    assert firing(table, ["view", "cart"], window=2)["antecedent"].to_list() == [["cart"]]
    with pytest.raises(ConfigError, match="it lacks antecedent"):
        predict_next(table.drop("antecedent"), ["view"])
    with pytest.raises(ConfigError, match="list of names"):
        firing(table, "view")


def test_budgets_and_wrong_use():
    rng = np.random.default_rng(1)
    log = SequenceDatabase.from_lists([[str(i) for i in rng.integers(0, 12, 40)] for _ in range(30)])
    for budget in ({"max_rules": 40}, {"max_seconds": 0.05}):
        found = find_rules(log, RuleConfig(min_support=2, min_confidence=0.01, **budget))
        assert next(iter(budget)) in found.stopped_by
        assert found.frame["is_partial"].all()
        assert len(found.frame) > 0
        assert len(found.frame) <= 40 or "max_rules" not in budget
    with pytest.raises(ConfigError, match="min_confidence"):
        RuleConfig(min_confidence=0)
    with pytest.raises(ConfigError, match="window must hold 2"):
        RuleConfig(window=1)
    with pytest.raises(TooLittleData, match="at most the number of sequences"):
        rules(log, RuleConfig(min_support=31))
    with pytest.raises(ConfigError, match="distinct names"):
        match_rule(log, ["1"], ["1"])


@pytest.mark.data
def test_web_clicks_have_sure_rules_of_the_right_support(shared_data):
    """On real clicks every measure follows from plain sets of first and last places."""
    log = read_spmf(shared_data / "spmf-sequences" / "BMS1_spmf.txt")
    found = find_rules(log, RuleConfig(min_support=0.001, min_confidence=0.3))
    assert not found.stopped_by
    words = log.symbols.decode(log.symbol_ix).to_list()
    sequences = [words[a:b] for a, b in itertools.pairwise(log.offsets.tolist())]
    for row in found.frame.sample(12, seed=0).rows(named=True):
        x, y = set(row["antecedent"]), set(row["consequent"])
        with_x = [s for s in sequences if x <= set(s)]
        borne = 0
        for s in with_x:
            done = max(s.index(name) for name in x)
            borne += y <= set(s[done + 1 :])
        assert row["support"] == borne
        assert row["confidence"] == pytest.approx(borne / len(with_x))
