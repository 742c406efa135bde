"""Policy as a whole: orders, places, reasons and propensities of lists whose right answer is known."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, ShapeError
from desirepath.recommend.attributes import ItemAttributes
from desirepath.recommend.policy import Policy
from desirepath.recommend.scenario import BoostConfig, ExplorationConfig, PinConfig, ScenarioConfig
from desirepath.recommend.slate import Applied, Candidates, Counts, Request
from desirepath.sequences import Vocabulary

NOW_S = datetime(2026, 1, 31, tzinfo=UTC).timestamp()
N = 20
IDS = [f"i{n}" for n in range(N)]
ATTRIBUTES = ItemAttributes.aligned(
    pl.DataFrame(
        {
            "item_id": IDS,
            "price": [float(n) for n in range(N)],
            "author": ["abc"[n % 3] if n != 19 else None for n in range(N)],
            "categories": [["even" if n % 2 == 0 else "odd", f"c{n % 5}"] for n in range(N)],
            "created_at": [
                datetime.fromtimestamp(NOW_S - 86_400 * n, UTC) if n != 6 else None for n in range(N)
            ],
        }
    ),
    Vocabulary(IDS),
)


def offered(order=range(10), probability=None, source="model", reason="") -> Candidates:
    item_ix = np.array([n + 2 for n in order], dtype=np.int64)
    return Candidates(
        source=source,
        item_ix=item_ix,
        score=-np.arange(len(item_ix), dtype=np.float64),
        probability=None if probability is None else np.array(probability, dtype=np.float64),
        reason=reason,
    )


def arrange(candidates, request=None, vectors=None, **scenario):
    policy = Policy(ScenarioConfig(**{"k": 5, **scenario}))
    return policy.arrange(candidates, ATTRIBUTES, vectors, request or Request(), NOW_S)


def names(slate) -> list[int]:
    return (slate.item_ix - 2).tolist()


@given(
    order=st.permutations(range(N)),
    probability=st.one_of(
        st.none(), st.lists(st.floats(0, 1, width=32) | st.just(math.nan), min_size=N, max_size=N)
    ),
    method=st.sampled_from(["dpp", "mmr"]),
)
@settings(max_examples=60, deadline=None)
def test_without_rules_the_order_stands(order, probability, method):
    """Whatever the probabilities say, dial 0 is the source's own order; numbers come out as they went in."""
    slate = arrange(offered(order, probability), k=N, diversity=0.0, diversity_method=method)
    assert names(slate) == list(order)
    assert slate.score.tolist() == [-n for n in range(N)]
    assert slate.propensity.tolist() == [1.0] * N
    assert slate.applied == ((),) * N
    if probability is not None:
        np.testing.assert_array_equal(slate.probability, probability)


def test_a_boost_is_a_factor_on_the_odds():
    """Odds of 1/4 and 1/9: item 1 passes item 0 only when its odds more than 9/4-fold."""
    two = offered([0, 1], [0.2, 0.1])
    below = arrange(two, boosts=(BoostConfig(filter="price == 1", times=2.24),))
    above = arrange(two, boosts=(BoostConfig(filter="price == 1", times=2.26),))
    added = arrange(two, boosts=(BoostConfig(filter="price == 1", plus=math.log(2.26)),))
    assert (names(below), names(above), names(added)) == ([0, 1], [1, 0], [1, 0])
    assert above.value[0] == pytest.approx(math.log(2.26 / 9))
    assert above.probability.tolist() == [0.1, 0.2]
    assert above.applied == ((Applied("boost", "price == 1", pytest.approx(math.log(2.26))),), ())


def test_boosts_add_up_and_requests_add_theirs():
    own = (BoostConfig(filter="price < 9", plus=0.5), BoostConfig(filter="price == 3", times=3.0))
    slate = arrange(
        offered([0, 3], [0.5, 0.5]), Request(boosts=(BoostConfig(filter="price == 0", plus=9.0),)), boosts=own
    )
    assert slate.value.tolist() == pytest.approx([9.5, 0.5 + math.log(3)])
    assert [len(item) for item in slate.applied] == [2, 2]


