# SPDX-License-Identifier: Apache-2.0
"""The reasons of a recommendation in plain words, English or Chinese, from what was measured.

It says no more than its evidence: no "because" where an event speaks against the item or moves it too
little, no strength without numbers. Titles go in as plain text and come out as plain text: escaping them is
the work of the page that shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from desirepath.errors import ConfigError, nearest
from desirepath.recommend.explanation import Explanation
from desirepath.recommend.remarks import checked_kind, remark
from desirepath.schema import FIRST
from desirepath.sequences import Vocabulary

Language = Literal["en", "zh"]
Source = Literal["model", "popular", "trending", "latest", "similar", "pinned", "explored", "fallback"]

_VERBS: dict[str, tuple[str, str]] = {
    "view": ("viewed {}", "浏览过{}"),
    "click": ("clicked {}", "点开过{}"),
    "open": ("opened {}", "打开过{}"),
    "visit": ("visited {}", "去过{}"),
    "read": ("read {}", "读过{}"),
    "watch": ("watched {}", "看过{}"),
    "listen": ("listened to {}", "听过{}"),
    "play": ("played {}", "播放过{}"),
    "buy": ("bought {}", "买过{}"),
    "cart": ("put {} in your cart", "把{}加进过购物车"),
    "like": ("liked {}", "赞过{}"),
    "love": ("loved {}", "喜欢过{}"),
    "rate": ("rated {}", "给{}打过分"),
    "review": ("reviewed {}", "评价过{}"),
    "comment": ("commented on {}", "评论过{}"),
    "share": ("shared {}", "分享过{}"),
    "save": ("saved {}", "收藏过{}"),
    "follow": ("followed {}", "关注过{}"),
    "download": ("downloaded {}", "下载过{}"),
}
"""What people did, for one or two titles."""

_SPELLINGS: dict[str, str] = {
    "pageview": "view", "impression_click": "click", "viewed": "view", "content_view": "view",
    "product_view": "view", "view_item": "view", "detail": "view", "clicked": "click", "open_item": "open",
    "checkin": "visit", "stream": "play", "played": "play", "listened": "listen", "watched": "watch",
    "purchase": "buy", "purchased": "buy", "order": "buy", "transaction": "buy", "bought": "buy",
    "checkout": "buy", "add_to_cart": "cart", "addtocart": "cart", "cart_add": "cart", "basket": "cart",
    "liked": "like", "thumbs_up": "like", "upvote": "like", "rating": "rate", "rated": "rate", "star": "rate",
    "comment_created": "comment", "commented": "comment", "shared": "share", "bookmark": "save",
    "favorite": "save", "favourite": "save", "wishlist": "save", "saved": "save", "followed": "follow",
    "downloaded": "download",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One event of the history that makes the item likelier."""

    title: str
    """Of the event's item; its id where it has no title."""
    action: str
    log_odds_change: float
    """What leaving it out takes away, in nats."""
    probability_without: float | None = None
    """Calibrated probability of the item without it; None where there is no calibration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of why one item stands in one list."""

    source: Source = "model"
    """Where the item comes from."""
    reference: str | None = None
    """What it is similar to, for "similar"; why, for "fallback": a key of `FALLBACKS` or a sentence."""
    reasons: tuple[Reason, ...] = ()
    """The events examined, in any order."""
    probability: float | None = None
    """Calibrated, with the whole history."""
    total_log_odds_change: float | None = None
    """What the whole history does, in nats; None where it was not examined."""
    threshold: float = 0.1
    """Nats from which an event, or the history, is said to matter."""
    policy: tuple[Mapping[str, Any], ...] = field(default=())
    """What the policy did to the item: records as in `Slate.reasons`; see `remarks.remark`."""

    def __post_init__(self) -> None:
        if self.source not in get_args(Source):
            raise ConfigError(f"Unknown source '{self.source}'. {nearest(self.source, get_args(Source))}")
        for record in self.policy:
            checked_kind(record)

    @staticmethod
    def of(
        explanation: Explanation,
        query: int,
        column: int,
        *,
        items: Vocabulary | None = None,
        titles: Mapping[str, str] | None = None,
        source: Source = "model",
        reference: str | None = None,
        policy: Sequence[Mapping[str, Any]] = (),
    ) -> Evidence:
        """What leave-one-out found for the item in `column` of a query, with titles where they are known."""
        sequences, titles = explanation.queries.sequences, titles or {}
        items = items or sequences.items
        moved = explanation.log_odds_QK[query, column] - explanation.log_odds_without_EK[:, column]
        found = np.flatnonzero((explanation.query_E == query) & (moved >= explanation.threshold))
        found = found[np.argsort(-moved[found], kind="stable")]
        item = np.asarray(sequences.item_ix)[explanation.row_E[found]]
        found, item = found[item >= FIRST], item[item >= FIRST]
        names = items.decode(item).to_list()
        done = sequences.actions.decode(np.asarray(sequences.action_ix)[explanation.row_E[found]]).to_list()
        known = explanation.calibrated
        whole = explanation.log_odds_QK[query, column] - explanation.empty_log_odds_QK[query, column]
        return Evidence(
            source=source,
            reference=reference,
            reasons=tuple(
                Reason(
                    title=titles.get(name, name),
                    action=action,
                    log_odds_change=float(moved[event]),
                    probability_without=float(explanation.without_EK[event, column]) if known else None,
                )
                for event, name, action in zip(found, names, done, strict=True)
            ),
            probability=float(explanation.probability_QK[query, column]) if known else None,
            total_log_odds_change=float(whole),
            threshold=explanation.threshold,
            policy=tuple(policy),
        )


