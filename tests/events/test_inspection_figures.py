"""The figures of an inspection: the witness is a plain loop over the rows."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from datetime import UTC, datetime

import polars as pl
from rich.console import Console

from desirepath.events import Inspection, inspect, read_table, render
from desirepath.events.display import sparkline

T = 1_500_000_000


def messy(n=3000, seed=5):
    dice = random.Random(seed)
    rows = []
    for _ in range(n):
        rows.append(
            {
                "user_id": dice.choice(["u1", "u2", "007", "-5", "NA", None, f"v{dice.randrange(40)}"]),
                "item_id": dice.choice(["i1", "i2", "03", None, f"k{dice.randrange(30)}"]),
                "event_type": dice.choice(["view", "view", "buy"]),
                "timestamp": dice.choice([None, "12", "9000000000", *[str(T + dice.randrange(500))] * 17]),
            }
        )
    return rows + rows[:37]


def test_against_a_plain_loop(tmp_path):
    rows = messy()
    path = tmp_path / "log.parquet"
    pl.DataFrame(rows).write_parquet(path)
    seen = inspect(path)
    quality = seen.quality
    keys = [(r["user_id"], r["item_id"], r["event_type"]) for r in rows]
    times = [(r["user_id"], r["timestamp"]) for r in rows if r["timestamp"] is not None]
    ties = Counter((u, t) for u, t in times if u is not None)
    last: dict = {}
    backward = 0
    for user, time in times:
        backward += user is not None and user in last and int(time) < last[user]
        last[user] = int(time)
    assert (seen.rows, seen.users, seen.items) == (
        len(rows),
        len({r["user_id"] for r in rows} - {None}),
        len({r["item_id"] for r in rows} - {None}),
    )
    assert seen.actions == dict(Counter(r["event_type"] for r in rows))
    assert quality.exact_duplicates == len(rows) - len({tuple(r.items()) for r in rows})
    assert quality.repeated == len(rows) - len(set(keys))
    assert quality.missing_user == sum(r["user_id"] is None for r in rows)
    assert quality.missing_item == sum(r["item_id"] is None for r in rows)
    assert quality.missing_time == sum(r["timestamp"] is None for r in rows)
    assert quality.tied == sum(n for n in ties.values() if n > 1)
    assert quality.backward == backward
    assert quality.leading_zero_ids == sum(r["user_id"] == "007" or r["item_id"] == "03" for r in rows)
    assert quality.negative_ids == sum(r["user_id"] == "-5" for r in rows)
    assert quality.marker_ids == sum(r["user_id"] == "NA" for r in rows)
    assert quality.before_1990 == sum(r["timestamp"] == "12" for r in rows)
    assert quality.in_future == sum(r["timestamp"] == "9000000000" for r in rows)
    assert seen.null_shares["user_id"] == quality.missing_user / len(rows)
    per_user = Counter(r["user_id"] for r in rows if r["user_id"] is not None)
    assert seen.events_per_user[1] == max(per_user.values())
    assert sum(seen.activity) <= len(rows)


def test_robots_are_suspected(tmp_path):
    robot = [("robot", f"i{k}", T + k) for k in range(600)]
    people = [(f"u{k % 50}", f"i{k % 9}", T + 977 * k) for k in range(600)]
    frame = pl.DataFrame(robot + people, schema=["user_id", "item_id", "timestamp"], orient="row")
    seen = inspect(frame)
    assert seen.quality.robot_users == 1
    assert any("robots?" in finding for finding in seen.findings)


def test_json_and_picture(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,timestamp,note,f_1,f_2,f_3,f_4\n"
        + "".join(f"anna{k % 7},i{k % 5},{T + k},[red]x,1,2,3,4\n" for k in range(99))
    )
    seen = inspect(path)
    plain = json.loads(json.dumps(seen.to_dict()))
    assert plain["rows"] == 99
    assert plain["is_usable"] is True
    assert datetime.fromisoformat(plain["understanding"]["time"]["first"]) == datetime.fromtimestamp(T, UTC)
    text = shown(seen)
    for word in ("Columns as understood", "user_id", "99", "seconds", "like 3 more up to f_4"):
        assert word in text, word
    assert "anna" not in text
    assert "anna" in shown(inspect(path, show_samples=True))


def shown(seen: Inspection) -> str:
    console = Console(file=io.StringIO(), width=160)
    render(seen, console)
    return console.file.getvalue()


def test_a_log_without_users_is_shown_but_not_usable(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("item_id,timestamp\n" + "".join(f"i{k % 5},{T + k}\n" for k in range(9)))
    seen = inspect(path)
    assert not seen.is_usable
    assert seen.users == 0
    assert "No column fills user_id" in shown(seen)


def test_inspection_writes_nothing(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\nu,i,1500000000\n")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    inspect(path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_sparkline_keeps_small_counts_visible():
    assert sparkline((0, 1, 1000)) == " ▁█"
    assert sparkline((0, 0)) == ""


def test_tables_of_items(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text(
        "title,item_id,price,year,zip\nOne,007,1.5,1999,02460\n"
        "Two,008,NA,2001,12345\nTwo again,008,2,2002,1\n"
    )
    frame = read_table(path, "items")
    assert frame.columns == ["item_id", "title", "price", "year", "zip"]
    assert frame.rows() == [("007", "One", 1.5, 1999, "02460"), ("008", "Two", None, 2001, "12345")]
