"""Attributes of items against plain dictionaries."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.recommend import attributes as module
from desirepath.recommend.attributes import ItemAttributes
from desirepath.sequences import Vocabulary

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "a"],
        "title": ["old", "B", "C", "A"],
        "price": [1.0, None, 3.0, 9.0],
        "genres": ["x", "y | z", "", "x|y"],
        "created_at": [date(2026, 1, 1), None, date(2026, 2, 2), date(1969, 12, 31)],
        "labels": [None, {"brand": "q", "deep": {"n": 1}}, {"brand": None, "deep": {"n": 2}}, None],
    }
)


def test_rows_follow_the_vocabulary():
    found = ItemAttributes.aligned(
        ITEMS, Vocabulary(["c", "new", "a", "b"]), hidden=["b", "who?"], split={"genres": "|"}
    )
    assert len(found) == 6
    assert found.table["item_id"].to_list() == [None, None, "c", "new", "a", "b"]
    assert found.table["title"].to_list() == [None, None, "C", None, "A", "B"]
    assert found.table["genres"].to_list() == [None, None, [], None, ["x", "y"], ["y", "z"]]
    assert found.table["labels.brand"].to_list() == [None, None, None, None, None, "q"]
    assert found.hidden.tolist() == [True, True, False, False, False, True]
    day = datetime(2026, 2, 2, tzinfo=UTC).timestamp()
    np.testing.assert_array_equal(found.created_s(), [np.nan, np.nan, day, np.nan, -86400.0, np.nan])
    assert found.find(("b", "who?", "c")).tolist() == [5, -1, 2]
    assert found.mask("labels.deep.n == 1").nonzero()[0].tolist() == [5]
    # Rows for padding and unknown pass nothing, not even what asks for missing values.
    assert found.mask("price is missing").nonzero()[0].tolist() == [3, 5]


LISTS = st.lists(
    st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "c", None]), max_size=4)),
    min_size=2,
    max_size=12,
)


@given(lists=LISTS)
@settings(max_examples=30, deadline=None)
def test_codes_are_the_values(lists):
    table = pl.DataFrame({"categories": pl.Series(lists, dtype=pl.List(pl.String))})
    found = ItemAttributes(table)
    codes = found.codes("categories")
    names = codes.values.to_list()
    assert names == sorted({v for row in lists for v in row or () if v is not None})
    for i, row in enumerate(lists):
        own = [names[c] for c in codes.code[codes.offsets[i] : codes.offsets[i + 1]]]
        assert own == [v for v in row or () if v is not None]
    asked = np.arange(len(lists))[::-1]
    place, code = codes.of(asked)
    expected = [(k, v) for k, i in enumerate(asked) for v in lists[i] or () if v is not None]
    assert [(int(p), names[c]) for p, c in zip(place, code, strict=True)] == expected
    for wanted in (("a",), ("b", "c"), ("zzz",)):
        bearing = [bool(set(row or ()) & set(wanted)) for row in lists]
        assert found.with_any("categories", wanted).tolist() == bearing


def test_single_values_are_codes_too():
    found = ItemAttributes(
        pl.DataFrame({"author": [None, None, "z", "a", None, "z"], "n": [None, None, 5, 5, 7, 1]})
    )
    codes = found.codes("author")
    assert codes.values.to_list() == ["a", "z"]
    assert codes.offsets.tolist() == [0, 0, 0, 1, 2, 2, 3]
    assert codes.code.tolist() == [1, 0, 1]
    assert found.codes("n").code.tolist() == [1, 1, 2, 0]


def test_answers_are_kept_and_read_only():
    found = ItemAttributes(pl.DataFrame({"price": [None, None, 1.0]}))
    mask = found.mask("price < 2")
    assert found.mask("price < 2") is mask
    with pytest.raises(ValueError, match="read-only"):
        mask[0] = True
    with pytest.raises(ValueError, match="read-only"):
        found.hidden[2] = True


def test_what_is_kept_stays_within_its_bounds(monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 50)
    found = ItemAttributes(pl.DataFrame({"price": [None, None, *range(18)]}))
    first = found.mask("price < 1")
    for n in range(2, 9):
        assert found.mask(f"price < {n}").sum() == n
    assert found.mask("price < 8") is found.mask("price < 8")
    assert found.mask("price < 1") is not first


def test_nothing_known_is_a_catalogue_too():
    found = ItemAttributes.unknown(5)
    assert found.mask("item_id is missing").tolist() == [False, False, True, True, True]
    assert np.isnan(found.created_s()).all()
    assert found.find(("a",)).tolist() == [-1]


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: ItemAttributes(pl.DataFrame({"a": [1]})), ShapeError, "rows for padding"),
        (lambda: ItemAttributes.unknown(3).codes("author"), ConfigError, "no column 'author'"),
        (
            lambda: ItemAttributes.aligned(pl.DataFrame({"id": ["a"]}), Vocabulary(["a"])),
            DataError,
            "'item_id'",
        ),
        (lambda: ItemAttributes(pl.DataFrame({"created_at": ["soon"] * 3})), DataError, "moments"),
        (lambda: ItemAttributes(pl.DataFrame({"categories": ["a"] * 3})), DataError, "lists of text"),
        (
            lambda: ItemAttributes(pl.DataFrame({"a": [1, 2, 3]}), hidden=np.zeros(2, dtype=bool)),
            ShapeError,
            "hidden must have shape",
        ),
        (
            lambda: ItemAttributes(pl.DataFrame({"raw": [b"x"] * 3})).codes("raw"),
            ConfigError,
            "texts, numbers or lists",
        ),
    ],
)
def test_mistakes(make, kind, said):
    with pytest.raises(kind, match=said):
        make()


CHANGES = st.lists(
    st.tuples(
        st.integers(2, 9),
        st.sampled_from([None, 1.0, 5.0, 9.0]),
        st.sampled_from([None, [], ["a"], ["b", "a"]]),
        st.sampled_from(["u", "v"]),
    ),
    max_size=4,
    unique_by=lambda change: change[0],
)


@given(first=CHANGES, second=CHANGES)
@settings(max_examples=20, deadline=None)
def test_a_changed_catalogue_answers_like_a_new_one(first, second):
    """Kept answers after two changes equal those of attributes made of the last table at once."""
    frame = {
        "item_id": [None, None, *"pqrst"],
        "price": [None, None, 1.0, 2.0, None, 6.0, 9.0],
        "categories": [None, None, ["a"], None, ["b"], [], ["a", "b"]],
        "author": [None, None, *"uvuvu"],
        "created_at": [None, None, *[datetime(2026, 1, d, tzinfo=UTC) for d in range(1, 6)]],
    }
    schema = {"price": pl.Float64, "categories": pl.List(pl.String)}
    found = ItemAttributes(pl.DataFrame(frame, schema_overrides=schema))
    rows = list(zip(*frame.values(), strict=True))

    def ask(of: ItemAttributes) -> list[list[object]]:
        answers = [of.mask("price < 6 or 'b' in categories"), of.with_any("categories", ("a",))]
        answers += [of.without_any("categories", ("a", "zz")), of.created_s(), of.find(("p", "z"))]
        codes = of.codes("author")
        return [a.tolist() for a in (*answers, codes.code, codes.offsets)] + [codes.values.to_list()]

    ask(found)
    for n, changes in enumerate((first, second), start=1):
        ix, new = [], []
        for at, price, categories, author in sorted(changes):
            at = min(at, len(rows) + sum(i >= len(rows) for i in ix))
            if at in ix:
                continue
            ix.append(at)
            moment = datetime(2026, 2, n, tzinfo=UTC)
            new.append((rows[at][0] if at < len(rows) else "z" * n, price, categories, author, moment))
        table = pl.DataFrame(new, schema=found.table.schema, orient="row")
        found = found.replaced(np.array(ix, dtype=np.int64), table)
        for at, row in zip(ix, new, strict=True):
            rows[at : at + 1] = [row]
        assert found.version == n
        fresh = ItemAttributes(pl.DataFrame(rows, schema=found.table.schema, orient="row"))
        assert fresh.table.equals(found.table)
        assert str(ask(found)) == str(ask(fresh))


def test_new_columns_and_hidden_items():
    found = ItemAttributes(pl.DataFrame({"price": [None, None, 1.0, 2.0]}))
    found.mask("price > 1")
    rows = pl.DataFrame({"brand": ["x", "y"], "price": [7.0, None]})
    after = found.replaced(np.array([4, 2]), rows, hidden=np.array([0, 0, 0, 1, 0], dtype=bool))
    assert after.table["brand"].to_list() == [None, None, "y", None, "x"]
    assert after.mask("price > 1").tolist() == [False, False, False, True, True]
    assert after.hidden.tolist() == [True, True, False, True, False]
    back = after.replaced(np.zeros(0, np.int64), rows.clear(), hidden=np.zeros(5, dtype=bool))
    assert back.table is after.table
    assert back.mask("price > 1") is not None
    assert back.hidden.tolist() == [True, True, False, False, False]
    for wrong in ([1, 2], [2, 5], [2, 2], [2]):
        with pytest.raises(ShapeError):
            found.replaced(np.array(wrong), rows)


def test_what_was_asked_is_made_ahead(monkeypatch):
    table = pl.DataFrame({"price": [None, None, 1.0], "categories": [None, None, ["a"]], "old": [1, 1, 1]})
    before = ItemAttributes(table)
    before.mask("price > 1"), before.mask("old == 1"), before.with_any("categories", ("a",))
    before.without_any("categories", ("b",)), before.created_s(), before.find(("a",))
    after = ItemAttributes(table.drop("old"))
    after.warm(before)
    with pytest.raises(ConfigError, match="no column 'old'"):
        after.mask("old == 1")
    monkeypatch.setattr(after, "table", None)
    assert after.mask("price > 1").tolist() == [False] * 3
    assert after.with_any("categories", ("a",)).tolist() == [False, False, True]
    assert after.without_any("categories", ("b",)).tolist() == [False, False, True]
    assert after.find(("a",)).tolist() == [-1]
    assert np.isnan(after.created_s()).all()


@pytest.mark.data
def test_films_are_counted_as_in_the_file(shared_data):
    """Masks over MovieLens 1M's films agree with plain Python over the same rows."""
    text = (shared_data / "movielens-1m-sequences" / "movies.dat").read_text(encoding="latin-1")
    rows = [line.split("::") for line in text.splitlines()]
    films = pl.DataFrame(rows, schema=["item_id", "title", "genres"], orient="row")
    vocabulary = Vocabulary(films["item_id"].sort())
    found = ItemAttributes.aligned(films, vocabulary, split={"genres": "|"})
    wanted = "'Drama' in genres and not 'War' in genres or title contains '(1995)'"
    expected = sum(
        ("Drama" in genres.split("|") and "War" not in genres.split("|")) or "(1995)" in title
        for _, title, genres in rows
    )
    assert found.mask(wanted).sum() == expected > 100
