# SPDX-License-Identifier: Apache-2.0
"""Personalize's CSV and Metarank's JSON lines, and telling one foreign format from another."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import polars as pl
import pytest
from gorse_dump import dump
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, DataError
from desirepath.events.foreign import read_foreign
from desirepath.events.foreign.labels import as_json, opened
from desirepath.flows.importing import Foreign, import_from

INTERACTIONS = """USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,EVENT_VALUE,IMPRESSION,DEVICE
u1,b,1600000000,click,2.5,a|b|c,phone
u2,a,1600000010,view,,,web
u1,z,1600000020,click,1,a|b,phone
u1,b,1600000000,like,,a|b|c,phone
"""


def metarank(*events) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def fields(**values):
    return {"fields": [{"name": name, "value": value} for name, value in values.items()]}


ITEM = {"event": "item", "id": "e", "timestamp": "1599391467000", "item": "item1"}
RANKING = {"event": "ranking", "id": "r1", "timestamp": "1599391467000", "user": "user1", "session": "s1"}
CLICK = {"event": "interaction", "id": "x1", "timestamp": "1599391468000", "type": "click", "item": "item1"}


def read(tmp_path, text: str, name: str = "events.jsonl", **options):
    (tmp_path / name).write_text(text)
    return read_foreign([tmp_path / name], **options)


def test_personalize_is_read_with_its_lists_apart(tmp_path):
    (tmp_path / "interactions.csv").write_text(INTERACTIONS)
    (tmp_path / "items.csv").write_text(
        "ITEM_ID,CREATION_TIMESTAMP,CATEGORY_L1,PRICE\na,1500000000,x|y,2.5\nb,,x,3\n"
    )
    (tmp_path / "users.csv").write_text("USER_ID,AGE\nu1,33\nu2,\n")
    found = read_foreign([tmp_path])
    events = found.log.lazy.collect()
    assert found.format == "personalize"
    assert events["action"].to_list() == ["click", "view", "click", "like"]
    assert events["time"][0] == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    assert events["value"].to_list() == [2.5, None, 1.0, None]
    assert events["position"].to_list() == [2, None, None, 2]
    assert events["impression_id"].n_unique() == 3
    assert "IMPRESSION" not in events.columns
    shown = found.shown.collect()
    assert shown.select("position", "item_id").rows() == [(1, "a"), (2, "b"), (3, "c"), (1, "a"), (2, "b")]
    assert set(shown["impression_id"]) == set(events["impression_id"].drop_nulls())
    assert found.users.rows() == [("u1", 33), ("u2", None)]
    assert found.items["created_at"].to_list() == [datetime(2017, 7, 14, 2, 40, tzinfo=UTC), None]
    assert found.items.columns == ["item_id", "created_at", "category_l1", "price"]


def test_personalizes_recommendation_id_names_the_list(tmp_path):
    heading = "USER_ID,ITEM_ID,TIMESTAMP,RECOMMENDATION_ID,IMPRESSION\n"
    text = heading + "u,é,1600000000,rid-1,ü|é\nv,é,1600000000,rid-2,\n"
    found = read(tmp_path, text, "interactions.csv")
    events = found.log.lazy.collect()
    assert events["impression_id"].to_list() == ["rid-1", "rid-2"]
    assert events["position"].to_list() == [2, None]
    assert events["action"].to_list() == ["event", "event"]
    assert found.shown.collect()["impression_id"].to_list() == ["rid-1", "rid-1"]


def test_metarank_joins_interactions_with_their_rankings(tmp_path):
    ranked = RANKING | {"items": [{"id": "item3", "relevancy": 2.0}, {"id": "item1", "relevancy": 1}]}
    bare = {key: value for key, value in CLICK.items() if key != "user"}
    text = metarank(
        bare | {"ranking": "r1"} | fields(count=1),
        ranked | fields(query="cat", time="now"),
        CLICK | {"id": "x2", "session": "s9", "timestamp": 1599391469000},
        CLICK | {"id": "x2", "user": "u", "type": "buy", "timestamp": "2020-09-06T11:24:29Z"},
    )
    found = read(tmp_path, text)
    events = found.log.lazy.collect()
    first = events.row(0, named=True)
    assert found.format == "metarank"
    assert (first["user_id"], first["session_id"], first["impression_id"]) == ("user1", "s1", "r1")
    assert (first["position"], first["query"], first["fields.time"], first["count"]) == (2, "cat", "now", "1")
    assert events["user_id"].to_list() == ["user1", "s9", "u"]
    assert events["event_id"].to_list() == ["x1/click/item1", "x2/click/item1", "x2/buy/item1"]
    assert events["time"].dt.epoch("s").to_list() == [1599391468, 1599391469, 1599391469]
    shown = found.shown.collect()
    assert shown["item_id"].to_list() == ["item3", "item1"]
    assert shown["score"].to_list() == [2.0, 1.0]
    assert shown["user_id"].to_list() == ["user1"] * 2


def test_metaranks_items_are_what_was_said_last(tmp_path):
    text = metarank(
        ITEM | fields(title='You \\ "cat"', colour=["white", "bl\\ack"], cute=True, price=3),
        ITEM | {"timestamp": "1599391468000"} | fields(price=4.5),
        ITEM | {"timestamp": "1599391466000"} | fields(price=5),
        ITEM | {"item": "item2", "fields": []},
        {"event": "user", "id": "e", "timestamp": "1", "user": "user1"} | fields(age="007"),
        CLICK | {"user": "u"},
    )
    found = read(tmp_path, text)
    first, second = found.items.rows(named=True)
    assert first == {
        "item_id": "item1",
        "title": 'You \\ "cat"',
        "colour": "white|bl\\ack",
        "cute": True,
        "price": 4.5,
    }
    assert second["item_id"] == "item2"
    assert found.users.rows() == [("user1", "007")]


def test_metaranks_stray_lines_are_counted(tmp_path):
    found = read(tmp_path, metarank(CLICK | {"user": "u"}, CLICK | {"event": "weird"}) + "no json\n")
    assert found.log.problems == {"not an object of this format": 2}
    assert found.log.lazy.collect().height == 1


def test_lists_that_were_shown_are_kept_once(tmp_path):
    (tmp_path / "interactions.csv").write_text(INTERACTIONS)
    (tmp_path / "more.csv").write_text(INTERACTIONS + "u9,a,1600000100,click,1,a|b,web\n")
    workspace = tmp_path / "workspace"
    first = import_from(Foreign(sources=[str(tmp_path / "interactions.csv")]), workspace).plain
    second = import_from(Foreign(sources=[str(tmp_path / "more.csv")]), workspace).plain
    assert (first["lists_shown"], second["lists_shown"]) == (2, 3)
    assert (first["rows_kept"], second["rows_kept"]) == (4, 1)
    assert pl.read_parquet(workspace / "impressions" / "imported.parquet").height == 7


def test_only_items_may_come(tmp_path):
    (tmp_path / "items.csv").write_text("ITEM_ID,PRICE\na,1\nb,2\n")
    answer = import_from(Foreign(sources=[str(tmp_path / "items.csv")], format="personalize"), tmp_path / "w")
    assert answer.plain["items_known"] == 2
    assert "events" not in answer.plain
    assert pl.read_parquet(tmp_path / "w" / "items.parquet")["item_id"].to_list() == ["a", "b"]


def test_what_is_no_foreign_format_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,when\nu,i,1600000000\n")
    (tmp_path / "dump.bin.gz").write_bytes(gzip.compress(dump([{"user_id": "u"}])))
    (tmp_path / "interactions.csv").write_text(INTERACTIONS)
    with pytest.raises(DataError, match=r"looks like none of them.*desirepath ingest"):
        read_foreign([tmp_path / "log.csv"])
    with pytest.raises(DataError, match=r"must be a binary dump of Gorse.*looks like personalize"):
        read_foreign([tmp_path / "interactions.csv"], "gorse")
    with pytest.raises(DataError, match=r"gorse, personalize. Import each format by itself"):
        read_foreign([tmp_path / "dump.bin.gz", tmp_path / "interactions.csv"])
    with pytest.raises(ConfigError, match="Did you mean 'metarank'"):
        read_foreign([tmp_path / "log.csv"], "metarnk")
    with pytest.raises(DataError, match="holds none"):
        read(tmp_path, metarank(RANKING))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab&c", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.text("abc", min_size=1, max_size=2), json_values, max_size=3), max_size=5))
def test_labels_of_any_shape_can_be_opened(rows):
    texts = as_json(pl.Series([json.dumps(row) for row in rows], dtype=pl.String))
    assert [json.loads(text) for text in texts] == rows
    table = opened(texts)
    assert table.height in (0, len(rows)) or not table.width
    for at, row in enumerate(rows):
        for key, value in row.items():
            if isinstance(value, str) and key in table.columns:
                assert table[key][at] == value
