# SPDX-License-Identifier: Apache-2.0
"""Each plant against an independent computation from the log.

The marketplace is made from one seed, so nothing here is flaky; the bounds are those of chance
(about 3.5 standard deviations), so a wrong law fails.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from desirepath.simulate import Marketplace

Z = 3.5


def wilson(successes: int, trials: int) -> tuple[float, float]:
    interval = stats.binomtest(successes, trials).proportion_ci(1 - 2 * stats.norm.sf(Z), method="wilson")
    return interval.low, interval.high


def sessions(linked: pl.DataFrame) -> pl.DataFrame:
    """One row a session: its first event, and which steps of the funnel it reaches in order."""
    log = linked.filter(pl.col("cause") != "pattern").sort("time", maintain_order=True)

    def first(action: str) -> pl.Expr:
        return pl.col("time").filter(pl.col("action") == action).min()

    return log.group_by("session_id", maintain_order=True).agg(
        pl.col("source", "cause", "now", "time", "user_id").first(),
        view=first("view"), cart=first("cart"), purchase=first("purchase"),
    )  # fmt: skip


# Funnel --------------------------------------------------------------------------------------------


def test_funnel_rates_lie_in_their_intervals(market: Marketplace, linked: pl.DataFrame) -> None:
    own = sessions(linked).filter(
        ~pl.col("source").is_in(["social", "campaign"]), pl.col("view").is_not_null()
    )
    for segment in market.truth.facts["segments"]:
        mine = own.filter(pl.col("now") == segment["name"])
        carts = mine.filter(pl.col("cart") > pl.col("view")).height
        bought = mine.filter(pl.col("purchase") > pl.col("cart")).height
        low, high = wilson(carts, mine.height)
        assert low < segment["cart"] < high
        low, high = wilson(bought, carts)
        assert low < segment["buy"] < high
        told = [segment[f"own_sessions_with_{step}"] for step in ("view", "cart", "purchase")]
        assert told == [mine.height, carts, bought]


def test_funnel_counts_are_those_of_a_plain_computation(market: Marketplace, linked: pl.DataFrame) -> None:
    funnel = market.truth.facts["funnel"]
    for key, name in (("session_id", "sessions"), ("user_id", "users")):
        reached = [linked.filter(pl.col("action") == step)[key].n_unique() for step in funnel["steps"]]
        assert funnel[name] == reached
    in_order = sessions(linked).filter(pl.col("cart").is_not_null())
    assert (in_order["view"] < in_order["cart"]).all()
    assert (in_order["cart"] < in_order["purchase"]).all(ignore_nulls=True)


# Rhythm --------------------------------------------------------------------------------------------


def test_rhythm_follows_each_segment(market: Marketplace, linked: pl.DataFrame) -> None:
    laws = market.truth.table("rhythm")
    old = market.users.filter(pl.col("signup_at") < datetime(2025, 1, 6, tzinfo=UTC))
    begun = linked.filter(pl.col("cause") == "own", pl.col("source") == "direct").join(
        old, on="user_id", how="semi"
    )
    calendar = pl.datetime_range(pl.datetime(2025, 1, 6), pl.datetime(2025, 3, 6), "1d", eager=True)
    days = pl.DataFrame({"weekday": calendar.dt.weekday()}).group_by("weekday").len("days")
    seen = begun.group_by(
        "now", weekday=pl.col("time").dt.weekday(), hour=pl.col("time").dt.hour()
    ).len()  # fmt: skip
    for (segment,), law in laws.group_by("segment"):
        law = law.join(days, on="weekday").with_columns(pl.col("probability") * pl.col("days"))
        mine = law.join(seen.filter(pl.col("now") == segment), on=["weekday", "hour"], how="left")
        for key in ("hour", "weekday"):
            table = mine.group_by(key).agg(pl.col("len").fill_null(0).sum(), pl.col("probability").sum())
            expected = table["probability"] / table["probability"].sum() * table["len"].sum()
            kept = expected >= 5
            statistic = (((table["len"] - expected) ** 2) / expected).filter(kept).sum()
            assert stats.chi2.sf(statistic, kept.sum() - 1) > 1e-4, (segment, key)
    hours = {
        name: begun.filter(pl.col("now") == name)["time"].dt.hour().mode()[0]
        for name in laws["segment"].unique()
    }
    assert hours["early birds"] < 9
    assert hours["night owls"] in (22, 23, 0)


# Order of items ------------------------------------------------------------------------------------


def steps_taken(linked: pl.DataFrame) -> pl.DataFrame:
    """Views caused by a view of the walk, with the two views they came from, the nearer first."""
    parents = linked.select(
        pl.col("event_id").alias("parent_event_id"),
        pl.col("item_id").alias("from_item"),
        pl.col("action").alias("from_action"),
        pl.col("step").alias("from_step"),
        pl.col("parent_event_id").alias("before_event_id"),
    )
    before = linked.select(
        pl.col("event_id").alias("before_event_id"),
        pl.col("item_id").alias("before_item"),
        pl.col("step").alias("before_step"),
        pl.col("source").alias("before_source"),
    )
    taken = linked.filter(pl.col("source") == "browse")
    taken = taken.join(parents, on="parent_event_id", maintain_order="left")
    return taken.join(before, on="before_event_id", how="left", maintain_order="left")


def neighbours(market: Marketplace, steps: pl.DataFrame, key: str) -> pl.DataFrame:
    """Whether the item of each step is next or previous on the ring to the item of column `key`."""
    order = market.truth.table("items").select(pl.col("item_id").alias(key), "ring_next", "ring_prev")
    return steps.join(order, on=key, how="left", maintain_order="left").select(
        forward=pl.col("item_id") == pl.col("ring_next"), back=pl.col("item_id") == pl.col("ring_prev")
    )


def test_walks_follow_ring_and_chain(market: Marketplace, linked: pl.DataFrame) -> None:
    taken = steps_taken(linked)
    assert (taken["from_action"] == "view").all()
    shares = dict(taken.group_by("step").len().iter_rows())
    for step, share in (("ring", 0.70), ("shelf", 0.10), ("chain", 0.10), ("wish", 0.10)):
        low, high = wilson(shares[step], taken.height)
        assert low < share < high
    ring = taken.filter(pl.col("step") == "ring", pl.col("from_step") == "ring")
    near = neighbours(market, ring, "from_item")
    # A cold item is skipped before it exists, so a few steps go further than one place.
    assert (near["forward"] | near["back"]).mean() > 0.93
    visits = ring.with_columns(near).filter(pl.col("forward") != pl.col("back"))
    users = market.truth.table("users").select("user_id", "way")
    visits = visits.join(users, on="user_id", maintain_order="left")
    assert visits.group_by("session_id").agg(pl.col("forward").n_unique())["forward"].max() == 1
    visits = visits.unique("session_id", keep="first", maintain_order=True)
    own = (visits["forward"] == (visits["way"] == 1)).sum()
    low, high = wilson(int(own), visits.height)
    assert low < 0.85 < high


def test_detours_come_back_to_the_thread(market: Marketplace, linked: pl.DataFrame) -> None:
    """After ring, off the ring, ring: 60% go on from the item before the detour, 40% from the detour."""
    taken = steps_taken(linked).filter(
        pl.col("step") == "ring", pl.col("before_step") == "ring", pl.col("from_step") != "ring",
        pl.col("from_item") != pl.col("before_item"),
    )  # fmt: skip
    found = [
        (near["forward"] | near["back"]).to_numpy()
        for near in (neighbours(market, taken, key) for key in ("before_item", "from_item"))
    ]
    assert (found[0] | found[1]).mean() > 0.93
    clear = found[0] != found[1]
    low, high = wilson(int(found[0][clear].sum()), int(clear.sum()))
    assert low < 0.6 < high


def test_category_chain_is_the_planted_one(market: Marketplace, linked: pl.DataFrame) -> None:
    category = market.items.select("item_id", "category")
    taken = (
        steps_taken(linked)
        .filter(pl.col("step") == "chain")
        .join(category, on="item_id")
        .join(category.rename({"item_id": "from_item", "category": "before"}), on="from_item")
    )
    law = market.truth.table("chain")
    seen = taken.group_by(pl.col("before"), pl.col("category").alias("next_category")).len()
    table = law.join(
        seen, left_on=["category", "next_category"], right_on=["before", "next_category"], how="left"
    ).with_columns(pl.col("len").fill_null(0))  # fmt: skip
    table = table.with_columns(expected=pl.col("probability") * pl.col("len").sum().over("category"))
    # Cells of small expectation are pooled by category of departure.
    small = pl.col("expected") < 5
    pooled = table.group_by(
        "category", pl.when(small).then(pl.lit("rest")).otherwise("next_category").alias("cell")
    ).agg(pl.col("len", "expected").sum())  # fmt: skip
    statistic = ((pooled["len"] - pooled["expected"]) ** 2 / pooled["expected"]).sum()
    assert stats.chi2.sf(statistic, pooled.height - 24) > 1e-4


def test_two_last_items_tell_more_than_one_and_one_more_than_popularity(linked: pl.DataFrame) -> None:
    """What a sequence model can gain: hit rate at 1 of plain counts on later sessions, from the log alone."""
    views = linked.filter(pl.col("action") == "view").sort("session_id", "time", maintain_order=True)
    columns = views.select("session_id", "item_id", "time")
    rows = columns.with_columns(
        one=pl.col("item_id").shift(1).over("session_id"), two=pl.col("item_id").shift(2).over("session_id")
    ).drop_nulls()
    cut = rows["time"].quantile(0.8)
    train, test = rows.filter(pl.col("time") < cut), rows.filter(pl.col("time") >= cut)

    def best(*keys: str) -> dict[Any, str]:
        top = train.group_by(*keys, "item_id").len().sort("len", "item_id", descending=True)
        return {
            row[:-1]: row[-1] for row in top.unique(keys, keep="first").select(*keys, "item_id").iter_rows()
        }

    second, first = best("two", "one"), best("one")
    popular = train["item_id"].mode()[0]
    hits: Counter[str] = Counter()
    for two, one, item in test.select("two", "one", "item_id").iter_rows():
        guess = second.get((two, one), first.get((one,), popular))
        hits["second"] += guess == item
        hits["first"] += first.get((one,), popular) == item
        hits["popular"] += popular == item
        hits["repeat"] += one == item
    rate = {name: count / test.height for name, count in hits.items()}
    assert rate["second"] > 1.15 * rate["first"]
    assert rate["first"] > 5 * rate["popular"]
    assert rate["first"] > 5 * rate["repeat"]


def test_companions_follow_purchases(market: Marketplace, linked: pl.DataFrame) -> None:
    bought = linked.filter(pl.col("action") == "purchase").select(
        pl.col("event_id").alias("parent_event_id"), pl.col("item_id").alias("main")
    )  # fmt: skip
    related = linked.filter(pl.col("source") == "related").join(bought, on="parent_event_id")
    pairs = market.truth.table("items").select(pl.col("item_id").alias("main"), "companion")
    assert related.height == linked.filter(pl.col("source") == "related").height > 200
    assert related.join(pairs, on="main").select((pl.col("item_id") == pl.col("companion")).all()).item()


# Triggers ------------------------------------------------------------------------------------------


def test_every_trigger_has_its_number_of_children(market: Marketplace) -> None:
    for edge in market.truth.facts["triggers"]:
        chance = edge["expected"] / edge["trials"]
        deviation = np.sqrt(edge["expected"] * (1 - min(chance, 0.999)))
        assert abs(edge["children"] - edge["expected"]) < Z * deviation + 1, edge


def test_trigger_counts_and_delays_are_those_of_the_links(market: Marketplace, linked: pl.DataFrame) -> None:
    parents = linked.select(
        pl.col("event_id").alias("parent_event_id"),
        pl.col("action").alias("cause_action"),
        pl.col("time").alias("cause_time"),
    )
    children = linked.join(parents, on="parent_event_id").with_columns(
        delay_s=(pl.col("time") - pl.col("cause_time")).dt.total_microseconds() / 1e6,
        way=pl.when(pl.col("source") == "social").then(pl.lit("friend"))
        .when(pl.col("source") == "recommendation").then(pl.lit("recommendation")).otherwise(pl.lit("own")),
    )  # fmt: skip
    assert children["delay_s"].min() > 0
    organic = linked.filter(pl.col("cause") != "pattern")
    for edge in market.truth.facts["triggers"]:
        effect = (
            "view" if edge["way"] == "friend" else edge["effect"]
        )  # a friend's purchase begins with a view
        mine = children.filter(
            pl.col("cause_action") == edge["cause"], pl.col("action") == effect, pl.col("way") == edge["way"]
        )  # fmt: skip
        assert mine.height == edge["children"]
        assert organic.filter(pl.col("action") == edge["cause"]).height == edge["causes"]
        if edge["children"] < 300:
            continue
        # Half the children come within the half-life; a delay of days is cut by the end of the log.
        slack = 0.06 if edge["half_life_s"] > 3_600 else 0
        share = (mine["delay_s"] < edge["half_life_s"]).mean()
        assert abs(share - 0.5) < Z * 0.5 / np.sqrt(mine.height) + slack, edge


def test_trigger_means_show_in_plain_counts(market: Marketplace, clean: pl.DataFrame) -> None:
    """Without any link: only one action causes likes, shares, carts, purchases or returns."""
    counts = dict(clean.group_by("action").len().iter_rows())
    planted = clean.height * 0.02
    for cause, effect in (("view", "cart"), ("cart", "purchase"), ("purchase", "return"), ("like", "share")):
        edge = next(e for e in market.truth.facts["triggers"] if (e["cause"], e["effect"]) == (cause, effect))
        assert abs(counts[effect] / counts[cause] - edge["mean"]) < planted / counts[cause] + 1e-9


def test_length_of_visits_is_that_of_the_branching_law(linked: pl.DataFrame) -> None:
    """Mean walk from (I - A)^-1: v = 1 + .7 v + .06 s, s = .8 v + .1 s."""
    start = linked.filter(pl.col("source") == "direct", pl.col("cause") == "own").select(
        "session_id", "action", "time"
    )
    start = start.filter(pl.col("time") < pl.col("time").max().dt.offset_by("-1h"))
    walk = linked.filter(pl.col("action") == "view", pl.col("source").is_in(["direct", "search", "browse"]))
    views = walk.group_by("session_id").len()
    a = np.array([[0.70, 0.80], [0.06, 0.10]])  # column causes row: view, search
    expected = np.linalg.inv(np.eye(2) - a)[0]
    for action, mean in (("view", expected[0]), ("search", expected[1])):
        mine = (
            start.filter(pl.col("action") == action)
            .join(views, on="session_id", how="left")["len"]
            .fill_null(0)
        )
        assert abs(mine.mean() - mean) < Z * mine.std() / np.sqrt(len(mine))


# Campaign ------------------------------------------------------------------------------------------


def test_uplift_is_the_difference_of_the_arms(market: Marketplace, linked: pl.DataFrame) -> None:
    campaign = market.campaign
    sent = campaign["sent_at"][0]
    users = market.truth.table("users")
    assert abs(campaign["treated"].mean() - 0.5) < Z * 0.5 / np.sqrt(campaign.height)
    week = linked.filter(pl.col("time").is_between(sent, sent + timedelta(days=7)))
    by_campaign = week.filter(pl.col("source") == "campaign").group_by("user_id").len("outcome")
    bought = week.filter(pl.col("action") == "purchase").group_by("user_id").len("purchases")
    moved = pl.col("switched_at").is_not_null() & (pl.col("switched_at") <= sent)
    table = (
        campaign.join(users.drop("treated"), on="user_id")
        .with_columns(pl.when(moved).then("segment_after").otherwise("segment").alias("segment"))
        .join(by_campaign, on="user_id", how="left")
        .join(bought, on="user_id", how="left")
        .with_columns(pl.col("outcome", "purchases").fill_null(0))
    )

    def difference(rows: pl.DataFrame, outcome: str) -> tuple[float, float]:
        arms = [rows.filter(pl.col("treated") == arm)[outcome].to_numpy() for arm in (True, False)]
        return arms[0].mean() - arms[1].mean(), np.sqrt(sum(arm.var(ddof=1) / len(arm) for arm in arms))

    for segment in market.truth.facts["campaign"]["segments"]:
        mine = table.filter(pl.col("segment") == segment["name"])
        effect, error = difference(mine, "outcome")
        assert abs(effect - segment["uplift"]) < Z * error
        assert mine.filter("treated").height == segment["treated"]
        assert mine.filter("treated")["outcome"].sum() == segment["treated_purchases"]
    planted = (table["buys_with"].cast(pl.Int8) - table["buys_without"].cast(pl.Int8)).mean()
    effect, error = difference(table, "purchases")
    assert abs(effect - planted) < Z * error
    assert effect > 2 * error  # and it can be found in the log


# Slots ---------------------------------------------------------------------------------------------


def test_propensities_are_a_law_and_the_shown_items_follow_it(market: Marketplace) -> None:
    law, shown = market.truth.table("slots"), market.exposures
    slot = ["page_category", "position"]
    sums = law.group_by(slot).agg(pl.col("propensity").sum())
    assert sums.height == 24 * 4
    assert np.allclose(sums["propensity"], 1)
    assert law["propensity"].min() >= 0.025
    assert law.group_by("page_category").agg(pl.col("item_id").n_unique())["item_id"].unique().to_list() == [
        32
    ]
    logged = shown.join(law, on=[*slot, "item_id"], how="left", suffix="_law")
    assert (logged["propensity"] == logged["propensity_law"]).all()
    seen = law.join(shown.group_by([*slot, "item_id"]).len(), on=[*slot, "item_id"], how="left").with_columns(
        pl.col("len").fill_null(0)
    )
    seen = seen.with_columns(expected=pl.col("propensity") * pl.col("len").sum().over(slot))
    statistic = ((seen["len"] - seen["expected"]) ** 2 / seen["expected"]).sum()
    assert abs(statistic - 96 * 7) < Z * np.sqrt(2 * 96 * 7)


def test_clicks_follow_the_known_chances_and_are_in_the_log(
    market: Marketplace, linked: pl.DataFrame
) -> None:
    law = market.truth.table("slots").unpivot(
        index=["page_category", "position", "item_id", "propensity"], variable_name="now", value_name="chance"
    )
    law = law.with_columns(pl.col("now").str.strip_prefix("click: "))
    clicks = linked.filter(pl.col("source") == "recommendation")
    keys = ["impression_id", "position", "item_id"]
    assert clicks.select(keys).sort(keys).equals(market.exposures.filter("clicked").select(keys).sort(keys))
    segments = (
        market.truth.table("users").filter(pl.col("switched_at").is_null()).select("user_id", "segment")
    )
    shown = market.exposures.join(segments, on="user_id").join(
        law, left_on=["page_category", "position", "item_id", "segment"],
        right_on=["page_category", "position", "item_id", "now"],
    )  # fmt: skip
    for (segment,), mine in shown.group_by("segment"):
        spread = np.sqrt((mine["chance"] * (1 - mine["chance"])).sum())
        assert abs(mine["clicked"].sum() - mine["chance"].sum()) < Z * spread, segment
    # Inverse propensities recover what the uniform policy would have earned on these pages.
    earned = shown["clicked"] / 8 / shown["propensity"]
    uniform = law.join(shown.group_by("page_category", "position", "segment").len(),
                       left_on=["page_category", "position", "now"],
                       right_on=["page_category", "position", "segment"])  # fmt: skip
    value = (uniform["chance"] * uniform["len"]).sum() / uniform["len"].sum()
    assert abs(earned.mean() - value) < Z * earned.std() / np.sqrt(len(earned))


# Patterns ------------------------------------------------------------------------------------------


def test_supports_are_those_of_a_brute_force_count(market: Marketplace, linked: pl.DataFrame) -> None:
    buyers = set(linked.filter(pl.col("action") == "purchase")["user_id"])
    told = market.truth.table("users").filter("buyer")
    assert buyers == set(told["user_id"])
    sequences: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for user, action, item in linked.select("user_id", "action", "item_id").iter_rows():
        sequences[user].append((action, item))

    def holds(events: list[tuple[str, str]], pattern: list[tuple[str, str]]) -> bool:
        rest = iter(events)
        return all(step in rest for step in pattern)

    plantings = dict(market.truth.table("plantings").group_by("pattern").agg("user_id").iter_rows())
    facts = market.truth.facts
    leavers = len(sequences) - len(buyers)
    assert (facts["counts"]["buyers"], facts["counts"]["leavers"]) == (len(buyers), leavers)
    for pattern in facts["patterns"]:
        steps = list(zip(pattern["actions"], pattern["items"], strict=True))
        holders = {user for user, events in sequences.items() if holds(events, steps)}
        assert len(holders & buyers) == pattern["support_buyers"]
        assert len(holders - buyers) == pattern["support_leavers"]
        planted = set(plantings[pattern["name"]])
        assert planted <= holders
        assert len(planted & buyers) == pattern["planted_buyers"]
        # A pattern of days does not fit into the last hours of a late comer: the rates lose a little.
        for count, group, share in (
            (len(planted & buyers), len(buyers), pattern["buyers"]),
            (len(planted - buyers), leavers, pattern["leavers"]),
        ):
            low, high = wilson(count, group)
            assert low < share < 1.05 * high


def test_patterns_keep_their_gaps_and_stand_out_from_chance(
    market: Marketplace, linked: pl.DataFrame
) -> None:
    planted = linked.filter(pl.col("cause") == "pattern")
    gaps = planted.with_columns(
        gap=pl.col("time").diff().over("session_id", order_by="time").dt.total_seconds()
    )
    for pattern in market.truth.facts["patterns"]:
        first = gaps.filter(pl.col("item_id") == pattern["items"][1])
        assert first["gap"].max() <= pattern["max_gap_s"]
        assert first["gap"].min() >= pattern["max_gap_s"] / 3 - 1
        by_chance = (
            pattern["support_buyers"] + pattern["support_leavers"]
            - pattern["planted_buyers"] - pattern["planted_leavers"]
        )  # fmt: skip
        assert by_chance <= 2


def test_lifts_separate_buyers_from_leavers(market: Marketplace) -> None:
    facts = market.truth.facts
    groups = facts["counts"]["buyers"], facts["counts"]["leavers"]
    for pattern in facts["patterns"]:
        shares = pattern["support_buyers"] / groups[0], pattern["support_leavers"] / groups[1]
        ratio = max(shares) / min(shares)
        if pattern["buyers"] == pattern["leavers"]:
            assert ratio < 1.4
        else:
            assert ratio > 4
            assert (shares[0] > shares[1]) == (pattern["buyers"] > pattern["leavers"])


# Friends -------------------------------------------------------------------------------------------


def test_friends_cause_as_many_purchases_as_their_edges_say(
    market: Marketplace, linked: pl.DataFrame
) -> None:
    edges = market.truth.table("social")
    assert edges.select("user_id", "friend_id").equals(market.social)
    assert edges.select("user_id", "friend_id").is_unique().all()
    social = market.truth.facts["social"]
    assert social["edges"] == edges.height
    assert abs(social["children"] - social["expected"]) < Z * np.sqrt(social["expected"])
    caused = linked.filter(pl.col("source") == "social")
    causes = linked.select(
        pl.col("event_id").alias("parent_event_id"),
        pl.col("user_id").alias("friend_id"),
        pl.col("item_id").alias("friend_item"),
    )
    pairs = caused.join(causes, on="parent_event_id")
    assert pairs.height == social["children"]
    assert (pairs["item_id"] == pairs["friend_item"]).all()
    assert pairs.join(edges, on=["user_id", "friend_id"], how="anti").height == 0


def test_influence_shows_against_a_shuffled_graph(market: Marketplace, clean: pl.DataFrame) -> None:
    """From the log alone: purchases of the same item within three days of a friend's."""
    bought = clean.filter(pl.col("action") == "purchase").select("user_id", "item_id", "time")

    def followed(edges: pl.DataFrame) -> int:
        pairs = edges.join(bought.rename({"user_id": "friend_id", "time": "before"}), on="friend_id").join(
            bought, on=["user_id", "item_id"]
        )
        lag = pl.col("time") - pl.col("before")
        return pairs.filter(lag.is_between(pl.duration(), pl.duration(days=3), closed="right")).height

    rng = np.random.default_rng(0)
    shuffled = [
        followed(market.social.with_columns(friend_id=market.social["friend_id"].gather(rng.permutation(market.social.height))))
        for _ in range(5)
    ]  # fmt: skip
    assert followed(market.social) > 10 * max(shuffled)


