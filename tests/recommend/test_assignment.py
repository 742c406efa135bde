"""Who sees what: fixed for ever, even, independent between experiments; and what a wrong section is told."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from desirepath.errors import ConfigError
from desirepath.recommend.assignment import ExperimentConfig, experiments_from

TWO = {"old": "home", "new": "home2"}
USERS = [f"user-{i}" for i in range(20_000)]


def experiment(**given: object) -> ExperimentConfig:
    return ExperimentConfig(**{"name": "rows", "variants": TWO, **given})


def counts(found: ExperimentConfig) -> dict[str | None, int]:
    names, n = np.unique([str(found.variant(user)) for user in USERS], return_counts=True)
    return dict(zip(names.tolist(), n.tolist(), strict=True))


def test_it_never_changes() -> None:
    """Values written down once: another release or machine must give the same."""
    found = experiment(traffic=0.9)
    assert [found.variant(user) for user in ("ann", "bob", "cy", "dan", "eve", "火", "")] == PINNED


PINNED = ["new", "old", "new", "old", "old", "old", None]


def test_shares_are_kept() -> None:
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    found = counts(experiment(variants={"a": "x", "b": "y", "c": "z"}, shares=shares))
    assert chisquare([found[name] for name in shares], [20_000 * s for s in shares.values()]).pvalue > 0.001
    equal = counts(experiment())
    assert chisquare(list(equal.values())).pvalue > 0.001


def test_experiments_and_salts_draw_independently() -> None:
    one = experiment()
    for other in (experiment(name="rows2"), experiment(salt="again"), experiment(name="row", salt="s")):
        table = np.zeros((2, 2))
        for user in USERS[:8000]:
            table[one.variant(user) == "old", other.variant(user) == "old"] += 1
        assert chi2_contingency(table).pvalue > 0.001


def test_more_traffic_moves_nobody() -> None:
    small, large = experiment(traffic=0.2), experiment(traffic=0.6)
    inside = [(user, small.variant(user)) for user in USERS if small.variant(user) is not None]
    assert abs(len(inside) / 20_000 - 0.2) < 0.01
    assert all(large.variant(user) == variant for user, variant in inside)
    table = counts(small)
    assert chisquare([table["old"], table["new"]]).pvalue > 0.001


def test_when_it_runs() -> None:
    found = experiment(start=datetime(2026, 1, 2), end=datetime(2026, 2, 1, tzinfo=UTC))
    assert found.start == datetime(2026, 1, 2, tzinfo=UTC)
    assert not found.runs(datetime(2026, 1, 1, 23, 59, tzinfo=UTC))
    assert found.runs(datetime(2026, 1, 2, tzinfo=UTC))
    assert not found.runs(datetime(2026, 2, 1, tzinfo=UTC))
    assert experiment().runs(datetime(2026, 1, 1, tzinfo=UTC))
    assert not experiment(enabled=False).runs(datetime(2026, 1, 1, tzinfo=UTC))


def test_a_section_is_read() -> None:
    found = experiments_from(
        {
            "rows": {"variants": TWO, "shares": {"old": 0.75, "new": 0.25}, "start": "2026-11-22T09:00:00Z"},
            "mix": {"kind": "interleaving", "variants": TWO, "scenario": "shelf", "salt": "2", "traffic": 1},
        }
    )
    assert list(found) == ["rows", "mix"]
    assert found["rows"].start == datetime(2026, 11, 22, 9, tzinfo=UTC)
    assert found["mix"].kind == "interleaving"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"\[experiment.x\] variants must name what is compared"),
        ({"varaints": TWO}, r"\[experiment.x\] has no key 'varaints'. Did you mean 'variants'"),
        ({"variants": {"old": "home"}}, "variants must name at least two"),
        ({"variants": {"old": 1, "new": "home"}}, "variants must be a table of texts"),
        ({"variants": {"old": "", "new": "home"}}, "variants must be names with a scenario"),
        ({"variants": {"old": "home", "new": "model:"}}, "variants must be names with a scenario"),
        ({"variants": TWO, "shares": {"old": 0.5, "new": 0.6}}, "shares must cover all variants"),
        ({"variants": TWO, "shares": {"old": 1.0}}, "shares must cover all variants"),
        ({"variants": TWO, "shares": {"old": 1.5, "new": -0.5}}, "shares must be above 0"),
        ({"variants": TWO, "shares": {"old": float("nan"), "new": 1}}, "shares must be above 0"),
        ({"variants": TWO, "shares": {"old": 0.5, "nwe": 0.5}}, "Did you mean 'new'"),
        ({"variants": TWO, "shares": {"old": "half", "new": 0.5}}, "shares must be a table of numbers"),
        ({"variants": TWO, "traffic": 0}, "traffic must lie in"),
        ({"variants": TWO, "traffic": "all"}, "traffic must be a number"),
        ({"variants": TWO, "kind": "abc"}, "kind must be one of ab, interleaving"),
        ({"variants": TWO, "metric": "money"}, "metric must be one of"),
        ({"variants": TWO, "start": "soon"}, "start must be a date and time"),
        ({"variants": TWO, "start": "2026-02-01", "end": "2026-01-01"}, "end must come after start"),
        ({"variants": TWO, "enabled": "yes"}, "enabled must be true or false"),
        ({"variants": TWO, "salt": 3}, "salt must be a text"),
        ({"kind": "interleaving", "variants": {**TWO, "third": "x"}}, "must be two for interleaving"),
    ],
)
def test_a_wrong_section_is_told_its_key(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiments_from({"x": values})


def test_two_experiments_on_one_scenario_are_refused() -> None:
    both = {"a": {"variants": TWO}, "b": {"variants": TWO}}
    with pytest.raises(ConfigError, match="is changed by"):
        experiments_from(both)
    both["a"]["end"], both["b"]["start"] = "2026-01-01", "2026-01-01"
    assert len(experiments_from(both)) == 2
    both["b"].pop("start")
    both["b"]["enabled"] = False
    assert len(experiments_from(both)) == 2


def test_a_bad_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="a name must be"):
        experiments_from({"a b": {"variants": TWO}})
    with pytest.raises(ConfigError, match="a table of its own"):
        experiments_from({"kind": "ab"})
