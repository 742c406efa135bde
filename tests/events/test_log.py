# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath import events, simulate
from desirepath.errors import DataError, WorkspaceError
from desirepath.events import FileUnderstanding, canonical_log, spill
from desirepath.events import intake as intake_module
from desirepath.events.cleaning import CleaningConfig
from desirepath.events.ids import IdTable
from desirepath.events.log import EventLog
from desirepath.events.manifest import FORMAT
from desirepath.events.rows import Rows
from desirepath.events.spill import Spill
from desirepath.schema import REQUIRED, TIME_DTYPE

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def table(rows: list[tuple], **further: list) -> pl.DataFrame:
    """Events of (user, item, action, second)."""
    schema = {"user_id": pl.String, "item_id": pl.String, "action": pl.String, "s": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    time_ = pl.lit(NOON).cast(TIME_DTYPE) + pl.duration(seconds=pl.col("s"))
    return frame.select(
        "user_id", "item_id", "action", time=time_, **{k: pl.Series(v) for k, v in further.items()}
    )


def raw(frame: pl.DataFrame | pl.LazyFrame, fingerprint: str = "", rows: int = -1):
    log = canonical_log(frame)
    file = FileUnderstanding(
        name=f"{fingerprint}.csv", format="", dialect="", encoding="", compression="", rows=rows,
        fingerprint=fingerprint,
    )  # fmt: skip
    return replace(log, understanding=replace(log.understanding, files=(file,)))


def random_frame(seed: int, n: int, n_users: int = 30, span_s: int = 10**6) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return table(
        list(
            zip(
                [f"u{i}" for i in rng.integers(0, n_users, n)],
                [f"i{i}" for i in rng.integers(0, 20, n)],
                rng.choice(["view", "buy"], n).tolist(),
                rng.integers(0, span_s, n).tolist(),
                strict=True,
            )
        )
    )


FILE_A = [("b", "x", "view", 5), ("a", "x", "view", 9), ("b", "y", "buy", 1), ("a", "z", "view", 9)]
FILE_B = [("c", "x", "view", 20), ("a", "w", "buy", 3), ("b", "x", "view", 5), ("c", "y", "view", 20)]


def test_rows_lie_by_user_then_time_then_file(tmp_path):
    log = EventLog(tmp_path)
    report = log.append(raw(table(FILE_A)))
    assert (report.number, report.rows_read, report.rows_kept) == (1, 4, 4)
    assert (report.n_users, report.n_items, report.new_users, report.new_items) == (2, 3, 2, 3)
    kept = log.scan().collect()
    assert kept.select("user_id", "item_id").rows() == [("b", "y"), ("b", "x"), ("a", "x"), ("a", "z")]
    assert dict(kept.schema) == REQUIRED
    assert log.ids("user_id").to_list() == ["b", "a"]
    assert log.ids("item_id").to_list() == ["x", "y", "z"]
    assert EventLog(tmp_path).scan().collect().equals(kept)


def test_any_parquet_reader_sees_plain_text(tmp_path):
    EventLog(tmp_path).append(raw(table(FILE_A)))
    assert pl.read_parquet(tmp_path / "000001" / "part-0000.parquet").schema["user_id"] == pl.String
    assert pl.read_parquet(tmp_path / "000001" / "part-*.parquet").height == 4


def test_the_same_file_twice_adds_nothing(tmp_path):
    log = EventLog(tmp_path)
    log.append(raw(table(FILE_A), "aa"))
    before = (tmp_path / "manifest.json").read_bytes()
    report = log.append(raw(table(FILE_A), "aa"))
    assert report.was_known
    assert (report.rows_read, report.rows_kept) == (0, 0)
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert log.manifest.known(["aa", "bb"]) == {"aa"}


def test_rows_that_the_log_has_are_not_added_again(tmp_path):
    log = EventLog(tmp_path)
    log.append(raw(table(FILE_A), "aa"))
    report = log.append(raw(table(FILE_B), "bb"))
    assert report.removed == {"already_in_log": 1}
    assert (report.rows_kept, report.new_users, report.new_items) == (3, 1, 1)
    assert len(log) == 7
    assert log.ids("user_id").to_list() == ["b", "a", "c"]
    assert log.ids("item_id").to_list() == ["x", "y", "z", "w"]
    third = log.append(raw(table(FILE_A + FILE_B), "both"))
    assert third.rows_kept == 0
    assert third.removed == {"exact_duplicate": 1, "already_in_log": 7}
    assert len(EventLog(tmp_path)) == 7


def test_equal_rows_with_other_further_columns_are_added(tmp_path):
    log = EventLog(tmp_path)
    log.append(raw(table(FILE_A)))
    assert log.append(raw(table(FILE_A, device=["phone"] * 4))).rows_kept == 4
    assert log.append(raw(table(FILE_A, device=["phone", "tv", "phone", "phone"]))).rows_kept == 1
    assert log.append(raw(table(FILE_A, device=[None] * 4, query=[None] * 4))).rows_kept == 0
    kept = log.scan().collect()
    assert kept.columns == [*REQUIRED, "device"]
    assert kept["device"].to_list().count(None) == 4
    assert kept.height == 9


def test_an_event_id_counts_once_in_the_whole_log(tmp_path):
    log = EventLog(tmp_path)
    log.append(raw(table(FILE_A, event_id=["1", "2", "3", None])))
    report = log.append(raw(table(FILE_B, event_id=["2", "9", "8", None])))
    assert report.removed == {"duplicate_event_id": 1}
    assert log.scan().collect()["event_id"].drop_nulls().sort().to_list() == ["1", "2", "3", "8", "9"]


def test_relative_and_true_times_do_not_mix(tmp_path):
    log = EventLog(tmp_path)
    log.append(raw(table(FILE_A)))
    other = raw(table(FILE_B))
    time_ = replace(other.understanding.time, is_relative=True)
    with pytest.raises(DataError, match="true times"):
        log.append(replace(other, understanding=replace(other.understanding, time=time_)))


def test_ids_of_any_script_and_size_survive(tmp_path):
    names = [
        "-9223372036854775808",
        "007",
        "NA",
        "17850.0",
        "é",
        "é",
        "名前",
        "😀" * 300,
        "a\nb",
        "\x00",
        "'\"",
    ]
    rows = [(name, name[::-1], "view", n) for n, name in enumerate(names)]
    log = EventLog(tmp_path)
    log.append(raw(table(rows)))
    kept = log.scan().collect().sort("time")
    assert kept["user_id"].to_list() == names
    assert kept["item_id"].to_list() == [name[::-1] for name in names]


def test_an_empty_log_and_an_empty_file(tmp_path):
    log = EventLog(tmp_path / "none")
    assert len(log) == 0
    assert log.scan().collect().shape == (0, 4)
    assert log.ids("user_id").to_list() == []
    report = log.append(raw(table(FILE_A).clear()))
    assert (report.rows_read, report.rows_kept, len(log)) == (0, 0, 0)
    assert log.append(raw(table(FILE_A))).rows_kept == 4


def test_everything_removed_leaves_an_empty_log(tmp_path):
    log = EventLog(tmp_path)
    report = log.append(raw(table(FILE_A)), CleaningConfig(min_user_events=99))
    assert report.removed == {"rare_user": 4}
    assert (report.rows_kept, report.new_users, log.ids("user_id").len()) == (0, 0, 0)


def test_a_column_of_texts_is_no_action(tmp_path, monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_ACTIONS", 3)
    rows = [("u", "i", f"text {n}", n) for n in range(5)]
    with pytest.raises(DataError, match="--action"):
        EventLog(tmp_path).append(raw(table(rows)))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(0, 120), min_size=1, max_size=3),
    spilled=st.booleans(),
    span_s=st.sampled_from([5, 10**6]),
)
def test_log_equals_polars(tmp_path_factory, seed, sizes, spilled, span_s):
    """Small batches and stretches, in memory and spilled, against a plain sort and unique."""
    folder = tmp_path_factory.mktemp("log")
    frames = [random_frame(seed + n, size, span_s=span_s) for n, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake_module, "BATCH_ROWS", 37)
        patch.setattr(intake_module, "STRETCH_ROWS", 41)
        patch.setattr(spill, "MEMORY_BYTES", 500 if spilled else 2**30)
        log = EventLog(folder)
        for frame in frames:
            log.append(raw(frame), CleaningConfig(robots=False))
    everything = pl.concat(frames)
    plain = everything.unique(maintain_order=True)
    kept = log.scan().collect()
    columns = ["user_id", "time", "item_id", "action"]
    assert kept.sort(columns).equals(plain.sort(columns))
    for name in ("user_id", "item_id", "action"):
        assert log.ids(name).to_list() == everything[name].unique(maintain_order=True).to_list()
    assert sum(part.rows for part in log.manifest.parts) == plain.height


