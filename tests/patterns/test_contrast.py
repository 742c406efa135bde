# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import constraint_oracle
import numpy as np
import oracle
import polars as pl
import pytest

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.contrast import ContrastConfig, contrast
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.found import TOGETHER
from desirepath.patterns.frequent import MiningConfig


def by_hand(sequences, labels, min_count):
    """Supports per class of all patterns that one class holds often enough."""
    names = sorted({name for name in labels if name is not None})
    parts = {
        name: oracle.frequent([one for one, label in zip(sequences, labels, strict=True) if label == name], 1)
        for name in names
    }
    patterns = {pattern for part in parts.values() for pattern, n in part.items() if n >= min_count}
    return {pattern: tuple(parts[name].get(pattern, 0) for name in names) for pattern in patterns}


@pytest.mark.parametrize("n_classes", [2, 3])
def test_supports_per_class_are_those_of_each_class_alone(n_classes):
    rng = np.random.default_rng(n_classes)
    for _ in range(150):
        n = int(rng.integers(2 * n_classes, 14))
        sequences = [
            ["abcde"[i] for i in rng.integers(0, rng.integers(1, 6), rng.integers(1, 7))] for _ in range(n)
        ]
        labels = [f"c{i}" for i in range(n_classes)] * 2
        labels += [[None, "c0", "c1"][i] for i in rng.integers(0, 3, n - len(labels))]
        min_count = int(rng.integers(1, 4))
        mining = MiningConfig(min_support=min_count, threads=int(rng.integers(1, 3)))
        found = contrast(SequenceDatabase.from_lists(sequences), labels, ContrastConfig(mining=mining))
        expected = by_hand(sequences, labels, min_count)
        rows = {
            tuple(row["pattern"]): tuple(row[f"support:c{i}"] for i in range(n_classes))
            for row in found.iter_rows(named=True)
        }
        assert rows == expected
        assert found.height == len(expected) * (1 if n_classes == 2 else n_classes)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_supports_of_simultaneous_events_are_those_of_each_class_alone(n_classes):
    rng = np.random.default_rng(10 + n_classes)
    names = [f"c{i}" for i in range(n_classes)]
    for _ in range(80):
        log = constraint_oracle.random_log(rng, sets=True) + constraint_oracle.random_log(rng, sets=True)
        log += [[(("a",), 0.0)]] * (n_classes - 1)
        labels = (
            np.array([*names, None])[rng.integers(0, n_classes + 1, len(log) - n_classes)].tolist() + names
        )
        min_count, longest = int(rng.integers(1, 4)), int(rng.integers(0, 5))
        mining = MiningConfig(min_support=min_count, max_length=longest, threads=int(rng.integers(1, 3)))
        database = SequenceDatabase.from_lists([[symbols for symbols, _ in one] for one in log])
        assert database.element is not None
        found = contrast(database, labels, ContrastConfig(mining=mining))
        parts = [
            constraint_oracle.constrained_patterns(
                [one for one, label in zip(log, labels, strict=True) if label == name],
                1,
                ConstraintConfig(),
                max_length=longest or 99,
            )
            for name in names
        ]
        expected = {
            pattern: tuple(part.get(pattern, 0) for part in parts)
            for pattern in set().union(*parts)
            if max(part.get(pattern, 0) for part in parts) >= min_count
        }
        rows = {
            tuple(tuple(element.split(TOGETHER)) for element in row["pattern"]): tuple(
                row[f"support:{name}"] for name in names
            )
            for row in found.iter_rows(named=True)
        }
        assert rows == expected
        assert found.height == len(expected) * (1 if n_classes == 2 else n_classes)


def test_single_events_count_alike_as_elements_of_one():
    rng = np.random.default_rng(3)
    lists = [["abcdef"[i] for i in rng.integers(0, 6, rng.integers(1, 20))] for _ in range(200)]
    labels = ["xy"[i] for i in rng.integers(0, 2, 200)]
    for threads in (1, 2):
        config = ContrastConfig(mining=MiningConfig(min_support=0.2, threads=threads), order_by="q")
        plain = contrast(SequenceDatabase.from_lists(lists), labels, config)
        sets = contrast(SequenceDatabase.from_lists([[[n] for n in one] for one in lists]), labels, config)
        key = ["pattern", "class"]
        assert plain.sort(key).equals(sets.sort(key))
        assert plain.height > 100


