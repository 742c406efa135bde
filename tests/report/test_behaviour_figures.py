# SPDX-License-Identifier: Apache-2.0
"""Figures of behaviour: totals that reconcile, escaping, absent parts, what is drawn and what is not."""

from __future__ import annotations

import json
import math
import random
from datetime import date

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest
from scipy.stats import binomtest

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.patterns.contrast import ContrastConfig, contrast
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.frequent import MiningConfig, mine
from desirepath.patterns.paths import (
    END,
    MORE,
    OTHER,
    START,
    RetentionConfig,
    StepsConfig,
    funnel,
    gap_counts,
    loops,
    path_tree,
    retention,
    sankey,
    step_matrix,
    time_between,
    top_paths,
    transitions,
)
from desirepath.patterns.rules import RuleConfig, rules
from desirepath.report import BehaviourData, Ground, contrast_figure, figure_of
from desirepath.report.behaviour_part import PARTS, behaviour_sections, named_in
from desirepath.report.caution import cautions
from desirepath.report.contrast import odds_dots, parting
from desirepath.report.data import ReportData
from desirepath.report.flow import nodes, path_flow, paths_table, people, simplified
from desirepath.report.frequent import pattern_bars, telling
from desirepath.report.funnel import funnel_bars, funnel_reading
from desirepath.report.gallery import FIGURES
from desirepath.report.grids import named_pairs, steps_plot, transitions_plot
from desirepath.report.labels import Labels
from desirepath.report.marks import told_marks
from desirepath.report.overview import overview
from desirepath.report.rules import telling_rules
from desirepath.report.segments import sampled

EVIL = "<img src=x onerror=alert(1)>"
NAMES = ["view", "cart", "buy", EVIL, "like", "share", "help", "rate", "back"]
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def world() -> SequenceDatabase:
    draw = random.Random(3)
    lists = [draw.choices(NAMES, k=draw.randint(1, 9)) for _ in range(400)]
    times = [[float(s % 40) * DAY_S + 3 * DAY_S * i for i in range(len(one))] for s, one in enumerate(lists)]
    return SequenceDatabase.from_lists(lists, time_s=times)


@pytest.fixture(scope="module")
def behaviour(world: SequenceDatabase) -> BehaviourData:
    found = mine(world, MiningConfig(min_support=0.1, threads=1))
    labels = ["odd" if s % 2 else EVIL for s in range(world.n_sequences)]
    table = contrast(world, labels, ContrastConfig(mining=MiningConfig(min_support=0.1, threads=1)))
    draw = np.random.default_rng(1)
    members = pl.DataFrame(
        {"segment": draw.integers(0, 2, 5000), "x": draw.normal(size=5000), "y": draw.normal(size=5000)}
    )
    return BehaviourData(
        links=sankey(world),
        funnel=funnel(world, ["view", "cart", "buy"]).to_frame(),
        drop_offs=funnel(world, ["view", "cart", "buy"]).drop_offs(),
        transitions=transitions(world),
        steps=step_matrix(world),
        tree=path_tree(world),
        top_paths=top_paths(world, 5),
        loops=loops(world),
        waits=gap_counts(time_between(world, "view", EVIL), "view", EVIL),
        patterns=found.to_frame(),
        contrast=table,
        rules=rules(world, RuleConfig(min_support=0.1, min_confidence=0.1, threads=1)),
        retention=retention(world, RetentionConfig(period="week")),
        segments=pl.DataFrame({"segment": [0, 1], "name": [EVIL, "late"], "n_users": [3000, 2000]}),
        members=members,
        marks=marks(),
        moves=pl.DataFrame(
            {"from": [EVIL, EVIL, "late"], "to": [EVIL, "late", "late"], "n_users": [5, 3, 2]}
        ),
        activity=pl.DataFrame(
            {
                "activity_class": ["lost", "new", "lost"],
                "rfm_class": ["loyal", EVIL, EVIL],
                "n_users": [5, 3, 2],
            }
        ),
        is_stable=True,
        ground=Ground(event="the action", n_sequences=400, n_users=400, min_support=40),
    )