@settings(max_examples=40, deadline=None)
@given(
    pieces=st.lists(st.lists(st.integers(0, 200), max_size=30), max_size=5),
    memory=st.sampled_from([0, 300, 2**30]),
    with_extra=st.booleans(),
)
def test_spill_gives_back_each_user_in_order(tmp_path_factory, pieces, memory, with_extra):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "MEMORY_BYTES", memory)
        spilled = Spill(tmp_path_factory.mktemp("spill"))
        number = 0
        has_page = set()
        for n, users in enumerate(pieces):
            rows = np.arange(number, number + len(users))
            number += len(users)
            if with_extra and n % 2:  # files of one log need not have the same columns
                has_page |= set(rows.tolist())
            spilled.add(
                Rows(
                    user_ix=np.array(users, np.int32),
                    item_ix=rows.astype(np.int32),
                    action_ix=np.zeros(len(users), np.int16),
                    time_us=rows,
                    extra=pl.DataFrame({"page": rows.astype(str)})
                    if with_extra and n % 2
                    else pl.DataFrame(),
                )
            )
        flat = [user for users in pieces for user in users]
        stretches = spilled.stretches(20)
        assert len(spilled) == len(flat)
        assert all(low < high for low, high in stretches)
        assert sorted(flat) == sorted(user for user in flat for low, high in stretches if low <= user < high)
        for low, high in stretches:
            rows = spilled.read(low, high).ordered()
            expected = sorted((user, row) for row, user in enumerate(flat) if low <= user < high)
            assert list(zip(rows.user_ix.tolist(), rows.item_ix.tolist(), strict=True)) == expected
            if rows.extra.width:
                pages = [str(row) if row in has_page else None for _, row in expected]
                assert rows.extra["page"].to_list() == pages
            else:
                assert not any(row in has_page for _, row in expected)
        spilled.close()


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(st.text(max_size=20), max_size=40), max_size=4))
def test_id_table_equals_a_dict(batches):
    table_, known = IdTable(), {}
    for batch in batches:
        expected = [known.setdefault(name, len(known)) for name in batch]
        assert table_.encode(pl.Series(batch, dtype=pl.String)).tolist() == expected
    assert table_.ids().to_list() == list(known)
    assert table_.find(pl.Series([*known, None, "\x01 not there"])).tolist() == [*known.values(), -1, -1]


