# SPDX-License-Identifier: Apache-2.0
"""How long the packed log takes until Gorse's routes of feedback can read it, and what reading costs then.

MovieLens-1M's log repeated with other users, ten times (10 million events); every third event has a value,
every hundredth a comment and a later moment, and items are watched or liked. The floor beside it is what
nobody can do without: the bytes that are read and the keys sorted.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from desirepath.events import canonical_log
from desirepath.events.log import EventLog
from desirepath.live.compaction import KEEP_ALL
from desirepath.live.feedback import Feedback
from desirepath.live.store import LiveStore
from record import DATA, record

TIMES = 10


def make_log(folder: Path, times: int) -> None:
    """The log, repeated."""
    raw = pl.read_csv(DATA / "movielens-1m-sequences" / "interactions.csv.gz")
    n = pl.int_range(pl.len())
    one = raw.select(
        pl.col("user_id").cast(pl.String),
        pl.col("movie_id").cast(pl.String).alias("item_id"),
        pl.when(n % 3 == 0).then(pl.lit("like")).otherwise(pl.lit("watch")).alias("action"),
        pl.from_epoch("timestamp", "s").dt.replace_time_zone("UTC").dt.cast_time_unit("us").alias("time"),
        pl.when(n % 3 == 0).then(1.0).alias("value"),
        pl.when(n % 100 == 0).then(pl.lit("seen it twice")).alias("comment"),
        pl.when(n % 100 == 0).then(pl.lit("2004-01-01T00:00:00+00:00")).alias("updated"),
    )
    log = EventLog(folder / "events")
    several = [
        one.with_columns(pl.format("{}-{}", pl.lit(k), "user_id").alias("user_id")) for k in range(times)
    ]
    log.append(canonical_log(pl.concat(several)), KEEP_ALL)


def memory_mib(name: str) -> float:
    """A line of this process's memory."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(name))
    return round(int(line.split()[1]) / 1024, 1)


def floor_s(log: EventLog) -> dict[str, float]:
    """Reading the columns as texts need not be decoded, and sorting as many keys."""
    began = time.perf_counter()
    for part in log.manifest.parts:
        (log.folder / part.file).read_bytes()
    read = time.perf_counter()
    keys = np.random.default_rng(0).integers(0, 2**60, len(log))
    drawn = time.perf_counter()
    keys.sort()
    return {"read_s": read - began, "sort_s": time.perf_counter() - drawn}


def asked_ms(view: Feedback) -> dict[str, float]:
    """Median milliseconds of each sort of question."""
    page = view.page(("5-1", "", ""), 100)
    key = page[50].key
    questions: dict[str, Any] = {
        "of a user": lambda: view.of(key[0]),
        "of a user and an item": lambda: view.of(*key[:2]),
        "of an item": lambda: view.of(None, key[1]),
        "a page of 100": lambda: view.page(key, 100),
        "a page of 100 of one kind": lambda: view.page(key, 100, "like"),
    }
    found = {}
    for name, question in questions.items():
        took = []
        for _ in range(11):
            began = time.perf_counter()
            question()
            took.append(time.perf_counter() - began)
        found[name] = round(float(np.median(took)) * 1000, 2)
    return found


def main() -> None:
    """Lay out, measure, ask."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else TIMES
    with tempfile.TemporaryDirectory(dir=os.environ.get("DESIREPATH_SCRATCH")) as place:
        # In a process of its own, so that its memory is not counted here.
        making = multiprocessing.get_context("spawn").Process(target=make_log, args=(Path(place), times))
        making.start()
        making.join()
        log = EventLog(Path(place) / "events")
        store = LiveStore(f"sqlite:///{place}/live.db")
        view = Feedback(store, log)
        before = memory_mib("RssAnon")
        began = time.perf_counter()
        view.lay_out()
        laid_s = time.perf_counter() - began
        ledger = [path for path in (Path(place) / "feedback").rglob("*") if path.is_file()]
        began = time.perf_counter()
        again = Feedback(store, log)
        opened_s = time.perf_counter() - began
        figures = {
            "events": len(log),
            "laid out in s": round(laid_s, 2),
            "events a second": round(len(log) / laid_s),
            "floor": {name: round(value, 2) for name, value in floor_s(log).items()},
            "bytes of the log": sum((log.folder / part.file).stat().st_size for part in log.manifest.parts),
            "bytes of the ledger": sum(path.stat().st_size for path in ledger),
            "opened at the next start in s": round(opened_s, 3),
            "was on disk": again.is_laid_out,
            "peak memory MiB": memory_mib("VmHWM"),
            "own memory before and after MiB": [before, memory_mib("RssAnon")],
            "asked ms": asked_ms(view),
        }
        store.close()
    record("gorse-feedback", figures)


if __name__ == "__main__":
    main()
