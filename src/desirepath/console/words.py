# SPDX-License-Identifier: Apache-2.0
"""What the pages say, in English and Chinese, from one file in which both stand side by side.

It knows texts only; how a number is written in a language is told here too.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

from desirepath.errors import ConfigError, nearest

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "zh": "中文"}
"""Code to its own name, the first being what others get."""
_FILE = Path(__file__).parent / "words.toml"


@cache
def phrases() -> Mapping[str, tuple[str, ...]]:
    """Key such as "trial.title" to its text in each of `LANGUAGES`, in that order."""
    content = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {f"{page}.{name}": tuple(said) for page, names in content.items() for name, said in names.items()}


class Words:
    """One language.

    >>> Words("en")("nav.trial"), Words("zh")("nav.trial")
    ('Try it', '试一试')
    """

    def __init__(self, language: str) -> None:
        """Speak `language`, one of `LANGUAGES`."""
        if language not in LANGUAGES:
            raise ConfigError(f"The console speaks no '{language}'. {nearest(language, LANGUAGES)}")
        self.language = language
        self._place = list(LANGUAGES).index(language)

    def __call__(self, key: str, /, **values: object) -> str:
        """The text of a key, with values in the places that it names.

        Raises:
            ConfigError: there is no such key.
        """
        said = phrases().get(key)
        if said is None:
            raise ConfigError(f"The console has no words for '{key}'. {nearest(key, phrases())}")
        return said[self._place].format(**values) if values else said[self._place]

    def get(self, key: str, otherwise: str) -> str:
        """The text of a key that may be missing, such as that of an action only this log has."""
        said = phrases().get(key)
        return otherwise if said is None else said[self._place]

    def action(self, name: str) -> str:
        """What an action is called; its own name where there is no other.

        >>> Words("zh").action("purchase"), Words("en").action("purchase"), Words("zh").action("my_action")
        ('购买', 'purchase', 'my_action')
        """
        return self.get(f"action.{name}", name)

    def feature(self, name: str) -> str:
        """What a feature of users is called; hours and weekdays by themselves.

        >>> words = Words("en")
        >>> words.feature("hour_06"), words.feature("weekday_1"), words.feature("Drama")
        ('06–07 h', 'Mon', 'Drama')
        """
        kind, _, number = name.rpartition("_")
        if kind == "hour" and number.isdigit():
            return self("segments.hour", a=number, b=f"{int(number) + 1:02d}")
        if kind == "weekday" and number.isdigit():
            return self("users.weekdays").split("|")[int(number) - 1]
        return self.get(f"feature.{name}", name)

    def ago(self, time_s: float, now_s: float) -> str:
        """How long ago a moment was, in one unit."""
        gone = max(0.0, now_s - time_s)
        for unit, seconds in (("day", 86_400.0), ("hour", 3600.0), ("minute", 60.0)):
            if gone >= (365 * seconds if unit == "day" else seconds):
                break
            if unit == "day" and gone >= seconds:
                return self("time.days", n=int(gone // seconds))
        else:
            return self("time.now")
        if unit == "day":
            return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d")
        return self(f"time.{unit}s", n=int(gone // seconds))


def chosen_language(cookie: str | None, accepted: str | None) -> str:
    """The language of a visitor: what was chosen before, else what the browser asks for, else English.

    >>> chosen_language(None, "zh-CN,zh;q=0.9,en;q=0.8"), chosen_language("en", "zh"), chosen_language("", "")
    ('zh', 'en', 'en')
    """
    if cookie in LANGUAGES:
        return str(cookie)
    wanted: list[tuple[float, str]] = []
    for part in (accepted or "").split(","):
        code, _, weight = part.strip().partition(";q=")
        try:
            wanted.append((-float(weight or 1.0), code[:2].lower()))
        except ValueError:
            continue  # a header that is no list of languages asks for nothing
    return next((code for _, code in sorted(wanted, key=lambda pair: pair[0]) if code in LANGUAGES), "en")


def percent(share: float) -> str:
    """A share of one in per cent, with digits that tell it from 0.

    >>> percent(0.1234), percent(0.00123), percent(0), percent(1), percent(0.00001)
    ('12.3%', '0.12%', '0%', '100%', '<0.01%')
    """
    if share <= 0:
        return "0%"
    if share < 0.0001:
        return "<0.01%"
    if share >= 0.9995:
        return "100%"
    return f"{100 * share:.2f}%" if share < 0.01 else f"{100 * share:.1f}%"


def milliseconds(value: float) -> str:
    """A duration in milliseconds with its unit.

    >>> milliseconds(0.812), milliseconds(23.4), milliseconds(1530)
    ('0.8 ms', '23 ms', '1530 ms')
    """
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def quoted(text: str) -> str:
    """A text as part of an address."""
    return quote(text, safe="")
