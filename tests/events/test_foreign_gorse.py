# SPDX-License-Identifier: Apache-2.0
"""Gorse's dump and JSON lines, written by the protobuf package and json, must come out as they went in."""

from __future__ import annotations

import gzip
import json
import struct
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from gorse_dump import dump, record
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import DataError
from desirepath.events import files
from desirepath.events.foreign import read_foreign
from desirepath.events.foreign.dump import Dump
from desirepath.events.log import EventLog
from desirepath.flows.importing import Foreign, import_from

MOMENT = datetime(2024, 5, 1, 12, 0, 0, 123456)
USERS = [
    {"user_id": "u1", "labels": b'{"sex":"f","geo":{"city":"K\xc3\xb6ln & co"}}', "comment": "hello"},
    {"user_id": "u2", "labels": b"null"},
]
ITEMS = [
    {
        "item_id": "i1",
        "is_hidden": True,
        "categories": ["x", "y"],
        "timestamp": MOMENT,
        "labels": b'{"topics":["a","b"],"vector":[0.5,1],"price":3}',
        "comment": "First",
    },
    {"item_id": "i2"},
]
FEEDBACK = [
    {"feedback_type": "star", "user_id": "u1", "item_id": "i1", "value": 2.5, "timestamp": MOMENT}
    | {"updated": MOMENT + timedelta(days=1), "labels": b'{"src":"web"}', "comment": "nice"},
    {"feedback_type": "read", "user_id": "u2", "item_id": "i2", "timestamp": MOMENT + timedelta(seconds=3)},
    {"feedback_type": "read", "user_id": "u2", "item_id": "i1", "timestamp": MOMENT + timedelta(seconds=5)},
]


def read(path, body: bytes, **options):
    path.write_bytes(body)
    return read_foreign([path], **options)


def events_of(found) -> pl.DataFrame:
    return found.log.lazy.collect()


def test_a_dump_comes_out_as_it_went_in(tmp_path):
    found = read(tmp_path / "dump.bin", dump(USERS, ITEMS, FEEDBACK))
    events = events_of(found)
    assert found.format == "gorse"
    assert events["user_id"].to_list() == ["u1", "u2", "u2"]
    assert events["action"].to_list() == ["star", "read", "read"]
    assert events["value"].to_list() == [2.5, 0.0, 0.0]
    assert events["time"][0] == MOMENT.replace(tzinfo=UTC)
    assert events["updated"].to_list() == ["2024-05-02T12:00:00.123456+00:00", None, None]
    assert events["src"].to_list() == ["web", None, None]
    assert events["event_id"][0] == "star/u1/i1"
    assert json.loads(found.users["labels"][0]) == {"sex": "f", "geo": {"city": "Köln & co"}}
    assert "&" not in found.users["labels"][0]
    assert found.users["geo.city"].to_list() == ["Köln & co", None]
    first = found.items.row(0, named=True)
    assert (first["is_hidden"], first["categories"], first["topics"]) == (True, "x|y", "a|b")
    assert (first["price"], first["title"], first["created_at"]) == (3, "First", MOMENT.replace(tzinfo=UTC))
    assert "vector" not in first
    assert json.loads(first["labels"])["vector"] == [0.5, 1]
    assert found.items.row(1, named=True)["is_hidden"] is False


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
moments = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1))
rows = st.fixed_dictionaries(
    {"feedback_type": ids, "user_id": ids, "item_id": ids, "timestamp": moments},
    optional={"value": st.floats(allow_nan=False), "comment": ids, "updated": moments},
)


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, min_size=1, max_size=30))
def test_any_feedback_that_protobuf_writes_is_read(feedback):
    taken = []
    reading = Dump("dump", lambda kind, frame: taken.append(frame))
    reading.read([dump(feedback=feedback)])
    assert not reading.damage
    assert not reading.complaints.total
    table = pl.concat(taken)
    assert table.height == len(feedback)
    for got, put in zip(table.iter_rows(named=True), feedback, strict=True):
        assert (got["action"], got["user_id"], got["item_id"]) == (
            put["feedback_type"],
            put["user_id"],
            put["item_id"],
        )
        assert got["time"] == put["timestamp"].replace(tzinfo=UTC)
        assert got["value"] == put.get("value", 0.0)
        assert got["comment"] == put.get("comment", "")
        updated = put.get("updated")
        assert got["updated"] == (updated.replace(tzinfo=UTC) if updated else None)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_records_may_lie_across_chunks(tmp_path, monkeypatch, chunk):
    whole = read(tmp_path / "dump.bin", dump(USERS, ITEMS, FEEDBACK))
    monkeypatch.setattr(files, "CHUNK", chunk)
    taken = []
    body = dump(USERS, ITEMS, FEEDBACK)
    reading = Dump("dump", lambda kind, frame: taken.append((kind, frame)))
    reading.read(body[at : at + chunk] for at in range(0, len(body), chunk))
    assert reading.counts == {"users": 2, "items": 2, "feedback": 3}
    times = [t for kind, frame in taken if kind == "feedback" for t in frame["time"]]
    assert times == events_of(whole)["time"].to_list()


