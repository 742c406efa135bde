"""Which column plays which role: names as real data sets have them, and contents without names."""

from __future__ import annotations

import polars as pl
import pytest

from desirepath.errors import ConfigError, DataError
from desirepath.events import ColumnChoice, read_events
from desirepath.events.inference import infer
from desirepath.events.names import strength
from desirepath.schema import ACTION, ITEM, SESSION, TIME, USER, VALUE

T = 1_500_000_000


def table(header: str, *values) -> pl.DataFrame:
    """200 rows: a value that is callable gets the row number."""
    names = header.split(",")
    return pl.DataFrame(
        {
            name: [str(v(i) if callable(v) else v) for i in range(200)]
            for name, v in zip(names, values, strict=True)
        }
    )


def some(n):
    return lambda i: (i * 7919) % n


def moment(i):
    return T + 61 * i


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        ("user_id,item_id,timestamp", "UIT"),
        ("timestamp,visitorid,event,itemid,transactionid", "TUAI."),  # RetailRocket
        (
            "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session",
            "TAI...VUS",
        ),
        ("userId,movieId,rating,timestamp", "UIVT"),
        ("session_id,click_time,item,category", "STI."),
        ("reviewerID,asin,overall,unixReviewTime", "UIVT"),
        ("CustomerID,StockCode,Quantity,InvoiceDate", "UIVT"),
        ("t_dat,customer_id,article_id,price,sales_channel_id", "TUIV."),  # H&M
        ("msno,song_id,source_system_tab,target,ts", "UI..T"),
        ("distinct_id,event,time,page", "UATI"),
        ("用户ID,商品ID,行为类型,时间戳", "UIAT"),
        ("ts,uid,url,action", "TUIA"),
        ("user,venue_id,checkin_time", "UIT"),
    ],
)
def test_names_of_real_sets(header, roles):
    names = header.split(",")
    makers = {
        "U": some(23),
        "I": some(31),
        "T": moment,
        "A": lambda i: ["view", "buy"][i % 2],
        "V": lambda i: i % 5 + 0.5,
        "S": lambda i: f"s{i // 4}",
        ".": lambda i: f"x{i % 9}",
    }
    guess = infer(table(header, *(makers[r] for r in roles)), ColumnChoice())
    letter = {"U": USER, "I": ITEM, "T": TIME, "A": ACTION, "V": VALUE, "S": SESSION}
    for name, role in zip(names, roles, strict=True):
        if role != ".":
            assert guess.roles[letter[role]].columns == (name,), (name, guess.roles)


def test_every_choice_has_a_reason():
    log = read_events(table("user_id,item_id,timestamp,colour", some(9), some(5), moment, "red"))
    assert all(column.reason for column in log.understanding.columns)
    assert log.understanding.source_of(USER) == "user_id"
    assert "colour" in log.lazy.collect_schema().names()


def test_contents_alone():
    """Two ids, a rating and an epoch, as u.data has them."""
    frame = table("column_1,column_2,column_3,column_4", some(97), some(151), lambda i: i % 5 + 1, moment)
    guess = infer(frame, ColumnChoice())
    assert {role: guess.roles[role].source for role in (USER, ITEM, VALUE, TIME)} == {
        USER: "column_1",
        ITEM: "column_2",
        VALUE: "column_3",
        TIME: "column_4",
    }
    assert guess.roles[USER].confidence < 0.6


def test_overrides_win_and_say_so():
    frame = table("user_id,item_id,timestamp,other,when", some(9), some(5), moment, some(7), lambda i: T + i)
    log = read_events(frame, overrides=ColumnChoice(user="other", time="when", action="none"))
    columns = {c.role: c for c in log.understanding.columns if c.role}
    assert columns[USER].source == "other"
    assert columns[USER].reason == "as asked for"
    assert columns[TIME].confidence == 1.0
    assert log.lazy.collect()[USER].to_list() == frame["other"].to_list()
    assert "user_id_given" in log.lazy.collect_schema().names()  # the passed-over column keeps its values


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (ColumnChoice(user="usr_id"), "--user must name a column.*'usr_id'.*Did you mean 'user_id'"),
        (ColumnChoice(time="tiemstamp"), "--time.*Did you mean 'timestamp'"),
        (ColumnChoice(others={"session_id": "nope"}), "--session-id.*'nope'"),
        (ColumnChoice(others={"sesion_id": "user_id"}), "'sesion_id'.*Did you mean 'session_id'"),
        (ColumnChoice(user="user_id+nope"), "there is no 'nope'"),
    ],
)
def test_a_column_that_does_not_exist(choice, words):
    frame = table("user_id,item_id,timestamp", some(9), some(5), moment)
    with pytest.raises(ConfigError, match=words):
        read_events(frame, overrides=choice)