def marks() -> pl.DataFrame:
    hours = [(f"hour_{h:02d}", 0.1 if h < 6 else 0.4 / 18, 1 / 24) for h in range(24)]
    rows = [
        (0, "hour", name, v, o, 2 * math.asin(v**0.5) - 2 * math.asin(o**0.5), 1e-9) for name, v, o in hours
    ]
    rows += [
        (0, "item", EVIL, 0.6, 0.2, 0.85, 1e-9),
        (0, "item", "dull", 0.0, 0.4, -1.4, 1e-9),
        (0, "level", "n_events", 120.0, 20.0, 1.1, 1e-9),
        (0, "action", "share", 0.32, 0.1, 0.55, 0.2),
        (0, "weekday", "weekday_6", 0.3, 0.1, 0.5, 1e-9),
    ]
    names = ["segment", "kind", "feature", "value", "others", "effect", "q"]
    return pl.DataFrame(rows, schema=names, orient="row")


def texts(figure: go.Figure) -> str:
    return json.dumps(figure.to_plotly_json(), default=str)


@pytest.mark.parametrize("layers", [2, 5, 20])
@pytest.mark.parametrize("align", ["start", "end"])
def test_no_path_is_lost_from_a_sankey(world, layers, align):
    links = sankey(world, StepsConfig(n_steps=8, align=align))
    kept = simplified(links, layers=layers, named=2)
    assert people(kept) == people(links) == world.n_sequences
    ends = kept.filter(pl.col("target").is_in([END, MORE]))["count"].sum()
    assert ends == world.n_sequences
    flowing = kept.filter(~pl.col("source").is_in([START, MORE]))
    for (step, name), rows in flowing.group_by("step", "source"):
        into = kept.filter((pl.col("step") == step - 1) & (pl.col("target") == name))["count"].sum()
        assert rows["count"].sum() == into
    named = nodes(kept).filter(~pl.col("symbol").is_in([START, END, MORE, OTHER]))
    assert named.group_by("column").len()["len"].max() <= 2
    assert kept["step"].n_unique() <= layers


def test_sankey_draws_every_link_between_its_nodes(world):
    links = simplified(sankey(world))
    drawn = path_flow(links, Labels()).data[0]
    assert sum(drawn.link.value) == links["count"].sum()
    assert len(drawn.node.label) == nodes(links).height
    assert all(0 < v < 1 for v in [*drawn.node.x, *drawn.node.y])
    assert any(label.startswith("ended ") for label in drawn.node.label)
    assert any(label.startswith("all others ") for label in drawn.node.label)


def test_rows_of_transitions_and_columns_of_steps_are_wholes(behaviour):
    pairs = named_pairs(behaviour.transitions, limit=3)
    assert pairs["count"].sum() == behaviour.transitions["count"].sum()
    assert pairs.group_by("from").agg(pl.col("probability").sum())["probability"].to_list() == pytest.approx(
        [1.0] * pairs["from"].n_unique()
    )
    for row in transitions_plot(behaviour, Labels()).figure.data[0].z:
        assert sum(row) == pytest.approx(1)
    for column in np.array(steps_plot(behaviour, Labels()).figure.data[0].z).T:
        assert column.sum() == pytest.approx(1)


def test_top_paths_keep_all_others(behaviour, world):
    rows = paths_table(behaviour, Labels()).rows
    assert sum(int(row[1].replace(",", "")) for row in rows) == world.n_sequences
    assert rows[-1][0].startswith("all others (")


