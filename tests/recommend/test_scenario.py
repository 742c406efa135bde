"""Scenarios from TOML: what loads, and how mistakes are named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import polars as pl
import pytest

from desirepath.errors import ConfigError
from desirepath.recommend.scenario import BoostConfig, PinConfig, ScenarioConfig, load_scenarios

HOME = """
[scenario.home]
k = 12
filter = "price < 20 and not 'adult' in categories"
exclude_seen = true
languages = ["en", "zh"]
max_age_days = 365
boosts = [{ filter = "brand == 'own'", times = 1.5 }, { filter = "price > 10", plus = -0.2 }]
pins = [{ item = "42", position = 3, force = true }]
caps = { author = 2, categories = 4 }
values = { purchase = 5, hide = -2.5 }
freshness_half_life_days = 14
diversity = 0.3
diversity_method = "mmr"
fallback = ["trending", "latest"]

[scenario.home.exploration]
method = "thompson"
slots = [5, 10]

[scenario.plain]
"""

SCHEMA = {
    "price": pl.Float64(),
    "brand": pl.String(),
    "categories": pl.List(pl.String()),
    "author": pl.String(),
    "language": pl.String(),
    "created_at": pl.Datetime("us", "UTC"),
}


def load(text: str, schema=None):
    return load_scenarios(tomllib.loads(text).get("scenario", {}), schema)


def test_every_key_arrives():
    found = load(HOME, SCHEMA)
    assert found["plain"] == ScenarioConfig()
    home = found["home"]
    assert (home.k, home.languages, home.max_age_days) == (12, ("en", "zh"), 365.0)
    assert [boost.log_odds for boost in home.boosts] == pytest.approx([0.405465, -0.2], abs=1e-6)
    assert home.pins == (PinConfig(item="42", position=3, force=True),)
    assert home.values == {"purchase": 5.0, "hide": -2.5}
    assert home.exploration.slots == (5, 10)
    assert home.fallback == ("trending", "latest")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("diversty = 0.3", "has no key 'diversty'. Did you mean 'diversity'?"),
        ("diversity = 2", "diversity must be from 0 to 1; got 2"),
        ("diversity = nan", "diversity must be from 0 to 1; got nan"),
        ("diversity_method = 'best'", "diversity_method = 'best'"),
        ("k = 0", "k must be from 1 to 1000"),
        ("k = 'ten'", "k = 'ten'"),
        ("filter = 'price <'", "filter: A filter must be a condition on items"),
        ("filter = 'prise < 3'", "no column 'prise'. Did you mean 'price'?"),
        ("boosts = [{ filter = 'price < 3' }]", "boosts: A boost must have either 'times' or 'plus'"),
        ("boosts = [{ filter = 'price < 3', times = 2, plus = 1 }]", "either 'times' or 'plus'"),
        ("boosts = [{ filter = 'price < 3', times = -1 }]", "'times' must be above 0"),
        ("boosts = [{ filter = 'price < 3', plus = inf }]", "must be a finite number"),
        ("boosts = [{ filter = 'price < 3', time = 2 }]", "boosts has no key 'time'. Did you mean 'times'?"),
        ("boosts = [{ filter = 'brandt == 3', times = 2 }]", "no column 'brandt'"),
        ("boosts = 3", "boosts = 3"),
        ("pins = [{ item = 'a', position = 0 }]", "position must be from 1"),
        ("pins = [{ item = 'a', position = 1 }, { item = 'b', position = 1 }]", "share the position 1"),
        ("pins = [{ item = 'a', position = 1 }, { item = 'a', position = 2 }]", "share the item 'a'"),
        ("caps = { author = 0 }", "caps.author must be from 1"),
        ("caps = { auther = 1 }", "caps: items have no column 'auther'. Did you mean 'author'?"),
        ("values = { like = inf }", "values.like must be a finite number"),
        ("values = { like = 0 }", "some action a worth other than 0"),
        ("max_age_days = 0", "max_age_days must be above 0"),
        ("min_probability = 1.5", "min_probability must be from 0 to 1"),
        ("fallback = ['model2']", "no source 'model2'"),
        ("fallback = ['latest', 'latest']", "each source once"),
        ("exploration = { method = 'ucb' }", "exploration"),
        ("exploration = { chance = 0.1 }", "exploration has no key 'chance'"),
        ("exploration = { share = 1.5 }", "exploration: share must be from 0 to 1"),
        ("exploration = 0.1", "exploration = 0.1"),
    ],
)
def test_mistakes_name_scenario_and_key(key, said):
    with pytest.raises(ConfigError) as raised:
        load(f"[scenario.plain]\n[scenario.shop]\n{key}\n", SCHEMA)
    assert str(raised.value).startswith("[scenario.shop] ")
    assert said in str(raised.value)


def test_a_scenario_is_a_table():
    with pytest.raises(ConfigError, match=r"\[scenario\] must hold one table a scenario"):
        load_scenarios({"k": 3})


def test_boosts_are_log_odds():
    assert BoostConfig(filter="price < 3", times=2.0).log_odds == pytest.approx(0.693147, abs=1e-6)


def test_the_page_for_people_tells_the_truth():
    """The examples of docs/policy.md load, and every option of a scenario is explained there."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        assert load(block)
    for config in (ScenarioConfig, BoostConfig, PinConfig, type(ScenarioConfig().exploration)):
        for name in config.__dataclass_fields__:
            assert f"`{name}`" in page, name