def test_id_table_grows():
    names = pl.Series(np.random.default_rng(0).integers(0, 200_000, 400_000)).cast(pl.String)
    table_ = IdTable()
    codes = np.concatenate([table_.encode(names[i : i + 70_000]) for i in range(0, 400_000, 70_000)])
    assert table_.ids().gather(pl.Series(codes)).equals(names)
    assert table_.ids().equals(names.unique(maintain_order=True).alias("id"))


INGEST = """
import sys, polars as pl
from desirepath.events import canonical_log, intake, spill
from desirepath.events.log import EventLog
intake.BATCH_ROWS, intake.STRETCH_ROWS, spill.MEMORY_BYTES = 2_000, 3_000, 10_000
def progress(step, share, note):
    print(step, share, flush=True)
print("begun", flush=True)
EventLog(__import__("pathlib").Path(sys.argv[1])).append(
    canonical_log(pl.scan_parquet(sys.argv[2])), on_progress=progress)
print("done", flush=True)
"""


def state(folder: Path) -> tuple:
    log = EventLog(folder)
    return len(log), log.scan().collect().hash_rows(1).sum(), log.ids("user_id").to_list()


@pytest.mark.parametrize(
    "moments", [(4, 24), pytest.param((1, 2, 8, 12, 16, 20, 22, 28, 30), marks=pytest.mark.slow)]
)
def test_killed_at_any_moment_the_log_is_as_it_was(tmp_path, moments):
    folder, source = tmp_path / "log", tmp_path / "more.parquet"
    EventLog(folder).append(raw(random_frame(0, 3000)))
    before = state(folder)
    random_frame(1, 40_000, n_users=2000).write_parquet(source, row_group_size=2_000)
    for after_lines in moments:
        with subprocess.Popen(
            [sys.executable, "-c", INGEST, str(folder), str(source)], stdout=subprocess.PIPE, text=True
        ) as process:
            for _ in range(after_lines):
                line = process.stdout.readline()
                assert line.strip() != "done", "the test must kill before the end"
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert state(folder) == before
    report = EventLog(folder).append(raw(pl.scan_parquet(source)))
    assert report.number == 2
    assert len(EventLog(folder)) == before[0] + report.rows_kept
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "000001", "000002", "manifest.json"]