def test_odds_halve_with_every_half_life():
    """Of unknown age, item 6 counts as the oldest, item 9."""
    slate = arrange(offered([9, 6, 3, 0], [0.5] * 4), freshness_half_life_days=3.0)
    odds = dict(zip(names(slate), np.exp(slate.value), strict=True))
    assert odds == pytest.approx({0: 1.0, 3: 0.5, 9: 0.125, 6: 0.125})
    assert names(slate) == [0, 3, 9, 6]
    assert slate.applied[1][0].kind == "freshness"
    assert slate.applied[1][0].amount == pytest.approx(-math.log(2))


def valued(matrix, actions=("buy", "hide", "look")):
    base = offered(range(len(matrix)), [0.5] * len(matrix))
    return Candidates(
        source="model",
        item_ix=base.item_ix,
        score=base.score,
        probability=base.probability,
        actions=actions,
        action_probability=np.array(matrix),
    )


def test_worth_is_the_weighted_sum_of_actions():
    matrix = [[0.1, 0.5, 0.9], [0.2, 0.0, 0.1], [0.3, 0.4, 0.5], [math.nan, 0.0, 0.9]]
    slate = arrange(valued(matrix), values={"buy": 5.0, "hide": -2.0})
    assert names(slate) == [1, 2, 3, 0]
    assert slate.value.tolist() == pytest.approx([1.0, 0.7, 0.0, -0.5])
    assert slate.applied[0] == (Applied("value", "predicted actions", pytest.approx(1.0)),)
    again = arrange(valued(matrix), Request(values={"look": 1.0}), values={"buy": 5.0})
    assert names(again) == [0, 3, 2, 1]
    alone = arrange(offered(range(3)), values={"buy": 1.0})
    assert names(alone) == [0, 1, 2]
    assert "predicts none" in alone.notes[0]


@given(
    p=st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2),
    weights=st.lists(st.floats(-5, 5).filter(bool), min_size=2, max_size=2),
    plus=st.floats(0.01, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_boost_never_lowers_worth(p, weights, plus):
    """Good actions become likelier and bad ones less so, by the same factor on their odds."""
    values = {"buy": weights[0], "hide": weights[1]}
    boost = BoostConfig(filter="price == 0", plus=plus)
    two = valued([p, p], actions=("buy", "hide"))
    slate = arrange(two, values=values, boosts=(boost,))
    assert names(slate) == [0, 1]
    odds = [x / (1 - x) * math.exp(math.copysign(plus, w)) for x, w in zip(p, weights, strict=True)]
    expected = sum(w * o / (1 + o) for w, o in zip(weights, odds, strict=True))
    assert slate.value[0] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_improbable_is_left_out():
    slate = arrange(offered(range(4), [0.5, math.nan, 0.2, 0.1]), min_probability=0.2)
    assert names(slate) == [0, 1, 2]
    assert slate.n_filtered == {"minimum probability": 1}


@pytest.mark.parametrize(
    ("pins", "expected"),
    [
        ([("i7", 1)], [7, 0, 1, 2, 3]),
        ([("i1", 3), ("i15", 5)], [0, 2, 1, 3, 15]),
        ([("i15", 1), ("i1", 2), ("i16", 3), ("i17", 4), ("i18", 5)], [15, 1, 16, 17, 18]),
        ([("i15", 9)], [0, 1, 2, 3, 4]),
        ([("nobody", 1)], [0, 1, 2, 3, 4]),
    ],
)
def test_pins_stand_in_their_places(pins, expected):
    slate = arrange(offered(), pins=tuple(PinConfig(item=item, position=at) for item, at in pins))
    assert names(slate) == expected
    for place, item in enumerate(expected):
        pinned = (f"i{item}", place + 1) in pins
        assert [said.kind for said in slate.applied[place]] == (["pin"] if pinned else [])
        assert slate.source[place] == ("pin" if item > 9 else "model")
        assert np.isnan(slate.score[place]) == (item > 9)


def test_pins_past_a_short_list_come_last():
    pins = (PinConfig(item="i9", position=4), PinConfig(item="i8", position=5))
    assert names(arrange(offered([0]), pins=pins)) == [0, 9, 8]
    assert names(arrange(offered([]), pins=pins)) == [9, 8]


def test_pins_pass_filters_only_by_force():
    seen = Request(seen_ix=np.array([9]))
    gentle = arrange(offered(), seen, pins=(PinConfig(item="i7", position=1),))
    assert names(gentle) == [0, 1, 2, 3, 4]
    assert gentle.notes == ("pin at 1: the rule 'seen' leaves it out",)
    forced = arrange(offered(), seen, pins=(PinConfig(item="i7", position=1, force=True),))
    assert names(forced) == [7, 0, 1, 2, 3]
    assert forced.applied[0] == (Applied("pin", "place 1", 1.0), Applied("filter", "seen", 1.0))


def test_a_request_pins_over_its_scenario():
    pins = (
        PinConfig(item="i5", position=1),
        PinConfig(item="i6", position=2),
        PinConfig(item="i7", position=3),
    )
    request = Request(pins=(PinConfig(item="i8", position=1), PinConfig(item="i6", position=4)))
    assert names(arrange(offered(), request, pins=pins)) == [8, 0, 7, 6, 1]


def within(slate, column, most) -> bool:
    values = [ATTRIBUTES.table[column][int(ix)] for ix in slate.item_ix]
    counts: dict[object, int] = {}
    for value in values:
        for one in value if isinstance(value, pl.Series | list) else [] if value is None else [value]:
            counts[one] = counts.get(one, 0) + 1
    return max(counts.values(), default=0) <= most


@given(
    order=st.permutations(range(N)),
    author=st.integers(1, 4),
    categories=st.integers(1, 4),
    k=st.integers(1, 12),
    diversity=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 1000),
    method=st.sampled_from(["none", "epsilon", "thompson"]),
)
@settings(max_examples=120, deadline=None)
def test_caps_hold_whatever_else_is_asked(order, author, categories, k, diversity, seed, method):
    slate = arrange(
        offered(order),
        Request(seed=seed),
        k=k,
        caps={"author": author, "categories": categories},
        diversity=diversity,
        exploration=ExplorationConfig(method=method, share=0.7, slots=(1, 3, 4), draws=16),
    )
    assert within(slate, "author", author)
    assert within(slate, "categories", categories)
    assert len(set(slate.item_ix.tolist())) == len(slate)


