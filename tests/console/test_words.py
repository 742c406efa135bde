# SPDX-License-Identifier: Apache-2.0
"""Both languages say the same things, and every page's words are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from desirepath.console.words import LANGUAGES, Words, chosen_language, percent, phrases
from desirepath.errors import ConfigError

ROOM = Path(__file__).resolve().parents[2] / "src" / "desirepath" / "console"
PLACE = re.compile(r"\{(\w+)\}")
SAME_IN_BOTH = {"models.do", "trend.too few"}


def test_both_languages_fill_the_same_places():
    for key, said in phrases().items():
        assert len(said) == len(LANGUAGES), key
        assert set(PLACE.findall(said[0])) == set(PLACE.findall(said[1])), key


def test_chinese_is_chinese():
    """Each text holds a Chinese character, unless it is a code; none was left in English."""
    for key, (english, chinese) in phrases().items():
        if key in SAME_IN_BOTH:
            continue
        said = PLACE.sub("", english if key == "nav.language" else chinese)
        assert re.search(r"[\u4e00-\u9fff]", said) or not re.search(r"[a-z]{3}", said), key


def test_every_word_that_pages_ask_for_is_there():
    asked = set()
    for path in ROOM.glob("*.py"):
        asked |= set(re.findall(r'words\(\s*"([a-z]+\.\w+)"', path.read_text(encoding="utf-8")))
    assert len(asked) > 100
    assert asked <= set(phrases())


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"trial\.title"):
        Words("en")("trial.titel")
    with pytest.raises(ConfigError, match="speaks no 'fr'"):
        Words("fr")


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        (None, "en-US,en;q=0.9,zh-CN;q=0.8", "en"),
        (None, "zh-TW", "zh"),
        (None, "fr, zh;q=0.5, en;q=0.7", "en"),
        (None, "de;q=x, ,;;", "en"),
        ("zh", "en", "zh"),
        ("<script>", "zh", "zh"),
    ],
)
def test_the_language_of_a_visitor(cookie, accepted, language):
    assert chosen_language(cookie, accepted) == language


def test_moments_are_told_in_one_unit():
    words = Words("en")
    now = 1_800_000_000.0
    told = [words.ago(now - gone, now) for gone in (5, 125, 7300, 3 * 86400, 400 * 86400)]
    assert told == ["just now", "2 min ago", "2 h ago", "3 d ago", "2025-12-11"]
    assert words.ago(now + 60, now) == "just now"  # a clock that is ahead


def test_shares_never_read_as_nothing_when_they_are_something():
    assert percent(1e-9) == "<0.01%"
    assert percent(0.0) == "0%"