def test_funnel_bars_say_counts_shares_and_times():
    table = pl.DataFrame(
        {
            "step": [1, 2, 3],
            "name": ["view", "cart", "buy"],
            "entered": [1000, 400, 40],
            "share_of_previous_low": [None, 0.37, 0.07],
            "share_of_previous_high": [None, 0.43, 0.13],
            "median_s": [None, 90.0, 7200.0],
        }
    )
    bars, dots = funnel_bars(table, Labels()).data
    assert list(bars.x) == [1000, 400, 40]
    assert bars.text[1] == "400 (40%)"
    assert list(dots.x) == pytest.approx([0.4, 0.1])
    assert list(dots.error_x.array) == pytest.approx([0.03, 0.03])
    assert "1.5 min later" in texts(funnel_bars(table, Labels()))
    said = funnel_reading(table, Labels())
    assert "4.0% come to buy" in said
    assert "between view and cart (600, 60% of those there)" in said


def test_pattern_bars_bear_wilson_intervals():
    table = pl.DataFrame({"pattern": [["a", "b"], ["b", "c"]], "support": [30, 3]})
    bars = pattern_bars(table, 100, Labels()).data[0]
    for x, up, down, n in zip(bars.x, bars.error_x.array, bars.error_x.arrayminus, (30, 3), strict=True):
        low, high = binomtest(n, 100).proportion_ci(method="wilson")
        assert (x - down, x + up) == pytest.approx((low, high))


def test_what_a_longer_pattern_tells_is_not_drawn_twice():
    table = pl.DataFrame(
        {"pattern": [["a"], ["a", "b"], ["a", "x", "b"], ["b", "a"]], "support": [90, 50, 49, 40]}
    )
    assert telling(table)["pattern"].to_list() == [["a", "x", "b"], ["b", "a"]]
    assert telling(table.head(1))["pattern"].to_list() == [["a"]]


def test_contrast_of_two_groups_turns_the_second_around(behaviour):
    groups = (EVIL, "odd")
    shown = parting(behaviour.contrast, groups)
    drawn = odds_dots(shown, groups, Labels()).data[0]
    assert list(drawn.x) == sorted(drawn.x, reverse=True)
    for x, up, down in zip(drawn.x, drawn.error_x.array, drawn.error_x.arrayminus, strict=True):
        assert up > 0
        assert 0 < down < x
    first = shown.filter(pl.col("class") == EVIL)
    assert sum(x > 1 for x in drawn.x) == first.filter(pl.col("odds_ratio") > 1).height + (
        shown.filter((pl.col("class") == "odd") & (pl.col("odds_ratio") < 1)).height
    )


def test_contrast_without_proof_says_so(behaviour):
    chance = behaviour.contrast.with_columns(q=pl.lit(0.4))
    block = FIGURES["contrast"](BehaviourData(contrast=chance), Labels())
    assert block.reading.startswith("None of ")


def test_contrast_of_three_groups_has_a_legend(world):
    table = contrast(
        world,
        [f"g{s % 3}" for s in range(400)],
        ContrastConfig(mining=MiningConfig(min_support=0.1, threads=1)),
    )
    drawn = contrast_figure(table, groups=("g0", "g1", "g2"), group_sizes=(134, 133, 133))
    assert "134 of g0" in drawn.layout.title.subtitle.text
    assert {trace.name for trace in drawn.data[1:]} == {"g0", "g1", "g2"}


def test_telling_rules_gain_most_over_chance():
    table = pl.DataFrame(
        {
            "antecedent": [["a"], ["b"], ["c"]],
            "consequent": [["x"]] * 3,
            "support": [1000, 300, 5],
            "confidence": [0.5, 0.6, 0.9],
            "lift": [1.01, 3.0, 50.0],
        }
    )
    assert telling_rules(table, 2)["antecedent"].to_list() == [["b"], ["a"]]


def test_periods_that_are_not_over_stay_blank():
    table = pl.DataFrame(
        {
            "cohort": [date(2024, 1, 1)] * 3 + [date(2024, 1, 8)] * 2,
            "period": [0, 1, 2, 0, 1],
            "users": [40, 40, 40, 10, 10],
            "active": [40, 0, None, 10, None],
        }
    )
    drawn = figure_of("retention", BehaviourData(retention=table)).data[0]
    assert [list(row) for row in drawn.z] == [[1.0, 0.0], [1.0, None]]
    assert drawn.text[0][1] == "0%"
    assert drawn.text[1][1] == ""


