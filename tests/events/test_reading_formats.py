"""Every format comes out as the same events; the witness is the standard library's writer of each."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pytest

from desirepath.errors import ConfigError, DataError
from desirepath.events import ColumnChoice, read_events

START = datetime(2024, 3, 1, tzinfo=UTC)
USERS = [
    "-8845298781299428018",
    "007",
    "NA",
    "17850.0",
    "1506825423271737",
    "ünï",
    "😀",
    "null",
    "عمر",
    "a b",
]
ROWS = [
    {
        "user_id": USERS[i % len(USERS)],
        "item_id": f"0{i % 7}",
        "event_type": ["view", "buy now"][i % 2],
        "timestamp": int((START + timedelta(seconds=i)).timestamp()),
        "note": ["plain", 'said "hi", left', "two\nlines", ""][i % 4],
    }
    for i in range(60)
]


def csv_text(rows=ROWS, delimiter=",", header=True) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def check(log, rows=ROWS, note=True):
    frame = log.lazy.collect()
    assert frame["user_id"].to_list() == [row["user_id"] for row in rows]
    assert frame["item_id"].to_list() == [row["item_id"] for row in rows]
    assert frame["action"].to_list() == [row["event_type"] for row in rows]
    assert frame["time"].to_list() == [datetime.fromtimestamp(row["timestamp"], UTC) for row in rows]
    assert frame.schema["time"] == pl.Datetime("us", "UTC")
    if note:
        assert frame["note"].to_list() == [row["note"] or None for row in rows]
    assert log.problems == {}


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "\x01"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_delimited(tmp_path, delimiter, ending):
    path = tmp_path / "log.csv"
    text = csv_text(delimiter=delimiter)
    rows = [row | {"note": row["note"].replace("\n", ending)} for row in ROWS]
    path.write_bytes(text.replace("\n", ending).encode())
    check(read_events(path), rows)


@pytest.mark.parametrize("delimiter", ["::", "||", " "])
def test_delimiters_without_quoting(tmp_path, delimiter):
    rows = [row | {"note": "x", "user_id": f"u{i % 7}", "event_type": "view"} for i, row in enumerate(ROWS)]
    path = tmp_path / "log.dat"
    path.write_text(
        "\n".join(
            delimiter.join(str(v) for v in row.values())
            for row in [dict(zip(ROWS[0], ROWS[0], strict=True)), *rows]
        )
    )
    check(read_events(path), rows)


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", lambda data: pa.compress(data, "zstd", asbytes=True)),
        (".csv", gzip.compress),  # the suffix lies; the bytes do not
    ],
)
def test_compressed(tmp_path, suffix, pack):
    path = tmp_path / f"log.csv{suffix}"
    path.write_bytes(pack(csv_text().encode()))
    check(read_events(path))


def test_zip_of_several_in_natural_order(tmp_path):
    path = tmp_path / "log.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in (2, 10, 0, 1):  # stored in no order; natural order is 0, 1, 2, 10
            part = ROWS[{0: 0, 1: 20, 2: 40, 10: 50}[k] : {0: 20, 1: 40, 2: 50, 10: 60}[k]]
            archive.writestr(f"hours/hour_{k}.csv", csv_text(part))
        archive.writestr("hours/hour_11.csv", csv_text(ROWS).splitlines()[0] + "\n")
        archive.writestr("README.txt", "not data")
        archive.writestr("__MACOSX/._hour_0.csv", b"\0\1")
    log = read_events(path)
    check(log)
    assert len(log.understanding.files) == 5
    assert "1 of 5 files has only a header" in log.understanding.notes[0]


def test_gzip_within_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("log.csv.gz", gzip.compress(csv_text().encode()))
    check(read_events(tmp_path / "log.zip"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_encodings(tmp_path, encoding):
    path = tmp_path / "log.csv"
    path.write_bytes(csv_text().encode(encoding))
    log = read_events(path)
    check(log)
    assert encoding.split("-")[1] in log.understanding.files[0].encoding


@pytest.mark.parametrize(("encoding", "word"), [("latin-1", "Beyoncé"), ("cp1252", "“Beyoncé”")])
def test_one_late_accent_is_enough(tmp_path, encoding, word):
    """The only bad byte lies megabytes after the head by which the dialect is told."""
    lines = ["user_id,artist_id,timestamp", *(f"u{i},a{i % 9},{1_500_000_000 + i}" for i in range(300_000))]
    lines.append(f"{word},a1,1500400000")
    path = tmp_path / "log.csv"
    path.write_bytes("\n".join(lines).encode(encoding))
    log = read_events(path)
    assert log.lazy.collect()["user_id"][-1] == word
    assert log.understanding.files[0].encoding.startswith(encoding)


def test_damaged_utf8_stays_utf8(tmp_path):
    path = tmp_path / "log.csv"
    good = "".join(f"用户{i},商品,15000000{i % 90 + 10}\n" for i in range(200))
    path.write_bytes(b"user_id,item_id,timestamp\n" + good.encode() + b"\xff\xfe,x,1500000000\n")
    log = read_events(path)
    assert log.lazy.collect()["user_id"][0] == "用户0"
    assert "damaged" in log.understanding.files[0].encoding


def test_encoding_as_told(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(csv_text([row | {"user_id": "用户", "note": "中"} for row in ROWS]).encode("gb18030"))
    log = read_events(path, overrides=ColumnChoice(encoding="gb18030"))
    assert set(log.lazy.collect()["user_id"]) == {"用户"}
    with pytest.raises(ConfigError, match="codec"):
        read_events(path, overrides=ColumnChoice(encoding="latin-17"))
    with pytest.raises(DataError, match="must be text in ascii"):
        read_events(path, overrides=ColumnChoice(encoding="ascii"))


def test_json_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{k: v for k, v in row.items() if v != ""} for row in ROWS]
    rows[3]["context"] = {"page": {"url": "x"}, "n": 3}
    rows[4]["tags"] = ["a", 1]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=bool(i % 2)) for i, row in enumerate(rows)) + "\n")
    log = read_events(path)
    check(log)
    frame = log.lazy.collect()
    assert frame["context.n"][3] == "3"
    assert json.loads(frame["context.page"][3]) == {"url": "x"}
    assert json.loads(frame["tags"][4]) == ["a", 1]


def test_json_ids_keep_every_digit(tmp_path):
    ids = [-(2**63), 2**63 - 1, 2**64 - 1, 12345678901234567890123, 7]
    path = tmp_path / "log.jsonl"
    path.write_text(
        "".join(
            json.dumps({"user": i, "item": "a", "ts": 1_500_000_000 + k}) + "\n" for k, i in enumerate(ids)
        )
    )
    assert read_events(path).lazy.collect()["user_id"].to_list() == [str(i) for i in ids]


def test_json_bad_lines_are_counted(tmp_path):
    path = tmp_path / "log.jsonl"
    good = [json.dumps({"user_id": f"u{i}", "item_id": "a", "ts": 1_500_000_000 + i}) for i in range(500)]
    bad = ["{broken", "[1, 2]", '"text"', "null", '{"a": 1} trailing']
    path.write_text("\n".join([*good[:250], *bad, "", *good[250:]]) + "\n")
    log = read_events(path)
    assert log.lazy.select(pl.len()).collect().item() == 500
    assert log.problems == {"not a JSON object": 5}
    assert log.unreadable["line"].to_list() == [251, 252, 253, 254, 255]
    assert log.unreadable["text"].to_list() == bad


def test_json_array(tmp_path):
    path = tmp_path / "log.json"
    path.write_text(json.dumps(ROWS, indent=1))
    check(read_events(path))


def test_parquet_stays_lazy_and_exact(tmp_path):
    frame = pl.DataFrame(ROWS).with_columns(
        pl.from_epoch("timestamp", "s").cast(pl.Datetime("ms")).alias("timestamp"),
        pl.int_range(pl.len(), dtype=pl.Int64).alias("order") - 2**62,
        pl.Series("parts", [[1, 2]] * 60),
    )
    for k in range(3):
        frame[20 * k : 20 * (k + 1)].write_parquet(tmp_path / f"part-{k * 5}.parquet")
    log = read_events(tmp_path)
    check(log, note=False)
    plan = log.lazy.explain()
    assert "Parquet SCAN" in plan
    assert log.lazy.collect()["order"].to_list() == [str(i - 2**62) for i in range(60)]
    assert log.lazy.collect()["parts"][0] == "1 2"


def test_parquet_integer_ids(tmp_path):
    ids = [-(2**63), 2**63 - 1, 0]
    path = tmp_path / "log.parquet"
    pl.DataFrame(
        {"user": ids, "product": ids, "ts": [1_500_000_000_000_000_000 + i for i in range(3)]}
    ).write_parquet(path)
    log = read_events(path)
    frame = log.lazy.collect()
    assert frame["user_id"].to_list() == frame["item_id"].to_list() == [str(i) for i in ids]
    assert log.understanding.time.unit == "ns"


def test_recbole_atomic(tmp_path):
    path = tmp_path / "set.inter"
    path.write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n01\t9\t4\t978300760.0\n02\t8\t3.5\t978302109\n"
    )
    log = read_events(path)
    frame = log.lazy.collect()
    assert frame["user_id"].to_list() == ["01", "02"]
    assert frame["value"].to_list() == [4.0, 3.5]
    assert frame["time"][0] == datetime.fromtimestamp(978300760, UTC)


def test_access_log(tmp_path):
    path = tmp_path / "access.log.gz"
    lines = [
        '199.72.81.55 - - [01/Jul/1995:00:00:01 -0400] "GET /history/apollo/ HTTP/1.0" 200 6245',
        'unicomp6.net - anna [01/Jul/1995:00:00:06 -0400] "GET /shuttle?q=sts-71&x=1 HTTP/1.0" 200 -',
        '10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "POST /apache_pb.gif HTTP/1.1" 404 2326 '
        '"http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"',
        "what is this",
    ] * 3
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    log = read_events(path)
    frame = log.lazy.collect()
    assert frame["user_id"].to_list()[:3] == ["199.72.81.55", "unicomp6.net", "10.0.0.1"]
    assert frame["item_id"].to_list()[:3] == ["/history/apollo/", "/shuttle", "/apache_pb.gif"]
    assert frame["action"].to_list()[:3] == ["GET", "GET", "POST"]
    assert frame["query"][1] == "q=sts-71&x=1"
    assert frame["device"][2].startswith("Mozilla")
    assert frame["source"][2] == "http://www.example.com/start.html"
    assert frame["time"][0] == datetime(1995, 7, 1, 4, 0, 1, tzinfo=UTC)
    assert log.problems == {"not an access-log line": 3}
    assert log.unreadable["line"].to_list() == [4, 8, 12]


def test_sequences_with_user(tmp_path):
    path = tmp_path / "seq.txt"
    path.write_text("1 10 20 30\n2 10\n\n3 20 20 \n")
    log = read_events(path)
    frame = log.lazy.collect()
    assert frame["user_id"].to_list() == ["1", "1", "1", "2", "3", "3"]
    assert frame["item_id"].to_list() == ["10", "20", "30", "10", "20", "20"]
    assert log.understanding.ordered_by_file
    assert frame["time"].is_sorted()
    assert frame["time"].dt.epoch("s").to_list() == [0, 1, 2, 3, 4, 5]


def test_sequences_spmf(tmp_path):
    path = tmp_path / "spmf.txt"
    path.write_text("@CONVERTED_FROM_TEXT\n1 2 -1 3 -1 -2\n2 -1 1 -1 -2\n")
    frame = read_events(path).lazy.collect()
    assert frame["user_id"].to_list() == ["2", "2", "2", "3", "3"]
    assert frame["item_id"].to_list() == ["1", "2", "3", "2", "1"]
    assert frame["itemset"].to_list() == ["1", "1", "2", "1", "2"]


def test_glob_and_several_paths(tmp_path):
    for k in range(3):
        (tmp_path / f"log_{k}.csv").write_text(csv_text(ROWS[20 * k : 20 * (k + 1)]))
    check(read_events(str(tmp_path / "log_*.csv")))
    check(read_events([tmp_path / f"log_{k}.csv" for k in range(3)]))


def test_unlike_files_named_together(tmp_path):
    (tmp_path / "views.csv").write_text("user_id,item_id,timestamp\na,1,1500000000\n")
    (tmp_path / "likes.csv").write_text("user,product_id,created_at\na,2,2017-07-14 02:40:05\n")
    log = read_events([tmp_path / "views.csv", tmp_path / "likes.csv"])
    frame = log.lazy.collect()
    assert frame["action"].to_list() == ["views", "likes"]
    assert frame["item_id"].to_list() == ["1", "2"]
    assert frame["time"].dt.epoch("s").to_list() == [1_500_000_000, 1_500_000_005]
    with pytest.raises(DataError, match="Name the files"):
        read_events(tmp_path)


def test_time_unit_is_told_file_by_file(tmp_path):
    (tmp_path / "a.csv").write_text(
        "user_id,item_id,timestamp\n" + "".join(f"u,i,{1_500_000_000 + k}\n" for k in range(5))
    )
    (tmp_path / "b.csv").write_text(
        "user_id,item_id,timestamp\n" + "".join(f"u,i,{1_500_000_005_000 + 1000 * k}\n" for k in range(5))
    )
    frame = read_events(tmp_path).lazy.collect()
    assert frame["time"].dt.epoch("s").to_list() == [1_500_000_000 + k for k in range(10)]


def test_polars_tables(tmp_path):
    rows = [row | {"note": row["note"] or "-"} for row in ROWS]
    frame = pl.DataFrame(rows)
    check(read_events(frame), rows)
    check(read_events(frame.lazy()), rows)


def test_larger_than_the_memory_budget(tmp_path, monkeypatch):
    """The spool goes to disk and gives the same rows in the same order."""
    monkeypatch.setattr("desirepath.events.spool.BUDGET", 2**14)
    monkeypatch.setattr("desirepath.events.spool.PART", 2**14)
    monkeypatch.setattr("desirepath.events.delimited.BLOCK", 2**15)
    rows = ROWS * 100
    path = tmp_path / "log.csv"
    path.write_text(csv_text(rows))
    log = read_events(path)
    assert "Parquet SCAN" in log.lazy.explain()
    check(log, rows)


def test_fingerprints_tell_files_apart(tmp_path):
    (tmp_path / "a.csv").write_text(csv_text())
    (tmp_path / "b.csv").write_text(csv_text())
    (tmp_path / "c.csv").write_text(csv_text(ROWS[:9]))
    marks = [
        read_events(tmp_path / name).understanding.files[0].fingerprint
        for name in ("a.csv", "b.csv", "c.csv")
    ]
    assert marks[0] == marks[1] != marks[2]


def test_progress_grows_to_the_end(tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.csv.gz").write_bytes(gzip.compress(csv_text().encode()))
    shares: list[float] = []
    read_events(tmp_path, on_progress=shares.append)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
