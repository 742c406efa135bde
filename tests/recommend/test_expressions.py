"""Conditions on items, held against SQLite's three-valued logic."""

from __future__ import annotations

import math
import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError
from desirepath.recommend.comparison import kind_of
from desirepath.recommend.expressions import MAX_DEPTH, MAX_LENGTH, parse

ITEMS = pl.DataFrame(
    {
        "price": [5.0, 20.0, None, math.nan, 0.0, 19.99, 1e9],
        "stock": [1, 0, None, 7, -3, 20, 2**60],
        "brand": ["x", "y", None, "X", "", "x'y", "größe"],
        "genres": [["drama", "war"], ["drama"], None, [], ["war", None], ["comedy"], ["drama"]],
        "sizes": [[1, 2], None, [], [3], [2, None], [1], [9]],
        "fresh": [True, False, None, True, False, True, None],
        "created_at": [datetime(2026, 1, d, 12, tzinfo=UTC) if d else None for d in (1, 2, 0, 4, 5, 6, 7)],
        "day": [date(2026, 1, d) if d else None for d in (1, 2, 0, 4, 5, 6, 7)],
    }
)


def rows(text: str, table: pl.DataFrame = ITEMS) -> list[bool | None]:
    return table.select(parse(text).compile(table.schema).alias("v"))["v"].to_list()


def passing(text: str) -> list[int]:
    return [i for i, value in enumerate(rows(text)) if value]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("price < 20", [0, 4, 5]),
        ("20 > price", [0, 4, 5]),
        ("not price < 20", [1, 6]),
        ("price < 20 or price >= 20", [0, 1, 4, 5, 6]),
        ("price is missing", [2, 3]),
        ("price is not null", [0, 1, 4, 5, 6]),
        ("price < stock", [5, 6]),
        ("price < 1e1 and stock in (1, 7)", [0]),
        ("stock in (1, 7.0, 1152921504606846976,)", [0, 3, 6]),
        ("stock in (1.5, 1152921504606846977)", []),
        ("stock not in (1.5, 99999999999999999999999)", [0, 1, 3, 4, 5, 6]),
        ("stock < 99999999999999999999999999", [0, 1, 3, 4, 5, 6]),
        ("brand == 'x' or brand = \"x'y\"", [0, 5]),
        ("brand == 'x''y'", [5]),
        ("brand <> 'x'", [1, 3, 4, 5, 6]),
        ("not brand == 'x'", [1, 3, 4, 5, 6]),
        ("brand in ('x', 'größe')", [0, 6]),
        ("brand not in ('x', 'größe')", [1, 3, 4, 5]),
        ("brand contains '\\'", []),
        ("brand contains '.'", []),
        ("brand starts with 'x'", [0, 5]),
        ("brand ENDS   WITH 'e'", [6]),
        ("'drama' in genres", [0, 1, 6]),
        ("'drama' not in genres", [3, 4, 5]),
        ("not 'drama' in genres", [3, 4, 5]),
        ("genres contains 'war'", [0, 4]),
        ("genres in ('war', 'comedy')", [0, 4, 5]),
        ("genres not in ('war', 'comedy')", [1, 3, 6]),
        ("2 in sizes", [0, 4]),
        ("sizes in (1, 9)", [0, 5, 6]),
        ("fresh", [0, 3, 5]),
        ("not fresh", [1, 4]),
        ("fresh == false", [1, 4]),
        ("fresh in (true)", [0, 3, 5]),
        ("created_at >= '2026-01-05'", [4, 5, 6]),
        ("created_at < '2026-01-01T12:30+00:30'", []),
        ("created_at <= '2026-01-01T12:00Z'", [0]),
        ("day in ('2026-01-01', '2026-01-07')", [0, 6]),
        ("created_at > day", [0, 1, 3, 4, 5, 6]),
        ("(price < 20 AND brand in ('x','b')) and not brand == 'y' and 'drama' in genres", [0]),
    ],
)
def test_conditions_by_hand(text, expected):
    assert passing(text) == expected


NUMBERS = ["price", "stock"]
ATOMS = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(NUMBERS),
        st.sampled_from(["<", "<=", ">", ">=", "==", "=", "!=", "<>"]),
        st.one_of(st.integers(-5, 25).map(str), st.sampled_from([*NUMBERS, "19.99", "-2.5"])),
    ),
    st.builds(
        "brand {} {}".format, st.sampled_from(["<", "==", "!=", ">="]), st.sampled_from(["'x'", "'X'", "''"])
    ),
    st.builds(
        "{} {}in ({})".format,
        st.sampled_from(NUMBERS),
        st.sampled_from(["", "not "]),
        st.lists(st.integers(-3, 20).map(str), min_size=1, max_size=3).map(", ".join),
    ),
    st.sampled_from(["brand in ('x', 'y')", "brand not in ('X')", "price is null", "brand is not null"]),
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("{} and {} or {}".format, ATOMS, inner, ATOMS),
        st.builds("not ({})".format, inner),
        st.builds("not {} and {}".format, ATOMS, inner),
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def database():
    connection = sqlite3.connect(":memory:")
    connection.execute("create table items (price real, stock integer, brand text)")
    table = ITEMS.select("price", "stock", "brand").with_columns(pl.col("price").fill_nan(None))
    connection.executemany("insert into items values (?, ?, ?)", table.rows())
    yield connection
    connection.close()