def test_killed_between_rename_and_manifest(tmp_path, monkeypatch):
    log = EventLog(tmp_path)
    log.append(raw(table(FILE_A)))

    def cut(self, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("desirepath.events.manifest.Manifest.save", cut)
        with pytest.raises(KeyboardInterrupt):
            log.append(raw(table(FILE_B)))
    assert (tmp_path / "000002").exists()
    assert len(EventLog(tmp_path)) == 4
    assert log.append(raw(table(FILE_B))).number == 2
    assert len(EventLog(tmp_path)) == 7


def test_a_failing_source_leaves_the_log(tmp_path):
    log = EventLog(tmp_path)
    log.append(raw(table(FILE_A)))

    def broken(frame):
        raise DataError("Row 3 of it is damaged.")

    lazy = table(FILE_B).lazy().map_batches(broken, schema=dict(REQUIRED))
    with pytest.raises(Exception, match="damaged"):
        log.append(raw(lazy))
    assert len(EventLog(tmp_path)) == 4
    assert not (tmp_path / "pending").exists()


FULL = """
import resource, sys, pathlib, polars as pl
from desirepath.errors import WorkspaceError
from desirepath.events import canonical_log, intake, spill
from desirepath.events.log import EventLog
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
for spill.MEMORY_BYTES in (0, 2**30):
    try:
        EventLog(pathlib.Path(sys.argv[1])).append(canonical_log(pl.scan_parquet(sys.argv[2])))
    except WorkspaceError as error:
        print(error)
"""


def test_a_full_disk_is_said_and_changes_nothing(tmp_path):
    folder, source = tmp_path / "log", tmp_path / "more.parquet"
    EventLog(folder).append(raw(random_frame(0, 3000)))
    before = state(folder)
    rng = np.random.default_rng(0)
    more = random_frame(1, 30_000).with_columns(
        page=pl.Series(rng.integers(0, 2**60, 30_000)).cast(pl.String)
    )
    more.write_parquet(source)
    said = subprocess.run(
        [sys.executable, "-c", FULL, str(folder), str(source)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert said.stdout.count("full; the event log is as it was") == 2, said.stderr
    assert state(folder) == before
    assert not (folder / "pending").exists()


def test_two_writers_do_not_meet(tmp_path):
    log = EventLog(tmp_path)
    log.append(raw(table(FILE_A)))
    with log.alone(), pytest.raises(WorkspaceError, match="Another process"):
        EventLog(tmp_path).append(raw(table(FILE_B)))


def test_a_newer_or_damaged_manifest_is_said(tmp_path):
    EventLog(tmp_path).append(raw(table(FILE_A)))
    path = tmp_path / "manifest.json"
    whole = path.read_text()
    path.write_text(json.dumps({**json.loads(whole), "format": FORMAT + 1}))
    with pytest.raises(WorkspaceError, match="Upgrade"):
        EventLog(tmp_path)
    for damaged in (whole[:-20], "[]", '{"format": 1}', json.dumps({**json.loads(whole), "parts": [{}]})):
        path.write_text(damaged)
        with pytest.raises(WorkspaceError, match=r"damaged|must name"):
            EventLog(tmp_path)
    path.write_text(whole)
    os.remove(tmp_path / "000001" / "part-0000.parquet")
    with pytest.raises(WorkspaceError, match="lacks 1 of its files"):
        EventLog(tmp_path)


def test_progress_rises_to_one(tmp_path):
    seen: list[tuple[str, float]] = []
    EventLog(tmp_path).append(
        raw(random_frame(0, 500), rows=500), on_progress=lambda step, share, note: seen.append((step, share))
    )
    for step in {step for step, _ in seen}:
        shares = [share for name, share in seen if name == step]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0


@pytest.mark.data
def test_deskdrop(shared_data, tmp_path):
    log = EventLog(tmp_path)
    report = log.append(events.read_events([shared_data / "deskdrop-interactions"]))
    assert (report.rows_read, report.rows_kept) == (72_312, 72_301)
    assert report.removed == {"exact_duplicate": 11}
    assert (report.n_users, report.n_items) == (1_895, 2_987)
    assert log.append(events.read_events([shared_data / "deskdrop-interactions"])).was_known


def test_what_was_planted_is_what_is_removed(tmp_path):
    """A simulated marketplace says how many rows of each kind it spoilt, and who its robots are."""
    truth = simulate.write(simulate.demo(), tmp_path / "market")
    rows = json.loads((tmp_path / "market" / "truth.json").read_text())["rows"]
    log = EventLog(tmp_path / "log")
    report = log.append(canonical_log(pl.scan_parquet(truth.events)))
    removed = dict(report.removed)
    assert removed.pop("before_window") + removed.pop("after_window") == rows["time_outside"]
    assert removed.pop("missing_time") == rows["bad_time"]
    assert removed.pop("cancellation") == rows["negative_value"]
    assert removed.pop("duplicate_event_id") == rows["repeated_event_id"]
    assert removed.pop("robot_regularity") + removed.pop("robot_rate", 0) == rows["robot"]
    assert removed == {name: rows[name] for name in ("missing_user", "missing_item", "exact_duplicate")}
    assert report.rows_kept == rows["clean"]