@given(order=st.permutations(range(N)), most=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_caps_leave_out_what_a_plain_loop_leaves_out(order, most):
    chosen: list[int] = []
    left = 0
    for n in order:
        labels = ATTRIBUTES.table["categories"][n + 2].to_list()
        others = [label for m in chosen for label in ATTRIBUTES.table["categories"][m + 2].to_list()]
        if len(chosen) == 5:
            break
        if all(others.count(label) < most for label in labels):
            chosen.append(n)
            last_left = left
        else:
            left += 1
    slate = arrange(offered(order), caps={"categories": most})
    assert names(slate) == chosen
    assert slate.n_filtered.get("cap categories", 0) == last_left
    ahead = [sum(n not in chosen for n in order[: order.index(m)]) for m in chosen]
    told = [int(item[0].amount) if item else 0 for item in slate.applied]
    assert told == ahead


def test_pinned_items_count_but_are_not_capped():
    pins = tuple(PinConfig(item=f"i{n}", position=at) for at, n in enumerate((0, 3, 6), start=1))
    slate = arrange(offered(range(9)), pins=pins, caps={"author": 2})
    assert names(slate) == [0, 3, 6, 1, 2]


def test_diversity_takes_from_other_corners():
    """Two heaps of copies: relevance alone shows the first heap only; determinants go on taking turns."""
    vectors = np.zeros((12, 2), dtype=np.float32)
    vectors[2:8], vectors[8:12] = [1, 0], [0, 1]
    assert names(arrange(offered(), k=4, vectors=vectors)) == [0, 1, 2, 3]
    for method, expected in (("dpp", [0, 6, 1, 7]), ("mmr", [0, 6, 1, 2])):
        mixed = arrange(offered(), k=4, vectors=vectors, diversity=0.9, diversity_method=method)
        assert names(mixed) == expected
        assert mixed.applied[:3] == (
            (),
            (Applied("diversity", method, 5.0),),
            (Applied("diversity", method, -1.0),),
        )


def test_diversity_sees_what_is_pinned():
    vectors = np.zeros((12, 2), dtype=np.float32)
    vectors[2:8], vectors[8:12] = [1, 0], [0, 1]
    pins = (PinConfig(item="i0", position=1),)
    assert names(arrange(offered(), k=2, vectors=vectors, diversity=0.6, pins=pins)) == [0, 6]


def test_categories_are_enough_for_diversity():
    slate = arrange(offered([0, 10, 5, 1]), k=2, diversity=0.9)
    assert names(slate) == [0, 1]


def test_later_sources_fill_up_and_say_so():
    asked = []

    def sources():
        for name, order, reason in (
            ("model", [0, 1], "only 2 events are known"),
            ("similar", [1, 2], ""),
            ("trending", [0, 3, 4, 5], ""),
            ("popular", [9], ""),
        ):
            asked.append(name)
            yield offered(order, source=name, reason=reason)

    slate = arrange(sources(), boosts=(BoostConfig(filter="price == 4", plus=50.0),))
    assert names(slate) == [0, 1, 2, 4, 3]
    assert slate.source == ("model", "model", "similar", "trending", "trending")
    assert asked == ["model", "similar", "trending", "popular"][: len(asked)]
    assert "popular" not in asked[:3]
    assert slate.fallback == "similar"
    assert slate.fallback_reason == (
        "'model' offers 2 of the 5 items asked for (only 2 events are known); "
        "others are from 'similar', 'trending'."
    )
    assert slate.applied[3][0] == Applied("fallback", "trending", 2.0)


def test_sources_are_asked_only_while_the_list_is_short():
    asked = []

    def sources(first):
        for name, order in (("model", first), ("trending", range(10, 20))):
            asked.append(name)
            yield offered(order, source=name)

    full = arrange(sources(range(9)))
    assert (asked, full.fallback, full.fallback_reason) == (["model"], None, None)
    asked.clear()
    capped = arrange(sources(range(0, 9, 3)), caps={"author": 1})
    assert asked == ["model", "trending"]
    assert names(capped) == [0, 10, 11, 19]


def test_no_candidates_is_an_empty_list():
    slate = arrange([])
    assert len(slate) == 0
    assert slate.fallback is None
    nothing = arrange([offered([], reason="the user is unknown"), offered([3], source="latest")])
    assert nothing.fallback_reason.startswith(
        "'model' offers 0 of the 5 items asked for (the user is unknown)"
    )


def test_padding_unknown_and_repeats_are_passed_over():
    odd = Candidates(source="model", item_ix=np.array([0, 3, 1, 3, 2]), score=np.arange(5.0)[::-1].copy())
    slate = arrange(odd)
    assert slate.item_ix.tolist() == [3, 2]
    assert slate.score.tolist() == [3.0, 0.0]
    assert slate.n_candidates == 2


@pytest.mark.parametrize("method", ["epsilon", "thompson"])
def test_exploration_is_told_and_keeps_pins(method):
    config = ExplorationConfig(method=method, share=0.5, slots=(2, 4), draws=50, pool=8)
    pins = (PinConfig(item="i15", position=2),)
    counts = Counts(impressions=np.full(30, 50), clicks=np.arange(30) % 7)
    seen = set()
    for seed in range(60):
        request = Request(seed=seed, counts=counts)
        slate = arrange(offered(), request, pins=pins, exploration=config)
        again = arrange(offered(), request, pins=pins, exploration=config)
        assert names(slate) == names(again)
        assert names(slate)[:3] == [0, 15, 1]
        assert slate.propensity[[0, 1, 2, 4]].tolist() == [1.0] * 4
        assert 0 < slate.propensity[3] <= 1
        changed = Applied("exploration", method, 1.0) in slate.applied[3]
        assert changed == (names(slate)[3] != 2)
        seen.add(names(slate)[3])
    assert len(seen) > 2
    shown = arrange(offered(), Request(seed=3, explore=False), exploration=config)
    assert names(shown) == [0, 1, 2, 3, 4]


def test_propensities_are_frequencies():
    """Over seeds, each item stands in each place as often as the lists say."""
    n_seeds = 1500
    config = ExplorationConfig(method="epsilon", share=0.4, pool=3)
    found: dict[tuple[int, int], int] = {}
    told: dict[tuple[int, int], float] = {}
    policy = Policy(ScenarioConfig(k=2, caps={"author": 1}, exploration=config))
    for seed in range(n_seeds):
        slate = policy.arrange(offered(), ATTRIBUTES, None, Request(seed=seed), NOW_S)
        for place, (item, p) in enumerate(zip(names(slate), slate.propensity.tolist(), strict=True)):
            found[place, item] = found.get((place, item), 0) + 1
            assert told.setdefault((place, item), p) == p
    for key, n in found.items():
        assert n / n_seeds == pytest.approx(told[key], abs=5 * math.sqrt(0.25 / n_seeds))


SOURCES = st.lists(
    st.tuples(st.permutations(range(N)).map(lambda p: p[:9]), st.booleans(), st.booleans()), max_size=3
)
RULES = st.fixed_dictionaries(
    {
        "k": st.integers(1, 15),
        "filter": st.sampled_from(["", "price < 12", "not 'even' in categories"]),
        "max_age_days": st.sampled_from([None, 9.5]),
        "min_probability": st.sampled_from([0.0, 0.3]),
        "boosts": st.sampled_from([(), (BoostConfig(filter="price > 3", times=3.0),)]),
        "freshness_half_life_days": st.sampled_from([None, 2.0]),
        "values": st.sampled_from([{}, {"buy": 1.0, "hide": -2.0}]),
        "pins": st.lists(
            st.builds(PinConfig, item=st.sampled_from(IDS), position=st.integers(1, 15), force=st.booleans()),
            max_size=3,
            unique_by=(lambda pin: pin.item, lambda pin: pin.position),
        ).map(tuple),
        "caps": st.sampled_from([{}, {"author": 2}, {"categories": 1, "author": 3}]),
        "diversity": st.sampled_from([0.0, 0.3, 1.0]),
        "diversity_method": st.sampled_from(["dpp", "mmr"]),
        "diversity_pool": st.sampled_from([1, 4, 150]),
        "exploration": st.builds(
            ExplorationConfig,
            method=st.sampled_from(["none", "epsilon", "thompson"]),
            share=st.floats(0, 1),
            slots=st.sampled_from([(), (1,), (2, 9)]),
            pool=st.integers(1, 9),
            draws=st.just(16),
        ),
    }
)


@given(
    sources=SOURCES,
    rules=RULES,
    seen=st.lists(st.integers(2, N + 1), max_size=6),
    seed=st.integers(0, 9),
    has_vectors=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_what_always_holds(sources, rules, seen, seed, has_vectors):
    """Whatever the rules: no repeats, nothing that may not be shown, true places, propensities."""
    rng = np.random.default_rng(seed)
    given_sources = [
        Candidates(
            source=f"s{n}",
            item_ix=np.array(order) + 2,
            score=rng.normal(size=9),
            probability=rng.random(9) if has_probability else None,
            actions=("buy", "hide") if has_actions else (),
            action_probability=rng.random((9, 2)) if has_actions else None,
        )
        for n, (order, has_probability, has_actions) in enumerate(sources)
    ]
    vectors = rng.normal(size=(N, 3)).astype(np.float32) if has_vectors else None
    request = Request(seen_ix=np.array(seen, dtype=np.int64), seed=seed)
    policy = Policy(ScenarioConfig(**rules))
    slate = policy.arrange(given_sources, ATTRIBUTES, vectors, request, NOW_S)
    shown = slate.item_ix.tolist()
    assert len(set(shown)) == len(shown) <= rules["k"]
    forced = {f"i{ix - 2}" for ix in shown} & {pin.item for pin in rules["pins"] if pin.force}
    mask = policy.allowed(ATTRIBUTES, request, now_s=NOW_S)
    least = rules["min_probability"]
    for ix, p, propensity in zip(shown, slate.probability, slate.propensity, strict=True):
        if f"i{ix - 2}" not in forced:
            assert mask is None or mask[ix]
            assert not p < least
        assert 0 < propensity <= 1
    is_pinned = [any(one.kind == "pin" for one in item) for item in slate.applied]
    for pin in rules["pins"]:
        ix = int(pin.item[1:]) + 2
        if ix in shown and is_pinned[shown.index(ix)] and shown.index(ix) + 1 != pin.position:
            # Past what fills the list: pins stand at its end, in order.
            assert shown.index(ix) + 1 < pin.position
            assert all(is_pinned[shown.index(ix) :])
    offered_ix = {int(ix) for part in given_sources for ix in part.item_ix}
    pinned_ix = {int(pin.item[1:]) + 2 for pin in rules["pins"]}
    assert set(shown) <= offered_ix | pinned_ix
    if not rules["caps"] and mask is None and not least:
        assert len(shown) >= min(rules["k"], len(offered_ix))
    again = policy.arrange(given_sources, ATTRIBUTES, vectors, request, NOW_S)
    assert again.item_ix.tolist() == shown
    assert again.reasons == slate.reasons
    json.dumps(slate.reasons, allow_nan=False)


def test_arrange_changes_nothing():
    candidates = offered(range(10), [0.1] * 10)
    before = [candidates.item_ix.copy(), candidates.score.copy(), candidates.probability.copy()]
    request = Request(seen_ix=np.array([3, 4]), seed=5, filter="price < 9")
    options = {
        "caps": {"author": 2},
        "diversity": 0.4,
        "exploration": ExplorationConfig(method="epsilon", share=0.5),
        "boosts": (BoostConfig(filter="price > 5", times=2.0),),
        "freshness_half_life_days": 5.0,
    }
    first, again = arrange(candidates, request, **options), arrange(candidates, request, **options)
    assert json.dumps(first.reasons) == json.dumps(again.reasons)
    for name in ("item_ix", "score", "value", "probability", "propensity"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    for array, kept in zip(
        [candidates.item_ix, candidates.score, candidates.probability], before, strict=True
    ):
        np.testing.assert_array_equal(array, kept)


def test_a_scenario_is_checked_before_it_goes_live():
    Policy(ScenarioConfig(caps={"author": 2}, values={"buy": 1.0})).check(ATTRIBUTES, ["buy"])
    for wrong, said in (
        ({"values": {"by": 1.0}}, "no action 'by' is predicted. Did you mean 'buy'"),
        ({"filter": "prise < 3"}, "Did you mean 'price'"),
        ({"languages": ("en",)}, "languages: items have no column 'language'"),
    ):
        with pytest.raises(ConfigError, match=said):
            Policy(ScenarioConfig(**wrong)).check(ATTRIBUTES, ["buy"])


def test_wrong_shapes():
    with pytest.raises(ShapeError, match="items below 22"):
        arrange(offered([30]))
    with pytest.raises(ShapeError, match="probability of 'model'"):
        offered(range(3), [0.1])
    with pytest.raises(ShapeError, match="one shape"):
        Counts(impressions=np.zeros(3), clicks=np.zeros(2))


def test_the_best_of_values():
    values = np.array([9.0, 9.0, 1.0, math.nan, 5.0, 5.0, 3.0, -math.inf])
    assert Candidates.best("popular", values, 3).item_ix.tolist() == [4, 5, 6]
    assert Candidates.best("popular", values, 1).item_ix.tolist() == [4]
    allowed = np.ones(8, dtype=bool)
    allowed[4] = False
    assert Candidates.best("popular", values, 9, allowed).item_ix.tolist() == [5, 6, 2]


@given(
    created=st.lists(st.none() | st.integers(0, 9), min_size=2, max_size=40),
    n=st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_the_newest_are_found_either_way(created, n, seed):
    """The kept order and a pass over all moments give the same items."""
    moments = [None, None] + [None if c is None else datetime.fromtimestamp(c, UTC) for c in created]
    schema = {"created_at": pl.Datetime("us", "UTC")}
    found = ItemAttributes(pl.DataFrame({"created_at": moments}, schema=schema))
    allowed = np.random.default_rng(seed).random(len(found)) < 0.5
    for mask in (None, allowed):
        best = Candidates.best("latest", found.created_s().copy(), n, mask)
        leading = Candidates.leading("latest", found.newest(), found.created_s(), n, mask)
        assert leading.item_ix.tolist() == best.item_ix.tolist()
        assert leading.score.tolist() == best.score.tolist()


def test_long_lists_go_on_by_value():
    vectors = np.zeros((12, 2), dtype=np.float32)
    vectors[2:8], vectors[8:12] = [1, 0], [0, 1]
    slate = arrange(offered(), k=10, vectors=vectors, diversity=1.0, diversity_pool=7)
    assert names(slate)[1] == 6
    assert sorted(names(slate)[:7]) == list(range(7))
    assert names(slate)[7:] == [7, 8, 9]
