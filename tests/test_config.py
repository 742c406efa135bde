# SPDX-License-Identifier: Apache-2.0
"""Configuration: later sources win, and nothing unknown or ill-typed passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from desirepath import config
from desirepath.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Oven:
    degrees: int = 180
    fan: bool = False
    shelf: Literal["top", "middle"] = "middle"
    timer_s: float | None = None
    dishes: tuple[str, ...] = ()


SECTIONS = {"oven": Oven}


def test_later_sources_win(tmp_path):
    path = tmp_path / "desirepath.toml"
    path.write_text("[oven]\ndegrees = 200\nshelf = 'top'\n")
    environment = config.from_environment({"DESIREPATH_OVEN__DEGREES": "210", "PATH": "/bin"})
    words = config.from_words(["oven.fan=true", "oven.timer_s=1.5"])
    settings = config.resolve(SECTIONS, config.from_toml(path), environment, words)
    assert settings["oven"] == Oven(degrees=210, fan=True, shelf="top", timer_s=1.5)
    assert config.to_plain(settings["oven"]) == {
        "degrees": 210,
        "fan": True,
        "shelf": "top",
        "timer_s": 1.5,
        "dishes": [],
    }


def test_an_absent_file_changes_nothing(tmp_path):
    assert config.resolve(SECTIONS, config.from_toml(tmp_path / "none.toml")) == {"oven": Oven()}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ovn": {}}, "Did you mean 'oven'"),
        ({"oven": {"degres": 1}}, "Did you mean 'degrees'"),
        ({"oven": {"degrees": "hot"}}, r"\[oven\] degrees = 'hot'"),
        ({"oven": {"degrees": 180.5}}, r"\[oven\] degrees = 180.5"),
        ({"oven": {"shelf": "floor"}}, "'top' or 'middle'"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        config.resolve(SECTIONS, values)


@pytest.mark.parametrize("text", ["degrees = 1", "[oven\n", "\x00"])
def test_broken_toml(tmp_path, text):
    path = tmp_path / "desirepath.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        config.from_toml(path)


@pytest.mark.parametrize("word", ["oven", "oven.degrees", "degrees=3", "=3", "oven.=3"])
def test_a_word_that_is_no_setting(word):
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        config.from_words([word])


def test_an_environment_variable_without_a_section():
    with pytest.raises(ConfigError, match="two underscores"):
        config.from_environment({"DESIREPATH_DEGREES": "3"})


def test_a_list_on_the_command_line():
    settings = config.resolve(SECTIONS, config.from_words(['oven.dishes=["pie", "roast"]']))
    assert settings["oven"].dishes == ("pie", "roast")