def test_marks_are_told_in_words():
    told = told_marks(marks(), 0, Labels({"dull": "x"}), limit=9)
    assert any(words.startswith(f"likes {EVIL} (60% against 20%)") for words in told)
    assert "2.4x as often at night (60% against 25%)" in told
    assert "events: 120 against 20" in told
    assert "3.0x as often on Saturdays (30% against 10%)" in told
    assert not any("share" in words or "x (0%" in words for words in told)


def test_a_large_map_is_sampled_by_segment(behaviour):
    kept = sampled(behaviour.members, limit=500)
    assert 500 <= kept.height <= 502
    share = kept.filter(pl.col("segment") == 0).height / kept.height
    assert share == pytest.approx((behaviour.members["segment"] == 0).mean(), abs=0.01)
    assert sampled(kept, limit=600) is kept


@pytest.mark.parametrize("part", list(FIGURES))
def test_each_figure_escapes_names_and_bears_its_title(behaviour, part):
    drawn = figure_of(part, behaviour, {"view": f"{EVIL}view"})
    assert "<img" not in texts(drawn)
    assert drawn.layout.title.text.startswith("<b>")
    assert drawn.layout.title.subtitle.text
    assert drawn.layout.height < 1200


def test_long_names_are_cut_and_whole_on_hover():
    name = "a very long title of an item that no axis could ever bear in full"
    table = pl.DataFrame({"pattern": [["1", "2", "1"]], "support": [3]})
    bars = pattern_bars(table, 9, Labels({"1": name, "2": name}))
    lines = bars.layout.yaxis.ticktext[0].split("<br>")
    assert len(lines) == 2
    assert max(map(len, lines)) <= 56
    assert "bear in full" in bars.data[0].customdata[0]


def test_sections_say_what_is_absent_and_leave_out_what_nobody_asked_for(behaviour, world):
    events = pl.DataFrame(
        {
            "user_id": ["u"],
            "item_id": ["i"],
            "action": ["view"],
            "time": [date(2024, 1, 1)],
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )

    def titles(data: BehaviourData | None) -> dict[str, list[str]]:
        made = [make() for _, make in behaviour_sections(ReportData(events=events.lazy(), behaviour=data))]
        return {section.title: [block.kind for block in section.blocks] for section in made}

    assert titles(None) == {}
    assert list(titles(behaviour)) == list(PARTS)
    only = BehaviourData(patterns=behaviour.patterns, absent={"funnel": "The log has one action only."})
    assert titles(only) == {"What people do": ["absent"], "Patterns": ["plot"]}
    empty = BehaviourData(rules=behaviour.rules.clear())
    assert titles(empty) == {"Rules": ["absent"]}

    partial = BehaviourData(
        patterns=behaviour.patterns, grounds={"patterns": Ground(stopped_by="max_seconds")}
    )
    data = ReportData(events=events.lazy(), behaviour=partial)
    block = next(iter(behaviour_sections(data)))[1]().blocks[0]
    assert block.title.endswith("(partial)")
    assert "max_seconds" in block.basis
    assert any("max_seconds" in said for said in cautions(data, overview(data.events)))


def test_names_with_titles_are_found_in_all_tables(behaviour):
    assert {"view", "cart", EVIL, "late"} - set(named_in(behaviour)) == {"late"}


def test_wrong_tables_are_refused(behaviour):
    with pytest.raises(DataError, match="support is missing"):
        BehaviourData(patterns=pl.DataFrame({"pattern": [["a"]]}))
    with pytest.raises(ConfigError, match="'funel' is none"):
        BehaviourData(absent={"funel": "no"})
    with pytest.raises(ShapeError, match="group_sizes"):
        BehaviourData(groups=("a", "b"), group_sizes=(1,))
    with pytest.raises(ConfigError, match="nothing to draw"):
        figure_of("rules", BehaviourData(rules=behaviour.rules.clear()))
    with pytest.raises(ConfigError, match="A figure must be one of"):
        figure_of("pie", behaviour)