# Segments ------------------------------------------------------------------------------------------


def test_segments_can_be_found_again(market: Marketplace, clean: pl.DataFrame) -> None:
    """K-means on shares of departments and of parts of the day finds them: adjusted Rand index >= 0.8."""
    log = clean.join(market.items.select("item_id", "department"), on="item_id").with_columns(
        part=pl.format("part {}", pl.col("time").dt.hour() // 4)
    )
    shares = [
        log.pivot(on=key, index="user_id", values="event_id", aggregate_function="len").fill_null(0)
        for key in ("department", "part")
    ]
    table = (
        shares[0]
        .join(shares[1], on="user_id")
        .join(market.truth.table("users"), on="user_id")
        .sort("user_id")
    )
    blocks = [table.select(shares[0].columns[1:]).to_numpy(), table.select(shares[1].columns[1:]).to_numpy()]
    x = np.hstack([block / block.sum(axis=1, keepdims=True) for block in blocks])
    found = KMeans(6, n_init=3, random_state=0).fit_predict(x)
    assert adjusted_rand_score(table["segment"], found) >= 0.8


def test_interests_drift_as_planted(market: Marketplace, linked: pl.DataFrame) -> None:
    """Wishes that begin a visit: expected share = 0.85 interest(t) + 0.15 favourite."""
    roots = linked.filter(pl.col("cause") == "own", pl.col("source") == "direct", pl.col("step") == "wish")
    begin, late = datetime(2025, 1, 6, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)
    roots = roots.filter(pl.col("time") < late).join(market.items.select("item_id", "category"), on="item_id")
    users = market.truth.table("users").select("user_id", "favourite_category")
    roots = roots.join(users, on="user_id")
    law = market.truth.table("interests")
    gone = (pl.col("time") - begin).dt.total_seconds() / (60 * 86_400)
    for segment in law["segment"].unique(maintain_order=True):
        mine = roots.filter(pl.col("now") == segment).with_columns(gone=gone)
        for row in law.filter(pl.col("segment") == segment).top_k(4, by="first_day").iter_rows(named=True):
            for early in (True, False):
                part = mine.filter((pl.col("gone") < 0.3) if early else (pl.col("gone") > 0.6))
                interest = (1 - part["gone"]) * row["first_day"] + part["gone"] * row["last_day"]
                chance = 0.85 * interest + 0.15 * (part["favourite_category"] == row["category"])
                seen = (part["category"] == row["category"]).sum()
                assert abs(seen - chance.sum()) < Z * np.sqrt((chance * (1 - chance)).sum())


def test_some_users_switch(market: Marketplace) -> None:
    users = market.truth.table("users").filter(~pl.col("robot"))
    switched = users.drop_nulls("switched_at")
    assert switched.height == market.truth.facts["counts"]["switchers"]
    low, high = wilson(switched.height, users.height)
    assert low < 0.04 < high
    assert (switched["segment"] != switched["segment_after"]).all()
    for segment in market.truth.facts["segments"]:
        mine = users.filter(pl.col("segment") == segment["name"]).height
        low, high = wilson(mine, users.height)
        assert low < segment["share"] < high
        assert mine == segment["users"]


@pytest.mark.parametrize("law", ["items", "interests", "rhythm", "chain", "slots"])
def test_laws_are_laws(market: Marketplace, law: str) -> None:
    table = market.truth.table(law)
    keys = {"interests": "segment", "rhythm": "segment", "chain": "category", "items": None, "slots": None}[
        law
    ]
    if keys is not None:
        numbers = [name for name in table.columns if table[name].dtype == pl.Float64]
        sums = table.group_by(keys).agg(pl.col(numbers).sum()).select(numbers)
        assert np.allclose(sums.to_numpy(), 1)
    assert table.null_count().sum_horizontal().item() == 0
