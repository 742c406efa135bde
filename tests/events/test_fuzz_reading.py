"""Readers under random input: what was written comes back, and junk gives nothing but our own errors."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desirepath.errors import DesirepathError
from desirepath.events import ColumnChoice, inspect, read_events

T = 1_500_000_000
LOOSE = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
# Any id but control codes and surrogates; "" means no id and is tried elsewhere.
ID = st.text(
    st.characters(codec="utf-8", include_characters="\t\n", exclude_categories=["Cs", "Cc"]),
    min_size=1,
    max_size=12,
)
TRICKY = st.sampled_from(
    [
        "NA",
        "007",
        "-1",
        "17850.0",
        "null",
        '"',
        '""',
        'a"b',
        "a,b",
        "x\ny",
        "👩‍👩‍👧",
        "שלום",
        "#",
        "1e5",
        "\\N",
        " x ",
        "ı",
        "﷽",
    ]
)
IDS = st.lists(st.one_of(ID, TRICKY), min_size=1, max_size=20)


def saved(content: bytes, name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="reader-fuzz-"))
    path = folder / name
    path.write_bytes(content)
    return path


def read(content: bytes, name: str, choice: ColumnChoice | None = None) -> pl.DataFrame:
    path = saved(content, name)
    try:
        return read_events(path, overrides=choice).lazy.collect()
    finally:
        path.unlink()
        path.parent.rmdir()


@LOOSE
@given(IDS, st.sampled_from([",", ";", "\t", "|", "^"]), st.booleans(), st.booleans())
def test_any_id_survives_csv(ids, delimiter, quote_all, packed):
    out = io.StringIO()
    writer = csv.writer(
        out,
        delimiter=delimiter,
        quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL,
        lineterminator="\n",
    )
    writer.writerow(["user_id", "item_id", "timestamp"])
    writer.writerows([i, f"item{k}", T + k] for k, i in enumerate(ids))
    content = out.getvalue().encode()
    frame = read(gzip.compress(content) if packed else content, "log.csv", ColumnChoice(delimiter=delimiter))
    assert frame["user_id"].to_list() == ids
    assert frame["item_id"].to_list() == [f"item{k}" for k in range(len(ids))]


@LOOSE
@given(IDS)
def test_any_id_survives_json_lines(ids):
    content = "".join(
        json.dumps({"user_id": i, "item_id": "x", "timestamp": T}, ensure_ascii=k % 2 == 0) + "\n"
        for k, i in enumerate(ids)
    )
    assert read(content.encode(), "log.jsonl")["user_id"].to_list() == ids


@LOOSE
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30),
    st.sampled_from([",", ";", "\t", "|", "::", " "]),
    st.booleans(),
)
def test_any_integer_survives_any_delimiter(ids, delimiter, header):
    """Nothing is told to the reader: delimiter, header and roles are inferred."""
    names = ["user_id", "item_id", "timestamp"]
    rows = [[str(i), f"p{k % 3}", str(T + k)] for k, i in enumerate(ids)] * 4
    content = "\n".join(delimiter.join(row) for row in ([names] if header else []) + rows) + "\n"
    if header:
        frame = read(content.encode(), "log.csv")
        assert frame["user_id"].to_list() == [row[0] for row in rows]
        assert frame["time"].dt.epoch("s").to_list() == [int(row[2]) for row in rows]
    else:
        frame = read(
            content.encode(), "log.csv", ColumnChoice(user="column_1", item="column_2", time="column_3")
        )
        assert frame["user_id"].to_list() == [row[0] for row in rows]


NAMES = st.sampled_from(
    ["x.csv", "x.jsonl", "x.json", "x.parquet", "x.gz", "x.zip", "x.log", "x.txt", "x.db", "x.zst"]
)
STARTS = st.sampled_from(
    [
        b"",
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x00",
        b"PK\x03\x04",
        b"\x28\xb5\x2f\xfd",
        b"PAR1",
        b"BZh9",
        b"\xfd7zXZ\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b'{"a":',
        b"[{",
        b"SQLite format 3\x00",
        b"user_id,item_id,timestamp\n",
    ]
)


def only_our_errors(content: bytes, name: str) -> None:
    path = saved(content, name)
    try:
        with contextlib.suppress(DesirepathError):  # anything else fails the test
            inspect(path)
    finally:
        path.unlink()
        path.parent.rmdir()


@LOOSE
@given(STARTS, st.binary(max_size=400), NAMES)
def test_random_bytes(start, content, name):
    only_our_errors(start + content, name)


@LOOSE
@given(
    st.lists(
        st.sampled_from(
            [*"abc019-,;|\t\" \n\r{}[]:.#'é", "::", "user_id", "time", "-1", "-2", "2020-01-01", "1500000000"]
        ),
        max_size=120,
    ).map("".join),
    NAMES,
)
def test_random_text(content, name):
    only_our_errors(content.encode(), name)


@settings(LOOSE, derandomize=True)  # some damage brings polars down with the whole process
@given(st.data())
def test_cut_and_flipped_files(data):
    """A good file with a byte changed or its end missing."""
    rows = "".join(f"u{k},i{k},{T + k}\n" for k in range(40))
    good = ("user_id,item_id,timestamp\n" + rows).encode()
    kind = data.draw(st.sampled_from(["csv", "gz", "parquet"]))
    if kind == "gz":
        good = gzip.compress(good, mtime=0)
    elif kind == "parquet":
        out = io.BytesIO()
        pl.DataFrame(
            {"user_id": ["u"] * 40, "item_id": ["i"] * 40, "timestamp": list(range(T, T + 40))}
        ).write_parquet(out)
        good = out.getvalue()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = (
        good[:at]
        if data.draw(st.booleans())
        else good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    )
    only_our_errors(bad, f"x.{kind}")


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(STARTS, st.binary(max_size=2000), NAMES)
def test_many_random_bytes(start, content, name):
    only_our_errors(start + content, name)