FALLBACKS: dict[str, tuple[str, str]] = {
    "no_history": ("nothing is known of you yet", "我们还不了解你的喜好"),
    "unknown_items": ("none of your items is known to the model", "模型还不认识你看过的内容"),
    "no_model": ("no model is trained yet", "模型还没有训练好"),
    "too_few": ("too few items passed the filters", "符合条件的内容太少"),
    "slow": ("the model took too long to answer", "模型没来得及给出结果"),
}
"""Why the fallback answered, by the word that `reference` may hold."""

_SOURCES: dict[str, tuple[str, str]] = {
    "popular": ("Popular of late.", "近期热门。"),
    "trending": ("Trending now.", "正在流行。"),
    "similar": ("Similar to {}.", "与{}相似。"),
    "latest": ("New of late.", "最近新增。"),
    "pinned": ("Chosen by hand.", "人工推荐。"),
    "explored": ("Shown on purpose to learn whether you like it.", "特意展示，想看看你是否喜欢。"),
}


def because(evidence: Evidence, language: Language = "en") -> str:
    """All that is to be said, in one text of a few sentences.

    >>> seen = Reason(title="Heat", action="watch", log_odds_change=1.2, probability_without=0.02)
    >>> found = Evidence(reasons=(seen,), probability=0.05, total_log_odds_change=1.5)
    >>> because(found)
    'Because you watched “Heat”. Without it this would be less than half as likely.'
    >>> because(found, "zh")
    '因为你看过“Heat”。如果没有它，可能性会不到现在的一半。'
    """
    return ("" if _place(language) else " ").join(sentences(evidence, language))


def sentences(evidence: Evidence, language: Language = "en") -> list[str]:
    """One sentence a reason: where the item comes from, which events speak for it, what the policy did.

    Raises:
        ConfigError: the language is neither "en" nor "zh".
    """
    place = _place(language)
    said = []
    if evidence.source in ("model", "explored", "pinned"):
        # The record of a pin or of exploration says the same, and with its numbers.
        done = {"explored": "exploration", "pinned": "pin"}.get(evidence.source)
        if done is not None and done not in (record["kind"] for record in evidence.policy):
            said.append(_SOURCES[evidence.source][place])
        said += _history(evidence, place, needed=evidence.source == "model")
    elif evidence.source == "fallback":
        said.append(_fell_back(evidence.reference, place))
    else:
        named = evidence.reference is not None or "{}" not in _SOURCES[evidence.source][place]
        text = (
            _SOURCES[evidence.source][place]
            if named
            else ("Similar to what you had.", "与你看过的相似。")[place]
        )
        said.append(text.format(_quoted(evidence.reference or "")))
        said += _history(evidence, place, needed=False)
    return said + [remark(record, place) for record in evidence.policy]


