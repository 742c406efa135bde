# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desirepath.errors import ConfigError
from desirepath.models.markov import Markov
from desirepath.recommend import Calibration, slate
from desirepath.recommend.explanation import explain
from desirepath.recommend.remarks import KINDS, remark
from desirepath.recommend.sentences import (
    _SPELLINGS,
    _VERBS,
    FALLBACKS,
    Evidence,
    Reason,
    Source,
    because,
    sentences,
)
from desirepath.schema import FIRST
from desirepath.sequences import Queries
from worlds import cycle


def reason(title="Heat", action="watch", moved=1.0, without=None):
    return Reason(title=title, action=action, log_odds_change=moved, probability_without=without)


@pytest.mark.parametrize(
    ("reasons", "en", "zh"),
    [
        ([reason()], "Because you watched “Heat”.", "因为你看过“Heat”。"),
        (
            [reason("活着", "read", 0.5), reason("Heat", "read", 0.9)],
            "Because you read “Heat” and “活着”.",
            "因为你读过“Heat”和“活着”。",
        ),
        (
            [reason("Alien", "like", 0.5), reason("Heat", "purchase", 0.9), reason("Third", "view", 0.2)],
            "Because you bought “Heat” and liked “Alien”.",
            "因为你买过“Heat”，也赞过“Alien”。",
        ),
        ([reason("A", "frobnicate")], "Because “A” is in your history.", "因为你的记录里有“A”。"),
        (
            [reason("A", "event"), reason("B", "event")],
            "Because “A” and “B” are in your history.",
            "因为你的记录里有“A”和“B”。",
        ),
        (
            [reason("A", "Add to cart", 2), reason("B", "event")],
            "Because you put “A” in your cart, and “B” is in your history.",
            "因为你把“A”加进过购物车，你的记录里有“B”。",
        ),
        # The same thing done twice is named once.
        ([reason("A", "view", 2), reason("A", "viewed", 1)], "Because you viewed “A”.", "因为你浏览过“A”。"),
    ],
)
def test_events_in_words(reasons, en, zh):
    evidence = Evidence(reasons=tuple(reasons))
    assert (because(evidence), because(evidence, "zh")) == (en, zh)


@given(st.lists(st.floats(-5, 5), max_size=6), st.floats(0.01, 1.0))
def test_no_because_without_a_cause(changes, threshold):
    """Only events that make the item likelier by the threshold are named, and at most two."""
    found = Evidence(
        reasons=tuple(reason(f"T{i}", moved=change) for i, change in enumerate(changes)),
        threshold=threshold,
        total_log_odds_change=sum(changes),
    )
    text = because(found)
    told = {int(number) for number in re.findall(r"“T(\d)”", text)}
    able = sorted((change for change in changes if change >= threshold), reverse=True)
    assert sorted((changes[i] for i in told), reverse=True) == pytest.approx(able[:2])
    assert text.startswith("Because") == bool(able)
    assert because(found, "zh").startswith("因为") == bool(able)


@pytest.mark.parametrize(
    ("without", "en", "zh"),
    [
        (0.09, None, None),
        (0.051, None, None),
        (0.049, "less than half", "一半"),
        (0.02, "less than a third", "三分之一"),
        (0.005, "less than a tenth", "十分之一"),
        (None, None, None),
    ],
)
def test_strength_only_where_numbers_carry_it(without, en, zh):
    found = Evidence(reasons=(reason(without=without),), probability=0.1)
    said, shuo = sentences(found), sentences(found, "zh")
    assert (len(said), len(shuo)) == ((1, 1) if en is None else (2, 2))
    if en is not None:
        assert en in said[1]
        assert zh in shuo[1]


@pytest.mark.parametrize(
    ("whole", "en", "zh"),
    [
        (0.5, "no single event decides", "没有哪一次行为起决定作用"),
        (0.01, "As likely for anybody", "对谁都差不多"),
        (-0.5, "against it", "未必合你的口味"),
        (None, "From what you did lately", "最近的行为"),
    ],
)
def test_no_single_event_decides(whole, en, zh):
    found = Evidence(reasons=(reason(moved=0.05),), total_log_odds_change=whole)
    assert en in because(found)
    assert zh in because(found, "zh")


@pytest.mark.parametrize("source", get_args(Source))
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_source_has_words(source, language):
    text = because(Evidence(source=source, reference="no_history", reasons=(reason(),)), language)
    assert text
    assert "{" not in text
    assert text.endswith("。" if language == "zh" else ".")
    assert because(Evidence(source=source), language)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("amount", [2.0, 1.0, -2.0, None])
