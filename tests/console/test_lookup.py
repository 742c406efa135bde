# SPDX-License-Identifier: Apache-2.0
"""Tables and searches of the console against plain Python."""

from __future__ import annotations

import time
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desirepath.console.charts import sankey
from desirepath.console.pulse import Pulse
from desirepath.console.tables import Column, arranged
from desirepath.live.catalogue import Catalogue
from desirepath.live.directory import MANY_NEW, Directory
from desirepath.schema import ITEM
from desirepath.sequences import Vocabulary

COLUMNS = (Column("name", "Name"), Column("n", "Number", "number"))
names = st.text(alphabet="abAB<%_[.", max_size=4)
rows = st.lists(st.tuples(names, st.one_of(st.none(), st.integers(-5, 5))), max_size=20)


def frame(of):
    return pl.DataFrame(of, schema={"name": pl.String, "n": pl.Int64}, orient="row")


@given(rows, names)
def test_text_filters_find_what_python_finds(of, wanted):
    """Letters count alike in both cases; nothing in the text is a pattern."""
    tests = {
        "contains": lambda text: wanted.lower() in text.lower(),
        "notContains": lambda text: wanted.lower() not in text.lower(),
        "equals": lambda text: wanted.lower() == text.lower(),
        "startsWith": lambda text: text.lower().startswith(wanted.lower()),
        "endsWith": lambda text: text.lower().endswith(wanted.lower()),
    }
    for kind, passes in tests.items():
        model = {"c0": {"filterType": "text", "type": kind, "filter": wanted}}
        found = arranged(frame(of), COLUMNS, [], model)
        assert found.rows() == [row for row in of if passes(row[0])]


@given(rows, st.integers(-5, 5), st.integers(-5, 5))
def test_number_filters_and_order(of, low, high):
    tests = {
        "equals": lambda n: n == low,
        "lessThan": lambda n: n < low,
        "greaterThanOrEqual": lambda n: n >= low,
        "inRange": lambda n: low <= n <= high,
    }
    for kind, passes in tests.items():
        model = {"c1": {"filterType": "number", "type": kind, "filter": low, "filterTo": high}}
        found = arranged(frame(of), COLUMNS, [{"colId": "c1", "sort": "desc"}], model)
        expected = [row for row in of if row[1] is not None and passes(row[1])]
        assert found.rows() == sorted(expected, key=lambda row: -row[1])


def test_filters_are_joined_and_blanks_found():
    of = [("a", 1), ("b", None), ("c", 3)]
    either = {
        "filterType": "number",
        "operator": "OR",
        "conditions": [{"type": "blank"}, {"filterType": "number", "type": "greaterThan", "filter": 2}],
    }
    assert arranged(frame(of), COLUMNS, [], {"c1": either})["name"].to_list() == ["b", "c"]
    assert arranged(frame(of), COLUMNS, [{"colId": "c9", "sort": "asc"}], {"c9": either}).height == 3
    last = arranged(frame(of), COLUMNS, [{"colId": "c1", "sort": "asc"}], {})
    assert last["name"].to_list() == ["a", "c", "b"]


class Shop:
    """As much of a project as a search looks at."""

    def __init__(self, users, items):
        self.known = dict.fromkeys(users)
        ids = ["", "", *items]
        told = {name: {} if title is None else {"title": title} for name, title in items.items()}
        self.catalogue = type("C", (), {"ids": ids, "attributes": told.get, "__len__": lambda _: len(ids)})()
        self.states, self.erased = self, {}

    def user_ids(self):
        return self.known.keys()

    def __len__(self):
        return len(self.known)


@given(st.lists(names, unique=True, max_size=15), names)
def test_users_are_found_as_by_looking_at_each(users, text):
    shop = Shop(users, {})
    directory = Directory(shop)
    found = directory.find_users(text, k=4)
    if not text:
        assert found == users[:4]
        return
    held = [name for name in users if text.lower() in name.lower()]
    order = sorted(held, key=lambda n: (n != text, not n.lower().startswith(text.lower()), len(n), n))
    assert found == order[:4]
    shop.known["aB new"] = None  # who came since is found too
    assert "aB new" in directory.find_users("ab NEW")


def test_items_are_found_by_all_words_in_any_order():
    directory = Directory(Shop([], {"1": "Toy Story (1995)", "2": None, "3": "A story of toys"}))
    assert directory.find_items("story toy") == [("3", "A story of toys"), ("1", "Toy Story (1995)")]
    assert directory.find_items("toy")[0] == ("1", "Toy Story (1995)")
    assert directory.find_items("2") == [("2", "2")]
    assert directory.find_items("(19") == [("1", "Toy Story (1995)")]
    assert directory.find_items("nothing like it") == []


def test_many_users_are_searched_at_once():
    """No answer may wait for a search: it happens in a thread, and takes a moment only."""
    directory = Directory(Shop([f"user-{i:07d}" for i in range(300_000)], {}))
    directory.users()
    began = time.perf_counter()
    assert directory.find_users("user-0123456") == ["user-0123456"]
    assert time.perf_counter() - began < 5.0  # a hundredth of that on an idle machine


def test_events_are_counted_by_minute_and_action(monkeypatch: pytest.MonkeyPatch):
    pulse = Pulse(n_latest=3)
    now = 1_800_000_030.0
    for seconds_ago, action in ((3700, "old"), (125, "view"), (65, "view"), (5, "buy"), (1, "view")):
        monkeypatch.setattr(
            "desirepath.console.pulse.time", SimpleNamespace(time=lambda at=now - seconds_ago: at)
        )
        pulse([{"action": action}] * 2)
    starts, counts = pulse.per_minute(3, now)
    assert [start % 60 for start in starts] == [0, 0, 0]
    assert counts == {"view": [2, 2, 2], "buy": [0, 0, 2]}
    assert pulse.rate(60, now) == 4
    assert pulse.n_events == 10
    assert len(pulse.latest) == 3


def test_a_sankey_diagram_never_turns_back():
    """Every symbol is a node of its own at each step, and what flows is what was counted."""
    links = [(0, "<start>", "view", 5), (1, "view", "view", 3), (1, "view", "<end>", 2)]
    series = sankey(links, {"<start>": "Start"})["series"][0]
    depth = {node["name"]: node["depth"] for node in series["data"]}
    assert len(depth) == len(series["data"])
    assert all(depth[link["target"]] == depth[link["source"]] + 1 for link in series["links"])
    assert [link["value"] for link in series["links"]] == [5, 3, 2]
    assert series["data"][0]["shown"] == "Start"


def test_titles_of_any_language_are_searched_and_new_ones_too():
    """With more items than are read one by one, and with one that came later."""
    ids = [str(i) for i in range(MANY_NEW + 5)]
    table = pl.DataFrame(
        {ITEM: ids, "title": [f"Kettle {i}" for i in ids], "title_zh": [f"{i} 号水壶" for i in ids]}
    )
    catalogue = Catalogue(Vocabulary(ids), table)
    directory = Directory(SimpleNamespace(catalogue=catalogue))
    assert directory.find_items("77 号", k=2) == [("77", "Kettle 77"), ("177", "Kettle 177")]
    catalogue.put("new", {"title": 5, "title_zh": "茶杯"}, is_hidden=False)
    assert directory.find_items("茶杯") == [("new", "5")]