def test_a_dump_cut_at_any_byte_says_where_and_keeps_what_is_whole():
    body = dump(USERS, ITEMS, FEEDBACK)
    ends = [8]
    for name, many in (("User", USERS), ("Item", ITEMS), ("Feedback", FEEDBACK)):
        for row in many:
            ends.append(ends[-1] + len(record(name, **row)))
        ends[-1:] = [ends[-1], ends[-1] + 8]
    for stop in range(8, len(body), 3):
        reading = Dump("dump", lambda kind, frame: None)
        reading.read([body[:stop]])
        at = max(end for end in ends if end <= stop) if stop < ends[-2] else ends[-2]
        assert f"byte {at:,}" in reading.damage, stop
    assert sum(reading.counts.values()) == 7


def test_a_cut_dump_is_refused_unless_a_part_will_do(tmp_path):
    body = dump(USERS, ITEMS, FEEDBACK)[:-20]
    with pytest.raises(
        DataError, match=r"cut within a record that begins at byte \d+.*2 users, 2 items and 2"
    ):
        read(tmp_path / "cut.bin", body)
    found = read(tmp_path / "cut.bin", body, partial=True)
    assert events_of(found).height == 2
    assert "byte" in found.damage[0]


def test_a_packed_dump_that_is_cut_gives_what_could_be_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 2**12)
    many = [FEEDBACK[1] | {"item_id": f"i{n * 7919 % 100_003}"} for n in range(3000)]
    packed = gzip.compress(dump(USERS, ITEMS, many))
    with pytest.raises(DataError, match=r"byte [\d,]+\. Whole before it: 2 users, 2 items"):
        read(tmp_path / "cut.bin.gz", packed[: len(packed) // 2])
    found = read(tmp_path / "cut.bin.gz", packed[: len(packed) // 2], partial=True)
    assert 500 < events_of(found).height < 3000
    assert events_of(read(tmp_path / "whole.bin.gz", packed)).height == 3000


def test_a_senseless_length_ends_the_reading(tmp_path):
    body = dump(USERS, ITEMS, FEEDBACK[:2], end=b"") + struct.pack("<q", 2**40) + bytes(64)
    with pytest.raises(DataError, match=r"must have the length of a record.*it has 1,099,511,627,776"):
        read(tmp_path / "bad.bin", body)


def test_a_damaged_record_is_counted_and_the_rest_kept(tmp_path):
    bad = b"\x12\x7fcut"
    framed = struct.pack("<q", len(bad)) + bad
    not_utf8 = record("Feedback", **FEEDBACK[1]).replace(b"u2", b"\xff\xfe")
    body = (
        dump(feedback=FEEDBACK[:2], end=b"")
        + framed
        + not_utf8
        + record("Feedback", **FEEDBACK[2])
        + bytes(8)
    )
    found = read(tmp_path / "dump.bin", body)
    assert events_of(found)["item_id"].to_list() == ["i1", "i2", "i1"]
    assert found.log.problems == {"damaged feedback record": 2}
    assert f"byte {len(dump(feedback=FEEDBACK[:2], end=b'')) + 8:,}" in found.log.unreadable["file"][0]


def test_unknown_fields_are_passed_over():
    later = b"\xa2\x06\x03new" + b"\xa8\x06\x07" + b"\xb1\x06" + bytes(8) + b"\xbd\x06" + bytes(4)
    body = record("Feedback", **FEEDBACK[1])[8:] + later
    taken = []
    reading = Dump("dump", lambda kind, frame: taken.append(frame))
    reading.read([struct.pack("<q", -3) + struct.pack("<q", len(body)) + body + bytes(8)])
    assert taken[0]["item_id"].to_list() == ["i2"]
    assert not reading.complaints.total


def test_feedback_of_older_dumps_had_no_value(tmp_path):
    old = [
        {key: value for key, value in row.items() if key not in ("value", "updated", "labels")}
        for row in FEEDBACK
    ]
    events = events_of(read(tmp_path / "old.bin", dump(USERS, ITEMS, old, kind="OldFeedback")))
    assert events["time"].to_list()[0] == MOMENT.replace(tzinfo=UTC)
    assert events["comment"].to_list() == ["nice", None, None]
    assert "value" not in events.columns


def test_gos_zero_time_is_no_time(tmp_path):
    never = FEEDBACK[1] | {"timestamp": datetime(1, 1, 1)}
    answer = import_in(tmp_path, dump(USERS, ITEMS, [FEEDBACK[0], never]))
    assert answer["removed"] == {"missing_time": 1}
    assert answer["rows_kept"] == 1


def import_in(folder, body: bytes, name: str = "dump.bin", **options):
    (folder / name).write_bytes(body)
    return import_from(Foreign(sources=[str(folder / name)], **options), folder / "workspace").plain


def test_the_same_dump_twice_adds_nothing_and_a_later_one_what_is_new(tmp_path):
    assert import_in(tmp_path, dump(USERS, ITEMS, FEEDBACK[:2]))["rows_kept"] == 2
    assert import_in(tmp_path, dump(USERS, ITEMS, FEEDBACK[:2]), "copy.bin")["number"] == 0
    changed = FEEDBACK[0] | {"value": 9.0, "updated": MOMENT + timedelta(days=9)}
    users = [USERS[0] | {"labels": b'{"sex":"m"}'}, {"user_id": "u3"}]
    answer = import_in(tmp_path, dump(users, [], [changed, *FEEDBACK[1:]]), "later.bin")
    assert answer["removed"] == {"duplicate_event_id": 2}
    assert answer["events"] == 3
    users = pl.read_parquet(tmp_path / "workspace" / "users.parquet")
    assert dict(users.select("user_id", "sex").iter_rows()) == {"u1": "m", "u2": None, "u3": None}
    assert pl.read_parquet(tmp_path / "workspace" / "items.parquet").height == 2


def test_labels_stay_json_in_the_workspace(tmp_path):
    labels = {"note": "5&quot; disk \\ \n", "deep": {"list": [{"a": 1}]}}
    import_in(tmp_path, dump([{"user_id": "u1", "labels": json.dumps(labels).encode()}], ITEMS, FEEDBACK))
    kept = pl.read_parquet(tmp_path / "workspace" / "users.parquet")
    assert json.loads(kept["labels"][0]) == labels
    events = EventLog(tmp_path / "workspace" / "events").scan().collect()
    assert json.loads(events.filter(pl.col("labels").is_not_null())["labels"][0]) == {"src": "web"}


def as_lines(rows, names, moments=("timestamp", "updated")) -> str:
    """Rows as the bulk API writes them."""
    lines = []
    for row in rows:
        line = {}
        for key, name in names.items():
            value = row.get(key)
            if key == "labels":
                value = json.loads(value) if value else None
            elif key in moments:
                value = (value or datetime(1, 1, 1)).isoformat() + "Z"
            line[name] = value
        lines.append(json.dumps(line, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def test_json_lines_say_the_same_as_the_dump(tmp_path):
    names = {"labels": "Labels", "comment": "Comment"}
    (tmp_path / "u.jsonl").write_text(as_lines(USERS, {"user_id": "UserId"} | names))
    item_names = {
        "item_id": "ItemId",
        "is_hidden": "IsHidden",
        "categories": "Categories",
        "timestamp": "Timestamp",
    }
    (tmp_path / "i.jsonl").write_text(as_lines(ITEMS, item_names | names))
    keys = {"feedback_type": "FeedbackType", "user_id": "UserId", "item_id": "ItemId"}
    keys |= {"value": "Value", "timestamp": "Timestamp", "updated": "Updated"}
    (tmp_path / "f.jsonl").write_text(as_lines(FEEDBACK, keys | names))
    lines = read_foreign([tmp_path / name for name in ("f.jsonl", "i.jsonl", "u.jsonl")])
    binary = read(tmp_path / "dump.bin", dump(USERS, ITEMS, FEEDBACK))
    assert lines.format == "gorse-jsonl"
    columns = ["user_id", "item_id", "action", "time", "updated", "event_id", "src", "comment"]
    assert events_of(lines).select(columns).equals(events_of(binary).select(columns))
    for kind in ("users", "items"):
        mine, other = getattr(lines, kind), getattr(binary, kind)
        rest = [name for name in other.columns if name != "labels"]
        assert mine.select(rest).equals(other.select(rest))
        assert [json.loads(v or "null") for v in mine["labels"]] == [
            json.loads(v or "null") for v in other["labels"]
        ]


def test_bad_lines_are_counted_with_their_numbers(tmp_path):
    good = '{"FeedbackType":"read","UserId":"u%d","ItemId":"i","Timestamp":"2024-01-0%dT00:00:00Z"}'
    lines = [good % (n, n) for n in range(1, 8)]
    lines[2:2] = ["", "no json", '{"UserId":', "[1]", good % (9, 9) + good % (9, 9)]
    (tmp_path / "feedback.jsonl").write_text("\n".join(lines) + "\n")
    found = read_foreign([tmp_path / "feedback.jsonl"], "gorse-jsonl")
    assert events_of(found).height == 7
    assert found.log.unreadable["line"].to_list() == [4, 5, 6, 7]


def test_moments_are_read_however_they_are_written(tmp_path):
    written = ["2024-01-01T00:00:00Z", "2024-01-01T08:00:00.000+08:00", "2024-01-01 00:00:00", "1704067200"]
    written += [
        "1704067200000",
        "2024-01-01",
        "2024-01-01 00:00:00 +0000 UTC",
        "2024-01-01T00:00:00.000000000Z",
    ]
    line = {"FeedbackType": "read", "ItemId": "i"}
    text = "".join(
        json.dumps(line | {"UserId": str(n), "Timestamp": t}) + "\n" for n, t in enumerate(written)
    )
    (tmp_path / "feedback.jsonl").write_text(text)
    times = events_of(read_foreign([tmp_path / "feedback.jsonl"]))["time"]
    assert times.to_list() == [datetime(2024, 1, 1, tzinfo=UTC)] * len(written)


@pytest.mark.data
def test_movielens_through_a_dump_is_movielens(shared_data, tmp_path):
    table = pl.read_csv(
        shared_data / "movielens-100k" / "u.data",
        separator="\t",
        has_header=False,
        new_columns=["user_id", "item_id", "value", "time"],
        schema_overrides=[pl.String, pl.String, pl.Float64, pl.Int64],
    )
    feedback = (
        {
            "feedback_type": "rate",
            "user_id": u,
            "item_id": i,
            "value": v,
            "timestamp": datetime.fromtimestamp(t, UTC),
        }
        for u, i, v, t in table.head(20_000).iter_rows()
    )
    found = events_of(read(tmp_path / "ml.bin", dump(feedback=feedback)))
    told = found.select("user_id", "item_id", "value", pl.col("time").dt.epoch("s"))
    assert told.equals(table.head(20_000))