@given(text=CONDITIONS)
@settings(max_examples=150, deadline=None)
def test_sql_agrees(database, text):
    """Same words, same precedence, same three values as SQL."""
    theirs = [row[0] for row in database.execute(f"select {text} from items order by rowid")]
    assert [None if v is None else int(v) for v in rows(text)] == theirs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("price < < 3", "After 8 characters, at '<'"),
        ("price <", "at its end, a column or a value must stand"),
        ("price < 3 4", "at '4'"),
        ("price < 3)", "at ')'"),
        ("brand in ()", "at ')'"),
        ("brand == 'x", "at '''"),
        ("__import__('os').system('true')", "at '('"),
        ("price; drop table items", "at ';'"),
        ("prise < 3", "no column 'prise'. Did you mean 'price'?"),
        ("^pri.*$ < 3", "at '^'"),
        ("`^pri.*$` < 3", "no column '^pri.*$'"),
        ("price < 'x'", "'price' holds numbers, but 'x' is a text value"),
        ("price", "to be a condition by itself it must be true or false"),
        ("genres == 'x'", "write 'x' in genres"),
        ("'x' in brand", "only a list can hold a value"),
        ("3 in genres", "'genres' holds lists of texts, but 3 is a number value"),
        ("created_at > 'soon'", "'soon' is no moment"),
        ("fresh < true", "compare it with == or !="),
        ("price contains 'x'", "'contains' cannot take it"),
        ("raw == 'x'", "holds Binary"),
        ("brand in ('x', 3)", "3 is a number value"),
    ],
)
def test_mistakes_are_pointed_at(text, said):
    schema = {**ITEMS.schema, "raw": pl.Binary()}
    with pytest.raises(ConfigError) as raised:
        parse(text).compile(schema)
    assert said in str(raised.value)


def test_the_mark_stands_under_the_place():
    text = "price < 20 and\n" + "stock > 1 and " * 20 + "prise > 3 and " + "stock > 1 and " * 20 + "fresh"
    with pytest.raises(ConfigError) as raised:
        parse(text).compile(ITEMS.schema)
    _, shown, mark = str(raised.value).splitlines()
    assert shown[mark.index("^") :].startswith("prise > 3")
    assert len(shown) < 80
    for long in ("x" * 9_000 + " < 3", "price < '" + "x" * 9_000 + "'", "created_at > '" + "x" * 9_000 + "'"):
        with pytest.raises(ConfigError) as raised:
            parse(long).compile(ITEMS.schema)
        assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        "(" * 4_000 + "fresh" + ")" * 4_000,
        "not " * 2_400 + "fresh",
        "fresh or " * 1_000 + "fresh",
        "x" * 100_000,
        "brand in (" + "'x', " * 30_000 + "'x')",
        "(price < 3 and " * 500 + "fresh" + ")" * 500,
    ],
)
def test_the_huge_is_refused(text):
    with pytest.raises(ConfigError, match="must"):
        parse(text)


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused(text):
    try:
        found = parse(text).compile(ITEMS.schema)
    except ConfigError:
        return
    assert ITEMS.select(found.alias("v"))["v"].dtype == pl.Boolean


def test_the_deepest_and_longest_pass():
    deep = "(" * (MAX_DEPTH - 1) + "fresh" + ")" * (MAX_DEPTH - 1)
    assert passing(deep) == passing("fresh")
    long = "brand in (" + ", ".join(["'x'"] * 1_900) + ")"
    assert len(long) < MAX_LENGTH
    assert passing(long) == [0]
    assert passing(" or ".join(["fresh"] * 500)) == passing("fresh")


def test_storage_does_not_matter():
    """Decimals, categories, arrays and zones compare like what they stand for."""
    table = pl.DataFrame(
        {
            "price": pl.Series([Decimal("1.50"), None], dtype=pl.Decimal(10, 2)),
            "brand": pl.Series(["x", None], dtype=pl.Categorical),
            "size": pl.Series(["s", None], dtype=pl.Enum(["s", "m"])),
            "tags": pl.Series([["a", "b"], None], dtype=pl.Array(pl.String, 2)),
            "at": pl.Series([datetime(2026, 1, 1), None], dtype=pl.Datetime("ms")).dt.replace_time_zone(
                "Asia/Shanghai"
            ),
            "labels.brand": ["q", None],
            "two words": [1, None],
        }
    )
    for text in (
        "price == 1.5",
        "brand in ('x')",
        "size == 's'",
        "'b' in tags",
        "tags in ('b', 'z')",
        "at < '2025-12-31T16:00:01Z' and at > '2025-12-31T15:59:59'",
        "labels.brand == 'q'",
        "`two words` == 1",
    ):
        assert rows(text, table) == [True, None], text


def test_a_column_without_any_value_is_missing():
    table = pl.DataFrame({"brand": [None, None]})
    for text in ("brand == 'x'", "brand in (1, 2)", "'x' in brand", "not brand < 3", "brand"):
        assert rows(text, table) == [None, None], text
    assert rows("brand is missing", table) == [True, True]


def test_names_are_told_in_order():
    assert parse("b < 1 and (a in ('x') or not b == 2) and 'z' in c").columns() == ("b", "a", "c")


def test_kinds():
    assert kind_of(pl.List(pl.Int8())) == "list of number"
    assert kind_of(pl.List(pl.List(pl.String()))) == "nothing"
    assert kind_of(pl.Date()) == "time"
