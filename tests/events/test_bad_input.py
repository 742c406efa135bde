"""What bad input gets: an error of ours that says what to do, and never another library's."""

from __future__ import annotations

import gzip
import os
import pickle
import zipfile

import polars as pl
import pyarrow as pa
import pytest

from desirepath.errors import ConfigError, DataError, DesirepathError
from desirepath.events import ColumnChoice, read_events

GOOD = "user_id,item_id,timestamp\n" + "".join(
    f"u{i % 9},i{i % 7},{1_500_000_000 + i}\n" for i in range(5000)
)


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_wrong_path_names_the_nearest(write, tmp_path):
    write("clicks.csv", GOOD)
    with pytest.raises(ConfigError, match=r"nothing is there\. Did you mean 'clicks.csv'"):
        read_events(tmp_path / "cliks.csv")
    with pytest.raises(ConfigError, match="does not exist"):
        read_events(tmp_path / "no" / "such.csv")
    with pytest.raises(ConfigError, match="must match a file"):
        read_events(str(tmp_path / "*.tsv"))
    with pytest.raises(ConfigError, match="At least one"):
        read_events([])
    with pytest.raises(ConfigError, match="a name on this machine"):
        read_events("a\0b")


@pytest.mark.parametrize("content", ["", "\n\n \n", "\ufeff"])
def test_empty_file(write, content):
    with pytest.raises(DataError, match=r"must hold events.*(empty|nothing)"):
        read_events(write("log.csv", content))


def test_header_only(write):
    with pytest.raises(DataError, match="only a header"):
        read_events(write("log.csv", "user_id,item_id,timestamp\n"))
    with pytest.raises(DataError, match="only a header"):
        read_events(write("log.csv.gz", gzip.compress(b"user_id,item_id,timestamp")))


@pytest.mark.parametrize("keep", [5, 12, 300, -9])
def test_truncated_gzip(write, keep):
    with pytest.raises(DataError, match="cut short or damaged"):
        read_events(write("log.csv.gz", gzip.compress(GOOD.encode())[:keep]))


