# SPDX-License-Identifier: Apache-2.0
"""What the policy did to an item, in plain words, English or Chinese.

It reads records as `Slate.reasons` holds them, and says a number only where a record carries it. It knows
no rules; `sentences` puts its words behind the reasons of the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from desirepath.errors import ConfigError, nearest

KINDS = ("boost", "pin", "cap", "diversity", "exploration", "freshness", "value", "fallback", "filter")
"""Kinds of records; `recommend.slate.Applied` says what the amount of each is."""

_UP: dict[str, tuple[str, str]] = {
    "boost": ("Moved up by {rule}{odds}.", "按{rule}提升了排名{odds}。"),
    "freshness": ("Moved up because it is new{odds}.", "因为是新内容，排名有所提前{odds}。"),
    "diversity": ("Moved up {n} so that the list is varied.", "为了让列表更丰富，排名上升了{n}。"),
}
_DOWN: dict[str, tuple[str, str]] = {
    "boost": ("Moved down by {rule}{odds}.", "按{rule}降低了排名{odds}。"),
    "freshness": ("Moved down because it is no longer new{odds}.", "因为不是新内容，排名有所靠后{odds}。"),
    "diversity": ("Moved down {n} so that the list is varied.", "为了让列表更丰富，排名下降了{n}。"),
}
_PLAIN: dict[str, tuple[str, str]] = {
    "boost": ("Moved by {rule}.", "按{rule}调整了排名。"),
    "freshness": ("Moved by its age.", "按新旧程度调整了排名。"),
    "diversity": ("Placed so that the list is varied.", "为了让列表更丰富，调整了它的位置。"),
    "pin": ("Pinned by hand{n}.", "人工固定{n}。"),
    "filter": ("Shown although it does not pass {rule}.", "虽不符合{rule}，仍予以展示。"),
    "cap": (
        "{n} left out before it, so that the list has room for others.",
        "为给其他内容留出位置，前面略去了{n}。",
    ),
    "exploration": (
        "Placed partly by chance, to learn what people like{n}.",
        "为了解大家的喜好，位置带有随机性{n}。",
    ),
    "value": ("Ordered by what people are likely to do, too{n}.", "排序还考虑了可能的行为{n}。"),
    "fallback": (
        "Taken from {rule}, as better sources had too few items.",
        "更合适的来源数量不够，由{rule}补上。",
    ),
}
_FROM: dict[str, tuple[str, str]] = {
    "popular": ("what is popular of late", "近期热门"),
    "trending": ("what is trending", "正在流行的内容"),
    "similar": ("similar items", "相似内容"),
    "latest": ("what is new", "最新内容"),
}


def remark(record: Mapping[str, Any], place: int) -> str:
    """One record in a sentence; `place` 0 is English, 1 Chinese.

    A record holds `kind`, `rule` and `amount` as a slate's does, and for exploration the item's `propensity`;
    instead of the last two, `position` of a pin, `factor` (of the odds) of a boost, `attribute` or
    `expression` may be given. What is missing is left unsaid.

    >>> remark({"kind": "boost", "rule": "price < 20", "amount": 0.4054651}, 0)
    'Moved up by the rule “price < 20” (odds ×1.5).'
    >>> remark({"kind": "diversity", "rule": "mmr", "amount": -2.0}, 1)
    '为了让列表更丰富，排名下降了 2 位。'
    """
    kind, amount, rule = checked_kind(record), _amount(record), _rule(record)
    table = _PLAIN
    if kind in _UP and amount:
        table = _UP if amount > 0 else _DOWN
    text = table[kind][place]
    if kind == "fallback":
        rule = _FROM[rule][place] if rule in _FROM else ("other sources", "其他来源")[place]
    elif rule:
        rule = f"规则“{rule}”" if place else f"the rule “{rule}”"
    else:
        rule = ("a rule", "规则")[place]
    return text.format(rule=rule, n=_number(kind, amount, record, place), odds=_odds(amount, place))


def checked_kind(record: Mapping[str, Any]) -> str:
    """The kind of a record.

    Raises:
        ConfigError: it is none of KINDS.
    """
    kind = str(record.get("kind"))
    if kind not in KINDS:
        raise ConfigError(f"Unknown policy record '{kind}'. {nearest(kind, KINDS)}")
    return kind


def _amount(record: Mapping[str, Any]) -> float | None:
    if record.get("factor"):
        return math.log(float(record["factor"]))
    amount = record.get("amount", record.get("position"))
    return None if amount is None else float(amount)


def _rule(record: Mapping[str, Any]) -> str:
    found = record.get("rule", record.get("expression", record.get("attribute")))
    return "" if found is None else str(found)


def _odds(amount: float | None, place: int) -> str:
    if not amount:
        return ""
    return f"（权重 ×{math.exp(amount):.3g}）" if place else f" (odds ×{math.exp(amount):.3g})"


def _number(kind: str, amount: float | None, record: Mapping[str, Any], place: int) -> str:
    if kind == "exploration":
        chance = record.get("propensity")
        return "" if chance is None else f"（出现概率 {chance:.1%}）" if place else f" (chance {chance:.1%})"
    if kind == "value":
        return "" if amount is None else f"（价值 {amount:.3g}）" if place else f" (worth {amount:.3g})"
    n = None if amount is None else round(abs(amount))
    if kind == "pin":
        return "" if not n else f"在第 {n} 位" if place else f" at place {n}"
    if kind == "diversity":
        return f" {n} 位" if place else f"{n} place{'' if n == 1 else 's'}"
    if kind == "cap":
        if n is None:
            return "一些更靠前的结果" if place else "Better items were"
        return f" {n} 个更靠前的结果" if place else f"{n} better item{' was' if n == 1 else 's were'}"
    return ""