def test_composite_user():
    frame = table("uid,appId,item_id,timestamp", some(9), lambda i: "ab"[i % 2], some(5), moment)
    log = read_events(frame)
    assert any("--user uid+appId" in note for note in log.understanding.notes)
    both = read_events(frame, overrides=ColumnChoice(user="uid+appId")).lazy.collect()
    assert both[USER].to_list() == [f"{u}:{a}" for u, a in zip(frame["uid"], frame["appId"], strict=True)]


def test_session_stands_for_user():
    log = read_events(table("session_id,item_id,timestamp", lambda i: f"s{i // 4}", some(5), moment))
    assert any("each session" in note for note in log.understanding.notes)
    frame = log.lazy.collect()
    assert frame[USER].to_list() == frame[SESSION].to_list()


def test_features_of_users_are_no_users():
    frame = table("item_id,timestamp,user_feature_0,user_age", some(5), moment, some(9), some(50))
    with pytest.raises(
        DataError, match=r"which user.*Pass --user COLUMN, or --user user_feature_0\+user_age"
    ):
        read_events(frame)


def test_row_number_is_left_out():
    frame = table("unnamed_1,user_id,item_id,timestamp", lambda i: i, some(9), some(5), moment)
    log = read_events(frame)
    assert "unnamed_1" not in log.lazy.collect_schema().names()
    assert any("row number" in note for note in log.understanding.notes)


def test_null_markers_spare_ids():
    frame = pl.DataFrame(
        {
            "user_id": ["NA", "null", "-"] * 9,
            "item_id": ["None"] * 27,
            "country": ["NA", "NULL", "US"] * 9,
            "device": ["NA", "null", "x"] * 9,
            "timestamp": [T] * 27,
            "price": ["1.5", "NA", "nan"] * 9,
        }
    )
    got = read_events(frame).lazy.collect().head(3)
    assert got[USER].to_list() == ["NA", "null", "-"]
    assert got[ITEM].to_list() == ["None"] * 3
    assert got["country"].to_list() == ["NA", None, "US"]  # NA is Namibia
    assert got["device"].to_list() == [None, None, "x"]
    assert got[VALUE].to_list() == [1.5, None, None]


def test_date_and_time_apart():
    frame = table("date,time,user_id,item_id", "2024-02-03", lambda i: f"10:{i % 60:02}:07", some(9), some(5))
    log = read_events(frame)
    assert log.understanding.time.source == "date+time"
    assert str(log.lazy.collect()[TIME][61]) == "2024-02-03 10:01:07+00:00"


def test_day_month_year_apart():
    frame = table(
        "userID,artistID,tagID,day,month,year", some(9), some(5), some(3), 1, lambda i: i % 12 + 1, 2009
    )
    log = read_events(frame)
    assert log.understanding.time.source == "year+month+day"
    assert log.understanding.time.resolution_s == 86400
    assert str(log.lazy.collect()[TIME][3].date()) == "2009-04-01"


def test_no_time_is_file_order():
    log = read_events(table("user_id,item_id,weight", some(9), some(5), some(100)))
    assert log.understanding.ordered_by_file
    assert log.lazy.collect()[TIME].dt.epoch("s").to_list() == list(range(200))
    asked = read_events(
        table("user_id,item_id,timestamp", some(9), some(5), moment), overrides=ColumnChoice(time="none")
    )
    assert asked.understanding.ordered_by_file


def test_named_time_that_is_none():
    frame = table("user_id,item_id,timestamp", some(9), some(5), lambda i: f"monday {i}")
    with pytest.raises(DataError, match="--time none"):
        read_events(frame)


def test_strengths_are_sane():
    for name, role in (
        ("user_agent", USER),
        ("user_country", USER),
        ("item_price", ITEM),
        ("session_size", SESSION),
        ("propensity_score", VALUE),
    ):
        assert strength(name, role) == 0.0, name