def test_every_record_has_words(kind, language, amount):
    """With all its numbers they are said; with none the sentence still stands."""
    record = {"kind": kind, "rule": "price < 20", "amount": amount, "propensity": 0.25}
    text = sentences(Evidence(policy=(record,)), language)[-1]
    assert text.endswith("。" if language == "zh" else ".")
    assert "None" not in text
    assert "{" not in text
    told = {"pin": "2", "cap": "2", "diversity": "2", "exploration": "25.0%", "boost": "7.39", "value": "2"}
    if amount == 2.0 and kind in told:
        assert told[kind] in text
    if kind in ("boost", "filter"):
        assert "“price < 20”" in text
    plain = sentences(Evidence(policy=({"kind": kind},)), language)[-1]
    assert "None" not in plain


def test_what_a_slate_says_is_understood():
    """Every kind of record that lists can carry has words."""
    assert set(get_args(slate.Kind)) == set(KINDS)


def test_up_and_down():
    for kind in ("boost", "freshness", "diversity"):
        up, down = ({"kind": kind, "rule": "r", "amount": amount} for amount in (1.0, -1.0))
        assert "up" in remark(up, 0)
        assert "down" in remark(down, 0)
    assert remark({"kind": "boost", "factor": 0.5}, 0) == "Moved down by a rule (odds ×0.5)."
    assert remark({"kind": "pin", "position": 3}, 1) == "人工固定在第 3 位。"
    assert remark({"kind": "fallback", "rule": "trending", "amount": 1.0}, 0).startswith(
        "Taken from what is tr"
    )
    assert remark({"kind": "cap", "rule": "author", "amount": 1.0}, 0).startswith(
        "1 better item was left out"
    )


def test_what_was_done_is_said_once():
    pinned = Evidence(source="pinned", policy=({"kind": "pin", "amount": 1.0},))
    assert because(pinned) == "Pinned by hand at place 1."
    assert because(Evidence(source="pinned")) == "Chosen by hand."


def test_chinese_has_its_own_punctuation():
    """No half-width comma or full stop beside Chinese characters, in any text of the tables."""
    texts = [zh for _, zh in _VERBS.values()] + [zh for _, zh in FALLBACKS.values()]
    for source in get_args(Source):
        texts.append(because(Evidence(source=source, reference="slow"), "zh"))
    for kind in KINDS:
        texts += [remark({"kind": kind, "amount": amount, "propensity": 0.2}, 1) for amount in (None, -3, 3)]
    for text in texts:
        assert not re.search(r"[一-鿿][,.:;?!()]|[,.:;?!()][一-鿿]", text), text


def test_spellings_lead_to_verbs():
    assert set(_SPELLINGS.values()) <= set(_VERBS)
    assert not set(_SPELLINGS) & set(_VERBS)


def test_titles_are_plain_text():
    """Braces and markup pass through untouched, to be escaped by the page."""
    title = "<b>{0}</b> & {}"
    assert because(Evidence(reasons=(reason(title),))) == f"Because you watched “{title}”."
    assert title in because(Evidence(source="similar", reference=title))


def test_from_measured_evidence():
    """On the ring the step before is the reason, with its title; what was measured decides the words."""
    world = cycle()
    model = Markov().fit(world)
    queries = Queries.from_items([["1", "2", "3"], []], world.items)
    item_QK = np.full((2, 1), FIRST + 4)
    calibration = Calibration(sharpness=1.0, returning=0.0, knot=(), probability=(), n_queries=99)
    titles = {"3": "Three"}
    found = Evidence.of(explain(model, queries, item_QK, calibration=calibration), 0, 0, titles=titles)
    assert because(found) == (
        "Because “Three” is in your history. Without it this would be less than a tenth as likely."
    )
    plain = Evidence.of(explain(model, queries, item_QK), 0, 0)
    assert because(plain) == "Because “3” is in your history."
    assert because(Evidence.of(explain(model, queries, item_QK), 1, 0)).startswith("As likely for anybody")


def test_what_it_refuses():
    with pytest.raises(ConfigError, match="'en' or 'zh'"):
        because(Evidence(), "fr")
    with pytest.raises(ConfigError, match="Did you mean 'popular'"):
        Evidence(source="populer")
    with pytest.raises(ConfigError, match="Did you mean 'boost'"):
        Evidence(policy=({"kind": "bost"},))