def test_things_at_once_are_told_from_things_in_order():
    """Buyers take bread and butter together, leavers one after the other."""
    together, apart = [["bread", "butter"]], [["bread"], ["butter"]]
    database = SequenceDatabase.from_lists([together, apart] * 50)
    found = contrast(database, ["buyer", "leaver"] * 50)
    first = found.filter(pl.col("class") == "buyer").row(0, named=True)
    assert first["pattern"] == ["bread + butter"]
    assert (first["length"], first["share"], first["share_rest"]) == (2, 1.0, 0.0)
    assert found.filter(pl.col("class") == "leaver").row(0, named=True)["pattern"] == ["bread", "butter"]


def test_budgets_of_sets_are_said():
    rng = np.random.default_rng(4)
    log = [[rng.choice(list("abcdefgh"), 3, replace=False).tolist() for _ in range(6)] for _ in range(40)]
    database, labels = SequenceDatabase.from_lists(log), ["x", "y"] * 20
    some = contrast(database, labels, ContrastConfig(mining=MiningConfig(min_support=2, max_patterns=50)))
    assert some["is_partial"].all()
    assert some.height == 50
    all_of_them = contrast(database, labels, ContrastConfig(mining=MiningConfig(min_support=2, max_length=2)))
    known = {tuple(row): n for row, n in all_of_them.select("pattern", "support:x").rows()}
    assert all(known.get(tuple(p), n) == n for p, n in some.select("pattern", "support:x").rows())
    nothing = contrast(database, labels, ContrastConfig(mining=MiningConfig(min_support=100)))
    assert nothing.height == 0


def shop(n: int = 400) -> tuple[SequenceDatabase, dict[str, str]]:
    """Buyers compare before they view; leavers view before they compare; all else is noise."""
    rng = np.random.default_rng(0)
    sequences, labels = [], {}
    for i in range(n):
        noise = [f"n{j}" for j in rng.integers(0, 6, 4)]
        middle = ["compare", "view"] if i % 4 == 0 else ["view", "compare"]
        sequences.append([*noise[:2], *middle, *noise[2:]])
        labels[str(i)] = "buyer" if i % 4 == 0 else "leaver"
    return SequenceDatabase.from_lists(sequences), labels


def test_the_planted_order_comes_first():
    database, labels = shop()
    found = contrast(database, labels, ContrastConfig(top_k=2))
    assert {tuple(row) for row in found["pattern"].to_list()} == {("compare", "view"), ("view", "compare")}
    first = found.filter(pl.col("class") == "buyer").row(0, named=True)
    assert first["pattern"] == ["compare", "view"]
    assert (first["support"], first["share"], first["share_rest"]) == (100, 1.0, 0.0)
    assert first["lift"] == pytest.approx(4.0)
    assert first["odds_low"] < first["odds_ratio"] < first["odds_high"]
    assert first["q"] < 1e-50
    assert first["information_gain"] == pytest.approx(-(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75)))
    noise = contrast(database, labels).filter(
        pl.col("pattern").list.eval(pl.element().str.contains("n")).list.all()
    )
    assert noise["q"].min() > 0.001


def test_target_order_and_filter():
    database, labels = shop()
    of_leavers = contrast(database, labels, ContrastConfig(target="leaver", order_by="q", max_q=0.01))
    assert set(of_leavers["class"]) == {"leaver"}
    assert of_leavers["q"].is_sorted()
    assert of_leavers["q"].max() <= 0.01
    by_lift = contrast(database, labels, ContrastConfig(order_by="lift"))
    assert by_lift["lift"].is_sorted(descending=True)
    array = [labels[str(i)] for i in range(400)]
    assert contrast(database, np.array(array)).equals(contrast(database, pl.Series(array)))
    assert contrast(database, array).equals(contrast(database, labels))


def test_partial_is_said():
    database, labels = shop()
    mining = MiningConfig(min_support=2, max_patterns=50)
    found = contrast(database, labels, ContrastConfig(mining=mining))
    assert found["is_partial"].all()
    assert not contrast(database, labels)["is_partial"].any()


def test_wrong_labels_are_said():
    database, labels = shop(8)
    with pytest.raises(TooLittleData, match="all have the label 'buyer'"):
        contrast(database, ["buyer"] * 8)
    with pytest.raises(TooLittleData, match="no sequence has a label"):
        contrast(database, [None] * 8)
    with pytest.raises(DataError, match="none of 1 does, such as 'nobody'"):
        contrast(database, {"nobody": "buyer"})
    with pytest.raises(DataError, match="each of 8 sequences; it has 3"):
        contrast(database, ["a", "b", "a"])
    with pytest.raises(ConfigError, match="Did you mean 'buyer'"):
        contrast(database, labels, ContrastConfig(target="buyr"))
    with pytest.raises(ConfigError, match="Did you mean 'lift'"):
        ContrastConfig(order_by="lifts")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="kind 'closed'"):
        ContrastConfig(mining=MiningConfig(kind="closed"))