def _history(evidence: Evidence, place: int, *, needed: bool) -> list[str]:
    """What the history does: at most two events, or that none decides."""
    told = sorted(
        (reason for reason in evidence.reasons if reason.log_odds_change >= evidence.threshold),
        key=lambda reason: -reason.log_odds_change,
    )
    strongest: dict[str, Reason] = {}
    for reason in told:
        strongest.setdefault(reason.title, reason)
    named = list(strongest.values())[:2]
    if named:
        return [_events(named, place), *_strength(evidence, named, place)]
    if not needed:
        return []
    whole = evidence.total_log_odds_change
    if whole is None:
        return [("From what you did lately.", "根据你最近的行为推荐。")[place]]
    if whole >= evidence.threshold:
        text = (
            "Your history as a whole speaks for it; no single event decides.",
            "这是综合你的全部记录得出的，没有哪一次行为起决定作用。",
        )
    elif whole > -evidence.threshold:
        text = (
            "As likely for anybody: your history changes little here.",
            "对谁都差不多，你的记录影响不大。",
        )
    else:
        text = (
            "Likely for many people; your history speaks rather against it.",
            "很多人会喜欢，但从你的记录看，未必合你的口味。",
        )
    return [text[place]]


def _events(named: list[Reason], place: int) -> str:
    titles = [_quoted(reason.title) for reason in named]
    verbs = [_verb(reason.action, place) for reason in named]
    if len(named) == 2 and verbs[0] == verbs[1]:
        both = "和".join(titles) if place else " and ".join(titles)
        titles, verbs = [both], verbs[:1]
    parts = []
    for verb, title in zip(verbs, titles, strict=True):
        if verb is not None:
            parts.append(("you " if not place else "你") + verb.format(title))
        else:
            many = len(titles) < len(named)
            parts.append(
                f"你的记录里有{title}" if place else f"{title} {'are' if many else 'is'} in your history"
            )
    if len(parts) == 2 and None not in verbs:
        parts[1] = parts[1].removeprefix("你" if place else "you ")
    if place:
        return f"因为{'，也'.join(parts) if None not in verbs else '，'.join(parts)}。"
    return f"Because {' and '.join(parts) if None not in verbs else ', and '.join(parts)}."


def _strength(evidence: Evidence, named: list[Reason], place: int) -> list[str]:
    """How much rests on the strongest event, where calibrated probabilities tell a factor of 2 or more."""
    without = named[0].probability_without
    if without is None or not evidence.probability or without > evidence.probability / 2:
        return []
    share = (
        ("a tenth", "十分之一")
        if without < evidence.probability / 10
        else ("a third", "三分之一")
        if without < evidence.probability / 3
        else ("half", "一半")
    )[place]
    alone = len(named) == 1
    if place:
        return [f"如果没有{'它' if alone else _quoted(named[0].title)}，可能性会不到现在的{share}。"]
    what = "it" if alone else _quoted(named[0].title)
    return [f"Without {what} this would be less than {share} as likely."]


def _fell_back(reason: str | None, place: int) -> str:
    if reason is None:
        return (
            "What has been popular of late, as nothing better is known.",
            "暂无更合适的依据，先推荐近期热门。",
        )[place]
    if reason in FALLBACKS:
        why = FALLBACKS[reason][place]
        return f"{why}，所以先推荐近期热门。" if place else f"Popular of late, because {why}."
    return reason


def _verb(action: str, place: int) -> str | None:
    """What somebody did, to be formatted with a title; None for actions that have no word."""
    plain = action.strip().lower().replace(" ", "_").replace("-", "_")
    for word in (plain, plain.replace("_", "")):
        word = _SPELLINGS.get(word, word)
        if word in _VERBS:
            return _VERBS[word][place]
    return None


def _quoted(title: str) -> str:
    return f"“{title}”"


def _place(language: str) -> int:
    languages = get_args(Language)
    if language not in languages:
        raise ConfigError(f"language must be 'en' or 'zh'; got '{language}'. {nearest(language, languages)}")
    return int(languages.index(language))
