"""Delimiter, quoting and header told from the first lines."""

from __future__ import annotations

import pytest

from desirepath.events.dialect import distinct, has_header, sniff
from desirepath.events.files import Source, looks_like_data, natural
from desirepath.events.names import plain


@pytest.mark.parametrize(
    ("text", "delimiter", "header"),
    [
        ("1::Toy Story (1995)::Animation|Children's\n2::Jumanji (1995)::Adventure|Fantasy\n", "::", False),
        ("1|24|M|technician|85711\n2|53|F|other|94043\n", "|", False),
        ("path;conversions;value\na > b;1;0,5\nb > a;2;1,5\n", ";", True),
        ("196\t242\t3\t881250949\n186\t302\t3\t891717742\n", "\t", False),
        ("user_id,note\nu1,a b c\nu2,d e f\n", ",", True),
        ("u1 i1 5\nu2 i2 4\n", " ", False),
        ('"a","b, c"\n"d","e, f"\n', ",", False),
        ("alice,apple\nbob,pear\n", ",", False),
        ("name,fruit\nalice,apple1\nbob,pear2\n", ",", True),
        ("", ",", None),
    ],
)
def test_layout(text, delimiter, header):
    if header is None:
        with pytest.raises(Exception, match="empty"):
            sniff(text, "log")
        return
    dialect = sniff(text, "log")
    assert (dialect.delimiter, dialect.header) == (delimiter, header)


def test_neighbours_tell_a_lonely_header():
    assert has_header([["colour", "shape"]], {("colour", "shape")})
    assert not has_header([["colour", "shape"]])
    assert has_header([["user_id", "item_id"]])


def test_preamble_is_skipped():
    dialect = sniff("sep=;\nuser_id;item_id\n1;2\n", "log")
    assert (dialect.delimiter, dialect.skip_lines, dialect.names) == (";", 2, ("user_id", "item_id"))
    assert sniff("# made by x\n# on Monday\n1\t2\n3\t4\n", "log").skip_lines == 2


def test_spaces():
    runs = sniff("  1   2  3\n 10  20 30\n", "log")
    assert runs.runs
    assert len(runs.names) == 3
    assert sniff("id, badge\n3, Guru\n1, Nice Question\n", "log").spaced


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('{"a": 1}\n', "jsonl"),
        ('[{"a": 1}]\n', "json"),
        ('1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 5\n', "access log"),
        ("1 -1 2 -1 -2\n3 -1 -2\n", "sequences"),
        ("1 5 6 7\n2 8\n", "sequences"),
    ],
)
def test_other_kinds(line, kind):
    assert sniff(line, "log").kind == kind


def test_names():
    assert distinct(["a", "a", "", " b "]) == ("a", "a_2", "unnamed_3", "b")
    assert plain("click_deviceGroup") == "click_device_group"
    assert sorted(["f10", "f9", "f09a"], key=natural) == ["f9", "f09a", "f10"]


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        ("log.csv", True),
        ("part-00000", True),
        ("a/b/clicks.csv.gz", True),
        ("access.log.1", True),
        ("README.md", False),
        ("__MACOSX/._log.csv", False),
        (".log.csv", False),
        ("plot.png", False),
    ],
)
def test_what_is_opened_in_a_folder(name, yes):
    assert looks_like_data(name) is yes


def test_source_names(tmp_path):
    source = Source(path=tmp_path / "a.zip", member="x/clicks_1.csv.gz")
    assert source.stem == "clicks_1"
    assert source.name.endswith("a.zip:x/clicks_1.csv.gz")
