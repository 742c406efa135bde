"""Hard filters against sets: what may be shown, over a catalogue and over candidates."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError
from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.policy import Policy
from desirepath.recommend.scenario import ScenarioConfig
from desirepath.recommend.slate import Candidates, Request

V = 14
NOW_S = 100 * 86_400.0
AGES = [None, None, 1, 5, None, 50, 3, 2, 9, 10, 11, 0, -4, 30]
PRICES = [None, None, *range(11), None]
CATEGORIES = [
    None,
    None,
    ["a"],
    ["b"],
    ["a", "b"],
    [],
    None,
    ["c"],
    ["a"],
    ["c", "a"],
    ["b"],
    ["b"],
    [],
    ["a"],
]
LANGUAGES = [None, None, "en", "zh", "en", None, "fr", "en", "zh", "en", "en", "en", "fr", "zh"]


def catalogue() -> ItemAttributes:
    created = [None if age is None else datetime.fromtimestamp(NOW_S - age * 86_400, UTC) for age in AGES]
    hidden = np.zeros(V, dtype=bool)
    hidden[7] = True
    return ItemAttributes(
        pl.DataFrame(
            {"price": PRICES, "categories": CATEGORIES, "language": LANGUAGES, "created_at": created}
        ),
        hidden=hidden,
    )


ATTRIBUTES = catalogue()
SOME = st.lists(st.integers(2, V - 1), max_size=6).map(lambda found: np.array(found, dtype=np.int32))
LABELS = st.lists(st.sampled_from(["a", "b", "c", "zz"]), max_size=2, unique=True).map(tuple)


@given(
    request=st.builds(
        Request,
        filter=st.sampled_from(["", "price > 3", "price is missing"]),
        seen_ix=SOME,
        exclude_seen=st.sampled_from([None, True, False]),
        blocked_ix=SOME,
        blocked_categories=LABELS,
        categories=LABELS,
        allowed_ix=st.one_of(st.none(), SOME),
        languages=st.sampled_from([(), ("en",), ("zh", "fr")]),
        k=st.just(V),
    ),
    scenario=st.builds(
        ScenarioConfig,
        filter=st.sampled_from(["", "price < 9"]),
        exclude_seen=st.sampled_from([None, True, False]),
        languages=st.sampled_from([(), ("en",)]),
        max_age_days=st.sampled_from([None, 10.0]),
    ),
)
@settings(max_examples=150, deadline=None)
def test_filters_are_sets(request, scenario):
    """The mask and the list leave out the same items, for the first reason that a plain reading finds."""
    why: dict[int, str] = {}
    seen = request.exclude_seen if request.exclude_seen is not None else scenario.exclude_seen is not False
    languages = request.languages or scenario.languages
    for i in range(2, V):
        labels = CATEGORIES[i]
        price, age = PRICES[i], AGES[i]
        reasons = [
            ("hidden", i == 7),
            ("scenario filter", scenario.filter and not (price is not None and price < 9)),
            ("request filter", request.filter == "price > 3" and not (price is not None and price > 3)),
            ("request filter", request.filter == "price is missing" and price is not None),
            ("language", languages and LANGUAGES[i] not in languages),
            ("age", scenario.max_age_days and not (age is not None and age <= 10)),
            ("category", not set(request.categories) <= set(labels or ())),
            ("blocked category", request.blocked_categories and labels is None),
            ("blocked category", set(request.blocked_categories) & set(labels or ())),
            ("allow-list", request.allowed_ix is not None and i not in request.allowed_ix),
            ("blocked", i in request.blocked_ix),
            ("seen", seen and i in request.seen_ix),
        ]
        failed = [name for name, fails in reasons if fails]
        if failed:
            why[i] = failed[0]
    policy = Policy(scenario)
    mask = policy.allowed(ATTRIBUTES, request, now_s=NOW_S)
    found = set(range(2, V)) if mask is None else set(np.flatnonzero(mask).tolist())
    assert found == set(range(2, V)) - set(why)
    order = np.arange(2, V)[::-1].copy()
    offered = Candidates(source="model", item_ix=order, score=np.arange(V - 2, 0, -1.0))
    slate = policy.arrange(offered, ATTRIBUTES, None, request, NOW_S)
    assert slate.item_ix.tolist() == [i for i in order.tolist() if i not in why]
    told = {name: list(why.values()).count(name) for name in why.values()}
    assert slate.n_filtered == told
    whole = policy.count_filtered(ATTRIBUTES, request, now_s=NOW_S)
    assert whole == told


def test_no_rule_is_no_mask():
    bare = ItemAttributes(pl.DataFrame({"price": PRICES}))
    assert Policy(ScenarioConfig()).allowed(bare, Request()) is None
    assert Policy(ScenarioConfig()).allowed(bare, Request(seen_ix=np.array([3]), exclude_seen=False)) is None


def test_what_is_kept_is_not_changed_by_a_request():
    policy = Policy(ScenarioConfig(filter="price < 9"))
    before = policy.allowed(ATTRIBUTES, Request(), now_s=NOW_S).copy()
    policy.allowed(ATTRIBUTES, Request(seen_ix=np.array([2, 3])), now_s=NOW_S)
    assert (policy.allowed(ATTRIBUTES, Request(), now_s=NOW_S) == before).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"filter": "prise < 3"},
        {"seen_ix": np.array([V])},
        {"blocked_ix": np.array([-1])},
        {"allowed_ix": np.array([2**31 - 1])},
        {"k": 0},
        {"diversity": 1.5},
        {"seed": -1},
        {"caps": {"author": 0}},
        {"values": {"buy": math.inf}},
    ],
)
def test_wrong_requests(wrong):
    with pytest.raises(ConfigError):
        Policy(ScenarioConfig()).allowed(ATTRIBUTES, Request(**wrong))