def test_truncated_zst(write):
    packed = pa.compress(GOOD.encode() * 20, "zstd", asbytes=True)
    with pytest.raises(DataError):
        read_events(write("log.csv.zst", packed[: len(packed) // 2]))


def test_broken_zip(write, tmp_path):
    with zipfile.ZipFile(tmp_path / "ok.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.csv", GOOD)
    whole = (tmp_path / "ok.zip").read_bytes()
    with pytest.raises(DataError, match="zip archive"):
        read_events(write("cut.zip", whole[:-40]))
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    with pytest.raises(DataError):
        read_events(write("flipped.zip", bytes(flipped)))
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("photo.jpg", b"x")
    with pytest.raises(DataError, match="must hold a data file"):
        read_events(tmp_path / "none.zip")


def test_ragged_lines_are_counted_and_kept_aside(write):
    lines = GOOD.splitlines()
    lines[100:100] = ["only-one", "a,b", "a,b,1500000000,extra,more"]
    log = read_events(write("log.csv", "\n".join(lines)))
    assert log.lazy.select(pl.len()).collect().item() == 5000
    assert log.problems == {"too few fields": 2, "too many fields": 1}
    assert log.unreadable["line"].to_list() == [101, 102, 103]
    assert log.unreadable["text"].to_list() == ["only-one", "a,b", "a,b,1500000000,extra,more"]


def test_mostly_ragged_is_refused(write):
    text = "user_id,item_id,timestamp\n" + "u,i,1500000000\n" * 300 + "a,b\n" * 900
    with pytest.raises(DataError, match="Pass --delimiter"):
        read_events(write("log.csv", text))
    with pytest.raises(DataError, match=r"only one was found.*Pass --delimiter"):
        read_events(write("one.csv", "word\n" * 9))


def test_a_quote_nobody_closes(write):
    """The lines between two stray quotes come back, each as its own row."""
    rows = [f"u{i},i{i % 7},{1_500_000_000 + i},text {i}" for i in range(400)]
    rows[50] = 'u50,i1,1500000050,"unfinished'
    rows[300] = 'u300,i6,1500000300,"another'
    log = read_events(write("log.csv", "user_id,item_id,timestamp,note\n" + "\n".join(rows) + "\n"))
    assert log.lazy.collect()["user_id"].to_list() == [f"u{i}" for i in range(400)]
    assert "quotes are plain text" in log.understanding.files[0].dialect


def test_quotes_in_the_middle_are_text(write):
    log = read_events(
        write("log.csv", 'user_id,item_id,timestamp\nu "x" y,i,1500000000\n"a ""b""",i,1500000001\n')
    )
    assert log.lazy.collect()["user_id"].to_list() == ['u "x" y', 'a "b"']


def test_trailing_separators(write):
    frame = read_events(
        write("log.csv", "user_id,item_id,timestamp,\n01,b,1500000000,\n01,c,1500000001,\n")
    ).lazy.collect()
    assert frame.columns == ["user_id", "item_id", "action", "time"]
    frame = read_events(
        write("log2.csv", "user_id,item_id,timestamp\n01,b,1500000000,\n01,c,1500000001,\n")
    ).lazy.collect()
    assert frame["user_id"].to_list() == ["01", "01"]


def test_r_row_names(write):
    log = read_events(
        write("log.csv", '"user_id","item_id","timestamp"\n"1","a","b",1500000000\n"2","a","c",1500000001\n')
    )
    assert log.lazy.collect()["user_id"].to_list() == ["a", "a"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("log.csv", b"%PDF-1.4 ...", "a PDF"),
        ("log.csv", b"\x89PNG\r\n\x1a\n", "an image"),
        ("log.csv", pickle.dumps([{"a": 1}] * 99, protocol=4), "pickle"),
        ("log.csv", bytes(range(256)) * 50, "control codes"),
        ("log.parquet", b"PAR1" + b"\0" * 200 + b"PAR1", "Parquet"),
        ("log.jsonl", b'{\n "a": 1\n}\n', "one JSON object a line"),
        ("log.jsonl", b'{"a": 1\n{"b"\n', "one JSON object a line"),
        ("log.json", b"[{]", "not valid JSON"),
        ("log.db", b"SQLite format 3\0" + b"\0" * 90, "database"),
    ],
)
def test_what_is_no_log(write, name, content, words):
    with pytest.raises(DataError, match=words):
        read_events(write(name, content))


def test_spreadsheets_are_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
    with pytest.raises(DataError, match="Export the sheet"):
        read_events(tmp_path / "log.xlsx")


def test_folder_without_data(tmp_path):
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".hidden.csv").write_text("x")
    with pytest.raises(DataError, match="must hold a data file"):
        read_events(tmp_path)


def test_folder_with_strangers(write, tmp_path):
    write("a.csv", GOOD)
    write("b.csv", "%PDF")
    write("c.csv", "")
    write("items.csv", "item_id,title\ni1,One\ni2,Two\n")
    log = read_events(tmp_path)
    assert log.lazy.select(pl.len()).collect().item() == 5000
    notes = " ".join(log.understanding.notes)
    assert "a PDF" in notes
    assert "nothing in it" in notes
    assert "items.csv" in notes


def test_a_damaged_file_of_a_folder_is_never_passed_over(write, tmp_path):
    write("a.csv", GOOD)
    write("b.csv.gz", gzip.compress(GOOD.encode())[:300])
    with pytest.raises(DataError, match="cut short"):
        read_events(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file(write):
    path = write("log.csv", GOOD)
    path.chmod(0)
    with pytest.raises(DataError, match="permission is denied"):
        read_events(path)


def test_permission_error_is_told(write, monkeypatch):
    path = write("log.csv", GOOD)

    def forbidden(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", forbidden)
    with pytest.raises(DataError, match="permission is denied"):
        read_events(path)


def test_full_disk_is_told(write, monkeypatch):
    monkeypatch.setattr("desirepath.events.spool.BUDGET", 10)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(DataError, match=r"No space left.*TMPDIR"):
        read_events(write("log.csv", GOOD))


def test_bad_options(write):
    path = write("log.csv", GOOD)
    with pytest.raises(ConfigError, match="delimiter"):
        read_events(path, overrides=ColumnChoice(delimiter=""))
    with pytest.raises(ConfigError, match="must begin with sqlite"):
        read_events("s3://bucket/log.csv")


def test_unparseable_times_are_null_and_counted(write):
    text = GOOD + "u1,i1,yesterday\nu1,i1,\n"
    frame = read_events(write("log.csv", text)).lazy.collect()
    assert frame["time"].null_count() == 2
    assert frame.height == 5002


@pytest.mark.parametrize(
    "rows", [["u,i,1500000000"], ["u,i,1500000000"] * 40, [f"u{k},i,1500000000" for k in range(40)]]
)
def test_tiny_worlds_are_read(write, rows):
    """One event, one user with one item, all events at one instant."""
    log = read_events(write("log.csv", "user_id,item_id,timestamp\n" + "\n".join(rows)))
    assert log.lazy.select(pl.len()).collect().item() == len(rows)
    assert log.understanding.time.first == log.understanding.time.last


def test_no_raw_value_reaches_a_message(write):
    """Neither samples nor errors show what people wrote, unless asked to."""
    path = write(
        "log.csv",
        "user_id,item_id,timestamp\n" + "".join(f"anna{i}@secret.org,i,1500000000\n" for i in range(9)),
    )
    assert "secret" not in str(read_events(path).understanding)
    assert "secret" in str(read_events(path, show_samples=True).understanding)
    with pytest.raises(DesirepathError) as error:
        read_events(path, overrides=ColumnChoice(time="user_id"))
    assert "secret" not in str(error.value)
